// Gives: errors the platform itself raises (`fail`, `refusal`) and `describe`, which puts any thrown value into words.
//
// Absent: HTTP statuses, and the decision which failure ends a call. The host decides from the code, the third element
// `describe` returns.
(function (portico) {
  "use strict";
  const { Error, RangeError, TypeError } = portico.globals;
  const { ArrayJoin, ArrayPush, ErrorCapture, JSONStringify, StringIncludes, StringIndexOf, StringSlice, StringSplit } =
    portico;
  const { ArrayIncludes, ArrayIsArray, ObjectDefine, StringStartsWith, WeakMapGet, WeakMapSet } = portico;

  /** Platform errors and their code. Tenants cannot put an error of theirs in here. */
  const codes = new WeakMap();
  const VM_ERRORS = [TypeError, ReferenceError, RangeError, SyntaxError, EvalError, URIError];
  const ACCESSES = [
    { head: "Cannot read properties of ", verb: " (reading '" },
    { head: "Cannot set properties of ", verb: " (setting '" },
  ];

  /** An error of the platform: told to the client in its own words, not as a serialised object. */
  function fail(code, message) {
    const error = new Error(message);
    WeakMapSet(codes, error, code);
    return error;
  }

  /**
   * The error a refused document operation rejects with. `number` is the server's error number when there is one, `label`
   * what may be tried again.
   */
  function refusal(code, message, number, label) {
    const error = fail(code, message);
    error.name = "MongoError";
    error.code = number === undefined ? code : number;
    error.codeName = code;
    if (label !== undefined) error.errorLabels = [label];
    ObjectDefine(error, "hasErrorLabel", HAS_LABEL);
    return error;
  }

  const HAS_LABEL = {
    __proto__: null,
    value: function hasErrorLabel(label) {
      return ArrayIsArray(this.errorLabels) && ArrayIncludes(this.errorLabels, label);
    },
    writable: true,
    enumerable: false,
    configurable: true,
  };

  /** Gives a refusal the stack of the function that waits for it; it was made by the host, outside of any function. */
  function placed(error) {
    const ours = error !== null && typeof error === "object" && WeakMapGet(codes, error) !== undefined;
    if (ours) ErrorCapture(error, placed);
    return error;
  }

  /** `[message, stack, code | undefined]` of whatever was thrown. Runs tenant getters, but never throws. */
  function describe(error) {
    try {
      if (typeof error === "string") return [error, "", undefined];
      if (error instanceof Error) {
        const code = WeakMapGet(codes, error);
        const message = `${error.message}`;
        return [code === undefined ? words(error, message) : message, frames(error), code];
      }
      return [portico.ejsonText(error, true), "", undefined];
    } catch {
      return ["the function threw a value that cannot be shown", "", undefined];
    }
  }

  function words(error, message) {
    for (let index = 0; index < VM_ERRORS.length; index++) {
      if (error.constructor === VM_ERRORS[index]) return `${error.name}: ${familiar(message)}`;
    }
    return JSONStringify({ message, name: `${error.name}` });
  }

  /** V8's two most frequent messages in the words App Services used; people search their logs for them. */
  function familiar(message) {
    const undefinedName = StringIndexOf(message, " is not defined");
    if (undefinedName > 0 && undefinedName + 15 === message.length) {
      return `'${StringSlice(message, 0, undefinedName)}' is not defined`;
    }
    for (let index = 0; index < ACCESSES.length; index++) {
      const { head, verb } = ACCESSES[index];
      const at = StringIndexOf(message, verb);
      if (at < 0 || !StringStartsWith(message, head)) continue;
      const target = StringSlice(message, head.length, at);
      return `Cannot access member '${StringSlice(message, at + verb.length, -2)}' of ${target}`;
    }
    return message;
  }

  /** The stack's lines that lie in the tenant's files. */
  function frames(error) {
    const stack = error.stack;
    if (typeof stack !== "string") return "";
    const kept = [];
    const lines = StringSplit(stack, "\n");
    for (let index = 0; index < lines.length; index++) {
      const line = lines[index];
      if (!StringStartsWith(line, "    at ")) continue;
      const ofPackage = portico.packageFrame(line);
      if (ofPackage !== undefined) ArrayPush(kept, ofPackage);
      else if (StringIncludes(line, "(functions/") || StringIncludes(line, " functions/")) ArrayPush(kept, line);
    }
    return ArrayJoin(kept, "\n");
  }

  portico.fail = fail;
  portico.refusal = refusal;
  portico.placed = placed;
  portico.describe = describe;
})(globalThis.__portico);
