// Gives: Node's `crypto`, over natives that compute from bytes to bytes. What is given in pieces is kept until it is needed
// whole, except by ciphers, which give their output as they go.
//
// Absent: Diffie-Hellman by modulus, primes, ciphers other than AES and ChaCha20-Poly1305, RSA signatures with SHA-1, and
// certificates beyond the key in them. Each says so when it is used.

const { natives } = internal;
const { Buffer } = require("buffer");
const { Transform, Writable } = require("stream");
const { argType, argValue, make, mustBe, mustBeInteger, outOfRange, unavailable } = require("internal/errors");
const keys = require("internal/keys");
const { KeyObject, bytesOf, createPrivateKey, createPublicKey, createSecretKey, isBytes, isCurve, secretOf } = keys;

const over = (view) => Buffer.from(view.buffer, view.byteOffset, view.byteLength);
const encoded = (bytes, encoding) => (encoding && encoding !== "buffer" ? over(bytes).toString(encoding) : over(bytes));

function dataOf(data, encoding, name = "data") {
  if (typeof data !== "string" && !isBytes(data)) throw argType(name, ["string", "Buffer", "TypedArray", "DataView"], data);
  return bytesOf(data, encoding === "buffer" ? "utf8" : encoding);
}

/** After this turn, as if it had been done elsewhere. */
function later(callback, work) {
  setImmediate(() => {
    let result;
    try {
      result = work();
    } catch (error) {
      callback(error);
      return;
    }
    callback(null, ...(Array.isArray(result) ? result : [result]));
  });
}

// ------------------------------------------------------------------------------------------------------------------- hashes

const HASHES = ["md5", "sha1", "sha224", "sha256", "sha3-256", "sha3-384", "sha3-512", "sha384", "sha512", "sha512-256"];

/** Our name of a digest, whichever of its names is given. */
function hashNamed(name) {
  mustBe("string", "algorithm", name);
  const plain = name.toLowerCase().replace(/^rsa-/, "").replace(/^(?:ecdsa|dsa)-with-/, "").replace(/^sha-(\d)/, "sha$1").replace(/^sha512\/256$/, "sha512-256");
  if (HASHES.includes(plain)) return plain;
  throw make(Error, "ERR_OSSL_EVP_UNSUPPORTED", "Digest method not supported");
}

/** What hashes and HMACs have in common: pieces until they are asked for the result. */
class Summing extends Transform {
  #chunks = [];
  #finished = false;

  constructor(options) { super(options); }

  update(data, encoding) {
    if (this.#finished) throw make(Error, "ERR_CRYPTO_HASH_FINALIZED", "Digest already called");
    const bytes = dataOf(data, encoding);
    // A view of the caller's memory is copied, because the caller may use it again.
    this.#chunks.push(typeof data === "string" ? bytes : Buffer.from(bytes));
    if (this.#chunks.length > 256) this.#chunks = [Buffer.concat(this.#chunks)];
    return this;
  }

  take() {
    if (this.#finished) throw make(Error, "ERR_CRYPTO_HASH_FINALIZED", "Digest already called");
    this.#finished = true;
    return Buffer.concat(this.#chunks.splice(0));
  }

  copyOf() {
    if (this.#finished) throw make(Error, "ERR_CRYPTO_HASH_FINALIZED", "Digest already called");
    return this.#chunks.slice();
  }

  digest(encoding) { return encoded(this.compute(this.take()), encoding); }

  _transform(chunk, encoding, callback) {
    this.update(chunk, encoding);
    callback();
  }

  _flush(callback) {
    this.push(this.digest());
    callback();
  }
}

class Hash extends Summing {
  #name;
  #options;

  constructor(name, options) {
    super(options);
    this.#name = hashNamed(name);
    this.#options = options;
    if (options?.outputLength !== undefined && options.outputLength !== natives.digest(this.#name, Buffer.alloc(0)).length) {
      throw unavailable("crypto.createHash with another outputLength");
    }
  }

  compute(bytes) { return natives.digest(this.#name, bytes); }

  copy(options) {
    const same = new Hash(this.#name, options ?? this.#options);
    for (const chunk of this.copyOf()) same.update(chunk);
    return same;
  }
}

class Hmac extends Summing {
  #name;
  #key;

  constructor(name, key, options) {
    super(options);
    this.#name = hashNamed(name);
    this.#key = secretOf(key, "key", options?.encoding);
  }

  compute(bytes) { return natives.hmac(this.#name, this.#key, bytes); }
}

/** Packages call constructors without `new`. */
const callable = (Class) => new Proxy(Class, { apply: (target, self, values) => new Class(...values) });

function timingSafeEqual(left, right) {
  if (!isBytes(left)) throw argType("buf1", ["ArrayBuffer", "Buffer", "TypedArray", "DataView"], left);
  if (!isBytes(right)) throw argType("buf2", ["ArrayBuffer", "Buffer", "TypedArray", "DataView"], right);
  if (left.byteLength !== right.byteLength) {
    throw make(RangeError, "ERR_CRYPTO_TIMING_SAFE_EQUAL_LENGTH", "Input buffers must have the same byte length");
  }
  return natives.timingSafeEqual(left, right);
}

// ------------------------------------------------------------------------------------------------------------------- random

const RANDOM_MAX = 65536;

function fillRandom(view) {
  for (let at = 0; at < view.length; at += RANDOM_MAX) view.set(natives.randomBytes(Math.min(RANDOM_MAX, view.length - at)), at);
  return view;
}

function randomBytes(size, callback) {
  if (typeof size !== "number") throw argType("size", "number", size);
  if (!(size >= 0 && size <= 0x7fffffff)) throw outOfRange("size", ">= 0 && <= 2147483647", size);
  if (callback === undefined) return fillRandom(Buffer.alloc(size));
  mustBe("function", "callback", callback);
  return later(callback, () => fillRandom(Buffer.alloc(size)));
}

function randomFillSync(target, offset = 0, size = target.byteLength - offset) {
  if (!isBytes(target)) throw argType("buf", ["ArrayBuffer", "ArrayBufferView"], target);
  const width = target.BYTES_PER_ELEMENT ?? 1;
  const whole = bytesOf(target);
  fillRandom(new Uint8Array(whole.buffer, whole.byteOffset + offset * width, Math.min(size * (size === target.byteLength - offset ? 1 : width), whole.length - offset * width)));
  return target;
}

function randomFill(target, ...rest) {
  const callback = rest.pop();
  mustBe("function", "callback", callback);
  later(callback, () => randomFillSync(target, ...rest));
}

function randomInt(min, max, callback) {
  let [low, high, done] = [min, max, callback];
  if (high === undefined || typeof high === "function") [low, high, done] = [0, min, max];
  mustBeInteger("min", low);
  mustBeInteger("max", high);
  if (high <= low) throw outOfRange("max", `greater than the value of "min" (${low})`, high);
  const span = high - low;
  if (span > 2 ** 48 - 1) throw outOfRange(callback === undefined && typeof max !== "number" ? "max" : "max - min", "<= 281474976710655", span);
  const fair = 2 ** 48 - (2 ** 48 % span);
  const draw = () => {
    for (;;) {
      const number = over(natives.randomBytes(6)).readUIntBE(0, 6);
      if (number < fair) return low + (number % span);
    }
  };
  return done === undefined ? draw() : later(done, draw);
}

function randomUUID() {
  const bytes = natives.randomBytes(16);
  bytes[6] = (bytes[6] & 15) | 64;
  bytes[8] = (bytes[8] & 63) | 128;
  const hex = natives.hexEncode(bytes);
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`;
}

// ----------------------------------------------------------------------------------------------------------------- derivation

function pbkdf2Sync(password, salt, iterations, length, digest) {
  const [secret, seasoning] = [dataOf(password, undefined, "password"), dataOf(salt, undefined, "salt")];
  mustBeInteger("iterations", iterations, 1, 2147483647);
  mustBeInteger("keylen", length, 0, 2147483647);
  if (typeof digest !== "string") throw argType("digest", "string", digest);
  let name;
  try {
    name = hashNamed(digest);
  } catch {
    throw make(TypeError, "ERR_CRYPTO_INVALID_DIGEST", `Invalid digest: ${digest}`);
  }
  return over(natives.pbkdf2(name, secret, seasoning, iterations, length));
}

function scryptSync(password, salt, length, options) {
  const [secret, seasoning] = [dataOf(password, undefined, "password"), dataOf(salt, undefined, "salt")];
  mustBeInteger("keylen", length, 0, 2147483647);
  const n = options?.N ?? options?.cost ?? 16384;
  const r = options?.r ?? options?.blockSize ?? 8;
  const p = options?.p ?? options?.parallelization ?? 1;
  const most = options?.maxmem ?? 32 * 1024 * 1024;
  try {
    return over(natives.scrypt(secret, seasoning, n, r, p, most, length));
  } catch (error) {
    throw make(RangeError, "ERR_CRYPTO_INVALID_SCRYPT_PARAMS", error.message);
  }
}

function hkdfSync(digest, key, salt, info, length) {
  const name = hashNamed(digest);
  const [secret, seasoning, context] = [secretOf(key, "ikm"), dataOf(salt, undefined, "salt"), dataOf(info, undefined, "info")];
  mustBeInteger("length", length, 0, 2147483647);
  const width = natives.digest(name, Buffer.alloc(0)).length;
  if (length > 255 * width) throw make(RangeError, "ERR_CRYPTO_INVALID_KEYLEN", "Invalid key length");
  const extracted = natives.hmac(name, seasoning.length === 0 ? Buffer.alloc(width) : seasoning, secret);
  let last = Buffer.alloc(0);
  const parts = [];
  for (let number = 1; parts.length * width < length; number++) {
    last = over(natives.hmac(name, extracted, Buffer.concat([last, context, Buffer.of(number)])));
    parts.push(last);
  }
  const whole = Buffer.concat(parts).subarray(0, length);
  return whole.buffer.slice(whole.byteOffset, whole.byteOffset + whole.length);
}

/** The form with a callback of something that takes as long as it takes. */
function withCallback(work) {
  return (...values) => {
    const callback = values.pop();
    mustBe("function", "callback", callback);
    later(callback, () => work(...values));
  };
}

// -------------------------------------------------------------------------------------------------------------------- ciphers

/** `nids`: the numbers OpenSSL has for the mode with keys of 128, 192 and 256 bits. */
const MODES = {
  ecb: { iv: 0, block: 16, nids: [418, 422, 426] }, cbc: { iv: 16, block: 16, nids: [419, 423, 427] },
  ctr: { iv: 16, nids: [904, 905, 906] }, cfb: { iv: 16, nids: [421, 425, 429] }, cfb8: { iv: 16, nids: [653, 654, 655] },
  ofb: { iv: 16, nids: [420, 424, 428] }, gcm: { iv: 12, nids: [895, 898, 901] },
};
const CIPHERS = [
  ...["128", "192", "256"].flatMap((bits) => Object.keys(MODES).map((mode) => `aes-${bits}-${mode}`)), "chacha20-poly1305",
].sort();

function cipherNamed(name) {
  mustBe("string", "cipher", name);
  const plain = name.toLowerCase().replace(/^aes(\d{3})$/, "aes-$1-cbc").replace(/^id-aes(\d{3})-gcm$/i, "aes-$1-gcm").replace(/-cfb128$/, "-cfb");
  if (!CIPHERS.includes(plain)) throw make(Error, "ERR_CRYPTO_UNKNOWN_CIPHER", "Unknown cipher");
  if (plain === "chacha20-poly1305") return { name: plain, mode: "chacha", keyBytes: 32, ivBytes: 12 };
  const [, bits, mode] = plain.split("-");
  return { name: plain, mode, keyBytes: bits / 8, ivBytes: MODES[mode].iv };
}

class CipherBase extends Transform {
  #mode;
  #encrypt;
  #key;
  #iv;
  #held = Buffer.alloc(0); // bytes of a block that is not whole yet
  #padding = true;
  #finished = false;
  #done = 0; // bytes that went through
  #aad = [];
  #texts = []; // ciphertext to authenticate, or everything where the cipher works at once
  #tag;
  #tagBytes;

  constructor(encrypt, cipher, key, iv, options) {
    super(options);
    const { mode, keyBytes } = cipherNamed(cipher);
    this.#mode = mode;
    this.#encrypt = encrypt;
    this.#key = Buffer.from(secretOf(key));
    if (this.#key.length !== keyBytes) throw make(RangeError, "ERR_CRYPTO_INVALID_KEYLEN", "Invalid key length");
    if (iv === null || iv === undefined) {
      if (mode !== "ecb") throw make(TypeError, "ERR_CRYPTO_INVALID_IV", "Invalid initialization vector");
      this.#iv = Buffer.alloc(0);
    } else {
      this.#iv = Buffer.from(dataOf(iv, undefined, "iv"));
    }
    const wanted = mode === "chacha" ? 12 : MODES[mode].iv;
    if (mode === "gcm" ? this.#iv.length === 0 : this.#iv.length !== wanted && !(mode === "ecb")) {
      throw make(TypeError, "ERR_CRYPTO_INVALID_IV", "Invalid initialization vector");
    }
    this.#tagBytes = options?.authTagLength ?? 16;
  }

  get #authenticates() { return this.#mode === "gcm" || this.#mode === "chacha"; }

  update(data, inputEncoding, outputEncoding) {
    if (this.#finished) throw make(Error, "ERR_CRYPTO_INVALID_STATE", "Invalid state for operation update");
    return encoded(this.#piece(dataOf(data, inputEncoding)), outputEncoding);
  }

  #piece(data) {
    switch (this.#mode) {
      case "chacha":
        this.#texts.push(Buffer.from(data));
        return Buffer.alloc(0);
      case "gcm": {
        const made = over(natives.gcmCounter(this.#key, this.#iv, this.#done, data));
        this.#done += data.length;
        this.#texts.push(this.#encrypt ? Buffer.from(made) : Buffer.from(data));
        return made;
      }
      case "ecb":
      case "cbc":
        return this.#blocks(data);
      case "cfb8":
        return this.#bytewise(data);
      default:
        return this.#stream(data);
    }
  }

  /** Whole blocks; when decrypting with padding the last one is kept back, since it may hold the padding. */
  #blocks(data) {
    const all = Buffer.concat([this.#held, data]);
    let whole = all.length - (all.length % 16);
    if (!this.#encrypt && this.#padding && whole === all.length && whole > 0) whole -= 16;
    this.#held = Buffer.from(all.subarray(whole));
    return this.#run(all.subarray(0, whole));
  }

  #run(bytes) {
    if (bytes.length === 0) return Buffer.alloc(0);
    const made = over(natives.cipher(this.#mode, this.#encrypt, this.#key, this.#iv, bytes));
    if (this.#mode === "cbc") this.#iv = Buffer.from((this.#encrypt ? made : bytes).subarray(-16));
    return made;
  }

  #bytewise(data) {
    const made = over(natives.cipher("cfb8", this.#encrypt, this.#key, this.#iv, data));
    this.#iv = Buffer.concat([this.#iv, this.#encrypt ? made : data]).subarray(-16);
    return made;
  }

  /** Modes that work on bytes: the block that was begun is done again, and its first bytes left out. */
  #stream(data) {
    const all = Buffer.concat([this.#held, data]);
    const made = over(natives.cipher(this.#mode, this.#encrypt, this.#key, this.#iv, all));
    const fresh = made.subarray(this.#held.length);
    const whole = all.length - (all.length % 16);
    if (whole > 0) {
      const ciphertext = this.#encrypt ? made : all;
      if (this.#mode === "cfb") this.#iv = Buffer.from(ciphertext.subarray(whole - 16, whole));
      else if (this.#mode === "ofb") this.#iv = Buffer.from(made.subarray(whole - 16, whole).map((byte, at) => byte ^ all[whole - 16 + at]));
      else this.#iv = advanced(this.#iv, whole / 16);
    }
    this.#held = Buffer.from(all.subarray(whole));
    return fresh;
  }

  final(outputEncoding) {
    if (this.#finished) throw make(Error, "ERR_CRYPTO_INVALID_STATE", "Unsupported state");
    this.#finished = true;
    return encoded(this.#last(), outputEncoding);
  }

  #last() {
    if (this.#mode === "gcm") return this.#authenticate();
    if (this.#mode === "chacha") return this.#atOnce();
    if (this.#mode !== "ecb" && this.#mode !== "cbc") return Buffer.alloc(0);
    if (!this.#padding) {
      if (this.#held.length !== 0) throw make(Error, "ERR_OSSL_WRONG_FINAL_BLOCK_LENGTH", "error:1C80006B:Provider routines::wrong final block length");
      return Buffer.alloc(0);
    }
    if (this.#encrypt) {
      const count = 16 - this.#held.length;
      return this.#run(Buffer.concat([this.#held, Buffer.alloc(count, count)]));
    }
    if (this.#held.length !== 16) throw make(Error, "ERR_OSSL_WRONG_FINAL_BLOCK_LENGTH", "error:1C80006B:Provider routines::wrong final block length");
    const block = this.#run(this.#held);
    const count = block[15];
    if (!(count >= 1 && count <= 16) || !block.subarray(16 - count).every((byte) => byte === count)) {
      throw make(Error, "ERR_OSSL_BAD_DECRYPT", "error:1C800064:Provider routines::bad decrypt");
    }
    return block.subarray(0, 16 - count);
  }

  #authenticate() {
    const tag = over(natives.gcmTag(this.#key, this.#iv, Buffer.concat(this.#aad), Buffer.concat(this.#texts)));
    if (this.#encrypt) {
      this.#tag = tag.subarray(0, this.#tagBytes);
      return Buffer.alloc(0);
    }
    const given = this.#tag;
    if (given === undefined || !natives.timingSafeEqual(tag.subarray(0, given.length), given)) throw unauthentic();
    return Buffer.alloc(0);
  }

  #atOnce() {
    const data = Buffer.concat(this.#texts);
    const aad = Buffer.concat(this.#aad);
    if (this.#encrypt) {
      const sealed = over(natives.chacha(true, this.#key, this.#iv, aad, data));
      this.#tag = sealed.subarray(-16);
      return sealed.subarray(0, -16);
    }
    if (this.#tag === undefined) throw unauthentic();
    try {
      return over(natives.chacha(false, this.#key, this.#iv, aad, Buffer.concat([data, this.#tag])));
    } catch {
      throw unauthentic();
    }
  }

  setAutoPadding(padding = true) {
    this.#padding = Boolean(padding);
    return this;
  }

  setAAD(data, options) {
    if (!this.#authenticates) throw make(Error, "ERR_CRYPTO_INVALID_STATE", "Invalid state for operation setAAD");
    this.#aad.push(Buffer.from(dataOf(data, options?.encoding, "buffer")));
    return this;
  }

  getAuthTag() {
    if (!this.#encrypt || !this.#finished || this.#tag === undefined) throw make(Error, "ERR_CRYPTO_INVALID_STATE", "Invalid state for operation getAuthTag");
    return Buffer.from(this.#tag);
  }

  setAuthTag(tag, encoding) {
    if (!this.#authenticates || this.#encrypt) throw make(Error, "ERR_CRYPTO_INVALID_STATE", "Invalid state for operation setAuthTag");
    const bytes = Buffer.from(dataOf(tag, encoding, "buffer"));
    const good = this.#mode === "gcm" ? bytes.length === 4 || bytes.length === 8 || (bytes.length >= 12 && bytes.length <= 16) : bytes.length === 16;
    if (!good) throw make(TypeError, "ERR_CRYPTO_INVALID_AUTH_TAG", `Invalid authentication tag length: ${bytes.length}`);
    this.#tag = bytes;
    return this;
  }

  _transform(chunk, encoding, callback) {
    try {
      callback(null, this.update(chunk, encoding));
    } catch (error) {
      callback(error);
    }
  }

  _flush(callback) {
    try {
      callback(null, this.final());
    } catch (error) {
      callback(error);
    }
  }
}

function unauthentic() { return new Error("Unsupported state or unable to authenticate data"); }

/** A counter of 16 bytes, `blocks` further. */
function advanced(iv, blocks) {
  const next = Buffer.from(iv);
  let carry = blocks;
  for (let at = 15; at >= 0 && carry > 0; at--) {
    carry += next[at];
    next[at] = carry % 256;
    carry = Math.floor(carry / 256);
  }
  return next;
}

class Cipheriv extends CipherBase { constructor(cipher, key, iv, options) { super(true, cipher, key, iv, options); } }
class Decipheriv extends CipherBase { constructor(cipher, key, iv, options) { super(false, cipher, key, iv, options); } }

function getCipherInfo(nameOrNid, options) {
  if (typeof nameOrNid !== "string") return undefined;
  let known;
  try {
    known = cipherNamed(nameOrNid);
  } catch {
    return undefined;
  }
  if (options?.keyLength !== undefined && options.keyLength !== known.keyBytes) return undefined;
  if (options?.ivLength !== undefined && options.ivLength !== known.ivBytes && known.mode !== "gcm") return undefined;
  const mode = MODES[known.mode];
  const info = { mode: mode ? known.mode : "stream", name: known.name, nid: mode?.nids[known.keyBytes / 8 - 2] ?? 1018 };
  if (mode?.block) info.blockSize = mode.block;
  if (known.ivBytes > 0) info.ivLength = options?.ivLength ?? known.ivBytes;
  return { ...info, keyLength: known.keyBytes };
}

// ----------------------------------------------------------------------------------------------------------------- signatures

const constants = {
  RSA_PKCS1_PADDING: 1, RSA_NO_PADDING: 3, RSA_PKCS1_OAEP_PADDING: 4, RSA_X931_PADDING: 5, RSA_PKCS1_PSS_PADDING: 6,
  RSA_PSS_SALTLEN_DIGEST: -1, RSA_PSS_SALTLEN_MAX_SIGN: -2, RSA_PSS_SALTLEN_AUTO: -2, POINT_CONVERSION_COMPRESSED: 2,
  POINT_CONVERSION_UNCOMPRESSED: 4, POINT_CONVERSION_HYBRID: 6, OPENSSL_VERSION_NUMBER: 805306544, SSL_OP_ALL: 2147485776,
  SSL_OP_NO_SSLv2: 0, SSL_OP_NO_SSLv3: 33554432, SSL_OP_NO_TLSv1: 67108864, SSL_OP_NO_TLSv1_1: 268435456, SSL_OP_NO_TLSv1_2: 134217728,
  SSL_OP_NO_TLSv1_3: 536870912, SSL_OP_NO_TICKET: 16384, SSL_OP_NO_COMPRESSION: 131072, SSL_OP_CIPHER_SERVER_PREFERENCE: 4194304,
  SSL_OP_LEGACY_SERVER_CONNECT: 4, TLS1_VERSION: 769, TLS1_1_VERSION: 770, TLS1_2_VERSION: 771, TLS1_3_VERSION: 772,
  defaultCoreCipherList: "TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256:TLS_AES_128_GCM_SHA256", defaultCipherList: "TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256:TLS_AES_128_GCM_SHA256",
  ENGINE_METHOD_ALL: 65535, ENGINE_METHOD_NONE: 0,
};

/** Under which of the natives' schemes a key signs. */
function schemeFor(key, options) {
  if (isCurve(key.kind)) return `${key.kind}-${options?.dsaEncoding === "ieee-p1363" ? "fixed" : "der"}`;
  if (key.kind === "ed25519") return "ed25519";
  if (key.kind !== "rsa" && key.kind !== "rsa-pss") throw make(Error, "ERR_OSSL_EVP_OPERATION_NOT_SUPPORTED_FOR_THIS_KEYTYPE", "error:03000096:digital envelope routines::operation not supported for this keytype");
  const padding = options?.padding ?? (key.kind === "rsa-pss" ? constants.RSA_PKCS1_PSS_PADDING : constants.RSA_PKCS1_PADDING);
  if (padding === constants.RSA_PKCS1_PADDING) return "rsa";
  if (padding !== constants.RSA_PKCS1_PSS_PADDING) throw make(Error, "ERR_OSSL_ILLEGAL_OR_UNSUPPORTED_PADDING_MODE", "error:1C8000A5:Provider routines::illegal or unsupported padding mode");
  return "rsa-pss";
}

const HASH_BYTES = { sha256: 32, sha384: 48, sha512: 64 };

/** The salt of a PSS signature has the digest's length or the longest possible; other lengths are not made. */
function saltFor(scheme, digest, options, otherwise) {
  const salt = options?.saltLength;
  if (scheme !== "rsa-pss") return scheme;
  if (salt === undefined) return otherwise;
  if (salt === constants.RSA_PSS_SALTLEN_DIGEST || salt === HASH_BYTES[digest]) return "rsa-pss";
  if (salt === constants.RSA_PSS_SALTLEN_AUTO) return otherwise;
  throw unavailable(`an RSA-PSS salt of ${salt} bytes`, "the digest's length and the longest possible are");
}

const digestFor = (key, algorithm) => {
  if (key.kind === "ed25519") return "";
  return hashNamed(algorithm ?? "sha256");
};

function signWith(algorithm, data, given) {
  const key = createPrivateKey(given);
  const digest = digestFor(key, algorithm);
  const options = given instanceof KeyObject ? undefined : given;
  return over(natives.sign(saltFor(schemeFor(key, options), digest, options, "rsa-pss-max"), digest, key.der, data));
}

function verifyWith(algorithm, data, given, signature) {
  const key = createPublicKey(given);
  const digest = digestFor(key, algorithm);
  const options = given instanceof KeyObject ? undefined : given;
  return natives.verify(saltFor(schemeFor(key, options), digest, options, "rsa-pss-any"), digest, key.der, data, signature);
}

class Collecting extends Writable {
  #chunks = [];

  update(data, encoding) {
    this.#chunks.push(Buffer.from(dataOf(data, encoding)));
    return this;
  }

  collected() { return Buffer.concat(this.#chunks.splice(0)); }

  _write(chunk, encoding, callback) {
    this.update(chunk, encoding);
    callback();
  }
}

class Sign extends Collecting {
  #algorithm;

  constructor(algorithm, options) {
    super(options);
    this.#algorithm = hashOrInvalid(algorithm);
  }

  sign(key, encoding) {
    if (!key) throw make(Error, "ERR_CRYPTO_SIGN_KEY_REQUIRED", "No key provided to sign");
    return encoded(signWith(this.#algorithm, this.collected(), key), encoding);
  }
}

class Verify extends Collecting {
  #algorithm;

  constructor(algorithm, options) {
    super(options);
    this.#algorithm = hashOrInvalid(algorithm);
  }

  verify(key, signature, encoding) { return verifyWith(this.#algorithm, this.collected(), key, dataOf(signature, encoding, "signature")); }
}

function hashOrInvalid(algorithm) {
  mustBe("string", "algorithm", algorithm);
  try {
    return hashNamed(algorithm);
  } catch {
    throw make(Error, "ERR_CRYPTO_INVALID_DIGEST", `Invalid digest: ${algorithm}`);
  }
}

function sign(algorithm, data, key, callback) {
  const bytes = dataOf(data);
  if (!key) throw make(Error, "ERR_CRYPTO_SIGN_KEY_REQUIRED", "No key provided to sign");
  return callback === undefined ? signWith(algorithm, bytes, key) : later(callback, () => signWith(algorithm, bytes, key));
}

function verify(algorithm, data, key, signature, callback) {
  const [bytes, given] = [dataOf(data), dataOf(signature, undefined, "signature")];
  return callback === undefined ? verifyWith(algorithm, bytes, key, given) : later(callback, () => verifyWith(algorithm, bytes, key, given));
}

// ----------------------------------------------------------------------------------------------------------- RSA encryption

function paddingOf(given) {
  const padding = given?.padding ?? constants.RSA_PKCS1_OAEP_PADDING;
  if (padding === constants.RSA_PKCS1_PADDING) return "pkcs1";
  if (padding === constants.RSA_PKCS1_OAEP_PADDING) return `oaep-${hashNamed(given?.oaepHash ?? "sha1")}`;
  throw unavailable(`RSA padding ${padding}`);
}

const labelOf = (given) => (given?.oaepLabel === undefined ? Buffer.alloc(0) : dataOf(given.oaepLabel, undefined, "oaepLabel"));

function publicEncrypt(given, data) {
  const key = createPublicKey(given);
  return over(natives.rsaEncrypt(paddingOf(given), key.der, labelOf(given), dataOf(data, given?.encoding, "buffer")));
}

function privateDecrypt(given, data) {
  const key = createPrivateKey(given);
  try {
    return over(natives.rsaDecrypt(paddingOf(given), key.der, labelOf(given), dataOf(data, given?.encoding, "buffer")));
  } catch (error) {
    throw make(Error, "ERR_OSSL_RSA_OAEP_DECODING_ERROR", `error:02000079:rsa routines::${error.message}`);
  }
}

// ----------------------------------------------------------------------------------------------------------------- new keys

function generateKeyPairSync(type, options) {
  mustBe("string", "type", type);
  const kind = kindToMake(type, options ?? {});
  const made = natives.generateKey(kind);
  const privateKey = createPrivateKey({ key: made, format: "der", type: "pkcs8" });
  const publicKey = createPublicKey(privateKey);
  const given = (key, encoding) => (encoding === undefined ? key : key.export(encoding));
  return { publicKey: given(publicKey, options?.publicKeyEncoding), privateKey: given(privateKey, options?.privateKeyEncoding) };
}

function kindToMake(type, options) {
  if (type === "ec") {
    const kind = keys.curveNamed(options.namedCurve);
    if (kind === undefined) throw make(TypeError, "ERR_CRYPTO_INVALID_CURVE", "Invalid EC curve name");
    return kind;
  }
  if (type === "ed25519" || type === "x25519") return type;
  if (type !== "rsa") throw argValue("type", type, "must be a supported key type");
  mustBeInteger("options.modulusLength", options.modulusLength, 0, 4294967295);
  if (![2048, 3072, 4096].includes(options.modulusLength)) throw unavailable(`an RSA key of ${options.modulusLength} bits`, "2048, 3072 and 4096 are");
  if (options.publicExponent !== undefined && options.publicExponent !== 65537) throw unavailable("an RSA key with another exponent than 65537");
  return `rsa-${options.modulusLength}`;
}

function generateKeyPair(type, options, callback) {
  mustBe("function", "callback", callback);
  later(callback, () => {
    const { publicKey, privateKey } = generateKeyPairSync(type, options);
    return [publicKey, privateKey];
  });
}
Object.defineProperty(generateKeyPair, require("util").promisify.custom, {
  value: (type, options) => new Promise((resolve, reject) => {
    generateKeyPair(type, options, (error, publicKey, privateKey) => (error ? reject(error) : resolve({ publicKey, privateKey })));
  }),
});

function generateKeySync(type, options) {
  if (type !== "hmac" && type !== "aes") throw argValue("type", type, "must be a supported key type");
  mustBeInteger("options.length", options?.length, 8, 2147483647);
  return createSecretKey(randomBytes(options.length >> 3));
}

function diffieHellman({ privateKey, publicKey }) {
  const [mine, theirs] = [createPrivateKey(privateKey), createPublicKey(publicKey)];
  if (mine.kind !== theirs.kind) throw make(Error, "ERR_CRYPTO_INCOMPATIBLE_KEY", "Incompatible key types for Diffie-Hellman");
  return over(natives.agree(mine.kind, mine.der, keys.pointOf(theirs)));
}

/** Key agreement by curve. */
class ECDH {
  #kind;
  #pair;

  constructor(curve) {
    mustBe("string", "curve", curve);
    this.#kind = keys.curveNamed(curve);
    if (this.#kind === undefined) throw make(TypeError, "ERR_CRYPTO_INVALID_CURVE", "Invalid EC curve name");
  }

  #mine() {
    if (this.#pair === undefined) throw make(Error, "ERR_CRYPTO_ECDH_INVALID_KEY_PAIR", "Failed to get ECDH private key");
    return this.#pair;
  }

  generateKeys(encoding, format) {
    this.#pair = createPrivateKey({ key: natives.generateKey(this.#kind), format: "der", type: "pkcs8" });
    return this.getPublicKey(encoding, format);
  }

  getPublicKey(encoding, format) {
    if (format !== undefined && format !== "uncompressed") throw unavailable(`a public key in the form ${format}`);
    return encoded(keys.pointOf(this.#mine()), encoding);
  }

  getPrivateKey(encoding) { return encoded(Buffer.from(this.#mine().export({ format: "jwk" }).d, "base64url"), encoding); }

  setPrivateKey(key, encoding) {
    const { der } = keys;
    const { bytes } = keys.CURVES[this.#kind];
    const scalar = dataOf(key, encoding, "key");
    const inner = der.write.sequence(der.write.integer([1]), der.write.octets(Buffer.concat([Buffer.alloc(bytes - scalar.length), scalar])));
    this.#pair = new keys.PrivateKeyObject(this.#kind, keys.pkcs8(this.#kind, inner));
  }

  computeSecret(other, inputEncoding, outputEncoding) {
    try {
      return encoded(natives.agree(this.#kind, this.#mine().der, dataOf(other, inputEncoding, "otherPublicKey")), outputEncoding);
    } catch (error) {
      throw error.code ? error : make(Error, "ERR_CRYPTO_ECDH_INVALID_PUBLIC_KEY", "Public key is not valid for specified curve");
    }
  }
}

// -------------------------------------------------------------------------------------------------------------------- exports

/** The key in a certificate; the rest of it is not read. */
class X509Certificate {
  #publicKey;
  #raw;

  constructor(given) {
    const bytes = dataOf(given, undefined, "buffer");
    const pem = keys.der.fromPem(bytes.toString("latin1"));
    this.#raw = pem?.der ?? Buffer.from(bytes);
    this.#publicKey = createPublicKey(keys.der.toPem("CERTIFICATE", this.#raw));
  }

  get publicKey() { return this.#publicKey; }
  get raw() { return Buffer.from(this.#raw); }
  get fingerprint256() { return natives.hexEncode(natives.digest("sha256", this.#raw)).toUpperCase().match(/../g).join(":"); }
  get fingerprint() { return natives.hexEncode(natives.digest("sha1", this.#raw)).toUpperCase().match(/../g).join(":"); }
  toString() { return keys.der.toPem("CERTIFICATE", this.#raw); }
}

const missing = (names) => Object.fromEntries(names.map((name) => [name, { [name]: function () { throw unavailable(`crypto.${name}`); } }[name]]));

module.exports = {
  ...missing([
    "Certificate", "DiffieHellman", "DiffieHellmanGroup", "checkPrime", "checkPrimeSync", "createDiffieHellman", "createDiffieHellmanGroup",
    "generatePrime", "generatePrimeSync", "getDiffieHellman", "privateEncrypt", "publicDecrypt", "setEngine",
  ]),
  Cipher: callable(Cipheriv), Cipheriv: callable(Cipheriv), Decipher: callable(Decipheriv), Decipheriv: callable(Decipheriv),
  ECDH, Hash: callable(Hash), Hmac: callable(Hmac), KeyObject, Sign: callable(Sign), Verify: callable(Verify), X509Certificate,
  constants,
  createCipheriv: (cipher, key, iv, options) => new Cipheriv(cipher, key, iv, options),
  createDecipheriv: (cipher, key, iv, options) => new Decipheriv(cipher, key, iv, options),
  createECDH: (curve) => new ECDH(curve),
  createHash: (name, options) => new Hash(name, options),
  createHmac: (name, key, options) => new Hmac(name, key, options),
  createPrivateKey, createPublicKey, createSecretKey,
  createSign: (algorithm, options) => new Sign(algorithm, options),
  createVerify: (algorithm, options) => new Verify(algorithm, options),
  diffieHellman,
  generateKey: withCallback(generateKeySync), generateKeyPair, generateKeyPairSync, generateKeySync,
  getCipherInfo,
  getCiphers: () => CIPHERS.slice(),
  getCurves: () => ["prime256v1", "secp256k1", "secp384r1", "secp521r1"],
  getFips: () => 0,
  getHashes: () => [...HASHES.map((name) => `RSA-${name.toUpperCase()}`).filter((name) => /SHA(?:1|224|256|384|512)$/.test(name)), ...HASHES],
  getRandomValues: (view) => require("internal/webcrypto").webcrypto.getRandomValues(view),
  hash: (name, data, encoding = "hex") => encoded(natives.digest(hashNamed(name), dataOf(data, undefined, "input")), encoding),
  hkdf: withCallback(hkdfSync), hkdfSync,
  pbkdf2: withCallback((...values) => pbkdf2Sync(...values)), pbkdf2Sync,
  privateDecrypt, publicEncrypt,
  pseudoRandomBytes: randomBytes, prng: randomBytes, rng: randomBytes,
  randomBytes, randomFill, randomFillSync, randomInt, randomUUID,
  scrypt: withCallback(scryptSync), scryptSync,
  secureHeapUsed: () => ({ total: 0, min: 0, used: 0, utilization: 0 }),
  setFips() { throw unavailable("crypto.setFips"); },
  sign, timingSafeEqual, verify,
  get fips() { return 0; },
  get subtle() { return require("internal/webcrypto").webcrypto.subtle; },
  get webcrypto() { return require("internal/webcrypto").webcrypto; },
};
for (const name of ["prng", "pseudoRandomBytes", "rng", "fips"]) Object.defineProperty(module.exports, name, { enumerable: false });
