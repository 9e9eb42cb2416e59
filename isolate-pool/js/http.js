// Gives: `context.http`: get, post, put, patch, delete, head. Each takes one object and promises a response, whatever its
// status; what cannot be sent or answered rejects. An argument that makes no sense is named.
//
// Absent: redirects, digest authentication, limits, and which hosts may be reached; the platform has those.
"use strict";
const { portico } = internal;
const { binary, exchange } = require("internal/web/ask");
const multipart = require("internal/web/multipart");

const METHODS = ["get", "post", "put", "patch", "delete", "head"];

/** The client of one call. */
function clientOf(call) {
  const client = {};
  for (const method of METHODS) {
    client[method] = async function (args) {
      const request = read(method, args);
      // Without a login the request is on its way before this function returns.
      if (request.authUrl !== undefined) request.cookies = { ...(await cookiesFrom(request, call)), ...request.cookies };
      try {
        return respond(method, await send(request, call));
      } catch (error) {
        throw portico.placed(error);
      }
    };
    Object.defineProperty(client[method], "name", { value: method });
  }
  return client;
}

const isObject = (value) => value !== null && typeof value === "object" && !Array.isArray(value);

/** What the arguments mean, or an error that names the one that means nothing. */
function read(method, args) {
  const wrong = (name, must) => portico.fail("InvalidParameter", `context.http.${method}: ${name} must be ${must}`);
  if (!isObject(args)) {
    throw portico.fail("InvalidParameter", `context.http.${method} needs an object of arguments, but got ${portico.shown(args)}`);
  }
  const text = (name) => {
    const value = args[name];
    if (value === undefined || value === null) return undefined;
    if (typeof value !== "string") throw wrong(name, `a string, but is ${portico.shown(value)}`);
    return value;
  };
  const flag = (name) => {
    const value = args[name];
    if (value === undefined || value === null) return false;
    if (typeof value !== "boolean") throw wrong(name, `true or false, but is ${portico.shown(value)}`);
    return value;
  };
  /** `{ name: [text, …] }`; a single text is taken for a list of one. */
  const lists = (name) => {
    const value = args[name];
    if (value === undefined || value === null) return [];
    if (!isObject(value)) throw wrong(name, `an object of arrays of strings, but is ${portico.shown(value)}`);
    const pairs = [];
    for (const key of Object.keys(value)) {
      for (const one of Array.isArray(value[key]) ? value[key] : [value[key]]) {
        if (one === undefined || one === null || typeof one === "function") {
          throw wrong(`${name}.${key}`, `an array of strings, but holds ${portico.shown(one)}`);
        }
        pairs.push([key, `${one}`]);
      }
    }
    return pairs;
  };
  const cookies = {};
  if (args.cookies !== undefined && args.cookies !== null) {
    if (!isObject(args.cookies)) throw wrong("cookies", "an object of strings");
    for (const name of Object.keys(args.cookies)) {
      const cookie = args.cookies[name];
      // A cookie of a response can be sent back as it is.
      cookies[name] = isObject(cookie) && "value" in cookie ? `${cookie.value}` : `${cookie}`;
    }
  }
  const headers = lists("headers").flat();
  const username = text("username"), password = text("password");
  const request = {
    method: method.toUpperCase(),
    url: urlOf(text, lists, wrong),
    headers,
    cookies,
    authUrl: text("authUrl"),
    redirect: flag("followRedirects") ? "follow" : "manual",
    redirects: 10,
    digest: undefined,
    body: undefined,
  };
  const has = (name) => headers.some((header, index) => index % 2 === 0 && header.toLowerCase() === name);
  if (flag("digestAuth")) {
    if (username === undefined) throw wrong("username", "given, since digestAuth is true");
    request.digest = { username, password: password ?? "" };
  } else if ((username !== undefined || password !== undefined) && !has("authorization")) {
    const pair = portico.natives.utf8Encode(`${username ?? ""}:${password ?? ""}`);
    headers.push("Authorization", `Basic ${portico.natives.base64Encode(pair)}`);
  }
  if (method !== "get" && method !== "head") {
    const body = bodyOf(args, flag("encodeBodyAsJSON"), wrong);
    if (body !== undefined) {
      request.body = binary(body.bytes);
      if (body.type !== undefined && (body.boundary || !has("content-type"))) {
        for (let index = headers.length - 2; index >= 0; index -= 2) {
          if (headers[index].toLowerCase() === "content-type") headers.splice(index, 2);
        }
        headers.push("Content-Type", body.type);
      }
    }
  }
  // As Go's client did: what was asked for without naming an encoding arrives without one.
  request.decode = !has("accept-encoding");
  return request;
}

function urlOf(text, lists, wrong) {
  const whole = text("url");
  const query = lists("query").map(([key, value]) => `${encodeURIComponent(key)}=${encodeURIComponent(value)}`).join("&");
  if (whole !== undefined) {
    if (query === "") return whole;
    const [front, fragment] = whole.split("#", 2);
    return `${front}${front.includes("?") ? "&" : "?"}${query}${fragment === undefined ? "" : `#${fragment}`}`;
  }
  const host = text("host");
  if (host === undefined || host === "") throw wrong("url", "given, or scheme, host, path and query instead");
  const scheme = text("scheme") ?? "http";
  if (scheme !== "http" && scheme !== "https") throw wrong("scheme", `"http" or "https", but is ${portico.shown(scheme)}`);
  const path = text("path") ?? "";
  const fragment = text("fragment");
  return `${scheme}://${host}${path === "" || path.startsWith("/") ? path : `/${path}`}` +
    `${query === "" ? "" : `${path.includes("?") ? "&" : "?"}${query}`}` +
    `${fragment === undefined || fragment === "" ? "" : `#${fragment}`}`;
}

function bodyOf({ body, form }, asJson, wrong) {
  if (form !== undefined && form !== null && (body === undefined || body === null)) {
    if (!isObject(form)) throw wrong("form", "an object");
    return { ...formOf(form), boundary: true };
  }
  if (body === undefined || body === null) return undefined;
  if (asJson) return { bytes: portico.natives.utf8Encode(portico.ejsonText(body)), type: "application/json" };
  if (typeof body === "string") return { bytes: portico.natives.utf8Encode(body) };
  const bytes = bytesOf(body);
  if (bytes !== undefined) return { bytes };
  throw wrong("body", `a string or BSON.Binary (or anything, with encodeBodyAsJSON: true), but is ${portico.shown(body)}`);
}

function bytesOf(value) {
  if (value?.[portico.kind] === 2) return value.bytes;
  if (value instanceof Uint8Array) return value;
  if (value instanceof ArrayBuffer) return new Uint8Array(value);
  return undefined;
}

function formOf(form) {
  const fields = [];
  for (const name of Object.keys(form)) {
    for (const value of Array.isArray(form[name]) ? form[name] : [form[name]]) {
      const bytes = bytesOf(value);
      if (bytes !== undefined) fields.push({ name, bytes, filename: name });
      else fields.push({ name, value: typeof value === "object" ? portico.ejsonText(value) : `${value}` });
    }
  }
  const { bytes, type } = multipart.write(fields);
  return { bytes, type };
}

/** Cookies that a login page sets, for the request that follows. */
async function cookiesFrom({ authUrl, headers, digest }, call) {
  const authorization = headers.findIndex((header, index) => index % 2 === 0 && header.toLowerCase() === "authorization");
  const own = authorization < 0 ? [] : headers.slice(authorization, authorization + 2);
  const login = { method: "GET", url: authUrl, headers: own, redirect: "manual", digest };
  const { answer } = exchange(login, { call });
  const cookies = {};
  for (const cookie of setCookies((await answer).headers)) cookies[cookie.name] = cookie.value;
  return cookies;
}

function send({ method, url, headers, cookies, redirect, redirects, digest, body, decode }, call) {
  const pairs = Object.keys(cookies).map((name) => `${name}=${cookies[name]}`);
  const all = pairs.length === 0 ? headers : [...headers, "Cookie", pairs.join("; ")];
  return exchange({ method, url, headers: all, redirect, redirects, digest, body, decode }, { call }).answer;
}

function respond(method, { status, reason, headers, body, decoded }) {
  const named = {};
  let length;
  for (let index = 0; index < headers.length; index += 2) {
    const name = canonical(headers[index]);
    if (headers[index] === "content-length") length = Number(headers[index + 1]);
    (named[name] ??= []).push(headers[index + 1]);
  }
  if (decoded) {
    // These spoke of what is no longer there.
    delete named["Content-Encoding"];
    delete named["Content-Length"];
    length = body.bytes.length;
  }
  const cookies = {};
  for (const cookie of setCookies(headers)) cookies[cookie.name] = cookie;
  const response = {
    status: reason === "" ? `${status}` : `${status} ${reason}`,
    statusCode: status,
    contentLength: length ?? body.bytes.length,
    headers: named,
    cookies,
  };
  if (method !== "head") response.body = body;
  return response;
}

/** `content-type` → `Content-Type`. */
function canonical(name) {
  return name.replace(/(^|-)[a-z]/g, (letter) => letter.toUpperCase());
}

/** The cookies that `Set-Cookie` headers set. */
function setCookies(headers) {
  const cookies = [];
  for (let index = 0; index < headers.length; index += 2) {
    if (headers[index] !== "set-cookie") continue;
    const [pair, ...attributes] = headers[index + 1].split(";");
    const equals = pair.indexOf("=");
    if (equals <= 0) continue;
    const quoted = pair.slice(equals + 1).trim();
    const cookie = { name: pair.slice(0, equals).trim(), value: /^".*"$/.test(quoted) ? quoted.slice(1, -1) : quoted };
    for (const attribute of attributes) {
      const [name, ...rest] = attribute.split("=");
      const value = rest.join("=").trim();
      switch (name.trim().toLowerCase()) {
        case "path": cookie.path = value; break;
        case "domain": cookie.domain = value; break;
        case "expires": cookie.expires = value; break;
        case "max-age": cookie.maxAge = Number(value); break;
        case "secure": cookie.secure = true; break;
        case "httponly": cookie.httpOnly = true; break;
        case "samesite": cookie.sameSite = value; break;
      }
    }
    cookies.push(cookie);
  }
  return cookies;
}

module.exports = { clientOf };
