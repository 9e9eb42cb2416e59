// Gives: Node's `http2` for clients: `connect`, sessions, streams with headers, a body and trailers, and the constants. A
// request is sent when its stream is ended, with its whole body; the body of what is answered arrives as one chunk. So
// whatever asks once and is answered once works, push services and unary gRPC among it.
//
// Absent: the connection itself. Streams to one origin share the platform's connections, whichever session they belong to;
// a connection of one's own, pings, settings, priorities, sent trailers and pushed streams are refused when asked for.
"use strict";
const EventEmitter = require("events");
const { Duplex } = require("stream");
const { METHODS } = require("internal/http_client");
const noServer = require("internal/no_server");
const { binary, exchange } = require("internal/web/ask");
const { concat } = require("internal/web/multipart");
const { portico } = internal;

const constants = {
  NGHTTP2_NO_ERROR: 0, NGHTTP2_PROTOCOL_ERROR: 1, NGHTTP2_INTERNAL_ERROR: 2, NGHTTP2_FLOW_CONTROL_ERROR: 3,
  NGHTTP2_SETTINGS_TIMEOUT: 4, NGHTTP2_STREAM_CLOSED: 5, NGHTTP2_FRAME_SIZE_ERROR: 6, NGHTTP2_REFUSED_STREAM: 7,
  NGHTTP2_CANCEL: 8, NGHTTP2_COMPRESSION_ERROR: 9, NGHTTP2_CONNECT_ERROR: 10, NGHTTP2_ENHANCE_YOUR_CALM: 11,
  NGHTTP2_INADEQUATE_SECURITY: 12, NGHTTP2_HTTP_1_1_REQUIRED: 13, NGHTTP2_DEFAULT_WEIGHT: 16,
  HTTP2_HEADER_STATUS: ":status", HTTP2_HEADER_METHOD: ":method", HTTP2_HEADER_AUTHORITY: ":authority",
  HTTP2_HEADER_SCHEME: ":scheme", HTTP2_HEADER_PATH: ":path", HTTP2_HEADER_PROTOCOL: ":protocol",
};
const HEADERS = [
  "accept", "accept-charset", "accept-encoding", "accept-language", "accept-ranges", "age", "allow", "authorization",
  "cache-control", "connection", "content-disposition", "content-encoding", "content-language", "content-length",
  "content-location", "content-range", "content-type", "cookie", "date", "etag", "expect", "expires", "from", "host",
  "if-match", "if-modified-since", "if-none-match", "if-range", "if-unmodified-since", "keep-alive", "last-modified",
  "link", "location", "max-forwards", "origin", "prefer", "proxy-authenticate", "proxy-authorization", "proxy-connection",
  "range", "referer", "refresh", "retry-after", "server", "set-cookie", "te", "trailer", "transfer-encoding", "upgrade",
  "user-agent", "vary", "via", "www-authenticate",
];
for (const name of HEADERS) constants[`HTTP2_HEADER_${name.toUpperCase().replaceAll("-", "_")}`] = name;
for (const method of METHODS) constants[`HTTP2_METHOD_${method.replaceAll("-", "_")}`] = method;
for (const [code, words] of Object.entries(require("http").STATUS_CODES)) {
  constants[`HTTP_STATUS_${words.toUpperCase().replace(/[^A-Z]+/g, "_")}`] = Number(code);
}

const sensitiveHeaders = Symbol("sensitiveHeaders");

function coded(ErrorClass, code, message, cause) {
  const error = new ErrorClass(message, cause === undefined ? undefined : { cause });
  error.code = code;
  return error;
}

const unavailable = (what) => coded(Error, "ERR_NOT_AVAILABLE", `http2: ${what} is not available in functions`);

/** Methods of requests that usually have no body; their streams are ended as they are made. */
const WITHOUT_BODY = new Set(["GET", "HEAD", "DELETE"]);

/** What a connection of HTTP/1.1 says and a stream must not (RFC 9113, section 8.2.2). */
const OF_CONNECTIONS = new Set(["connection", "http2-settings", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"]);

/** Headers that come once in an answer; a second one is left out. */
const ONCE = new Set([
  "age", "authorization", "content-length", "content-type", "etag", "expires", "from", "host", "if-modified-since",
  "if-unmodified-since", "last-modified", "location", "max-forwards", "proxy-authorization", "referer", "retry-after",
  "server", "user-agent",
]);

/** Names and values in turn, as an object as Node makes it. */
function received(headers, flat) {
  for (let index = 0; index < flat.length; index += 2) {
    const name = flat[index], value = flat[index + 1], known = headers[name];
    if (name === "set-cookie") (headers[name] ??= []).push(value);
    else if (known === undefined) headers[name] = value;
    else if (name === "cookie") headers[name] = `${known}; ${value}`;
    else if (!ONCE.has(name)) headers[name] = `${known}, ${value}`;
  }
  headers[sensitiveHeaders] = [];
  return headers;
}

/** A request's headers: those that begin with a colon by name, the others as names and values in turn. */
function sorted(given) {
  const pseudo = { __proto__: null }, flat = [];
  const entries = Array.isArray(given) ? pairs(given) : Object.entries(given ?? {});
  for (const [key, value] of entries) {
    const name = `${key}`.toLowerCase();
    if (value === undefined || value === null) continue;
    if (name[0] === ":") {
      if (!/^:(method|path|scheme|authority)$/.test(name)) {
        throw coded(TypeError, "ERR_HTTP2_INVALID_PSEUDOHEADER", `"${name}" is an invalid pseudoheader or is used incorrectly`);
      }
      pseudo[name] = `${value}`;
    } else if (OF_CONNECTIONS.has(name) || (name === "te" && value !== "trailers")) {
      throw coded(TypeError, "ERR_HTTP2_INVALID_CONNECTION_HEADERS", `HTTP/1 Connection specific headers are forbidden: "${name}"`);
    } else {
      for (const one of Array.isArray(value) ? value : [value]) flat.push(name, `${one}`);
    }
  }
  return { pseudo, flat };
}

function pairs(flat) {
  const entries = [];
  for (let index = 0; index + 1 < flat.length; index += 2) entries.push([flat[index], flat[index + 1]]);
  return entries;
}

/** Runs something after a time without activity, at most one such timer an owner. */
class Patience {
  set(owner, ms, callback) {
    if (callback !== undefined) owner.once("timeout", callback);
    this.ms = Number(ms);
    this.owner = owner;
    this.again();
  }

  again() {
    this.end();
    if (this.ms > 0) this.timer = setTimeout(() => this.owner.emit("timeout"), this.ms);
  }

  end() { clearTimeout(this.timer); }
}

class ClientHttp2Stream extends Duplex {
  constructor(session, pseudo, flat, options) {
    super({ decodeStrings: true });
    this.session = session;
    this.id = undefined;
    this.pending = true;
    this._isClosed = false;
    this.aborted = false;
    this.endAfterHeaders = options.endStream;
    this.rstCode = constants.NGHTTP2_NO_ERROR;
    this.sentHeaders = { __proto__: null, ...pseudo };
    for (const [name, value] of pairs(flat)) this.sentHeaders[name] ??= value;
    this.scheme = pseudo[":scheme"];
    this._request = { method: pseudo[":method"], path: pseudo[":path"], flat };
    this._chunks = [];
    this._call = portico.currentCall();
    this._patience = new Patience();
    if (options.signal) this._follow(options.signal);
    if (options.endStream) this.end();
  }

  get closed() { return this._isClosed; }
  get bufferSize() { return this.writableLength; }
  get sentInfoHeaders() { return []; }
  get sentTrailers() { return undefined; }
  get headersSent() { return !this.pending; }
  get state() { return {}; }

  setTimeout(ms, callback) {
    this._patience.set(this, ms, callback);
    return this;
  }

  sendTrailers() { throw unavailable("sending trailers"); }
  priority() { throw unavailable("giving a stream a priority"); }

  /** Gives up a stream that is not finished. */
  close(code = constants.NGHTTP2_NO_ERROR, callback) {
    if (callback !== undefined) this.once("close", callback);
    if (this._isClosed) return;
    this._isClosed = true;
    this.rstCode = code;
    const failed = code !== constants.NGHTTP2_NO_ERROR && code !== constants.NGHTTP2_CANCEL;
    const name = Object.keys(constants).find((key) => key.startsWith("NGHTTP2_") && constants[key] === code);
    this.destroy(failed ? coded(Error, "ERR_HTTP2_STREAM_ERROR", `Stream closed with error code ${name ?? code}`) : null);
  }

  _read() {}

  _write(chunk, _encoding, done) {
    this._chunks.push(chunk);
    this._patience.again();
    done();
  }

  _final(done) {
    done();
    if (this.destroyed) return;
    const { method, path, flat } = this._request;
    const body = this._chunks.length === 0 ? undefined : binary(concat(this._chunks));
    this._chunks = [];
    this.id = this.session._nextId();
    this.pending = false;
    queueMicrotask(() => { if (!this.destroyed) this.emit("ready"); });
    const { answer, cancel } = exchange(
      { method, url: `${this.session._origin}${path}`, headers: flat, body, redirect: "manual", insecure: this.session._insecure, http2: true },
      { call: this._call },
    );
    this._cancel = cancel;
    answer.then((arrived) => this._answered(arrived), (error) => this._failed(error));
  }

  _answered({ status, headers, trailers, body }) {
    this._cancel = undefined;
    if (this.destroyed) return;
    this._patience.again();
    this.session._active();
    this.emit("response", received({ __proto__: null, ":status": status }, headers), 4);
    if (this.destroyed) return;
    if (body.bytes.length > 0) this.push(Buffer.from(body.bytes.buffer, body.bytes.byteOffset, body.bytes.length));
    if (trailers.length > 0) this.emit("trailers", received({ __proto__: null }, trailers), 5);
    this.push(null);
  }

  _failed(error) {
    this._cancel = undefined;
    if (this.destroyed) return;
    // What concerns one exchange ends a stream; what concerns the way there ends the session with all its streams.
    const own = ["ERR_HTTP2_ERROR", "EPROTO", "ETIMEDOUT", "ResponseTooLarge", "TooManyRequests", "Cancelled"];
    if (own.includes(error.code)) {
      if (error.code === "EPROTO") error.code = "ERR_HTTP2_ERROR";
      this.rstCode = constants.NGHTTP2_INTERNAL_ERROR;
      this.destroy(error);
    } else {
      this.session.destroy(error);
    }
  }

  _follow(signal) {
    const abort = () => {
      const error = coded(Error, "ABORT_ERR", "The operation was aborted", signal.reason);
      error.name = "AbortError";
      this.rstCode = constants.NGHTTP2_CANCEL;
      this.destroy(error);
    };
    if (signal.aborted) queueMicrotask(abort);
    else signal.addEventListener("abort", abort, { once: true });
  }

  _destroy(error, done) {
    this._patience.end();
    this._isClosed = true;
    if (this._cancel !== undefined) {
      this._cancel();
      this._cancel = undefined;
      this.aborted = true;
      this.emit("aborted");
    }
    this.session._ended(this);
    done(error);
  }
}

class ClientHttp2Session extends EventEmitter {
  constructor(url, options) {
    super();
    this._origin = url.origin;
    this._authority = url.host;
    this._scheme = url.protocol.slice(0, -1);
    this._insecure = options.rejectUnauthorized === false;
    this._streams = new Set();
    this._id = -1;
    this._patience = new Patience();
    this.connecting = true;
    this.closed = false;
    this.destroyed = false;
    this.encrypted = url.protocol === "https:";
    this.alpnProtocol = this.encrypted ? "h2" : "h2c";
    this.originSet = this.encrypted ? [url.origin] : undefined;
    this.type = 1;
    this.socket = undefined;
    this.pendingSettingsAck = false;
    this.localSettings = getDefaultSettings();
    this.remoteSettings = getDefaultSettings();
    queueMicrotask(() => {
      this.connecting = false;
      if (!this.destroyed) this.emit("connect", this, this.socket);
    });
  }

  request(given, options = {}) {
    if (this.destroyed) throw coded(Error, "ERR_HTTP2_INVALID_SESSION", "The session has been destroyed");
    if (this.closed) {
      throw coded(Error, "ERR_HTTP2_GOAWAY_SESSION", "New streams cannot be created after receiving a GOAWAY");
    }
    if (options.waitForTrailers) throw unavailable("sending trailers");
    const { pseudo, flat } = sorted(given);
    pseudo[":method"] ??= "GET";
    pseudo[":authority"] ??= this._authority;
    pseudo[":scheme"] ??= this._scheme;
    pseudo[":path"] ??= "/";
    if (pseudo[":method"] === "CONNECT") throw unavailable("the method CONNECT");
    if (pseudo[":authority"] !== this._authority || pseudo[":scheme"] !== this._scheme) {
      throw unavailable(`asking ${this._origin} for what is at ${pseudo[":scheme"]}://${pseudo[":authority"]}`);
    }
    const endStream = options.endStream ?? WITHOUT_BODY.has(pseudo[":method"]);
    const stream = new ClientHttp2Stream(this, pseudo, flat, { endStream, signal: options.signal });
    this._streams.add(stream);
    this._active();
    return stream;
  }

  setTimeout(ms, callback) {
    this._patience.set(this, ms, callback);
    return this;
  }

  ref() {}
  unref() {}
  ping() { throw unavailable("a ping"); }
  settings() { throw unavailable("changing settings"); }
  goaway() { throw unavailable("sending GOAWAY"); }
  setLocalWindowSize() { throw unavailable("setting a window"); }
  get state() { return {}; }

  /** Takes no new streams, and closes when those there are have ended. */
  close(callback) {
    if (callback !== undefined) this.once("close", callback);
    if (this.closed) return;
    this.closed = true;
    if (this._streams.size === 0) this.destroy();
  }

  destroy(error, code) {
    if (this.destroyed) return;
    if (typeof error === "number") [error, code] = [undefined, error];
    if (error === undefined && code !== undefined && code !== constants.NGHTTP2_NO_ERROR) {
      error = coded(Error, "ERR_HTTP2_SESSION_ERROR", `Session closed with error code ${code}`);
    }
    this.closed = this.destroyed = true;
    this._patience.end();
    for (const stream of [...this._streams]) {
      stream.rstCode = constants.NGHTTP2_CANCEL;
      const because = error === undefined ? "" : ` (caused by: ${error.message})`;
      stream.destroy(coded(Error, "ERR_HTTP2_STREAM_CANCEL", `The pending stream has been canceled${because}`, error));
    }
    queueMicrotask(() => {
      if (error) this.emit("error", error);
      this.emit("close");
    });
  }

  _active() { this._patience.again(); }

  _nextId() { return (this._id += 2); }

  _ended(stream) {
    this._streams.delete(stream);
    if (this.closed && this._streams.size === 0) this.destroy();
  }
}

function connect(authority, options, listener) {
  if (typeof options === "function") [options, listener] = [{}, options];
  options ??= {};
  for (const name of ["ca", "cert", "key", "pfx"]) {
    if (options[name] !== undefined && options[name] !== null) throw unavailable(`the option '${name}'`);
  }
  if (typeof options.createConnection === "function") throw unavailable("a connection of one's own ('createConnection')");
  const url = new URL(typeof authority === "string" ? authority : authority.href ?? addressOf(authority, options));
  if (url.protocol !== "https:" && url.protocol !== "http:") {
    throw coded(Error, "ERR_HTTP2_UNSUPPORTED_PROTOCOL", `protocol "${url.protocol}" is unsupported.`);
  }
  const session = new ClientHttp2Session(url, options);
  if (listener !== undefined) session.once("connect", listener);
  return session;
}

function addressOf({ protocol, hostname, host, port }, options) {
  const name = hostname ?? host ?? "localhost";
  return `${protocol ?? options.protocol ?? "https:"}//${name.includes(":") ? `[${name}]` : name}${port ? `:${port}` : ""}`;
}

const getDefaultSettings = () => ({
  headerTableSize: 4096, enablePush: true, initialWindowSize: 65535, maxFrameSize: 16384, maxConcurrentStreams: 4294967295,
  maxHeaderListSize: 65535, maxHeaderSize: 65535, enableConnectProtocol: false,
});

class Http2ServerRequest {
  constructor() { throw noServer("http2.Http2ServerRequest"); }
}

class Http2ServerResponse {
  constructor() { throw noServer("http2.Http2ServerResponse"); }
}

module.exports = {
  Http2ServerRequest, Http2ServerResponse, connect, constants,
  createServer() { throw noServer("http2.createServer"); },
  createSecureServer() { throw noServer("http2.createSecureServer"); },
  performServerHandshake() { throw noServer("http2.performServerHandshake"); },
  getDefaultSettings,
  getPackedSettings() { throw unavailable("packing settings"); },
  getUnpackedSettings() { throw unavailable("unpacking settings"); },
  sensitiveHeaders,
};
