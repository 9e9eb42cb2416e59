// Sessions: which operations say that they are part of a transaction, when one runs again, and what is refused.
"use strict";
const test = require("node:test");
const assert = require("node:assert/strict");
const { start } = require("./runtime_under_test.js");

const plain = (value) => JSON.parse(JSON.stringify(value));

/** Runs `body` with a client, a collection and a session in scope. Timers fire as soon as nothing else happens. */
function run(body, documents = () => ({ v: null }), now = Date.now) {
  const source = `exports = async () => {
    const client = context.services.get("mongodb-atlas");
    const coll = client.db("d").collection("c");
    const session = client.startSession();
    ${body} }`;
  const rt = start({ documents, functions: { f: source } });
  rt.portico.DateNow = now;
  const waits = [];
  const fire = () => {
    for (const [id, timer] of rt.timers) {
      rt.timers.delete(id);
      waits.push(timer.delay);
      timer.callback();
    }
  };
  const ticking = setInterval(fire, 1);
  const answer = Promise.resolve(rt.call("f")).finally(() => clearInterval(ticking));
  return { rt, waits, answer };
}

const names = (rt) => rt.operations.map(({ operation, args }) => [operation, args.session?.transaction]);

const refusal = (code, number, label) => Object.assign(new Error(`it was ${code}`), { code, number, label });
const conflict = () => refusal("WriteConflict", 112, "TransientTransactionError");

test("operations with the session of an open transaction carry it, others do not", async () => {
  const { rt, answer } = run(`
    await coll.insertOne({}, { session });
    session.startTransaction({ readConcern: { level: "snapshot" }, writeConcern: { w: "majority" }, readPreference: "primary" });
    await coll.insertOne({}, { session });
    await coll.find({}, {}, { session }).toArray();
    await coll.updateOne({}, { $set: { a: 1 } }, { session, upsert: true });
    await coll.bulkWrite([{ deleteOne: { filter: {} } }], { session });
    await coll.count({}, { session });
    await coll.insertOne({});
    await session.commitTransaction();
    await coll.insertOne({}, { session });
    await session.endSession();
    await session.endSession();
    return session.hasEnded;`, (operation) => ({ v: operation === "find" ? [] : 0, cursor: 0 }));
  assert.equal(await answer, "true");
  assert.deepEqual(names(rt), [
    ["insertOne", undefined], ["insertOne", 1], ["find", 1], ["updateOne", 1], ["bulkWrite", 1], ["count", 1],
    ["insertOne", undefined], ["commitTransaction", 1], ["insertOne", undefined], ["endSession", 1],
  ]);
  const ids = new Set(rt.operations.filter(({ args }) => args.session).map(({ args }) => args.session.id));
  assert.equal(ids.size, 1);
  assert.deepEqual(plain(rt.operations[7]).args, { session: { id: [...ids][0], transaction: 1 } });
});

test("a transaction without operations asks for nothing", async () => {
  const { rt, answer } = run(`
    session.startTransaction();
    await session.commitTransaction();
    await session.commitTransaction();
    session.startTransaction();
    await session.abortTransaction();
    return session.inTransaction();`);
  assert.equal(await answer, "false");
  assert.deepEqual(rt.operations, []);
});

test("withTransaction gives what its callback gives, after the commit", async () => {
  const { rt, answer } = run(`
    const given = await session.withTransaction(async (same) => { await coll.insertOne({}, { session: same }); return "done"; });
    return given;`);
  assert.equal(await answer, '"done"');
  assert.deepEqual(names(rt), [["insertOne", 1], ["commitTransaction", 1]]);
});

test("withTransaction aborts and rejects with what its callback throws", async () => {
  const { rt, answer } = run(`
    try {
      await session.withTransaction(async () => { await coll.insertOne({}, { session }); throw new Error("no"); });
    } catch (error) { return [error.message, session.inTransaction()]; }`);
  assert.deepEqual(JSON.parse(await answer), ["no", false]);
  assert.deepEqual(names(rt), [["insertOne", 1], ["abortTransaction", 1]]);
});

test("withTransaction runs its callback again after a conflict, in a new transaction each time", async () => {
  let inserts = 0;
  let commits = 0;
  const { rt, waits, answer } = run(`
    let runs = 0;
    await session.withTransaction(async () => { runs += 1; await coll.insertOne({}, { session }); });
    return runs;`, (operation) => {
    if (operation === "insertOne" && ++inserts === 1) throw conflict();
    if (operation === "abortTransaction") throw refusal("NoSuchTransaction", 251);
    if (operation === "commitTransaction" && ++commits === 1) throw conflict();
    return { v: null };
  });
  assert.equal(await answer, '{"$numberInt":"3"}');
  assert.deepEqual(names(rt), [
    ["insertOne", 1], ["abortTransaction", 1], ["insertOne", 2], ["commitTransaction", 2], ["insertOne", 3], ["commitTransaction", 3],
  ]);
  assert.equal(waits.length, 2);
  assert.ok(waits.every((wait) => wait >= 1 && wait <= 10), `${waits}`);
});

test("a commit of which nobody knows what became is asked for again, alone", async () => {
  let commits = 0;
  const { rt, answer } = run(`
    await session.withTransaction(async () => { await coll.insertOne({}, { session }); });
    return "done";`, (operation) => {
    if (operation === "commitTransaction" && ++commits < 3) throw refusal("HostUnreachable", 6, "UnknownTransactionCommitResult");
    return { v: null };
  });
  assert.equal(await answer, '"done"');
  assert.deepEqual(names(rt), [["insertOne", 1], ["commitTransaction", 1], ["commitTransaction", 1], ["commitTransaction", 1]]);
});

test("withTransaction gives up after two minutes, with the error that it met last", async () => {
  let time = 0;
  const { rt, answer } = run(`
    try {
      await session.withTransaction(async () => { await coll.insertOne({}, { session }); });
    } catch (error) {
      const { code, codeName, errorLabels } = error;
      return { code, codeName, errorLabels, has: ["TransientTransactionError", "other"].map((label) => error.hasErrorLabel(label)) };
    }`,
  (operation) => {
    if (operation !== "insertOne") return { v: null };
    time += 50_000;
    throw conflict();
  }, () => time);
  assert.deepEqual(JSON.parse(await answer), {
    code: { $numberInt: "112" }, codeName: "WriteConflict", errorLabels: ["TransientTransactionError"], has: [true, false],
  });
  assert.deepEqual(names(rt).filter(([operation]) => operation === "insertOne"), [["insertOne", 1], ["insertOne", 2], ["insertOne", 3]]);
});

test("what a session cannot do is refused in words", async (t) => {
  const rows = [
    ["await session.commitTransaction()", "No transaction started"],
    ["await session.abortTransaction()", "No transaction started"],
    ["session.startTransaction(); session.startTransaction()", "Transaction already in progress"],
    ["session.startTransaction(); await session.abortTransaction(); await session.abortTransaction()", "Cannot call abortTransaction twice"],
    ["session.startTransaction(); await session.abortTransaction(); await session.commitTransaction()", "Cannot call commitTransaction after calling abortTransaction"],
    ["session.startTransaction(); await session.commitTransaction(); await session.abortTransaction()", "Cannot call abortTransaction after calling commitTransaction"],
    ["await session.endSession(); session.startTransaction()", "Cannot use a session that has ended"],
    ["await session.endSession(); await coll.insertOne({}, { session })", "Cannot use a session that has ended"],
    ["session.startTransaction({ readPreference: { mode: 'secondary' } })", "Read preference in a transaction must be primary"],
    ["session.startTransaction({ causal: true })", "the option 'causal' of a transaction is not available in this version of Portico"],
    ["await session.withTransaction()", "session.withTransaction needs a function to call, but got a value of type undefined"],
    ["await session.withTransaction(() => 1)", "the function given to session.withTransaction must return a promise"],
  ];
  for (const [body, message] of rows) {
    await t.test(body, async () => {
      const { rt, answer } = run(body);
      const failure = await rt.failure(() => answer);
      assert.equal(failure[0], message);
    });
  }
});
