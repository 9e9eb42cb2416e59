// The document client: what is sent to the host, what comes back, cursors in batches.
"use strict";
const test = require("node:test");
const assert = require("node:assert/strict");
const { start } = require("./runtime_under_test.js");

const plain = (value) => JSON.parse(JSON.stringify(value));

/** Runs `body` with `coll` in scope against a host that answers with `documents`. */
function run(body, documents) {
  const rt = start({
    documents: documents ?? (() => ({ v: null })),
    functions: { f: `exports = async () => { const coll = context.services.get("mongodb-atlas").db("d").collection("c"); ${body} }` },
  });
  return { rt, answer: Promise.resolve(rt.call("f")) };
}

test("every operation sends exactly these arguments and gives what the host answered", async (t) => {
  const rows = [
    ["insertOne({a: 1})", "insertOne", { document: { a: 1 } }, { insertedId: "i" }],
    ["insertMany([{a: 1}], {ordered: false})", "insertMany", { documents: [{ a: 1 }], ordered: false }, { insertedIds: ["i"] }],
    ["insertMany([{}, {}])", "insertMany", { documents: [{}, {}], ordered: true }, { insertedIds: ["i", "j"] }],
    ["findOne()", "findOne", { filter: {} }, null],
    ["findOne({a: 1}, {b: 1})", "findOne", { filter: { a: 1 }, projection: { b: 1 } }, { b: "x" }],
    ["updateOne({a: 1}, {$set: {b: 1}})", "updateOne", { filter: { a: 1 }, update: { $set: { b: 1 } }, upsert: false }, { matchedCount: "m" }],
    ["updateMany({}, {$set: {b: 1}}, {upsert: true})", "updateMany", { filter: {}, update: { $set: { b: 1 } }, upsert: true }, { upsertedId: "u" }],
    ["replaceOne({a: 1}, {b: 1})", "replaceOne", { filter: { a: 1 }, replacement: { b: 1 }, upsert: false }, {}],
    ["deleteOne({a: 1})", "deleteOne", { filter: { a: 1 } }, { deletedCount: "x" }],
    ["deleteMany()", "deleteMany", { filter: {} }, { deletedCount: "x" }],
  ];
  for (const [call, operation, args, v] of rows) {
    await t.test(call, async () => {
      const { rt, answer } = run(`return coll.${call}`, () => ({ v }));
      assert.equal(await answer, JSON.stringify(v));
      assert.deepEqual(plain(rt.operations), [{ call: 8, service: "mongodb-atlas", database: "d", collection: "c", operation, args }]);
    });
  }
});

test("an operation starts when it is called, a find when it is read", () => {
  const rt = start({ documents: () => ({ v: {} }), functions: { f: `exports = () => {
    const coll = context.services.get("mongodb-atlas").db("d").collection("c"); coll.insertOne({}); coll.count(); coll.find(); }` } });
  rt.call("f");
  assert.deepEqual(rt.operations.map(({ operation }) => operation), ["insertOne", "count"]);
});

test("count is a number to the function and a 64-bit integer in the result", async () => {
  for (const v of [3, { valueOf: () => 3 }]) {
    assert.equal(await run("return {value: coll.count({a: 1}), sum: (await coll.countDocuments()) + 1}", () => ({ v })).answer,
      '{"value":{"$numberLong":"3"},"sum":{"$numberInt":"4"}}');
  }
  const direct = start({ documents: () => ({ v: 3 }), functions: { f: "exports = () => context.services.get('mongodb-atlas').db('d').collection('c').count()" } });
  assert.equal(await direct.call("f"), '{"$numberLong":"3"}');
  assert.equal((await direct.endpoint("f")).body, "3");
});

/** Seven documents in batches of three. */
const batches = () => {
  const all = Array.from({ length: 7 }, (_, n) => ({ n: `${n}` }));
  return (operation, args) => {
    if (operation === "closeCursor") return { v: null };
    const at = operation === "find" ? 0 : args.cursor;
    return { v: all.slice(at, at + 3), cursor: at + 3 < all.length ? at + 3 : 0 };
  };
};
const SEVEN = JSON.stringify(Array.from({ length: 7 }, (_, n) => ({ n: `${n}` })));

test("cursors read to the end, whichever way", async (t) => {
  const ways = {
    toArray: "return await coll.find().toArray()",
    returned: "return coll.find()",
    next: "const c = coll.find(), all = []; let d; while ((d = await c.next()) !== undefined) all.push(d); return all",
    hasNext: "const c = coll.find(), all = []; while (await c.hasNext()) all.push(await c.next()); return all",
    iteration: "const all = []; for await (const d of coll.find()) all.push(d); return all",
    mixed: "const c = coll.find(); const first = await c.next(); return [first, ...await c.toArray()]",
    together: "const c = coll.find(); return Promise.all([1, 2, 3, 4, 5, 6, 7].map(() => c.next()))",
  };
  for (const [name, body] of Object.entries(ways)) {
    await t.test(name, async () => {
      const { rt, answer } = run(body, batches());
      assert.equal(await answer, SEVEN);
      assert.deepEqual(plain(rt.operations.map(({ operation, args }) => [operation, args])),
        [["find", { filter: {} }], ["getMore", { cursor: 3 }], ["getMore", { cursor: 6 }]]);
    });
  }
  assert.equal(await run("return {inside: [coll.find()]}", batches()).answer, `{"inside":[${SEVEN}]}`);
});

test("next past the end is undefined, and an empty answer is an empty array", async () => {
  const empty = () => ({ v: [] });
  assert.equal(await run("const c = coll.find(); await c.next(); return c.next()", empty).answer, '{"$undefined":true}');
  assert.equal(await run("return coll.find({}).toArray()", empty).answer, "[]");
});

test("a cursor left early is closed, and one left at its end is not", async () => {
  const { rt, answer } = run("for await (const d of coll.find()) break; return 1", batches());
  await answer;
  assert.deepEqual(plain(rt.operations.at(-1)).args, { cursor: 3 });
  assert.equal(rt.operations.at(-1).operation, "closeCursor");
  const done = run("for await (const d of coll.find()) {} return 1", batches());
  await done.answer;
  assert.equal(done.rt.operations.some(({ operation }) => operation === "closeCursor"), false);
});

test("a cursor's shape goes with the find, and cannot change after it", async () => {
  const { rt, answer } = run("return coll.find({a: 1}, {b: 1}).sort({a: -1}).skip(2).limit(3).toArray()", () => ({ v: [], cursor: 0 }));
  await answer;
  assert.deepEqual(plain(rt.operations[0].args), { filter: { a: 1 }, projection: { b: 1 }, sort: { a: -1 }, skip: 2, limit: 3 });
  const late = run("const c = coll.find(); await c.next(); c.limit(1)", batches());
  assert.equal((await late.rt.failure(() => late.answer))[0], "cursor.limit: the cursor has already been read from");
});

test("a pipeline is sent when it is read, with what was added to its cursor", async () => {
  const { rt, answer } = run(
    "return coll.aggregate([{$match: {a: 1}}], {let: {x: 2}, allowDiskUse: true}).sort({a: 1}).skip(2).limit(3).project({a: 1}).toArray()",
    () => ({ v: [{ a: "x" }], cursor: 0 }),
  );
  assert.equal(await answer, '[{"a":"x"}]');
  const pipeline = [{ $match: { a: 1 } }, { $sort: { a: 1 } }, { $skip: 2 }, { $limit: 3 }, { $project: { a: 1 } }];
  assert.deepEqual(plain(rt.operations.map(({ operation, args }) => [operation, args])), [["aggregate", { pipeline, let: { x: 2 } }]]);
});

test("a pipeline of a database has no collection, and names are asked for without one", async () => {
  const { rt, answer } = run(
    `const client = context.services.get("mongodb-atlas"), db = client.db("d");
     return [await db.aggregate([{$documents: []}]).toArray(), await db.getCollectionNames(), await client.admin().getDBNames()]`,
    (operation) => ({ v: [], cursor: operation === "aggregate" ? 0 : undefined }),
  );
  await answer;
  assert.deepEqual(
    plain(rt.operations.map(({ database, collection, operation }) => [database, collection, operation])),
    [["d", "", "aggregate"], ["d", "", "collections"], ["", "", "databases"]],
  );
});

test("a cursor maps, visits and counts", async () => {
  const documents = (operation) => (operation === "count" ? { v: 7 } : { v: [{ n: 1 }, { n: 2 }, { n: 3 }], cursor: 0 });
  assert.equal(await run("return coll.find().map((d) => d.n * 2).map((n) => `${n + 1}`).toArray()", documents).answer, '["3","5","7"]');
  assert.equal(
    await run("const seen = []; await coll.find().forEach((d) => { seen.push(d.n); return d.n < 2; }); return seen.join()", documents).answer,
    '"1,2"',
  );
  const counted = run("return `${await coll.find({a: 1}).limit(1).count()}`", documents);
  assert.equal(await counted.answer, '"7"');
  assert.deepEqual(plain(counted.rt.operations[0].args), { filter: { a: 1 } });
  assert.equal(await run("let all = []; for await (const n of coll.find().map((d) => d.n)) all.push(n); return all.join()", documents).answer, '"1,2,3"');
});

test("an update may be a pipeline, and variables go with the operation", async () => {
  const { rt, answer } = run("return coll.updateOne({a: 1}, [{$set: {b: '$$c'}}], {let: {c: 2}})", () => ({ v: {} }));
  await answer;
  assert.deepEqual(plain(rt.operations[0].args), {
    filter: { a: 1 }, update: [{ $set: { b: "$$c" } }], upsert: false, let: { c: 2 },
  });
});

test("refused arguments say what is wrong", async (t) => {
  const rows = [
    ["await coll.insertMany([])", "must provide at least one element"],
    ["await coll.insertMany({})", "collection.insertMany: the documents must be an array, but got a value of type object"],
    ["await coll.insertOne()", "collection.insertOne: the document must be a document, but got a value of type undefined"],
    ["await coll.insertOne([1])", "collection.insertOne: the document must be a document, but got a value of type object"],
    ["await coll.findOne(BSON.ObjectId())", "collection.findOne: the query must be a document, but got a value of type object"],
    ["await coll.updateOne({}, {$set: {a: 1}}, {arrayFilters: {}})", "collection.updateOne: arrayFilters must be an array, but got a value of type object"],
    ["await coll.updateOne({}, {$set: {a: 1}}, {collation: {}})", "collection.updateOne: the option 'collation' is not available in this version of Portico"],
    ["coll.find({}, {}, {collation: {}})", "collection.find: the option 'collation' is not available in this version of Portico"],
    ["coll.find().limit(-1)", "limit must be an integer of at least 0, but was -1"],
    ["context.services.get('mongodb-atlas').db()", "the name of a database must be a string, but was a value of type undefined"],
    ["coll.aggregate({})", "collection.aggregate: the pipeline must be an array of stages, but got a value of type object"],
    ["coll.aggregate([1])", "collection.aggregate: stage 0 must be a document, but got 1"],
    ["coll.aggregate([], {hint: 'a_1'})", "collection.aggregate: the option 'hint' is not available in this version of Portico"],
    ["coll.find().map(1)", "cursor.map: a function is needed, but got 1"],
    ["await coll.distinct(1)", "collection.distinct: the field must be a string, but got 1"],
    ["await coll.findOneAndUpdate({}, [])", "collection.findOneAndUpdate: the update must have at least one stage"],
    ["await coll.updateMany({}, [{$set: {a: 1}}, 2])", "collection.updateMany: stage 1 of the update must be a document, but got 2"],
    ["await coll.deleteOne({}, {let: [1]})", "collection.deleteOne: let must be a document, but got a value of type object"],
    ["await coll.findOneAndDelete({}, {upsert: true})", "collection.findOneAndDelete: the option 'upsert' is not available in this version of Portico"],
    ["await coll.bulkWrite([])", "must provide at least one element"],
    ["await coll.bulkWrite([{a: {}, b: {}}])", "collection.bulkWrite: operation 0 must be like { updateOne: { filter, update } }"],
    ["coll.watch()", "collection.watch is not available in functions, only to clients"],
    ["await coll.insertOne({}, {session: {}})", "collection.insertOne: session must be one that client.startSession() gave, but is a value of type object"],
  ];
  for (const [body, message] of rows) {
    await t.test(body, async () => {
      const { rt, answer } = run(body);
      assert.equal((await rt.failure(() => answer))[0], message);
      assert.equal(rt.operations.length, 0);
    });
  }
});

test("wrong arguments reject instead of throwing, where the real client gives a promise", async () => {
  assert.equal(await run("return coll.insertMany([]).catch((e) => e.message)").answer, '"must provide at least one element"');
  assert.equal(await run("return coll.distinct(1).catch(() => 'caught')").answer, '"caught"');
});

test("a refusal carries its code to the function, and its place to the log", async () => {
  const refuse = () => { throw Object.assign(new Error("E11000 Duplicate key error"), { code: "DuplicateKey", number: 11000 }); };
  assert.equal(await run("try { await coll.insertOne({}) } catch (e) { return [e instanceof Error, e.name, e.code, e.codeName] }", refuse).answer,
    '[true,"MongoError",{"$numberInt":"11000"},"DuplicateKey"]');
  for (const body of ["await coll.insertOne({})", "await coll.find().toArray()"]) {
    const { rt, answer } = run(body, refuse);
    const [message, stack, code] = await rt.failure(() => answer);
    assert.deepEqual([message, code], ["E11000 Duplicate key error", "DuplicateKey"]);
    assert.match(stack, /at async exports \(functions\/f\.js:1:\d+\)/);
    assert.doesNotMatch(stack, /platform/);
  }
});
