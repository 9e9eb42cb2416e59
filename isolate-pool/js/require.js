// Gives: `require` as a function sees it, and `portico.builtin(name)`, which runs a built-in module of Node when it is first
// asked for: none of them is part of the snapshot, so a function that needs none pays for none. Also the globals that live
// in those modules, each made when it is first read.
//
// Absent: npm packages. A bundle that has some publishes `portico.requirePackage(name, fromFile)`, which gives the package's
// exports or throws `portico.moduleNotFound(name, fromFile)`.
(function (portico) {
  "use strict";
  const { ObjectAssign, ObjectFreeze, StringSlice, StringStartsWith, fail, publish, publishLazily } = portico;

  /** Modules by name, as far as they were asked for. They live as long as the isolate, like Node's live with the process. */
  const modules = { __proto__: null };
  let natives;
  /** What our own modules may use beside the language. Never handed on: natives act for whom they are told to. */
  const internal = {
    __proto__: null,
    portico,
    get natives() { return (natives ??= ObjectAssign({ __proto__: null }, portico.natives, portico.natives.node())); },
  };

  /** The exports of a built-in module, or undefined when Node has none of that name. `node:` in front is optional. */
  function builtin(name) {
    const bare = StringStartsWith(name, "node:") ? StringSlice(name, 5) : name;
    if (StringStartsWith(bare, "internal/")) return undefined;
    return load(bare)?.exports;
  }

  /** `internal/…` are pieces that only built-in modules see. Those of others (`internal/vendor/…`) get no natives. */
  function load(name) {
    const known = modules[name];
    if (known !== undefined) return known;
    const factory = portico.natives.module(name);
    if (factory === undefined) return undefined;
    const module = { exports: {}, id: name, filename: `node:${name}`, loaded: false };
    modules[name] = module;
    const vendored = StringStartsWith(name, "internal/vendor/");
    try {
      portico.shared(() => {
        factory(module.exports, requireInside, module, module.filename, vendored ? undefined : internal);
      });
    } catch (error) {
      delete modules[name];
      throw error;
    }
    module.loaded = true;
    portico.natives.moduleRan(name, factory);
    return module;
  }

  function requireInside(name) {
    const module = load(StringStartsWith(name, "node:") ? StringSlice(name, 5) : name);
    if (module === undefined) throw moduleNotFound(name, "node");
    return module.exports;
  }

  /** Packages look for the code; people look for the words. */
  function moduleNotFound(name, fromFile) {
    const error = sourceFailed(fromFile, `Cannot find module '${name}'`);
    error.code = "MODULE_NOT_FOUND";
    error.requireStack = [fromFile];
    return error;
  }

  /** The error of a file that could not be run: which file, and why. */
  function sourceFailed(file, why) {
    return fail("FunctionExecutionError", `failed to execute source for '${file}': FunctionError: ${why}`);
  }

  /** What `require(name)` gives in the file `fromFile`. */
  function requireFrom(name, fromFile) {
    if (typeof name !== "string" || name === "") {
      throw fail("InvalidParameter", `require needs the name of a module, but got ${portico.shown(name)}`);
    }
    const found = builtin(name);
    if (found !== undefined) return found;
    if (StringStartsWith(name, "./") || StringStartsWith(name, "../") || StringStartsWith(name, "/")) {
      const advice = "a function cannot require files of the app: call other functions with context.functions.execute()";
      throw sourceFailed(fromFile, `Cannot find module '${name}' (${advice})`);
    }
    if (portico.requirePackage !== undefined) return portico.requirePackage(name, fromFile);
    throw moduleNotFound(name, fromFile);
  }

  /** By function name. Frozen, since all calls share them. */
  const requires = { __proto__: null };

  /** The `require` of a function's file. */
  function requireFor(functionName) {
    return (requires[functionName] ??= makeRequire(`functions/${functionName}.js`));
  }

  function makeRequire(file) {
    function require(name) { return requireFrom(name, file); }
    require.resolve = function resolve(name) {
      requireFrom(name, file);
      return name;
    };
    require.cache = { __proto__: null };
    require.main = undefined;
    ObjectFreeze(require.resolve);
    return ObjectFreeze(require);
  }

  publish("global", globalThis);
  publishLazily("Buffer", () => builtin("buffer").Buffer);
  publishLazily("process", () => builtin("process"));
  publishLazily("crypto", () => builtin("crypto").webcrypto);
  publishLazily("performance", () => builtin("perf_hooks").performance);
  publishLazily("console", () => builtin("console"));
  for (const name of ["BroadcastChannel", "MessageChannel", "MessageEvent", "MessagePort"]) {
    publishLazily(name, () => portico.internalModule("internal/messages")[name]);
  }
  publishLazily("utils", () => portico.internalModule("internal/utils"));

  /** A module of ours that is none of Node's, for the runtime itself. It belongs to no call. */
  portico.internalModule = function internalModule(name) { return portico.shared(() => requireInside(name)); };
  portico.builtin = builtin;
  portico.requireFrom = requireFrom;
  portico.requireFor = requireFor;
  portico.moduleNotFound = moduleNotFound;
  portico.sourceFailed = sourceFailed;
})(globalThis.__portico);
