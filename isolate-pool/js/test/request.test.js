// What a handler sees of the request.
"use strict";
const test = require("node:test");
const assert = require("node:assert/strict");
const { start, returning } = require("./runtime_under_test.js");

const seen = (expression, request, body) => {
  const rt = start({ functions: { f: `exports = (request) => (${expression})` } });
  return JSON.parse(rt.endpoint("f", { request, body }).body);
};

test("query strings", async (t) => {
  const rows = [
    [undefined, {}],
    ["", {}],
    ["a=1&a=2&b=x%20y", { a: "1", b: "x y" }],
    ["a", { a: "" }],
    ["a=&=x&&b=1=2", { a: "", "": "x", b: "1=2" }],
    ["q=a+b%2Bc", { q: "a b+c" }],
    ["regions=na,eu&currency=USD", { regions: "na,eu", currency: "USD" }],
    ["a=%zz%41%&b=%E2%82%AC&c=%ff%41", { a: "%zzA%", b: "€", c: "%ff%41" }],
    ["%61+b=1", { "a b": "1" }],
    ["toString=1&constructor=2", { toString: "1", constructor: "2" }],
  ];
  for (const [query, expected] of rows) {
    await t.test(String(query), () => assert.deepEqual(seen("request.query", { query }), expected));
  }
  assert.equal(seen("Object.hasOwn(request.query, '__proto__') && request.query.x === undefined", { query: "__proto__=1" }), true);
});

test("headers have canonical names, arrays of values, and lower-case aliases that are not listed", () => {
  const headers = [["host", "h"], ["apiKey", "k"], ["x-customheader", "v1"], ["X-GitHub-Event", "e"], ["X-CustomHeader", "v2"]];
  const expected = { Host: ["h"], Apikey: ["k"], "X-Customheader": ["v1", "v2"], "X-Github-Event": ["e"] };
  assert.deepEqual(seen("request.headers", { headers }), expected);
  assert.deepEqual(seen("({...request.headers})", { headers }), expected);
  assert.deepEqual(seen("Object.keys(request.headers)", { headers }), Object.keys(expected));
  assert.deepEqual(seen("(() => { const all = []; for (const n in request.headers) all.push(n); return all })()", { headers }), Object.keys(expected));
  assert.deepEqual(seen("request.headers['x-customheader']", { headers }), ["v1", "v2"]);
  assert.equal(seen("'x-absent' in request.headers || request.headers['x-absent'] !== undefined", { headers }), false);
  assert.equal(seen("request.headers.hasOwnProperty('Host')", { headers }), true);
});

test("a header of an odd name is only a header", () => {
  const headers = [["__proto__", "p"], ["constructor", "c"], ["1", "n"]];
  assert.deepEqual(seen("Object.keys(request.headers).sort()", { headers }), ["1", "Constructor", "__proto__"]);
  assert.deepEqual(seen("request.headers.constructor", { headers }), ["c"]);
});

test("calls do not see each other's headers", () => {
  const rt = start({ functions: { f: `exports = ({headers}) => {
    const before = headers["x-a"]?.join() ?? null; headers["x-a"] = ["changed"]; headers.added = 1;
    try { Object.getPrototypeOf(headers).leak = 1 } catch {}
    return [before, headers.leak ?? null];
  }` } });
  const ask = (value) => rt.endpoint("f", { request: { headers: [["X-A", value]] } }).body;
  assert.equal(ask("1"), '["1",null]');
  assert.equal(ask("2"), '["2",null]');
  for (let index = 0; index < 5000; index++) rt.endpoint("f", { request: { headers: [[`x-${index}`, "v"]] } });
  assert.equal(ask("3"), '["3",null]');
});

test("the body is undefined when there is none, else a Binary of subtype 0", () => {
  assert.equal(seen("request.body === undefined"), true);
  assert.deepEqual(seen("[request.body.text(), request.body.toHex(), request.body.toBase64(), request.body.subtype]", {}, "é"),
    ["é", "c3a9", "w6k=", 0]);
  assert.deepEqual(seen("request.body", {}, "hi"), { Subtype: 0, Data: "aGk=" });
  assert.deepEqual(seen("EJSON.parse(request.body.text()).id.toString()", {}, '{"id":{"$oid":"5d505646cf6d4fe581014ab2"}}'), "5d505646cf6d4fe581014ab2");
});

test("the template's destructuring and JSON of the whole request work", () => {
  const rt = start({ functions: { f: "exports = function({ query, headers, body}, response) { return [query.a, headers.Host, body === undefined, arguments.length] }" } });
  assert.equal(rt.endpoint("f", { request: { query: "a=1", headers: [["host", "h"]] } }).body, '["1",["h"],true,2]');
  assert.deepEqual(seen("request", { query: "a=1", headers: [["host", "h"]] }, "x"),
    { query: { a: "1" }, headers: { Host: ["h"] }, body: { Subtype: 0, Data: "eA==" } });
});

test("context.request of an endpoint, of a client's call, and of a trigger", () => {
  const rt = returning("context.request");
  const request = { method: "DELETE", route: "/a/b", rawQuery: "someParam=42", query: "secret=hello&someParam=42", ip: "10.0.0.1",
    headers: [["user-agent", "curl"], ["referer", "http://r/"]] };
  assert.deepEqual(JSON.parse(rt.endpoint("f", { request }).body), {
    remoteIPAddress: "10.0.0.1", requestHeaders: { "User-Agent": ["curl"], Referer: ["http://r/"] }, webhookUrl: "/a/b",
    httpMethod: "DELETE", rawQueryString: "someParam=42", httpReferrer: "http://r/", httpUserAgent: "curl", service: "", action: "f",
  });
  const client = JSON.parse(rt.call("f", "[]", { request: { method: "POST", route: "" } }));
  assert.deepEqual(Object.keys(client), ["remoteIPAddress", "requestHeaders", "rawQueryString", "service", "action"]);
  assert.equal(rt.call("f"), '{"$undefined":true}');
});
