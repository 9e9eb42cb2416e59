// Gives: Node's `process`, as much of it as has a meaning where there is none: versions, a clock, `nextTick`, an empty
// environment, output that becomes lines of the call's log.
//
// Absent: anything that would act on a process. `exit` and `kill` say so; signals and exit events never come.

const EventEmitter = require("events");
const { argType, argValue, make, mustBe, unavailable } = require("internal/errors");

const { natives, portico } = internal;

/** The interface these modules follow. Packages read it to decide what they may use. */
const VERSION = "20.20.2";

/** Milliseconds since the host started. As coarse as browsers have it for code they do not isolate by process. */
const now = () => natives.now();
const startedAt = now();

function hrtime(before) {
  const ns = BigInt(Math.round(now() * 1000)) * 1000n;
  const [seconds, nanoseconds] = [Number(ns / 1000000000n), Number(ns % 1000000000n)];
  if (before === undefined) return [seconds, nanoseconds];
  if (!Array.isArray(before)) throw argType("time", "Array", before);
  let [passed, rest] = [seconds - before[0], nanoseconds - before[1]];
  if (rest < 0) [passed, rest] = [passed - 1, rest + 1e9];
  return [passed, rest];
}
hrtime.bigint = () => BigInt(Math.round(now() * 1000)) * 1000n;

/** Before what promises have queued is more than it promises; after the current piece of work is enough for packages. */
function nextTick(callback, ...values) {
  mustBe("function", "callback", callback);
  const bound = portico.bindContinuation === undefined ? callback : portico.bindContinuation(callback);
  // A throw becomes a rejection that nobody hears, which the log shows.
  portico.PromiseThen(Promise.resolve(), () => { bound(...values); });
}

function emitWarning(warning, type, code) {
  const name = typeof type === "object" && type !== null ? type.type : type;
  const marked = typeof type === "object" && type !== null ? type.code : code;
  const text = warning instanceof Error ? `${warning.name}: ${warning.message}` : `${name ?? "Warning"}: ${warning}`;
  console.warn(marked ? `[${marked}] ${text}` : text);
}

/** A line of the log for each line written. */
function output(fd, level) {
  let open = "";
  let stream;
  const make = () => {
    const { Writable } = require("stream");
    return new Writable({
      decodeStrings: false,
      write(chunk, encoding, callback) {
        write(chunk);
        callback();
      },
    });
  };
  const write = (chunk) => {
    const lines = (open + (typeof chunk === "string" ? chunk : require("buffer").Buffer.from(chunk).toString())).split("\n");
    open = lines.pop();
    for (const line of lines) console[level](line);
    if (open !== "") {
      console[level](open);
      open = "";
    }
  };
  return {
    get stream() {
      stream ??= Object.assign(make(), { fd, isTTY: false, _type: "pipe" });
      return stream;
    },
  };
}
const stdout = output(1, "log");
const stderr = output(2, "error");

/** Own and enumerable properties are text, as in Node; there are none to begin with. */
const env = new Proxy({}, {
  set(target, key, value) {
    target[key] = typeof key === "symbol" ? value : `${value}`;
    return true;
  },
  defineProperty(target, key, descriptor) {
    if ("value" in descriptor) return Reflect.defineProperty(target, key, { ...descriptor, value: `${descriptor.value}` });
    throw make(TypeError, "ERR_INVALID_OBJECT_DEFINE_PROPERTY", "'process.env' does not accept an accessor(getter/setter) descriptor");
  },
});

const process = Object.create(Object.create(EventEmitter.prototype, {
  constructor: { value: function process() {}, writable: true, configurable: true },
  [Symbol.toStringTag]: { value: "process", configurable: true },
}));
EventEmitter.call(process);

const memory = () => {
  const [rss, heapTotal, heapUsed, arrayBuffers] = natives.memory();
  return { rss, heapTotal, heapUsed, external: arrayBuffers, arrayBuffers };
};
memory.rss = () => memory().rss;

const refuse = (name, why) => () => { throw unavailable(`process.${name}`, why); };

Object.assign(process, {
  version: `v${VERSION}`,
  versions: {
    node: VERSION, v8: natives.v8Version, uv: "1.46.0", zlib: "1.3.1", brotli: "1.1.0", modules: "115", openssl: "3.0.17",
    unicode: "16.0", ares: "1.34.5", nghttp2: "1.61.0", portico: natives.porticoVersion,
  },
  release: { name: "node", lts: "Iron" },
  arch: natives.arch,
  platform: "linux",
  title: "node",
  pid: 1,
  ppid: 0,
  argv: ["/usr/bin/node", "/functions"],
  argv0: "node",
  execArgv: [],
  execPath: "/usr/bin/node",
  env,
  exitCode: undefined,
  features: { inspector: false, debug: false, uv: true, ipv6: true, tls_alpn: true, tls_sni: true, tls_ocsp: true, tls: true, cached_builtins: true },
  config: { target_defaults: {}, variables: {} },
  allowedNodeEnvironmentFlags: new Set(),
  report: undefined,
  debugPort: 9229,

  abort: refuse("abort", "a function ends by returning or throwing"),
  chdir: refuse("chdir", "they have no file system"),
  cpuUsage: () => ({ user: Math.round((now() - startedAt) * 1000), system: 0 }),
  cwd: () => "/",
  dlopen: refuse("dlopen", "they cannot load native code"),
  emitWarning,
  exit: refuse("exit", "a function ends by returning or throwing"),
  getegid: () => 1000,
  geteuid: () => 1000,
  getgid: () => 1000,
  getgroups: () => [1000],
  getuid: () => 1000,
  getActiveResourcesInfo: () => [],
  hasUncaughtExceptionCaptureCallback: () => false,
  hrtime,
  kill: refuse("kill", "they have no processes"),
  loadEnvFile: refuse("loadEnvFile", "they have no file system"),
  memoryUsage: memory,
  nextTick,
  resourceUsage: () => ({ userCPUTime: Math.round((now() - startedAt) * 1000), systemCPUTime: 0, maxRSS: Math.round(memory().rss / 1024) }),
  constrainedMemory: () => 0,
  setSourceMapsEnabled: () => {},
  setUncaughtExceptionCaptureCallback: () => {},
  umask: () => 0o22,
  uptime: () => (now() - startedAt) / 1000,
  binding: (name) => { throw make(Error, "ERR_INVALID_MODULE", `No such binding: ${name}`); },
  getBuiltinModule: (name) => portico.builtin(name),
});
Object.defineProperties(process, {
  stdout: { enumerable: true, configurable: true, get: () => stdout.stream },
  stderr: { enumerable: true, configurable: true, get: () => stderr.stream },
  stdin: {
    enumerable: true, configurable: true,
    get() {
      const { Readable } = require("stream");
      const stream = Object.assign(Readable.from([]), { fd: 0, isTTY: false });
      Object.defineProperty(process, "stdin", { value: stream, enumerable: true, configurable: true });
      return stream;
    },
  },
});

module.exports = process;
