// Gives: Node's `diagnostics_channel`.

const { argType } = require("internal/errors");

const channels = new Map();

class Channel {
  #subscribers = [];
  #stores = new Map();

  constructor(name) { this.name = name; }

  static [Symbol.hasInstance](value) { return typeof value?.publish === "function" && typeof value.subscribe === "function"; }

  get hasSubscribers() { return this.#subscribers.length > 0 || this.#stores.size > 0; }

  subscribe(subscriber) {
    if (typeof subscriber !== "function") throw argType("subscription", "function", subscriber);
    this.#subscribers = [...this.#subscribers, subscriber];
  }

  unsubscribe(subscriber) {
    const at = this.#subscribers.indexOf(subscriber);
    if (at < 0) return false;
    this.#subscribers = this.#subscribers.filter((_, index) => index !== at);
    return true;
  }

  publish(message) {
    for (const subscriber of this.#subscribers) {
      try {
        subscriber(message, this.name);
      } catch (error) {
        console.error(error);
      }
    }
  }

  bindStore(store, transform = (message) => message) { this.#stores.set(store, transform); }
  unbindStore(store) { return this.#stores.delete(store); }

  runStores(message, work, self, ...values) {
    let run = () => {
      this.publish(message);
      return Reflect.apply(work, self, values);
    };
    for (const [store, transform] of this.#stores) {
      const inner = run;
      run = () => store.run(transform(message), inner);
    }
    return run();
  }
}

function channel(name) {
  if (typeof name !== "string" && typeof name !== "symbol") throw argType("channel", ["string", "symbol"], name);
  if (!channels.has(name)) channels.set(name, new Channel(name));
  return channels.get(name);
}

const EVENTS = ["start", "end", "asyncStart", "asyncEnd", "error"];

class TracingChannel {
  constructor(nameOrChannels) {
    for (const event of EVENTS) this[event] = typeof nameOrChannels === "string" ? channel(`tracing:${nameOrChannels}:${event}`) : nameOrChannels[event];
  }

  get hasSubscribers() { return EVENTS.some((event) => this[event]?.hasSubscribers); }
  subscribe(handlers) { for (const event of EVENTS) if (handlers[event]) this[event]?.subscribe(handlers[event]); }
  unsubscribe(handlers) { return EVENTS.every((event) => !handlers[event] || this[event]?.unsubscribe(handlers[event])); }

  traceSync(work, context = {}, self, ...values) {
    return this.start.runStores(context, () => {
      try {
        return (context.result = Reflect.apply(work, self, values));
      } catch (error) {
        context.error = error;
        this.error.publish(context);
        throw error;
      } finally {
        this.end.publish(context);
      }
    });
  }

  tracePromise(work, context = {}, self, ...values) {
    const ended = (key, value) => {
      context[key] = value;
      if (key === "error") this.error.publish(context);
      this.asyncStart.publish(context);
      this.asyncEnd.publish(context);
    };
    return this.start.runStores(context, () => {
      try {
        return Promise.resolve(Reflect.apply(work, self, values)).then(
          (result) => { ended("result", result); return result; },
          (error) => { ended("error", error); throw error; },
        );
      } finally {
        this.end.publish(context);
      }
    });
  }

  traceCallback(work, position = -1, context = {}, self, ...values) {
    const at = position < 0 ? values.length + position : position;
    const callback = values[at];
    values[at] = (...results) => {
      if (results[0]) {
        context.error = results[0];
        this.error.publish(context);
      } else {
        context.result = results[1];
      }
      this.asyncStart.runStores(context, () => {
        try {
          return Reflect.apply(callback, self, results);
        } finally {
          this.asyncEnd.publish(context);
        }
      });
    };
    return this.traceSync(work, context, self, ...values);
  }
}

module.exports = {
  channel,
  hasSubscribers: (name) => channels.get(name)?.hasSubscribers ?? false,
  subscribe: (name, subscriber) => channel(name).subscribe(subscriber),
  unsubscribe: (name, subscriber) => channel(name).unsubscribe(subscriber),
  tracingChannel: (nameOrChannels) => new TracingChannel(nameOrChannels),
  Channel,
};
