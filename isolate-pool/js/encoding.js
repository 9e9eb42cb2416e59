// Gives: TextEncoder, TextDecoder for every encoding the Encoding standard knows, `btoa` and `atob`.
//
// Absent: the tables; decoding other encodings than UTF-8 is native.
(function (portico) {
  "use strict";
  const { ArrayBuffer, Math, RangeError, TypeError, Uint8Array } = portico.globals;
  const { StringCharCode, StringFromCharCode, fail, publish } = portico;

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
    #name;
    #fatal;
    #ignoreBOM;
    #kept; // bytes of an unfinished character, while a text comes in pieces
    #begun = false;

    constructor(label = "utf-8", options) {
      const name = isUtf8(`${label}`) ? "utf-8" : portico.natives.decode(`${label}`);
      if (name === undefined) throw new RangeError(`The "${label}" encoding is not supported`);
      this.#name = name;
      this.#fatal = options?.fatal === true;
      this.#ignoreBOM = options?.ignoreBOM === true;
    }

    get encoding() { return this.#name; }
    get fatal() { return this.#fatal; }
    get ignoreBOM() { return this.#ignoreBOM; }

    decode(input, options) {
      let bytes = view(input);
      if (this.#kept !== undefined && this.#kept.length > 0) bytes = joined(this.#kept, bytes);
      this.#kept = undefined;
      const begun = this.#begun;
      if (options?.stream === true) {
        const whole = wholeCharacters(this.#name, bytes);
        this.#kept = bytes.slice(whole);
        bytes = bytes.subarray(0, whole);
        this.#begun = begun || whole > 0;
      } else {
        this.#begun = false;
      }
      // A mark is one only at the beginning of the text.
      const keepMark = this.#ignoreBOM || begun;
      if (this.#name !== "utf-8" || this.#fatal) {
        return portico.natives.decode(this.#name, bytes, this.#fatal, keepMark);
      }
      const marked = bytes[0] === 0xef && bytes[1] === 0xbb && bytes[2] === 0xbf;
      return portico.natives.utf8Decode(marked && !keepMark ? bytes.subarray(3) : bytes);
    }
  }

  function isUtf8(label) {
    return label === "utf-8" || label === "utf8" || label === "UTF-8";
  }

  function joined(left, right) {
    const whole = new Uint8Array(left.length + right.length);
    whole.set(left, 0);
    whole.set(right, left.length);
    return whole;
  }

  /** Encodings in which every byte is a character, by the standard's names. */
  const SINGLE = /^(?:ibm866|iso-8859-|koi8-|macintosh|windows-|x-mac-cyrillic|x-user-defined)/;

  /** How many of the bytes are whole characters. Of the old encodings of East Asia nothing is certain before the end. */
  function wholeCharacters(name, bytes) {
    const { length } = bytes;
    if (name === "utf-8") {
      for (let back = 1; back <= 3 && back <= length; back++) {
        const byte = bytes[length - back];
        if ((byte & 0xc0) === 0x80) continue;
        const needs = byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : byte >= 0xc0 ? 2 : 1;
        return needs > back ? length - back : length;
      }
      return length;
    }
    if (name === "utf-16le" || name === "utf-16be") {
      const whole = length - (length % 2);
      const high = whole >= 2 ? bytes[name === "utf-16le" ? whole - 1 : whole - 2] : 0;
      return high >= 0xd8 && high <= 0xdb ? whole - 2 : whole;
    }
    return SINGLE.test(name) ? length : 0;
  }

  function view(input) {
    if (input instanceof Uint8Array) return input;
    if (input === undefined) return new Uint8Array(0);
    if (input instanceof ArrayBuffer) return new Uint8Array(input);
    if (ArrayBuffer.isView(input)) return new Uint8Array(input.buffer, input.byteOffset, input.byteLength);
    throw new TypeError("TextDecoder.decode needs bytes");
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
