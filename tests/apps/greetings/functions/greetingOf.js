exports = (name) => `Hello, ${name}!`;

if (typeof module === "object") {
  module.exports = exports;
}
