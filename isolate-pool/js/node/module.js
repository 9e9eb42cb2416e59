// Gives: Node's `module`, for packages that ask what is built in or make a `require` of their own.

const { portico } = internal;

const builtinModules = [
  "assert", "assert/strict", "async_hooks", "buffer", "child_process", "cluster", "console", "constants", "crypto", "dgram",
  "diagnostics_channel", "dns", "dns/promises", "domain", "events", "fs", "fs/promises", "http", "http2", "https", "inspector",
  "module", "net", "os", "path", "path/posix", "path/win32", "perf_hooks", "process", "punycode", "querystring", "readline",
  "readline/promises", "repl", "stream", "stream/consumers", "stream/promises", "stream/web", "string_decoder", "sys", "timers",
  "timers/promises", "tls", "tty", "url", "util", "util/types", "v8", "vm", "worker_threads", "zlib",
];

function Module(id = "") {
  this.id = id;
  this.exports = {};
  this.filename = null;
  this.loaded = false;
  this.children = [];
  this.paths = [];
}

Module.prototype.require = function require(name) { return portico.requireFrom(name, this.filename ?? this.id); };

module.exports = Object.assign(Module, {
  Module,
  builtinModules,
  _cache: Object.create(null),
  _extensions: Object.create(null),
  _load: (name, parent) => portico.requireFrom(name, parent?.filename ?? "module"),
  _nodeModulePaths: () => [],
  _resolveFilename: (name) => name,
  createRequire(from) {
    const file = String(from).replace(/^file:\/\//, "");
    const require = (name) => portico.requireFrom(name, file);
    require.resolve = (name) => name;
    require.cache = Object.create(null);
    return require;
  },
  enableCompileCache: () => ({ status: 3 }),
  findSourceMap: () => undefined,
  globalPaths: [],
  isBuiltin: (name) => builtinModules.includes(`${name}`.replace(/^node:/, "")),
  register() {},
  runMain() {},
  syncBuiltinESMExports() {},
  wrap: (source) => `(function (exports, require, module, __filename, __dirname) { ${source}\n});`,
  wrapper: ["(function (exports, require, module, __filename, __dirname) { ", "\n});"],
});
