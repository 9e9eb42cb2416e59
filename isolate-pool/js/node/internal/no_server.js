// Gives: what a module says when a function wants to listen. Functions are called; they are not connected to.
"use strict";
const { portico } = internal;

module.exports = function noServer(what) {
  const error = portico.fail("NotAvailable", `${what} is not available: functions connect to others and cannot listen`);
  error.code = "ERR_NOT_AVAILABLE";
  return error;
};
