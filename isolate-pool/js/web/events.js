// Gives: DOMException, Event, CustomEvent, EventTarget, AbortController, AbortSignal, as browsers have them.
//
// Absent: capturing and bubbling; there is no tree of targets here.
"use strict";
const { portico } = internal;

const NAMES = {
  IndexSizeError: 1, HierarchyRequestError: 3, InvalidCharacterError: 5, NotFoundError: 8, NotSupportedError: 9,
  InvalidStateError: 11, SyntaxError: 12, InvalidModificationError: 13, InvalidAccessError: 15, SecurityError: 18,
  NetworkError: 19, AbortError: 20, QuotaExceededError: 22, TimeoutError: 23, DataCloneError: 25,
};

class DOMException extends Error {
  #name;

  constructor(message = "", options = "Error") {
    super(`${message}`);
    this.#name = typeof options === "object" && options !== null ? `${options.name ?? "Error"}` : `${options}`;
    if (typeof options === "object" && options !== null && "cause" in options) this.cause = options.cause;
  }

  get name() { return this.#name; }
  get code() { return NAMES[this.#name] ?? 0; }
  get [Symbol.toStringTag]() { return "DOMException"; }
}

class Event {
  #type;
  #cancelable;
  #bubbles;
  #composed;
  #prevented = false;
  #target = null;
  #stopped = false;
  #timeStamp = Date.now();

  constructor(type, options) {
    if (arguments.length === 0) throw new TypeError("Event needs a type");
    this.#type = `${type}`;
    this.#cancelable = options?.cancelable === true;
    this.#bubbles = options?.bubbles === true;
    this.#composed = options?.composed === true;
  }

  get type() { return this.#type; }
  get target() { return this.#target; }
  get currentTarget() { return this.#target; }
  get srcElement() { return this.#target; }
  get bubbles() { return this.#bubbles; }
  get cancelable() { return this.#cancelable; }
  get composed() { return this.#composed; }
  get defaultPrevented() { return this.#prevented; }
  get returnValue() { return !this.#prevented; }
  get eventPhase() { return this.#target === null ? 0 : 2; }
  get isTrusted() { return false; }
  get timeStamp() { return this.#timeStamp; }
  get [Symbol.toStringTag]() { return "Event"; }

  preventDefault() { if (this.#cancelable) this.#prevented = true; }
  stopPropagation() {}
  stopImmediatePropagation() { this.#stopped = true; }
  composedPath() { return this.#target === null ? [] : [this.#target]; }

  static begin(event, target) { event.#target = target; }
  static isStopped(event) { return event.#stopped; }
}
const { begin, isStopped } = Event;
delete Event.begin;
delete Event.isStopped;

class CustomEvent extends Event {
  #detail;

  constructor(type, options) {
    super(type, options);
    this.#detail = options?.detail ?? null;
  }

  get detail() { return this.#detail; }
}

class EventTarget {
  #listeners = new Map();

  addEventListener(type, callback, options) {
    if (callback === null || callback === undefined) return;
    const capture = options === true || options?.capture === true;
    const signal = options?.signal;
    if (signal?.aborted) return;
    const list = this.#listeners.get(`${type}`) ?? [];
    if (list.some((other) => other.callback === callback && other.capture === capture)) return;
    this.#listeners.set(`${type}`, [...list, { callback, capture, once: options?.once === true }]);
    signal?.addEventListener("abort", () => this.removeEventListener(type, callback, options), { once: true });
  }

  removeEventListener(type, callback, options) {
    const capture = options === true || options?.capture === true;
    const list = this.#listeners.get(`${type}`);
    if (list === undefined) return;
    this.#listeners.set(`${type}`, list.filter((other) => other.callback !== callback || other.capture !== capture));
  }

  dispatchEvent(event) {
    if (!(event instanceof Event)) throw new TypeError("dispatchEvent needs an Event");
    begin(event, this);
    for (const listener of this.#listeners.get(event.type) ?? []) {
      if (listener.once) this.removeEventListener(event.type, listener.callback, listener.capture);
      try {
        if (typeof listener.callback === "function") listener.callback.call(this, event);
        else listener.callback.handleEvent(event);
      } catch (error) {
        // As in browsers: the others are still told, and the error is the program's to hear of, in its log.
        Promise.reject(error);
      }
      if (isStopped(event)) break;
    }
    return !event.defaultPrevented;
  }

  get [Symbol.toStringTag]() { return "EventTarget"; }
}

/** `target.onabort = …` and the like. */
function handler(prototype, type) {
  const handlers = new WeakMap();
  Object.defineProperty(prototype, `on${type}`, {
    configurable: true,
    enumerable: true,
    get() { return handlers.get(this)?.callback ?? null; },
    set(callback) {
      const old = handlers.get(this);
      if (old !== undefined) this.removeEventListener(type, old.listener);
      handlers.delete(this);
      if (typeof callback !== "function") return;
      const listener = (event) => callback.call(this, event);
      handlers.set(this, { callback, listener });
      this.addEventListener(type, listener);
    },
  });
}

let making = false;

class AbortSignal extends EventTarget {
  #aborted = false;
  #reason;

  constructor() {
    if (!making) throw new TypeError("Illegal constructor");
    super();
  }

  get aborted() { return this.#aborted; }
  get reason() { return this.#reason; }
  get [Symbol.toStringTag]() { return "AbortSignal"; }

  throwIfAborted() { if (this.#aborted) throw this.#reason; }

  static abort(reason) {
    const signal = make();
    signal.#abort(reason);
    return signal;
  }

  static timeout(delay) {
    const signal = make();
    setTimeout(() => signal.#abort(new DOMException("The operation was aborted due to timeout", "TimeoutError")), delay);
    return signal;
  }

  static any(signals) {
    const any = make();
    for (const signal of signals) {
      if (signal.aborted) {
        any.#abort(signal.reason);
        return any;
      }
    }
    for (const signal of signals) signal.addEventListener("abort", () => any.#abort(signal.reason), { once: true });
    return any;
  }

  #abort(reason = new DOMException("This operation was aborted", "AbortError")) {
    if (this.#aborted) return;
    this.#aborted = true;
    this.#reason = reason;
    this.dispatchEvent(new Event("abort"));
  }

  static abortOf(signal, reason) { signal.#abort(reason); }
}
const { abortOf } = AbortSignal;
delete AbortSignal.abortOf;
handler(AbortSignal.prototype, "abort");

function make() {
  making = true;
  try {
    return new AbortSignal();
  } finally {
    making = false;
  }
}

class AbortController {
  #signal = make();

  get signal() { return this.#signal; }
  get [Symbol.toStringTag]() { return "AbortController"; }

  abort(reason) { abortOf(this.#signal, reason); }
}

for (const [name, code] of Object.entries(NAMES)) {
  const constant = `${name.replace(/Error$/, "").replace(/([a-z])([A-Z])/g, "$1_$2").toUpperCase()}_ERR`;
  Object.defineProperty(DOMException, constant, { value: code, enumerable: true });
}

module.exports = { DOMException, Event, CustomEvent, EventTarget, AbortController, AbortSignal };
