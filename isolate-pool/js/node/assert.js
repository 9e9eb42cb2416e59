// Gives: Node's `assert`.
//
// Absent: the line-by-line difference in messages; both values are shown whole instead. CallTracker, which Node gave up.

const { argType, argValue, make } = require("internal/errors");
const { isDeepEqual, isDeepStrictEqual } = require("internal/equal");
const util = require("util");
const inspect = (...values) => util.inspect(...values);

const SHOWN = { compact: false, sorted: true, depth: 1000, maxArrayLength: Infinity, showProxy: false, customInspect: false };
const WORDS = {
  deepStrictEqual: "Expected values to be strictly deep-equal:",
  strictEqual: "Expected values to be strictly equal:",
  deepEqual: "Expected values to be loosely deep-equal:",
  notDeepStrictEqual: 'Expected "actual" not to be strictly deep-equal to:',
  notStrictEqual: 'Expected "actual" to be strictly unequal to:',
  notDeepEqual: 'Expected "actual" not to be loosely deep-equal to:',
};

function messageFor(operator, actual, expected) {
  const words = WORDS[operator];
  if (operator.startsWith("not") && words) return `${words} ${inspect(actual, SHOWN)}`;
  if (operator === "strictEqual" || operator === "deepStrictEqual" || operator === "deepEqual") {
    const [left, right] = [inspect(actual, SHOWN), inspect(expected, SHOWN)];
    if (operator === "strictEqual" && !left.includes("\n") && !right.includes("\n")) return `${words}\n\n${left} !== ${right}\n`;
    return `${words}\n+ actual\n- expected\n\n${left.split("\n").map((line) => `+ ${line}`).join("\n")}\n${right.split("\n").map((line) => `- ${line}`).join("\n")}`;
  }
  return `${inspect(actual)} ${operator} ${inspect(expected)}`;
}

class AssertionError extends Error {
  constructor(options) {
    if (options === null || typeof options !== "object") throw argType("options", "Object", options);
    const { message, operator, actual, expected, stackStartFn } = options;
    super(message !== undefined && message !== null ? String(message) : operator === "fail" ? "Failed" : messageFor(operator ?? "", actual, expected));
    this.generatedMessage = message === undefined || message === null;
    Object.defineProperty(this, "name", { value: "AssertionError", writable: true, enumerable: false, configurable: true });
    this.code = "ERR_ASSERTION";
    this.actual = actual;
    this.expected = expected;
    this.operator = operator;
    if (Error.captureStackTrace) Error.captureStackTrace(this, stackStartFn);
  }

  toString() { return `${this.name} [${this.code}]: ${this.message}`; }
}

function refuse(options) {
  if (options.message instanceof Error) throw options.message;
  throw new AssertionError(options);
}

function ok(value, message) {
  if (value) return;
  const missing = arguments.length === 0;
  const words = message ?? (missing ? "No value argument passed to `assert.ok()`" : `The expression evaluated to a falsy value:\n\n  assert.ok(${inspect(value)})\n`);
  if (words instanceof Error) throw words;
  const error = new AssertionError({ actual: value, expected: true, message: words, operator: "==", stackStartFn: ok });
  error.generatedMessage = message === undefined;
  throw error;
}

const assert = function assert(...values) { Reflect.apply(ok, undefined, values); };

/** One assertion that compares two values. */
function comparison(name, operator, holds) {
  const check = {
    [name](actual, expected, message) {
      if (arguments.length < 2) throw make(TypeError, "ERR_MISSING_ARGS", 'The "actual" and "expected" arguments must be specified');
      if (!holds(actual, expected)) refuse({ actual, expected, message, operator, stackStartFn: check });
    },
  }[name];
  return check;
}

const loose = (left, right) => left == right || (left !== left && right !== right); // eslint-disable-line eqeqeq

function fail(actual, expected, message, operator) {
  const count = arguments.length;
  if (actual instanceof Error && count < 2) throw actual;
  const words = count < 2 ? actual : message;
  refuse({ actual: count < 2 ? undefined : actual, expected, message: words ?? (count < 2 ? "Failed" : undefined), operator: operator ?? (count < 2 ? "fail" : "!="), stackStartFn: fail });
}

/** Whether what was thrown is what was expected: a class, a pattern, an object of properties, or a function that looks. */
function matches(thrown, expected, message, operator, start) {
  if (expected === undefined) return;
  const mismatch = (words) => refuse({ actual: thrown, expected, message: message ?? words, operator, stackStartFn: start });
  if (expected instanceof RegExp) {
    if (!expected.test(String(thrown))) mismatch(`The input did not match the regular expression ${inspect(expected)}. Input:\n\n${inspect(String(thrown))}\n`);
    return;
  }
  if (typeof expected === "object") {
    const keys = Object.keys(expected);
    if (expected instanceof Error) keys.push("name", "message");
    if (keys.length === 0) throw argValue("error", expected, "may not be an empty object");
    for (const key of keys) {
      const pattern = expected[key] instanceof RegExp && typeof thrown?.[key] === "string";
      if (pattern ? !expected[key].test(thrown[key]) : !isDeepStrictEqual(thrown?.[key], expected[key])) {
        mismatch(messageFor("deepStrictEqual", Object.fromEntries(keys.map((name) => [name, thrown?.[name]])), Object.fromEntries(keys.map((name) => [name, expected[name]]))));
      }
    }
    return;
  }
  if (expected.prototype !== undefined && thrown instanceof expected) return;
  if (Error.isPrototypeOf(expected)) mismatch(`The error is expected to be an instance of "${expected.name}". Received ${thrown instanceof Error ? `"${thrown.constructor.name}"\n\nError message:\n\n${thrown.message}` : inspect(thrown)}`);
  if (Reflect.apply(expected, {}, [thrown]) !== true) mismatch(`The ${expected.name ? `"${expected.name}" ` : ""}validation function is expected to return "true". Received ${inspect(false)}\n\nCaught error:\n\n${thrown}`);
}

const NOTHING = Symbol("nothing was thrown");

function thrownBy(work) {
  if (typeof work !== "function") throw argType("fn", "function", work);
  try {
    work();
  } catch (error) {
    return error;
  }
  return NOTHING;
}

async function rejectionOf(work) {
  const promise = typeof work === "function" ? work() : work;
  if (typeof promise?.then !== "function") throw argType("promiseFn", ["function", "Promise"], work);
  try {
    await promise;
  } catch (error) {
    return error;
  }
  return NOTHING;
}

/** `throws(fn, "words")` means words for the failure, not what is expected. */
const expectation = (expected, message) => (typeof expected === "string" ? [undefined, expected] : [expected, message]);

function mustThrow(thrown, expected, message, operator, start) {
  const [wanted, words] = expectation(expected, message);
  if (thrown === NOTHING) {
    const kind = wanted?.name ? ` (${wanted.name})` : "";
    const what = operator === "rejects" ? "rejection" : "exception";
    refuse({ actual: undefined, expected: wanted, message: words instanceof Error ? words : `Missing expected ${what}${kind}${words ? `: ${words}` : "."}`, operator, stackStartFn: start });
  }
  matches(thrown, wanted, words, operator, start);
}

function mustNotThrow(thrown, expected, message, operator, start) {
  if (thrown === NOTHING) return;
  const [wanted, words] = expectation(expected, message);
  if (wanted !== undefined && typeof wanted === "function" && !(thrown instanceof wanted)) throw thrown;
  if (wanted instanceof RegExp && !wanted.test(String(thrown))) throw thrown;
  const what = operator === "doesNotReject" ? "rejection" : "exception";
  refuse({ actual: thrown, expected: wanted, message: `Got unwanted ${what}${words ? `: ${words}` : "."}\nActual message: "${thrown?.message}"`, operator, stackStartFn: start });
}

function matchText(text, pattern, message, wanted) {
  const operator = wanted ? "match" : "doesNotMatch";
  if (!(pattern instanceof RegExp)) throw argType("regexp", "RegExp", pattern);
  if (typeof text === "string" && pattern.test(text) === wanted) return;
  const words = typeof text !== "string"
    ? `The "string" argument must be of type string. Received type ${typeof text} (${inspect(text)})`
    : `The input ${wanted ? "did not match" : "was expected to not match"} the regular expression ${inspect(pattern)}. Input:\n\n${inspect(text)}\n`;
  refuse({ actual: text, expected: pattern, message: message ?? words, operator, stackStartFn: module.exports[operator] });
}

Object.assign(assert, {
  AssertionError,
  ok,
  fail,
  equal: comparison("equal", "==", loose),
  notEqual: comparison("notEqual", "!=", (left, right) => !loose(left, right)),
  deepEqual: comparison("deepEqual", "deepEqual", isDeepEqual),
  notDeepEqual: comparison("notDeepEqual", "notDeepEqual", (left, right) => !isDeepEqual(left, right)),
  deepStrictEqual: comparison("deepStrictEqual", "deepStrictEqual", isDeepStrictEqual),
  notDeepStrictEqual: comparison("notDeepStrictEqual", "notDeepStrictEqual", (left, right) => !isDeepStrictEqual(left, right)),
  strictEqual: comparison("strictEqual", "strictEqual", Object.is),
  notStrictEqual: comparison("notStrictEqual", "notStrictEqual", (left, right) => !Object.is(left, right)),
  throws(work, expected, message) { mustThrow(thrownBy(work), expected, message, "throws", assert.throws); },
  doesNotThrow(work, expected, message) { mustNotThrow(thrownBy(work), expected, message, "doesNotThrow", assert.doesNotThrow); },
  async rejects(work, expected, message) { mustThrow(await rejectionOf(work), expected, message, "rejects", assert.rejects); },
  async doesNotReject(work, expected, message) { mustNotThrow(await rejectionOf(work), expected, message, "doesNotReject", assert.doesNotReject); },
  ifError(value) {
    if (value === null || value === undefined) return;
    const text = value instanceof Error ? value.message || value.constructor.name : inspect(value);
    const error = new AssertionError({ actual: value, expected: null, operator: "ifError", message: `ifError got unwanted exception: ${text}`, stackStartFn: assert.ifError });
    error.generatedMessage = true;
    throw error;
  },
  match(text, pattern, message) { matchText(text, pattern, message, true); },
  doesNotMatch(text, pattern, message) { matchText(text, pattern, message, false); },
});

assert.strict = Object.assign((...values) => Reflect.apply(ok, undefined, values), assert, {
  equal: assert.strictEqual,
  notEqual: assert.notStrictEqual,
  deepEqual: assert.deepStrictEqual,
  notDeepEqual: assert.notDeepStrictEqual,
});
assert.strict.strict = assert.strict;

module.exports = assert;
