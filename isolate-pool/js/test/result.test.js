// What an endpoint sends for what a function did and returned: the table of results, then the table of types.
"use strict";
const test = require("node:test");
const assert = require("node:assert/strict");
const { start, returning } = require("./runtime_under_test.js");

const EMPTY = 0, JSON_TEXT = 1, EJSON_TEXT = 2, RAW = 3;

test("the table of results", async (t) => {
  const rows = [
    // respondResult, ejson, handler body, status, content, body
    [false, false, "return {a: 1}", 204, EMPTY, undefined],
    [false, false, "r.setStatusCode(200); return 1", 200, EMPTY, undefined],
    [false, false, "r.setStatusCode(201); r.setBody('x')", 201, EMPTY, undefined],
    [true, false, "return {a: 1}", 200, JSON_TEXT, '{"a":1}'],
    [true, true, "return {a: 1}", 200, EJSON_TEXT, '{"a":{"$numberInt":"1"}}'],
    [true, false, "r.setStatusCode(418); return [1]", 418, JSON_TEXT, "[1]"],
    [true, false, "r.setBody('plain'); return {a: 1}", 200, RAW, "plain"],
    [true, false, "r.setStatusCode(400); r.setBody('no')", 400, RAW, "no"],
    [true, false, "r.setBody(''); return 1", 200, RAW, ""],
    [true, false, "return 'Hello world'", 200, JSON_TEXT, '"Hello world"'],
    [true, true, "return 'Hello world'", 200, EJSON_TEXT, '"Hello world"'],
    [true, false, "", 200, JSON_TEXT, "null"],
    [true, true, "", 200, EJSON_TEXT, '{"$undefined":true}'],
    [true, false, "return null", 200, JSON_TEXT, "null"],
    // As incoming webhooks were answered: a status without a body is all there is.
    [2, true, "return {a: 1}", 200, EJSON_TEXT, '{"a":{"$numberInt":"1"}}'],
    [2, true, "r.setStatusCode(200); return {a: 1}", 200, EMPTY, undefined],
    [2, true, "r.setStatusCode(201); r.setBody('x'); return {a: 1}", 201, RAW, "x"],
    [true, false, "return () => 1", 200, JSON_TEXT, "null"],
    [true, false, "r.setStatusCode(204); return {a: 1}", 204, EMPTY, undefined],
    [true, false, "r.setStatusCode(304); r.setBody('x')", 304, EMPTY, undefined],
    [true, false, "const o = {}; o.o = o; r.setBody('x'); return o", 200, RAW, "x"],
  ];
  for (const [respondResult, ejson, body, status, content, text] of rows) {
    for (const [kind, keyword] of [["sync", ""], ["async", "async "]]) {
      await t.test(`${kind} respond_result=${respondResult}: ${body}`, async () => {
        const rt = start({ functions: { f: `exports = ${keyword}function (q, r) {${body}}` } });
        const answer = rt.endpoint("f", { respondResult, ejson });
        assert.equal(typeof answer.then === "function", kind === "async");
        const { status: s, content: c, body: b } = await answer;
        assert.deepEqual([s, c, b], [status, content, text]);
      });
    }
  }
});

test("a Binary body is sent as bytes", async () => {
  const rt = start({ functions: { f: "exports = (q, r) => r.setBody(BSON.Binary.fromHex('00ff'))" } });
  assert.deepEqual([...rt.endpoint("f").body], [0, 255]);
});

test("headers are set, replaced and added in order", async () => {
  const rt = start({ functions: { f: `exports = (q, r) => {
    r.setHeader("X-A", "1"); r.setHeader("x-a", 2); r.addHeader("Cache-Control", "max-age=600"); r.addHeader("Cache-Control", "min-fresh=60");
  }` } });
  assert.deepEqual(rt.endpoint("f", { respondResult: false }).headers,
    ["x-a", "2", "Cache-Control", "max-age=600", "Cache-Control", "min-fresh=60"]);
});

test("what a response refuses", async (t) => {
  const rows = [
    ["r.setStatusCode(99)", "response.setStatusCode needs an integer from 100 to 599, but got 99"],
    ["r.setStatusCode(600)", "response.setStatusCode needs an integer from 100 to 599, but got 600"],
    ["r.setStatusCode(200.5)", "response.setStatusCode needs an integer from 100 to 599, but got 200.5"],
    ["r.setStatusCode('200')", "response.setStatusCode needs an integer from 100 to 599, but got '200'"],
    ["r.setBody({})", "response.setBody needs a string or a BSON.Binary, but got a value of type object"],
    ["r.setHeader('a b', '1')", "'a b' cannot be the name of a header"],
    ["r.setHeader('', '1')", "a header's name must be a string, but was ''"],
    ["r.addHeader('A', 'x\\r\\nB: y')", "the value of header 'A' holds a control character"],
    ["r.setHeader('A', {})", "the value of header 'A' must be a string, but was a value of type object"],
  ];
  for (const [body, message] of rows) {
    await t.test(body, async () => {
      const rt = start({ functions: { f: `exports = (q, r) => { ${body} }` } });
      const [said, stack, code] = await rt.failure(() => rt.endpoint("f"));
      assert.deepEqual([said, code], [message, "InvalidParameter"]);
      assert.match(stack, /^ {4}at exports \(functions\/f\.js:1:\d+\)$/);
    });
  }
});

const TYPES = [
  // expression, plain JSON, canonical Extended JSON
  ["BSON.ObjectId('5D505646cf6d4fe581014ab2')", '"5d505646cf6d4fe581014ab2"', '{"$oid":"5d505646cf6d4fe581014ab2"}'],
  ["new Date(1641954803067)", '"2022-01-12T02:33:23.067Z"', '{"$date":{"$numberLong":"1641954803067"}}'],
  ["new Date(NaN)", "null", "null"],
  ["10", "10", '{"$numberInt":"10"}'],
  ["-2147483648", "-2147483648", '{"$numberInt":"-2147483648"}'],
  ["5000000000", "5000000000", '{"$numberLong":"5000000000"}'],
  ["10.5", "10.5", '{"$numberDouble":"10.5"}'],
  ["-0", "0", '{"$numberDouble":"-0.0"}'],
  ["NaN", "null", '{"$numberDouble":"NaN"}'],
  ["-Infinity", "null", '{"$numberDouble":"-Infinity"}'],
  ["7n", "7", '{"$numberLong":"7"}'],
  ["BSON.Int32(10)", "10", '{"$numberInt":"10"}'],
  ["BSON.Long(50)", "50", '{"$numberLong":"50"}'],
  ["BSON.Long(1, 1)", "4294967297", '{"$numberLong":"4294967297"}'],
  ["BSON.Double(3)", "3", '{"$numberDouble":"3.0"}'],
  ["BSON.Decimal128.fromString('9823.1297')", '"9823.1297"', '{"$numberDecimal":"9823.1297"}'],
  ["BSON.Binary.fromHex('0102', 5)", '{"Subtype":5,"Data":"AQI="}', '{"$binary":{"base64":"AQI=","subType":"05"}}'],
  ["new Uint8Array([1, 2])", '{"Subtype":0,"Data":"AQI="}', '{"$binary":{"base64":"AQI=","subType":"00"}}'],
  ["BSON.UUID('00112233-4455-6677-8899-aabbccddeeff')", '{"Subtype":4,"Data":"ABEiM0RVZneImaq7zN3u/w=="}',
    '{"$binary":{"base64":"ABEiM0RVZneImaq7zN3u/w==","subType":"04"}}'],
  ["/^H/gi", '{"Pattern":"^H","Options":"i"}', '{"$regularExpression":{"pattern":"^H","options":"i"}}'],
  ["BSON.BSONRegExp('^H', 'xi')", '{"Pattern":"^H","Options":"ix"}', '{"$regularExpression":{"pattern":"^H","options":"ix"}}'],
  ["BSON.Timestamp({t: 1565545664, i: 1})", '{"T":1565545664,"I":1}', '{"$timestamp":{"t":1565545664,"i":1}}'],
  ["BSON.MinKey()", "{}", '{"$minKey":1}'],
  ["BSON.MaxKey()", "{}", '{"$maxKey":1}'],
  ["BSON.BSONSymbol('s')", '"s"', '{"$symbol":"s"}'],
  ["BSON.Code('f')", '"f"', '{"$code":"f"}'],
  ["BSON.Code('f', {a: /x/})", '{"Code":"f","Scope":{"a":{"Pattern":"x","Options":""}}}',
    '{"$code":"f","$scope":{"a":{"$regularExpression":{"pattern":"x","options":""}}}}'],
  ["{a: undefined, b: null}", '{"b":null}', '{"a":{"$undefined":true},"b":null}'],
  ["{f() {}, s: Symbol.iterator, n: 'x'}", '{"n":"x"}', '{"n":"x"}'],
  ["new Map([['k', new Set([1n])]])", '{"k":[1]}', '{"k":[{"$numberLong":"1"}]}'],
  ["new RangeError('m')", '{"message":"m","name":"RangeError"}', '{"message":"m","name":"RangeError"}'],
  ["[new (class { constructor() { this.a = 1 } })]", '[{"a":1}]', '[{"a":{"$numberInt":"1"}}]'],
  ["JSON.parse('{\"__proto__\":{\"x\":0}}', (k, v) => k === 'x' ? /a/ : v)",
    '{"__proto__":{"x":{"Pattern":"a","Options":""}}}',
    '{"__proto__":{"x":{"$regularExpression":{"pattern":"a","options":""}}}}'],
];

test("the table of types", async (t) => {
  for (const [expression, json, ejson] of TYPES) {
    await t.test(expression, () => {
      const rt = returning(expression);
      assert.equal(rt.endpoint("f").body, json);
      assert.equal(rt.endpoint("f", { ejson: true }).body, ejson);
      assert.equal(rt.call("f"), ejson);
      const nested = returning(`{a: [${expression}]}`);
      assert.equal(nested.endpoint("f").body, `{"a":[${json}]}`);
      assert.equal(nested.call("f"), `{"a":[${ejson}]}`);
    });
  }
});

test("a 64-bit integer keeps its digits in plain JSON where the engine can write them", () => {
  const rt = returning("({n: BSON.Long.fromString('9223372036854775807')})");
  const exact = rt.inRealm("JSON.rawJSON !== undefined");
  assert.equal(rt.endpoint("f").body, exact ? '{"n":9223372036854775807}' : '{"n":9223372036854776000}');
});

test("promises in the result are awaited, in whatever depth, and keep their place", async () => {
  const rt = returning("({a: Promise.resolve(1), b: [Promise.resolve({c: Promise.resolve('x')})], d: 2})");
  assert.equal((await rt.endpoint("f")).body, '{"a":1,"b":[{"c":"x"}],"d":2}');
});

test("a nested promise that rejects fails the call", async () => {
  const rt = returning("({a: new Promise(() => {}).constructor.reject(new Error('no')), b: Promise.reject('later')})");
  assert.deepEqual((await rt.failure(() => rt.endpoint("f")))[0], '{"message":"no","name":"Error"}');
});

test("what contains itself, and what is too deep, is refused with words", async () => {
  for (const expression of ["(() => { const o = {}; o.o = [o]; return o })()", "(() => { const o = new Map(); o.set('a', o); return o })()"]) {
    for (const ejson of [false, true]) {
      const rt = returning(expression);
      const [message, , code] = await rt.failure(() => rt.endpoint("f", { ejson }));
      assert.deepEqual([message, code], ["cannot serialise a value that contains itself", "FunctionExecutionError"]);
    }
  }
  const deep = returning("(() => { let o = {}; for (let i = 0; i < 100; i++) o = [o]; return o })()");
  assert.match((await deep.failure(() => deep.endpoint("f")))[0], /nested deeper than 100 levels/);
  const shared = returning("(() => { const o = {a: 1}; return [o, o] })()");
  assert.equal(shared.endpoint("f").body, '[{"a":1},{"a":1}]');
});

test("a tenant that replaces builtins harms the answer no more than the answer's own parts", async () => {
  const rt = start({ functions: { f: `exports = async () => {
    JSON.stringify = () => "tampered"; Array.isArray = () => false; Object.keys = () => []; Array.prototype.push = () => 0;
    Promise.prototype.then = undefined; Map.prototype.forEach = undefined; globalThis.Promise = globalThis.Date = undefined;
    return { a: [1, new Map([["k", 1]])] };
  }` } });
  assert.equal((await rt.endpoint("f")).body, '{"a":[1,{"k":1}]}');
});
