// Gives: the runtime loaded into a realm with nothing but ECMAScript in it, as in the start-up snapshot, and natives
// written in JavaScript. Functions are given as the source a tenant would write.
//
// Absent: the BSON codec and limits, which only the host has.
"use strict";
const fs = require("node:fs");
const path = require("node:path");
const { isPromise } = require("node:util/types");
const vm = require("node:vm");

const ROOT = path.join(__dirname, "..");
/** The files in the order the snapshot evaluates them, from the one place where that order is written down. */
const ORDER = fs.readFileSync(path.join(ROOT, "../src/engine/snapshot.rs"), "utf8").matchAll(/include_str!\("\.\.\/\.\.\/js\/(\w+\.js)"\)/g);
const SCRIPTS = Array.from(ORDER, ([, name]) => {
  return new vm.Script(fs.readFileSync(path.join(ROOT, name), "utf8"), { filename: `platform/${name}` });
});

const URL_PARTS = ["href", "protocol", "username", "password", "host", "hostname", "port", "pathname", "search", "hash", "origin"];

/** Modules by name, from the tables that the host compiles them from. */
const TABLES = ["modules.rs", "outside.rs"].map((file) => fs.readFileSync(path.join(ROOT, "../src/bindings", file), "utf8")).join("\n");
const ROW = /^ +\(?\s*"([\w/]+)",\s*(?:include_str!\("\.\.\/\.\.\/js\/([\w/]+\.js)"\)|"((?:[^"\\]|\\.)*)"),?/gm;
const MODULES = Object.fromEntries(
  Array.from(TABLES.matchAll(ROW), ([, name, file, text]) => [name, file === undefined ? text : fs.readFileSync(path.join(ROOT, file), "utf8")]),
);

const APP = {
  id: "64b0c0ffee64b0c0ffee6400", clientAppId: "myapp-abcde", name: "myapp", projectId: "64b0c0ffee64b0c0ffee64ff",
  deployment: { model: "LOCAL", providerRegion: "aws-eu-west-1" }, lastDeployed: "2024-01-01T00:00:00.000Z",
  dataSources: ["warehouse"],
};
const USER = '{"id":"u1","type":"normal","data":{},"custom_data":{},"identities":[]}';

/**
 * `functions`: name -> source, or `{source, system}`. `documents(operation, args, at)`: answers an operation, may be async or
 * throw. `world(question, kind)` does the same for what is asked of the world outside.
 */
function start({ functions = {}, documents, world, app = APP, values = {}, environment = { tag: "", values: {} } } = {}) {
  const realm = vm.createContext({});
  for (const script of SCRIPTS) script.runInContext(realm);
  const portico = vm.runInContext("const p = __portico; delete globalThis.__portico; p", realm);
  const inRealm = (source) => vm.runInContext(source, realm);
  const bytes = inRealm("(length) => new Uint8Array(length)");
  const settle = inRealm("(start) => new Promise((resolve, reject) => start(resolve, reject))");

  const logs = [];
  const operations = [];
  const asked = [];
  const partsOf = (url) => inRealm(JSON.stringify(URL_PARTS.map((part) => url[part])));
  const timers = new Map();
  let lastTimer = 0;
  /** Whose code runs, for as long as it runs at once; keeping it over an await is the host's doing. */
  let running = 0;
  const u8 = (buffer) => {
    const copy = bytes(buffer.length);
    copy.set(buffer);
    return copy;
  };
  const natives = {
    runsAsSystem: (name) => functions[name].system === true,
    load(name, withModule) {
      if (!Object.hasOwn(functions, name)) return undefined;
      const parameters = `exports, context, console, require${withModule ? ", module" : ""}`;
      const source = `(function (${parameters}) {${functions[name].source ?? functions[name]}\n;return exports;})`;
      return vm.runInContext(source, realm, { filename: `functions/${name}.js` });
    },
    documents(call, service, database, collection, operation, args, as) {
      operations.push({ call, service, database, collection, operation, args, ...(as === undefined ? {} : { as }) });
      return settle((resolve, reject) => {
        Promise.resolve().then(() => documents(operation, args, { service, database, collection })).then(resolve, (error) => {
          reject(portico.refusal(error.code ?? "Failed", error.message, error.number, error.label));
        });
      });
    },
    ask(call, kind, question, background) {
      asked.push({ call, kind, question, background });
      return settle((resolve, reject) => {
        Promise.resolve().then(() => world(question, kind)).then((answer) => {
          if (answer?.body !== undefined) answer.body = new portico.BSON.Binary(u8(answer.body.bytes));
          resolve(answer);
        }, (error) => {
          reject(portico.refusal(error.code ?? "Failed", error.message, error.number));
        });
      });
    },
    urlParse: (text, base) => (URL.canParse(text, base) ? partsOf(new URL(text, base)) : undefined),
    urlSet(href, part, text) {
      const url = new URL(href);
      url[URL_PARTS[part]] = text;
      return partsOf(url);
    },
    decode(label, value, fatal, ignoreBOM) {
      try {
        const decoder = new TextDecoder(label, { fatal, ignoreBOM });
        return value === undefined ? decoder.encoding : decoder.decode(Buffer.from(value));
      } catch (error) {
        if (value === undefined) return undefined;
        throw error;
      }
    },
    packages: () => undefined,
    packageLines: () => undefined,
    console(call, level, text) { logs.push({ call, level, text }); },
    timer(call, delay, repeat, callback) {
      const id = (lastTimer += 1);
      timers.set(id, { call, delay, repeat, callback });
      return id;
    },
    clearTimer(id) { timers.delete(id); },
    currentCall: () => running,
    utf8Encode: (text) => u8(Buffer.from(text, "utf8")),
    utf8Decode: (value) => Buffer.from(value).toString("utf8"),
    base64Encode: (value) => Buffer.from(value).toString("base64"),
    base64Decode: (text) => (/^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/.test(text) ? u8(Buffer.from(text, "base64")) : undefined),
    hexEncode: (value) => Buffer.from(value).toString("hex"),
    hexDecode: (text) => (/^(?:[0-9a-fA-F]{2})*$/.test(text) ? u8(Buffer.from(text, "hex")) : undefined),
    randomBytes: (length) => u8(require("node:crypto").randomBytes(length)),
    module(name) {
      if (!Object.hasOwn(MODULES, name)) return undefined;
      const source = `(function (exports, require, module, __filename, internal) {'use strict';${MODULES[name]}\n})`;
      return vm.runInContext(source, realm, { filename: `node:${name}` });
    },
    moduleRan() {},
    node: () => ({
      now: () => performance.now(),
      latin1Encode: (text) => u8(Buffer.from(text, "latin1")),
      latin1Decode: (value) => Buffer.from(value).toString("latin1"),
      isUtf8: (value) => require("node:buffer").isUtf8(value),
      types: require("node:util/types"),
    }),
  };
  portico.boot(natives, JSON.stringify(app), JSON.stringify(values), JSON.stringify(environment));

  const flat = ({ method = "GET", route = "/r", rawQuery, query, ip = "127.0.0.1", headers = [] } = {}) =>
    [method, route, rawQuery ?? query, query, ip, ...headers.flat()];

  return {
    portico, realm, inRealm, logs, operations, asked, timers, flat,
    /** One endpoint call: `{status, content, body, headers}`, thrown errors as they are. */
    endpoint(name, { request, body, respondResult = true, ejson = false, user = USER, system = false, call = 7 } = {}) {
      running = call;
      const raw = body === undefined ? undefined : u8(Buffer.from(body));
      const result = portico.endpoint(call, name, flat(request), raw, Number(respondResult), ejson, user, system);
      const named = ([status, content, text, headers]) => ({ status, content, body: text, headers: headers && [...headers] });
      return isPromise(result) ? outside(result).then(named) : named(result);
    },
    /** One function call: Extended JSON text or a promise of it. `args` is source, evaluated in the realm. */
    call(name, args = "[]", { request, user = USER, system = false, call = 8 } = {}) {
      running = call;
      return portico.callFunction(call, name, inRealm(args), request && flat(request), user, system);
    },
    /** `[message, stack, code]` of what a call throws. */
    async failure(run) {
      try {
        await run();
      } catch (error) {
        return [...portico.describe(error)];
      }
      throw new Error("expected the call to fail");
    },
  };
}

/** A promise of this realm, whatever the tenant did to theirs. */
const outside = (promise) => new Promise((resolve, reject) => { Promise.prototype.then.call(promise, resolve, reject); });

/** A runtime with one function `f` that is an endpoint returning the value of the expression. */
const returning = (expression, options) => start({ ...options, functions: { f: `exports = () => (${expression})`, ...options?.functions } });

module.exports = { start, returning, APP, USER };
