// Gives: modules that load, because packages require them without using them, and whose functions say when they are used
// that a function on this platform has no such thing.

const { unavailable } = require("internal/errors");

module.exports = function withRefusals(target, { functions = "", classes = "", values = {} }) {
  const exported = target.exports;
  for (const name of functions.split(" ")) if (name !== "") exported[name] = refusing(target.id, name);
  for (const name of classes.split(" ")) if (name !== "") exported[name] = refusing(target.id, name);
  Object.assign(exported, values);
  exported.default = exported;
};

function refusing(id, name) {
  const refuse = {
    [name]: function () {
      throw unavailable(`${id}.${name}`, "they have no processes, threads or terminals");
    },
  }[name];
  return refuse;
}
