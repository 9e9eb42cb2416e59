// Gives: the builtins the runtime relies on, taken before any tenant code runs, and the namespace all files share. A
// tenant may replace JSON.stringify or Promise.prototype.then; the runtime keeps answering correctly.
//
// Absent: natives. They arrive with boot() and live on the namespace, which the host takes off the global before tenant
// code is compiled. Every file is strict, so a stack trace cannot hand out its functions either.
(function () {
  "use strict";

  const { bind, call } = Function.prototype;
  /** Turns a method into a function that takes `this` first. */
  const uncurry = bind.bind(call);

  const portico = {
    __proto__: null,
    natives: undefined,

    /** Taken by name at the top of each file: a tenant may replace them, and a global costs a look-up each time. */
    globals: {
      ArrayBuffer, BigInt, Boolean, Date, Error, Map, Math, Number, Object, Promise, RangeError, RegExp, Set, String,
      TypeError, Uint8Array,
    },

    ArrayIncludes: uncurry(Array.prototype.includes),
    ArrayIsArray: Array.isArray,
    ArrayJoin: uncurry(Array.prototype.join),
    ArrayPush: uncurry(Array.prototype.push),
    ArraySlice: uncurry(Array.prototype.slice),
    BigIntAsIntN: BigInt.asIntN,
    BigIntAsUintN: BigInt.asUintN,
    DateGetTime: uncurry(Date.prototype.getTime),
    DateNow: Date.now,
    DateToISOString: uncurry(Date.prototype.toISOString),
    ErrorCapture: Error.captureStackTrace,
    JSONParse: JSON.parse,
    JSONRaw: JSON.rawJSON, // undefined before V8 11.4, where Long falls back to a plain number
    JSONStringify: JSON.stringify,
    MapForEach: uncurry(Map.prototype.forEach),
    MapGet: uncurry(Map.prototype.get),
    MapSet: uncurry(Map.prototype.set),
    NumberIsInteger: Number.isInteger,
    NumberIsSafeInteger: Number.isSafeInteger,
    ObjectAssign: Object.assign,
    ObjectDefine: Object.defineProperty,
    ObjectFreeze: Object.freeze,
    ObjectHasOwn: Object.hasOwn,
    ObjectKeys: Object.keys,
    ObjectPrototype: Object.prototype,
    ObjectPrototypeOf: Object.getPrototypeOf,
    PromiseReject: Promise.reject.bind(Promise),
    PromiseThen: uncurry(Promise.prototype.then),
    RegExpFlags: uncurry(Object.getOwnPropertyDescriptor(RegExp.prototype, "flags").get),
    RegExpSource: uncurry(Object.getOwnPropertyDescriptor(RegExp.prototype, "source").get),
    SetForEach: uncurry(Set.prototype.forEach),
    StringCharCode: uncurry(String.prototype.charCodeAt),
    StringFromCharCode: String.fromCharCode,
    StringIncludes: uncurry(String.prototype.includes),
    StringIndexOf: uncurry(String.prototype.indexOf),
    StringLower: uncurry(String.prototype.toLowerCase),
    StringSlice: uncurry(String.prototype.slice),
    StringSplit: uncurry(String.prototype.split),
    StringStartsWith: uncurry(String.prototype.startsWith),
    StringUpper: uncurry(String.prototype.toUpperCase),
    WeakMapGet: uncurry(WeakMap.prototype.get),
    WeakMapSet: uncurry(WeakMap.prototype.set),
    WeakSetAdd: uncurry(WeakSet.prototype.add),
    WeakSetHas: uncurry(WeakSet.prototype.has),

    /** Deepest nesting of a value that leaves a function. BSON documents may not be deeper either. */
    DEPTH_MAX: 100,
    /** Longest console line, UTF-16 units; the rest is cut and marked. One line must not fill a log. */
    CONSOLE_TEXT_MAX: 16 * 1024,
  };

  /**
   * Sets an own property whatever its name: `__proto__` is only a name here. Other names are assigned, which is several
   * times faster than defining them; a setter that a tenant put on Object.prototype sees only that tenant's own values.
   */
  portico.put = function put(object, key, value) {
    if (key !== "__proto__") {
      object[key] = value;
      return;
    }
    const descriptor = { __proto__: null, value, writable: true, enumerable: true, configurable: true };
    portico.ObjectDefine(object, key, descriptor);
  };

  /** A global the way the language defines its own: writable, configurable, not enumerable. */
  portico.publish = function publish(name, value) {
    const descriptor = { __proto__: null, value, writable: true, enumerable: false, configurable: true };
    portico.ObjectDefine(globalThis, name, descriptor);
  };

  /**
   * Runs code that belongs to no call, such as the top level of a package or a module of ours: the globals it sets are
   * set for every call, and those that the running call has set it does not see. Whatever `run` starts and does not
   * finish (a promise, a timer) is the running call's again.
   */
  portico.shared = function shared(run) {
    const share = portico.natives?.share;
    if (share === undefined) return run();
    share(true);
    try {
      return run();
    } finally {
      share(false);
    }
  };

  /** A global made when it is first read, by whichever call; from then on it is like any other. */
  portico.publishLazily = function publishLazily(name, make) {
    portico.ObjectDefine(globalThis, name, {
      __proto__: null,
      get() {
        return portico.shared(() => {
          const value = make();
          portico.publish(name, value);
          return value;
        });
      },
      // A call's own assignment does not come here: it is kept for that call.
      set(value) { portico.publish(name, value); },
      enumerable: false,
      configurable: true,
    });
  };

  portico.publish("__portico", portico);
})();
