// Gives: a function's return value as text. `textOf` writes the platform's plain JSON or canonical Extended JSON;
// `settled` waits for promises and cursors inside the value first.
//
// The common answer is a small plain object. It is walked once and handed to JSON.stringify as it is, without a copy.
// Absent: promises inside a Map, a Set or an instance of a tenant's class are not waited for.
(function (portico) {
  "use strict";
  const { ArrayBuffer, Boolean, Date, Error, Map, Number, Promise, RegExp, Set, String } = portico.globals;
  const { ArrayIsArray, JSONStringify, MapForEach, ObjectKeys, ObjectPrototype, ObjectPrototypeOf } = portico;
  const { PromiseThen, SetForEach, WeakSetHas, enter, kind, put, regexForm } = portico;
  const { Binary, Long } = portico.BSON;

  const PLAIN = 0; // JSON.stringify gives the right text
  const SPECIAL = 1; // something in it needs a form of its own
  const PENDING = 2; // something in it must be waited for

  /** Kind of BSON code, the one class with another value inside. */
  const CODE = 10;

  /** The worst of what is in a value. */
  function look(value, above) {
    if (typeof value !== "object") return typeof value === "bigint" ? SPECIAL : PLAIN;
    if (value === null) return PLAIN;
    const prototype = ObjectPrototypeOf(value);
    const array = prototype !== ObjectPrototype && prototype !== null && ArrayIsArray(value);
    if (prototype !== ObjectPrototype && prototype !== null && !array) return lookAtInstance(value);
    enter(value, above);
    let worst = PLAIN;
    if (array) {
      for (let index = 0; index < value.length && worst !== PENDING; index++) {
        const item = value[index];
        if (typeof item === "string" || typeof item === "number") continue;
        const found = look(item, above);
        if (found > worst) worst = found;
      }
    } else {
      for (const key in value) {
        const item = value[key];
        if (typeof item === "string" || typeof item === "number") continue;
        const found = look(item, above);
        if (found > worst) worst = found;
        if (worst === PENDING) break;
      }
    }
    above.length -= 1;
    return worst;
  }

  function lookAtInstance(value) {
    if (isPending(value)) return PENDING;
    const bson = value[kind];
    if (bson !== undefined) return bson === CODE ? SPECIAL : PLAIN; // every other class has a toJSON that is right
    return value instanceof Date ? PLAIN : SPECIAL;
  }

  function isPending(value) {
    return value instanceof Promise || portico.Cursor.is(value);
  }

  // -------------------------------------------------------------------------------------------------------------- wait

  /** What a returned promise becomes, without looking into it. A count becomes a 64-bit integer. */
  async function awaited(value) {
    const counted = value instanceof Promise && WeakSetHas(portico.counts, value);
    const known = await value;
    return counted ? Long.fromNumber(known) : known;
  }

  /** The value with every promise in plain objects and arrays replaced by what it became, and cursors by arrays. */
  async function settled(value) {
    const known = value instanceof Promise ? await awaited(value) : value;
    if (known === null || typeof known !== "object") return known;
    if (portico.Cursor.is(known)) return known.toArray();
    if (look(known, []) !== PENDING) return known;
    const waiting = [];
    const copy = copied(known, [], waiting);
    // All of them first, so that none is reported as unhandled while another is waited for.
    for (let index = 0; index < waiting.length; index++) PromiseThen(waiting[index].promise, undefined, () => {});
    for (let index = 0; index < waiting.length; index++) {
      const { holder, key, promise } = waiting[index];
      put(holder, key, await promise);
    }
    return copy;
  }

  function copied(value, above, waiting) {
    const array = ArrayIsArray(value);
    const prototype = ObjectPrototypeOf(value);
    if (!array && prototype !== ObjectPrototype && prototype !== null) return value;
    enter(value, above);
    const copy = array ? [] : {};
    const keys = ObjectKeys(value);
    if (array) copy.length = value.length;
    for (let index = 0; index < keys.length; index++) {
      const key = keys[index];
      let item = value[key];
      if (item !== null && typeof item === "object") {
        if (isPending(item)) {
          waiting[waiting.length] = { holder: copy, key, promise: settled(item) };
          item = undefined; // keeps the field in its place
        } else {
          item = copied(item, above, waiting);
        }
      }
      put(copy, key, item);
    }
    above.length -= 1;
    return copy;
  }

  // ------------------------------------------------------------------------------------------------------------- write

  /** The text of a value nothing in which is pending, or undefined when `settled` has to come first. */
  function textOf(value, ejson) {
    let found = PLAIN;
    if (typeof value === "object" || typeof value === "bigint") found = look(value, []);
    if (found === PENDING) return undefined;
    if (ejson) return portico.ejsonText(value, false);
    // Like anything JSON has no word for, `undefined` is `null`.
    return JSONStringify(found === PLAIN ? value : plain(value, [])) ?? "null";
  }

  /** A copy in which everything has the form JSON.stringify writes correctly. */
  function plain(value, above) {
    if (typeof value === "bigint") return Long.fromBigInt(value);
    if (typeof value === "function" || typeof value === "symbol") return undefined;
    if (typeof value !== "object" || value === null) return value;
    const bson = value[kind];
    if (bson === CODE && value.scope !== undefined) return { Code: value.code, Scope: plain(value.scope, above) };
    if (bson !== undefined) return value;
    if (value instanceof Date) return value;
    if (value instanceof RegExp) {
      const { pattern, options } = regexForm(value);
      return { Pattern: pattern, Options: options };
    }
    if (value instanceof Error) return { message: `${value.message}`, name: `${value.name}` };
    if (value instanceof ArrayBuffer || ArrayBuffer.isView(value)) return new Binary(value);
    if (value instanceof String || value instanceof Number || value instanceof Boolean) return value;
    enter(value, above);
    const copy = plainMembers(value, above);
    above.length -= 1;
    return copy;
  }

  function plainMembers(value, above) {
    if (ArrayIsArray(value)) {
      const copy = [];
      for (let index = 0; index < value.length; index++) copy[index] = plain(value[index], above);
      return copy;
    }
    if (value instanceof Set) {
      const copy = [];
      SetForEach(value, (item) => { copy[copy.length] = plain(item, above); });
      return copy;
    }
    const copy = {};
    if (value instanceof Map) {
      MapForEach(value, (item, key) => put(copy, `${key}`, plain(item, above)));
      return copy;
    }
    // A class that says how it is written in JSON (a library's date, decimal, URL) is taken at its word.
    const prototype = ObjectPrototypeOf(value);
    if (prototype !== ObjectPrototype && prototype !== null && typeof value.toJSON === "function") {
      return plain(value.toJSON(""), above);
    }
    const keys = ObjectKeys(value);
    for (let index = 0; index < keys.length; index++) put(copy, keys[index], plain(value[keys[index]], above));
    return copy;
  }

  portico.awaited = awaited;
  portico.settled = settled;
  portico.textOf = textOf;
})(globalThis.__portico);
