// Gives: errors with the codes and words Node has for them, since packages compare both.

function received(value) {
  if (value === null || value === undefined) return `${value}`;
  if (typeof value === "function") return value.name ? `function ${value.name}` : "function";
  if (typeof value === "object") {
    return value.constructor?.name ? `an instance of ${value.constructor.name}` : "an object without a prototype";
  }
  let text = typeof value === "bigint" ? `${value}n` : typeof value === "string" ? `'${value}'` : String(value);
  if (text.length > 28) text = `${text.slice(0, 25)}...`;
  return `type ${typeof value} (${text})`;
}

/** An error of `Base` with a code; the code shows in the stack, as in Node. */
function make(Base, code, message) {
  const error = new Base(message);
  Object.defineProperty(error, "code", { value: code, writable: true, enumerable: true, configurable: true });
  Object.defineProperty(error, "toString", {
    value() { return `${this.name} [${code}]: ${this.message}`; }, writable: true, enumerable: false, configurable: true,
  });
  return error;
}

/** `expected` is a type (`string`), several (`["string", "number"]`) or words that begin with `an instance of`. */
function argType(name, expected, value) {
  const kinds = [].concat(expected);
  const types = kinds.filter((kind) => /^[a-z]+$/.test(kind) && kind !== "null");
  const instances = kinds.filter((kind) => !types.includes(kind)).map((kind) => (kind.includes(" ") || kind === "null" ? kind : `an instance of ${kind}`));
  const listed = [];
  if (types.length > 0) listed.push(`${types.length > 1 ? "one of type" : "of type"} ${types.join(" or ")}`);
  listed.push(...instances);
  const what = name.endsWith(" argument") ? `The ${name}` : `The "${name}" ${name.includes(".") ? "property" : "argument"}`;
  return make(TypeError, "ERR_INVALID_ARG_TYPE", `${what} must be ${listed.join(" or ")}. Received ${received(value)}`);
}

function argValue(name, value, reason = "is invalid") {
  const what = name.includes(".") ? "property" : "argument";
  return make(TypeError, "ERR_INVALID_ARG_VALUE", `The ${what} '${name}' ${reason}. Received ${require("util").inspect(value)}`);
}

function outOfRange(name, range, value) {
  const text = typeof value === "bigint" ? `${value}n` : typeof value === "number" && Number.isInteger(value) && Math.abs(value) > 2 ** 32 ? String(value).replace(/\B(?=(\d{3})+$)/g, "_") : require("util").inspect(value);
  return make(RangeError, "ERR_OUT_OF_RANGE", `The value of "${name}" is out of range. It must be ${range}. Received ${text}`);
}

function mustBe(type, name, value) {
  if (typeof value !== type || (type === "object" && value === null)) throw argType(name, type, value);
}

function mustBeInteger(name, value, min = Number.MIN_SAFE_INTEGER, max = Number.MAX_SAFE_INTEGER) {
  if (typeof value !== "number") throw argType(name, "number", value);
  if (!Number.isInteger(value)) throw outOfRange(name, "an integer", value);
  if (value < min || value > max) throw outOfRange(name, `>= ${min} && <= ${max}`, value);
}

/** What a function of ours says that this platform does not have. */
function unavailable(what, why) {
  return make(Error, "ERR_FEATURE_UNAVAILABLE_ON_PLATFORM", `${what} is not available to functions${why ? `: ${why}` : ""}`);
}

module.exports = { make, received, argType, argValue, outOfRange, mustBe, mustBeInteger, unavailable };
