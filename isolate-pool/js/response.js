// Gives: `HTTPResponse`, the second argument of an endpoint's handler, and `sent`, which reads what was set on it.
//
// Absent: default headers and content types, and the rule that some headers (Connection, Content-Length …) are not
// for functions to set. Those belong to the gateway, which answers for the connection.
(function (portico) {
  "use strict";
  const { Uint8Array } = portico.globals;
  const { ArrayPush, NumberIsInteger, StringCharCode, StringFromCharCode, StringIncludes } = portico;
  const { StringLower, fail, kind, shown } = portico;

  class HTTPResponse {
    #status;
    #body;
    #headers;

    setStatusCode(code) {
      if (!NumberIsInteger(code) || code < 100 || code > 599) {
        throw wrong(`response.setStatusCode needs an integer from 100 to 599, but got ${shown(code)}`);
      }
      this.#status = code;
    }

    setBody(body) {
      if (typeof body === "string" || body instanceof Uint8Array) this.#body = body;
      else if (body !== null && typeof body === "object" && body[kind] === 2) this.#body = body.bytes;
      else throw wrong(`response.setBody needs a string or a BSON.Binary, but got ${shown(body)}`);
    }

    setHeader(name, value) {
      checkName(name);
      const text = checkValue(name, value);
      const headers = this.#headers ?? [];
      const kept = [];
      for (let index = 0; index < headers.length; index += 2) {
        if (StringLower(headers[index]) !== StringLower(name)) ArrayPush(kept, headers[index], headers[index + 1]);
      }
      ArrayPush(kept, name, text);
      this.#headers = kept;
    }

    addHeader(name, value) {
      checkName(name);
      const text = checkValue(name, value);
      ArrayPush((this.#headers ??= []), name, text);
    }

    static {
      portico.responseStatus = (response) => response.#status;
      portico.responseBody = (response) => response.#body;
      portico.responseHeaders = (response) => response.#headers;
    }
  }

  const wrong = (message) => fail("InvalidParameter", message);

  function checkName(name) {
    if (typeof name !== "string" || name === "") {
      throw wrong(`a header's name must be a string, but was ${shown(name)}`);
    }
    for (let index = 0; index < name.length; index++) {
      if (!isTokenCharacter(StringCharCode(name, index))) throw wrong(`${shown(name)} cannot be the name of a header`);
    }
  }

  function isTokenCharacter(code) {
    if (code <= 32 || code >= 127) return false;
    return !StringIncludes(SEPARATORS, StringFromCharCode(code));
  }
  const SEPARATORS = '()<>@,;:\\"/[]?={}';

  /** A line break in a value would let its author write headers, or a whole response, of their own. */
  function checkValue(name, value) {
    if (typeof value !== "string" && typeof value !== "number" && typeof value !== "boolean") {
      throw wrong(`the value of header ${shown(name)} must be a string, but was ${shown(value)}`);
    }
    const text = `${value}`;
    for (let index = 0; index < text.length; index++) {
      const code = StringCharCode(text, index);
      if ((code < 32 && code !== 9) || code === 127) {
        throw wrong(`the value of header ${shown(name)} holds a control character`);
      }
    }
    return text;
  }

  portico.HTTPResponse = HTTPResponse;
  portico.publish("HTTPResponse", HTTPResponse);
})(globalThis.__portico);
