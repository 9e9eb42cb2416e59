// Gives: Node's `tty`, on a platform without terminals.

const { Readable, Writable } = require("stream");
const { make, mustBeInteger } = require("internal/errors");

function refuse(fd) {
  mustBeInteger("fd", fd, 0, 2147483647);
  throw make(Error, "ERR_TTY_INIT_FAILED", "TTY initialization failed: functions have no terminal");
}

function ReadStream(fd) { refuse(fd); }
Object.setPrototypeOf(ReadStream.prototype, Readable.prototype);
Object.setPrototypeOf(ReadStream, Readable);

function WriteStream(fd) { refuse(fd); }
Object.setPrototypeOf(WriteStream.prototype, Writable.prototype);
Object.setPrototypeOf(WriteStream, Writable);
Object.assign(WriteStream.prototype, { isTTY: false, getColorDepth: () => 1, hasColors: () => false });

module.exports = { isatty: () => false, ReadStream, WriteStream };
