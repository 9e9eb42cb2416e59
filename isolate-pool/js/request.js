// Gives: the `request` argument of an endpoint's handler and `context.request`, both from the flat array
// `[method, route, rawQuery, fullQuery, remoteIp, name, value, …]` the host passes.
//
// Absent: reading the body's bytes. It stays bytes until the function asks for text.
(function (portico) {
  "use strict";
  const { Map } = portico.globals;
  const { MapGet, MapSet, ObjectDefine, ObjectFreeze, ObjectHasOwn, ObjectPrototype, StringCharCode } = portico;
  const { StringIncludes, StringIndexOf, StringLower, StringSlice, StringUpper, put } = portico;
  const { Binary } = portico.BSON;

  const METHOD = 0, ROUTE = 1, RAW_QUERY = 2, FULL_QUERY = 3, REMOTE_IP = 4, HEADERS = 5;

  /** `{query, headers, body}`. Made whole: accessors that wait to be read cost more than what they would save. */
  function endpointRequest(flat, body) {
    return {
      query: parseQuery(flat[FULL_QUERY]),
      headers: parseHeaders(flat),
      body: body === undefined ? undefined : new Binary(body, 0),
    };
  }

  /** `context.request`. A client's call has no route, and then there is no `webhookUrl` and no `httpMethod`. */
  function contextRequest(flat, action) {
    const requestHeaders = parseHeaders(flat);
    const request = { remoteIPAddress: flat[REMOTE_IP], requestHeaders };
    if (flat[ROUTE] !== "") {
      request.webhookUrl = flat[ROUTE];
      request.httpMethod = flat[METHOD];
    }
    request.rawQueryString = flat[RAW_QUERY];
    if (ObjectHasOwn(requestHeaders, "Referer")) request.httpReferrer = requestHeaders.Referer[0];
    if (ObjectHasOwn(requestHeaders, "User-Agent")) request.httpUserAgent = requestHeaders["User-Agent"][0];
    request.service = "";
    request.action = action;
    return request;
  }

  // ----------------------------------------------------------------------------------------------------------- headers

  /**
   * Names in the order received lead down a tree to the class of such headers: clients send the same names in the same
   * order again and again. A class holds the lower-case aliases on its prototype, so that `headers["content-type"]`
   * works and `for in`, Object.keys and JSON list each name once. Begun at the first request, outside of the snapshot.
   */
  let root;
  let nodes = 0;
  /** Clients choose the names, so the tree is bounded: when full it is begun anew. One node is about 200 bytes. */
  const NODES_MAX = 2048;

  function node() {
    return { next: new Map(), shape: undefined };
  }

  function parseHeaders(flat) {
    let at = (root ??= node());
    for (let index = HEADERS; index < flat.length; index += 2) at = step(at, flat[index]);
    const { Headers, names, repeats } = (at.shape ??= shapeOf(flat));
    const headers = new Headers();
    for (let index = HEADERS, place = 0; index < flat.length; index += 2, place += 1) {
      const name = names[place];
      if (repeats && ObjectHasOwn(headers, name)) headers[name][headers[name].length] = flat[index + 1];
      else put(headers, name, [flat[index + 1]]);
    }
    if (nodes > NODES_MAX) {
      root = undefined;
      nodes = 0;
    }
    return headers;
  }

  function step(at, name) {
    let next = MapGet(at.next, name);
    if (next === undefined) {
      next = node();
      MapSet(at.next, name, next);
      nodes += 1;
    }
    return next;
  }

  /** `x-hub-signature` becomes `X-Hub-Signature`, `apiKey` becomes `Apikey`. */
  function canonical(name) {
    let text = "";
    let upper = true;
    for (let index = 0; index < name.length; index++) {
      text += upper ? StringUpper(name[index]) : StringLower(name[index]);
      upper = name[index] === "-";
    }
    return text;
  }

  /** The class of headers of these names in this order, the canonical names, and whether one comes twice. */
  function shapeOf(flat) {
    const Headers = function () {};
    const aliases = { __proto__: ObjectPrototype };
    const names = [];
    const seen = { __proto__: null };
    let repeats = false;
    for (let index = HEADERS; index < flat.length; index += 2) {
      const name = canonical(flat[index]);
      const alias = StringLower(name);
      names[names.length] = name;
      if (seen[name] === true) repeats = true;
      else if (alias !== name) ObjectDefine(aliases, alias, aliasOf(name));
      seen[name] = true;
    }
    Headers.prototype = ObjectFreeze(aliases); // shared by calls, so no call may leave anything on it
    return { Headers, names, repeats };
  }

  function aliasOf(name) {
    return {
      __proto__: null,
      get() { return this[name]; },
      set(value) { this[name] = value; },
    };
  }

  // ------------------------------------------------------------------------------------------------------------- query

  function parseQuery(text) {
    const query = {};
    if (text === undefined || text === "") return query;
    let start = 0;
    while (start <= text.length) {
      let end = StringIndexOf(text, "&", start);
      if (end < 0) end = text.length;
      if (end > start) {
        let equals = StringIndexOf(text, "=", start);
        if (equals < 0 || equals > end) equals = end;
        const name = decode(StringSlice(text, start, equals));
        if (!ObjectHasOwn(query, name)) put(query, name, decode(StringSlice(text, equals + 1, end)));
      }
      start = end + 1;
    }
    return query;
  }

  const decodeWhole = decodeURIComponent;

  /** `+` is a space, `%XX` a byte of UTF-8. What is not a valid escape stays as it was written. */
  function decode(text) {
    const spaced = StringIncludes(text, "+") ? text.replaceAll("+", " ") : text;
    if (!StringIncludes(spaced, "%")) return spaced;
    try {
      return decodeWhole(spaced);
    } catch {
      return decodePieces(spaced);
    }
  }

  function decodePieces(text) {
    let result = "";
    let index = 0;
    while (index < text.length) {
      let end = index;
      while (text[end] === "%" && isHexDigit(text, end + 1) && isHexDigit(text, end + 2)) end += 3;
      if (end === index) {
        result += text[index];
        index += 1;
        continue;
      }
      const run = StringSlice(text, index, end);
      try {
        result += decodeWhole(run);
      } catch {
        result += run;
      }
      index = end;
    }
    return result;
  }

  function isHexDigit(text, index) {
    const code = index < text.length ? StringCharCode(text, index) | 32 : 0;
    return (code >= 48 && code <= 57) || (code >= 97 && code <= 102);
  }

  portico.endpointRequest = endpointRequest;
  portico.contextRequest = contextRequest;
})(globalThis.__portico);
