// Gives: the bytes of a multipart form and the content type that names its boundary (RFC 7578, as browsers write it), and
// the way back.
"use strict";
const { portico } = internal;

const encode = (text) => portico.natives.utf8Encode(text);

function concat(parts) {
  let length = 0;
  for (const part of parts) length += part.length;
  const whole = new Uint8Array(length);
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

const escaped = (name) => name.replace(/\n/g, "%0A").replace(/\r/g, "%0D").replace(/"/g, "%22");
const lines = (text) => text.replace(/\r\n?|\n/g, "\r\n");

/** `fields`: `{name, value}` with text, or `{name, bytes, filename, type}`. */
function write(fields) {
  const boundary = `----PorticoFormBoundary${portico.natives.hexEncode(portico.natives.randomBytes(12))}`;
  const parts = [];
  for (const { name, value, bytes, filename, type } of fields) {
    let head = `--${boundary}\r\nContent-Disposition: form-data; name="${escaped(lines(name))}"`;
    if (bytes === undefined) {
      parts.push(encode(`${head}\r\n\r\n${lines(value)}\r\n`));
      continue;
    }
    if (filename !== undefined) head += `; filename="${escaped(filename)}"`;
    parts.push(encode(`${head}\r\nContent-Type: ${type || "application/octet-stream"}\r\n\r\n`), bytes, encode("\r\n"));
  }
  parts.push(encode(`--${boundary}--\r\n`));
  return { bytes: concat(parts), type: `multipart/form-data; boundary=${boundary}` };
}

/** The fields of a multipart body, or undefined when it is none. */
function read(bytes, boundary) {
  const mark = encode(`--${boundary}`);
  const fields = [];
  let at = indexOf(bytes, mark, 0);
  if (at !== 0 && indexOf(bytes, encode(`\r\n--${boundary}`), 0) < 0) return undefined;
  while (at >= 0) {
    at += mark.length;
    if (bytes[at] === 45 && bytes[at + 1] === 45) return fields;
    at += 2;
    const headEnd = indexOf(bytes, encode("\r\n\r\n"), at);
    const next = headEnd < 0 ? -1 : indexOf(bytes, encode(`\r\n--${boundary}`), headEnd + 2);
    if (next < 0) return undefined;
    const head = portico.natives.utf8Decode(bytes.subarray(at, headEnd));
    const body = bytes.slice(headEnd + 4, Math.max(next, headEnd + 4));
    const name = /;\s*name="([^"]*)"/i.exec(head)?.[1];
    if (name === undefined) return undefined;
    const plain = (text) => text.replace(/%0A/gi, "\n").replace(/%0D/gi, "\r").replace(/%22/g, '"');
    const filename = /;\s*filename="([^"]*)"/i.exec(head)?.[1];
    const type = /^content-type:[ \t]*(.*)$/im.exec(head)?.[1].trim();
    if (filename === undefined) fields.push({ name: plain(name), value: portico.natives.utf8Decode(body) });
    else fields.push({ name: plain(name), bytes: body, filename: plain(filename), type: type ?? "text/plain" });
    at = next + 2;
  }
  return undefined;
}

function indexOf(bytes, wanted, from) {
  outer: for (let at = bytes.indexOf(wanted[0], from); at >= 0; at = bytes.indexOf(wanted[0], at + 1)) {
    for (let index = 1; index < wanted.length; index++) if (bytes[at + index] !== wanted[index]) continue outer;
    return at;
  }
  return -1;
}

module.exports = { concat, write, read };
