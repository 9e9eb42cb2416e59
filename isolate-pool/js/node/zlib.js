// Gives: Node's `zlib`: each format at once, with a callback, and as a stream.
//
// Absent: pieces. A stream collects what is written to it and gives its output when it ends, or when it is flushed for the
// last time; so what never ends never comes out. No preset dictionaries, and window sizes make no difference.

const { natives } = internal;
const { Buffer } = require("buffer");
const { Transform } = require("stream");
const { argType, make, mustBe, outOfRange, unavailable } = require("internal/errors");

const codes = {
  Z_OK: 0, Z_STREAM_END: 1, Z_NEED_DICT: 2, Z_ERRNO: -1, Z_STREAM_ERROR: -2, Z_DATA_ERROR: -3, Z_MEM_ERROR: -4, Z_BUF_ERROR: -5,
  Z_VERSION_ERROR: -6,
};
const brotliConstants = {
  BROTLI_DECODE: 8, BROTLI_ENCODE: 9, BROTLI_OPERATION_PROCESS: 0, BROTLI_OPERATION_FLUSH: 1, BROTLI_OPERATION_FINISH: 2,
  BROTLI_OPERATION_EMIT_METADATA: 3, BROTLI_PARAM_MODE: 0, BROTLI_MODE_GENERIC: 0, BROTLI_MODE_TEXT: 1, BROTLI_MODE_FONT: 2,
  BROTLI_DEFAULT_MODE: 0, BROTLI_PARAM_QUALITY: 1, BROTLI_MIN_QUALITY: 0, BROTLI_MAX_QUALITY: 11, BROTLI_DEFAULT_QUALITY: 11,
  BROTLI_PARAM_LGWIN: 2, BROTLI_MIN_WINDOW_BITS: 10, BROTLI_MAX_WINDOW_BITS: 24, BROTLI_LARGE_MAX_WINDOW_BITS: 30,
  BROTLI_DEFAULT_WINDOW: 22, BROTLI_PARAM_LGBLOCK: 3, BROTLI_MIN_INPUT_BLOCK_BITS: 16, BROTLI_MAX_INPUT_BLOCK_BITS: 24,
  BROTLI_PARAM_DISABLE_LITERAL_CONTEXT_MODELING: 4, BROTLI_PARAM_SIZE_HINT: 5, BROTLI_PARAM_LARGE_WINDOW: 6,
  BROTLI_PARAM_NPOSTFIX: 7, BROTLI_PARAM_NDIRECT: 8, BROTLI_DECODER_RESULT_ERROR: 0, BROTLI_DECODER_RESULT_SUCCESS: 1,
  BROTLI_DECODER_RESULT_NEEDS_MORE_INPUT: 2, BROTLI_DECODER_RESULT_NEEDS_MORE_OUTPUT: 3,
  BROTLI_DECODER_PARAM_DISABLE_RING_BUFFER_REALLOCATION: 0, BROTLI_DECODER_PARAM_LARGE_WINDOW: 1,
};
const constants = {
  Z_NO_FLUSH: 0, Z_PARTIAL_FLUSH: 1, Z_SYNC_FLUSH: 2, Z_FULL_FLUSH: 3, Z_FINISH: 4, Z_BLOCK: 5, ...codes,
  Z_NO_COMPRESSION: 0, Z_BEST_SPEED: 1, Z_BEST_COMPRESSION: 9, Z_DEFAULT_COMPRESSION: -1, Z_FILTERED: 1, Z_HUFFMAN_ONLY: 2,
  Z_RLE: 3, Z_FIXED: 4, Z_DEFAULT_STRATEGY: 0, ZLIB_VERNUM: 4880, DEFLATE: 1, INFLATE: 2, GZIP: 3, GUNZIP: 4, DEFLATERAW: 5,
  INFLATERAW: 6, UNZIP: 7, Z_MIN_WINDOWBITS: 8, Z_MAX_WINDOWBITS: 15, Z_DEFAULT_WINDOWBITS: 15, Z_MIN_CHUNK: 64,
  Z_MAX_CHUNK: Infinity, Z_DEFAULT_CHUNK: 16384, Z_MIN_MEMLEVEL: 1, Z_MAX_MEMLEVEL: 9, Z_DEFAULT_MEMLEVEL: 8, Z_MIN_LEVEL: -1,
  Z_MAX_LEVEL: 9, Z_DEFAULT_LEVEL: -1, ...brotliConstants,
};

function bytesOf(data) {
  if (typeof data === "string") return Buffer.from(data);
  if (ArrayBuffer.isView(data)) return data;
  if (natives.types.isAnyArrayBuffer(data)) return new Uint8Array(data);
  throw argType("buffer", ["string", "Buffer", "TypedArray", "DataView", "ArrayBuffer"], data);
}

/** `unzip` looks at the first bytes. */
function formatFor(format, bytes) {
  if (format !== "unzip") return format;
  const view = new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return view[0] === 0x1f && view[1] === 0x8b ? "gunzip" : "inflate";
}

function check(options) {
  if (options === undefined || options === null) return {};
  if (options.dictionary !== undefined) throw unavailable("zlib's option dictionary");
  const { level } = options;
  if (level !== undefined && !Number.isNaN(level)) {
    mustBe("number", "options.level", level);
    if (level < -1 || level > 9) throw outOfRange("options.level", ">= -1 and <= 9", level);
  }
  return options;
}

function run(format, data, options) {
  const bytes = bytesOf(data);
  const quality = options.params?.[constants.BROTLI_PARAM_QUALITY];
  const level = format === "brotli" ? quality ?? 11 : options.level ?? -1;
  const partial = options.finishFlush === constants.Z_SYNC_FLUSH || options.finishFlush === constants.BROTLI_OPERATION_FLUSH;
  try {
    const made = natives.zlib(formatFor(format, bytes), bytes, level, options.maxOutputLength ?? Infinity, partial);
    const buffer = Buffer.from(made.buffer);
    return options.info ? { buffer, engine: new (CLASSES[format])(options) } : buffer;
  } catch (error) {
    const [, code, message] = /^([A-Z_]+): (.*)$/s.exec(error.message) ?? [];
    if (code === undefined) throw error;
    const made = make(code === "ERR_BUFFER_TOO_LARGE" ? RangeError : Error, code, message);
    if (codes[code] !== undefined) made.errno = codes[code];
    throw made;
  }
}

/** What a stream of Node's has inside. Some packages take its class when they load, and use it only if they must. */
class Zlib {
  init() { throw unavailable("the handle of a zlib stream"); }
}

class ZlibBase extends Transform {
  #format;
  #options;
  #chunks = [];

  constructor(format, options) {
    const checked = check(options);
    super({ ...checked, flush: undefined });
    this.#format = format;
    this.#options = checked;
    this.bytesWritten = 0;
  }

  get _handle() { return new Zlib(); }
  get _closed() { return this.destroyed; }
  get bytesRead() { return this.bytesWritten; }

  _transform(chunk, encoding, callback) {
    this.bytesWritten += chunk.length;
    this.#chunks.push(chunk);
    callback();
  }

  _flush(callback) {
    const data = Buffer.concat(this.#chunks.splice(0));
    const empties = ["gunzip", "inflate", "inflateRaw", "unzip", "unbrotli"].includes(this.#format) && data.length === 0;
    let made;
    try {
      made = empties ? Buffer.alloc(0) : run(this.#format, data, { ...this.#options, info: false });
    } catch (error) {
      callback(error);
      return;
    }
    callback(null, made);
  }

  flush(kind, callback) {
    const done = typeof kind === "function" ? kind : callback;
    if (done) process.nextTick(done);
  }

  params(level, strategy, callback) {
    this.#options = { ...this.#options, level };
    process.nextTick(callback);
  }

  reset() { this.#chunks = []; }

  close(callback) {
    if (callback) this.once("close", callback);
    this.destroy();
  }
}

const NAMES = {
  Gzip: "gzip", Gunzip: "gunzip", Deflate: "deflate", Inflate: "inflate", DeflateRaw: "deflateRaw", InflateRaw: "inflateRaw",
  Unzip: "unzip", BrotliCompress: "brotli", BrotliDecompress: "unbrotli",
};
const CLASSES = {};

for (const [name, format] of Object.entries(NAMES)) {
  const Stream = { [name]: class extends ZlibBase { constructor(options) { super(format, options); } } }[name];
  /** Packages call these with and without `new`. */
  const Callable = new Proxy(Stream, { apply: (target, self, [options]) => new Stream(options) });
  CLASSES[format] = Stream;
  const method = name[0].toLowerCase() + name.slice(1);
  module.exports[name] = Callable;
  module.exports[`create${name}`] = (options) => new Stream(options);
  module.exports[`${method}Sync`] = (data, options) => run(format, data, check(options));
  module.exports[method] = (data, options, callback) => {
    const done = typeof options === "function" ? options : callback;
    mustBe("function", "callback", done);
    const checked = check(typeof options === "function" ? undefined : options);
    const bytes = Buffer.from(bytesOf(data));
    // After this turn, as if it had been done elsewhere.
    setImmediate(() => {
      let made;
      try {
        made = run(format, bytes, checked);
      } catch (error) {
        done(error);
        return;
      }
      done(null, made);
    });
  };
}

Object.assign(module.exports, {
  constants: Object.freeze(constants),
  codes: Object.freeze({ ...codes, ...Object.fromEntries(Object.entries(codes).map(([name, code]) => [code, name])) }),
  crc32(data, value = 0) { return natives.crc32(bytesOf(data), value); },
});
for (const [name, value] of Object.entries(constants)) {
  if (name.startsWith("Z_")) Object.defineProperty(module.exports, name, { value, enumerable: false });
}
