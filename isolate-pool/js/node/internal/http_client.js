// Gives: the client half of Node's `http` and `https`: ClientRequest, IncomingMessage, Agent, over the platform's
// exchanges. A request is sent when it is ended, with its whole body; the body of its response arrives as one chunk.
//
// Absent: connections. `request.socket` is there for what libraries set on it and carries nothing; agents choose nothing
// but whether certificates are checked. Upgrades, trailers and bodies in pieces are not there.
"use strict";
const EventEmitter = require("events");
const { Readable, Writable } = require("stream");
const { portico } = internal;
const { binary, exchange } = require("internal/web/ask");
const { concat } = require("internal/web/multipart");

const METHODS = [
  "ACL", "BIND", "CHECKOUT", "CONNECT", "COPY", "DELETE", "GET", "HEAD", "LINK", "LOCK", "M-SEARCH", "MERGE", "MKACTIVITY",
  "MKCALENDAR", "MKCOL", "MOVE", "NOTIFY", "OPTIONS", "PATCH", "POST", "PROPFIND", "PROPPATCH", "PURGE", "PUT", "QUERY",
  "REBIND", "REPORT", "SEARCH", "SOURCE", "SUBSCRIBE", "TRACE", "UNBIND", "UNLINK", "UNLOCK", "UNSUBSCRIBE",
];

function coded(ErrorClass, code, message) {
  const error = new ErrorClass(message);
  error.code = code;
  return error;
}

function validateHeaderName(name, label) {
  if (typeof name !== "string" || !/^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/.test(name)) {
    throw coded(TypeError, "ERR_INVALID_HTTP_TOKEN", `${label ?? "Header name"} must be a valid HTTP token ["${name}"]`);
  }
}

function validateHeaderValue(name, value) {
  if (value === undefined) {
    throw coded(TypeError, "ERR_HTTP_INVALID_HEADER_VALUE", `Invalid value "undefined" for header "${name}"`);
  }
  if (/[^\t\x20-\x7e\x80-\xff]/.test(`${value}`)) {
    throw coded(TypeError, "ERR_INVALID_CHAR", `Invalid character in header content ["${name}"]`);
  }
}

/** What libraries do to the socket of a request; nothing of it has to do with a connection here. */
class RequestSocket extends EventEmitter {
  constructor(request, encrypted) {
    super();
    this._request = request;
    this.connecting = false;
    this.destroyed = false;
    this.readable = true;
    this.writable = true;
    this.remoteAddress = undefined;
    this.remotePort = undefined;
    this.bytesRead = 0;
    this.bytesWritten = 0;
    if (encrypted) {
      this.encrypted = true;
      this.authorized = true;
    }
  }

  setKeepAlive() { return this; }
  setNoDelay() { return this; }
  ref() { return this; }
  unref() { return this; }
  setTimeout(ms, callback) {
    this._request.setTimeout(ms, callback);
    return this;
  }

  getPeerCertificate() { return {}; }
  address() { return {}; }
  end() { return this; }
  destroy(error) {
    this.destroyed = true;
    this._request.destroy(error);
    return this;
  }
}

class IncomingMessage extends Readable {
  constructor(socket) {
    super({ highWaterMark: 64 * 1024 });
    this.socket = socket;
    this.connection = socket;
    this.httpVersion = "1.1";
    this.httpVersionMajor = 1;
    this.httpVersionMinor = 1;
    this.complete = false;
    this.aborted = false;
    this.upgrade = null;
    this.url = "";
    this.method = null;
    this.statusCode = null;
    this.statusMessage = null;
    this.rawHeaders = [];
    this.rawTrailers = [];
    this.trailers = {};
    this.headers = {};
    this.headersDistinct = { __proto__: null };
  }

  setTimeout(ms, callback) {
    this.socket?.setTimeout(ms, callback);
    return this;
  }

  _read() {}

  _receive({ status, reason, headers, body }) {
    this.statusCode = status;
    this.statusMessage = reason;
    this.rawHeaders = headers;
    for (let index = 0; index < headers.length; index += 2) this._header(headers[index], headers[index + 1]);
    if (body.bytes.length > 0) this.push(Buffer.from(body.bytes.buffer, body.bytes.byteOffset, body.bytes.length));
    this.complete = true;
    this.push(null);
  }

  /** As Node joins headers that come more than once. */
  _header(name, value) {
    (this.headersDistinct[name] ??= []).push(value);
    const known = this.headers[name];
    if (name === "set-cookie") this.headers[name] = known === undefined ? [value] : [...known, value];
    else if (known === undefined) this.headers[name] = value;
    else if (name === "cookie") this.headers[name] = `${known}; ${value}`;
    else if (!ONCE.has(name)) this.headers[name] = `${known}, ${value}`;
  }
}

/** Headers of which the first counts. */
const ONCE = new Set([
  "age", "authorization", "content-length", "content-type", "etag", "expires", "from", "host", "if-modified-since",
  "if-unmodified-since", "last-modified", "location", "max-forwards", "proxy-authorization", "referer", "retry-after",
  "server", "user-agent",
]);

class OutgoingMessage extends Writable {
  constructor(options) {
    super({ decodeStrings: true, autoDestroy: false, emitClose: false, ...options });
    this._headers = new Map();
    this.headersSent = false;
    this.finished = false;
    this.chunkedEncoding = false;
    this.shouldKeepAlive = true;
    this.sendDate = false;
    this.socket = null;
    this.connection = null;
  }

  setHeader(name, value) {
    if (this.headersSent) throw coded(Error, "ERR_HTTP_HEADERS_SENT", "Cannot set headers after they are sent to the client");
    validateHeaderName(name);
    for (const one of Array.isArray(value) ? value : [value]) validateHeaderValue(name, one);
    this._headers.set(name.toLowerCase(), { name, value });
    return this;
  }

  appendHeader(name, value) {
    const known = this.getHeader(name);
    return this.setHeader(name, known === undefined ? value : [known, value].flat());
  }

  setHeaders(headers) {
    for (const [name, value] of headers) this.setHeader(name, value);
    return this;
  }

  getHeader(name) { return this._headers.get(`${name}`.toLowerCase())?.value; }
  hasHeader(name) { return this._headers.has(`${name}`.toLowerCase()); }
  removeHeader(name) { this._headers.delete(`${name}`.toLowerCase()); }
  getHeaderNames() { return [...this._headers.keys()]; }
  getRawHeaderNames() { return [...this._headers.values()].map(({ name }) => name); }
  getHeaders() {
    const headers = { __proto__: null };
    for (const [name, { value }] of this._headers) headers[name] = value;
    return headers;
  }

  addTrailers() {}
  flushHeaders() {}
}

class ClientRequest extends OutgoingMessage {
  constructor(protocol, input, options, callback) {
    super();
    const settings = settingsOf(input, options);
    const listener = typeof options === "function" ? options : callback;
    this._chunks = [];
    this._encrypted = (settings.protocol ?? protocol) === "https:";
    const wanted = settings.protocol ?? protocol;
    const fits = settings.agent?.protocol ?? protocol;
    if (wanted !== protocol && wanted !== fits) {
      throw coded(TypeError, "ERR_INVALID_PROTOCOL", `Protocol "${wanted}" not supported. Expected "${protocol}"`);
    }
    if (settings.socketPath !== undefined) throw coded(Error, "ERR_NOT_AVAILABLE", "socketPath is not available in functions");
    if (settings.agent?.proxy !== undefined && typeof settings.agent.connect === "function") {
      throw coded(Error, "ERR_NOT_AVAILABLE", "agents that go through a proxy are not available in functions");
    }
    this.protocol = wanted;
    this.method = `${settings.method ?? "GET"}`.toUpperCase();
    validateHeaderName(this.method, "Method");
    this.host = `${settings.hostname ?? settings.host ?? "localhost"}`;
    this.path = settings.path ?? "/";
    if (/[^\x21-\xff]/.test(this.path)) {
      throw coded(TypeError, "ERR_UNESCAPED_CHARACTERS", "Request path contains unescaped characters");
    }
    this.port = Number(settings.port || settings.defaultPort || (this._encrypted ? 443 : 80));
    this.agent = settings.agent === false ? undefined : settings.agent;
    this.reusedSocket = false;
    this.aborted = false;
    this.maxHeadersCount = null;
    this.res = null;
    this.timeout = undefined;
    this._insecure = (settings.rejectUnauthorized ?? this.agent?.options?.rejectUnauthorized) === false;
    this._call = portico.currentCall();
    const given = settings.headers ?? {};
    if (Array.isArray(given)) {
      const flat = given.flat();
      for (let index = 0; index < flat.length; index += 2) this.appendHeader(flat[index], flat[index + 1]);
    } else if (typeof given.entries === "function" && typeof given.get === "function") {
      for (const [name, value] of given) this.setHeader(name, value);
    } else {
      for (const name of Object.keys(given)) if (given[name] !== undefined) this.setHeader(name, given[name]);
    }
    if (settings.auth && !this.hasHeader("authorization")) {
      this.setHeader("Authorization", `Basic ${Buffer.from(`${settings.auth}`).toString("base64")}`);
    }
    if (!this.hasHeader("host")) {
      const usual = this.port === (this._encrypted ? 443 : 80);
      this.setHeader("Host", usual ? this.host : `${this.host}:${this.port}`);
    }
    if (listener !== undefined) this.once("response", listener);
    if (settings.timeout !== undefined) this.setTimeout(settings.timeout);
    if (settings.signal !== undefined && settings.signal !== null) this._follow(settings.signal);
    this.socket = this.connection = new RequestSocket(this, this._encrypted);
    queueMicrotask(() => {
      if (this.destroyed) return;
      this.emit("socket", this.socket);
      if (/^100-continue$/i.test(`${this.getHeader("expect") ?? ""}`)) this.emit("continue");
    });
  }

  setTimeout(ms, callback) {
    if (callback !== undefined) this.once("timeout", callback);
    clearTimeout(this._timer);
    this.timeout = Number(ms);
    if (this.timeout > 0 && this.res === null && !this.destroyed) {
      this._timer = setTimeout(() => {
        this.emit("timeout");
        this.socket?.emit("timeout");
      }, this.timeout);
    }
    return this;
  }

  setNoDelay() { return this; }
  setSocketKeepAlive() { return this; }
  clearTimeout(callback) { return this.setTimeout(0, callback); }

  abort() {
    if (this.aborted) return;
    this.aborted = true;
    queueMicrotask(() => this.emit("abort"));
    this.destroy();
  }

  _write(chunk, _encoding, done) {
    this._chunks.push(chunk);
    done();
  }

  end(chunk, encoding, callback) {
    const ended = super.end(chunk, encoding, callback);
    this.finished = true;
    return ended;
  }

  _final(done) {
    done();
    this._send();
  }

  _send() {
    if (this.destroyed) return;
    if (this.hasHeader("upgrade")) {
      this.destroy(coded(Error, "ERR_NOT_AVAILABLE", "upgrading a connection, as WebSockets do, is not available in functions"));
      return;
    }
    this.headersSent = true;
    const headers = [];
    for (const { name, value } of this._headers.values()) {
      for (const one of Array.isArray(value) ? value : [value]) headers.push(name, `${one}`);
    }
    const body = this._chunks.length === 0 ? undefined : binary(concat(this._chunks));
    this._chunks = [];
    const host = this.host.includes(":") && !this.host.startsWith("[") ? `[${this.host}]` : this.host;
    // An absolute path is what proxies are asked with, and names its own host.
    const url = /^https?:\/\//i.test(this.path) ? this.path : `${this.protocol}//${host}:${this.port}${this.path}`;
    const { answer, cancel } = exchange(
      { method: this.method, url, headers, body, redirect: "manual", insecure: this._insecure },
      { call: this._call },
    );
    this._cancel = cancel;
    answer.then((received) => this._answered(received), (error) => {
      if (!this.destroyed) this.destroy(error);
    });
  }

  _answered(received) {
    clearTimeout(this._timer);
    this._cancel = undefined;
    if (this.destroyed) return;
    const response = new IncomingMessage(this.socket);
    response.req = this;
    this.res = response;
    response.once("close", () => this._closed());
    response.once("end", () => this._closed());
    if (this.method === "HEAD") received.body.bytes = new Uint8Array(0);
    response._receive(received);
    // Nobody wants it: it is thrown away, as Node does.
    if (!this.emit("response", response)) response.resume();
  }

  _follow(signal) {
    const abort = () => {
      const error = coded(Error, "ABORT_ERR", "The operation was aborted");
      error.name = "AbortError";
      error.cause = signal.reason;
      this.destroy(error);
    };
    if (signal.aborted) queueMicrotask(abort);
    else signal.addEventListener("abort", abort, { once: true });
  }

  _destroy(error, done) {
    clearTimeout(this._timer);
    this._cancel?.();
    this._cancel = undefined;
    if (this.socket !== null) this.socket.destroyed = true;
    const { res } = this;
    if (res !== null && !res.complete) res.destroy(error);
    const why = error ?? (res === null ? coded(Error, "ECONNRESET", "socket hang up") : null);
    done(why);
    queueMicrotask(() => this._closed());
  }

  _closed() {
    if (this._isClosed) return;
    this._isClosed = true;
    queueMicrotask(() => {
      this.emit("close");
      this.socket?.emit("close", false);
    });
  }
}

/** What `request(url, options)` and `request(options)` mean. */
function settingsOf(input, options) {
  const more = typeof options === "object" && options !== null ? options : {};
  if (typeof input === "string") return { ...fromUrl(new URL(input)), ...own(more) };
  if (input instanceof URL || (typeof input?.href === "string" && typeof input.searchParams === "object")) {
    return { ...fromUrl(input), ...own(more) };
  }
  return { ...own(input ?? {}), ...(typeof options === "object" ? own(more) : {}) };
}

/** Options that are left out on purpose do not hide those of the URL. */
function own(options) {
  const kept = {};
  for (const name in options) if (options[name] !== undefined) kept[name] = options[name];
  return kept;
}

function fromUrl(url) {
  const settings = {
    protocol: url.protocol,
    hostname: url.hostname.startsWith("[") ? url.hostname.slice(1, -1) : url.hostname,
    path: `${url.pathname}${url.search}`,
  };
  if (url.port !== "") settings.port = Number(url.port);
  if (url.username !== "" || url.password !== "") {
    settings.auth = `${decodeURIComponent(url.username)}:${decodeURIComponent(url.password)}`;
  }
  return settings;
}

class Agent extends EventEmitter {
  constructor(options) {
    super();
    this.options = { ...options };
    this.protocol = "http:";
    this.defaultPort = 80;
    this.requests = { __proto__: null };
    this.sockets = { __proto__: null };
    this.freeSockets = { __proto__: null };
    this.keepAlive = this.options.keepAlive === true;
    this.keepAliveMsecs = this.options.keepAliveMsecs ?? 1000;
    this.maxSockets = this.options.maxSockets ?? Infinity;
    this.maxFreeSockets = this.options.maxFreeSockets ?? 256;
    this.maxTotalSockets = this.options.maxTotalSockets ?? Infinity;
    this.scheduling = this.options.scheduling ?? "lifo";
  }

  getName(options = {}) { return `${options.host || "localhost"}:${options.port || ""}:${options.localAddress || ""}`; }
  addRequest() {}
  createConnection() { throw coded(Error, "ERR_NOT_AVAILABLE", "an agent's own connections are not available in functions"); }
  createSocket() { throw coded(Error, "ERR_NOT_AVAILABLE", "an agent's own connections are not available in functions"); }
  keepSocketAlive() { return true; }
  reuseSocket() {}
  removeSocket() {}
  destroy() {}
}

module.exports = {
  Agent, ClientRequest, IncomingMessage, METHODS, OutgoingMessage, fromUrl, validateHeaderName, validateHeaderValue,
};
