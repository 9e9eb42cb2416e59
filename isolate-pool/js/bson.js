// Gives: the `BSON` global, value classes that JavaScript has no type for. The host builds instances itself: it takes a
// prototype from `prototypes` by kind and sets the own fields in the order written here, so a constructor must never be
// needed for an instance to be valid. `JSON.stringify` of any of them is the platform's plain JSON form.
//
// Absent: bytes. Encoding and decoding documents is native, and so are hex, base64 and UTF-8. Decimal128 does no
// arithmetic; it is text with a checked grammar.
(function (portico) {
  "use strict";
  const { ArrayBuffer, BigInt, Date, Math, Number, Object, Uint8Array } = portico.globals;
  const { BigIntAsIntN, BigIntAsUintN, JSONRaw, JSONStringify, NumberIsInteger, ObjectDefine, StringCharCode, StringIndexOf } = portico;
  const { StringLower, StringSlice, fail } = portico;

  const kind = Symbol("bson kind");
  const prototypes = [];
  /** What Node's console and util.inspect call on a value to show it. */
  const inspectSymbol = Symbol.for("nodejs.util.inspect.custom");

  /** Gives a class its kind and its methods, none of which show up in `for in` or `Object.keys`. */
  function define(number, constructor, methods, statics) {
    const names = Reflect.ownKeys(methods);
    for (const name of names) hide(constructor.prototype, name, methods[name]);
    hide(constructor.prototype, inspectSymbol, function () { return this.inspect(); });
    hide(constructor.prototype, "_bsontype", constructor.name);
    for (const name of Reflect.ownKeys(statics ?? {})) hide(constructor, name, statics[name]);
    if (number !== 0) {
      hide(constructor.prototype, kind, number);
      prototypes[number] = constructor.prototype;
    }
    return constructor;
  }

  function hide(object, key, value) {
    ObjectDefine(object, key, { __proto__: null, value, writable: true, enumerable: false, configurable: true });
  }

  const wrong = (message) => fail("InvalidParameter", message);

  // ---------------------------------------------------------------------------------------------------------- ObjectId

  const HEX = "0123456789abcdef";
  let machine; // five random bytes of this isolate as hex, drawn at the first id
  let counter = 0;

  function hexOf(number, digits) {
    let text = "";
    for (let shift = (digits - 1) * 4; shift >= 0; shift -= 4) text += HEX[(number >>> shift) & 15];
    return text;
  }

  function nextId() {
    if (machine === undefined) {
      const random = portico.natives.randomBytes(8);
      machine = portico.natives.hexEncode(random.subarray(0, 5));
      counter = (random[5] << 16) | (random[6] << 8) | random[7];
    }
    counter = (counter + 1) & 0xffffff;
    return hexOf((Date.now() / 1000) >>> 0, 8) + machine + hexOf(counter, 6);
  }

  function isHex(text) {
    for (let index = 0; index < text.length; index++) {
      const code = StringCharCode(text, index);
      if (!((code >= 48 && code <= 57) || (code >= 97 && code <= 102) || (code >= 65 && code <= 70))) return false;
    }
    return true;
  }

  /** Own field: `hex`, 24 lower-case digits. Without argument: a new id. */
  function ObjectId(id) {
    if (!new.target) return new ObjectId(id);
    if (id === undefined || id === null) this.hex = nextId();
    else if (typeof id === "string" && id.length === 24 && isHex(id)) this.hex = StringLower(id);
    else if (typeof id === "object" && id[kind] === 1) this.hex = id.hex;
    else if (id instanceof Uint8Array && id.length === 12) this.hex = portico.natives.hexEncode(id);
    else throw wrong(`BSON.ObjectId needs a string of 24 hexadecimal digits, but got ${shown(id)}`);
  }

  const isId = (value) => value !== null && typeof value === "object" && value[kind] === 1;

  define(1, ObjectId, {
    toString() { return this.hex; },
    toHexString() { return this.hex; },
    toJSON() { return this.hex; },
    equals(other) {
      if (typeof other === "string") return StringLower(other) === this.hex;
      return isId(other) && other.hex === this.hex;
    },
    getTimestamp() { return new Date(parseInt(StringSlice(this.hex, 0, 8), 16) * 1000); },
    inspect() { return `ObjectId("${this.hex}")`; },
  }, {
    createFromHexString(hex) { return new ObjectId(`${hex}`); },
    createFromTime(seconds) { return new ObjectId(hexOf(seconds >>> 0, 8) + "0000000000000000"); },
    isValid(value) { return isId(value) || (typeof value === "string" && value.length === 24 && isHex(value)); },
  });

  // ------------------------------------------------------------------------------------------------------ Binary, UUID

  /** Own fields: `bytes` (Uint8Array), `subtype`. */
  function Binary(bytes, subtype) {
    if (!new.target) return new Binary(bytes, subtype);
    this.bytes = bytesOf(bytes);
    this.subtype = subtype === undefined ? 0 : subtype & 255;
  }

  function bytesOf(value) {
    if (value instanceof Uint8Array) return value;
    if (value === undefined) return new Uint8Array(0);
    if (typeof value === "string") return portico.natives.utf8Encode(value);
    if (value instanceof ArrayBuffer) return new Uint8Array(value);
    if (ArrayBuffer.isView(value)) return new Uint8Array(value.buffer, value.byteOffset, value.byteLength);
    throw wrong(`BSON.Binary needs bytes or a string, but got ${shown(value)}`);
  }

  function sameBytes(left, right) {
    if (left.length !== right.length) return false;
    for (let index = 0; index < left.length; index++) if (left[index] !== right[index]) return false;
    return true;
  }

  define(2, Binary, {
    text() { return portico.natives.utf8Decode(this.bytes); },
    toBase64() { return portico.natives.base64Encode(this.bytes); },
    toHex() { return portico.natives.hexEncode(this.bytes); },
    toString(encoding) {
      return encoding === "hex" ? this.toHex() : encoding === "base64" ? this.toBase64() : this.text();
    },
    toUUID() { return new UUID(this.bytes); },
    length() { return this.bytes.length; },
    value() { return this.bytes; },
    inspect() { return `Binary.fromBase64("${this.toBase64()}", ${this.subtype})`; },
    toJSON() { return { Subtype: this.subtype, Data: portico.natives.base64Encode(this.bytes) }; },
    equals(other) {
      return other?.[kind] === 2 && other.subtype === this.subtype && sameBytes(other.bytes, this.bytes);
    },
  }, {
    fromHex(hex, subtype) {
      const bytes = portico.natives.hexDecode(`${hex}`);
      if (bytes === undefined) throw wrong("BSON.Binary.fromHex: not hexadecimal");
      return new Binary(bytes, subtype);
    },
    fromBase64(base64, subtype) {
      const bytes = portico.natives.base64Decode(`${base64}`);
      if (bytes === undefined) throw wrong("BSON.Binary.fromBase64: not base64");
      return new Binary(bytes, subtype);
    },
    fromText(text, subtype) { return new Binary(portico.natives.utf8Encode(`${text}`), subtype); },
    createFromHexString(hex, subtype) { return Binary.fromHex(hex, subtype); },
    createFromBase64(base64, subtype) { return Binary.fromBase64(base64, subtype); },
    SUBTYPE_DEFAULT: 0, SUBTYPE_FUNCTION: 1, SUBTYPE_BYTE_ARRAY: 2, SUBTYPE_UUID_OLD: 3, SUBTYPE_UUID: 4,
    SUBTYPE_MD5: 5, SUBTYPE_ENCRYPTED: 6, SUBTYPE_COLUMN: 7, SUBTYPE_USER_DEFINED: 128,
  });
  // The names these have in the drivers.
  for (const [name, field] of [["buffer", "bytes"], ["sub_type", "subtype"]]) {
    ObjectDefine(Binary.prototype, name, {
      __proto__: null,
      get() { return this[field]; },
      enumerable: false,
      configurable: true,
    });
  }

  const uuidGrammar = /^[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}$/i;

  /** A Binary of subtype 4; the host decodes such values as Binary, `toUUID()` gives this class. */
  function UUID(id) {
    if (!new.target) return new UUID(id);
    if (id === undefined) {
      this.bytes = portico.natives.randomBytes(16);
      this.bytes[6] = (this.bytes[6] & 0x0f) | 0x40;
      this.bytes[8] = (this.bytes[8] & 0x3f) | 0x80;
    } else if (typeof id === "string") {
      this.bytes = portico.natives.hexDecode(id.replaceAll("-", ""));
    } else {
      this.bytes = id?.[kind] === 2 ? id.bytes : id;
    }
    if (!(this.bytes instanceof Uint8Array) || this.bytes.length !== 16) throw wrong(`not a UUID: ${shown(id)}`);
    this.subtype = 4;
  }
  Object.setPrototypeOf(UUID.prototype, Binary.prototype);

  define(0, UUID, {
    toString() { return this.toHexString(); },
    toBinary() { return new Binary(this.bytes, 4); },
    inspect() { return `UUID("${this.toHexString()}")`; },
    toHexString(dashes = true) {
      const hex = this.toHex();
      if (!dashes) return hex;
      const part = (from, to) => StringSlice(hex, from, to);
      return `${part(0, 8)}-${part(8, 12)}-${part(12, 16)}-${part(16, 20)}-${part(20, 32)}`;
    },
  }, {
    generate() { return new UUID().bytes; },
    createFromHexString(hex) { return new UUID(`${hex}`); },
    isValid(value) {
      if (value?.[kind] === 2) return value.bytes.length === 16;
      return typeof value === "string" && uuidGrammar.test(value);
    },
  });

  // ----------------------------------------------------------------------------------------------------------- numbers

  /** Own field: `value`. */
  function Int32(value) {
    if (!new.target) return new Int32(value);
    this.value = Number(value) | 0;
  }

  /** Own field: `value`. */
  function Double(value) {
    if (!new.target) return new Double(value);
    this.value = Number(value);
  }

  for (const [number, constructor] of [[3, Int32], [5, Double]]) {
    define(number, constructor, {
      valueOf() { return this.value; },
      toString(radix) { return this.value.toString(radix); },
      toJSON() { return this.value; },
      equals(other) { return other?.[kind] === number && Object.is(other.value, this.value); },
      inspect() { return `${constructor.name}(${Object.is(this.value, -0) ? "-0" : this.value})`; },
    }, { fromString(text) { return new constructor(text); } });
  }

  /** Own fields: `low`, `high`, both int32. */
  function Long(low, high) {
    if (!new.target) return new Long(low, high);
    if (typeof low === "bigint" || typeof low === "string" || (high === undefined && !isInt32(low))) {
      const long = toLong(low ?? 0);
      this.low = long.low;
      this.high = long.high;
    } else {
      this.low = low | 0;
      this.high = high === undefined ? (low < 0 ? -1 : 0) : high | 0;
    }
  }

  const isInt32 = (value) => typeof value === "number" && (value | 0) === value;
  const bits = (long) => (BigInt(long.high) << 32n) | BigInt(long.low >>> 0);
  const longOf = (big) => new Long(Number(BigIntAsIntN(32, big)), Number(BigIntAsIntN(32, big >> 32n)));

  function toLong(value) {
    if (typeof value === "object" && value !== null && value[kind] === 4) return value;
    if (typeof value === "number") {
      if (value !== value) return new Long(0, 0);
      if (value >= 2 ** 63) return Long.MAX_VALUE;
      if (value < -(2 ** 63)) return Long.MIN_VALUE;
      return longOf(BigInt(Math.trunc(value)));
    }
    if (typeof value === "bigint") return inRange(value);
    return Long.fromString(`${value}`);
  }

  function inRange(big) {
    if (BigIntAsIntN(64, big) !== big) throw wrong(`${big} does not fit in 64 bits`);
    return longOf(big);
  }

  function divide(left, right) {
    if (right === 0n) throw wrong("BSON.Long: division by zero");
    return longOf(left / right);
  }

  /** What an argument of a call carries so that the runtime learns whether it was calculated with. */
  const longMark = Symbol("calculated with");

  const arithmetic = {
    valueOf() {
      const mark = this[longMark];
      if (mark !== undefined) mark.used = true;
      return this.high * 4294967296 + (this.low >>> 0);
    },
    toNumber() { return this.high * 4294967296 + (this.low >>> 0); },
    toInt() { return this.low; },
    toBigInt() { return bits(this); },
    toString(radix) { return bits(this).toString(radix); },
    toJSON() {
      const number = this.toNumber();
      // Past 2^53 a JavaScript number would change the digits, so they are written as they are.
      return portico.NumberIsSafeInteger(number) || JSONRaw === undefined ? number : JSONRaw(`${bits(this)}`);
    },
    compare(other) {
      const left = bits(this), right = bits(toLong(other));
      return left < right ? -1 : left > right ? 1 : 0;
    },
    equals(other) { return this.compare(other) === 0; },
    notEquals(other) { return this.compare(other) !== 0; },
    lessThan(other) { return this.compare(other) < 0; },
    lessThanOrEqual(other) { return this.compare(other) <= 0; },
    greaterThan(other) { return this.compare(other) > 0; },
    greaterThanOrEqual(other) { return this.compare(other) >= 0; },
    add(other) { return longOf(bits(this) + bits(toLong(other))); },
    subtract(other) { return longOf(bits(this) - bits(toLong(other))); },
    multiply(other) { return longOf(bits(this) * bits(toLong(other))); },
    divide(other) { return divide(bits(this), bits(toLong(other))); },
    modulo(other) {
      const right = bits(toLong(other));
      if (right === 0n) throw wrong("BSON.Long: division by zero");
      return longOf(bits(this) % right);
    },
    negate() { return longOf(-bits(this)); },
    and(other) { return longOf(bits(this) & bits(toLong(other))); },
    or(other) { return longOf(bits(this) | bits(toLong(other))); },
    xor(other) { return longOf(bits(this) ^ bits(toLong(other))); },
    not() { return longOf(~bits(this)); },
    shiftLeft(count) { return longOf(bits(this) << BigInt(count & 63)); },
    shiftRight(count) { return longOf(bits(this) >> BigInt(count & 63)); },
    shiftRightUnsigned(count) { return longOf(BigIntAsUintN(64, bits(this)) >> BigInt(count & 63)); },
    isZero() { return this.low === 0 && this.high === 0; },
    isNegative() { return this.high < 0; },
    isPositive() { return this.high >= 0; },
    isOdd() { return (this.low & 1) === 1; },
    isEven() { return (this.low & 1) === 0; },
    getLowBits() { return this.low; },
    getHighBits() { return this.high; },
    getLowBitsUnsigned() { return this.low >>> 0; },
    getHighBitsUnsigned() { return this.high >>> 0; },
    inspect() { return `Long("${this}")`; },
  };
  Object.assign(arithmetic, {
    eq: arithmetic.equals, sub: arithmetic.subtract, mul: arithmetic.multiply, div: arithmetic.divide,
    mod: arithmetic.modulo, rem: arithmetic.modulo, neg: arithmetic.negate, comp: arithmetic.compare,
    ne: arithmetic.notEquals, lt: arithmetic.lessThan, lte: arithmetic.lessThanOrEqual, gt: arithmetic.greaterThan,
    gte: arithmetic.greaterThanOrEqual, shl: arithmetic.shiftLeft, shr: arithmetic.shiftRight,
    shru: arithmetic.shiftRightUnsigned,
  });
  define(4, Long, arithmetic, {
    fromNumber(value) { return toLong(Number(value)); },
    fromInt(value) { return new Long(value | 0); },
    fromBits(low, high) { return new Long(low, high); },
    fromBigInt(value) { return inRange(BigInt(value)); },
    fromString(text) {
      let big;
      try {
        big = BigInt(text);
      } catch {
        throw wrong(`BSON.Long.fromString: not an integer: ${shown(text)}`);
      }
      return inRange(big);
    },
    fromValue(value) { return toLong(value); },
    isLong(value) { return value?.[kind] === 4; },
  });
  hide(Long, "MAX_VALUE", new Long(-1, 0x7fffffff));
  hide(Long, "MIN_VALUE", new Long(0, -0x80000000));
  hide(Long, "ZERO", new Long(0, 0));
  hide(Long, "ONE", new Long(1, 0));
  hide(Long, "NEG_ONE", new Long(-1, -1));

  // -------------------------------------------------------------------------------------------------------- Decimal128

  /** Own field: `text`, in the form every MongoDB tool prints. */
  function Decimal128(text) {
    if (!new.target) return new Decimal128(text);
    this.text = decimal(`${text}`);
  }

  const DIGITS_MAX = 34;
  const grammar = /^([+-]?)(?:(\d+)\.?(\d*)|\.(\d+))(?:e([+-]?\d{1,6}))?$/i;

  function decimal(text) {
    const special = StringLower(text);
    const negative = special[0] === "-";
    const bare = negative || special[0] === "+" ? StringSlice(special, 1) : special;
    if (bare === "nan") return "NaN";
    if (bare === "inf" || bare === "infinity") return negative ? "-Infinity" : "Infinity";
    const match = grammar.exec(text);
    if (match === null) throw wrong(`BSON.Decimal128: not a decimal number: ${shown(text)}`);
    const fraction = match[3] ?? match[4] ?? "";
    let digits = (match[2] ?? "") + fraction;
    let exponent = Number(match[5] ?? 0) - fraction.length;
    let start = 0;
    while (start < digits.length - 1 && digits[start] === "0") start += 1;
    digits = StringSlice(digits, start);
    while (digits.length > DIGITS_MAX && digits[digits.length - 1] === "0") {
      digits = StringSlice(digits, 0, -1);
      exponent += 1;
    }
    if (digits.length > DIGITS_MAX) throw wrong(`BSON.Decimal128: more than ${DIGITS_MAX} digits: ${shown(text)}`);
    if (digits === "0") exponent = Math.min(Math.max(exponent, -6176), 6111);
    while (exponent > 6111 && digits.length < DIGITS_MAX) {
      digits += "0";
      exponent -= 1;
    }
    if (exponent > 6111 || exponent < -6176) throw wrong(`BSON.Decimal128: exponent out of range: ${shown(text)}`);
    return match[1].replace("+", "") + written(digits, exponent);
  }

  function written(digits, exponent) {
    const adjusted = digits.length - 1 + exponent;
    if (exponent > 0 || adjusted < -6) {
      const mantissa = digits.length > 1 ? `${digits[0]}.${StringSlice(digits, 1)}` : digits;
      return `${mantissa}E${adjusted >= 0 ? "+" : ""}${adjusted}`;
    }
    if (exponent === 0) return digits;
    const point = digits.length + exponent;
    if (point > 0) return `${StringSlice(digits, 0, point)}.${StringSlice(digits, point)}`;
    return `0.${"0".repeat(-point)}${digits}`;
  }

  define(6, Decimal128, {
    toString() { return this.text; },
    toJSON() { return this.text; },
    inspect() { return `Decimal128("${this.text}")`; },
    equals(other) { return other?.[kind] === 6 && other.text === this.text; },
  }, { fromString(text) { return new Decimal128(text); } });

  // -------------------------------------------------------------------------------------------------------- the others

  /** Own fields: `t` (seconds), `i` (ordinal), both uint32. Also takes `(low, high)` or a Long, as older drivers do. */
  function Timestamp(low, high) {
    if (!new.target) return new Timestamp(low, high);
    if (low !== null && typeof low === "object" && low[kind] === 4) {
      this.t = low.high >>> 0;
      this.i = low.low >>> 0;
    } else if (low !== null && typeof low === "object") {
      this.t = Number(low.t) >>> 0;
      this.i = Number(low.i) >>> 0;
    } else {
      this.t = high >>> 0;
      this.i = low >>> 0;
    }
  }
  define(7, Timestamp, {
    toString() { return `${(BigInt(this.t) << 32n) | BigInt(this.i)}`; },
    toJSON() { return { T: this.t, I: this.i }; },
    toLong() { return new Long(this.i | 0, this.t | 0); },
    toBigInt() { return (BigInt(this.t) << 32n) | BigInt(this.i); },
    inspect() { return `Timestamp({ t: ${this.t}, i: ${this.i} })`; },
    getHighBits() { return this.t; },
    getLowBits() { return this.i; },
    equals(other) { return other?.[kind] === 7 && other.t === this.t && other.i === this.i; },
  });

  /** Own fields: `pattern`, `options`. For options a RegExp cannot hold; others decode to RegExp. */
  function BSONRegExp(pattern, options) {
    if (!new.target) return new BSONRegExp(pattern, options);
    this.pattern = pattern === undefined ? "" : `${pattern}`;
    this.options = options === undefined ? "" : [...`${options}`].sort().join("");
    if (StringIndexOf(this.pattern, "\0") >= 0 || StringIndexOf(this.options, "\0") >= 0) {
      throw wrong("BSON.BSONRegExp: neither pattern nor options may contain a NUL character");
    }
  }
  define(8, BSONRegExp, {
    toString() { return `/${this.pattern}/${this.options}`; },
    inspect() { return `BSONRegExp(${JSONStringify(this.pattern)}, "${this.options}")`; },
    toJSON() { return { Pattern: this.pattern, Options: this.options }; },
    equals(other) { return other?.[kind] === 8 && other.pattern === this.pattern && other.options === this.options; },
  });

  /** Own field: `value`. */
  function BSONSymbol(value) {
    if (!new.target) return new BSONSymbol(value);
    this.value = `${value}`;
  }
  define(9, BSONSymbol, {
    toString() { return this.value; },
    valueOf() { return this.value; },
    toJSON() { return this.value; },
    inspect() { return `BSONSymbol(${JSONStringify(this.value)})`; },
    equals(other) { return other?.[kind] === 9 && other.value === this.value; },
  });

  /** Own fields: `code`, and `scope` when there is one. */
  function Code(code, scope) {
    if (!new.target) return new Code(code, scope);
    this.code = `${code}`;
    if (scope !== undefined && scope !== null) this.scope = scope;
  }
  define(10, Code, {
    toString() { return this.code; },
    toJSON() { return this.scope === undefined ? this.code : { Code: this.code, Scope: this.scope }; },
    inspect() { return `Code(${JSONStringify(this.code)}${this.scope === undefined ? "" : ", {…}"})`; },
  });

  /** Own fields: `namespace`, `id` (ObjectId). The deprecated BSON type; a modern reference is a plain document. */
  function DBRef(namespace, id) {
    if (!new.target) return new DBRef(namespace, id);
    this.namespace = `${namespace}`;
    this.id = isId(id) ? id : new ObjectId(id);
  }
  define(11, DBRef, {
    toString() { return `${this.namespace}/${this.id}`; },
    toJSON() { return { DB: this.namespace, Pointer: this.id.hex }; },
    inspect() { return `DBRef(${JSONStringify(this.namespace)}, ${this.id.inspect()})`; },
    equals(other) { return other?.[kind] === 11 && other.namespace === this.namespace && this.id.equals(other.id); },
  });

  /** No own fields, so plain JSON is `{}`. */
  function MinKey() {
    if (!new.target) return new MinKey();
  }
  define(12, MinKey, {
    toString() { return "MinKey"; },
    inspect() { return "MinKey()"; },
    equals(other) { return other?.[kind] === 12; },
  });

  /** No own fields, so plain JSON is `{}`. */
  function MaxKey() {
    if (!new.target) return new MaxKey();
  }
  define(13, MaxKey, {
    toString() { return "MaxKey"; },
    inspect() { return "MaxKey()"; },
    equals(other) { return other?.[kind] === 13; },
  });

  // ------------------------------------------------------------------------------------------------- dates far away

  /** The kind of a date that BSON can hold and JavaScript cannot: an invalid Date that keeps its milliseconds. */
  const FAR_DATE = 14;
  /** Under which symbol it keeps them, a Long. The host makes such dates as well. */
  const time = Symbol("milliseconds");

  function farDate(milliseconds) {
    const date = new Date(NaN);
    hide(date, kind, FAR_DATE);
    hide(date, time, milliseconds);
    return date;
  }

  function shown(value) {
    if (typeof value === "string") return `'${value.length > 80 ? `${StringSlice(value, 0, 80)}…` : value}'`;
    return typeof value === "number" ? `${value}` : value === null ? "null" : `a value of type ${typeof value}`;
  }

  const BSON = {
    ObjectId, ObjectID: ObjectId, Binary, UUID, Int32, Long, Double, Decimal128, Timestamp, BSONRegExp, BSONSymbol,
    Code, DBRef, MinKey, MaxKey,
  };
  // As older drivers spell them.
  for (const [alias, original] of [["Int64", Long], ["Symbol", BSONSymbol], ["Regex", BSONRegExp]]) {
    hide(BSON, alias, original);
  }

  portico.kind = kind;
  portico.time = time;
  portico.farDate = farDate;
  portico.longMark = longMark;
  portico.prototypes = prototypes;
  portico.BSON = BSON;
  portico.isInt32 = isInt32;
  portico.shown = shown;
  portico.publish("BSON", BSON);
})(globalThis.__portico);
