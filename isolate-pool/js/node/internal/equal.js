// Gives: deep equality the way `assert` and `util.isDeepStrictEqual` mean it.

const { types } = internal.natives;

const tagOf = (value) => Object.prototype.toString.call(value);
const looseSame = (left, right) => left == right || (left !== left && right !== right); // eslint-disable-line eqeqeq

function equal(left, right, strict, seen) {
  if (strict ? Object.is(left, right) : left === right) return true;
  const objects = typeof left === "object" && left !== null && typeof right === "object" && right !== null;
  if (!objects) {
    if (strict || typeof left === "object" || typeof right === "object" || typeof left === "function" || typeof right === "function") {
      return !strict && (left === null || typeof left !== "object") && (right === null || typeof right !== "object") && looseSame(left, right);
    }
    return looseSame(left, right);
  }
  if (strict && Object.getPrototypeOf(left) !== Object.getPrototypeOf(right)) return false;
  if (tagOf(left) !== tagOf(right)) return false;
  if (Array.isArray(left) !== Array.isArray(right)) return false;

  if (types.isDate(left)) {
    if (!types.isDate(right) || !Object.is(left.getTime(), right.getTime())) return false;
  } else if (types.isRegExp(left)) {
    if (!types.isRegExp(right) || `${left}` !== `${right}` || left.lastIndex !== right.lastIndex) return false;
  } else if (types.isNativeError(left) || left instanceof Error) {
    if (left.message !== right.message || left.name !== right.name) return false;
    if (!equal(left.cause, right.cause, strict, seen) || !equal(left.errors, right.errors, strict, seen)) return false;
  } else if (ArrayBuffer.isView(left)) {
    if (!ArrayBuffer.isView(right) || left.byteLength !== right.byteLength) return false;
    const numbers = types.isFloat32Array(left) || types.isFloat64Array(left);
    if (numbers) {
      for (let at = 0; at < left.length; at++) if (strict ? !Object.is(left[at], right[at]) : left[at] !== right[at]) return false;
    } else {
      const bytes = (view) => new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
      const [one, other] = [bytes(left), bytes(right)];
      for (let at = 0; at < one.length; at++) if (one[at] !== other[at]) return false;
    }
  } else if (types.isAnyArrayBuffer(left)) {
    return types.isAnyArrayBuffer(right) && equal(new Uint8Array(left), new Uint8Array(right), strict, seen);
  } else if (types.isBoxedPrimitive(left)) {
    if (!types.isBoxedPrimitive(right) || !Object.is(left.valueOf(), right.valueOf())) return false;
  }

  // Two things that contain themselves are equal when they do so at the same places.
  if (seen.get(left) === right) return true;
  seen.set(left, right);
  const same = contents(left, right, strict, seen);
  seen.delete(left);
  return same;
}

function keysOf(value, strict) {
  const keys = Object.keys(value);
  if (strict) for (const key of Object.getOwnPropertySymbols(value)) if (Object.prototype.propertyIsEnumerable.call(value, key)) keys.push(key);
  return keys;
}

function contents(left, right, strict, seen) {
  if (types.isSet(left) && (!types.isSet(right) || !setsEqual(left, right, strict, seen))) return false;
  if (types.isMap(left) && (!types.isMap(right) || !mapsEqual(left, right, strict, seen))) return false;
  if (Array.isArray(left) && left.length !== right.length) return false;
  if (ArrayBuffer.isView(left)) return true;
  const keys = keysOf(left, strict);
  if (keys.length !== keysOf(right, strict).length) return false;
  for (const key of keys) {
    if (!Object.prototype.propertyIsEnumerable.call(right, key)) return false;
    if (!equal(left[key], right[key], strict, seen)) return false;
  }
  return true;
}

function setsEqual(left, right, strict, seen) {
  if (left.size !== right.size) return false;
  const rest = [...right].filter((value) => !left.has(value));
  for (const value of left) {
    if (right.has(value)) continue;
    const at = rest.findIndex((other) => equal(value, other, strict, seen));
    if (at < 0) return false;
    rest.splice(at, 1);
  }
  return true;
}

function mapsEqual(left, right, strict, seen) {
  if (left.size !== right.size) return false;
  const rest = [...right.keys()].filter((key) => !left.has(key));
  for (const [key, value] of left) {
    if (right.has(key)) {
      if (!equal(value, right.get(key), strict, seen)) return false;
      continue;
    }
    const at = rest.findIndex((other) => equal(key, other, strict, seen) && equal(value, right.get(other), strict, seen));
    if (at < 0) return false;
    rest.splice(at, 1);
  }
  return true;
}

module.exports = {
  isDeepEqual: (left, right) => equal(left, right, false, new Map()),
  isDeepStrictEqual: (left, right) => equal(left, right, true, new Map()),
};
