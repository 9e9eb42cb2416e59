// Gives: Node's `querystring`.

const { make } = require("internal/errors");

function unescapeBuffer(text) {
  const { Buffer } = require("buffer");
  const source = Buffer.from(`${text}`);
  const bytes = [];
  for (let at = 0; at < source.length; at++) {
    const code = source[at] === 37 ? parseInt(source.toString("latin1", at + 1, at + 3), 16) : NaN;
    const whole = source[at] === 37 && /^[0-9a-fA-F]{2}$/.test(source.toString("latin1", at + 1, at + 3));
    bytes.push(whole ? code : source[at]);
    if (whole) at += 2;
  }
  return Buffer.from(bytes);
}

function unescape(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return unescapeBuffer(text).toString();
  }
}

function escape(value) {
  const text = typeof value === "object" ? String(value) : `${value}`;
  try {
    return encodeURIComponent(text);
  } catch {
    throw make(URIError, "ERR_INVALID_URI", "URI malformed");
  }
}

function written(value) {
  if (typeof value === "string") return value;
  if (typeof value === "number") return Number.isFinite(value) ? `${value}` : "";
  return typeof value === "bigint" || typeof value === "boolean" ? `${value}` : "";
}

function stringify(fields, separator = "&", equals = "=", options) {
  if (fields === null || typeof fields !== "object") return "";
  const encode = options?.encodeURIComponent ?? module.exports.escape;
  const pairs = [];
  for (const key of Object.keys(fields)) {
    const name = encode(key) + (equals || "=");
    for (const value of Array.isArray(fields[key]) ? fields[key] : [fields[key]]) pairs.push(name + encode(written(value)));
  }
  return pairs.join(separator || "&");
}

function parse(text, separator = "&", equals = "=", options) {
  const fields = Object.create(null);
  if (typeof text !== "string" || text === "") return fields;
  const most = typeof options?.maxKeys === "number" ? options.maxKeys : 1000;
  const decode = options?.decodeURIComponent ?? module.exports.unescape;
  const decoded = (part) => {
    const plain = part.replace(/\+/g, "%20");
    try {
      return decode(plain);
    } catch {
      return unescape(plain);
    }
  };
  const assign = equals || "=";
  let left = most > 0 ? most : Infinity;
  for (const pair of text.split(separator || "&")) {
    if (pair === "") continue;
    if (left === 0) break;
    left -= 1;
    const at = pair.indexOf(assign);
    const key = decoded(at < 0 ? pair : pair.slice(0, at));
    const value = at < 0 ? "" : decoded(pair.slice(at + assign.length));
    const known = fields[key];
    if (known === undefined) fields[key] = value;
    else if (Array.isArray(known)) known.push(value);
    else fields[key] = [known, value];
  }
  return fields;
}

module.exports = { unescapeBuffer, unescape, escape, stringify, encode: stringify, parse, decode: parse };
