// `context`, the console, timers, and the words for what was thrown.
"use strict";
const test = require("node:test");
const assert = require("node:assert/strict");
const { start, returning, APP } = require("./runtime_under_test.js");

test("app, environment, user and system", () => {
  const rt = returning("[context.app, context.environment, context.user, context.runningAsSystem()]", { environment: { tag: "qa", values: { a: 1 } } });
  const user = '{"id":"u","custom_data":{"ref":{"$oid":"5d505646cf6d4fe581014ab2"}}}';
  assert.deepEqual(JSON.parse(rt.endpoint("f", { user, system: true }).body),
    [APP, { tag: "qa", values: { a: 1 } }, { id: "u", custom_data: { ref: "5d505646cf6d4fe581014ab2" } }, true]);
});

test("values: any type, unknown is undefined, changes stay in the call", () => {
  const rt = start({ values: { s: "x", n: 0, o: { a: 1 } }, functions: { f: `exports = () => {
    const { values } = context; const o = values.get("o"); const seen = JSON.stringify(o); o.a = 2;
    return [values.get("s"), values.get("n"), seen, typeof values.get("nope"), typeof values.get("__proto__"), typeof context.values.get];
  }` } });
  for (let round = 0; round < 2; round++) {
    assert.equal(rt.endpoint("f").body, '["x",0,"{\\"a\\":1}","undefined","undefined","function"]');
  }
});

test("services: the two defaults and the app's own names", () => {
  const rt = returning("['mongodb-atlas', 'mongodb-datafederation', 'warehouse', 'nope', 'toString'].map((n) => typeof context.services.get(n))");
  assert.equal(rt.endpoint("f").body, '["object","object","object","undefined","undefined"]');
});

test("a service of type http is what context.http is", () => {
  const rt = start({ app: { ...APP, httpServices: ["web"] }, functions: { f: "exports = () => [typeof context.services.get('web').post, typeof context.services.get('mongodb-atlas').db, context.services.get('nope') === undefined]" } });
  assert.equal(rt.endpoint("f").body, '["function","function",true]');
});

test("destructured context works", () => {
  assert.equal(returning("(({services, values, http, functions: {execute}}) => typeof services.get + typeof values.get + typeof http.get + typeof execute)(context)").endpoint("f").body, '"functionfunctionfunctionfunction"');
});

test("functions call each other in the same context", async () => {
  const rt = start({ functions: {
    outer: "exports = async () => [context.functions.execute('sum', 1, 2), await context.functions.execute('who'), context.functions.execute('who')]",
    sum: "exports = (a, b) => a + b",
    who: "exports = async () => { console.log('in who'); return context.user.id }",
  } });
  assert.equal(await rt.call("outer"), '[{"$numberInt":"3"},"u1","u1"]');
  assert.deepEqual(rt.logs[0], { call: 8, level: 1, text: "in who" });
});

test("an unknown function rejects, and one that exports nothing is named", async () => {
  const rt = start({ functions: { f: "exports = () => context.functions.execute('x').catch((e) => e.message)", g: "let a = 1" } });
  assert.equal(await rt.call("f"), "\"function not found: 'x'\"");
  assert.deepEqual(await rt.failure(() => rt.call("nope")), ["function not found: 'nope'", "", "FunctionNotFound"]);
  assert.deepEqual((await rt.failure(() => rt.call("__proto__")))[0], "function not found: '__proto__'");
  const [message, , code] = await rt.failure(() => rt.call("g"));
  assert.deepEqual([message, code], ["function 'g' must assign a function to exports", "FunctionInvalid"]);
});

test("each call runs the top level anew, with module undefined", () => {
  const rt = start({ functions: { f: "let n = 0; exports = () => [++n, typeof module]; if (typeof module === 'object') module.exports = exports" } });
  assert.equal(rt.endpoint("f").body, '[1,"undefined"]');
  assert.equal(rt.endpoint("f").body, '[1,"undefined"]');
});

test("arguments arrive as they are, missing ones as undefined", () => {
  const rt = start({ functions: { f: "exports = (a, b) => ({arg1: a, arg2: b})", long: "exports = (a) => a" } });
  assert.equal(rt.call("f", "['x']"), '{"arg1":"x","arg2":{"$undefined":true}}');
  assert.equal(rt.call("long", "[BSON.Long(5)]"), '{"$numberLong":"5"}');
});

test("nothing of the host can be reached from a function", () => {
  const rt = returning(`[typeof __portico, context.constructor === Object, console.constructor === Object,
    context.services.get("mongodb-atlas").constructor === Object, Object.getOwnPropertyNames(globalThis).filter((n) => /portico|native/i.test(n))]`);
  assert.equal(rt.endpoint("f").body, '["undefined",true,true,true,[]]');
});

test("console lines", async (t) => {
  const rows = [
    ["'a', 1, true, null, undefined", "a 1 true null undefined"],
    ["{a: 1, b: ['x', {c: undefined}]}", '{"a":1,"b":["x",{"c":undefined}]}'],
    ["new Error('boom')", "Error: boom"],
    ["{e: new TypeError('t')}", '{"e":TypeError: t}'],
    ["BSON.ObjectId('5d505646cf6d4fe581014ab2'), new Date(0)", '{"$oid":"5d505646cf6d4fe581014ab2"} {"$date":"1970-01-01T00:00:00.000Z"}'],
    ["new Map([['k', 1]]), new Set(['x']), /r/i, 5n, () => 1, Symbol('s')", '{"k":1} ["x"] /r/i 5n [Function] Symbol(s)'],
    ["(() => { const o = {}; o.o = o; return o })()", '{"o":[Circular]}'],
    ["Promise.resolve(1), Object.create(null), new Uint8Array(3)", "[Promise] {} [3 bytes]"],
    ["{get a() { throw 1 }}", "[a value that cannot be shown]"],
    ["new Date(NaN), -0, [new Date(NaN)], new String('s'), new Number(1)", 'Invalid Date -0 [Invalid Date] "s" 1'],
    ["'%s is %d of %j, %i%%', 'x', '5', {a: 1}, 7.9, 'more'", 'x is 5 of {"a":1}, 7% more'],
    ["'100%', 1", "100% 1"],
    ["'%s'", "%s"],
    ["'%s %s', 1", "1 %s"],
    ["'%x %o%c', [1], 'color: red'", "%x [1]"],
  ];
  for (const [args, text] of rows) {
    await t.test(args, () => {
      const rt = returning(`console.log(${args})`);
      rt.endpoint("f");
      assert.deepEqual(rt.logs, [{ call: 7, level: 1, text }]);
    });
  }
});

test("console methods have their levels, work detached, and a line is bounded", async () => {
  const rt = start({ functions: { f: `exports = async () => {
    const { debug, info } = console; debug(1); info(2); console.warn(3);
    await Promise.reject(new Error("x")).catch(console.error);
    console.log("y".repeat(20000)); console.log(new Array(1e6).fill({a: "long enough"})); console.log({s: "z".repeat(1e6)});
  }` } });
  await rt.call("f");
  assert.deepEqual(rt.logs.slice(0, 4).map(({ level, text }) => [level, text]), [[0, "1"], [2, "2"], [3, "3"], [4, "Error: x"]]);
  for (const { text } of rt.logs.slice(4)) {
    assert.equal(text.length, 16 * 1024);
    assert.equal(text.at(-1), "…");
  }
});

test("timers go to the host with the call that set them", () => {
  const rt = start({ functions: { f: `exports = () => {
    globalThis.ids = [setTimeout((a) => console.log(a), 50, "late"), setInterval(() => {}, 5), setImmediate(() => {}), setTimeout(() => {}, "x")];
    clearInterval(ids[1]); clearTimeout(undefined); return ids.length }` } });
  assert.equal(rt.endpoint("f").body, "4");
  const left = [...rt.timers.values()].map(({ call, delay, repeat }) => [call, delay, repeat]);
  assert.deepEqual(left, [[7, 50, false], [7, 0, false], [7, 1, false]]);
  rt.timers.get(1).callback();
  assert.equal(rt.logs[0].text, "late");
});

test("what was thrown, in words", async (t) => {
  const rows = [
    ["return unknown", "ReferenceError: 'unknown' is not defined"],
    ["const o = {}; return o.a.db", "TypeError: Cannot access member 'db' of undefined"],
    ["null.insertOne()", "TypeError: Cannot access member 'insertOne' of null"],
    ["null.x = 1", "TypeError: Cannot access member 'x' of null"],
    ["[].reduce((a) => a)", "TypeError: Reduce of empty array with no initial value"],
    ["throw new Error('m')", '{"message":"m","name":"Error"}'],
    ["throw new (class Mine extends TypeError { name = 'Mine' })('m')", '{"message":"m","name":"Mine"}'],
    ["throw 'text'", "text"],
    ["throw {code: 5, id: BSON.Long(1)}", '{"code":5,"id":1}'],
    ["throw undefined", '{"$undefined":true}'],
    ["throw {get a() { throw 1 }}", "the function threw a value that cannot be shown"],
    ["throw Object.defineProperty(new Error('m'), 'stack', {get() { throw 1 }})", "the function threw a value that cannot be shown"],
    ["throw new Proxy({}, {getPrototypeOf() { throw 1 }})", "the function threw a value that cannot be shown"],
  ];
  for (const [body, message] of rows) {
    for (const keyword of ["", "async "]) {
      await t.test(`${keyword}${body}`, async () => {
        const rt = start({ functions: { f: `exports = ${keyword}function () {${body}}` } });
        assert.equal((await rt.failure(() => rt.endpoint("f")))[0], message);
      });
    }
  }
});

test("a stack names the tenant's files and nothing else", async () => {
  const rt = start({ functions: { "a/b": "\nfunction inner() {\n  null.x;\n}\nexports = function handler() { inner(); }" } });
  const [, stack] = await rt.failure(() => rt.endpoint("a/b"));
  assert.equal(stack, "    at inner (functions/a/b.js:3:8)\n    at handler (functions/a/b.js:5:32)");
});

test("a function that runs as system is called as system, and what it asks for carries its name", async () => {
  const rt = start({
    documents: () => ({ v: null }),
    functions: {
      user: "exports = async () => [context.runningAsSystem(), await context.functions.execute('admin'), context.runningAsSystem()]",
      admin: { system: true, source: "exports = async () => [context.runningAsSystem(), context.user.id, await context.functions.execute('read')]" },
      read: "exports = async () => { await context.services.get('mongodb-atlas').db('d').collection('c').findOne({}); return context.runningAsSystem() }",
    },
  });
  assert.equal(await rt.call("user"), '[false,[true,"u1",true],false]');
  assert.equal(rt.operations[0].as, "admin");
  assert.equal(await rt.call("user", "[]", { system: true }), '[true,[true,"u1",true],true]');
  assert.equal(rt.operations[1].as, undefined);
});

test("module.exports is taken when exports was not assigned and nobody asked for module", () => {
  const rt = start({ functions: {
    only: "module.exports = () => 'module'",
    both: "exports = () => 'exports'; module.exports = 1",
    asks: "exports = () => typeof module; if (typeof module === 'object') module.exports = exports",
  } });
  for (let round = 0; round < 2; round++) {
    assert.equal(rt.endpoint("only").body, '"module"');
    assert.equal(rt.endpoint("both").body, '"exports"');
    assert.equal(rt.endpoint("asks").body, '"undefined"');
  }
});
