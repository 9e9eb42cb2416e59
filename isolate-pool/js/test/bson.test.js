// The BSON and EJSON globals, and text encodings, as a function uses them.
"use strict";
const test = require("node:test");
const assert = require("node:assert/strict");
const { start } = require("./runtime_under_test.js");

const rt = start();
const value = (source) => rt.inRealm(source);

test("own fields are exactly those the host builds and reads", async (t) => {
  const rows = [
    [1, "ObjectId('5d505646cf6d4fe581014ab2')", ["hex"]],
    [2, "Binary.fromText('a')", ["bytes", "subtype"]],
    [2, "UUID()", ["bytes", "subtype"]],
    [3, "Int32(1)", ["value"]],
    [4, "Long(1, 2)", ["low", "high"]],
    [5, "Double(1)", ["value"]],
    [6, "Decimal128.fromString('1')", ["text"]],
    [7, "Timestamp(1, 2)", ["t", "i"]],
    [8, "BSONRegExp('a', 'i')", ["pattern", "options"]],
    [9, "BSONSymbol('s')", ["value"]],
    [10, "Code('c')", ["code"]],
    [10, "Code('c', {})", ["code", "scope"]],
    [11, "DBRef('n', BSON.ObjectId())", ["namespace", "id"]],
    [12, "MinKey()", []],
    [13, "MaxKey()", []],
  ];
  for (const [kind, source, fields] of rows) {
    await t.test(source, () => {
      const made = value(`BSON.${source}`);
      assert.equal(made[rt.portico.kind], kind);
      assert.deepEqual(Object.keys(made), fields);
      if (!source.startsWith("UUID")) assert.equal(Object.getPrototypeOf(made), rt.portico.prototypes[kind]);
      const names = [];
      for (const name in made) names.push(name);
      assert.deepEqual(names, fields);
    });
  }
});

test("constructors work with and without new", () => {
  assert.equal(value("[new BSON.ObjectId(), BSON.ObjectID()].every((id) => id instanceof BSON.ObjectId && id.hex.length === 24)"), true);
  assert.equal(value("BSON.ObjectId().equals(BSON.ObjectId())"), false);
  assert.equal(value("Math.abs(BSON.ObjectId().getTimestamp() - Date.now()) < 2000"), true);
  assert.equal(value("BSON.ObjectId('5d505646cf6d4fe581014ab2').equals('5D505646CF6D4FE581014AB2')"), true);
  assert.equal(value("`${BSON.ObjectId('5d505646cf6d4fe581014ab2')}`"), "5d505646cf6d4fe581014ab2");
  assert.throws(() => value("BSON.ObjectId('nope')"), /24 hexadecimal digits, but got 'nope'/);
  assert.throws(() => value("BSON.Binary.fromBase64('%')"), /not base64/);
  assert.throws(() => value("BSON.Binary.fromHex('0')"), /not hexadecimal/);
  assert.equal(value("BSON.UUID('00112233-4455-6677-8899-aabbccddeeff').toString()"), "00112233-4455-6677-8899-aabbccddeeff");
  assert.equal(value("BSON.Binary.fromBase64('aGk=').text() + BSON.Binary.fromText('hi').toHex()"), "hi6869");
});

test("Long arithmetic", async (t) => {
  const rows = [
    ["BSON.Long.fromNumber(5000000000).add(1).toString()", "5000000001"],
    ["BSON.Long.MAX_VALUE.add(1).equals(BSON.Long.MIN_VALUE)", true],
    ["BSON.Long.fromString('-7').div(2).toNumber()", -3],
    ["BSON.Long.fromString('-7').mod(2).toNumber()", -1],
    ["BSON.Long(-1).toNumber()", -1],
    ["BSON.Long(3) + BSON.Long(2)", 5],
    ["BSON.Long(3) > 2 && BSON.Long(3).greaterThan(2)", true],
    ["BSON.Long('9007199254740993').toString()", "9007199254740993"],
    ["BSON.Long.fromNumber(1e30).equals(BSON.Long.MAX_VALUE)", true],
  ];
  for (const [source, expected] of rows) await t.test(source, () => assert.equal(value(source), expected));
  assert.throws(() => value("BSON.Long.fromString('9223372036854775808')"), /does not fit in 64 bits/);
  assert.throws(() => value("BSON.Long.fromString('x')"), /not an integer/);
  assert.throws(() => value("BSON.Long(1).div(0)"), /division by zero/);
});

test("Decimal128 text is canonical", async (t) => {
  const rows = [
    ["1.10", "1.10"], ["+1", "1"], ["-0.0", "-0.0"], ["007", "7"], ["1e3", "1E+3"], ["12e3", "1.2E+4"], [".5", "0.5"], ["5.", "5"],
    ["0.0000001", "1E-7"], ["0.000001", "0.000001"], ["NaN", "NaN"], ["-inf", "-Infinity"], ["1E6111", "1E+6111"],
    ["1e6144", `1.${"0".repeat(33)}E+6144`], ["1234567890123456789012345678901234", "1234567890123456789012345678901234"],
    ["12345678901234567890123456789012340", "1.234567890123456789012345678901234E+34"],
  ];
  for (const [text, expected] of rows) await t.test(text, () => assert.equal(value(`BSON.Decimal128.fromString("${text}").toString()`), expected));
  for (const text of ["", "abc", "1e", "1.2.3", "1e7000", "12345678901234567890123456789012345"]) {
    assert.throws(() => value(`BSON.Decimal128.fromString("${text}")`), /Decimal128/, text);
  }
});

test("EJSON reads what it writes", async (t) => {
  const canonical = [
    '{"$oid":"5d505646cf6d4fe581014ab2"}', '{"$date":{"$numberLong":"-1"}}', '{"$numberLong":"5"}', '{"$numberInt":"5"}',
    '{"$numberDouble":"1.5"}', '{"$numberDouble":"NaN"}', '{"$numberDouble":"-0.0"}', '{"$numberDecimal":"1.10"}',
    '{"$binary":{"base64":"AQI=","subType":"80"}}', '{"$regularExpression":{"pattern":"a/b","options":"im"}}',
    '{"$regularExpression":{"pattern":"a","options":"ix"}}', '{"$timestamp":{"t":4294967295,"i":1}}', '{"$symbol":""}', '{"$code":"f"}',
    '{"$code":"f","$scope":{"a":{"$numberInt":"1"}}}', '{"$dbPointer":{"$ref":"n","$id":{"$oid":"5d505646cf6d4fe581014ab2"}}}',
    '{"$minKey":1}', '{"$maxKey":1}', '{"$undefined":true}', '{"a":[null,true,"x",{"__proto__":{"$numberInt":"1"}}]}',
    '{"q":{"$regex":"x","$options":"i"},"r":{"$ref":"c","$id":{"$numberInt":"1"}},"s":{"$gt":{"$numberInt":"1"}}}',
  ];
  for (const text of canonical) await t.test(text, () => assert.equal(value(`EJSON.stringify(EJSON.parse(${JSON.stringify(text)}))`), text));
});

test("EJSON.parse reads relaxed and legacy forms, and refuses broken ones", () => {
  assert.equal(value("EJSON.parse('{\"$date\":\"2022-01-12T02:33:23.067Z\"}').getTime()"), 1641954803067);
  assert.equal(value("EJSON.parse('{\"a\":5,\"b\":1.5}').a"), 5);
  assert.equal(value("EJSON.parse('{\"$binary\":\"aGk=\",\"$type\":\"00\"}').text()"), "hi");
  assert.equal(value("EJSON.parse('{\"$uuid\":\"00112233-4455-6677-8899-aabbccddeeff\"}').subtype"), 4);
  for (const text of ['{"$oid":5}', '{"$oid":"x"}', '{"$date":"x"}', '{"$numberInt":"x"}', '{"$numberLong":"1.5"}', '{"$binary":{}}', '{"$dbPointer":1}']) {
    assert.throws(() => value(`EJSON.parse(${JSON.stringify(text)})`), undefined, text);
  }
});

test("EJSON.stringify takes an indent, a replacer and options", () => {
  assert.equal(value("EJSON.stringify({a: 'x'}, null, 2)"), '{\n  "a": "x"\n}');
  assert.equal(value("EJSON.stringify({a: 1, b: 2}, ['a', '$numberInt'])"), '{"a":{"$numberInt":"1"}}');
  assert.equal(value("EJSON.stringify({a: 1, d: new Date(0), l: BSON.Long(5)}, {relaxed: true})"),
    '{"a":1,"d":{"$date":"1970-01-01T00:00:00.000Z"},"l":5}');
  assert.throws(() => value("const o = {}; o.o = o; EJSON.stringify(o)"), /contains itself/);
});

test("text and base64", () => {
  assert.equal(value("new TextDecoder().decode(new TextEncoder().encode('héé€'))"), "héé€");
  assert.equal(value("new TextDecoder().decode(new Uint8Array([0xef, 0xbb, 0xbf, 0x61]))"), "a");
  assert.throws(() => value("new TextDecoder('utf-8', {fatal: true}).decode(new Uint8Array([0xff]))"), /not valid/);
  assert.throws(() => value("new TextDecoder('utf-77')"), /"utf-77" encoding is not supported/);
  assert.equal(value("JSON.stringify(new TextEncoder().encodeInto('a€', new Uint8Array(3)))"), '{"read":1,"written":1}');
  assert.equal(value("btoa('h\\xff') + atob(' aG k')"), "aP8=hi");
  assert.throws(() => value("btoa('€')"), /above U\+00FF/);
  assert.throws(() => value("atob('a')"), /not base64/);
});

test("what values show themselves as", async (t) => {
  const rows = [
    ["ObjectId('5d505646cf6d4fe581014ab2')", 'ObjectId("5d505646cf6d4fe581014ab2")', "5d505646cf6d4fe581014ab2"],
    ["Binary.fromText('hi', 5)", 'Binary.fromBase64("aGk=", 5)', "hi"],
    ["UUID('00112233-4455-6677-8899-aabbccddeeff')", 'UUID("00112233-4455-6677-8899-aabbccddeeff")', "00112233-4455-6677-8899-aabbccddeeff"],
    ["Int32(5)", "Int32(5)", "5"],
    ["Long('5')", 'Long("5")', "5"],
    ["Double(-0)", "Double(-0)", "0"],
    ["Decimal128('1.10')", 'Decimal128("1.10")', "1.10"],
    ["Timestamp({t: 1, i: 2})", "Timestamp({ t: 1, i: 2 })", "4294967298"],
    ["BSONRegExp('a\"b', 'ix')", 'BSONRegExp("a\\"b", "ix")', '/a"b/ix'],
    ["BSONSymbol('s')", 'BSONSymbol("s")', "s"],
    ["Code('c')", 'Code("c")', "c"],
    ["DBRef('d.c', '5d505646cf6d4fe581014ab2')", 'DBRef("d.c", ObjectId("5d505646cf6d4fe581014ab2"))', "d.c/5d505646cf6d4fe581014ab2"],
    ["MinKey()", "MinKey()", "MinKey"],
    ["MaxKey()", "MaxKey()", "MaxKey"],
  ];
  for (const [source, inspected, text] of rows) {
    await t.test(source, () => {
      assert.equal(value(`BSON.${source}.inspect()`), inspected);
      assert.equal(value(`BSON.${source}[Symbol.for("nodejs.util.inspect.custom")]()`), inspected);
      assert.equal(value(`String(BSON.${source}.toString())`), text);
    });
  }
});

test("names of older drivers", async (t) => {
  const rows = [
    ["BSON.ObjectID === BSON.ObjectId && BSON.Int64 === BSON.Long && BSON.Symbol === BSON.BSONSymbol", true],
    ["BSON.ObjectId()._bsontype", "ObjectId"],
    ["BSON.Binary.fromText('a', BSON.Binary.SUBTYPE_USER_DEFINED).sub_type", 128],
    ["BSON.Binary.fromText('a').buffer[0] + BSON.Binary.fromText('a').value()[0]", 194],
    ["BSON.UUID.isValid('00112233-4455-6677-8899-aabbccddeeff') && !BSON.UUID.isValid('0')", true],
    ["BSON.UUID() instanceof BSON.Binary && BSON.UUID().toBinary().toUUID() instanceof BSON.UUID", true],
    ["BSON.Long(6).and(3).or(8).xor(1).not().toString()", "-12"],
    ["BSON.Long(-1).shru(60).shl(1).toString()", "30"],
    ["BSON.Int32.fromString('7') + BSON.Double.fromString('0.5')", 7.5],
    ["BSON.Timestamp(5, 1).toLong().toString()", "4294967301"],
  ];
  for (const [source, expected] of rows) await t.test(source, () => assert.equal(value(source), expected));
});

test("Extended JSON comes back as it was written", async (t) => {
  const rows = [
    '{"$date":{"$numberLong":"9223372036854775807"}}',
    '{"$date":{"$numberLong":"-8640000000000001"}}',
    '{"$regularExpression":{"pattern":"a\\\\/b","options":""}}',
    '{"$regularExpression":{"pattern":"(?:)","options":"i"}}',
    '{"$regularExpression":{"pattern":"a/b","options":"im"}}',
    '{"a":{"$undefined":true},"b":[{"$minKey":1},null]}',
    '{"$code":"f","$scope":{"x":{"$numberLong":"1"}}}',
    '{"$dbPointer":{"$ref":"d.c","$id":{"$oid":"5d505646cf6d4fe581014ab2"}}}',
  ];
  for (const text of rows) {
    await t.test(text, () => assert.equal(value(`EJSON.stringify(EJSON.parse(${JSON.stringify(text)}))`), text));
  }
  const typed = '[{"$numberInt":"1"},{"$numberDouble":"1.0"},{"$numberLong":"1"}]';
  assert.equal(value(`EJSON.stringify(EJSON.parse('${typed}', {relaxed: false}))`), typed);
  assert.equal(value(`EJSON.parse('${typed}').map((n) => typeof n).join()`), "number,number,object");
});

test("a class that says how it is written in JSON is believed in Extended JSON too", () => {
  assert.equal(value("EJSON.stringify({d: new (class Day { constructor() { this.internal = 1 } toJSON() { return '2024-01-01' } })})"), '{"d":"2024-01-01"}');
  assert.equal(value("EJSON.stringify({toJSON() { return 1 }, a: 1})"), '{"a":{"$numberInt":"1"}}');
});
