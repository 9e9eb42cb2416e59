// Gives: structuredClone for what JavaScript itself defines, for BSON values, and for Blobs by reference. What cannot be
// cloned is named.
"use strict";
const { portico } = internal;
const { DOMException } = require("internal/web/events");

const ERRORS = { EvalError, RangeError, ReferenceError, SyntaxError, TypeError, URIError };

function structuredClone(value, options) {
  if (arguments.length === 0) throw new TypeError("structuredClone needs a value");
  const transferred = new Map();
  for (const buffer of options?.transfer ?? []) {
    if (!(buffer instanceof ArrayBuffer)) throw failed(buffer);
    if (transferred.has(buffer)) throw new DOMException("An ArrayBuffer is listed twice", "DataCloneError");
    transferred.set(buffer, undefined);
  }
  for (const buffer of transferred.keys()) transferred.set(buffer, buffer.transfer());
  return clone(value, transferred);
}

function failed(value) {
  const what = typeof value === "function" ? `${value.name || "a function"}` : String(value?.constructor?.name ?? typeof value);
  return new DOMException(`${what} could not be cloned.`, "DataCloneError");
}

function clone(value, seen) {
  if (typeof value === "symbol" || typeof value === "function") throw failed(value);
  if (typeof value !== "object" || value === null) return value;
  if (seen.has(value)) return seen.get(value);
  const keep = (made) => {
    seen.set(value, made);
    return made;
  };
  const tag = Object.prototype.toString.call(value).slice(8, -1);
  if (Array.isArray(value)) {
    const made = keep(new Array(value.length));
    for (const key of Object.keys(value)) made[key] = clone(value[key], seen);
    return made;
  }
  if (value instanceof Date) return keep(new Date(value.getTime()));
  if (value instanceof RegExp) return keep(new RegExp(value.source, value.flags));
  if (value instanceof Boolean || value instanceof Number || value instanceof String || value instanceof BigInt) {
    return keep(Object(value.valueOf()));
  }
  if (value instanceof ArrayBuffer) return keep(value.slice(0));
  if (ArrayBuffer.isView(value)) {
    const buffer = clone(value.buffer, seen);
    const Constructor = value instanceof DataView ? DataView : globalThis[tag];
    const length = value instanceof DataView ? value.byteLength : value.length;
    return keep(new Constructor(buffer, value.byteOffset, length));
  }
  if (value instanceof Map) {
    const made = keep(new Map());
    for (const [key, one] of [...value]) made.set(clone(key, seen), clone(one, seen));
    return made;
  }
  if (value instanceof Set) {
    const made = keep(new Set());
    for (const one of [...value]) made.add(clone(one, seen));
    return made;
  }
  if (value instanceof DOMException) return keep(new DOMException(value.message, value.name));
  if (value instanceof Error) {
    const Constructor = ERRORS[value.name] ?? Error;
    const made = keep(Object.create(Constructor.prototype));
    for (const name of ["stack", "message"]) {
      if (typeof value[name] !== "string") continue;
      Object.defineProperty(made, name, { value: value[name], writable: true, configurable: true, enumerable: false });
    }
    if ("cause" in value) {
      const cause = clone(value.cause, seen);
      Object.defineProperty(made, "cause", { value: cause, writable: true, configurable: true, enumerable: false });
    }
    return made;
  }
  if (tag === "Blob" || tag === "File") return value;
  if (value instanceof Promise || value instanceof WeakMap || value instanceof WeakSet || value instanceof WeakRef) {
    throw failed(value);
  }
  const made = keep(value[portico.kind] === undefined ? {} : Object.create(Object.getPrototypeOf(value)));
  for (const key of Object.keys(value)) {
    Object.defineProperty(made, key, { value: clone(value[key], seen), writable: true, configurable: true, enumerable: true });
  }
  return made;
}

module.exports = { structuredClone };
