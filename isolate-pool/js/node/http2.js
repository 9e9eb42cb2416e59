// Gives: Node's `http2` as far as libraries read it before they use it: its constants. Connecting says that it is not there;
// `https` reaches the same servers.
"use strict";
const { portico } = internal;

function unavailable(what) {
  const error = portico.fail("NotAvailable", `${what} is not available in functions: use https, which reaches the same servers`);
  error.code = "ERR_NOT_AVAILABLE";
  return error;
}

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
for (const method of require("http").METHODS) constants[`HTTP2_METHOD_${method.replaceAll("-", "_")}`] = method;
for (const [code, words] of Object.entries(require("http").STATUS_CODES)) {
  constants[`HTTP_STATUS_${words.toUpperCase().replace(/[^A-Z]+/g, "_")}`] = Number(code);
}

class Http2ServerRequest {
  constructor() { throw unavailable("http2.Http2ServerRequest"); }
}

class Http2ServerResponse {
  constructor() { throw unavailable("http2.Http2ServerResponse"); }
}

module.exports = {
  Http2ServerRequest, Http2ServerResponse, constants,
  connect() { throw unavailable("http2.connect"); },
  createServer() { throw unavailable("http2.createServer"); },
  createSecureServer() { throw unavailable("http2.createSecureServer"); },
  getDefaultSettings: () => ({
    headerTableSize: 4096, enablePush: true, initialWindowSize: 65535, maxFrameSize: 16384, maxConcurrentStreams: 4294967295,
    maxHeaderListSize: 65535, maxHeaderSize: 65535, enableConnectProtocol: false,
  }),
  getPackedSettings: () => Buffer.alloc(0),
  getUnpackedSettings: () => ({}),
  sensitiveHeaders: Symbol("sensitiveHeaders"),
};
