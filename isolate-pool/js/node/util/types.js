// Gives: `util.types`: what V8 itself says a value is.

const { types } = internal.natives;
const tag = (name) => {
  const get = Object.getOwnPropertyDescriptor(Object.getPrototypeOf(Uint8Array.prototype), Symbol.toStringTag).get;
  return (value) => ArrayBuffer.isView(value) && get.call(value) === name;
};

module.exports = {
  ...types,
  isArrayBufferView: ArrayBuffer.isView,
  isFloat16Array: tag("Float16Array"),
  isCryptoKey: (value) => value instanceof require("crypto").webcrypto.CryptoKey,
  isKeyObject: (value) => value instanceof require("crypto").KeyObject,
};
