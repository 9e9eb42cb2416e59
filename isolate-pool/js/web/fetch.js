// Gives: fetch, Headers, Request, Response, as browsers and Node have them, over the platform's exchanges. `abort` breaks
// an exchange off.
//
// Absent: caches, cookies, CORS (a server fetches what it likes), and bodies in pieces: a body that is a stream is read to
// its end before the request is sent, and the body of a response is there as a whole when its head is.
"use strict";
const { portico } = internal;
const { binary, exchange } = require("internal/web/ask");
const { Blob, FormData, bytesOf, decodeForm, encodeForm } = require("internal/web/blob");
const { DOMException, AbortController, AbortSignal } = require("internal/web/events");
const { ReadableStream } = require("internal/web/streams");
const { URL, URLSearchParams } = require("internal/web/url");
const { concat } = require("internal/web/multipart");

const isToken = (text) => /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/.test(text);

// ------------------------------------------------------------------------------------------------------------- headers

class Headers {
  /** Lower-case name → values. */
  #map = new Map();
  #immutable = false;

  constructor(init) {
    if (init === undefined || init === null) {
      if (init === null) throw new TypeError("Headers needs pairs of names and values");
      return;
    }
    if (typeof init !== "object" && typeof init !== "function") throw new TypeError("Headers needs pairs of names and values");
    if (typeof init[Symbol.iterator] === "function") {
      for (const pair of init) {
        const [name, value, ...more] = [...pair];
        if (value === undefined || more.length > 0) throw new TypeError("Headers needs pairs of names and values");
        this.append(name, value);
      }
    } else {
      for (const name of Reflect.ownKeys(init)) {
        if (Object.prototype.propertyIsEnumerable.call(init, name)) this.append(name, init[name]);
      }
    }
  }

  append(name, value) {
    const [key, text] = this.#check("append", name, value);
    const values = this.#map.get(key);
    if (values === undefined) this.#map.set(key, [text]);
    else values.push(text);
  }

  set(name, value) {
    const [key, text] = this.#check("set", name, value);
    this.#map.set(key, [text]);
  }

  delete(name) {
    const [key] = this.#check("delete", name, "");
    this.#map.delete(key);
  }

  get(name) {
    const key = nameOf("get", name);
    const values = this.#map.get(key);
    return values === undefined ? null : values.join(key === "cookie" ? "; " : ", ");
  }

  has(name) { return this.#map.has(nameOf("has", name)); }
  getSetCookie() { return [...(this.#map.get("set-cookie") ?? [])]; }

  forEach(callback, self) { for (const [name, value] of this) callback.call(self, value, name, this); }

  *entries() {
    for (const name of [...this.#map.keys()].sort()) {
      if (name === "set-cookie") for (const value of this.getSetCookie()) yield [name, value];
      else if (this.#map.has(name)) yield [name, this.get(name)];
    }
  }

  *keys() { for (const [name] of this) yield name; }
  *values() { for (const [, value] of this) yield value; }
  [Symbol.iterator]() { return this.entries(); }
  get [Symbol.toStringTag]() { return "Headers"; }

  [Symbol.for("nodejs.util.inspect.custom")](_depth, options, inspect) {
    const shown = Object.fromEntries(this);
    return `Headers ${typeof inspect === "function" ? inspect(shown, options) : JSON.stringify(shown)}`;
  }

  #check(method, name, value) {
    const key = nameOf(method, name);
    if (this.#immutable) throw new TypeError("immutable");
    const text = `${value}`.replace(/^[\t\n\r ]+|[\t\n\r ]+$/g, "");
    if (/[\0\r\n]/.test(text)) throw new TypeError(`Headers.${method}: ${JSON.stringify(text)} is an invalid header value.`);
    for (let index = 0; index < text.length; index++) {
      if (text.charCodeAt(index) > 255) {
        throw new TypeError(`Headers.${method}: the value of '${key}' holds a character above U+00FF`);
      }
    }
    return [key, text];
  }

  static freeze(headers) { headers.#immutable = true; }
  static flat(headers) {
    const flat = [];
    for (const [name, values] of headers.#map) {
      if (name === "cookie") flat.push(name, values.join("; "));
      else for (const value of values) flat.push(name, value);
    }
    return flat;
  }
}
const { flat: flatHeaders, freeze } = Headers;
delete Headers.flat;
delete Headers.freeze;

function nameOf(method, name) {
  const text = `${String(name)}`;
  if (!isToken(text)) throw new TypeError(`Headers.${method}: ${JSON.stringify(text)} is an invalid header name.`);
  return text.toLowerCase();
}

// -------------------------------------------------------------------------------------------------------------- bodies

/** What a body given to a constructor is: `{bytes}` or `{stream}`, and the content type that goes with it. */
function extract(body) {
  if (typeof body === "string") return { bytes: portico.natives.utf8Encode(body), type: "text/plain;charset=UTF-8" };
  if (body instanceof ReadableStream) {
    if (body.locked) throw new TypeError("Response body object should not be disturbed or locked");
    return { stream: body };
  }
  if (body instanceof Blob) return { bytes: bytesOf(body), type: body.type === "" ? undefined : body.type };
  if (body instanceof ArrayBuffer) return { bytes: new Uint8Array(body.slice(0)) };
  if (ArrayBuffer.isView(body)) return { bytes: new Uint8Array(body.buffer, body.byteOffset, body.byteLength).slice() };
  if (body instanceof URLSearchParams) {
    const type = "application/x-www-form-urlencoded;charset=UTF-8";
    return { bytes: portico.natives.utf8Encode(body.toString()), type };
  }
  if (body instanceof FormData) return encodeForm(body);
  if (body?.[portico.kind] === 2) return { bytes: body.bytes };
  if (typeof body === "object" && typeof body[Symbol.asyncIterator] === "function") return { stream: ReadableStream.from(body) };
  return { bytes: portico.natives.utf8Encode(`${body}`.toWellFormed()), type: "text/plain;charset=UTF-8" };
}

async function gather(stream) {
  const parts = [];
  for await (const chunk of stream) {
    if (typeof chunk === "string") parts.push(portico.natives.utf8Encode(chunk));
    else if (ArrayBuffer.isView(chunk)) parts.push(new Uint8Array(chunk.buffer, chunk.byteOffset, chunk.byteLength));
    else if (chunk instanceof ArrayBuffer) parts.push(new Uint8Array(chunk));
    else throw new TypeError("Received non-Uint8Array chunk");
  }
  return parts.length === 1 ? parts[0] : concat(parts);
}

/** What Request and Response share. */
class Body {
  #bytes; // as a whole, until somebody wants a stream of it
  #stream = null;
  #used = false;

  static give(owner, { bytes, stream }) {
    owner.#bytes = bytes;
    owner.#stream = stream ?? null;
  }

  static has(owner) { return owner.#bytes !== undefined || owner.#stream !== null; }

  get body() {
    if (this.#stream === null && this.#bytes !== undefined) {
      const bytes = this.#bytes;
      const used = () => { this.#used = true; };
      this.#bytes = undefined;
      this.#stream = new ReadableStream({
        type: "bytes",
        pull(controller) {
          used();
          if (bytes.length > 0) controller.enqueue(bytes);
          controller.close();
        },
        cancel: used,
      });
      if (this.#used) this.#stream.cancel();
    }
    return this.#stream;
  }

  get bodyUsed() { return this.#used; }

  async arrayBuffer() {
    const bytes = await this.#consume();
    return bytes.byteLength === bytes.buffer.byteLength ? bytes.buffer : bytes.slice().buffer;
  }

  async bytes() { return this.#consume(); }
  async blob() { return new Blob([await this.#consume()], { type: this.headers.get("content-type") ?? "" }); }
  async text() { return textOf(await this.#consume()); }
  async json() { return JSON.parse(textOf(await this.#consume())); }

  async formData() {
    const type = this.headers.get("content-type") ?? "";
    const bytes = await this.#consume();
    if (/^application\/x-www-form-urlencoded\b/i.test(type)) {
      const form = new FormData();
      for (const [name, value] of new URLSearchParams(textOf(bytes))) form.append(name, value);
      return form;
    }
    const boundary = /^multipart\/form-data\b.*;\s*boundary=(?:"([^"]+)"|([^;\s]+))/i.exec(type);
    const form = boundary === null ? undefined : decodeForm(bytes, boundary[1] ?? boundary[2]);
    if (form === undefined) throw new TypeError(`the body is not a form: content type '${type}'`);
    return form;
  }

  async #consume() {
    if (this.#used || this.#stream?.locked) throw new TypeError("Body is unusable: Body has already been read");
    if (!has(this)) return new Uint8Array(0);
    this.#used = true;
    if (this.#bytes === undefined) return gather(this.#stream);
    const bytes = this.#bytes;
    // A stream that is asked for later is there, and at its end.
    this.#bytes = new Uint8Array(0);
    return bytes;
  }

  /** A second body with the same content. */
  static split(owner) {
    if (owner.#used || owner.#stream?.locked) throw new TypeError("Body has already been used and cannot be cloned");
    if (owner.#bytes !== undefined) return { bytes: owner.#bytes };
    if (owner.#stream === null) return {};
    const [one, other] = owner.#stream.tee();
    owner.#stream = one;
    return { stream: other };
  }

  /** All bytes, or undefined without a body. */
  static async whole(owner) { return has(owner) ? owner.#consume() : undefined; }
}
const { give, has, split, whole } = Body;
delete Body.give;
delete Body.split;
delete Body.whole;

const textOf = (bytes) => {
  const marked = bytes[0] === 0xef && bytes[1] === 0xbb && bytes[2] === 0xbf;
  return portico.natives.utf8Decode(marked ? bytes.subarray(3) : bytes);
};

// ------------------------------------------------------------------------------------------------------------ requests

const NORMAL = ["DELETE", "GET", "HEAD", "OPTIONS", "POST", "PUT"];
const REDIRECTS = ["follow", "error", "manual"];

class Request extends Body {
  #method = "GET";
  #url;
  #headers;
  #signal;
  #redirect = "follow";
  #rest = {};

  constructor(input, init = {}) {
    super();
    if (arguments.length === 0) throw new TypeError("Request needs a URL or a Request");
    const options = init ?? {};
    const from = input instanceof Request ? input : undefined;
    this.#url = from === undefined ? urlOf(input) : from.url;
    const method = options.method === undefined ? (from?.method ?? "GET") : `${options.method}`;
    if (!isToken(method)) throw new TypeError(`'${method}' is not a valid HTTP method.`);
    this.#method = NORMAL.includes(method.toUpperCase()) ? method.toUpperCase() : method;
    if (/^(CONNECT|TRACE|TRACK)$/i.test(method)) throw new TypeError(`'${method}' HTTP method is unsupported.`);
    this.#headers = new Headers(options.headers ?? from?.headers);
    this.#redirect = options.redirect === undefined ? (from?.redirect ?? "follow") : `${options.redirect}`;
    if (!REDIRECTS.includes(this.#redirect)) throw new TypeError(`redirect: '${this.#redirect}' is not one of ${REDIRECTS.join(", ")}`);
    const signal = options.signal === undefined ? from?.signal : options.signal;
    if (signal !== undefined && signal !== null && !(signal instanceof AbortSignal)) {
      throw new TypeError("signal: Expected signal to be an instance of AbortSignal");
    }
    this.#signal = signal ?? new AbortController().signal;
    for (const name of ["cache", "credentials", "mode", "referrer", "referrerPolicy", "integrity", "keepalive", "dispatcher"]) {
      this.#rest[name] = options[name] ?? from?.[name];
    }
    this.#rest.duplex = options.duplex;
    const body = options.body;
    if (body !== undefined && body !== null) {
      if (this.#method === "GET" || this.#method === "HEAD") throw new TypeError("Request with GET/HEAD method cannot have body.");
      const extracted = extract(body);
      if (extracted.stream !== undefined && body instanceof ReadableStream && options.duplex === undefined) {
        throw new TypeError("RequestInit: duplex option is required when sending a body.");
      }
      give(this, extracted);
      if (extracted.type !== undefined && !this.#headers.has("content-type")) this.#headers.set("content-type", extracted.type);
    } else if (from !== undefined && body === undefined && has(from)) {
      give(this, split(from));
    }
  }

  get method() { return this.#method; }
  get url() { return this.#url; }
  get headers() { return this.#headers; }
  get signal() { return this.#signal; }
  get redirect() { return this.#redirect; }
  get cache() { return this.#rest.cache ?? "default"; }
  get credentials() { return this.#rest.credentials ?? "same-origin"; }
  get mode() { return this.#rest.mode ?? "cors"; }
  get referrer() { return this.#rest.referrer ?? "about:client"; }
  get referrerPolicy() { return this.#rest.referrerPolicy ?? ""; }
  get integrity() { return this.#rest.integrity ?? ""; }
  get keepalive() { return this.#rest.keepalive === true; }
  get destination() { return ""; }
  get duplex() { return "half"; }
  get [Symbol.toStringTag]() { return "Request"; }

  clone() {
    const copy = new Request(this.#url, {
      method: this.#method, headers: this.#headers, redirect: this.#redirect, signal: this.#signal, ...this.#rest,
    });
    if (has(this)) give(copy, split(this));
    return copy;
  }
}

function urlOf(input) {
  let url;
  try {
    url = new URL(`${input}`);
  } catch (cause) {
    throw new TypeError(`Failed to parse URL from ${input}`, { cause });
  }
  if (url.username !== "" || url.password !== "") {
    throw new TypeError(`Request cannot be constructed from a URL that includes credentials: ${input}`);
  }
  return url.href;
}

// ----------------------------------------------------------------------------------------------------------- responses

const NULL_BODY = [101, 103, 204, 205, 304];

class Response extends Body {
  #status;
  #statusText;
  #headers;
  #url = "";
  #redirected = false;
  #type = "default";

  constructor(body = null, init = {}) {
    super();
    const options = init ?? {};
    const status = options.status === undefined ? 200 : Number(options.status);
    if (!Number.isInteger(status) || status < 200 || status > 599) {
      throw new RangeError("init[\"status\"] must be in the range of 200 to 599, inclusive.");
    }
    this.#status = status;
    this.#statusText = options.statusText === undefined ? "" : `${options.statusText}`;
    if (/[^\t\x20-\x7e\x80-\xff]/.test(this.#statusText)) throw new TypeError("Invalid statusText");
    this.#headers = new Headers(options.headers ?? undefined);
    if (body !== null && body !== undefined) {
      if (NULL_BODY.includes(status)) throw new TypeError(`Response constructor: Invalid response status code ${status}`);
      const extracted = extract(body);
      give(this, extracted);
      if (extracted.type !== undefined && !this.#headers.has("content-type")) this.#headers.set("content-type", extracted.type);
    }
  }

  static json(data, init = {}) {
    const text = JSON.stringify(data);
    if (text === undefined) throw new TypeError("The value is not JSON");
    const headers = new Headers(init?.headers);
    if (!headers.has("content-type")) headers.set("content-type", "application/json");
    return new Response(text, { ...init, headers });
  }

  static error() {
    const response = new Response();
    response.#status = 0;
    response.#type = "error";
    freeze(response.#headers);
    return response;
  }

  static redirect(url, status = 302) {
    if (![301, 302, 303, 307, 308].includes(status)) throw new RangeError(`Invalid status code ${status}`);
    const response = new Response(null, { headers: { location: new URL(`${url}`).href } });
    response.#status = status;
    freeze(response.#headers);
    return response;
  }

  get status() { return this.#status; }
  get statusText() { return this.#statusText; }
  get ok() { return this.#status >= 200 && this.#status < 300; }
  get headers() { return this.#headers; }
  get url() { return this.#url; }
  get redirected() { return this.#redirected; }
  get type() { return this.#type; }
  get [Symbol.toStringTag]() { return "Response"; }

  clone() {
    const copy = new Response();
    copy.#status = this.#status;
    copy.#statusText = this.#statusText;
    copy.#headers = new Headers(this.#headers);
    copy.#url = this.#url;
    copy.#redirected = this.#redirected;
    copy.#type = this.#type;
    if (has(this)) give(copy, split(this));
    return copy;
  }

  static received({ status, reason, headers, url, redirected, body }) {
    const response = new Response();
    response.#status = status;
    response.#statusText = reason;
    response.#url = url;
    response.#redirected = redirected;
    response.#type = "basic";
    for (let index = 0; index < headers.length; index += 2) response.#headers.append(headers[index], latin1(headers[index + 1]));
    freeze(response.#headers);
    if (!NULL_BODY.includes(status)) give(response, { bytes: body.bytes });
    return response;
  }
}
const { received } = Response;
delete Response.received;
delete Body.has;

/** Values are bytes to this interface; one that was UTF-8 shows its bytes, as everywhere. */
function latin1(text) {
  if (!/[^\0-\xff]/.test(text)) return text;
  return String.fromCharCode(...portico.natives.utf8Encode(text));
}

// --------------------------------------------------------------------------------------------------------------- fetch

async function fetch(input, init) {
  if (arguments.length === 0) throw new TypeError("fetch needs a URL or a Request");
  const request = new Request(input, init);
  const { signal } = request;
  signal.throwIfAborted();
  const url = new URL(request.url);
  if (url.protocol === "data:") return fromData(request.url);
  if (url.protocol === "blob:") throw failed(new Error("blob: URLs are not available"));
  const bytes = has(request) ? await abortable(signal, whole(request)) : undefined;
  const { answer, cancel } = exchange({
    method: request.method,
    url: request.url,
    headers: withAccept(flatHeaders(request.headers)),
    body: bytes === undefined ? undefined : binary(bytes),
    redirect: request.redirect,
    decode: true,
  });
  try {
    return received(await abortable(signal, answer, cancel));
  } catch (error) {
    throw signal.aborted ? signal.reason : failed(error);
  }
}

function withAccept(flat) {
  const named = (name) => flat.some((header, index) => index % 2 === 0 && header === name);
  if (!named("accept")) flat.push("accept", "*/*");
  if (!named("accept-language")) flat.push("accept-language", "*");
  return flat;
}

/** Settles with `promise`, or with the signal's reason when that comes first. */
function abortable(signal, promise, cancel) {
  return new Promise((resolve, reject) => {
    const abort = () => {
      cancel?.();
      reject(signal.reason);
    };
    if (signal.aborted) {
      promise.catch(() => {});
      abort();
      return;
    }
    signal.addEventListener("abort", abort, { once: true });
    const done = () => signal.removeEventListener("abort", abort);
    promise.then((value) => { done(); resolve(value); }, (error) => { done(); reject(error); });
  });
}

/** Libraries look at `cause.code`; people read the message. */
function failed(cause) {
  if (cause instanceof DOMException) return cause;
  return new TypeError(`fetch failed: ${cause?.message}`, { cause });
}

function fromData(url) {
  const match = /^data:([^,]*?)(;\s*base64)?,(.*)$/s.exec(url.split("#", 1)[0]);
  if (match === null) throw failed(new Error("not a data: URL"));
  const [, type, base64, text] = match;
  const decoded = decodeURIComponent(text);
  const bytes = base64 ? portico.natives.base64Decode(decoded) : portico.natives.utf8Encode(decoded);
  if (bytes === undefined) throw failed(new Error("not base64"));
  return new Response(bytes, { headers: { "content-type": type === "" ? "text/plain;charset=US-ASCII" : type } });
}

module.exports = { Headers, Request, Response, fetch };
