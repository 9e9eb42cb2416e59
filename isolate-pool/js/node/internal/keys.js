// Gives: KeyObject, and keys read from and written to the forms they come in (PEM, DER, JWK; PKCS#1, SEC1, PKCS#8, SPKI).
//
// Inside, a private key is always PKCS#8 and a public one SubjectPublicKeyInfo, which is what the natives take. A class of
// keys is `kind`: rsa, rsa-pss, ed25519, x25519, or the curve (p256, p384, p521, secp256k1).
//
// Absent: DSA, Diffie-Hellman, Ed448, X448. Writing encrypted keys; reading those with PBES2 works.

const { natives } = internal;
const { Buffer } = require("buffer");
const { argType, argValue, make, mustBe } = require("internal/errors");
const der = require("internal/der");

const OIDS = { rsa: "1.2.840.113549.1.1.1", "rsa-pss": "1.2.840.113549.1.1.10", ec: "1.2.840.10045.2.1", ed25519: "1.3.101.112", x25519: "1.3.101.110" };
const CURVES = {
  p256: { oid: "1.2.840.10045.3.1.7", name: "prime256v1", jwk: "P-256", bytes: 32 },
  p384: { oid: "1.3.132.0.34", name: "secp384r1", jwk: "P-384", bytes: 48 },
  p521: { oid: "1.3.132.0.35", name: "secp521r1", jwk: "P-521", bytes: 66 },
  secp256k1: { oid: "1.3.132.0.10", name: "secp256k1", jwk: "secp256k1", bytes: 32 },
};
const OKP = { ed25519: "Ed25519", x25519: "X25519" };
const ALIASES = { "prime256v1": "p256", "p-256": "p256", "secp256r1": "p256", "p-384": "p384", "secp384r1": "p384", "p-521": "p521", "secp521r1": "p521", "secp256k1": "secp256k1" };

const curveNamed = (name) => ALIASES[`${name}`.toLowerCase()];
const isCurve = (kind) => Object.hasOwn(CURVES, kind);
const typeOfKind = (kind) => (isCurve(kind) ? "ec" : kind);

function bad(reason = "unsupported") { return make(Error, "ERR_OSSL_UNSUPPORTED", `error:1E08010C:DECODER routines::${reason}`); }

// -------------------------------------------------------------------------------------------------- reading of algorithms

/** The kind named by an AlgorithmIdentifier. */
function kindOf(algorithm) {
  const parts = der.elements(algorithm.body);
  if (!parts || parts.length === 0) throw bad();
  const oid = der.oidText(parts[0].body);
  if (oid === OIDS.ec) {
    const curve = parts[1]?.tag === der.TAGS.oid ? der.oidText(parts[1].body) : undefined;
    const kind = Object.keys(CURVES).find((name) => CURVES[name].oid === curve);
    if (kind === undefined) throw bad("unsupported curve");
    return kind;
  }
  const kind = Object.keys(OIDS).find((name) => OIDS[name] === oid);
  if (kind === undefined || kind === "ec") throw bad();
  return kind;
}

function algorithmOf(kind) {
  if (isCurve(kind)) return der.write.sequence(der.write.oid(OIDS.ec), der.write.oid(CURVES[kind].oid));
  if (kind === "rsa") return der.write.sequence(der.write.oid(OIDS.rsa), der.write.nothing());
  return der.write.sequence(der.write.oid(OIDS[kind]));
}

const pkcs8 = (kind, inner) => der.write.sequence(der.write.integer([0]), algorithmOf(kind), der.write.octets(inner));
const spki = (kind, inner) => der.write.sequence(algorithmOf(kind), der.write.bits(inner));

function privateFromDer(bytes, type) {
  const parts = der.sequence(bytes);
  if (parts === undefined) throw bad();
  // PKCS#8: version, algorithm, octets. PKCS#1: nine integers. SEC1: version 1, octets, [0] curve, [1] point.
  if (parts[1]?.tag === der.TAGS.sequence && parts[2]?.tag === der.TAGS.octets) {
    return new PrivateKeyObject(kindOf(parts[1]), Buffer.from(bytes));
  }
  if (type === "sec1" || parts[1]?.tag === der.TAGS.octets) {
    const named = parts.find((part) => part.tag === 0xa0);
    const oid = named && der.element(named.body);
    const kind = oid && Object.keys(CURVES).find((name) => CURVES[name].oid === der.oidText(oid.body));
    if (kind === undefined) throw bad("unsupported curve");
    return new PrivateKeyObject(kind, pkcs8(kind, bytes));
  }
  if (parts.length >= 9 && parts.every((part) => part.tag === der.TAGS.integer)) return new PrivateKeyObject("rsa", pkcs8("rsa", bytes));
  throw bad();
}

function publicFromDer(bytes) {
  const parts = der.sequence(bytes);
  if (parts === undefined) throw bad();
  if (parts.length === 2 && parts[0].tag === der.TAGS.integer) return new PublicKeyObject("rsa", spki("rsa", bytes));
  if (parts.length === 2 && parts[0].tag === der.TAGS.sequence && parts[1].tag === der.TAGS.bits) {
    return new PublicKeyObject(kindOf(parts[0]), Buffer.from(bytes));
  }
  if (parts.length === 3 && parts[0].tag === der.TAGS.sequence) return publicFromCertificate(bytes);
  throw bad();
}

/** The key in a certificate: its fields come in a fixed order, and the key's is the one after the subject. */
function publicFromCertificate(bytes) {
  const signed = der.sequence(bytes)?.[0];
  const fields = signed && der.elements(signed.body);
  const first = fields?.[0]?.tag === 0xa0 ? 1 : 0;
  const info = fields?.[first + 5];
  if (info === undefined) throw bad();
  return publicFromDer(Buffer.from(info.raw));
}

// ------------------------------------------------------------------------------------------------------ encrypted private keys

const PBES2 = "1.2.840.113549.1.5.13";
const PRFS = { "1.2.840.113549.2.7": "sha1", "1.2.840.113549.2.9": "sha256", "1.2.840.113549.2.10": "sha384", "1.2.840.113549.2.11": "sha512" };
const PBE_CIPHERS = { "2.16.840.1.101.3.4.1.2": 16, "2.16.840.1.101.3.4.1.22": 24, "2.16.840.1.101.3.4.1.42": 32 };

function unpad(bytes) {
  const count = bytes[bytes.length - 1];
  if (!(count >= 1 && count <= 16)) throw make(Error, "ERR_OSSL_BAD_DECRYPT", "error:1C800064:Provider routines::bad decrypt");
  return bytes.subarray(0, bytes.length - count);
}

function decryptPkcs8(bytes, passphrase) {
  if (passphrase === undefined) throw make(TypeError, "ERR_MISSING_PASSPHRASE", "Passphrase required for encrypted key");
  const [algorithm, data] = der.sequence(bytes) ?? [];
  const [oid, parameters] = (algorithm && der.elements(algorithm.body)) ?? [];
  if (!oid || der.oidText(oid.body) !== PBES2) throw bad("unsupported encryption of a key");
  const [derivation, scheme] = der.elements(parameters.body);
  const [, settings] = der.elements(derivation.body);
  const [salt, rounds, ...rest] = der.elements(settings.body);
  const prf = rest.find((part) => part.tag === der.TAGS.sequence);
  const digest = prf ? PRFS[der.oidText(der.elements(prf.body)[0].body)] : "sha1";
  const [cipher, iv] = der.elements(scheme.body);
  const length = PBE_CIPHERS[der.oidText(cipher.body)];
  if (digest === undefined || length === undefined) throw bad("unsupported encryption of a key");
  const count = Number(BigInt(`0x${Buffer.from(rounds.body).toString("hex")}`));
  const secret = natives.pbkdf2(digest, Buffer.from(passphrase), salt.body, count, length);
  return Buffer.from(unpad(natives.cipher("cbc", false, secret, iv.body, data.body)));
}

/** The older encryption that PEM headers describe: a key made of MD5 of the passphrase and the vector. */
function decryptLegacy({ der: data, headers }, passphrase) {
  if (passphrase === undefined) throw make(TypeError, "ERR_MISSING_PASSPHRASE", "Passphrase required for encrypted key");
  const [, bits, vector] = /DEK-Info: AES-(128|192|256)-CBC,([0-9A-Fa-f]{32})/.exec(headers) ?? [];
  if (bits === undefined) throw bad("unsupported encryption of a key");
  const iv = Buffer.from(vector, "hex");
  const word = Buffer.from(passphrase);
  let secret = Buffer.alloc(0);
  let last = Buffer.alloc(0);
  while (secret.length < bits / 8) {
    last = Buffer.from(natives.digest("md5", Buffer.concat([last, word, iv.subarray(0, 8)])));
    secret = Buffer.concat([secret, last]);
  }
  return Buffer.from(unpad(natives.cipher("cbc", false, secret.subarray(0, bits / 8), iv, data)));
}

// ----------------------------------------------------------------------------------------------------------------------- JWK

const fromUrl = (text, name) => {
  mustBe("string", `key.${name}`, text);
  return Buffer.from(text, "base64url");
};
const toUrl = (bytes) => Buffer.from(bytes).toString("base64url");
const padded = (bytes, length) => Buffer.concat([Buffer.alloc(Math.max(0, length - bytes.length)), bytes]);

function fromJwk(jwk, wantPrivate) {
  if (jwk.kty === "RSA") {
    const integers = (names) => names.map((name) => der.write.integer(fromUrl(jwk[name], name)));
    if (jwk.d === undefined || !wantPrivate) return new PublicKeyObject("rsa", spki("rsa", der.write.sequence(...integers(["n", "e"]))));
    const inner = der.write.sequence(der.write.integer([0]), ...integers(["n", "e", "d", "p", "q", "dp", "dq", "qi"]));
    return new PrivateKeyObject("rsa", pkcs8("rsa", inner));
  }
  if (jwk.kty === "EC") {
    const kind = curveNamed(jwk.crv);
    if (kind === undefined) throw make(Error, "ERR_CRYPTO_INVALID_CURVE", "Invalid EC curve name");
    const { bytes } = CURVES[kind];
    const point = Buffer.concat([Buffer.of(4), padded(fromUrl(jwk.x, "x"), bytes), padded(fromUrl(jwk.y, "y"), bytes)]);
    if (jwk.d === undefined || !wantPrivate) return new PublicKeyObject(kind, spki(kind, point));
    const inner = der.write.sequence(der.write.integer([1]), der.write.octets(padded(fromUrl(jwk.d, "d"), bytes)), der.write.tagged(1, der.write.bits(point)));
    return new PrivateKeyObject(kind, pkcs8(kind, inner));
  }
  if (jwk.kty === "OKP") {
    const kind = Object.keys(OKP).find((name) => OKP[name] === jwk.crv);
    if (kind === undefined) throw argValue("key.crv", jwk.crv);
    if (jwk.d === undefined || !wantPrivate) return new PublicKeyObject(kind, spki(kind, fromUrl(jwk.x, "x")));
    return new PrivateKeyObject(kind, pkcs8(kind, der.write.octets(fromUrl(jwk.d, "d"))));
  }
  throw argValue("key.kty", jwk.kty);
}

/** The integers of an RSA key: n e d p q dp dq qi, or n e. */
function rsaParts(key) {
  if (key.type === "public") {
    const bits = der.sequence(key.der)[1].body.subarray(1);
    return der.sequence(bits).map((part) => der.unsigned(part.body));
  }
  return der.sequence(der.sequence(key.der)[2].body).slice(1, 9).map((part) => der.unsigned(part.body));
}

/** The point of a public key, as it lies in it. */
const pointOf = (key) => Buffer.from(der.sequence(key.publicKey().der)[1].body.subarray(1));

function toJwk(key) {
  if (key.kind === "rsa" || key.kind === "rsa-pss") {
    const names = key.type === "public" ? ["n", "e"] : ["n", "e", "d", "p", "q", "dp", "dq", "qi"];
    const parts = rsaParts(key);
    return { kty: "RSA", ...Object.fromEntries(names.map((name, at) => [name, toUrl(parts[at])])) };
  }
  const point = pointOf(key);
  if (isCurve(key.kind)) {
    const { bytes, jwk } = CURVES[key.kind];
    const made = { kty: "EC", x: toUrl(point.subarray(1, 1 + bytes)), y: toUrl(point.subarray(1 + bytes)), crv: jwk };
    if (key.type === "private") made.d = toUrl(padded(der.sequence(der.sequence(key.der)[2].body)[1].body, bytes));
    return made;
  }
  const made = { crv: OKP[key.kind], kty: "OKP", x: toUrl(point) };
  if (key.type === "private") made.d = toUrl(der.element(der.sequence(key.der)[2].body).body);
  return made;
}

// ----------------------------------------------------------------------------------------------------------------- KeyObject

class KeyObject {
  constructor(type) {
    if (type !== "secret" && type !== "public" && type !== "private") throw argValue("type", type);
    Object.defineProperty(this, "type", { value: type, enumerable: true });
  }

  static from(key) {
    const inner = key?.[kKeyObject];
    if (inner === undefined) throw argType("key", "CryptoKey", key);
    return inner;
  }

  equals(other) {
    if (!(other instanceof KeyObject)) throw argType("otherKeyObject", "KeyObject", other);
    if (this.type !== other.type) return false;
    const bytes = (key) => (key.type === "secret" ? key.secret : key.der);
    return natives.timingSafeEqual(bytes(this), bytes(other));
  }

  get [Symbol.toStringTag]() { return "KeyObject"; }
}

class SecretKeyObject extends KeyObject {
  constructor(bytes) {
    super("secret");
    Object.defineProperty(this, "secret", { value: Buffer.from(bytes) });
  }

  get symmetricKeySize() { return this.secret.length; }

  export(options) {
    if (options?.format === "jwk") return { kty: "oct", k: toUrl(this.secret) };
    return Buffer.from(this.secret);
  }
}

class AsymmetricKeyObject extends KeyObject {
  constructor(type, kind, bytes) {
    super(type);
    Object.defineProperty(this, "kind", { value: kind });
    Object.defineProperty(this, "der", { value: bytes });
  }

  get asymmetricKeyType() { return typeOfKind(this.kind); }

  get asymmetricKeyDetails() {
    if (isCurve(this.kind)) return { namedCurve: CURVES[this.kind].name };
    if (this.kind !== "rsa" && this.kind !== "rsa-pss") return {};
    const [n, e] = rsaParts(this);
    const modulusLength = (n.length - 1) * 8 + (32 - Math.clz32(n[0]));
    return { modulusLength, publicExponent: BigInt(`0x${Buffer.from(e).toString("hex")}`) };
  }

  export(options) {
    const { format = "pem", type } = options ?? {};
    if (format === "jwk") return toJwk(this);
    if (options?.cipher !== undefined) throw require("internal/errors").unavailable("exporting an encrypted key");
    const [label, bytes] = this.form(type);
    if (format === "der") return Buffer.from(bytes);
    if (format !== "pem") throw argValue("options.format", format);
    return der.toPem(label, Buffer.from(bytes));
  }
}

class PublicKeyObject extends AsymmetricKeyObject {
  constructor(kind, bytes) { super("public", kind, bytes); }

  publicKey() { return this; }

  form(type = "spki") {
    if (type === "spki") return ["PUBLIC KEY", this.der];
    if (type === "pkcs1" && this.kind === "rsa") return ["RSA PUBLIC KEY", der.sequence(this.der)[1].body.subarray(1)];
    throw make(Error, "ERR_CRYPTO_INCOMPATIBLE_KEY_OPTIONS", `The selected key encoding ${type} does not support this key type.`);
  }
}

class PrivateKeyObject extends AsymmetricKeyObject {
  #public;

  constructor(kind, bytes) { super("private", kind, bytes); }

  publicKey() {
    return (this.#public ??= new PublicKeyObject(this.kind, Buffer.from(natives.publicKeyOf(this.kind === "rsa-pss" ? "rsa" : this.kind, this.der))));
  }

  form(type = "pkcs8") {
    if (type === "pkcs8") return ["PRIVATE KEY", this.der];
    const inner = der.sequence(this.der)[2].body;
    if (type === "pkcs1" && this.kind === "rsa") return ["RSA PRIVATE KEY", inner];
    if (type === "sec1" && isCurve(this.kind)) {
      const parts = der.sequence(inner);
      const curve = der.write.tagged(0, der.write.oid(CURVES[this.kind].oid));
      const point = der.write.tagged(1, der.write.bits(pointOf(this)));
      return ["EC PRIVATE KEY", der.write.sequence(parts[0].raw, parts[1].raw, curve, point)];
    }
    throw make(Error, "ERR_CRYPTO_INCOMPATIBLE_KEY_OPTIONS", `The selected key encoding ${type} does not support this key type.`);
  }
}

/** Where a CryptoKey of the Web keeps its KeyObject. */
const kKeyObject = Symbol("kKeyObject");

const isBytes = (value) => ArrayBuffer.isView(value) || natives.types.isAnyArrayBuffer(value);
const bytesOf = (value, encoding) => {
  if (typeof value === "string") return Buffer.from(value, encoding);
  return ArrayBuffer.isView(value) ? Buffer.from(value.buffer, value.byteOffset, value.byteLength) : Buffer.from(value);
};

/** A key of either sort from whatever Node takes for one. */
function read(given, wantPrivate) {
  if (given instanceof KeyObject) return given;
  if (given?.[kKeyObject] !== undefined) return given[kKeyObject];
  if (typeof given === "string" || isBytes(given)) return parse(bytesOf(given), {}, wantPrivate);
  if (given === null || typeof given !== "object") throw argType("key", ["string", "ArrayBuffer", "Buffer", "TypedArray", "DataView", "KeyObject", "CryptoKey"], given);
  const { key, format } = given;
  if (key instanceof KeyObject || key?.[kKeyObject] !== undefined) return read(key, wantPrivate);
  if (format === "jwk") return fromJwk(key, wantPrivate);
  if (typeof key !== "string" && !isBytes(key)) throw argType("key.key", ["string", "ArrayBuffer", "Buffer", "TypedArray", "DataView", "KeyObject", "CryptoKey"], key);
  return parse(bytesOf(key, given.encoding), given, wantPrivate);
}

function parse(bytes, { format = "pem", type, passphrase }, wantPrivate) {
  if (format === "der") {
    if (!wantPrivate && (type === "spki" || type === "pkcs1" || type === undefined)) {
      try {
        return publicFromDer(bytes);
      } catch (error) {
        if (type === "spki") throw error;
      }
    }
    if (passphrase !== undefined && der.sequence(bytes)?.[0]?.tag === der.TAGS.sequence) return privateFromDer(decryptPkcs8(bytes, passphrase));
    return privateFromDer(bytes, type);
  }
  const pem = der.fromPem(bytes.toString("latin1"));
  if (pem === undefined) throw bad();
  switch (pem.label) {
    case "ENCRYPTED PRIVATE KEY": return privateFromDer(decryptPkcs8(pem.der, passphrase));
    case "PRIVATE KEY":
    case "RSA PRIVATE KEY":
    case "EC PRIVATE KEY":
      return privateFromDer(pem.headers.includes("DEK-Info") ? decryptLegacy(pem, passphrase) : pem.der);
    case "PUBLIC KEY":
    case "RSA PUBLIC KEY":
      return publicFromDer(pem.der);
    case "CERTIFICATE":
    case "X509 CERTIFICATE":
      return publicFromCertificate(pem.der);
    default:
      throw bad();
  }
}

function createPrivateKey(given) {
  const key = read(given, true);
  if (key.type !== "private") throw given instanceof KeyObject ? make(TypeError, "ERR_CRYPTO_INVALID_KEY_OBJECT_TYPE", `Invalid key object type ${key.type}, expected private.`) : bad();
  return key;
}

/** The public key, of a private one its public half. */
function createPublicKey(given) {
  const key = read(given, given?.format === "der" && given.type !== "spki" ? given.type === "pkcs8" || given.type === "sec1" : false);
  if (key.type === "secret") throw make(TypeError, "ERR_CRYPTO_INVALID_KEY_OBJECT_TYPE", "Invalid key object type secret, expected private or public.");
  return key.publicKey();
}

function createSecretKey(given, encoding) {
  if (typeof given !== "string" && !isBytes(given)) throw argType("key", ["string", "ArrayBuffer", "Buffer", "TypedArray", "DataView"], given);
  return new SecretKeyObject(bytesOf(given, encoding));
}

/** The bytes of a secret, which may be text, bytes or a KeyObject. */
function secretOf(given, name = "key", encoding) {
  if (given instanceof KeyObject) {
    if (given.type !== "secret") throw make(TypeError, "ERR_CRYPTO_INVALID_KEY_OBJECT_TYPE", `Invalid key object type ${given.type}, expected secret.`);
    return given.secret;
  }
  if (given?.[kKeyObject] !== undefined) return secretOf(given[kKeyObject], name);
  if (typeof given !== "string" && !isBytes(given)) throw argType(name, ["string", "ArrayBuffer", "Buffer", "TypedArray", "DataView", "KeyObject", "CryptoKey"], given);
  return bytesOf(given, encoding);
}

module.exports = {
  CURVES, KeyObject, PrivateKeyObject, PublicKeyObject, SecretKeyObject, bytesOf, createPrivateKey, createPublicKey, createSecretKey,
  curveNamed, der, fromJwk, isBytes, isCurve, kKeyObject, pkcs8, pointOf, read, secretOf, spki, toJwk,
};
