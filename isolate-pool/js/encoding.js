// Gives: TextEncoder and TextDecoder for UTF-8, `btoa` and `atob`.
//
// Absent: other encodings, and decoding in pieces (`stream: true`), which both answer with an error that says so.
(function (portico) {
  "use strict";
  const { ArrayBuffer, Math, RangeError, TypeError, Uint8Array } = portico.globals;
  const { StringCharCode, StringFromCharCode, StringLower, fail, publish } = portico;

  class TextEncoder {
    get encoding() { return "utf-8"; }

    encode(text = "") { return portico.natives.utf8Encode(`${text}`); }

    encodeInto(text, target) {
      const bytes = portico.natives.utf8Encode(`${text}`);
      let written = Math.min(bytes.length, target.length);
      while (written < bytes.length && written > 0 && (bytes[written] & 0xc0) === 0x80) written -= 1;
      const part = bytes.subarray(0, written);
      target.set(part);
      return { read: portico.natives.utf8Decode(part).length, written };
    }
  }

  class TextDecoder {
    #fatal;
    #ignoreBOM;

    constructor(label = "utf-8", options) {
      const name = StringLower(`${label}`).trim();
      if (name !== "utf-8" && name !== "utf8" && name !== "unicode-1-1-utf-8") {
        throw new RangeError(`TextDecoder decodes utf-8 only, not '${label}'`);
      }
      this.#fatal = options?.fatal === true;
      this.#ignoreBOM = options?.ignoreBOM === true;
    }

    get encoding() { return "utf-8"; }
    get fatal() { return this.#fatal; }
    get ignoreBOM() { return this.#ignoreBOM; }

    decode(input, options) {
      if (options?.stream === true) {
        throw fail("NotAvailable", "TextDecoder: `stream: true` is not available in this version of Portico");
      }
      let bytes = view(input);
      const marked = bytes[0] === 0xef && bytes[1] === 0xbb && bytes[2] === 0xbf;
      if (marked && !this.#ignoreBOM) bytes = bytes.subarray(3);
      const text = portico.natives.utf8Decode(bytes);
      if (this.#fatal && !same(portico.natives.utf8Encode(text), bytes)) {
        throw new TypeError("The encoded data was not valid for encoding utf-8");
      }
      return text;
    }
  }

  function view(input) {
    if (input instanceof Uint8Array) return input;
    if (input === undefined) return new Uint8Array(0);
    if (input instanceof ArrayBuffer) return new Uint8Array(input);
    if (ArrayBuffer.isView(input)) return new Uint8Array(input.buffer, input.byteOffset, input.byteLength);
    throw new TypeError("TextDecoder.decode needs bytes");
  }

  function same(left, right) {
    if (left.length !== right.length) return false;
    for (let index = 0; index < left.length; index++) if (left[index] !== right[index]) return false;
    return true;
  }

  function btoa(text) {
    const source = `${text}`;
    const bytes = new Uint8Array(source.length);
    for (let index = 0; index < source.length; index++) {
      const code = StringCharCode(source, index);
      if (code > 255) throw fail("InvalidParameter", "btoa: the text holds a character above U+00FF");
      bytes[index] = code;
    }
    return portico.natives.base64Encode(bytes);
  }

  /** Forgiving, as browsers are: white space and missing padding do not matter. */
  function atob(text) {
    let base64 = "";
    for (const character of `${text}`) if (!" \t\n\f\r".includes(character)) base64 += character;
    if (base64.length % 4 === 0) {
      if (base64.endsWith("==")) base64 = base64.slice(0, -2);
      else if (base64.endsWith("=")) base64 = base64.slice(0, -1);
    }
    const rest = base64.length % 4;
    const whole = rest !== 1 && !base64.includes("=") && !base64.includes("-") && !base64.includes("_");
    const bytes = whole ? portico.natives.base64Decode(base64 + "=".repeat((4 - rest) % 4)) : undefined;
    if (bytes === undefined) throw fail("InvalidParameter", "atob: not base64");
    let result = "";
    for (let index = 0; index < bytes.length; index++) result += StringFromCharCode(bytes[index]);
    return result;
  }

  publish("TextEncoder", TextEncoder);
  publish("TextDecoder", TextDecoder);
  publish("btoa", btoa);
  publish("atob", atob);
})(globalThis.__portico);
