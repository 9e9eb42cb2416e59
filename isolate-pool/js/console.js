// Gives: the `console` a function sees, one per call, each method one line in the call's log. Methods work detached
// (`promise.catch(console.error)`), because they are bound when they are read.
//
// Absent: columns and indentation; a table or a group is one line like any other.
(function (portico) {
  "use strict";
  const { ArrayBuffer, Boolean, Date, Error, Map, Math, Number, Object, Promise, RegExp, Set, String } = portico.globals;
  const { ArrayIsArray, DateGetTime, JSONStringify, MapForEach, ObjectDefine, ObjectKeys, SetForEach } = portico;
  const { StringIncludes, StringIndexOf, StringSlice, ejsonWrap, kind } = portico;

  const LEVELS = { debug: 0, trace: 0, log: 1, dir: 1, info: 2, warn: 3, error: 4 };
  /** Made of the above, in the module that packages know as `console`; few functions call them. */
  const OTHERS = [
    "assert", "clear", "count", "countReset", "dirxml", "group", "groupCollapsed", "groupEnd", "table", "time", "timeEnd",
    "timeLog",
  ];

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
          set(value) { replace(this, name, value); },
        });
      }
      for (const name of OTHERS) {
        ObjectDefine(Console.prototype, name, {
          __proto__: null,
          configurable: true,
          enumerable: true,
          get() { return portico.builtin("console")[name]; },
          set(value) { replace(this, name, value); },
        });
      }
    }
  }

  /** Tests replace console.log by assignment. */
  function replace(console, name, value) {
    ObjectDefine(console, name, { __proto__: null, value, writable: true, enumerable: true, configurable: true });
  }

  /** What is left to write; writing stops when it is used up, so a huge object costs no more than a line. */
  let left = 0;

  function line(values) {
    left = portico.CONSOLE_TEXT_MAX;
    let text = "";
    let next = 0;
    if (values.length > 1 && typeof values[0] === "string" && StringIncludes(values[0], "%")) {
      ({ text, next } = formatted(values));
      left -= text.length + 1;
    }
    for (let index = next; index < values.length && left >= 0; index++) {
      const part = shown(values[index]);
      text += index === 0 ? part : ` ${part}`;
      left -= part.length + 1;
    }
    return text.length > portico.CONSOLE_TEXT_MAX ? `${StringSlice(text, 0, portico.CONSOLE_TEXT_MAX - 1)}…` : text;
  }

  /** The first value with its directives replaced by the values that follow, and which value comes after those. */
  function formatted(values) {
    const format = values[0];
    let text = "";
    let next = 1;
    let from = 0;
    for (let at = StringIndexOf(format, "%"); at >= 0 && at + 1 < format.length; at = StringIndexOf(format, "%", from)) {
      const directive = format[at + 1];
      text += StringSlice(format, from, at);
      from = at + 2;
      if (directive === "%") text += "%";
      else if (next >= values.length || !StringIncludes("sdifjoOc", directive)) text += `%${directive}`;
      else text += directed(directive, values[next++]);
    }
    return { text: text + StringSlice(format, from), next };
  }

  function directed(directive, value) {
    switch (directive) {
      case "c": return ""; // a style, which a log has not
      case "d": case "i": case "f": {
        if (typeof value === "symbol") return "NaN";
        if (typeof value === "bigint") return `${value}n`;
        const number = Number(value);
        return shown(directive === "i" ? Math.trunc(number) : number);
      }
      default: return shown(value);
    }
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
    if (typeof value === "bigint") return `${value}n`;
    if (typeof value !== "object" || value === null) return Object.is(value, -0) ? "-0" : String(value);
    if (value instanceof String || value instanceof Number || value instanceof Boolean) {
      return written(value.valueOf(), above);
    }
    if (value instanceof Error) return `${value.name}: ${value.message}`;
    if (value instanceof Promise) return "[Promise]";
    if (value instanceof RegExp) return `${value}`;
    if (value[kind] !== undefined) return JSONStringify(ejsonWrap(value, true, []));
    if (value instanceof Date) return DateGetTime(value) !== DateGetTime(value) ? "Invalid Date" : JSONStringify(ejsonWrap(value, true, []));
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
