// Gives: setTimeout, setInterval, setImmediate, their clear functions, and queueMicrotask where the engine has none.
//
// Absent: the waiting. The host owns the clock, ties a timer to the call that set it, and drops it with that call.
(function (portico) {
  "use strict";
  const { Math, Number, Promise, TypeError } = portico.globals;
  const { PromiseThen, publish } = portico;

  /** Longest delay, milliseconds: what fits in an int32, as everywhere. A longer one fires at once, as everywhere. */
  const DELAY_MAX = 0x7fffffff;

  function start(callback, delay, repeat, values) {
    if (typeof callback !== "function") {
      throw new TypeError(`a timer needs a function to call, but got ${portico.shown(callback)}`);
    }
    const call = portico.currentCall();
    const number = Number(delay);
    const wait = number >= 1 && number <= DELAY_MAX ? Math.trunc(number) : 1;
    const bound = portico.bindContinuation === undefined ? callback : portico.bindContinuation(callback);
    const run = () => { bound(...values); };
    return portico.natives.timer(call, delay === 0 && !repeat ? 0 : wait, repeat, run);
  }

  function clear(id) {
    const number = Number(id);
    if (portico.NumberIsInteger(number)) portico.natives.clearTimer(number);
  }

  publish("setTimeout", function setTimeout(callback, delay, ...values) {
    return start(callback, delay, false, values);
  });
  publish("setInterval", function setInterval(callback, delay, ...values) {
    return start(callback, delay, true, values);
  });
  publish("setImmediate", function setImmediate(callback, ...values) { return start(callback, 0, false, values); });
  publish("clearTimeout", function clearTimeout(id) { clear(id); });
  publish("clearInterval", function clearInterval(id) { clear(id); });
  publish("clearImmediate", function clearImmediate(id) { clear(id); });

  if (globalThis.queueMicrotask === undefined) {
    const done = Promise.resolve();
    publish("queueMicrotask", function queueMicrotask(callback) {
      if (typeof callback !== "function") throw new TypeError("queueMicrotask needs a function to call");
      PromiseThen(done, () => { callback(); });
    });
  }

  /** The call whose code is running, also after an await and in a reaction to a promise that calls share. */
  portico.currentCall = function currentCall() {
    return portico.natives.currentCall();
  };
})(globalThis.__portico);
