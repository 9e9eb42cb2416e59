// Gives: what an IP address looks like as text.
"use strict";

const V4 = /^(?:(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)(?:\.|$)){4}$/;

function isIPv4(text) { return V4.test(`${text}`) && !`${text}`.endsWith("."); }

function isIPv6(input) {
  const text = `${input}`;
  const zone = text.indexOf("%");
  if (zone === text.length - 1) return false;
  let address = zone < 0 ? text : text.slice(0, zone);
  const dotted = address.lastIndexOf(":");
  if (address.includes(".")) {
    if (dotted < 0 || !isIPv4(address.slice(dotted + 1))) return false;
    address = `${address.slice(0, dotted + 1)}0:0`;
  }
  const halves = address.split("::");
  if (halves.length > 2) return false;
  const groups = halves.flatMap((half) => (half === "" ? [] : half.split(":")));
  if (!groups.every((group) => /^[0-9a-fA-F]{1,4}$/.test(group))) return false;
  return halves.length === 2 ? groups.length < 8 : groups.length === 8;
}

const isIP = (text) => (isIPv4(text) ? 4 : isIPv6(text) ? 6 : 0);

module.exports = { isIP, isIPv4, isIPv6 };
