// Gives: MessageChannel, MessagePort, BroadcastChannel and MessageEvent within one thread: what is posted on one port is
// copied and arrives at the other after the running piece of code.
//
// Absent: transferring. What is transferred elsewhere is copied here.

class MessageEvent extends Event {
  #init;

  constructor(type, init = {}) {
    super(type, init);
    this.#init = init;
  }

  get data() { return this.#init.data ?? null; }
  get origin() { return this.#init.origin ?? ""; }
  get lastEventId() { return this.#init.lastEventId ?? ""; }
  get source() { return this.#init.source ?? null; }
  get ports() { return this.#init.ports ?? []; }
}

const kOther = Symbol("kOther");

class MessagePort extends EventTarget {
  #started = false;
  #closed = false;
  #waiting = [];
  #handler = null;

  get onmessage() { return this.#handler; }
  set onmessage(handler) {
    if (this.#handler !== null) this.removeEventListener("message", this.#handler);
    this.#handler = handler;
    if (typeof handler === "function") this.addEventListener("message", handler);
    this.start();
  }

  postMessage(message) {
    const data = structuredClone(message);
    this[kOther]?.deliver(data);
  }

  deliver(data) {
    if (this.#closed) return;
    if (!this.#started) this.#waiting.push(data);
    else setImmediate(() => { if (!this.#closed) this.dispatchEvent(new MessageEvent("message", { data })); });
  }

  start() {
    this.#started = true;
    for (const data of this.#waiting.splice(0)) this.deliver(data);
  }

  close() {
    if (this.#closed) return;
    this.#closed = true;
    const other = this[kOther];
    this[kOther] = undefined;
    setImmediate(() => { this.dispatchEvent(new Event("close")); });
    other?.close();
  }

  /** Node's ports are emitters as well. */
  on(event, listener) {
    this.addEventListener(event, (heard) => listener(event === "message" ? heard.data : heard));
    if (event === "message") this.start();
    return this;
  }

  once(event, listener) {
    this.addEventListener(event, (heard) => listener(event === "message" ? heard.data : heard), { once: true });
    if (event === "message") this.start();
    return this;
  }

  ref() {}
  unref() {}
}

class MessageChannel {
  constructor() {
    this.port1 = new MessagePort();
    this.port2 = new MessagePort();
    this.port1[kOther] = this.port2;
    this.port2[kOther] = this.port1;
  }
}

const channels = new Map();

class BroadcastChannel extends EventTarget {
  #closed = false;

  constructor(name) {
    super();
    this.name = `${name}`;
    this.onmessage = null;
    if (!channels.has(this.name)) channels.set(this.name, new Set());
    channels.get(this.name).add(this);
  }

  postMessage(message) {
    if (this.#closed) throw new DOMException("BroadcastChannel is closed", "InvalidStateError");
    for (const other of channels.get(this.name)) {
      if (other === this) continue;
      const event = new MessageEvent("message", { data: structuredClone(message) });
      setImmediate(() => {
        if (typeof other.onmessage === "function") other.onmessage(event);
        other.dispatchEvent(event);
      });
    }
  }

  close() {
    this.#closed = true;
    channels.get(this.name)?.delete(this);
  }

  ref() { return this; }
  unref() { return this; }
}

module.exports = { BroadcastChannel, MessageChannel, MessageEvent, MessagePort };
