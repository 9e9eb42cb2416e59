// Gives: Node's `os`. A function runs on no machine of its own, so the answers are those of a small Linux machine that tells
// nothing about the real one.

const { portico, natives } = internal;

const signals = {
  SIGHUP: 1, SIGINT: 2, SIGQUIT: 3, SIGILL: 4, SIGTRAP: 5, SIGABRT: 6, SIGIOT: 6, SIGBUS: 7, SIGFPE: 8, SIGKILL: 9, SIGUSR1: 10,
  SIGSEGV: 11, SIGUSR2: 12, SIGPIPE: 13, SIGALRM: 14, SIGTERM: 15, SIGCHLD: 17, SIGSTKFLT: 16, SIGCONT: 18, SIGSTOP: 19,
  SIGTSTP: 20, SIGTTIN: 21, SIGTTOU: 22, SIGURG: 23, SIGXCPU: 24, SIGXFSZ: 25, SIGVTALRM: 26, SIGPROF: 27, SIGWINCH: 28,
  SIGIO: 29, SIGPOLL: 29, SIGPWR: 30, SIGSYS: 31,
};
const errno = {
  E2BIG: 7, EACCES: 13, EADDRINUSE: 98, EADDRNOTAVAIL: 99, EAGAIN: 11, EALREADY: 114, EBADF: 9, EBUSY: 16, ECANCELED: 125,
  ECHILD: 10, ECONNABORTED: 103, ECONNREFUSED: 111, ECONNRESET: 104, EDEADLK: 35, EDESTADDRREQ: 89, EDOM: 33, EDQUOT: 122,
  EEXIST: 17, EFAULT: 14, EFBIG: 27, EHOSTUNREACH: 113, EINPROGRESS: 115, EINTR: 4, EINVAL: 22, EIO: 5, EISCONN: 106, EISDIR: 21,
  ELOOP: 40, EMFILE: 24, EMLINK: 31, EMSGSIZE: 90, ENAMETOOLONG: 36, ENETDOWN: 100, ENETRESET: 102, ENETUNREACH: 101, ENFILE: 23,
  ENOBUFS: 105, ENODEV: 19, ENOENT: 2, ENOEXEC: 8, ENOMEM: 12, ENOPROTOOPT: 92, ENOSPC: 28, ENOSYS: 38, ENOTCONN: 107,
  ENOTDIR: 20, ENOTEMPTY: 39, ENOTSOCK: 88, ENOTSUP: 95, EPERM: 1, EPIPE: 32, EPROTO: 71, EPROTONOSUPPORT: 93, ERANGE: 34,
  EROFS: 30, ESPIPE: 29, ESRCH: 3, ETIMEDOUT: 110, EWOULDBLOCK: 11, EXDEV: 18,
};
const priority = { PRIORITY_LOW: 19, PRIORITY_BELOW_NORMAL: 10, PRIORITY_NORMAL: 0, PRIORITY_ABOVE_NORMAL: -7, PRIORITY_HIGH: -14, PRIORITY_HIGHEST: -20 };
const constants = {
  UV_UDP_REUSEADDR: 4,
  dlopen: { RTLD_LAZY: 1, RTLD_NOW: 2, RTLD_GLOBAL: 256, RTLD_LOCAL: 0, RTLD_DEEPBIND: 8 },
  errno, signals, priority,
};
for (const part of Object.values(constants)) Object.freeze(part);

const MEMORY = 512 * 1024 * 1024;
const primitive = (work) => Object.assign(work, { [Symbol.toPrimitive]: work });

module.exports = {
  EOL: "\n",
  arch: primitive(() => natives.arch),
  availableParallelism: primitive(() => 1),
  constants,
  cpus: () => [{ model: "virtual", speed: 0, times: { user: 0, nice: 0, sys: 0, idle: 0, irq: 0 } }],
  devNull: "/dev/null",
  endianness: primitive(() => "LE"),
  freemem: primitive(() => MEMORY - natives.memory()[2]),
  getPriority: () => 0,
  homedir: primitive(() => "/home/functions"),
  hostname: primitive(() => "localhost"),
  loadavg: () => [0, 0, 0],
  machine: primitive(() => (natives.arch === "x64" ? "x86_64" : "aarch64")),
  networkInterfaces: () => ({}),
  platform: primitive(() => "linux"),
  release: primitive(() => "6.1.0"),
  setPriority() { throw require("internal/errors").unavailable("os.setPriority"); },
  tmpdir: primitive(() => "/tmp"),
  totalmem: primitive(() => MEMORY),
  type: primitive(() => "Linux"),
  uptime: primitive(() => portico.builtin("process").uptime()),
  userInfo: () => ({ uid: 1000, gid: 1000, username: "functions", homedir: "/home/functions", shell: null }),
  version: primitive(() => "#1 SMP"),
};
