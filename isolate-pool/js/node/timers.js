// Gives: Node's `timers`. The functions are the global ones; a timer there is a number.

const { setTimeout, setInterval, setImmediate, clearTimeout, clearInterval, clearImmediate } = globalThis;

/** The old interface: an item is given a time to be idle for, and told when it was. */
function enroll(item, msecs) {
  item._idleTimeout = msecs;
  return item;
}

function active(item) {
  clearTimeout(item._idleTimer);
  if (item._idleTimeout >= 0) item._idleTimer = setTimeout(() => item._onTimeout?.(), item._idleTimeout);
}

function unenroll(item) {
  clearTimeout(item._idleTimer);
  item._idleTimeout = -1;
}

module.exports = {
  setTimeout, clearTimeout, setImmediate, clearImmediate, setInterval, clearInterval, active, _unrefActive: active, enroll, unenroll,
  get promises() { return require("timers/promises"); },
};
