// Gives: Node's `tls` for clients: connect, also over a socket that is already connected. The platform does the
// cryptography and checks certificates against the system's; `rejectUnauthorized: false` leaves that out.
//
// Absent: listening, own certificates (`ca`, `cert`, `key`), which are refused rather than ignored, and the certificate of
// the other side.
"use strict";
const net = require("net");
const noServer = require("internal/no_server");

function refuseCertificates(options) {
  for (const name of ["ca", "cert", "key", "pfx"]) {
    const given = options[name] ?? options.secureContext?.options?.[name];
    if (given === undefined || given === null || (Array.isArray(given) && given.length === 0)) continue;
    const error = new Error(`tls: the option '${name}' is not available in functions`);
    error.code = "ERR_NOT_AVAILABLE";
    throw error;
  }
}

class TLSSocket extends net.Socket {
  constructor(socket, options = {}) {
    super(options);
    this.encrypted = true;
    this.authorized = false;
    this.authorizationError = null;
    this.alpnProtocol = false;
    this.servername = undefined;
    this._under = socket ?? undefined;
  }

  _terms(options) {
    refuseCertificates(options);
    const protocols = options.ALPNProtocols;
    const alpn = Array.isArray(protocols) ? protocols.map((name) => `${name}`) : [];
    const host = options.servername || options.host || this._host;
    this.servername = typeof host === "string" && net.isIP(host) === 0 ? host : "";
    this._checked = options.rejectUnauthorized !== false;
    return { tls: true, servername: host === undefined ? undefined : `${host}`, alpn, insecure: !this._checked };
  }

  /** Takes a connected socket over and secures it. */
  _secure(options) {
    const under = this._under;
    const { servername, alpn, insecure } = this._terms(options);
    this.connecting = true;
    under._whenOpen(() => {
      this._number = under._number;
      this._call = under._call;
      this._ask({ op: "secure", servername: servername ?? under._host, alpn, insecure }).then((secured) => {
        if (this.destroyed) return;
        const { remoteAddress, remotePort, localAddress, localPort } = under;
        this._connected({ remoteAddress, remotePort, localAddress, localPort, alpn: secured.alpn });
      }, (error) => {
        this.connecting = false;
        this.destroy(error);
      });
    });
    under.on("error", (error) => this.destroy(error));
  }

  _announce() {
    this.authorized = this._checked;
    this.emit("secureConnect");
    this.emit("secure");
  }

  _destroy(error, done) {
    // The connection is this socket's now.
    if (this._under !== undefined && !this._under.destroyed) {
      this._under._number = undefined;
      this._under.destroy();
    }
    super._destroy(error, done);
  }

  getPeerCertificate() { return {}; }
  getPeerX509Certificate() { return undefined; }
  getCertificate() { return {}; }
  getProtocol() { return this.connecting ? null : "TLSv1.3"; }
  getCipher() { return {}; }
  getSession() { return undefined; }
  getTLSTicket() { return undefined; }
  isSessionReused() { return false; }
  setMaxSendFragment() { return true; }
  setServername(name) { this.servername = name; }
  enableTrace() {}
  disableRenegotiation() {}
  renegotiate() { return false; }
}

/** `(options, callback)`, `(port, host, options, callback)` and what lies between. */
function connect(...values) {
  const callback = typeof values[values.length - 1] === "function" ? values.pop() : undefined;
  const options = {};
  for (const value of values) {
    if (typeof value === "number" || (typeof value === "string" && /^\d+$/.test(value))) options.port = value;
    else if (typeof value === "string") options.host = value;
    else if (typeof value === "object" && value !== null) Object.assign(options, value);
  }
  const socket = new TLSSocket(options.socket, options);
  if (callback !== undefined) socket.once("secureConnect", callback);
  if (options.timeout) socket.setTimeout(options.timeout);
  if (options.socket === undefined) {
    socket.connect(options);
  } else if (options.socket instanceof net.Socket) {
    socket._secure(options);
  } else {
    const error = new Error("tls.connect: a socket that is not one of net's cannot be secured");
    error.code = "ERR_NOT_AVAILABLE";
    throw error;
  }
  return socket;
}

class Server {
  constructor() { throw noServer("tls.Server"); }
}

class SecureContext {
  constructor(options) {
    this.options = options;
    this.context = {};
  }
}

module.exports = {
  CLIENT_RENEG_LIMIT: 3, CLIENT_RENEG_WINDOW: 600, DEFAULT_CIPHERS: "TLS_AES_256_GCM_SHA384:TLS_AES_128_GCM_SHA256",
  DEFAULT_ECDH_CURVE: "auto", DEFAULT_MAX_VERSION: "TLSv1.3", DEFAULT_MIN_VERSION: "TLSv1.2",
  SecureContext, Server, TLSSocket,
  checkServerIdentity() { return undefined; },
  connect,
  createSecureContext(options = {}) { return new SecureContext(options); },
  createServer() { throw noServer("tls.createServer"); },
  getCiphers: () => ["tls_aes_128_gcm_sha256", "tls_aes_256_gcm_sha384", "tls_chacha20_poly1305_sha256"],
  rootCertificates: [],
};
