// Gives: the web's globals (`fetch`, `URL`, `AbortController`, …), each made when it is first read: the modules they live in
// are not part of the snapshot, so a function that uses none pays for none.
//
// Absent: the globals themselves, which lie in `web/`.
(function (portico) {
  "use strict";
  const { internalModule, publishLazily } = portico;

  const HOMES = {
    __proto__: null,
    "internal/web/blob": ["Blob", "File", "FormData"],
    "internal/web/clone": ["structuredClone"],
    "internal/web/events": ["AbortController", "AbortSignal", "CustomEvent", "DOMException", "Event", "EventTarget"],
    "internal/web/fetch": ["fetch", "Headers", "Request", "Response"],
    "internal/web/streams": [
      "ByteLengthQueuingStrategy", "CountQueuingStrategy", "ReadableStream", "ReadableStreamDefaultController",
      "ReadableStreamDefaultReader", "TextDecoderStream", "TextEncoderStream", "TransformStream", "WritableStream",
      "WritableStreamDefaultWriter",
    ],
    "internal/web/url": ["URL", "URLSearchParams"],
  };

  for (const home in HOMES) {
    for (const name of HOMES[home]) publishLazily(name, () => internalModule(home)[name]);
  }
})(globalThis.__portico);
