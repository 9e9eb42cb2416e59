// Gives: the entry points the host calls: boot, endpoint, callFunction, and beside them, from other files, describe,
// refusal, kind and prototypes. `endpoint` answers without a promise when the handler did, which is most of the time.
//
// Absent: time limits, memory limits, waiting for operations nobody awaited. The host keeps those.
(function (portico) {
  "use strict";
  const { Console, Context, HTTPResponse, awaited, endpointRequest, fail, responseBody, responseHeaders } = portico;
  const { NumberIsSafeInteger, ObjectDefine, longMark, responseStatus, settled, textOf } = portico;
  const { Long } = portico.BSON;

  const EMPTY = 0, JSON_TEXT = 1, EJSON_TEXT = 2, RAW = 3;
  const NOTHING = 0, RESULT = 1, RESULT_WITHOUT_STATUS = 2;

  /** Functions by name. They hold no state of a call: each call runs the function's top level anew. */
  let functions = { __proto__: null };

  function boot(natives, appJson, valuesJson, environmentJson) {
    portico.natives = natives;
    functions = { __proto__: null };
    portico.takeApp(appJson, valuesJson, environmentJson);
  }

  /** `{factory, system, module}`: the compiled file, whether it runs as system whoever calls it, how it exports. */
  function lookUp(name) {
    return (functions[name] ??= load(name));
  }

  function load(name) {
    const factory = portico.natives.load(name, false);
    if (factory === undefined) throw fail("FunctionNotFound", `function not found: '${name}'`);
    return { factory, system: portico.natives.runsAsSystem(name), module: false };
  }

  /** Runs a function's top level for one call and gives what it exports. */
  function instantiate(name, context, console) {
    const file = lookUp(name);
    let exported;
    try {
      exported = runTop(file, name, context, console);
    } catch (error) {
      if (file.module || !isMissingModule(error)) throw error;
      file.factory = portico.natives.load(name, true);
      file.module = true;
      exported = runTop(file, name, context, console);
    }
    if (typeof exported === "function") return exported;
    throw fail("FunctionInvalid", `function '${name}' must assign a function to exports`);
  }

  function runTop(file, name, context, console) {
    const initial = {};
    if (!file.module) return file.factory(initial, context, console, portico.requireFor(name));
    const module = { exports: initial };
    const exported = file.factory(initial, context, console, portico.requireFor(name), module);
    return exported === initial ? module.exports : exported;
  }

  /**
   * There is no `module` here, and files ask `typeof module` to find out where they are. One that does not ask and assigns
   * to `module.exports` says so with this error; its top level is then run again, and from now on, with a `module`.
   */
  function isMissingModule(error) {
    return error instanceof ReferenceError && error.message === "module is not defined";
  }

  /** `[status, content, body, headers]`, or a promise of it. Throws what the function threw. */
  function endpoint(call, name, flat, body, respond, ejson, userJson, system) {
    const response = new HTTPResponse();
    const handler = instantiate(name, new Context(call, name, flat, userJson, system), new Console(call));
    const value = handler(endpointRequest(flat, body), response);
    if (isThenable(value)) return answerLater(response, value, respond, ejson);
    return answer(response, value, respond, ejson);
  }

  async function answerLater(response, value, respond, ejson) {
    return answer(response, await awaited(value), respond, ejson);
  }

  /** The table of what is sent. A promise only when the result holds promises or cursors. */
  function answer(response, value, respond, ejson) {
    const headers = responseHeaders(response);
    const set = responseStatus(response);
    if (respond === NOTHING) return [set ?? 204, EMPTY, undefined, headers];
    const status = set ?? 200;
    const body = responseBody(response);
    const silent = respond === RESULT_WITHOUT_STATUS && set !== undefined && body === undefined;
    if (silent || status < 200 || status === 204 || status === 304) return [status, EMPTY, undefined, headers];
    if (body !== undefined) return [status, RAW, body, headers];
    const text = textOf(value, ejson);
    if (text === undefined) return answerSettled(response, value, ejson);
    return [status, ejson ? EJSON_TEXT : JSON_TEXT, text, headers];
  }

  async function answerSettled(response, value, ejson) {
    return answer(response, await settled(value), RESULT, ejson);
  }

  /** Canonical Extended JSON of what the function returned, or a promise of it. */
  function callFunction(call, name, args, flat, userJson, system) {
    const exported = instantiate(name, new Context(call, name, flat, userJson, system), new Console(call));
    const arithmetic = watchLongs(args);
    const value = exported(...args);
    if (isThenable(value)) return textLater(value, arithmetic);
    return textOf(widened(value, arithmetic), true) ?? textSettled(value);
  }

  async function textLater(value, arithmetic) {
    const known = widened(await awaited(value), arithmetic);
    return textOf(known, true) ?? textSettled(known);
  }

  /** A mark on those arguments that are 64-bit integers: their `valueOf` writes on it when they are calculated with. */
  function watchLongs(args) {
    let mark;
    for (let index = 0; index < args.length; index++) {
      if (!Long.isLong(args[index])) continue;
      mark ??= { used: false };
      ObjectDefine(args[index], longMark, { __proto__: null, value: mark });
    }
    return mark;
  }

  /** A whole number calculated from 64-bit arguments is a 64-bit integer, as it was where they had arithmetic. */
  function widened(value, mark) {
    return mark?.used === true && NumberIsSafeInteger(value) ? Long.fromNumber(value) : value;
  }

  async function textSettled(value) {
    return textOf(await settled(value), true);
  }

  function isThenable(value) {
    return value !== null && typeof value === "object" && typeof value.then === "function";
  }

  portico.boot = boot;
  portico.lookUp = lookUp;
  portico.instantiate = instantiate;
  portico.endpoint = endpoint;
  portico.callFunction = callFunction;
})(globalThis.__portico);
