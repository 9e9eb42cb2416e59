// Gives: Node's `events`.
//
// Absent: NodeEventTarget; `on` and `once` also take the EventTarget of the Web.

const { argType, outOfRange } = require("internal/errors");

const kCapture = Symbol("kCapture");
const kErrorMonitor = Symbol("events.errorMonitor");
const kRejection = Symbol.for("nodejs.rejection");

let defaultMaxListeners = 10;

function mustBeListener(listener) {
  if (typeof listener !== "function") throw argType("listener", "function", listener);
}

/** Packages call it without `new` on objects of theirs, so it is a function, not a class. */
function EventEmitter(options) {
  EventEmitter.init.call(this, options);
}

EventEmitter.init = function init(options) {
  if (this._events === undefined || this._events === Object.getPrototypeOf(this)._events) {
    this._events = Object.create(null);
    this._eventsCount = 0;
  }
  this._maxListeners = this._maxListeners || undefined;
  if (options?.captureRejections) this[kCapture] = true;
};

EventEmitter.prototype._events = undefined;
EventEmitter.prototype._eventsCount = 0;
EventEmitter.prototype._maxListeners = undefined;

/** The table of an emitter whose constructor may never have run (`Object.create(EventEmitter.prototype)`). */
function tableOf(emitter) {
  if (emitter._events === undefined) {
    emitter._events = Object.create(null);
    emitter._eventsCount = 0;
  }
  return emitter._events;
}

/** As in Node, one listener is kept as itself and several as an array. */
function listOf(emitter, event) {
  const kept = emitter._events?.[event];
  if (kept === undefined) return [];
  return typeof kept === "function" ? [kept] : kept;
}

function add(emitter, event, listener, first) {
  mustBeListener(listener);
  const table = tableOf(emitter);
  if (table.newListener !== undefined) emitter.emit("newListener", event, listener.listener ?? listener);
  const kept = emitter._events[event];
  if (kept === undefined) {
    emitter._events[event] = listener;
    emitter._eventsCount += 1;
    return emitter;
  }
  const list = typeof kept === "function" ? [kept] : kept;
  // A running emit goes on with the list it started with, so lists are replaced, not changed.
  const next = first ? [listener, ...list] : [...list, listener];
  emitter._events[event] = next;
  const max = emitter.getMaxListeners();
  if (max > 0 && next.length > max && !list.warned) {
    next.warned = true;
    const name = emitter.constructor?.name ?? "EventEmitter";
    console.warn(`MaxListenersExceededWarning: Possible EventEmitter memory leak detected. ${next.length} ${String(event)} listeners added to [${name}]. Use emitter.setMaxListeners() to increase limit`);
  } else if (list.warned) {
    next.warned = true;
  }
  return emitter;
}

function remove(emitter, event, matches) {
  const list = listOf(emitter, event);
  for (let at = list.length - 1; at >= 0; at--) {
    const listener = list[at];
    if (!matches(listener)) continue;
    if (list.length === 1) {
      delete emitter._events[event];
      emitter._eventsCount -= 1;
    } else {
      const next = list.filter((_, index) => index !== at);
      emitter._events[event] = next.length === 1 ? next[0] : next;
    }
    if (emitter._events.removeListener !== undefined) {
      emitter.emit("removeListener", event, listener.listener ?? listener);
    }
    break;
  }
  return emitter;
}

function onceWrapper(emitter, event, listener) {
  mustBeListener(listener);
  function wrapped(...values) {
    if (wrapped.fired) return undefined;
    wrapped.fired = true;
    emitter.removeListener(event, wrapped);
    return listener.apply(emitter, values);
  }
  wrapped.listener = listener;
  return wrapped;
}

const methods = {
  on(event, listener) { return add(this, event, listener, false); },
  addListener(event, listener) { return add(this, event, listener, false); },
  prependListener(event, listener) { return add(this, event, listener, true); },
  once(event, listener) { return this.on(event, onceWrapper(this, event, listener)); },
  prependOnceListener(event, listener) { return this.prependListener(event, onceWrapper(this, event, listener)); },

  off(event, listener) { return this.removeListener(event, listener); },
  removeListener(event, listener) {
    mustBeListener(listener);
    return remove(this, event, (kept) => kept === listener || kept.listener === listener);
  },
  removeAllListeners(event) {
    if (this._events === undefined) return this;
    if (arguments.length > 0 && this._events.removeListener === undefined) {
      if (this._events[event] !== undefined) {
        delete this._events[event];
        this._eventsCount -= 1;
      }
      return this;
    }
    const events = arguments.length > 0 ? [event] : Reflect.ownKeys(this._events).filter((name) => name !== "removeListener");
    for (const name of events) for (const listener of listOf(this, name).slice().reverse()) this.removeListener(name, listener);
    if (arguments.length === 0) {
      this._events = Object.create(null);
      this._eventsCount = 0;
    }
    return this;
  },

  emit(event, ...values) {
    if (event === "error") {
      if (this._events?.[kErrorMonitor] !== undefined) this.emit(kErrorMonitor, ...values);
      if (this._events?.error === undefined) throw unheard(values[0]);
    }
    const kept = this._events?.[event];
    if (kept === undefined) return false;
    if (typeof kept === "function") run(this, event, kept, values);
    else for (let at = 0; at < kept.length; at++) run(this, event, kept[at], values);
    return true;
  },

  listeners(event) { return listOf(this, event).map((listener) => listener.listener ?? listener); },
  rawListeners(event) { return listOf(this, event).slice(); },
  listenerCount(event, listener) {
    const list = listOf(this, event);
    return listener === undefined ? list.length : list.filter((kept) => (kept.listener ?? kept) === listener).length;
  },
  eventNames() { return this._events === undefined ? [] : Reflect.ownKeys(this._events); },
  setMaxListeners(count) {
    mustBeCount(count);
    this._maxListeners = count;
    return this;
  },
  getMaxListeners() { return this._maxListeners ?? defaultMaxListeners; },
};

function run(emitter, event, listener, values) {
  const result = Reflect.apply(listener, emitter, values);
  if (!emitter[kCapture] || result === null || typeof result?.then !== "function") return;
  result.then(undefined, (error) => {
    process.nextTick(() => {
      if (typeof emitter[kRejection] === "function") emitter[kRejection](error, event, ...values);
      else emitter.emit("error", error);
    });
  });
}

function unheard(value) {
  if (value instanceof Error) return value;
  const error = new Error(`Unhandled error. (${typeof value === "string" ? `'${value}'` : require("util").inspect(value)})`);
  error.code = "ERR_UNHANDLED_ERROR";
  error.context = value;
  return error;
}

function mustBeCount(count) {
  if (typeof count === "number" && count >= 0) return;
  throw outOfRange("n", "a non-negative number", count);
}

for (const name of Object.keys(methods)) {
  Object.defineProperty(EventEmitter.prototype, name, { value: methods[name], writable: true, enumerable: true, configurable: true });
}

// ------------------------------------------------------------------------------------------------------------- statics

function aborted(signal) {
  const error = new Error("The operation was aborted", { cause: signal.reason });
  error.name = "AbortError";
  error.code = "ABORT_ERR";
  return error;
}

/** Listens on an emitter or an EventTarget; gives how to stop. */
function listen(target, event, listener, once) {
  if (typeof target.on === "function") {
    if (once) target.once(event, listener);
    else target.on(event, listener);
    return () => target.removeListener(event, listener);
  }
  if (typeof target.addEventListener === "function") {
    target.addEventListener(event, listener, { once });
    return () => target.removeEventListener(event, listener);
  }
  throw argType("emitter", "EventEmitter", target);
}

async function once(emitter, event, options) {
  const signal = options?.signal;
  if (signal?.aborted) throw aborted(signal);
  return new Promise((resolve, reject) => {
    const stops = [];
    const stop = () => { for (const one of stops) one(); };
    stops.push(listen(emitter, event, (...values) => { stop(); resolve(values); }, true));
    if (event !== "error" && typeof emitter.on === "function") {
      stops.push(listen(emitter, "error", (error) => { stop(); reject(error); }, true));
    }
    if (signal) stops.push(listen(signal, "abort", () => { stop(); reject(aborted(signal)); }, true));
  });
}

function on(emitter, event, options) {
  const signal = options?.signal;
  if (signal?.aborted) throw aborted(signal);
  const values = [];
  const waiting = [];
  let failure;
  let finished = false;
  const stops = [];
  const finish = () => {
    for (const stop of stops) stop();
    finished = true;
    for (const { resolve } of waiting.splice(0)) resolve({ value: undefined, done: true });
    return Promise.resolve({ value: undefined, done: true });
  };
  const fail = (error) => {
    const next = waiting.shift();
    if (next) next.reject(error);
    else failure = error;
    finish();
  };
  stops.push(listen(emitter, event, (...items) => {
    const next = waiting.shift();
    if (next) next.resolve({ value: items, done: false });
    else values.push(items);
  }, false));
  if (event !== "error" && typeof emitter.on === "function") stops.push(listen(emitter, "error", fail, false));
  for (const close of options?.close ?? []) stops.push(listen(emitter, close, finish, false));
  if (signal) stops.push(listen(signal, "abort", () => fail(aborted(signal)), true));
  return Object.setPrototypeOf({
    next() {
      if (values.length > 0) return Promise.resolve({ value: values.shift(), done: false });
      if (failure !== undefined) {
        const error = failure;
        failure = undefined;
        return Promise.reject(error);
      }
      if (finished) return Promise.resolve({ value: undefined, done: true });
      return new Promise((resolve, reject) => { waiting.push({ resolve, reject }); });
    },
    return: finish,
    throw(error) { fail(error); return Promise.reject(error); },
    [Symbol.asyncIterator]() { return this; },
  }, Object.getPrototypeOf(Object.getPrototypeOf(async function* () {}).prototype));
}

function setMaxListeners(count = defaultMaxListeners, ...targets) {
  mustBeCount(count);
  if (targets.length === 0) defaultMaxListeners = count;
  for (const target of targets) if (typeof target.setMaxListeners === "function") target.setMaxListeners(count);
}

function addAbortListener(signal, listener) {
  mustBeListener(listener);
  if (signal === null || typeof signal !== "object" || !("aborted" in signal)) throw argType("signal", "AbortSignal", signal);
  let stop = () => {};
  if (signal.aborted) queueMicrotask(() => listener());
  else stop = listen(signal, "abort", listener, true);
  return { [Symbol.dispose ?? Symbol.for("nodejs.dispose")]: () => stop() };
}

class EventEmitterAsyncResource extends EventEmitter {
  constructor(options) {
    super(options);
    const { AsyncResource } = require("async_hooks");
    this.asyncResource = new AsyncResource(options?.name ?? new.target.name);
  }

  emit(event, ...values) { return this.asyncResource.runInAsyncScope(super.emit, this, event, ...values); }
  emitDestroy() { this.asyncResource.emitDestroy(); }
  get asyncId() { return this.asyncResource.asyncId(); }
  get triggerAsyncId() { return this.asyncResource.triggerAsyncId(); }
}

Object.assign(EventEmitter, {
  EventEmitter, EventEmitterAsyncResource, on, once, setMaxListeners, addAbortListener,
  usingDomains: false,
  captureRejectionSymbol: kRejection,
  errorMonitor: kErrorMonitor,
  getEventListeners: (target, event) => (typeof target.listeners === "function" ? target.listeners(event) : []),
  getMaxListeners: (target) => target.getMaxListeners?.() ?? defaultMaxListeners,
  listenerCount: (emitter, event) => emitter.listenerCount(event),
});
Object.defineProperty(EventEmitter, "defaultMaxListeners", {
  enumerable: true,
  get: () => defaultMaxListeners,
  set(count) { mustBeCount(count); defaultMaxListeners = count; },
});
Object.defineProperty(EventEmitter, "captureRejections", {
  enumerable: true,
  get: () => EventEmitter.prototype[kCapture] === true,
  set(value) { EventEmitter.prototype[kCapture] = value; },
});

module.exports = EventEmitter;
