// Gives: the Web's `crypto`: random values, and `subtle` for the algorithms that libraries for tokens and for cloud services
// use: digests, HMAC, AES, RSA, ECDSA, ECDH, Ed25519, X25519, PBKDF2, HKDF.
//
// Absent: AES-KW, wrapping and unwrapping with anything but what encrypts.

const { natives } = internal;
const { Buffer } = require("buffer");
const keys = require("internal/keys");
const { KeyObject, kKeyObject } = keys;

const crypto = () => require("crypto");

function fail(name, message) {
  if (globalThis.DOMException !== undefined) return new DOMException(message, name);
  const error = new Error(message);
  error.name = name;
  return error;
}

const bytesOf = (data) => {
  if (!keys.isBytes(data)) throw new TypeError("the data must be an ArrayBuffer or a view of one");
  return Buffer.from(keys.bytesOf(data));
};
const bufferOf = (bytes) => bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength);

const HASHES = { "SHA-1": "sha1", "SHA-256": "sha256", "SHA-384": "sha384", "SHA-512": "sha512" };
const named = (algorithm) => (typeof algorithm === "string" ? { name: algorithm } : algorithm);
function hashOf(algorithm) {
  const { name } = named(algorithm ?? {});
  const found = HASHES[`${name}`.toUpperCase()];
  if (found === undefined) throw fail("NotSupportedError", `Unrecognized algorithm name: ${name}`);
  return found;
}

const ALGORITHMS = [
  "HMAC", "AES-CBC", "AES-CTR", "AES-GCM", "RSASSA-PKCS1-v1_5", "RSA-PSS", "RSA-OAEP", "ECDSA", "ECDH", "Ed25519", "X25519", "PBKDF2", "HKDF",
];
function canonical(algorithm) {
  const given = named(algorithm);
  const name = ALGORITHMS.find((known) => known.toLowerCase() === `${given?.name}`.toLowerCase());
  if (name === undefined) throw fail("NotSupportedError", `Unrecognized algorithm name: ${given?.name}`);
  return { ...given, name };
}

class CryptoKey {
  constructor(inner, algorithm, extractable, usages) {
    if (!(inner instanceof KeyObject)) throw new TypeError("Illegal constructor");
    Object.defineProperty(this, kKeyObject, { value: inner });
    Object.defineProperties(this, {
      type: { value: inner.type, enumerable: true },
      extractable: { value: extractable, enumerable: true },
      algorithm: { value: algorithm, enumerable: true },
      usages: { value: usages, enumerable: true },
    });
  }
  get [Symbol.toStringTag]() { return "CryptoKey"; }
}

const USES = {
  "HMAC": ["sign", "verify"], "RSASSA-PKCS1-v1_5": ["sign", "verify"], "RSA-PSS": ["sign", "verify"], "ECDSA": ["sign", "verify"],
  "Ed25519": ["sign", "verify"], "RSA-OAEP": ["encrypt", "decrypt", "wrapKey", "unwrapKey"], "ECDH": ["deriveKey", "deriveBits"],
  "X25519": ["deriveKey", "deriveBits"], "PBKDF2": ["deriveKey", "deriveBits"], "HKDF": ["deriveKey", "deriveBits"],
};
const usesOf = (name) => USES[name] ?? ["encrypt", "decrypt", "wrapKey", "unwrapKey"];

function allow(key, use, name) {
  if (!(key instanceof CryptoKey)) throw new TypeError("the key must be a CryptoKey");
  if (!key.usages.includes(use)) throw fail("InvalidAccessError", `The requested operation is not valid for the provided key: ${use}`);
  if (name !== undefined && key.algorithm.name !== name) throw fail("InvalidAccessError", "Key algorithm mismatch");
  return key[kKeyObject];
}

/** What a key says of its algorithm. */
function described(algorithm, key) {
  const { name } = algorithm;
  if (name === "HMAC") return { name, hash: { name: named(algorithm.hash).name.toUpperCase() }, length: key.secret.length * 8 };
  if (name.startsWith("RSA")) {
    const { modulusLength, publicExponent } = key.asymmetricKeyDetails;
    const digits = publicExponent.toString(16);
    const exponent = new Uint8Array(Buffer.from(digits.padStart(digits.length + (digits.length % 2), "0"), "hex"));
    return { name, modulusLength, publicExponent: exponent, hash: { name: named(algorithm.hash).name.toUpperCase() } };
  }
  if (name === "ECDSA" || name === "ECDH") return { name, namedCurve: keys.CURVES[key.kind].jwk };
  if (name.startsWith("AES")) return { name, length: key.secret.length * 8 };
  return { name };
}

function curveOf(algorithm) {
  const kind = keys.curveNamed(algorithm.namedCurve);
  if (kind === undefined) throw fail("NotSupportedError", "Unrecognized namedCurve");
  return kind;
}

function made(inner, algorithm, extractable, usages) {
  const { name } = algorithm;
  if (inner.type !== "secret") {
    const wanted = name.startsWith("RSA") ? inner.kind === "rsa" || inner.kind === "rsa-pss"
      : name === "ECDSA" || name === "ECDH" ? inner.kind === curveOf(algorithm) : inner.kind === name.toLowerCase();
    if (!wanted) throw fail("DataError", "Invalid key type");
  } else if (name.startsWith("AES") && ![16, 24, 32].includes(inner.secret.length)) {
    throw fail("DataError", "Invalid key length");
  }
  const kept = usages.filter((use) => usesOf(name).includes(use));
  if (kept.length < usages.length) throw fail("SyntaxError", `Unsupported key usage for a ${name} key`);
  return new CryptoKey(inner, described(algorithm, inner), inner.type === "public" ? true : extractable, kept);
}

function rawPublic(algorithm, bytes) {
  const kind = algorithm.name === "ECDSA" || algorithm.name === "ECDH" ? curveOf(algorithm) : algorithm.name.toLowerCase();
  return new keys.PublicKeyObject(kind, keys.spki(kind, bytes));
}

const isSecret = (name) => name === "HMAC" || name.startsWith("AES") || name === "PBKDF2" || name === "HKDF";

const within = {
  async digest(algorithm, data) { return bufferOf(natives.digest(hashOf(algorithm), bytesOf(data))); },

  async importKey(format, data, algorithm, extractable, usages) {
    const wanted = canonical(algorithm);
    if (wanted.name === "HMAC" || wanted.name.startsWith("RSA")) hashOf(wanted.hash);
    let inner;
    try {
      if (format === "jwk") inner = data.kty === "oct" ? keys.createSecretKey(Buffer.from(data.k, "base64url")) : keys.fromJwk(data, true);
      else if (format === "raw") inner = isSecret(wanted.name) ? keys.createSecretKey(bytesOf(data)) : rawPublic(wanted, bytesOf(data));
      else if (format === "spki") inner = keys.createPublicKey({ key: bytesOf(data), format: "der", type: "spki" });
      else if (format === "pkcs8") inner = keys.createPrivateKey({ key: bytesOf(data), format: "der", type: "pkcs8" });
      else throw fail("NotSupportedError", `Unable to import a key in the format ${format}`);
    } catch (error) {
      throw error.name === "NotSupportedError" ? error : fail("DataError", `Invalid keyData: ${error.message}`);
    }
    return made(inner, wanted, extractable, usages);
  },

  async exportKey(format, key) {
    const inner = key?.[kKeyObject];
    if (inner === undefined) throw new TypeError("the key must be a CryptoKey");
    if (!key.extractable) throw fail("InvalidAccessError", "key is not extractable");
    if (format === "jwk") return { ...inner.export({ format: "jwk" }), key_ops: key.usages, ext: true };
    if (format === "raw") return bufferOf(inner.type === "secret" ? inner.export() : keys.pointOf(inner));
    if (format === "spki" && inner.type === "public") return bufferOf(inner.export({ format: "der", type: "spki" }));
    if (format === "pkcs8" && inner.type === "private") return bufferOf(inner.export({ format: "der", type: "pkcs8" }));
    throw fail("NotSupportedError", `Unable to export a ${inner.type} key in the format ${format}`);
  },

  async generateKey(algorithm, extractable, usages) {
    const wanted = canonical(algorithm);
    if (wanted.name === "HMAC" || wanted.name.startsWith("AES")) {
      const bits = wanted.length ?? (["sha384", "sha512"].includes(hashOf(wanted.hash)) ? 1024 : 512);
      return made(keys.createSecretKey(crypto().randomBytes(bits / 8)), wanted, extractable, usages);
    }
    const rsa = wanted.name.startsWith("RSA");
    const curve = wanted.name === "ECDSA" || wanted.name === "ECDH";
    if (isSecret(wanted.name)) throw fail("NotSupportedError", `no keys are made for ${wanted.name}`);
    const pair = crypto().generateKeyPairSync(rsa ? "rsa" : curve ? "ec" : wanted.name.toLowerCase(), { modulusLength: wanted.modulusLength, namedCurve: wanted.namedCurve });
    const ofPublic = ["verify", "encrypt", "wrapKey"];
    return {
      publicKey: made(pair.publicKey, wanted, true, usages.filter((use) => ofPublic.includes(use))),
      privateKey: made(pair.privateKey, wanted, extractable, usages.filter((use) => !ofPublic.includes(use))),
    };
  },

  async sign(algorithm, key, data) {
    const wanted = canonical(algorithm);
    const inner = allow(key, "sign", wanted.name);
    const bytes = bytesOf(data);
    if (wanted.name === "HMAC") return bufferOf(natives.hmac(hashOf(key.algorithm.hash), inner.secret, bytes));
    const [hash, options] = signing(wanted, key);
    return bufferOf(crypto().sign(hash, bytes, { key: inner, ...options }));
  },

  async verify(algorithm, key, signature, data) {
    const wanted = canonical(algorithm);
    const inner = allow(key, "verify", wanted.name);
    const [bytes, given] = [bytesOf(data), bytesOf(signature)];
    if (wanted.name === "HMAC") return natives.timingSafeEqual(natives.hmac(hashOf(key.algorithm.hash), inner.secret, bytes), given);
    const [hash, options] = signing(wanted, key);
    return crypto().verify(hash, bytes, { key: inner, ...options }, given);
  },

  async encrypt(algorithm, key, data) { return bufferOf(ciphered(canonical(algorithm), key, bytesOf(data), true)); },
  async decrypt(algorithm, key, data) {
    const wanted = canonical(algorithm);
    try {
      return bufferOf(ciphered(wanted, key, bytesOf(data), false));
    } catch (error) {
      throw error.name === "InvalidAccessError" ? error : fail("OperationError", "The operation failed for an operation-specific reason");
    }
  },

  async deriveBits(algorithm, key, length) {
    const wanted = canonical(algorithm);
    return bufferOf(derived(wanted, allow(key, "deriveBits", wanted.name), length));
  },

  async deriveKey(algorithm, key, target, extractable, usages) {
    const wanted = canonical(algorithm);
    const goal = canonical(target);
    const bits = goal.length ?? (goal.name === "HMAC" ? (["sha384", "sha512"].includes(hashOf(goal.hash)) ? 1024 : 512) : 256);
    const secret = derived(wanted, allow(key, "deriveKey", wanted.name), bits);
    return made(keys.createSecretKey(secret), goal, extractable, usages);
  },

  async wrapKey(format, key, wrapping, algorithm) {
    const exported = await within.exportKey(format, key);
    const bytes = format === "jwk" ? Buffer.from(JSON.stringify(exported)) : Buffer.from(exported);
    return bufferOf(ciphered(canonical(algorithm), wrapping, bytes, true, "wrapKey"));
  },

  async unwrapKey(format, wrapped, wrapping, algorithm, target, extractable, usages) {
    const bytes = ciphered(canonical(algorithm), wrapping, bytesOf(wrapped), false, "unwrapKey");
    return within.importKey(format, format === "jwk" ? JSON.parse(bytes.toString()) : bytes, target, extractable, usages);
  },
};

/** The digest and the options that `crypto.sign` takes for the same. */
function signing(wanted, key) {
  const { constants } = crypto();
  switch (wanted.name) {
    case "RSASSA-PKCS1-v1_5": return [hashOf(key.algorithm.hash), { padding: constants.RSA_PKCS1_PADDING }];
    case "RSA-PSS": return [hashOf(key.algorithm.hash), { padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: wanted.saltLength }];
    case "ECDSA": return [hashOf(wanted.hash), { dsaEncoding: "ieee-p1363" }];
    case "Ed25519": return [undefined, {}];
    default: throw fail("NotSupportedError", `${wanted.name} does not sign`);
  }
}

function ciphered(wanted, key, bytes, encrypt, use = encrypt ? "encrypt" : "decrypt") {
  const inner = allow(key, use, wanted.name);
  if (wanted.name === "RSA-OAEP") {
    const options = { key: inner, oaepHash: hashOf(key.algorithm.hash), oaepLabel: wanted.label };
    return encrypt ? crypto().publicEncrypt(options, bytes) : crypto().privateDecrypt(options, bytes);
  }
  const mode = wanted.name.slice(4).toLowerCase();
  const name = `aes-${inner.secret.length * 8}-${mode}`;
  const iv = bytesOf(mode === "ctr" ? wanted.counter : wanted.iv);
  const tagBytes = (wanted.tagLength ?? 128) / 8;
  const cipher = encrypt ? crypto().createCipheriv(name, inner, iv, { authTagLength: tagBytes }) : crypto().createDecipheriv(name, inner, iv);
  if (mode !== "gcm") return Buffer.concat([cipher.update(bytes), cipher.final()]);
  if (wanted.additionalData !== undefined) cipher.setAAD(bytesOf(wanted.additionalData));
  if (encrypt) return Buffer.concat([cipher.update(bytes), cipher.final(), cipher.getAuthTag()]);
  cipher.setAuthTag(bytes.subarray(bytes.length - tagBytes));
  return Buffer.concat([cipher.update(bytes.subarray(0, bytes.length - tagBytes)), cipher.final()]);
}

function derived(wanted, inner, bits) {
  if (wanted.name === "PBKDF2") {
    return crypto().pbkdf2Sync(inner.secret, bytesOf(wanted.salt), wanted.iterations, bits / 8, hashOf(wanted.hash));
  }
  if (wanted.name === "HKDF") {
    return Buffer.from(crypto().hkdfSync(hashOf(wanted.hash), inner.secret, bytesOf(wanted.salt), bytesOf(wanted.info), bits / 8));
  }
  const secret = crypto().diffieHellman({ privateKey: inner, publicKey: wanted.public[kKeyObject] });
  return bits === null || bits === undefined ? secret : secret.subarray(0, bits / 8);
}

class SubtleCrypto {}
for (const name of Object.keys(within)) {
  Object.defineProperty(SubtleCrypto.prototype, name, { value: within[name], writable: true, enumerable: true, configurable: true });
}

class Crypto {
  get subtle() { return subtle; }

  getRandomValues(view) {
    if (!ArrayBuffer.isView(view) || natives.types.isFloat32Array(view) || natives.types.isFloat64Array(view) || natives.types.isDataView(view)) {
      throw fail("TypeMismatchError", "The data argument must be an integer-type TypedArray");
    }
    if (view.byteLength > 65536) throw fail("QuotaExceededError", "The requested length exceeds 65,536 bytes");
    new Uint8Array(view.buffer, view.byteOffset, view.byteLength).set(natives.randomBytes(view.byteLength));
    return view;
  }

  randomUUID() { return crypto().randomUUID(); }
}

const subtle = new SubtleCrypto();

module.exports = { webcrypto: new Crypto(), Crypto, CryptoKey, SubtleCrypto };
Object.defineProperty(module.exports.webcrypto, "CryptoKey", { value: CryptoKey, enumerable: false });
