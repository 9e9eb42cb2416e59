// Gives: Node's `dns`: addresses as connections see them, and records of the name service. Addresses that functions may not
// reach are not given away.
"use strict";
const { LOOKUP, ask } = require("internal/web/ask");
const { isIP } = require("internal/addresses");

const RECORDS = ["A", "AAAA", "CNAME", "MX", "NS", "PTR", "SOA", "SRV", "TXT"];

const CODES = {
  NODATA: "ENODATA", FORMERR: "EFORMERR", SERVFAIL: "ESERVFAIL", NOTFOUND: "ENOTFOUND", NOTIMP: "ENOTIMP",
  REFUSED: "EREFUSED", BADQUERY: "EBADQUERY", BADNAME: "EBADNAME", BADFAMILY: "EBADFAMILY", BADRESP: "EBADRESP",
  CONNREFUSED: "ECONNREFUSED", TIMEOUT: "ETIMEOUT", EOF: "EOF", FILE: "EFILE", NOMEM: "ENOMEM",
  DESTRUCTION: "EDESTRUCTION", BADSTR: "EBADSTR", BADFLAGS: "EBADFLAGS", NONAME: "ENONAME", BADHINTS: "EBADHINTS",
  NOTINITIALIZED: "ENOTINITIALIZED", LOADIPHLPAPI: "ELOADIPHLPAPI", ADDRGETNETWORKPARAMS: "EADDRGETNETWORKPARAMS",
  CANCELLED: "ECANCELLED",
};

async function records(name, type) {
  if (typeof name !== "string") throw invalid("name", "of type string", name);
  try {
    return (await ask(LOOKUP, { name, type })).records;
  } catch (error) {
    error.hostname = name;
    throw error;
  }
}

function invalid(argument, must, value) {
  const error = new TypeError(`The "${argument}" argument must be ${must}. Received ${String(value)}`);
  error.code = "ERR_INVALID_ARG_TYPE";
  return error;
}

async function lookup(hostname, options) {
  const { family = 0, all = false, order, verbatim } = typeof options === "number" ? { family: options } : (options ?? {});
  const wanted = family === "IPv4" ? 4 : family === "IPv6" ? 6 : Number(family);
  const own = isIP(`${hostname}`);
  const addresses = own !== 0 ? [hostname] : await records(hostname, "ADDRESS");
  const found = addresses.map((address) => ({ address, family: isIP(address) })).filter((one) => wanted === 0 || one.family === wanted);
  if (order === "ipv4first" || verbatim === false) found.sort((left, right) => left.family - right.family);
  if (found.length === 0) {
    const error = new Error(`getaddrinfo ENOTFOUND ${hostname}`);
    throw Object.assign(error, { code: "ENOTFOUND", syscall: "getaddrinfo", hostname });
  }
  return all ? found : found[0];
}

async function resolve(hostname, type = "A") {
  if (typeof type !== "string" || !RECORDS.includes(type)) {
    const error = new TypeError(`The argument 'rrtype' must be one of: ${RECORDS.join(", ")}. Received '${String(type)}'`);
    error.code = "ERR_INVALID_ARG_VALUE";
    throw error;
  }
  const found = await records(hostname, type);
  return type === "SOA" ? found[0] : found;
}

function reverseName(address) {
  if (isIP(address) === 4) return `${address.split(".").reverse().join(".")}.in-addr.arpa`;
  if (isIP(address) !== 6) throw Object.assign(new Error(`getHostByAddr EINVAL ${address}`), { code: "EINVAL", syscall: "getHostByAddr" });
  const [head, tail] = address.split("%", 1)[0].split("::");
  const groups = (part) => (part ? part.split(":") : []);
  const before = groups(head), after = groups(tail);
  const zeros = new Array(tail === undefined ? 0 : 8 - before.length - after.length).fill("0");
  const digits = [...before, ...zeros, ...after].map((group) => group.padStart(4, "0")).join("");
  return `${digits.split("").reverse().join(".")}.ip6.arpa`;
}

async function reverse(address) { return records(reverseName(`${address}`), "PTR"); }

const addressesOnly = (type) => async (hostname, options) => {
  const found = await resolve(hostname, type);
  return options?.ttl === true ? found.map((address) => ({ address, ttl: 0 })) : found;
};

const methods = {
  lookup, resolve, reverse,
  resolve4: addressesOnly("A"),
  resolve6: addressesOnly("AAAA"),
};
for (const type of RECORDS.slice(2)) {
  methods[`resolve${type[0]}${type.slice(1).toLowerCase()}`] = (hostname) => resolve(hostname, type);
}

/** The callback form. `lookup` gives its two values apart. */
function called(name, work) {
  return function (...values) {
    const callback = values.pop();
    if (typeof callback !== "function") throw invalid("callback", "of type function", callback);
    work(...values).then(
      (found) => {
        if (name === "lookup" && !Array.isArray(found)) callback(null, found.address, found.family);
        else callback(null, found);
      },
      (error) => callback(error),
    );
  };
}

const notSettable = () => {
  const error = new Error("the name servers are the platform's and cannot be set by functions");
  error.code = "ERR_NOT_AVAILABLE";
  throw error;
};

class PromisesResolver {
  cancel() {}
  getServers() { return []; }
  setServers() { notSettable(); }
  setLocalAddress() {}
}

class Resolver extends PromisesResolver {}

const promises = {
  ...methods, ...CODES, Resolver: PromisesResolver,
  getServers: () => [], setServers: notSettable,
  getDefaultResultOrder: () => "verbatim", setDefaultResultOrder() {},
};
const callbacks = {};
for (const name of Object.keys(methods)) {
  callbacks[name] = called(name, methods[name]);
  if (name === "lookup") continue;
  Object.defineProperty(PromisesResolver.prototype, name, { value: methods[name], writable: true, configurable: true });
  Object.defineProperty(Resolver.prototype, name, { value: callbacks[name], writable: true, configurable: true });
}
Object.defineProperty(callbacks.lookup, Symbol.for("nodejs.util.promisify.custom"), { value: lookup });

module.exports = {
  ...callbacks, ...CODES, Resolver, promises,
  ADDRCONFIG: 32, ALL: 16, V4MAPPED: 8,
  getServers: () => [], setServers: notSettable,
  getDefaultResultOrder: () => "verbatim", setDefaultResultOrder() {},
};
