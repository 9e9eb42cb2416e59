// Gives: Node's `path`, both styles. Functions run on a POSIX system, so `path` itself is `path.posix`.
//
// One implementation serves both: a path is its root (`/`, `C:\`, `\\host\share\`, or nothing) and names between separators.

const { argType, mustBe, unavailable } = require("internal/errors");

const mustBeText = (value, name) => mustBe("string", name, value);

/** Names with `.` and `..` worked out; `..` above the start is kept unless there is a root. */
function tidy(names, rooted) {
  const kept = [];
  for (const name of names) {
    if (name === "" || name === ".") continue;
    if (name !== "..") kept.push(name);
    else if (kept.length > 0 && kept[kept.length - 1] !== "..") kept.pop();
    else if (!rooted) kept.push("..");
  }
  return kept;
}

function styleOf({ sep, delimiter, separators, rootOf, cwd, sameName }) {
  const isSeparator = (character) => separators.includes(character);
  const split = (path) => {
    const names = [];
    let start = 0;
    for (let at = 0; at <= path.length; at++) {
      if (at < path.length && !isSeparator(path[at])) continue;
      names.push(path.slice(start, at));
      start = at + 1;
    }
    return names;
  };
  const endsOpen = (path) => path !== "" && isSeparator(path[path.length - 1]);

  function normalize(path) {
    mustBeText(path, "path");
    if (path === "") return ".";
    const root = rootOf(path);
    const rest = path.slice(root.length);
    const absolute = endsOpen(root);
    let text = tidy(split(rest), absolute).join(sep);
    if (text === "" && !absolute) text = ".";
    if (text !== "" && endsOpen(rest)) text += sep;
    return split(root).join(sep) + text;
  }

  function isAbsolute(path) {
    mustBeText(path, "path");
    return endsOpen(rootOf(path));
  }

  function join(...parts) {
    for (const part of parts) mustBeText(part, "path");
    const joined = parts.filter((part) => part !== "").join(sep);
    return joined === "" ? "." : normalize(joined);
  }

  function resolve(...parts) {
    let device = "";
    let absolute = false;
    let tail = "";
    for (let at = parts.length - 1; at >= -1 && !(absolute && (device !== "" || sep === "/")); at--) {
      const part = at < 0 ? cwd : parts[at];
      mustBeText(part, `paths[${at}]`);
      if (part === "") continue;
      const root = rootOf(part);
      const ownDevice = endsOpen(root) ? root.slice(0, -1) : root;
      if (ownDevice !== "" && device !== "" && !sameName(ownDevice, device)) continue;
      if (device === "") device = ownDevice;
      if (absolute) continue;
      tail = `${part.slice(root.length)}${sep}${tail}`;
      absolute = endsOpen(root);
    }
    const names = tidy(split(tail), absolute).join(sep);
    return device + (absolute || device !== "" ? sep : "") + names || ".";
  }

  function relative(from, to) {
    mustBeText(from, "from");
    mustBeText(to, "to");
    const start = resolve(from);
    const end = resolve(to);
    if (sameName(start, end)) return "";
    const [startRoot, endRoot] = [rootOf(start), rootOf(end)];
    if (!sameName(startRoot, endRoot)) return end;
    const names = (path, root) => split(path.slice(root.length)).filter((name) => name !== "");
    const [left, right] = [names(start, startRoot), names(end, endRoot)];
    let same = 0;
    while (same < left.length && same < right.length && sameName(left[same], right[same])) same += 1;
    return [...Array(left.length - same).fill(".."), ...right.slice(same)].join(sep);
  }

  /** Where the last name begins and ends; separators behind it do not count. */
  function lastName(path) {
    const root = rootOf(path).length;
    let end = path.length;
    while (end > root && isSeparator(path[end - 1])) end -= 1;
    let start = end;
    while (start > root && !isSeparator(path[start - 1])) start -= 1;
    return { root, start, end };
  }

  function dirname(path) {
    mustBeText(path, "path");
    const { root, start } = lastName(path);
    if (start <= root) return root === 0 ? "." : path.slice(0, root);
    // Only the separator before the name goes; `//name` is in `//`, which POSIX leaves to the system.
    return sep === "/" && root === 1 && start === 2 ? "//" : path.slice(0, start - 1);
  }

  function basename(path, suffix) {
    mustBeText(path, "path");
    if (suffix !== undefined) mustBeText(suffix, "suffix");
    const { start, end } = lastName(path);
    const name = path.slice(start, end);
    return suffix && name !== suffix && name.endsWith(suffix) ? name.slice(0, -suffix.length) : name;
  }

  function extname(path) {
    mustBeText(path, "path");
    const { start, end } = lastName(path);
    const name = path.slice(start, end);
    const dot = name.lastIndexOf(".");
    return dot <= 0 || name === ".." ? "" : name.slice(dot);
  }

  function parse(path) {
    mustBeText(path, "path");
    const { root, start, end } = lastName(path);
    const base = path.slice(start, end);
    const ext = extname(path);
    const dir = path.slice(0, start > root ? start - 1 : root);
    return { root: path.slice(0, root), dir, base, ext, name: base.slice(0, base.length - ext.length) };
  }

  function format(parts) {
    if (parts === null || typeof parts !== "object") throw argType("pathObject", "Object", parts);
    const dir = parts.dir || parts.root;
    const ext = parts.ext ? `${parts.ext[0] === "." ? "" : "."}${parts.ext}` : "";
    const base = parts.base || `${parts.name || ""}${ext}`;
    if (!dir) return base;
    return dir === parts.root ? `${dir}${base}` : `${dir}${sep}${base}`;
  }

  function matchesGlob() {
    throw unavailable("path.matchesGlob");
  }

  return {
    resolve, normalize, isAbsolute, join, relative, dirname, basename, extname, format, parse, matchesGlob, sep, delimiter,
    toNamespacedPath: (path) => path,
  };
}

const posix = styleOf({
  sep: "/", delimiter: ":", separators: "/", cwd: "/",
  rootOf: (path) => (path[0] === "/" ? "/" : ""),
  sameName: (left, right) => left === right,
});

const win32 = styleOf({
  sep: "\\", delimiter: ";", separators: "/\\", cwd: "C:\\",
  rootOf: (path) => /^(?:[a-zA-Z]:[/\\]?|[/\\]{2}[^/\\]+[/\\]+[^/\\]+[/\\]*|[/\\])/.exec(path)?.[0] ?? "",
  sameName: (left, right) => left.toLowerCase() === right.toLowerCase(),
});

posix.posix = win32.posix = posix;
posix.win32 = win32.win32 = win32;
posix._makeLong = posix.toNamespacedPath;
win32._makeLong = win32.toNamespacedPath;
module.exports = posix;
