// Gives: Node's `url`: the older parser from its own code (vendor/README.md), and the Web's URL, which is a global.

const legacy = require("internal/vendor/url");
const { argType, make } = require("internal/errors");

/** Packages give a URL of the Web where text is meant. */
const textOf = (value) => (globalThis.URL !== undefined && value instanceof globalThis.URL ? value.href : value);

function format(value, options) {
  if (globalThis.URL === undefined || !(value instanceof globalThis.URL)) return legacy.format(value);
  const { auth = true, fragment = true, search = true, unicode = false } = options ?? {};
  const user = auth && value.username !== "" ? `${value.username}${value.password !== "" ? `:${value.password}` : ""}@` : "";
  const host = unicode ? domainToUnicode(value.hostname) + (value.port !== "" ? `:${value.port}` : "") : value.host;
  const slashes = value.host !== "" || value.protocol === "file:" ? "//" : "";
  return `${value.protocol}${slashes}${user}${host}${value.pathname}${search ? value.search : ""}${fragment ? value.hash : ""}`;
}

function domainToASCII(domain) {
  try {
    return new URL(`ws://${domain}`).hostname;
  } catch {
    return "";
  }
}

function domainToUnicode(domain) {
  const ascii = domainToASCII(`${domain}`);
  return require("punycode").toUnicode(ascii);
}

function fileURLToPath(value) {
  const url = typeof value === "string" ? new URL(value) : value;
  if (url === null || typeof url !== "object" || typeof url.href !== "string") throw argType("path", ["string", "URL"], value);
  if (url.protocol !== "file:") throw make(TypeError, "ERR_INVALID_URL_SCHEME", "The URL must be of scheme file");
  if (url.hostname !== "") throw make(TypeError, "ERR_INVALID_FILE_URL_HOST", 'File URL host must be "localhost" or empty on linux');
  if (/%2f/i.test(url.pathname)) throw make(TypeError, "ERR_INVALID_FILE_URL_PATH", "File URL path must not include encoded / characters");
  return decodeURIComponent(url.pathname);
}

function pathToFileURL(path) {
  const { resolve } = require("path");
  const whole = resolve(path) + (path.endsWith("/") && path !== "/" ? "/" : "");
  return new URL(`file://${whole.replace(/%/g, "%25").replace(/\\/g, "%5C").replace(/\n/g, "%0A").replace(/\r/g, "%0D").replace(/\t/g, "%09").replace(/\?/g, "%3F").replace(/#/g, "%23")}`);
}

function urlToHttpOptions(url) {
  const bare = url.hostname.startsWith("[") ? url.hostname.slice(1, -1) : url.hostname;
  const options = {
    __proto__: null, ...url, protocol: url.protocol, hostname: bare, hash: url.hash, search: url.search, pathname: url.pathname,
    path: `${url.pathname || ""}${url.search || ""}`, href: url.href,
  };
  if (url.port !== "") options.port = Number(url.port);
  if (url.username || url.password) options.auth = `${decodeURIComponent(url.username)}:${decodeURIComponent(url.password)}`;
  return options;
}

module.exports = {
  Url: legacy.Url,
  parse: (text, parseQuery, slashes) => legacy.parse(textOf(text), parseQuery, slashes),
  resolve: (from, to) => legacy.resolve(textOf(from), textOf(to)),
  resolveObject: (from, to) => legacy.resolveObject(textOf(from), textOf(to)),
  format,
  domainToASCII,
  domainToUnicode,
  fileURLToPath,
  pathToFileURL,
  urlToHttpOptions,
};
for (const name of ["URL", "URLSearchParams"]) {
  Object.defineProperty(module.exports, name, { enumerable: true, configurable: true, get: () => globalThis[name] });
}
