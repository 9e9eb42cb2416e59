// Gives: AsyncLocalStorage and AsyncResource, on the value V8 carries from a promise to what waits for it. That value is
// one immutable Map of storage -> value for all storages; a change makes another Map.
//
// Absent: hooks. `createHook` gives one that never hears anything, which is what an idle program would see.

const { natives, portico } = internal;

const current = () => natives.continuation();

/** Runs `work` with another Map in place, and puts the old one back however it ends. */
function within(frame, work, self, values) {
  const before = current();
  natives.setContinuation(frame);
  try {
    return Reflect.apply(work, self, values);
  } finally {
    natives.setContinuation(before);
  }
}

/** What timers and other callbacks of the platform do, so that they run where they were set. */
portico.bindContinuation = (work) => {
  const frame = current();
  return frame === undefined ? work : (...values) => within(frame, work, undefined, values);
};

class AsyncLocalStorage {
  #enabled = true;

  static bind(work) { return AsyncResource.bind(work); }

  static snapshot() {
    const frame = current();
    return (work, ...values) => within(frame, work, undefined, values);
  }

  #with(value) { return new Map(current()).set(this, value); }

  getStore() { return this.#enabled ? current()?.get(this) : undefined; }

  run(value, work, ...values) {
    this.#enabled = true;
    return within(this.#with(value), work, undefined, values);
  }

  exit(work, ...values) { return within(this.#with(undefined), work, undefined, values); }

  enterWith(value) {
    this.#enabled = true;
    natives.setContinuation(this.#with(value));
  }

  disable() { this.#enabled = false; }
}

let lastId = 1;

class AsyncResource {
  #frame = current();
  #id = (lastId += 1);

  constructor(type) {
    if (typeof type !== "string") throw new TypeError('The "type" argument must be of type string');
    this.type = type;
    Object.defineProperty(this, "type", { enumerable: false });
  }

  static bind(work, type, self) { return new AsyncResource(type || work.name || "bound-anonymous-fn").bind(work, self); }

  bind(work, self) {
    if (typeof work !== "function") throw new TypeError('The "fn" argument must be of type function');
    const resource = this;
    function bound(...values) { return resource.runInAsyncScope(work, self ?? this, ...values); }
    Object.defineProperty(bound, "length", { configurable: true, value: work.length });
    return bound;
  }

  runInAsyncScope(work, self, ...values) { return within(this.#frame, work, self, values); }
  emitDestroy() { return this; }
  asyncId() { return this.#id; }
  triggerAsyncId() { return 1; }
}

class AsyncHook {
  enable() { return this; }
  disable() { return this; }
}

const resource = {};

module.exports = {
  AsyncLocalStorage,
  AsyncResource,
  asyncWrapProviders: Object.freeze(Object.create(null)),
  createHook: () => new AsyncHook(),
  executionAsyncId: () => 1,
  executionAsyncResource: () => resource,
  triggerAsyncId: () => 0,
};
