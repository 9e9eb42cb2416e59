// Gives: Node's `dgram` as a name. Functions have no datagrams; making a socket says so.
"use strict";
const { portico } = internal;
const EventEmitter = require("events");

function unavailable() {
  const error = portico.fail("NotAvailable", "dgram.createSocket is not available: functions have no datagram sockets");
  error.code = "ERR_NOT_AVAILABLE";
  return error;
}

class Socket extends EventEmitter {
  constructor() {
    super();
    throw unavailable();
  }
}

module.exports = { Socket, createSocket() { throw unavailable(); } };
