// Gives: Blob, File and FormData, as browsers have them. Bytes are in memory and are never changed.
"use strict";
const { portico } = internal;
const multipart = require("internal/web/multipart");

class Blob {
  #bytes;
  #type;

  constructor(parts = [], options) {
    if (typeof parts !== "object" || parts === null || typeof parts[Symbol.iterator] !== "function") {
      throw new TypeError("Blob needs a sequence of parts");
    }
    const native = options?.endings === "native";
    const pieces = [];
    for (const part of parts) {
      if (part instanceof Blob) pieces.push(part.#bytes);
      else if (part instanceof ArrayBuffer) pieces.push(new Uint8Array(part.slice(0)));
      else if (ArrayBuffer.isView(part)) {
        pieces.push(new Uint8Array(part.buffer, part.byteOffset, part.byteLength).slice());
      } else {
        const text = `${part}`.toWellFormed();
        pieces.push(portico.natives.utf8Encode(native ? text.replace(/\r\n?/g, "\n") : text));
      }
    }
    this.#bytes = pieces.length === 1 ? pieces[0] : multipart.concat(pieces);
    const type = options?.type === undefined ? "" : `${options.type}`;
    this.#type = /^[\x20-\x7e]*$/.test(type) ? type.toLowerCase() : "";
  }

  get size() { return this.#bytes.length; }
  get type() { return this.#type; }
  get [Symbol.toStringTag]() { return "Blob"; }

  async arrayBuffer() { return this.#bytes.slice().buffer; }
  async bytes() { return this.#bytes.slice(); }
  async text() { return portico.natives.utf8Decode(this.#bytes); }

  slice(start = 0, end = this.size, type = "") {
    const place = (at) => (at < 0 ? Math.max(this.size + at, 0) : Math.min(at, this.size));
    const from = place(Math.trunc(Number(start)) || 0);
    const to = Math.max(place(Math.trunc(Number(end)) || 0), from);
    return new Blob([this.#bytes.subarray(from, to)], { type });
  }

  stream() {
    const bytes = this.#bytes;
    return new (require("internal/web/streams").ReadableStream)({
      type: "bytes",
      start(controller) {
        for (let at = 0; at < bytes.length; at += CHUNK_BYTES) controller.enqueue(bytes.slice(at, at + CHUNK_BYTES));
        controller.close();
      },
    });
  }

  /** For this platform's own use: no copy. */
  static bytesOf(blob) { return blob.#bytes; }
}
const { bytesOf } = Blob;
delete Blob.bytesOf;

const CHUNK_BYTES = 65536;

class File extends Blob {
  #name;
  #lastModified;

  constructor(parts, name, options) {
    if (arguments.length < 2) throw new TypeError("File needs parts and a name");
    super(parts, options);
    this.#name = `${name}`.toWellFormed();
    this.#lastModified = options?.lastModified === undefined ? Date.now() : Math.trunc(Number(options.lastModified)) || 0;
  }

  get name() { return this.#name; }
  get lastModified() { return this.#lastModified; }
  get webkitRelativePath() { return ""; }
  get [Symbol.toStringTag]() { return "File"; }
}

class FormData {
  #list = [];

  constructor(form) {
    if (form !== undefined) throw new TypeError("FormData takes no form here: there are no documents");
  }

  append(name, value, filename) { this.#list.push([`${name}`.toWellFormed(), entry(value, filename, arguments.length)]); }

  set(name, value, filename) {
    const key = `${name}`.toWellFormed();
    const pair = [key, entry(value, filename, arguments.length)];
    const at = this.#list.findIndex(([other]) => other === key);
    if (at < 0) {
      this.#list.push(pair);
    } else {
      this.#list[at] = pair;
      this.#list = this.#list.filter(([other], index) => index <= at || other !== key);
    }
  }

  delete(name) {
    const key = `${name}`;
    this.#list = this.#list.filter(([other]) => other !== key);
  }

  get(name) {
    const key = `${name}`;
    return this.#list.find(([other]) => other === key)?.[1] ?? null;
  }

  getAll(name) {
    const key = `${name}`;
    return this.#list.filter(([other]) => other === key).map(([, value]) => value);
  }

  has(name) {
    const key = `${name}`;
    return this.#list.some(([other]) => other === key);
  }

  forEach(callback, self) { for (const [name, value] of this) callback.call(self, value, name, this); }

  *entries() { for (let index = 0; index < this.#list.length; index++) yield [...this.#list[index]]; }
  *keys() { for (let index = 0; index < this.#list.length; index++) yield this.#list[index][0]; }
  *values() { for (let index = 0; index < this.#list.length; index++) yield this.#list[index][1]; }
  [Symbol.iterator]() { return this.entries(); }
  get [Symbol.toStringTag]() { return "FormData"; }
}

function entry(value, filename, given) {
  if (!(value instanceof Blob)) {
    if (given > 2) throw new TypeError("Only a Blob can have a file name");
    return `${value}`.toWellFormed();
  }
  if (value instanceof File && filename === undefined) return value;
  return new File([value], filename ?? "blob", { type: value.type });
}

/** A form as a multipart body, and the way back. */
function encodeForm(form) {
  const fields = [];
  for (const [name, value] of form) {
    if (typeof value === "string") fields.push({ name, value });
    else fields.push({ name, bytes: bytesOf(value), filename: value.name, type: value.type });
  }
  return multipart.write(fields);
}

function decodeForm(bytes, boundary) {
  const fields = multipart.read(bytes, boundary);
  if (fields === undefined) return undefined;
  const form = new FormData();
  for (const { name, value, bytes: content, filename, type } of fields) {
    if (content === undefined) form.append(name, value);
    else form.append(name, new File([content], filename, { type }));
  }
  return form;
}

module.exports = { Blob, File, FormData, bytesOf, encodeForm, decodeForm };
