// Gives: Node's `timers/promises`.

const { argType } = require("internal/errors");

function aborted(signal) {
  const error = new Error("The operation was aborted", { cause: signal.reason });
  error.name = "AbortError";
  error.code = "ABORT_ERR";
  return error;
}

/** A promise of `value` when the timer that `start` sets has fired. */
function waited(start, stop, value, options) {
  const signal = options?.signal;
  if (signal !== undefined && (signal === null || typeof signal !== "object" || !("aborted" in signal))) {
    return Promise.reject(argType("options.signal", "AbortSignal", signal));
  }
  if (signal?.aborted) return Promise.reject(aborted(signal));
  return new Promise((resolve, reject) => {
    const fired = () => {
      signal?.removeEventListener("abort", left);
      resolve(value);
    };
    const timer = start(fired);
    const left = () => {
      stop(timer);
      reject(aborted(signal));
    };
    signal?.addEventListener("abort", left, { once: true });
  });
}

const afterDelay = (delay, value, options) => waited((fired) => setTimeout(fired, delay), clearTimeout, value, options);

async function* everyInterval(delay, value, options) {
  for (;;) yield await afterDelay(delay, value, options);
}

module.exports = {
  setTimeout: afterDelay,
  setImmediate: (value, options) => waited((fired) => setImmediate(fired), clearImmediate, value, options),
  setInterval: everyInterval,
  scheduler: {
    wait: (delay, options) => afterDelay(delay, undefined, options),
    yield: () => waited((fired) => setImmediate(fired), clearImmediate),
  },
};
