// Gives: DER and PEM, as much as keys are made of.

const { Buffer } = require("buffer");

const TAGS = { integer: 0x02, bits: 0x03, octets: 0x04, nothing: 0x05, oid: 0x06, sequence: 0x30 };

function lengthOf(length) {
  if (length < 128) return Buffer.of(length);
  const bytes = [];
  for (let rest = length; rest > 0; rest = Math.floor(rest / 256)) bytes.unshift(rest % 256);
  return Buffer.of(128 | bytes.length, ...bytes);
}

const wrap = (tag, ...parts) => {
  const body = Buffer.concat(parts);
  return Buffer.concat([Buffer.of(tag), lengthOf(body.length), body]);
};

const write = {
  sequence: (...parts) => wrap(TAGS.sequence, ...parts),
  octets: (bytes) => wrap(TAGS.octets, bytes),
  bits: (bytes) => wrap(TAGS.bits, Buffer.of(0), bytes),
  nothing: () => Buffer.of(TAGS.nothing, 0),
  tagged: (number, ...parts) => wrap(0xa0 | number, ...parts),
  integer(bytes) {
    let digits = Buffer.from(bytes);
    while (digits.length > 1 && digits[0] === 0) digits = digits.subarray(1);
    return wrap(TAGS.integer, digits.length === 0 || digits[0] & 0x80 ? Buffer.concat([Buffer.of(0), digits]) : digits);
  },
  oid(text) {
    const [first, second, ...rest] = text.split(".").map(Number);
    const bytes = [first * 40 + second];
    for (const arc of rest) {
      const groups = [arc & 127];
      for (let left = Math.floor(arc / 128); left > 0; left = Math.floor(left / 128)) groups.unshift((left & 127) | 128);
      bytes.push(...groups);
    }
    return wrap(TAGS.oid, Buffer.from(bytes));
  },
};

/** `{tag, body, raw, end}` of the element at `at`, or undefined when there is none that fits. */
function element(bytes, at = 0) {
  if (at + 2 > bytes.length) return undefined;
  let length = bytes[at + 1];
  let start = at + 2;
  if (length & 128) {
    const count = length & 127;
    if (count === 0 || count > 4 || start + count > bytes.length) return undefined;
    length = 0;
    for (let index = 0; index < count; index++) length = length * 256 + bytes[start + index];
    start += count;
  }
  const end = start + length;
  return end > bytes.length ? undefined : { tag: bytes[at], body: bytes.subarray(start, end), raw: bytes.subarray(at, end), end };
}

/** The elements inside a sequence's body. */
function elements(body) {
  const found = [];
  for (let at = 0; at < body.length;) {
    const one = element(body, at);
    if (one === undefined) return undefined;
    found.push(one);
    at = one.end;
  }
  return found;
}

/** The elements of a sequence that is the whole of `bytes`. */
function sequence(bytes) {
  const whole = element(bytes);
  return whole === undefined || whole.tag !== TAGS.sequence ? undefined : elements(whole.body);
}

function oidText(body) {
  const arcs = [Math.floor(body[0] / 40), body[0] % 40];
  let arc = 0;
  for (const byte of body.subarray(1)) {
    arc = arc * 128 + (byte & 127);
    if (!(byte & 128)) {
      arcs.push(arc);
      arc = 0;
    }
  }
  return arcs.join(".");
}

/** A number's digits without the sign byte. */
function unsigned(body) {
  let digits = body;
  while (digits.length > 1 && digits[0] === 0) digits = digits.subarray(1);
  return digits;
}

function toPem(label, der) {
  const lines = der.toString("base64").match(/.{1,64}/g) ?? [];
  return `-----BEGIN ${label}-----\n${lines.join("\n")}\n-----END ${label}-----\n`;
}

/** `{label, der, headers}` of the first block of PEM text, or undefined. */
function fromPem(text) {
  const match = /-----BEGIN ([A-Z0-9 ]+)-----([\s\S]*?)-----END \1-----/.exec(text);
  if (match === null) return undefined;
  const body = match[2].replace(/\\n/g, "\n");
  const headers = /^\s*(?:[A-Za-z-]+: [^\n]*\r?\n)+/.exec(body)?.[0] ?? "";
  return { label: match[1], der: Buffer.from(body.slice(headers.length), "base64"), headers };
}

module.exports = { TAGS, write, element, elements, sequence, oidText, unsigned, toPem, fromPem };
