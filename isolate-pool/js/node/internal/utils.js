// Gives: the global `utils` of App Services: `utils.jwt` and `utils.crypto`, on the same natives as Node's `crypto`.
//
// Absent: what the old service's AES looked like inside, which it never said. Here it is AES-CFB with a random vector in
// front of the ciphertext.

const { natives, portico } = internal;
const { Buffer } = require("buffer");
const keys = require("internal/keys");

const { BSON, fail } = portico;
const wrong = (message) => fail("InvalidParameter", message);
const binary = (bytes) => new BSON.Binary(new Uint8Array(bytes));

function text(value, name) {
  if (typeof value !== "string") throw wrong(`${name} must be a string, but got ${portico.shown(value)}`);
  return value;
}

/** Text, a BSON.Binary, or bytes of the language. */
function bytesOf(value, name) {
  if (typeof value === "string") return Buffer.from(value);
  if (value?.bytes instanceof Uint8Array && typeof value.toBase64 === "function") return Buffer.from(value.bytes);
  if (keys.isBytes(value)) return keys.bytesOf(value);
  throw wrong(`${name} must be a string or a BSON.Binary, but got ${portico.shown(value)}`);
}

function key(read, pem, name) {
  try {
    return read(pem);
  } catch {
    throw wrong(`${name} is not a key in PEM form`);
  }
}

// ------------------------------------------------------------------------------------------------------------------------ jwt

const DIGESTS = { 256: "sha256", 384: "sha384", 512: "sha512" };
const CURVES = { 256: "p256", 384: "p384", 512: "p521" };

function methodNamed(name) {
  const [, family, bits] = /^(HS|RS|ES|PS)(256|384|512)$/.exec(name) ?? [];
  if (family === undefined) throw wrong(`'${name}' is not a signing method: use HS, RS, ES or PS with 256, 384 or 512`);
  return { family, digest: DIGESTS[bits], curve: CURVES[bits] };
}

function scheme({ family, curve }, given, verifying) {
  if (family === "ES") {
    if (given.kind !== curve) throw wrong(`the key is for the curve ${given.kind}, the signing method for ${curve}`);
    return `${curve}-fixed`;
  }
  if (given.kind !== "rsa" && given.kind !== "rsa-pss") throw wrong("the signing method needs an RSA key");
  if (family === "RS") return "rsa";
  return verifying ? "rsa-pss-any" : "rsa-pss";
}

function signature(method, input, secret) {
  if (method.family === "HS") return natives.hmac(method.digest, bytesOf(secret, "the secret"), input);
  const given = key(keys.createPrivateKey, text(secret, "the private key"), "the private key");
  return natives.sign(scheme(method, given, false), method.digest, given.der, input);
}

/** With a public key as the secret, anyone who knows that key could sign; so such a key is not taken for one. */
function isGood(method, input, secret, signed) {
  if (method.family === "HS") {
    if (typeof secret === "string" && /-----BEGIN [A-Z ]*(?:PUBLIC KEY|CERTIFICATE)-----/.test(secret)) {
      throw wrong("the token is signed with a shared secret, but the key is a public key");
    }
    return natives.timingSafeEqual(natives.hmac(method.digest, bytesOf(secret, "the key"), input), signed);
  }
  const given = key(keys.createPublicKey, text(secret, "the public key"), "the public key");
  return natives.verify(scheme(method, given, true), method.digest, given.der, input, signed);
}

const toUrl = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");

function parsed(part, name) {
  let value;
  try {
    value = JSON.parse(Buffer.from(part, "base64url").toString());
  } catch {
    value = undefined;
  }
  if (value === null || typeof value !== "object") throw wrong(`the token's ${name} is not a JSON object`);
  return value;
}

function encode(signingMethod, payload, secret, customHeaderFields) {
  const method = methodNamed(signingMethod);
  let claims = payload;
  if (typeof payload === "string") {
    try {
      claims = JSON.parse(payload);
    } catch {
      throw wrong("utils.jwt.encode: the payload is a string that is not JSON");
    }
  }
  if (claims === null || typeof claims !== "object") throw wrong("utils.jwt.encode: the payload must be an object or JSON text of one");
  const head = { ...customHeaderFields, alg: signingMethod, typ: customHeaderFields?.typ ?? "JWT" };
  const input = `${toUrl(head)}.${toUrl(claims)}`;
  return `${input}.${Buffer.from(signature(method, Buffer.from(input), secret)).toString("base64url")}`;
}

function decode(jwt, secret, returnHeader = false, acceptedSigningMethods = undefined) {
  const parts = text(jwt, "utils.jwt.decode: the token").split(".");
  if (parts.length !== 3) throw wrong("utils.jwt.decode: the token must have three parts");
  const header = parsed(parts[0], "header");
  const payload = parsed(parts[1], "payload");
  if (acceptedSigningMethods !== undefined && acceptedSigningMethods !== null) {
    const accepted = [].concat(acceptedSigningMethods);
    if (!accepted.includes(header.alg)) throw wrong(`signing method ${header.alg} is invalid: accepted are ${accepted.join(", ")}`);
  }
  const method = methodNamed(header.alg);
  if (!isGood(method, Buffer.from(`${parts[0]}.${parts[1]}`), secret, Buffer.from(parts[2], "base64url"))) {
    throw wrong("utils.jwt.decode: signature is invalid");
  }
  const now = Date.now() / 1000;
  if (payload.exp !== undefined && !(typeof payload.exp === "number" && now < payload.exp)) throw wrong("utils.jwt.decode: Token is expired");
  if (payload.nbf !== undefined && !(typeof payload.nbf === "number" && now >= payload.nbf)) throw wrong("utils.jwt.decode: Token is not valid yet");
  return returnHeader ? { header, payload } : payload;
}

// --------------------------------------------------------------------------------------------------------------------- crypto

function only(kind, given, name) {
  if (given !== kind) throw wrong(`${name}: the type must be "${kind}", but got ${portico.shown(given)}`);
}

function aesKey(value, name) {
  const bytes = bytesOf(value, `${name}: the key`);
  if (![16, 24, 32].includes(bytes.length)) throw wrong(`${name}: the key must have 16, 24 or 32 bytes, but has ${bytes.length}`);
  return bytes;
}

function encrypt(type, message, secret) {
  only("aes", type, "utils.crypto.encrypt");
  const iv = natives.randomBytes(16);
  const made = natives.cipher("cfb", true, aesKey(secret, "utils.crypto.encrypt"), iv, bytesOf(message, "utils.crypto.encrypt: the message"));
  return binary(Buffer.concat([iv, made]));
}

function decrypt(type, message, secret) {
  only("aes", type, "utils.crypto.decrypt");
  const bytes = bytesOf(message, "utils.crypto.decrypt: the message");
  if (bytes.length < 16) throw wrong("utils.crypto.decrypt: the message is too short to be an encrypted one");
  return binary(natives.cipher("cfb", false, aesKey(secret, "utils.crypto.decrypt"), bytes.subarray(0, 16), bytes.subarray(16)));
}

function rsaScheme(given, name) {
  if (given === "pss" || given === undefined || given === null) return "rsa-pss";
  if (given === "pkcs1v15") return "rsa";
  throw wrong(`${name}: the scheme must be "pss" or "pkcs1v15", but got ${portico.shown(given)}`);
}

function rsaKey(read, pem, name) {
  const given = key(read, text(pem, `${name}: the key`), `${name}: the key`);
  if (given.kind !== "rsa" && given.kind !== "rsa-pss") throw wrong(`${name}: the key is not an RSA key`);
  return given.der;
}

function sign(type, message, privateKey, signatureScheme) {
  only("rsa", type, "utils.crypto.sign");
  const used = rsaScheme(signatureScheme, "utils.crypto.sign");
  const secret = rsaKey(keys.createPrivateKey, privateKey, "utils.crypto.sign");
  return binary(natives.sign(used, "sha256", secret, bytesOf(message, "utils.crypto.sign: the message")));
}

function verify(type, message, publicKey, signed, signatureScheme) {
  only("rsa", type, "utils.crypto.verify");
  const used = rsaScheme(signatureScheme, "utils.crypto.verify");
  const known = rsaKey(keys.createPublicKey, publicKey, "utils.crypto.verify");
  const data = bytesOf(message, "utils.crypto.verify: the message");
  return natives.verify(used === "rsa-pss" ? "rsa-pss-any" : used, "sha256", known, data, bytesOf(signed, "utils.crypto.verify: the signature"));
}

function named(name, known, what) {
  if (!known.includes(name)) throw wrong(`${what} must be one of ${known.join(", ")}, but got ${portico.shown(name)}`);
  return name;
}

function hmac(input, secret, hashFunction, outputFormat) {
  named(hashFunction, ["sha1", "sha256", "sha512"], "utils.crypto.hmac: the hash function");
  named(outputFormat, ["hex", "base64"], "utils.crypto.hmac: the output format");
  const mac = natives.hmac(hashFunction, bytesOf(secret, "utils.crypto.hmac: the secret"), bytesOf(input, "utils.crypto.hmac: the input"));
  return Buffer.from(mac).toString(outputFormat);
}

function hash(hashFunction, input) {
  named(hashFunction, ["sha1", "sha256", "md5"], "utils.crypto.hash: the hash function");
  return binary(natives.digest(hashFunction, bytesOf(input, "utils.crypto.hash: the input")));
}

// Shared by all calls, so it stays as it is.
module.exports = Object.freeze({
  jwt: Object.freeze({ encode, decode }),
  crypto: Object.freeze({ encrypt, decrypt, sign, verify, hmac, hash }),
});
