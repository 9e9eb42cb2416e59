// EJSON held to its promises with values and texts that dice make: what `tests/fuzz` does for the server's own reader. The dice
// are the same each time; PORTICO_EJSON_ROUNDS throws them more often.
"use strict";
const test = require("node:test");
const assert = require("node:assert/strict");
const { start } = require("./runtime_under_test.js");

const ROUNDS = Number(process.env.PORTICO_EJSON_ROUNDS ?? 4_000);
const EJSON = start().inRealm("EJSON");

/** A number from 0 below `end`; xorshift, so that a failure comes again. */
function dice(seed) {
  let state = (seed * 2654435761) >>> 0 || 1;
  return (end) => {
    state = (state ^ (state << 13)) >>> 0;
    state = (state ^ (state >>> 17)) >>> 0;
    state = (state ^ (state << 5)) >>> 0;
    return state % end;
  };
}

const LONGS = ["0", "-1", "9007199254740993", "9223372036854775807", "-9223372036854775808", "4294967296"];
const DOUBLES = ["0.0", "-0.0", "1.5", "NaN", "Infinity", "-Infinity", "1e+300", "5e-324", "9007199254740994.0", "-20.0"];
const DECIMALS = ["0", "1.50", "-1E+6111", "NaN", "Infinity", "1234567890123456789012345678901234"];
const TEXTS = ["", "a", "\u0000", "é", "😀", "\"\\", "$oid", "__proto__", "a/b", "\n"];
const NAMES = ["a", "b", "_id", "", "__proto__", "constructor", "$a", "10", "toJSON", "length"];
const PATTERNS = ["", "^a/b", "a\\/b", "(?:)", "(?<!", "[/]\n", "\\d+"];

/** A tree of canonical Extended JSON as we write it. */
function tree(roll, depth) {
  const one = (list) => list[roll(list.length)];
  const hex = (length) => Array.from({ length }, () => "0123456789abcdef"[roll(16)]).join("");
  switch (roll(depth > 0 ? 19 : 16)) {
    case 0: return null;
    case 1: return roll(2) === 0;
    case 2: return one(TEXTS);
    case 3: return { $numberInt: String(roll(2 ** 32) | 0) };
    case 4: return { $numberLong: one(LONGS) };
    case 5: return { $numberDouble: one(DOUBLES) };
    case 6: return { $numberDecimal: one(DECIMALS) };
    case 7: return { $oid: hex(24) };
    case 8: return { $date: { $numberLong: one(LONGS) } };
    case 9: return { $binary: { base64: Buffer.from(hex(roll(9) * 2), "hex").toString("base64"), subType: one(["00", "04", "02", "80"]) } };
    case 10: return { $timestamp: { t: roll(2 ** 32), i: roll(2 ** 32) } };
    case 11: return { $regularExpression: { pattern: one(PATTERNS), options: one(["", "i", "im", "isx"]) } };
    case 12: return { $symbol: one(TEXTS) };
    case 13: return one([{ $minKey: 1 }, { $maxKey: 1 }]);
    case 14: return { $undefined: true };
    case 15: return { $dbPointer: { $ref: "d.c", $id: { $oid: hex(24) } } };
    case 16: return { $code: one(TEXTS), $scope: fields(roll, depth - 1) };
    case 17: return Array.from({ length: roll(4) }, () => tree(roll, depth - 1));
    default: return fields(roll, depth - 1);
  }
}

function fields(roll, depth) {
  const made = {};
  for (let count = roll(4); count > 0; count -= 1) {
    // As a property of its own, which `__proto__` would not become by assignment.
    Object.defineProperty(made, NAMES[roll(NAMES.length)], { value: tree(roll, depth), enumerable: true, configurable: true, writable: true });
  }
  return made;
}

test("canonical text is read and written again letter by letter", () => {
  for (let seed = 1; seed <= ROUNDS; seed += 1) {
    const text = JSON.stringify(fields(dice(seed), 4));
    const value = EJSON.parse(text, { relaxed: false });
    assert.equal(EJSON.stringify(value), text, `seed ${seed}`);
  }
});

test("in relaxed form a value stays the same from the first reading on", () => {
  for (let seed = 1; seed <= ROUNDS; seed += 1) {
    const value = EJSON.parse(JSON.stringify(fields(dice(seed), 4)));
    const canonical = EJSON.stringify(value);
    assert.equal(EJSON.stringify(EJSON.parse(canonical)), canonical, `seed ${seed}`);
    const relaxed = EJSON.stringify(value, { relaxed: true });
    assert.equal(EJSON.stringify(EJSON.parse(relaxed), { relaxed: true }), relaxed, `seed ${seed}`);
    assert.equal(EJSON.stringify(EJSON.deserialize(EJSON.serialize(value))), canonical, `seed ${seed}`);
  }
});

test("damaged text is refused in words, or is a value like any other", () => {
  const SPICE = "{}[]\",:$0159afeE+-. \\u\u0000é";
  for (let seed = 1; seed <= ROUNDS; seed += 1) {
    const roll = dice(seed);
    let text = JSON.stringify(fields(roll, 3));
    for (let changes = 1 + roll(3); changes > 0; changes -= 1) {
      const at = roll(text.length + 1);
      const piece = [SPICE[roll(SPICE.length)], "", text.slice(at, at + roll(12)), "null", "{}", "[]"][roll(6)];
      text = text.slice(0, at) + piece + text.slice(at + roll(3));
    }
    let value;
    try {
      value = EJSON.parse(text);
    } catch (error) {
      assert.match(`${error.name}`, /^(SyntaxError|Error|BSONError|BSONTypeError|RangeError)$/, `seed ${seed}: ${text}: ${error.stack}`);
      assert.ok(typeof error.message === "string" && error.message.length > 0);
      continue;
    }
    const canonical = EJSON.stringify(value);
    assert.equal(EJSON.stringify(EJSON.parse(canonical)), canonical, `seed ${seed}: ${text}`);
  }
});
