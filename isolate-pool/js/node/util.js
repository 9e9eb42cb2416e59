// Gives: Node's `util`. How values are shown comes from Node's own code (vendor/README.md).
//
// Absent: `debuglog` never says anything, since functions have no NODE_DEBUG; there are no system errors to name beyond the
// common ones.

const { argType, argValue, make, mustBe } = require("internal/errors");
const { isDeepStrictEqual } = require("internal/equal");
const types = require("util/types");

/** The largest piece, and most who require `util` want something else. */
const shown = () => require("internal/vendor/inspect");

function inherits(constructor, parent) {
  mustBe("function", "ctor", constructor);
  mustBe("function", "superCtor", parent);
  if (parent.prototype === undefined) throw argType("superCtor.prototype", "object", parent.prototype);
  Object.defineProperty(constructor, "super_", { value: parent, writable: true, configurable: true });
  Object.setPrototypeOf(constructor.prototype, parent.prototype);
}

const customPromisify = Symbol.for("nodejs.util.promisify.custom");

function promisify(original) {
  mustBe("function", "original", original);
  const custom = original[customPromisify];
  if (custom !== undefined) {
    mustBe("function", "util.promisify.custom", custom);
    return Object.defineProperty(custom, customPromisify, { value: custom, configurable: true });
  }
  function promised(...values) {
    return new Promise((resolve, reject) => {
      Reflect.apply(original, this, [...values, (error, result) => (error ? reject(error) : resolve(result))]);
    });
  }
  Object.setPrototypeOf(promised, Object.getPrototypeOf(original));
  Object.defineProperty(promised, customPromisify, { value: promised, configurable: true });
  return Object.defineProperties(promised, Object.getOwnPropertyDescriptors(original));
}
promisify.custom = customPromisify;

function callbackify(original) {
  mustBe("function", "original", original);
  function called(...values) {
    const callback = values.pop();
    mustBe("function", "last argument", callback);
    const tell = (...results) => process.nextTick(() => Reflect.apply(callback, this, results));
    Reflect.apply(original, this, values).then(
      (result) => tell(null, result),
      (reason) => {
        if (reason) return tell(reason);
        const error = make(Error, "ERR_FALSY_VALUE_REJECTION", "Promise was rejected with falsy value");
        error.reason = reason;
        return tell(error);
      },
    );
  }
  Object.defineProperty(called, "length", { configurable: true, value: original.length + 1 });
  Object.defineProperty(called, "name", { configurable: true, value: `${original.name}Callbackified` });
  return called;
}

const warned = new Set();

function deprecate(work, message, code) {
  let told = false;
  function deprecated(...values) {
    if (!told && !(code !== undefined && warned.has(code))) {
      told = true;
      if (code !== undefined) warned.add(code);
      process.emitWarning(message, "DeprecationWarning", code);
    }
    return new.target ? Reflect.construct(work, values, new.target) : Reflect.apply(work, this, values);
  }
  Object.setPrototypeOf(deprecated, work);
  if (work.prototype) deprecated.prototype = work.prototype;
  return deprecated;
}

function debuglog() {
  const log = () => {};
  Object.defineProperty(log, "enabled", { value: false, configurable: true, enumerable: true });
  return log;
}

function aborted(signal, resource) {
  if (signal === undefined) return Promise.reject(argType("signal", "AbortSignal", signal));
  mustBe("object", "resource", resource);
  if (signal.aborted) return Promise.resolve();
  return new Promise((resolve) => { signal.addEventListener("abort", () => resolve(), { once: true }); });
}

/** Without a terminal there are no colours, unless they are insisted on. */
function styleText(style, text, options) {
  mustBe("string", "text", text);
  let [before, after] = ["", ""];
  for (const one of [].concat(style)) {
    const { colors } = shown().inspect;
    const codes = colors[one];
    if (codes === undefined) throw argValue("format", one, `must be one of: ${Object.keys(colors).map((name) => `'${name}'`).join(", ")}`);
    before += `\u001b[${codes[0]}m`;
    after = `\u001b[${codes[1]}m${after}`;
  }
  return options?.validateStream === false ? before + text + after : text;
}

const SYSTEM_ERRORS = [
  [-2, "ENOENT", "no such file or directory"], [-13, "EACCES", "permission denied"], [-17, "EEXIST", "file already exists"],
  [-20, "ENOTDIR", "not a directory"], [-21, "EISDIR", "illegal operation on a directory"], [-22, "EINVAL", "invalid argument"],
  [-30, "EROFS", "read-only file system"], [-32, "EPIPE", "broken pipe"], [-98, "EADDRINUSE", "address already in use"],
  [-101, "ENETUNREACH", "network is unreachable"], [-103, "ECONNABORTED", "software caused connection abort"],
  [-104, "ECONNRESET", "connection reset by peer"], [-110, "ETIMEDOUT", "connection timed out"],
  [-111, "ECONNREFUSED", "connection refused"], [-113, "EHOSTUNREACH", "host is unreachable"],
];

function parseEnv(text) {
  mustBe("string", "content", text);
  const values = {};
  const lines = /^\s*(?:export\s+)?([\w.-]+)\s*=\s*?("(?:\\"|[^"])*"|'[^']*'|`[^`]*`|[^#\n]*)?\s*(?:#.*)?$/gm;
  for (const [, name, written = ""] of text.matchAll(lines)) {
    const trimmed = written.trim();
    const quote = trimmed[0];
    const quoted = trimmed.length > 1 && "\"'`".includes(quote) && trimmed.endsWith(quote);
    const inner = quoted ? trimmed.slice(1, -1) : trimmed;
    values[name] = quote === '"' && quoted ? inner.replace(/\\n/g, "\n") : inner;
  }
  return values;
}

const deprecatedKinds = {
  isArray: Array.isArray,
  isBoolean: (value) => typeof value === "boolean",
  isBuffer: (value) => require("buffer").Buffer.isBuffer(value),
  isDate: types.isDate,
  isError: (value) => types.isNativeError(value) || value instanceof Error,
  isFunction: (value) => typeof value === "function",
  isNull: (value) => value === null,
  isNullOrUndefined: (value) => value === null || value === undefined,
  isNumber: (value) => typeof value === "number",
  isObject: (value) => value !== null && typeof value === "object",
  isPrimitive: (value) => value === null || (typeof value !== "object" && typeof value !== "function"),
  isRegExp: types.isRegExp,
  isString: (value) => typeof value === "string",
  isSymbol: (value) => typeof value === "symbol",
  isUndefined: (value) => value === undefined,
};

module.exports = {
  _errnoException: (number, call) => {
    const [, code = "UNKNOWN", message = "unknown error"] = SYSTEM_ERRORS.find(([known]) => known === number) ?? [];
    return Object.assign(new Error(`${call} ${code}: ${message}`), { errno: number, code, syscall: call });
  },
  _extend: (target, source) => (source === null || typeof source !== "object" ? target : Object.assign(target, source)),
  aborted,
  callbackify,
  debug: debuglog,
  debuglog,
  deprecate,
  get format() { return shown().format; },
  get formatWithOptions() { return shown().formatWithOptions; },
  getSystemErrorMap: () => new Map(SYSTEM_ERRORS.map(([number, code, message]) => [number, [code, message]])),
  getSystemErrorName: (number) => SYSTEM_ERRORS.find(([known]) => known === number)?.[1],
  inherits,
  get inspect() { return shown().inspect; },
  isDeepStrictEqual,
  log: (...values) => console.log(shown().format(...values)),
  parseArgs: (options) => require("internal/parse_args")(options),
  parseEnv,
  promisify,
  get stripVTControlCharacters() { return shown().stripVTControlCharacters; },
  styleText,
  toUSVString: (text) => `${text}`.toWellFormed(),
  transferableAbortController: () => new AbortController(),
  transferableAbortSignal: (signal) => signal,
  types,
  ...deprecatedKinds,
};
for (const name of ["TextDecoder", "TextEncoder"]) {
  Object.defineProperty(module.exports, name, { enumerable: true, configurable: true, get: () => globalThis[name] });
}
