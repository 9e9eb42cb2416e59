// Gives: the `console` a function sees, one per call, each method one line in the call's log. Methods work detached
// (`promise.catch(console.error)`), because they are bound when they are read.
//
// Absent: printf directives, groups, tables, counters; arguments are shown one after the other.
(function (portico) {
  "use strict";
  const { ArrayBuffer, Date, Error, Map, Promise, RegExp, Set, String } = portico.globals;
  const { ArrayIsArray, JSONStringify, MapForEach, ObjectDefine, ObjectKeys, SetForEach, StringSlice } = portico;
  const { ejsonWrap, kind } = portico;

  const LEVELS = { debug: 0, trace: 0, log: 1, dir: 1, info: 2, warn: 3, error: 4 };

  class Console {
    #call;

    constructor(call) { this.#call = call; }

    static {
      for (const name of ObjectKeys(LEVELS)) {
        const level = LEVELS[name];
        ObjectDefine(Console.prototype, name, {
          __proto__: null,
          configurable: true,
          enumerable: true,
          get() {
            const call = this.#call;
            return (...values) => { portico.natives.console(call, level, line(values)); };
          },
          // Tests replace console.log by assignment.
          set(value) {
            ObjectDefine(this, name, { __proto__: null, value, writable: true, enumerable: true, configurable: true });
          },
        });
      }
    }
  }

  /** What is left to write; writing stops when it is used up, so a huge object costs no more than a line. */
  let left = 0;

  function line(values) {
    left = portico.CONSOLE_TEXT_MAX;
    let text = "";
    for (let index = 0; index < values.length && left >= 0; index++) {
      const part = shown(values[index]);
      text += index === 0 ? part : ` ${part}`;
      left -= part.length + 1;
    }
    return text.length > portico.CONSOLE_TEXT_MAX ? `${StringSlice(text, 0, portico.CONSOLE_TEXT_MAX - 1)}…` : text;
  }

  function shown(value) {
    if (typeof value === "string") return value;
    const budget = left;
    let text;
    try {
      text = inner(value, []);
    } catch (error) {
      text = "[a value that cannot be shown]"; // a getter or a proxy of the tenant's threw
    }
    left = budget;
    return text;
  }

  function inner(value, above) {
    const before = left;
    const text = written(value, above);
    left = before - text.length;
    return text;
  }

  function written(value, above) {
    if (typeof value === "string") {
      return JSONStringify(value.length > left ? StringSlice(value, 0, left < 0 ? 0 : left) : value);
    }
    if (typeof value === "function") return value.name === "" ? "[Function]" : `[Function: ${value.name}]`;
    if (typeof value !== "object" || value === null) return typeof value === "bigint" ? `${value}n` : String(value);
    if (value instanceof Error) return `${value.name}: ${value.message}`;
    if (value instanceof Promise) return "[Promise]";
    if (value instanceof RegExp) return `${value}`;
    if (value[kind] !== undefined || value instanceof Date) return JSONStringify(ejsonWrap(value, true, []));
    if (value instanceof ArrayBuffer || ArrayBuffer.isView(value)) return `[${value.byteLength} bytes]`;
    if (above.includes(value)) return "[Circular]";
    if (above.length >= portico.DEPTH_MAX) return "[…]";
    above[above.length] = value;
    const text = members(value, above);
    above.length -= 1;
    return text;
  }

  function members(value, above) {
    let text = "";
    const item = (one) => {
      if (left > 0) text += (text === "" ? "" : ",") + inner(one, above);
    };
    const field = (one, key) => {
      if (left > 0) text += `${text === "" ? "" : ","}${JSONStringify(`${key}`)}:${inner(one, above)}`;
    };
    if (ArrayIsArray(value)) {
      for (let index = 0; index < value.length && left > 0; index++) item(value[index]);
      return `[${text}]`;
    }
    if (value instanceof Set) {
      SetForEach(value, item);
      return `[${text}]`;
    }
    if (value instanceof Map) {
      MapForEach(value, field);
    } else {
      const keys = ObjectKeys(value);
      for (let index = 0; index < keys.length && left > 0; index++) field(value[keys[index]], keys[index]);
    }
    return `{${text}}`;
  }

  // A constructor takes the number of a call; a tenant must not make one for another call.
  delete Console.prototype.constructor;

  portico.Console = Console;
})(globalThis.__portico);
