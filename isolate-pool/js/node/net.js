// Gives: Node's `net` for clients: Socket, connect, and what an address looks like. A connection belongs to the call that
// made it and closes with it; a call may have so many at a time (the platform's refusal names the number).
//
// Absent: listening, Unix sockets.
"use strict";
const { Duplex } = require("stream");
const { portico } = internal;
const { SOCKET, ask, binary } = require("internal/web/ask");
const { isIP, isIPv4, isIPv6 } = require("internal/addresses");
const noServer = require("internal/no_server");

class Socket extends Duplex {
  constructor(options) {
    const { allowHalfOpen = false, signal, highWaterMark } = typeof options === "object" && options !== null ? options : {};
    super({ allowHalfOpen, highWaterMark, signal, emitClose: true, autoDestroy: true, decodeStrings: true });
    this._call = portico.currentCall();
    this._number = undefined;
    this._waiting = [];
    this.connecting = false;
    this.pending = true;
    this.bytesRead = 0;
    this._sent = 0;
    this.timeout = 0;
    this.on("end", () => { if (!this.allowHalfOpen) this.end(); });
  }

  /** Asks for something of this connection on behalf of the call that made it. */
  _ask(question, background = false) {
    return ask(SOCKET, { socket: this._number, ...question }, { call: this._call, background });
  }

  connect(...values) {
    const [options, callback] = connectArguments(values);
    if (options.path !== undefined) {
      const error = new Error("Unix sockets are not available in functions");
      error.code = "ERR_NOT_AVAILABLE";
      throw error;
    }
    const port = Number(options.port);
    if (!Number.isInteger(port) || port < 0 || port > 65535) {
      const error = new RangeError(`Port should be >= 0 and < 65536. Received ${String(options.port)}.`);
      error.code = "ERR_SOCKET_BAD_PORT";
      throw error;
    }
    if (callback !== undefined) this.once("connect", callback);
    this.connecting = true;
    this.pending = true;
    this._host = options.host ?? "localhost";
    this._connect({ op: "connect", host: `${this._host}`, port, ...this._terms(options) });
    return this;
  }

  /** What TLS adds. */
  _terms() { return {}; }

  _connect(question) {
    this._ask(question).then((connected) => {
      this._number = connected.socket;
      if (this.destroyed) {
        this._ask({ op: "close" }).catch(() => {});
        return;
      }
      this._connected(connected);
    }, (error) => {
      this.connecting = false;
      this.destroy(Object.assign(error, { syscall: "connect", address: question.host, port: question.port }));
    });
  }

  _connected(connected) {
    this.remoteAddress = connected.remoteAddress;
    this.remotePort = connected.remotePort;
    this.remoteFamily = isIP(connected.remoteAddress) === 6 ? "IPv6" : "IPv4";
    this.localAddress = connected.localAddress;
    this.localPort = connected.localPort;
    this.localFamily = this.remoteFamily;
    this.alpnProtocol = connected.alpn ?? false;
    this.connecting = false;
    this.pending = false;
    this._touch();
    this.emit("connect");
    this._announce();
    this.emit("ready");
    for (const go of this._waiting.splice(0)) go();
  }

  _announce() {}

  /** Runs once connected. */
  _whenOpen(go) {
    if (this._number !== undefined && !this.connecting) go();
    else this._waiting.push(go);
  }

  _read() {
    if (this._reading) return;
    this._reading = true;
    this._whenOpen(() => {
      // The call does not wait for data that may never come.
      this._ask({ op: "read" }, true).then((answer) => {
        this._reading = false;
        if (this.destroyed) return;
        this._touch();
        if (answer.paused) {
          this._afterPause = () => this._read();
        } else if (answer.end) {
          this.push(null);
        } else {
          const { bytes } = answer.data;
          this.bytesRead += bytes.length;
          this.push(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length));
        }
      }, (error) => {
        this._reading = false;
        if (!this.destroyed) this.destroy(Object.assign(error, { syscall: "read" }));
      });
    });
  }

  _write(chunk, _encoding, done) {
    this._whenOpen(() => {
      this._sent += chunk.length;
      this._ask({ op: "write", data: binary(chunk) }).then(() => {
        this._touch();
        done();
      }, (error) => done(Object.assign(error, { syscall: "write" })));
    });
  }

  _writev(chunks, done) {
    this._write(Buffer.concat(chunks.map(({ chunk }) => chunk)), undefined, done);
  }

  _final(done) {
    if (this._number === undefined && !this.connecting) {
      done();
      return;
    }
    this._whenOpen(() => { this._ask({ op: "end" }).then(() => done(), done); });
  }

  _destroy(error, done) {
    clearTimeout(this._timer);
    this.connecting = false;
    if (this._number !== undefined) this._ask({ op: "close" }).catch(() => {});
    done(error);
  }

  destroySoon() {
    if (this.writable) this.end();
    if (this.writableFinished) this.destroy();
    else this.once("finish", () => this.destroy());
  }

  resetAndDestroy() { return this.destroy(); }

  setTimeout(ms, callback) {
    this.timeout = Number(ms);
    if (callback !== undefined) {
      if (this.timeout === 0) this.removeListener("timeout", callback);
      else this.once("timeout", callback);
    }
    this._touch();
    return this;
  }

  /** Something happened; the time without anything begins anew. */
  _touch() {
    clearTimeout(this._timer);
    if (this.timeout > 0 && !this.destroyed) this._timer = setTimeout(() => this.emit("timeout"), this.timeout);
  }

  get bytesWritten() { return this._sent; }
  get bufferSize() { return this.writableLength; }

  get readyState() {
    if (this.connecting) return "opening";
    if (this.readable && this.writable) return "open";
    return this.readable ? "readOnly" : this.writable ? "writeOnly" : "closed";
  }

  setNoDelay() { return this; }
  setKeepAlive() { return this; }
  ref() { return this; }
  unref() { return this; }
  address() { return this.localAddress === undefined ? {} : { address: this.localAddress, family: this.localFamily, port: this.localPort }; }
}

/** `(options, callback)`, `(port, host, callback)`, `(port, callback)`, `(path, callback)`. */
function connectArguments(values) {
  const list = Array.isArray(values[0]) ? values[0] : [...values];
  const callback = typeof list[list.length - 1] === "function" ? list.pop() : undefined;
  const [first, second] = list;
  if (typeof first === "object" && first !== null) return [first, callback];
  if (typeof first === "string" && !/^\d+$/.test(first)) return [{ path: first }, callback];
  return [{ port: first, host: typeof second === "string" ? second : undefined }, callback];
}

function connect(...values) {
  const [options] = connectArguments(values);
  const socket = new Socket(options);
  if (options.timeout) socket.setTimeout(options.timeout);
  return socket.connect(...values);
}

class Server {
  constructor() { throw noServer("net.Server"); }
}

let autoSelectFamily = true;
let autoSelectTimeout = 250;

module.exports = {
  Server, Socket, Stream: Socket, connect, createConnection: connect,
  createServer() { throw noServer("net.createServer"); },
  isIP, isIPv4, isIPv6,
  getDefaultAutoSelectFamily: () => autoSelectFamily,
  setDefaultAutoSelectFamily(value) { autoSelectFamily = value; },
  getDefaultAutoSelectFamilyAttemptTimeout: () => autoSelectTimeout,
  setDefaultAutoSelectFamilyAttemptTimeout(value) { autoSelectTimeout = value; },
  _normalizeArgs: connectArguments,
};
