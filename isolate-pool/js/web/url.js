// Gives: URL and URLSearchParams, as browsers have them. Parsing and setting are native; lists of parameters are here.
"use strict";
const { portico } = internal;

// What a parsed URL is: its parts, as the native gives them.
const HREF = 0, PROTOCOL = 1, USERNAME = 2, PASSWORD = 3, HOST = 4, HOSTNAME = 5, PORT = 6, PATHNAME = 7, SEARCH = 8,
  HASH = 9, ORIGIN = 10;

class URL {
  #parts;
  #params;

  constructor(url, base) {
    if (arguments.length === 0) throw new TypeError('The "url" argument must be specified');
    const parts = portico.natives.urlParse(`${url}`, base === undefined ? undefined : `${base}`);
    if (parts === undefined) throw invalid(url, base);
    this.#parts = parts;
  }

  static canParse(url, base) {
    return portico.natives.urlParse(`${url}`, base === undefined ? undefined : `${base}`) !== undefined;
  }

  static parse(url, base) { return URL.canParse(url, base) ? new URL(url, base) : null; }

  get href() { return this.#parts[HREF]; }
  set href(value) {
    const parts = portico.natives.urlParse(`${value}`);
    if (parts === undefined) throw invalid(value);
    this.#take(parts);
  }

  get origin() { return this.#parts[ORIGIN]; }
  get protocol() { return this.#parts[PROTOCOL]; }
  set protocol(value) { this.#set(PROTOCOL, value); }
  get username() { return this.#parts[USERNAME]; }
  set username(value) { this.#set(USERNAME, value); }
  get password() { return this.#parts[PASSWORD]; }
  set password(value) { this.#set(PASSWORD, value); }
  get host() { return this.#parts[HOST]; }
  set host(value) { this.#set(HOST, value); }
  get hostname() { return this.#parts[HOSTNAME]; }
  set hostname(value) { this.#set(HOSTNAME, value); }
  get port() { return this.#parts[PORT]; }
  set port(value) { this.#set(PORT, value); }
  get pathname() { return this.#parts[PATHNAME]; }
  set pathname(value) { this.#set(PATHNAME, value); }
  get search() { return this.#parts[SEARCH]; }
  set search(value) { this.#set(SEARCH, value); }
  get hash() { return this.#parts[HASH]; }
  set hash(value) { this.#set(HASH, value); }

  get searchParams() {
    if (this.#params === undefined) {
      this.#params = new URLSearchParams(this.#parts[SEARCH]);
      listen(this.#params, (text) => {
        this.#parts = portico.natives.urlSet(this.#parts[HREF], SEARCH, text) ?? this.#parts;
      });
    }
    return this.#params;
  }

  toString() { return this.#parts[HREF]; }
  toJSON() { return this.#parts[HREF]; }
  get [Symbol.toStringTag]() { return "URL"; }

  [Symbol.for("nodejs.util.inspect.custom")](_depth, options, inspect) {
    const { href, origin, protocol, username, password, host, hostname, port, pathname, search, searchParams, hash } = this;
    const shown = { href, origin, protocol, username, password, host, hostname, port, pathname, search, searchParams, hash };
    return `URL ${typeof inspect === "function" ? inspect(shown, options) : JSON.stringify(shown)}`;
  }

  #set(part, value) {
    const parts = portico.natives.urlSet(this.#parts[HREF], part, `${value}`);
    if (parts !== undefined) this.#take(parts);
  }

  #take(parts) {
    this.#parts = parts;
    if (this.#params !== undefined) replace(this.#params, parse(parts[SEARCH]));
  }
}

function invalid(input, base) {
  const error = new TypeError("Invalid URL");
  error.code = "ERR_INVALID_URL";
  error.input = `${input}`;
  if (base !== undefined) error.base = `${base}`;
  return error;
}

class URLSearchParams {
  #list;
  #changed;

  constructor(init) {
    if (init === undefined || init === null) this.#list = [];
    else if (typeof init === "object" || typeof init === "function") this.#list = listOf(init);
    else this.#list = parse(`${init}`);
  }

  get size() { return this.#list.length; }

  append(name, value) {
    this.#list.push([wellFormed(name), wellFormed(value)]);
    this.#tell();
  }

  delete(name, value) {
    const wanted = `${name}`;
    this.#list = this.#list.filter(([key, other]) => key !== wanted || (value !== undefined && other !== `${value}`));
    this.#tell();
  }

  get(name) {
    const wanted = `${name}`;
    for (const [key, value] of this.#list) if (key === wanted) return value;
    return null;
  }

  getAll(name) {
    const wanted = `${name}`;
    return this.#list.filter(([key]) => key === wanted).map(([, value]) => value);
  }

  has(name, value) {
    const wanted = `${name}`;
    return this.#list.some(([key, other]) => key === wanted && (value === undefined || other === `${value}`));
  }

  set(name, value) {
    const key = wellFormed(name);
    const at = this.#list.findIndex(([other]) => other === key);
    if (at < 0) {
      this.#list.push([key, wellFormed(value)]);
    } else {
      this.#list[at] = [key, wellFormed(value)];
      this.#list = this.#list.filter(([other], index) => index <= at || other !== key);
    }
    this.#tell();
  }

  sort() {
    this.#list.sort(([left], [right]) => (left < right ? -1 : left > right ? 1 : 0));
    this.#tell();
  }

  forEach(callback, self) {
    for (const [key, value] of this) callback.call(self, value, key, this);
  }

  *entries() { for (let index = 0; index < this.#list.length; index++) yield [...this.#list[index]]; }
  *keys() { for (let index = 0; index < this.#list.length; index++) yield this.#list[index][0]; }
  *values() { for (let index = 0; index < this.#list.length; index++) yield this.#list[index][1]; }
  [Symbol.iterator]() { return this.entries(); }

  toString() { return this.#list.map(([key, value]) => `${encode(key)}=${encode(value)}`).join("&"); }
  get [Symbol.toStringTag]() { return "URLSearchParams"; }

  [Symbol.for("nodejs.util.inspect.custom")]() {
    return `URLSearchParams { ${this.#list.map(([key, value]) => `${JSON.stringify(key)} => ${JSON.stringify(value)}`).join(", ")} }`;
  }

  #tell() { this.#changed?.(this.toString()); }

  static listen(params, changed) { params.#changed = changed; }
  static replace(params, list) { params.#list = list; }
}
const { listen, replace } = URLSearchParams;
delete URLSearchParams.listen;
delete URLSearchParams.replace;

const wellFormed = (value) => `${value}`.toWellFormed();

function listOf(init) {
  const list = [];
  if (typeof init[Symbol.iterator] === "function") {
    for (const pair of init) {
      const [name, value, ...more] = [...pair];
      if (value === undefined || more.length > 0) {
        throw new TypeError("Each query pair must be an iterable [name, value] tuple");
      }
      list.push([wellFormed(name), wellFormed(value)]);
    }
    return list;
  }
  for (const name of Reflect.ownKeys(init)) {
    if (typeof name === "string" && Object.prototype.propertyIsEnumerable.call(init, name)) {
      list.push([wellFormed(name), wellFormed(init[name])]);
    }
  }
  return list;
}

function parse(text) {
  const list = [];
  const query = text.startsWith("?") ? text.slice(1) : text;
  if (query === "") return list;
  for (const pair of query.split("&")) {
    if (pair === "") continue;
    const equals = pair.indexOf("=");
    if (equals < 0) list.push([decode(pair), ""]);
    else list.push([decode(pair.slice(0, equals)), decode(pair.slice(equals + 1))]);
  }
  return list;
}

function decode(text) {
  const spaced = text.includes("+") ? text.replaceAll("+", " ") : text;
  if (!spaced.includes("%")) return spaced;
  try {
    return decodeURIComponent(spaced);
  } catch {
    // Not all of it is percent-encoded UTF-8: what is, is decoded, the rest stays or becomes U+FFFD.
    const bytes = portico.natives.utf8Encode(spaced);
    const out = [];
    for (let index = 0; index < bytes.length; index++) {
      const pair = bytes[index] === 37 ? String.fromCharCode(bytes[index + 1], bytes[index + 2]) : "";
      if (/^[0-9a-fA-F]{2}$/.test(pair)) {
        out.push(parseInt(pair, 16));
        index += 2;
      } else {
        out.push(bytes[index]);
      }
    }
    return portico.natives.utf8Decode(Uint8Array.from(out));
  }
}

const LEFT_ALONE = { "!": "%21", "'": "%27", "(": "%28", ")": "%29", "~": "%7E", "%20": "+" };

function encode(text) {
  return encodeURIComponent(text.toWellFormed()).replace(/[!'()~]|%20/g, (found) => LEFT_ALONE[found]);
}

module.exports = { URL, URLSearchParams };
