// Gives: `console` for code that is not a function's own file, such as a package: it writes to the log of whichever call is
// running. Also the class of that name, for loggers that bring their own streams.

const { portico } = internal;

const current = () => new portico.Console(portico.currentCall());
const counts = new Map();
const timers = new Map();
const now = () => internal.natives.now();

const live = {};
for (const level of ["debug", "trace", "log", "dir", "info", "warn", "error"]) {
  live[level] = { [level](...values) { current()[level](...values); } }[level];
}

/** printf directives, which the platform's own lines do not know. */
const said = (values) => require("util").format(...values);

Object.assign(live, {
  assert(value, ...words) {
    if (value) return;
    live.error(words.length === 0 ? "Assertion failed" : `Assertion failed: ${said(words)}`);
  },
  clear() {},
  count(label = "default") {
    const count = (counts.get(`${label}`) ?? 0) + 1;
    counts.set(`${label}`, count);
    live.log(`${label}: ${count}`);
  },
  countReset(label = "default") { counts.delete(`${label}`); },
  dirxml(...values) { live.log(...values); },
  group(...values) { if (values.length > 0) live.log(...values); },
  groupCollapsed(...values) { if (values.length > 0) live.log(...values); },
  groupEnd() {},
  profile() {},
  profileEnd() {},
  table(value) { live.log(value); },
  time(label = "default") { timers.set(`${label}`, now()); },
  timeEnd(label = "default") {
    live.timeLog(label);
    timers.delete(`${label}`);
  },
  timeLog(label = "default", ...values) {
    const since = timers.get(`${label}`);
    if (since !== undefined) live.log(`${label}: ${(now() - since).toFixed(3)}ms`, ...values);
  },
  timeStamp() {},
});

class Console {
  constructor(stdoutOrOptions, stderr) {
    const options = typeof stdoutOrOptions?.write === "function" ? { stdout: stdoutOrOptions, stderr } : stdoutOrOptions;
    const out = options.stdout;
    const err = options.stderr ?? out;
    for (const name of Object.keys(live)) this[name] = live[name].bind(this);
    for (const name of ["debug", "log", "info", "dir"]) this[name] = (...values) => { out.write(`${said(values)}\n`); };
    for (const name of ["warn", "error", "trace"]) this[name] = (...values) => { err.write(`${said(values)}\n`); };
  }
}
live.Console = Console;

module.exports = live;
