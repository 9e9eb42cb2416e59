// Gives: the entry points the host calls: boot, endpoint, callFunction, and beside them, from other files, describe,
// refusal, kind and prototypes. `endpoint` answers without a promise when the handler did, which is most of the time.
//
// Absent: time limits, memory limits, waiting for operations nobody awaited. The host keeps those.
(function (portico) {
  "use strict";
  const { Console, Context, HTTPResponse, awaited, endpointRequest, fail, responseBody, responseHeaders } = portico;
  const { responseStatus, settled, textOf } = portico;

  const EMPTY = 0, JSON_TEXT = 1, EJSON_TEXT = 2, RAW = 3;
  const NOTHING = 0, RESULT = 1, RESULT_WITHOUT_STATUS = 2;

  /** Compiled functions by name. They hold no state of a call: each call runs the function's top level anew. */
  let factories = { __proto__: null };

  function boot(natives, appJson, valuesJson, environmentJson) {
    portico.natives = natives;
    factories = { __proto__: null };
    portico.takeApp(appJson, valuesJson, environmentJson);
  }

  /** Runs a function's top level for one call and gives what it exports. */
  function instantiate(name, context, console) {
    const factory = (factories[name] ??= portico.natives.load(name));
    if (factory === undefined) throw fail("FunctionNotFound", `function not found: '${name}'`);
    const exported = factory({}, context, console, portico.requireFor(name));
    if (typeof exported === "function") return exported;
    throw fail("FunctionInvalid", `function '${name}' must assign a function to exports`);
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
    const value = exported(...args);
    return isThenable(value) ? textLater(value) : textOf(value, true) ?? textSettled(value);
  }

  async function textLater(value) {
    const known = await awaited(value);
    return textOf(known, true) ?? textSettled(known);
  }

  async function textSettled(value) {
    return textOf(await settled(value), true);
  }

  function isThenable(value) {
    return value !== null && typeof value === "object" && typeof value.then === "function";
  }

  portico.boot = boot;
  portico.instantiate = instantiate;
  portico.endpoint = endpoint;
  portico.callFunction = callFunction;
})(globalThis.__portico);
