// Gives: Node's `buffer`. A Buffer is a Uint8Array with more methods; text is converted natively.
//
// Absent: a pool. Each buffer has memory of its own, so `buffer.buffer` is never shared between two of them.

const { natives } = internal;
const { argType, argValue, make, mustBe, mustBeInteger, outOfRange } = require("internal/errors");

const kMaxLength = 2 ** 32;
const kStringMaxLength = 536870888;
const custom = Symbol.for("nodejs.util.inspect.custom");

class FastBuffer extends Uint8Array {}

/** Deprecated as a function and as a constructor, and still found in packages. */
function Buffer(value, encodingOrOffset, length) {
  if (typeof value === "number") {
    if (typeof encodingOrOffset === "string") throw argType("string", "string", value);
    return Buffer.alloc(value);
  }
  return Buffer.from(value, encodingOrOffset, length);
}

Buffer.prototype = FastBuffer.prototype;
Object.defineProperty(Buffer.prototype, "constructor", { value: Buffer, writable: true, configurable: true });
Object.setPrototypeOf(Buffer, Uint8Array);
Object.defineProperty(Buffer, Symbol.species, { configurable: true, get: () => FastBuffer });

const isBytes = (value) => value instanceof Uint8Array;
const isArrayBuffer = (value) => internal.natives.types.isAnyArrayBuffer(value);
/** A Buffer over the same memory. */
const over = (view) => new FastBuffer(view.buffer, view.byteOffset, view.byteLength);

// ----------------------------------------------------------------------------------------------------------- encodings

function latin1Bytes(text) { return natives.latin1Encode(text); }

function utf16Bytes(text) {
  const bytes = new Uint8Array(text.length * 2);
  for (let at = 0; at < text.length; at++) {
    const unit = text.charCodeAt(at);
    bytes[2 * at] = unit & 255;
    bytes[2 * at + 1] = unit >> 8;
  }
  return bytes;
}

function utf16Text(bytes) {
  let text = "";
  const units = [];
  for (let at = 0; at + 1 < bytes.length; at += 2) {
    units.push(bytes[at] | (bytes[at + 1] << 8));
    if (units.length === 4096) text += String.fromCharCode(...units.splice(0));
  }
  return text + String.fromCharCode(...units);
}

/** As far as it is hexadecimal, like Node. */
function hexBytes(text) {
  const bytes = natives.hexDecode(text);
  if (bytes !== undefined) return bytes;
  const good = /^(?:[0-9a-fA-F]{2})*/.exec(text)[0];
  return natives.hexDecode(good);
}

/** Both alphabets, white space and missing padding do not matter; it ends at the first `=`. */
function base64Bytes(text) {
  let plain = text.replace(/[^A-Za-z0-9+/=_-]/g, "").replace(/-/g, "+").replace(/_/g, "/");
  const end = plain.indexOf("=");
  if (end >= 0) plain = plain.slice(0, end);
  if (plain.length % 4 === 1) plain = plain.slice(0, -1);
  const rest = plain.length % 4;
  if (rest !== 0) {
    // Bits past the last whole byte are ignored; the decoder insists that they are zero.
    const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const last = alphabet.indexOf(plain[plain.length - 1]) & (rest === 2 ? 0x30 : 0x3c);
    plain = plain.slice(0, -1) + alphabet[last] + "=".repeat(4 - rest);
  }
  return natives.base64Decode(plain);
}

/** What Node says of text it does not decode for that, so an upper bound where there is white space in it. */
function base64Length(text) {
  const padding = text.endsWith("==") ? 2 : text.endsWith("=") ? 1 : 0;
  return ((text.length - padding) * 3) >>> 2;
}

function base64UrlText(bytes) {
  return natives.base64Encode(bytes).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");
}

function asciiText(bytes) {
  const low = new Uint8Array(bytes.length);
  for (let at = 0; at < bytes.length; at++) low[at] = bytes[at] & 127;
  return natives.latin1Decode(low);
}

const utf8 = { name: "utf8", bytes: (text) => natives.utf8Encode(text), text: (bytes) => natives.utf8Decode(bytes) };
const utf16 = { name: "utf16le", bytes: utf16Bytes, text: utf16Text };
const latin1 = { name: "latin1", bytes: latin1Bytes, text: (bytes) => natives.latin1Decode(bytes) };
const ENCODINGS = {
  __proto__: null,
  "utf8": utf8, "utf-8": utf8, "ucs2": utf16, "ucs-2": utf16, "utf16le": utf16, "utf-16le": utf16,
  "latin1": latin1, "binary": latin1,
  "ascii": { name: "ascii", bytes: latin1Bytes, text: asciiText },
  "hex": { name: "hex", bytes: hexBytes, text: (bytes) => natives.hexEncode(bytes) },
  "base64": { name: "base64", bytes: base64Bytes, text: (bytes) => natives.base64Encode(bytes) },
  "base64url": { name: "base64url", bytes: base64Bytes, text: base64UrlText },
};

function encodingOf(name) {
  if (name === undefined || name === null || name === "") return utf8;
  const known = ENCODINGS[name] ?? ENCODINGS[`${name}`.toLowerCase()];
  if (known === undefined) throw make(TypeError, "ERR_UNKNOWN_ENCODING", `Unknown encoding: ${name}`);
  return known;
}

// ------------------------------------------------------------------------------------------------------------- statics

function sized(size, name = "size") {
  if (typeof size !== "number") throw argType(name, "number", size);
  if (!(size >= 0 && size <= kMaxLength)) throw outOfRange(name, `>= 0 && <= ${kMaxLength}`, size);
  return size;
}

function fromArrayLike(value) {
  const length = Number(value.length);
  const buffer = new FastBuffer(length > 0 ? Math.floor(length) : 0);
  for (let at = 0; at < buffer.length; at++) buffer[at] = value[at];
  return buffer;
}

const KINDS = "of type string or an instance of Buffer, ArrayBuffer, or Array or an Array-like Object";

function refused(value) {
  const { received } = require("internal/errors");
  return make(TypeError, "ERR_INVALID_ARG_TYPE", `The first argument must be ${KINDS}. Received ${received(value)}`);
}

const statics = {
  poolSize: 8192,

  from(value, encodingOrOffset, length) {
    if (typeof value === "string") return over(encodingOf(encodingOrOffset).bytes(value));
    if (value === null || typeof value !== "object") throw refused(value);
    if (isArrayBuffer(value)) {
      const offset = encodingOrOffset === undefined ? 0 : Number(encodingOrOffset) || 0;
      if (offset > value.byteLength) throw make(RangeError, "ERR_BUFFER_OUT_OF_BOUNDS", '"offset" is outside of buffer bounds');
      const most = value.byteLength - offset;
      if (length === undefined) return new FastBuffer(value, offset, most);
      const wanted = length > 0 ? Number(length) : 0;
      if (wanted > most) throw make(RangeError, "ERR_BUFFER_OUT_OF_BOUNDS", '"length" is outside of buffer bounds');
      return new FastBuffer(value, offset, wanted);
    }
    if (isBytes(value)) return new FastBuffer(value);
    const plain = typeof value.valueOf === "function" ? value.valueOf() : value;
    if (plain !== value && plain !== null && (typeof plain === "string" || typeof plain === "object")) {
      return statics.from(plain, encodingOrOffset, length);
    }
    if (value.length !== undefined || isArrayBuffer(value.buffer)) {
      return typeof value.length === "number" ? fromArrayLike(value) : new FastBuffer(0);
    }
    if (value.type === "Buffer" && Array.isArray(value.data)) return fromArrayLike(value.data);
    if (typeof value[Symbol.toPrimitive] === "function") {
      const text = value[Symbol.toPrimitive]("string");
      if (typeof text === "string") return statics.from(text, encodingOrOffset);
    }
    throw refused(value);
  },

  of(...items) { return fromArrayLike(items); },

  copyBytesFrom(view, offset = 0, length = undefined) {
    if (!ArrayBuffer.isView(view)) throw argType("view", "TypedArray", view);
    const part = view.subarray(offset, length === undefined ? undefined : offset + length);
    return new FastBuffer(new Uint8Array(part.buffer, part.byteOffset, part.byteLength));
  },

  alloc(size, fill, encoding) {
    const buffer = new FastBuffer(sized(size));
    return fill === undefined || fill === 0 || size === 0 ? buffer : buffer.fill(fill, encoding);
  },
  allocUnsafe(size) { return new FastBuffer(sized(size)); },
  allocUnsafeSlow(size) { return new FastBuffer(sized(size)); },

  isBuffer(value) { return value instanceof Buffer; },
  isEncoding(name) { return typeof name === "string" && name !== "" && ENCODINGS[name.toLowerCase()] !== undefined; },

  byteLength(value, encoding) {
    if (typeof value === "string") {
      const { name, bytes } = ENCODINGS[`${encoding}`.toLowerCase()] ?? utf8;
      if (name === "latin1" || name === "ascii") return value.length;
      if (name === "utf16le") return value.length * 2;
      if (name === "hex") return value.length >>> 1;
      if (name === "base64" || name === "base64url") return base64Length(value);
      return bytes(value).length;
    }
    if (ArrayBuffer.isView(value) || isArrayBuffer(value)) return value.byteLength;
    throw argType("string", ["string", "Buffer", "ArrayBuffer"], value);
  },

  compare(left, right) {
    if (!isBytes(left)) throw argType("buf1", ["Buffer", "Uint8Array"], left);
    if (!isBytes(right)) throw argType("buf2", ["Buffer", "Uint8Array"], right);
    return compared(left, right);
  },

  concat(list, length) {
    if (!Array.isArray(list)) throw argType("list", "Array", list);
    let size = length;
    if (size === undefined) {
      size = 0;
      for (const item of list) size += item.length;
    } else {
      mustBeInteger("length", size, 0, kMaxLength);
    }
    const whole = new FastBuffer(size);
    let at = 0;
    for (let index = 0; index < list.length; index++) {
      const item = list[index];
      if (!isBytes(item)) throw argType(`list[${index}]`, ["Buffer", "Uint8Array"], item);
      if (at >= size) break;
      const part = at + item.length > size ? item.subarray(0, size - at) : item;
      whole.set(part, at);
      at += part.length;
    }
    return whole;
  },
};
for (const name of Object.keys(statics)) {
  Object.defineProperty(Buffer, name, { value: statics[name], writable: true, enumerable: true, configurable: true });
}

function compared(left, right) {
  const length = Math.min(left.length, right.length);
  for (let at = 0; at < length; at++) if (left[at] !== right[at]) return left[at] < right[at] ? -1 : 1;
  return left.length === right.length ? 0 : left.length < right.length ? -1 : 1;
}

// ------------------------------------------------------------------------------------------------------------- methods

/** `[start, end)` of a part, the way `toString` and `fill` take it. */
function part(buffer, start, end) {
  const length = buffer.length;
  const from = start === undefined || !(start > 0) ? 0 : Math.min(Math.trunc(start), length);
  const to = end === undefined ? length : !(end > 0) ? 0 : Math.min(Math.trunc(end), length);
  return [from, to];
}

function needleOf(value, encoding) {
  if (typeof value === "number") return Uint8Array.of(value & 255);
  if (typeof value === "string") return encodingOf(encoding).bytes(value);
  if (isBytes(value)) return value;
  throw argType("value", ["number", "string", "Buffer", "Uint8Array"], value);
}

function indexOf(buffer, value, from, encoding, forward) {
  let start = from;
  let name = encoding;
  if (typeof start === "string") {
    name = start;
    start = undefined;
  }
  const needle = needleOf(value, name);
  let at = Number(start);
  if (Number.isNaN(at)) at = forward ? 0 : buffer.length;
  at = Math.trunc(at);
  if (at < 0) at += buffer.length;
  if (needle.length === 0) return Math.max(0, Math.min(at, buffer.length));
  if (at < 0) {
    if (!forward) return -1;
    at = 0;
  }
  const last = buffer.length - needle.length;
  if (at > last) {
    if (forward) return -1;
    at = last;
  }
  const step = typeof name === "string" && encodingOf(name) === utf16 && typeof value === "string" ? 2 : 1;
  for (; forward ? at <= last : at >= 0; at += forward ? 1 : -1) {
    if (step === 2 && at % 2 === 1) continue;
    let same = 0;
    while (same < needle.length && buffer[at + same] === needle[same]) same += 1;
    if (same === needle.length) return at;
  }
  return -1;
}

const methods = {
  toString(encoding, start, end) {
    if (arguments.length === 0) return natives.utf8Decode(this);
    const [from, to] = part(this, start, end);
    const { text } = encodingOf(encoding);
    return to <= from ? "" : text(from === 0 && to === this.length ? this : this.subarray(from, to));
  },
  toLocaleString(encoding, start, end) { return this.toString(encoding, start, end); },
  toJSON() { return { type: "Buffer", data: Array.from(this) }; },

  equals(other) {
    if (!isBytes(other)) throw argType("otherBuffer", ["Buffer", "Uint8Array"], other);
    return this === other || (this.length === other.length && compared(this, other) === 0);
  },

  compare(target, targetStart = 0, targetEnd = target?.length, start = 0, end = this.length) {
    if (!isBytes(target)) throw argType("target", ["Buffer", "Uint8Array"], target);
    mustBeInteger("targetStart", targetStart, 0);
    mustBeInteger("targetEnd", targetEnd, 0, target.length);
    mustBeInteger("sourceStart", start, 0);
    mustBeInteger("sourceEnd", end, 0, this.length);
    return compared(this.subarray(start, end), target.subarray(targetStart, targetEnd));
  },

  copy(target, targetStart = 0, start = 0, end = this.length) {
    if (!isBytes(target)) throw argType("target", ["Buffer", "Uint8Array"], target);
    const at = Math.trunc(targetStart) || 0;
    const from = Math.trunc(start) || 0;
    if (at < 0) throw outOfRange("targetStart", ">= 0", at);
    if (from < 0 || from > this.length) throw outOfRange("sourceStart", `>= 0 && <= ${this.length}`, from);
    if (end < 0) throw outOfRange("sourceEnd", ">= 0", end);
    if (at >= target.length || from >= end) return 0;
    const piece = this.subarray(from, Math.min(end, from + target.length - at));
    Uint8Array.prototype.set.call(target, piece, at);
    return piece.length;
  },

  slice(start, end) { return this.subarray(start, end); },

  write(text, offset, length, encoding) {
    mustBe("string", "argument", text);
    let [at, most, name] = [offset, length, encoding];
    if (typeof at === "string") [at, most, name] = [0, undefined, at];
    else if (typeof most === "string") [most, name] = [undefined, most];
    at ??= 0;
    mustBeInteger("offset", at, 0, this.length);
    if (most !== undefined) mustBeInteger("length", most, 0, this.length);
    const room = Math.min(most ?? this.length, this.length - at);
    const kind = encodingOf(name);
    let bytes = kind.bytes(text);
    if (bytes.length > room) {
      let cut = room;
      // A character that does not fit is not written in part.
      if (kind === utf8) while (cut > 0 && (bytes[cut] & 0xc0) === 0x80) cut -= 1;
      if (kind === utf16) cut -= cut % 2;
      bytes = bytes.subarray(0, cut);
    }
    this.set(bytes, at);
    return bytes.length;
  },

  fill(value, offset, end, encoding) {
    let [from, to, name] = [offset, end, encoding];
    if (typeof from === "string") [from, to, name] = [undefined, undefined, from];
    else if (typeof to === "string") [to, name] = [undefined, to];
    from ??= 0;
    to ??= this.length;
    mustBeInteger("offset", from, 0);
    mustBeInteger("end", to, 0, this.length);
    if (from >= to) return this;
    if (typeof value === "string" || isBytes(value)) {
      const bytes = typeof value === "string" ? encodingOf(name).bytes(value) : value;
      if (bytes.length === 0) {
        if (value.length > 0) throw argValue("value", value);
        return Uint8Array.prototype.fill.call(this, 0, from, to);
      }
      for (let at = from; at < to; at++) this[at] = bytes[(at - from) % bytes.length];
      return this;
    }
    return Uint8Array.prototype.fill.call(this, typeof value === "boolean" ? Number(value) : value & 255, from, to);
  },

  indexOf(value, from, encoding) { return indexOf(this, value, from, encoding, true); },
  lastIndexOf(value, from, encoding) { return indexOf(this, value, from, encoding, false); },
  includes(value, from, encoding) { return indexOf(this, value, from, encoding, true) >= 0; },

  swap16() { return swap(this, 2); },
  swap32() { return swap(this, 4); },
  swap64() { return swap(this, 8); },

  [custom](depth, options, inspect) {
    const most = module.exports.INSPECT_MAX_BYTES;
    const shown = Array.from(this.subarray(0, most), (byte) => byte.toString(16).padStart(2, "0")).join(" ");
    const more = this.length - most;
    const rest = more > 0 ? ` ... ${more} more byte${more > 1 ? "s" : ""}` : "";
    return `<${this.constructor?.name ?? "Buffer"}${shown === "" ? "" : " "}${shown}${rest}>`;
  },
};
methods.inspect = methods[custom];

function swap(buffer, size) {
  if (buffer.length % size !== 0) throw make(RangeError, "ERR_INVALID_BUFFER_SIZE", `Buffer size must be a multiple of ${size * 8}-bits`);
  for (let at = 0; at < buffer.length; at += size) buffer.subarray(at, at + size).reverse();
  return buffer;
}

// ------------------------------------------------------------------------------------------------------------- numbers

function offsetFor(buffer, offset, size) {
  if (typeof offset !== "number") throw argType("offset", "number", offset);
  const last = buffer.length - size;
  if (offset >= 0 && offset <= last && Number.isInteger(offset)) return offset;
  if (!Number.isInteger(offset)) throw outOfRange("offset", "an integer", offset);
  if (last < 0) throw make(RangeError, "ERR_BUFFER_OUT_OF_BOUNDS", "Attempt to access memory outside buffer bounds");
  throw outOfRange("offset", `>= 0 and <= ${last}`, offset);
}

function readUnsigned(buffer, offset, size, little) {
  let number = 0;
  for (let step = 0; step < size; step++) number = number * 256 + buffer[offset + (little ? size - 1 - step : step)];
  return number;
}

function readSigned(buffer, offset, size, little) {
  const number = readUnsigned(buffer, offset, size, little);
  const half = 2 ** (size * 8 - 1);
  return number >= half ? number - 2 * half : number;
}

function writeNumber(buffer, value, offset, size, little, signed) {
  const number = Number(value);
  const span = 2 ** (size * 8);
  const [min, max] = signed ? [-span / 2, span / 2 - 1] : [0, span - 1];
  if (number > max || number < min) {
    const power = `2 ** ${size * 8 - (signed ? 1 : 0)}`;
    const range = size > 3 ? (signed ? `>= -(${power}) and < ${power}` : `>= 0 and < ${power}`) : `>= ${min} and <= ${max}`;
    throw outOfRange("value", range, value);
  }
  let rest = Math.trunc(number) || 0;
  if (rest < 0) rest += span;
  for (let step = 0; step < size; step++) {
    buffer[offset + (little ? step : size - 1 - step)] = rest % 256;
    rest = Math.floor(rest / 256);
  }
  return offset + size;
}

function sizeOf(size) {
  if (typeof size !== "number") throw argType("byteLength", "number", size);
  if (!(Number.isInteger(size) && size >= 1 && size <= 6)) throw outOfRange("byteLength", ">= 1 and <= 6", size);
  return size;
}

for (const [order, little] of [["LE", true], ["BE", false]]) {
  for (const size of [1, 2, 4]) {
    const name = size === 1 ? "8" : `${size * 8}${order}`;
    methods[`readUInt${name}`] = function (offset = 0) { return readUnsigned(this, offsetFor(this, offset, size), size, little); };
    methods[`readInt${name}`] = function (offset = 0) { return readSigned(this, offsetFor(this, offset, size), size, little); };
    methods[`writeUInt${name}`] = function (value, offset = 0) { return writeNumber(this, value, offsetFor(this, offset, size), size, little, false); };
    methods[`writeInt${name}`] = function (value, offset = 0) { return writeNumber(this, value, offsetFor(this, offset, size), size, little, true); };
  }
  methods[`readUInt${order}`] = function (offset, size) { return readUnsigned(this, offsetFor(this, offset, sizeOf(size)), size, little); };
  methods[`readInt${order}`] = function (offset, size) { return readSigned(this, offsetFor(this, offset, sizeOf(size)), size, little); };
  methods[`writeUInt${order}`] = function (value, offset, size) { return writeNumber(this, value, offsetFor(this, offset, sizeOf(size)), size, little, false); };
  methods[`writeInt${order}`] = function (value, offset, size) { return writeNumber(this, value, offsetFor(this, offset, sizeOf(size)), size, little, true); };
  for (const [kind, size, get, set] of [
    ["Float", 4, "getFloat32", "setFloat32"], ["Double", 8, "getFloat64", "setFloat64"],
    ["BigInt64", 8, "getBigInt64", "setBigInt64"], ["BigUInt64", 8, "getBigUint64", "setBigUint64"],
  ]) {
    methods[`read${kind}${order}`] = function (offset = 0) {
      const at = offsetFor(this, offset, size);
      return new DataView(this.buffer, this.byteOffset, this.length)[get](at, little);
    };
    methods[`write${kind}${order}`] = function (value, offset = 0) {
      const at = offsetFor(this, offset, size);
      if (kind.startsWith("Big")) {
        const [min, max] = kind === "BigInt64" ? [-(2n ** 63n), 2n ** 63n - 1n] : [0n, 2n ** 64n - 1n];
        if (typeof value !== "bigint") throw argType("value", "bigint", value);
        if (value < min || value > max) throw outOfRange("value", `>= ${min}n and <= ${max}n`, value);
      }
      new DataView(this.buffer, this.byteOffset, this.length)[set](at, value, little);
      return at + size;
    };
  }
}

for (const name of Reflect.ownKeys(methods)) {
  Object.defineProperty(Buffer.prototype, name, { value: methods[name], writable: true, enumerable: true, configurable: true });
  if (typeof name === "string" && name.includes("UInt")) {
    Object.defineProperty(Buffer.prototype, name.replace("UInt", "Uint"), { value: methods[name], writable: true, enumerable: true, configurable: true });
  }
}
for (const [name, encoding] of [["ascii", "ascii"], ["base64", "base64"], ["base64url", "base64url"], ["hex", "hex"], ["latin1", "latin1"], ["ucs2", "ucs2"], ["utf8", "utf8"]]) {
  Object.defineProperty(Buffer.prototype, `${name}Slice`, { value(start, end) { return this.toString(encoding, start, end); }, writable: true, configurable: true });
  Object.defineProperty(Buffer.prototype, `${name}Write`, { value(text, offset, length) { return this.write(text, offset, length, encoding); }, writable: true, configurable: true });
}
for (const [name, property] of [["parent", "buffer"], ["offset", "byteOffset"]]) {
  Object.defineProperty(Buffer.prototype, name, {
    enumerable: true, configurable: true,
    get() { return this instanceof Buffer ? this[property] : undefined; },
  });
}

// -------------------------------------------------------------------------------------------------------------- module

function bytesOf(input) {
  if (ArrayBuffer.isView(input)) return new Uint8Array(input.buffer, input.byteOffset, input.byteLength);
  if (isArrayBuffer(input)) return new Uint8Array(input);
  throw argType("input", ["TypedArray", "ArrayBuffer"], input);
}

function transcode(source, from, to) {
  if (!isBytes(source)) throw argType("source", ["Buffer", "Uint8Array"], source);
  const text = encodingOf(from).text(source);
  const target = encodingOf(to);
  if (target.name === "latin1" || target.name === "ascii") {
    const most = target.name === "ascii" ? 127 : 255;
    return statics.from(Array.from(text, (character) => (character.codePointAt(0) > most ? "?" : character)).join(""), "latin1");
  }
  return statics.from(text, to);
}

function SlowBuffer(length) { return statics.allocUnsafeSlow(length); }
Object.setPrototypeOf(SlowBuffer.prototype, Uint8Array.prototype);

module.exports = {
  Buffer,
  SlowBuffer,
  transcode,
  isUtf8: (input) => natives.isUtf8(bytesOf(input)),
  isAscii: (input) => bytesOf(input).every((byte) => byte < 128),
  kMaxLength,
  kStringMaxLength,
  constants: { MAX_LENGTH: kMaxLength, MAX_STRING_LENGTH: kStringMaxLength },
  INSPECT_MAX_BYTES: 50,
  resolveObjectURL: () => undefined,
};
// The Web's part of this module, as far as the global object has it.
for (const name of ["atob", "btoa", "Blob", "File"]) {
  Object.defineProperty(module.exports, name, { enumerable: true, configurable: true, get: () => globalThis[name] });
}
