// Gives: `worker_threads` for packages that ask whether they run in one. A function has one thread.

const { unavailable } = require("internal/errors");

function Worker() { throw unavailable("worker_threads.Worker", "they have one thread"); }

module.exports = {
  isMainThread: true,
  parentPort: null,
  resourceLimits: {},
  SHARE_ENV: Symbol.for("nodejs.worker_threads.SHARE_ENV"),
  threadId: 0,
  workerData: null,
  Worker,
  getEnvironmentData: () => undefined,
  isMarkedAsUntransferable: () => false,
  markAsUntransferable() {},
  moveMessagePortToContext() { throw unavailable("worker_threads.moveMessagePortToContext"); },
  receiveMessageOnPort: () => undefined,
  setEnvironmentData() {},
};
for (const name of ["BroadcastChannel", "MessageChannel", "MessagePort"]) {
  Object.defineProperty(module.exports, name, { enumerable: true, configurable: true, get: () => globalThis[name] });
}
