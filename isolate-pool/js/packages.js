// Gives: `portico.requirePackage(name, fromFile)`, which loads an npm package when it is first required: all packages of an
// app are one script (the bundler made it), compiled at the first `require` of any and run once per isolate, each package
// on its own first `require`. Also `packageFrame`, which puts a stack's line into words of the package's own files.
//
// Absent: which file a name means. The script has a table of the names that can be required; nothing is looked up here.
(function (portico) {
  "use strict";
  const { Error } = portico.globals;
  const { ArrayPush, JSONParse, ObjectFreeze, StringIndexOf, StringSlice, StringStartsWith } =
    portico;

  /** What the script is called in stacks. Its frames are told apart by it. */
  const SCRIPT = "node_modules.js:";

  /** `{names: {name: load}, first: [name, …]}`, once something was required. */
  let packages;
  /** The script itself, for whoever keeps V8's code of it. */
  let script;
  /** From lines of the script to lines of files, once a stack was looked at. */
  let origins;

  function table() {
    if (packages !== undefined) return packages;
    script = portico.natives.packages();
    if (script === undefined) return undefined;
    const module = { exports: undefined };
    script(module, requireBuiltin, requireWithin, portico.shared, consoleOfPackages);
    packages = module.exports;
    return packages;
  }

  /** The package's exports. What a package's own top level threw is told as the platform always told it. */
  function requirePackage(name, fromFile) {
    const load = table()?.names[name];
    if (load === undefined) throw portico.moduleNotFound(name, fromFile);
    try {
      return portico.shared(load);
    } catch (error) {
      throw failed(error, name);
    }
  }

  function failed(error, name) {
    if (error === null || typeof error !== "object") return error;
    const message = `${error.message}`;
    if (StringStartsWith(message, "failed to execute source for '")) return error;
    const wrapped = portico.sourceFailed(fileOf(error.stack) ?? `node_modules/${name}`, `${error.name}: ${message}`);
    wrapped.cause = error;
    if (error.code !== undefined) wrapped.code = error.code;
    return wrapped;
  }

  function requireBuiltin(name) {
    const found = portico.builtin(name);
    if (found === undefined) throw portico.moduleNotFound(name, fileOf(new Error().stack) ?? "node_modules");
    return found;
  }

  /** The `require` of a package's file, for names that the bundler could not see. */
  function requireWithin(file) {
    function require(name) {
      const found = typeof name === "string" ? portico.builtin(name) : undefined;
      if (found !== undefined) return found;
      const load = packages?.names[name];
      if (load === undefined) throw portico.moduleNotFound(name, file);
      return load();
    }
    require.resolve = function resolve(name) {
      if (packages?.names[name] === undefined && portico.builtin(name) === undefined) {
        throw portico.moduleNotFound(name, file);
      }
      return name;
    };
    require.cache = { __proto__: null };
    require.extensions = { __proto__: null };
    require.main = undefined;
    return require;
  }

  /** Packages live longer than a call, so each line belongs to the call that runs when it is written. */
  const consoleOfPackages = { __proto__: null };
  for (const name of ["debug", "trace", "log", "dir", "info", "warn", "error"]) {
    consoleOfPackages[name] = (...values) => {
      new portico.Console(portico.natives.currentCall())[name](...values);
    };
  }
  for (const name of ["assert", "group", "groupCollapsed", "groupEnd", "table", "time", "timeEnd", "count"]) {
    consoleOfPackages[name] = () => {};
  }
  ObjectFreeze(consoleOfPackages);

  function readOrigins() {
    if (origins !== undefined) return origins;
    origins = { files: [], starts: [] };
    const text = portico.natives.packageLines();
    if (text === undefined) return origins;
    const [files, numbers] = JSONParse(text);
    let line = 0, first = 0;
    for (let index = 0; index < numbers.length; index += 3) {
      line += numbers[index];
      first += numbers[index + 2];
      ArrayPush(origins.starts, { line, file: files[numbers[index + 1]], first });
    }
    return origins;
  }

  /** `node_modules/a/index.js:12` for a line of the script. */
  function origin(line) {
    const { starts } = readOrigins();
    let low = 0, high = starts.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (starts[middle].line <= line) low = middle + 1;
      else high = middle;
    }
    const start = low === 0 ? undefined : starts[low - 1];
    if (start === undefined || start.file === "") return undefined; // between files
    return { file: start.file, line: start.first + (line - start.line) };
  }

  /** A stack's line in the script as a line in the package's file; undefined when it is none. */
  function packageFrame(text) {
    const at = StringIndexOf(text, SCRIPT);
    if (at < 0) return undefined;
    let end = at + SCRIPT.length, line = 0;
    for (let digit = text[end]; digit >= "0" && digit <= "9"; digit = text[++end]) line = line * 10 + (digit - 0);
    if (text[end] === ":") for (end++; text[end] >= "0" && text[end] <= "9"; end++);
    const found = origin(line);
    if (found === undefined) return undefined;
    return `${StringSlice(text, 0, at)}${found.file}:${found.line}${StringSlice(text, end)}`;
  }

  /** The first file of a package in a stack. */
  function fileOf(stack) {
    let rest = typeof stack === "string" ? stack : "";
    for (let at = StringIndexOf(rest, SCRIPT); at >= 0; at = StringIndexOf(rest, SCRIPT)) {
      rest = StringSlice(rest, at + SCRIPT.length);
      let line = 0;
      for (let end = 0; rest[end] >= "0" && rest[end] <= "9"; end++) line = line * 10 + (rest[end] - 0);
      const file = origin(line)?.file;
      if (file !== undefined) return file;
    }
    return undefined;
  }

  /**
   * Runs what functions require first, and gives the script, whose code is then worth keeping. What fails here fails again
   * where it counts.
   */
  function warmPackages() {
    const known = table();
    if (known === undefined) return undefined;
    for (const name of known.first) {
      try {
        portico.shared(known.names[name]);
      } catch {}
    }
    return script;
  }

  portico.requirePackage = requirePackage;
  portico.packageFrame = packageFrame;
  portico.warmPackages = warmPackages;
})(globalThis.__portico);
