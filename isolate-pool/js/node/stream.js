// Gives: Node's `stream`, from Node's own code (vendor/README.md), with the conversions to and from the streams of the Web.

const Stream = require("internal/vendor/stream");
const { Duplex, Readable, Writable } = Stream;

/** The Web's side is a global, made by another part of the platform. */
function web(name) {
  const found = globalThis[name];
  if (found === undefined) throw require("internal/errors").unavailable(name);
  return found;
}

Readable.toWeb = function toWeb(readable) {
  const iterator = readable[Symbol.asyncIterator]();
  return new (web("ReadableStream"))({
    async pull(controller) {
      const { value, done } = await iterator.next();
      if (done) controller.close();
      else controller.enqueue(typeof value === "string" || readable.readableObjectMode ? value : new Uint8Array(value));
    },
    cancel(reason) { readable.destroy(reason instanceof Error ? reason : undefined); },
  });
};

Readable.fromWeb = function fromWeb(stream, options) {
  const reader = stream.getReader();
  return new Readable({
    ...options,
    read() {
      reader.read().then(
        ({ value, done }) => this.push(done ? null : value),
        (error) => this.destroy(error),
      );
    },
    destroy(error, callback) { reader.cancel(error).then(() => callback(error), () => callback(error)); },
  });
};

Writable.toWeb = function toWeb(writable) {
  return new (web("WritableStream"))({
    write: (chunk) => new Promise((resolve, reject) => { writable.write(chunk, (error) => (error ? reject(error) : resolve())); }),
    close: () => new Promise((resolve) => { writable.end(resolve); }),
    abort: (reason) => { writable.destroy(reason instanceof Error ? reason : undefined); },
  });
};

Writable.fromWeb = function fromWeb(stream, options) {
  const writer = stream.getWriter();
  return new Writable({
    ...options,
    write(chunk, encoding, callback) { writer.write(chunk).then(() => callback(), callback); },
    final(callback) { writer.close().then(() => callback(), callback); },
    destroy(error, callback) {
      if (error === null) callback();
      else writer.abort(error).then(() => callback(error), () => callback(error));
    },
  });
};

Duplex.toWeb = (duplex) => ({ readable: Readable.toWeb(duplex), writable: Writable.toWeb(duplex) });
Duplex.fromWeb = ({ readable, writable }, options) => Duplex.from({ readable: Readable.fromWeb(readable, options), writable: Writable.fromWeb(writable, options) });

module.exports = Stream;
