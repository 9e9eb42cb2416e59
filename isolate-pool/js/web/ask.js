// Gives: `ask`, one operation outside the isolate on behalf of the running call, and `exchange`, which is HTTP and can be
// broken off. A refusal becomes an `Error` with the platform's words and a `code` (`ECONNREFUSED`, `RestrictedHost`, …).
//
// Absent: any judgement about destinations; the platform makes it when it connects.
"use strict";
const { portico } = internal;

const HTTP = 0, SOCKET = 1, LOOKUP = 2;

/** `background`: the call's answer does not wait for it. */
function ask(kind, question, { call = portico.currentCall(), background = false } = {}) {
  let asked;
  try {
    asked = portico.natives.ask(call, kind, question, background);
  } catch (error) {
    return Promise.reject(error);
  }
  return asked.catch((refusal) => { throw told(refusal); });
}

function told(refusal) {
  const code = refusal?.codeName;
  if (typeof code !== "string") return refusal;
  const error = portico.fail(code, refusal.message);
  error.code = code;
  if (code[0] === "E" && !code.startsWith("ERR_")) error.syscall = refusal.message.split(" ", 1)[0];
  return error;
}

let lastTicket = 0;

/** One exchange over HTTP: `{answer, cancel}`. */
function exchange(request, options) {
  const ticket = (lastTicket = (lastTicket + 1) & 0x3fffffff);
  const call = options?.call ?? portico.currentCall();
  const answer = ask(HTTP, { ...request, ticket }, { call });
  return {
    answer,
    /** The platform answers the exchange at once. */
    cancel() { ask(HTTP, { cancel: ticket }, { call }).catch(() => {}); },
  };
}

/** Bytes as they cross. */
const binary = (bytes) => new portico.BSON.Binary(bytes);

module.exports = { HTTP, SOCKET, LOOKUP, ask, exchange, binary };
