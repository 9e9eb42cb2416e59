// Gives: Node's StringDecoder: text from bytes that come in pieces, where a character may lie in two of them.

const { Buffer } = require("buffer");
const { argType, make } = require("internal/errors");

/** Bytes at the end of `bytes` that begin a UTF-8 character and do not end it. */
function openUtf8(bytes) {
  for (let back = 1; back <= Math.min(3, bytes.length); back++) {
    const byte = bytes[bytes.length - back];
    if ((byte & 0xc0) === 0x80) continue;
    const length = byte >= 0xf0 && byte < 0xf5 ? 4 : byte >= 0xe0 ? 3 : byte >= 0xc2 ? 2 : 1;
    return byte < 0xf5 && length > back ? back : 0;
  }
  return 0;
}

function openUtf16(bytes) {
  const odd = bytes.length % 2;
  const high = bytes.length - odd >= 2 ? bytes[bytes.length - odd - 1] : 0;
  return (high & 0xfc) === 0xd8 ? odd + 2 : odd;
}

const OPEN = {
  __proto__: null, utf8: openUtf8, utf16le: openUtf16, base64: (bytes) => bytes.length % 3, base64url: (bytes) => bytes.length % 3,
};
const NAMES = { __proto__: null, "utf-8": "utf8", "ucs2": "utf16le", "ucs-2": "utf16le", "utf-16le": "utf16le", "binary": "latin1" };

function StringDecoder(encoding) {
  const name = encoding === undefined || encoding === null ? "utf8" : `${encoding}`.toLowerCase();
  if (!Buffer.isEncoding(name)) throw make(TypeError, "ERR_UNKNOWN_ENCODING", `Unknown encoding: ${encoding}`);
  this.encoding = NAMES[name] ?? name;
  this.held = Buffer.alloc(0);
  Object.defineProperty(this, "held", { enumerable: false });
}

StringDecoder.prototype.write = function write(chunk) {
  if (typeof chunk === "string") return chunk;
  if (!ArrayBuffer.isView(chunk)) throw argType("buf", ["Buffer", "TypedArray", "DataView"], chunk);
  const fresh = Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength);
  const bytes = this.held.length === 0 ? fresh : Buffer.concat([this.held, fresh]);
  const open = OPEN[this.encoding]?.(bytes) ?? 0;
  this.held = open === 0 ? Buffer.alloc(0) : Buffer.from(bytes.subarray(bytes.length - open));
  return bytes.toString(this.encoding, 0, bytes.length - open);
};

StringDecoder.prototype.end = function end(chunk) {
  const text = chunk === undefined ? "" : this.write(chunk);
  const rest = this.held;
  this.held = Buffer.alloc(0);
  return rest.length === 0 ? text : text + rest.toString(this.encoding);
};

StringDecoder.prototype.text = function text(chunk, offset) {
  this.held = Buffer.alloc(0);
  return this.write(chunk.subarray(offset));
};

Object.defineProperty(StringDecoder.prototype, "lastNeed", { configurable: true, enumerable: true, get() { return this.held.length > 0 ? 1 : 0; } });
Object.defineProperty(StringDecoder.prototype, "lastTotal", { configurable: true, enumerable: true, get() { return this.held.length; } });

module.exports = { StringDecoder };
