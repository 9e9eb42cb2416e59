// Gives: the `EJSON` global. `stringify` writes canonical Extended JSON (relaxed when asked for), `parse` reads both.
//
// Absent: the plain JSON output of endpoints (result.js), and legacy Extended JSON but for `{"$binary", "$type"}`.
// `{"$regex": …}` stays a document, because that is how queries spell it.
(function (portico) {
  "use strict";
  const { ArrayBuffer, Boolean, Date, Error, Map, Number, Object, RegExp, Set, String } = portico.globals;
  const { ArrayIsArray, DateGetTime, DateToISOString, JSONParse, JSONStringify, MapForEach, ObjectKeys } = portico;
  const { ObjectHasOwn, ObjectPrototype, ObjectPrototypeOf, RegExpFlags, RegExpSource, SetForEach, fail } = portico;
  const { kind, put, time } = portico;
  const { ObjectId, Binary, UUID, Int32, Long, Double, Decimal128, Timestamp, BSONRegExp, BSONSymbol, Code, DBRef } = portico.BSON;
  const { MinKey, MaxKey } = portico.BSON;

  // ------------------------------------------------------------------------------------------------------------- write

  function ejsonText(value, relaxed, replacer, indent) {
    return JSONStringify(wrap(value, relaxed === true, []), replacer, indent);
  }

  /** The JSON tree that stands for a value. `above` are the objects being written, to notice a value inside itself. */
  function wrap(value, relaxed, above) {
    switch (typeof value) {
      case "string": case "boolean": return value;
      case "number": return number(value, relaxed);
      case "bigint": return long(Long.fromBigInt(value), relaxed);
      case "object": return value === null ? null : object(value, relaxed, above);
      default: return { $undefined: true };
    }
  }

  function number(value, relaxed) {
    if (Object.is(value, -0) || value % 1 !== 0) return double(value, relaxed); // NaN and the infinities come here too
    if (relaxed) return value;
    if ((value | 0) === value) return { $numberInt: `${value}` };
    return portico.NumberIsSafeInteger(value) ? { $numberLong: `${value}` } : double(value, relaxed);
  }

  function double(value, relaxed) {
    if (relaxed && value - value === 0) return value;
    const text = Object.is(value, -0) ? "-0" : `${value}`;
    return { $numberDouble: value % 1 === 0 && !text.includes("e") ? `${text}.0` : text };
  }

  function long(value, relaxed) {
    const plain = value.toNumber();
    return relaxed && portico.NumberIsSafeInteger(plain) ? plain : { $numberLong: `${value}` };
  }

  function object(value, relaxed, above) {
    const bson = value[kind];
    if (bson !== undefined) return scalar(bson, value, relaxed, above);
    if (value instanceof Date) return date(value, relaxed);
    if (value instanceof RegExp) {
      return { $regularExpression: regexForm(value) };
    }
    if (value instanceof Error) return { message: `${value.message}`, name: `${value.name}` };
    if (value instanceof ArrayBuffer || ArrayBuffer.isView(value)) return scalar(2, new Binary(value), relaxed, above);
    if (value instanceof String || value instanceof Number || value instanceof Boolean) {
      return wrap(value.valueOf(), relaxed, above);
    }
    enter(value, above);
    const copy = members(value, relaxed, above);
    above.length -= 1;
    return copy;
  }

  function members(value, relaxed, above) {
    if (ArrayIsArray(value)) {
      const copy = [];
      for (let index = 0; index < value.length; index++) put(copy, index, wrap(value[index], relaxed, above));
      return copy;
    }
    if (value instanceof Set) {
      const copy = [];
      SetForEach(value, (item) => put(copy, copy.length, wrap(item, relaxed, above)));
      return copy;
    }
    const copy = {};
    if (value instanceof Map) {
      MapForEach(value, (item, key) => put(copy, `${key}`, wrap(item, relaxed, above)));
      return copy;
    }
    // A class that says how it is written in JSON (a library's date, decimal, URL) is taken at its word.
    const prototype = ObjectPrototypeOf(value);
    if (prototype !== ObjectPrototype && prototype !== null && typeof value.toJSON === "function") {
      return wrap(value.toJSON(""), relaxed, above);
    }
    const keys = ObjectKeys(value);
    for (let index = 0; index < keys.length; index++) {
      const item = value[keys[index]];
      if (typeof item === "function" || typeof item === "symbol") continue;
      put(copy, keys[index], wrap(item, relaxed, above));
    }
    return copy;
  }

  /** Refuses a value that contains itself, or is deeper than anything that could be stored. */
  function enter(value, above) {
    for (let index = above.length - 1; index >= 0; index--) {
      if (above[index] === value) throw fail("FunctionExecutionError", "cannot serialise a value that contains itself");
    }
    if (above.length >= portico.DEPTH_MAX) {
      throw fail("FunctionExecutionError", `cannot serialise a value nested deeper than ${portico.DEPTH_MAX} levels`);
    }
    above[above.length] = value;
  }

  function date(value, relaxed) {
    const time = DateGetTime(value);
    if (time !== time) return null;
    if (relaxed && time >= 0 && time < 253402300800000) return { $date: DateToISOString(value) };
    return { $date: { $numberLong: `${time}` } };
  }

  function regexForm(value) {
    return { pattern: regexPattern(RegExpSource(value)), options: regexOptions(RegExpFlags(value)) };
  }

  /** `source` is written as in a program: with `/` escaped, and `(?:)` for nothing. A pattern has neither. */
  function regexPattern(source) {
    if (source === "(?:)") return "";
    if (!source.includes("\\/")) return source;
    let pattern = "";
    for (let index = 0; index < source.length; index++) {
      if (source[index] === "\\" && source[index + 1] !== "/") pattern += source[index++];
      else if (source[index] === "\\") index += 1;
      pattern += source[index];
    }
    return pattern;
  }

  /** The flags BSON knows; `g`, `y`, `d` and `v` are about matching in a program, not about the pattern. */
  function regexOptions(flags) {
    let options = "";
    for (const flag of "imsux") if (flags.includes(flag)) options += flag;
    return options;
  }

  function scalar(bson, value, relaxed, above) {
    switch (bson) {
      case 1: return { $oid: value.hex };
      case 2: {
        const subType = (value.subtype < 16 ? "0" : "") + value.subtype.toString(16);
        return { $binary: { base64: portico.natives.base64Encode(value.bytes), subType } };
      }
      case 3: return relaxed ? value.value : { $numberInt: `${value.value}` };
      case 4: return long(value, relaxed);
      case 5: return double(value.value, relaxed);
      case 6: return { $numberDecimal: value.text };
      case 7: return { $timestamp: { t: value.t, i: value.i } };
      case 8: return { $regularExpression: { pattern: value.pattern, options: value.options } };
      case 9: return { $symbol: value.value };
      case 10:
        if (value.scope === undefined) return { $code: value.code };
        return { $code: value.code, $scope: wrap(value.scope, relaxed, above) };
      case 11: return { $dbPointer: { $ref: value.namespace, $id: { $oid: value.id.hex } } };
      case 12: return { $minKey: 1 };
      case 14: return { $date: { $numberLong: `${value[time]}` } };
      default: return { $maxKey: 1 };
    }
  }

  // -------------------------------------------------------------------------------------------------------------- read

  function ejsonParse(text) {
    return unwrap(JSONParse(text));
  }

  /** Replaces wrappers by values, bottom up and in place; the tree came from JSON.parse and belongs to us. */
  function unwrap(value, typed) {
    if (value === null || typeof value !== "object") return value;
    if (ArrayIsArray(value)) {
      for (let index = 0; index < value.length; index++) {
        const item = value[index];
        if (item !== null && typeof item === "object") value[index] = unwrap(item, typed);
      }
      return value;
    }
    const keys = ObjectKeys(value);
    if (keys.length > 0 && keys.length <= 2 && keys[0][0] === "$") {
      const reader = ObjectHasOwn(readers, keys[0]) ? readers[keys[0]] : undefined;
      if (reader !== undefined && (keys.length === 1 || keys[1] === reader.beside)) {
        const name = keys[0];
        return typed && name in exact ? exact[name](value[name]) : reader.read(value[name], value, typed);
      }
    }
    for (let index = 0; index < keys.length; index++) {
      const item = value[keys[index]];
      if (item !== null && typeof item === "object") put(value, keys[index], unwrap(item, typed));
    }
    return value;
  }

  function invalid(name) {
    return fail("InvalidParameter", `invalid ${name} in Extended JSON`);
  }

  function textOf(name, value) {
    if (typeof value !== "string") throw invalid(name);
    return value;
  }

  function numberOf(name, value) {
    const number = Number(textOf(name, value));
    if (value === "" || (number !== number && value !== "NaN")) throw invalid(name);
    return number;
  }

  function dateOf(value) {
    let time = value;
    if (typeof value === "string") time = Date.parse(value);
    else if (value !== null && typeof value === "object") time = numberOf("$date", value.$numberLong);
    if (typeof time !== "number" || time !== time) throw invalid("$date");
    if (time <= DATE_MAX && time >= -DATE_MAX) return new Date(time);
    return portico.farDate(typeof value === "number" ? Long.fromNumber(value) : Long.fromString(value.$numberLong));
  }

  /** Furthest that a JavaScript date is from 1970, milliseconds. */
  const DATE_MAX = 8.64e15;

  /** A RegExp where JavaScript knows every option and gives the pattern back as it was, else a BSONRegExp. */
  function regexOf(value) {
    const pattern = textOf("$regularExpression", value?.pattern);
    const options = textOf("$regularExpression", value?.options);
    try {
      const made = new RegExp(pattern, options);
      if (regexPattern(RegExpSource(made)) === pattern && regexOptions(options) === options) return made;
    } catch {
      // Not one of JavaScript's.
    }
    return new BSONRegExp(pattern, options);
  }

  function binaryOf(base64, subType) {
    const subtype = parseInt(textOf("$binary", subType), 16);
    const bytes = portico.natives.base64Decode(textOf("$binary", base64));
    if (bytes === undefined || !(subtype >= 0 && subtype <= 255)) throw invalid("$binary");
    return new Binary(bytes, subtype);
  }

  /** Readers for `relaxed: false`, where numbers keep the type they are written with. */
  const exact = {
    __proto__: null,
    $numberInt: (value) => new Int32(numberOf("$numberInt", value)),
    $numberDouble: (value) => new Double(numberOf("$numberDouble", value)),
  };

  const readers = {
    __proto__: null,
    $oid: { read: (value) => new ObjectId(textOf("$oid", value)) },
    $date: { read: dateOf },
    $numberInt: { read: (value) => numberOf("$numberInt", value) },
    $numberLong: { read: (value) => Long.fromString(textOf("$numberLong", value)) },
    $numberDouble: { read: (value) => numberOf("$numberDouble", value) },
    $numberDecimal: { read: (value) => new Decimal128(textOf("$numberDecimal", value)) },
    $binary: {
      beside: "$type",
      read: (value, whole) =>
        typeof value === "string" ? binaryOf(value, whole.$type ?? "00") : binaryOf(value?.base64, value?.subType),
    },
    $uuid: { read: (value) => new UUID(textOf("$uuid", value)) },
    $timestamp: { read: (value) => new Timestamp(value ?? {}) },
    $regularExpression: { read: regexOf },
    $symbol: { read: (value) => new BSONSymbol(textOf("$symbol", value)) },
    $code: { beside: "$scope", read: (value, whole, typed) => new Code(textOf("$code", value), unwrap(whole.$scope, typed)) },
    $dbPointer: { read: (value) => new DBRef(textOf("$dbPointer", value?.$ref), unwrap(value?.$id)) },
    $minKey: { read: () => new MinKey() },
    $maxKey: { read: () => new MaxKey() },
    $undefined: { read: () => undefined },
  };

  // ------------------------------------------------------------------------------------------------------------ global

  const EJSON = {
    /** `stringify(value, replacer?, indent?, options?)`; `stringify(value, options)` is understood too. */
    stringify(value, replacer, indent, options) {
      if (replacer !== null && typeof replacer === "object" && !ArrayIsArray(replacer)) {
        return ejsonText(value, replacer.relaxed, undefined, indent);
      }
      return ejsonText(value, options?.relaxed, replacer, indent);
    },
    /** With `{relaxed: false}` 32-bit integers and doubles come as BSON.Int32 and BSON.Double instead of numbers. */
    parse(text, options) {
      return unwrap(JSONParse(text), options?.relaxed === false);
    },
    /** The same mapping between values and plain objects, for those who want to keep an object. */
    serialize(value, options) {
      return wrap(value, options?.relaxed === true, []);
    },
    deserialize(value, options) {
      return unwrap(JSONParse(JSONStringify(value)), options?.relaxed === false);
    },
  };

  portico.ejsonText = ejsonText;
  portico.ejsonParse = ejsonParse;
  portico.ejsonWrap = wrap;
  portico.enter = enter;
  portico.regexForm = regexForm;
  portico.publish("EJSON", EJSON);
})(globalThis.__portico);
