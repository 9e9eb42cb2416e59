// Gives: ReadableStream, WritableStream, TransformStream and their default readers, writers and controllers, with queues
// and back-pressure as the Streams standard has them; async iteration, tee, pipeTo, pipeThrough, ReadableStream.from.
//
// Absent: reading into one's own buffers. A `bytes` source works and gives whole chunks; `getReader({ mode: "byob" })`
// says that it is not there.
"use strict";

const promised = () => {
  const made = {};
  made.promise = new Promise((resolve, reject) => Object.assign(made, { resolve, reject }));
  return made;
};

const deferred = () => {
  const made = promised();
  // Whoever listens hears of it; that nobody does is not an unhandled rejection.
  made.promise.catch(() => {});
  return made;
};

class CountQueuingStrategy {
  constructor({ highWaterMark }) { this.highWaterMark = highWaterMark; }
  size() { return 1; }
}

class ByteLengthQueuingStrategy {
  constructor({ highWaterMark }) { this.highWaterMark = highWaterMark; }
  size(chunk) { return chunk.byteLength; }
}

function strategyOf(strategy, standard) {
  const mark = strategy?.highWaterMark === undefined ? standard : Number(strategy.highWaterMark);
  if (Number.isNaN(mark) || mark < 0) throw new RangeError("Invalid highWaterMark");
  const size = strategy?.size;
  return { mark, size: size === undefined ? () => 1 : (chunk) => size.call(undefined, chunk) };
}

// ------------------------------------------------------------------------------------------------------------ readable

class ReadableStream {
  _state = "readable";
  _error = undefined;
  _reader = undefined;
  _controller;

  constructor(source = {}, strategy = {}) {
    if (source === null) throw new TypeError("ReadableStream needs a source that is an object");
    const bytes = source.type === "bytes";
    if (source.type !== undefined && !bytes) throw new TypeError(`Invalid type: ${source.type}`);
    const controller = new ReadableStreamDefaultController(KEY);
    this._controller = controller;
    controller._begin(this, source, strategyOf(strategy, bytes ? 0 : 1), bytes);
  }

  static from(iterable) {
    const make = iterable?.[Symbol.asyncIterator] ?? iterable?.[Symbol.iterator];
    if (typeof make !== "function") throw new TypeError("ReadableStream.from needs an iterable");
    const iterator = make.call(iterable);
    return new ReadableStream({
      async pull(controller) {
        const { done, value } = await iterator.next();
        if (done) controller.close();
        else controller.enqueue(await value);
      },
      async cancel(reason) { await iterator.return?.(reason); },
    }, { highWaterMark: 0 });
  }

  get locked() { return this._reader !== undefined; }
  get [Symbol.toStringTag]() { return "ReadableStream"; }

  getReader(options) {
    if (options?.mode !== undefined) throw new TypeError("ReadableStream readers of mode 'byob' are not available");
    return new ReadableStreamDefaultReader(this);
  }

  cancel(reason) {
    if (this.locked) return Promise.reject(new TypeError("Cannot cancel a stream that is locked to a reader"));
    return cancelStream(this, reason);
  }

  async *values(options) {
    const reader = this.getReader();
    try {
      for (;;) {
        const { done, value } = await reader.read();
        if (done) return;
        yield value;
      }
    } finally {
      if (options?.preventCancel !== true && this._state === "readable") reader.cancel().catch(() => {});
      reader.releaseLock();
    }
  }

  [Symbol.asyncIterator](options) { return this.values(options); }

  tee() {
    const reader = this.getReader();
    const controllers = [];
    const cancelled = [false, false];
    const reasons = [];
    const whole = deferred();
    let reading = false, again = false;
    const pull = async () => {
      if (reading) {
        again = true;
        return;
      }
      reading = true;
      try {
        do {
          again = false;
          const { done, value } = await reader.read();
          for (let index = 0; index < 2; index++) {
            if (cancelled[index]) continue;
            if (done) controllers[index].close();
            else controllers[index].enqueue(value);
          }
          if (done) whole.resolve();
        } while (again && this._state === "readable");
      } catch (error) {
        for (const controller of controllers) controller.error(error);
        whole.resolve();
      } finally {
        reading = false;
      }
    };
    const branch = (index) => new ReadableStream({
      start(controller) { controllers[index] = controller; },
      pull,
      cancel(reason) {
        cancelled[index] = true;
        reasons[index] = reason;
        if (cancelled[0] && cancelled[1]) whole.resolve(reader.cancel(reasons));
        return whole.promise;
      },
    }, { highWaterMark: 0 });
    return [branch(0), branch(1)];
  }

  pipeThrough({ readable, writable }, options) {
    this.pipeTo(writable, options).catch(() => {});
    return readable;
  }

  async pipeTo(destination, { preventClose, preventAbort, preventCancel, signal } = {}) {
    const reader = this.getReader();
    const writer = destination.getWriter();
    const aborted = deferred();
    const abort = () => aborted.reject(signal.reason);
    if (signal?.aborted) abort();
    signal?.addEventListener("abort", abort, { once: true });
    try {
      for (;;) {
        await Promise.race([writer.ready, aborted.promise, writer.closed.then(() => { throw new TypeError("The destination is closed"); })]);
        let piece;
        try {
          piece = await Promise.race([reader.read(), aborted.promise]);
        } catch (error) {
          if (!preventAbort) await writer.abort(error).catch(() => {});
          throw error;
        }
        if (piece.done) break;
        writer.write(piece.value).catch(() => {});
      }
      if (!preventClose) await writer.close();
    } catch (error) {
      if (!preventCancel && this._state === "readable") await reader.cancel(error).catch(() => {});
      throw error;
    } finally {
      signal?.removeEventListener("abort", abort);
      reader.releaseLock();
      writer.releaseLock();
    }
  }
}

/** Keeps constructors that only this file may use to this file. */
const KEY = {};

class ReadableStreamDefaultController {
  #stream;
  #source;
  #strategy;
  #bytes = false;
  #queue = [];
  #queued = 0;
  #started = false;
  #pulling = false;
  #pullAgain = false;
  #closing = false;
  _requests = [];

  constructor(key) { if (key !== KEY) throw new TypeError("Illegal constructor"); }

  _begin(stream, source, strategy, bytes) {
    this.#stream = stream;
    this.#source = source;
    this.#strategy = strategy;
    this.#bytes = bytes;
    const started = source.start?.(this);
    Promise.resolve(started).then(() => {
      this.#started = true;
      this._pull();
    }, (error) => this.error(error));
  }

  get desiredSize() {
    if (this.#stream._state === "errored") return null;
    return this.#stream._state === "closed" ? 0 : this.#strategy.mark - this.#queued;
  }

  get byobRequest() { return null; }

  enqueue(chunk) {
    if (this.#closing || this.#stream._state !== "readable") throw new TypeError("The stream is closed; nothing can be added");
    if (this.#bytes && !ArrayBuffer.isView(chunk)) throw new TypeError("A stream of bytes takes views of buffers");
    const request = this._requests.shift();
    if (request !== undefined) {
      request.resolve({ value: chunk, done: false });
    } else {
      let size;
      try {
        size = this.#bytes ? chunk.byteLength : this.#strategy.size(chunk);
      } catch (error) {
        this.error(error);
        throw error;
      }
      this.#queue.push({ chunk, size });
      this.#queued += size;
    }
    this._pull();
  }

  close() {
    if (this.#closing || this.#stream._state !== "readable") throw new TypeError("The stream is already closed");
    this.#closing = true;
    if (this.#queue.length === 0) this.#end();
  }

  error(error) {
    const stream = this.#stream;
    if (stream._state !== "readable") return;
    stream._state = "errored";
    stream._error = error;
    this.#queue = [];
    for (const request of this._requests.splice(0)) request.reject(error);
    stream._reader?._closed.reject(error);
  }

  #end() {
    const stream = this.#stream;
    stream._state = "closed";
    for (const request of this._requests.splice(0)) request.resolve({ value: undefined, done: true });
    stream._reader?._closed.resolve();
  }

  _read() {
    const stream = this.#stream;
    if (this.#queue.length > 0) {
      const { chunk, size } = this.#queue.shift();
      this.#queued -= size;
      if (this.#closing && this.#queue.length === 0) this.#end();
      else this._pull();
      return Promise.resolve({ value: chunk, done: false });
    }
    if (stream._state === "closed") return Promise.resolve({ value: undefined, done: true });
    if (stream._state === "errored") return Promise.reject(stream._error);
    const request = promised();
    this._requests.push(request);
    this._pull();
    return request.promise;
  }

  _pull() {
    const wanted = this._requests.length > 0 || this.#strategy.mark - this.#queued > 0;
    if (!this.#started || this.#closing || this.#stream._state !== "readable" || !wanted) return;
    if (this.#source.pull === undefined) return;
    if (this.#pulling) {
      this.#pullAgain = true;
      return;
    }
    this.#pulling = true;
    let pulled;
    try {
      pulled = Promise.resolve(this.#source.pull(this));
    } catch (error) {
      pulled = Promise.reject(error);
    }
    pulled.then(() => {
      this.#pulling = false;
      if (!this.#pullAgain) return;
      this.#pullAgain = false;
      this._pull();
    }, (error) => this.error(error));
  }

  async _cancel(reason) {
    this.#queue = [];
    this.#queued = 0;
    this.#end();
    await this.#source.cancel?.(reason);
  }
}

async function cancelStream(stream, reason) {
  if (stream._state === "closed") return undefined;
  if (stream._state === "errored") throw stream._error;
  await stream._controller._cancel(reason);
  return undefined;
}

class ReadableStreamDefaultReader {
  #stream;
  _closed = deferred();

  constructor(stream) {
    if (!(stream instanceof ReadableStream)) throw new TypeError("A reader needs a ReadableStream");
    if (stream.locked) throw new TypeError("The stream is locked to another reader");
    this.#stream = stream;
    stream._reader = this;
    if (stream._state === "closed") this._closed.resolve();
    if (stream._state === "errored") this._closed.reject(stream._error);
  }

  get closed() { return this._closed.promise; }

  read() {
    if (this.#stream === undefined) return Promise.reject(new TypeError("The reader was released"));
    return this.#stream._controller._read();
  }

  cancel(reason) {
    if (this.#stream === undefined) return Promise.reject(new TypeError("The reader was released"));
    return cancelStream(this.#stream, reason);
  }

  releaseLock() {
    const stream = this.#stream;
    if (stream === undefined) return;
    const released = new TypeError("The reader was released");
    for (const request of stream._controller._requests.splice(0)) request.reject(released);
    if (stream._state !== "readable") this._closed = deferred();
    this._closed.reject(released);
    stream._reader = undefined;
    this.#stream = undefined;
  }
}

// ------------------------------------------------------------------------------------------------------------ writable

class WritableStream {
  _state = "writable"; // then closing, closed, errored
  _error = undefined;
  _writer = undefined;
  #sink;
  #strategy;
  #queue = [];
  #queued = 0;
  #busy = false;
  #started = false;
  #abort = undefined;
  #controller;

  constructor(sink = {}, strategy = {}) {
    this.#sink = sink ?? {};
    this.#strategy = strategyOf(strategy, 1);
    const abort = () => (this.#abort ??= new AbortController());
    this.#controller = {
      error: (error) => this.#fail(error),
      get signal() { return abort().signal; },
    };
    const started = this.#sink.start?.(this.#controller);
    Promise.resolve(started).then(() => {
      this.#started = true;
      this.#advance();
    }, (error) => this.#fail(error));
  }

  get locked() { return this._writer !== undefined; }
  get [Symbol.toStringTag]() { return "WritableStream"; }
  getWriter() { return new WritableStreamDefaultWriter(this); }

  abort(reason) {
    if (this.locked) return Promise.reject(new TypeError("Cannot abort a stream that is locked to a writer"));
    return this._doAbort(reason);
  }

  close() {
    if (this.locked) return Promise.reject(new TypeError("Cannot close a stream that is locked to a writer"));
    return this._doClose();
  }

  get _desiredSize() {
    if (this._state === "errored") return null;
    return this._state === "closed" ? 0 : this.#strategy.mark - this.#queued;
  }

  _doWrite(chunk) {
    if (this._state === "errored") return Promise.reject(this._error);
    if (this._state !== "writable") return Promise.reject(new TypeError("The stream is closing or closed"));
    let size;
    try {
      size = this.#strategy.size(chunk);
    } catch (error) {
      this.#fail(error);
      return Promise.reject(error);
    }
    const done = deferred();
    this.#queue.push({ chunk, size, done });
    this.#queued += size;
    this._writer?._pressure(this._desiredSize <= 0);
    this.#advance();
    return done.promise;
  }

  _doClose() {
    if (this._state === "errored") return Promise.reject(this._error);
    if (this._state !== "writable") return Promise.reject(new TypeError("The stream is closing or closed"));
    this._state = "closing";
    const done = deferred();
    this.#queue.push({ close: true, size: 0, done });
    this.#advance();
    return done.promise;
  }

  async _doAbort(reason) {
    if (this._state === "closed" || this._state === "errored") return;
    this.#abort?.abort(reason);
    this.#fail(reason);
    await this.#sink.abort?.(reason);
  }

  async #advance() {
    if (this.#busy || !this.#started) return;
    this.#busy = true;
    while (this.#queue.length > 0 && this._state !== "errored") {
      const { chunk, close, size, done } = this.#queue[0];
      try {
        if (close) await this.#sink.close?.();
        else await this.#sink.write?.(chunk, this.#controller);
      } catch (error) {
        done.reject(error);
        this.#fail(error);
        break;
      }
      this.#queue.shift();
      this.#queued -= size;
      done.resolve();
      if (close) {
        this._state = "closed";
        this._writer?._closed.resolve();
      }
      this._writer?._pressure(this._state === "writable" && this._desiredSize <= 0);
    }
    this.#busy = false;
  }

  #fail(error) {
    if (this._state === "errored" || this._state === "closed") return;
    this._state = "errored";
    this._error = error;
    for (const { done } of this.#queue.splice(0)) done.reject(error);
    this._writer?._fail(error);
  }
}

class WritableStreamDefaultWriter {
  #stream;
  _closed = deferred();
  #ready = deferred();

  constructor(stream) {
    if (!(stream instanceof WritableStream)) throw new TypeError("A writer needs a WritableStream");
    if (stream.locked) throw new TypeError("The stream is locked to another writer");
    this.#stream = stream;
    stream._writer = this;
    if (stream._state === "errored") this._fail(stream._error);
    else if (stream._state === "closed" || stream._desiredSize > 0) this.#ready.resolve();
    if (stream._state === "closed") this._closed.resolve();
  }

  get closed() { return this._closed.promise; }
  get ready() { return this.#ready.promise; }

  get desiredSize() {
    if (this.#stream === undefined) throw new TypeError("The writer was released");
    return this.#stream._desiredSize;
  }

  write(chunk) { return this.#stream?._doWrite(chunk) ?? Promise.reject(new TypeError("The writer was released")); }
  close() { return this.#stream?._doClose() ?? Promise.reject(new TypeError("The writer was released")); }
  abort(reason) { return this.#stream?._doAbort(reason) ?? Promise.reject(new TypeError("The writer was released")); }

  releaseLock() {
    if (this.#stream === undefined) return;
    this._fail(new TypeError("The writer was released"));
    this.#stream._writer = undefined;
    this.#stream = undefined;
  }

  _pressure(pressing) {
    if (pressing) {
      if (this.#ready.waits !== true) this.#ready = Object.assign(deferred(), { waits: true });
    } else {
      this.#ready.waits = false;
      this.#ready.resolve();
    }
  }

  _fail(error) {
    this.#ready.reject(error);
    if (this.#ready.waits !== true) {
      this.#ready = deferred();
      this.#ready.reject(error);
    }
    this._closed.reject(error);
  }
}

// ----------------------------------------------------------------------------------------------------------- transform

class TransformStream {
  #readable;
  #writable;

  constructor(transformer = {}, writableStrategy = {}, readableStrategy = {}) {
    const source = transformer ?? {};
    let inner;
    let pulled = deferred();
    const controller = {
      get desiredSize() { return inner.desiredSize; },
      enqueue(chunk) { inner.enqueue(chunk); },
      error: (error) => {
        inner.error(error);
        failed?.error(error);
      },
      terminate() {
        inner.close();
        failed?.error(new TypeError("The stream was terminated"));
      },
    };
    let failed;
    this.#readable = new ReadableStream({
      start(made) { inner = made; },
      pull() {
        pulled.resolve();
        pulled = deferred();
      },
      async cancel(reason) {
        await source.cancel?.(reason);
        failed?.error(reason);
        pulled.resolve();
      },
    }, { highWaterMark: 0, ...readableStrategy });
    this.#writable = new WritableStream({
      start(made) {
        failed = made;
        return source.start?.(controller);
      },
      async write(chunk) {
        if (inner.desiredSize !== null && inner.desiredSize <= 0 && inner._requests.length === 0) await pulled.promise;
        try {
          if (source.transform === undefined) controller.enqueue(chunk);
          else await source.transform(chunk, controller);
        } catch (error) {
          inner.error(error);
          throw error;
        }
      },
      async close() {
        try {
          await source.flush?.(controller);
        } catch (error) {
          inner.error(error);
          throw error;
        }
        try {
          inner.close();
        } catch {
          // It was terminated or cancelled from the other side.
        }
      },
      async abort(reason) {
        inner.error(reason);
        await source.cancel?.(reason);
      },
    }, writableStrategy);
  }

  get readable() { return this.#readable; }
  get writable() { return this.#writable; }
  get [Symbol.toStringTag]() { return "TransformStream"; }
}

class TextEncoderStream {
  #inner;

  constructor() {
    const encoder = new TextEncoder();
    this.#inner = new TransformStream({ transform(chunk, controller) { controller.enqueue(encoder.encode(`${chunk}`)); } });
  }

  get encoding() { return "utf-8"; }
  get readable() { return this.#inner.readable; }
  get writable() { return this.#inner.writable; }
}

class TextDecoderStream {
  #inner;
  #decoder;

  constructor(label, options) {
    const decoder = (this.#decoder = new TextDecoder(label, options));
    const give = (text, controller) => { if (text !== "") controller.enqueue(text); };
    this.#inner = new TransformStream({
      transform(chunk, controller) { give(decoder.decode(chunk, { stream: true }), controller); },
      flush(controller) { give(decoder.decode(), controller); },
    });
  }

  get encoding() { return this.#decoder.encoding; }
  get fatal() { return this.#decoder.fatal; }
  get ignoreBOM() { return this.#decoder.ignoreBOM; }
  get readable() { return this.#inner.readable; }
  get writable() { return this.#inner.writable; }
}


module.exports = {
  ReadableStream, ReadableStreamDefaultReader, ReadableStreamDefaultController, WritableStream,
  WritableStreamDefaultWriter, TransformStream, TextEncoderStream, TextDecoderStream, CountQueuingStrategy,
  ByteLengthQueuingStrategy,
};
