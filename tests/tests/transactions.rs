//! Transactions, through functions: together or not at all, run again after a conflict, and nothing left of a call that
//! ended without a commit.

use std::sync::LazyLock;

use portico_tests::{App, Backend, Request, Server, Setup};
use serde_json::{Value as Json, json};

static SERVER: LazyLock<Server> = LazyLock::new(|| Setup::default().start());

/// What every function here begins with: `client`, a collection `c` of the documents `{_id, n}`, a `session`.
const BEGINNING: &str = r#"
  const client = context.services.get("mongodb-atlas");
  const c = client.db("test").collection("things");
  const session = client.startSession();
  const set = (_id, n, options) => c.updateOne({ _id }, { $set: { n } }, { upsert: true, ...options });
  const all = async (options) => (await c.find({}, {}, options).sort({ _id: 1 }).toArray()).map(({ _id, n }) => [_id, n]);
  const thrown = (promise) => promise.then(() => null, (error) => error);
"#;

struct Steps(App);

fn steps(name: &str, steps: &[&str]) -> Steps {
    let mut backend = Backend::new().data_source();
    for (number, step) in steps.iter().enumerate() {
        let source = format!("exports = async function () {{ {BEGINNING} {step} }};");
        backend = backend.on("POST", &format!("/{number}"), &source);
    }
    Steps(SERVER.admin().serve(name, &backend))
}

impl Steps {
    fn run(&self, number: usize) -> Json {
        let answer = SERVER.call(&Request::post(&self.0.target(&format!("/{number}")), ""));
        assert_eq!(answer.status, 200, "step {number}: {answer}");
        answer.json()
    }

    fn fail(&self, number: usize) -> String {
        let answer = SERVER.call(&Request::post(&self.0.target(&format!("/{number}")), ""));
        assert_eq!(answer.status, 400, "step {number}: {answer}");
        answer.error().0
    }
}

#[test]
fn a_transaction_sees_itself_and_others_see_it_when_it_is_committed() {
    let steps = steps(
        "together",
        &["await set(1, 1);
           session.startTransaction({ readConcern: { level: 'snapshot' }, writeConcern: { w: 'majority' } });
           await set(2, 2, { session });
           await c.insertOne({ _id: 3, n: 3 }, { session });
           await c.deleteOne({ _id: 1 }, { session });
           const before = [await all({ session }), await all(), await c.count({}, { session }),
             (await c.findOneAndUpdate({ _id: 3 }, { $inc: { n: 1 } }, { session, returnNewDocument: true })).n,
             await c.distinct('n', {}, { session })];
           await session.commitTransaction();
           await session.commitTransaction();
           await session.endSession();
           return [...before, await all()];"],
    );
    let expected = json!([[[2, 2], [3, 3]], [[1, 1]], 2, 4, [2, 4], [[2, 2], [3, 4]]]);
    assert_eq!(steps.run(0), expected);
}

#[test]
fn nothing_is_left_of_a_call_that_ends_without_a_commit() {
    let steps = steps(
        "unfinished",
        &[
            "session.startTransaction(); await set(1, 1, { session }); return await all({ session });",
            "session.startTransaction(); await set(1, 2, { session }); throw new Error('tired');",
            "session.startTransaction(); await set(1, 3, { session }); await session.abortTransaction(); return await all();",
            // The documents are free again.
            "return await session.withTransaction(async () => { await set(1, 4, { session }); return await all({ session }); });",
            "return await all();",
        ],
    );
    assert_eq!(steps.run(0), json!([[1, 1]]));
    assert!(steps.fail(1).contains("tired"));
    assert_eq!(steps.run(2), json!([]));
    assert_eq!(steps.run(3), json!([[1, 4]]));
    assert_eq!(steps.run(4), json!([[1, 4]]));
}

#[test]
fn a_conflict_has_mongodb_s_number_and_label() {
    let steps = steps(
        "conflict",
        &["await set(1, 1);
           const other = client.startSession();
           session.startTransaction();
           other.startTransaction();
           await set(1, 2, { session });
           const error = await thrown(set(1, 3, { session: other }));
           const late = await thrown(other.commitTransaction());
           await session.commitTransaction();
           return [error.code, error.codeName, error.errorLabels, error.hasErrorLabel('TransientTransactionError'),
             late.code, late.codeName, await all()];"],
    );
    let label = json!(["TransientTransactionError"]);
    let expected = json!([112, "WriteConflict", label, true, 251, "NoSuchTransaction", [[1, 2]]]);
    assert_eq!(steps.run(0), expected);
}

#[test]
fn the_callback_runs_again_until_nobody_was_faster() {
    let steps = steps(
        "again",
        &[
            // At the write: the document has changed since the transaction first looked.
            "await set(1, 1);
             let runs = 0;
             await session.withTransaction(async () => {
               runs += 1;
               const { n } = await c.findOne({ _id: 1 }, {}, { session });
               if (runs === 1) await set(1, 10);
               await set(1, n + 1, { session });
             });
             return [runs, await all()];",
            // At the commit.
            "let runs = 0;
             await session.withTransaction(async () => {
               runs += 1;
               await c.updateOne({ _id: 1 }, { $inc: { n: 1 } }, { session });
               if (runs < 3) await set(1, 100 * runs);
             });
             return [runs, await all()];",
            // What is the callback's own fault is told at once.
            "let runs = 0;
             const error = await thrown(session.withTransaction(async () => {
               runs += 1;
               await c.insertOne({ _id: 1 }, { session });
             }));
             return [runs, error.code, error.hasErrorLabel('TransientTransactionError'), await all()];",
        ],
    );
    assert_eq!(steps.run(0), json!([2, [[1, 11]]]));
    assert_eq!(steps.run(1), json!([3, [[1, 201]]]));
    assert_eq!(steps.run(2), json!([1, 11000, false, [[1, 201]]]));
}

#[test]
fn every_operation_can_be_part_of_it() {
    let steps = steps(
        "operations",
        &["session.startTransaction();
           const options = { session };
           await c.insertMany([1, 2, 3, 4, 5, 6].map((_id) => ({ _id, n: _id })), options);
           await c.updateMany({ n: { $gt: 4 } }, { $inc: { n: 10 } }, options);
           await c.replaceOne({ _id: 1 }, { n: 100 }, options);
           await c.findOneAndReplace({ _id: 2 }, { n: 200 }, options);
           await c.findOneAndDelete({ _id: 3 }, options);
           await c.deleteMany({ n: 4 }, options);
           await c.bulkWrite([{ insertOne: { document: { _id: 7, n: 7 } } }, { deleteOne: { filter: { _id: 6 } } }], options);
           await c.initializeOrderedBulkOp().insert({ _id: 8, n: 8 }).execute(options);
           const inside = await all(options);
           const [{ sum }] = await c.aggregate([{ $group: { _id: null, sum: { $sum: '$n' } } }], options).toArray();
           const outside = await all();
           await session.commitTransaction();
           return [inside, outside, await all(), sum];"],
    );
    let documents = json!([[1, 100], [2, 200], [5, 15], [7, 7], [8, 8]]);
    assert_eq!(steps.run(0), json!([documents, [], documents, 330]));
}

#[test]
fn many_cursors_and_sessions_are_bounded_by_the_call() {
    let steps = steps(
        "bounds",
        &["for (let n = 0; n < 64; n++) {
             const one = client.startSession();
             one.startTransaction();
             await c.insertOne({ _id: n }, { session: one });
           }
           session.startTransaction();
           const error = await thrown(c.insertOne({ _id: 'more' }, { session }));
           return [error.code, error.message];"],
    );
    let text = "a call may have at most 64 sessions: end some with endSession()";
    assert_eq!(steps.run(0), json!(["SessionLimit", text]));
}

#[test]
fn money_moved_by_functions_at_once_is_neither_made_nor_lost() {
    let steps = steps(
        "money",
        &[
            "await c.insertMany([0, 1, 2, 3].map((_id) => ({ _id, n: 1000 }))); return 4;",
            "let moved = 0;
             for (let n = 0; n < 10; n++) {
               const from = Math.floor(Math.random() * 4);
               const to = (from + 1 + Math.floor(Math.random() * 3)) % 4;
               const amount = 1 + Math.floor(Math.random() * 400);
               moved += await session.withTransaction(async () => {
                 const account = await c.findOne({ _id: from }, {}, { session });
                 if (account.n < amount) return 0;
                 await c.updateOne({ _id: from }, { $set: { n: account.n - amount } }, { session });
                 await c.updateOne({ _id: to }, { $inc: { n: amount } }, { session });
                 return 1;
               });
               session.startTransaction();
               const total = (await all({ session })).reduce((sum, [, n]) => sum + n, 0);
               await session.commitTransaction();
               if (total !== 4000) throw new Error(`the total was ${total}`);
             }
             return moved;",
            "return (await all()).reduce((sum, [, n]) => sum + n, 0);",
        ],
    );
    steps.run(0);
    let moved: u64 = std::thread::scope(|scope| {
        let movers: Vec<_> = (0..4).map(|_| scope.spawn(|| steps.run(1).as_u64().unwrap())).collect();
        movers.into_iter().map(|mover| mover.join().unwrap()).sum()
    });
    assert!(moved > 0);
    println!("{moved} of 40 transfers had the money");
    assert_eq!(steps.run(2), json!(4000));
}
