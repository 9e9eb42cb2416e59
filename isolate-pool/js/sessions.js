// Gives: `Session`, what `client.startSession()` returns: transactions begun, committed and aborted one by one, or as a
// whole by `withTransaction`, which runs its callback again when somebody else was faster. `claim` puts an operation into
// the session's transaction.
//
// A session is a number that the host counts; the platform knows it only within its call. A transaction exists on the
// platform from its first operation on, so one without operations costs nothing.
(function (portico) {
  "use strict";
  const { Math, Promise } = portico.globals;
  const { ArrayIncludes, ArrayIsArray, ObjectKeys, fail, placed, shown } = portico;
  const { random } = Math;

  /** How long `withTransaction` goes on trying, milliseconds; drivers of MongoDB do the same. */
  const RETRY_MS = 120_000;
  /** Waits between two attempts grow from the first to the last, milliseconds, and are cut short at random. */
  const BACKOFF_FIRST_MS = 5;
  const BACKOFF_MS_MAX = 500;

  const TRANSIENT = "TransientTransactionError";
  const UNKNOWN = "UnknownTransactionCommitResult";

  /** What may be asked of a transaction. Every one has a snapshot and a durable commit, which is all these can mean. */
  const OPTIONS = ["readConcern", "writeConcern", "readPreference", "maxCommitTimeMS"];

  let made = 0;

  class Session {
    #call;
    #service;
    #as;
    #id;
    #ended = false;
    #transactions = 0;
    /** "none", "begun", "running" (the platform knows of it), "committed", "empty" (committed without it), "aborted". */
    #state = "none";

    constructor(call, service, as) {
      this.#call = call;
      this.#service = service;
      this.#as = as;
      made += 1;
      this.#id = made;
    }

    get hasEnded() { return this.#ended; }

    inTransaction() { return this.#state === "begun" || this.#state === "running"; }

    startTransaction(options) {
      this.#mustLive();
      if (this.inTransaction()) throw wrong("Transaction already in progress");
      if (options !== undefined && options !== null) checkOptions(options);
      this.#transactions += 1;
      this.#state = "begun";
    }

    async commitTransaction() {
      this.#mustLive();
      if (this.#state === "none") throw wrong("No transaction started");
      if (this.#state === "aborted") throw wrong("Cannot call commitTransaction after calling abortTransaction");
      if (this.#state === "begun" || this.#state === "empty") {
        this.#state = "empty";
        return;
      }
      // Also the second time, when the first left open what happened.
      this.#state = "committed";
      await this.#ask("commitTransaction");
    }

    async abortTransaction() {
      this.#mustLive();
      if (this.#state === "none") throw wrong("No transaction started");
      if (this.#state === "aborted") throw wrong("Cannot call abortTransaction twice");
      if (!this.inTransaction()) throw wrong("Cannot call abortTransaction after calling commitTransaction");
      const running = this.#state === "running";
      this.#state = "aborted";
      if (!running) return;
      try {
        await this.#ask("abortTransaction");
      } catch {
        // It was over already, which is what was wanted.
      }
    }

    async endSession() {
      if (this.#ended) return;
      const known = this.#transactions > 0;
      this.#ended = true;
      this.#state = "none";
      if (known) await this.#ask("endSession");
    }

    /**
     * What the callback gives, after a commit. Run again from the start while what it or the commit fails with says that
     * this may help, and time remains; a commit whose outcome is not known is asked for again alone.
     */
    async withTransaction(body, options) {
      if (typeof body !== "function") {
        throw wrong(`session.withTransaction needs a function to call, but got ${shown(body)}`);
      }
      const end = portico.DateNow() + RETRY_MS;
      for (let attempt = 0; ; attempt++) {
        if (attempt > 0) await this.#wait(attempt);
        this.startTransaction(options);
        const number = this.#transactions;
        let result;
        try {
          const promise = body(this);
          if (typeof promise?.then !== "function") {
            throw wrong("the function given to session.withTransaction must return a promise");
          }
          result = await promise;
        } catch (error) {
          if (this.inTransaction()) await this.abortTransaction();
          if (isLabelled(error, TRANSIENT) && portico.DateNow() < end) continue;
          throw error;
        }
        // The function may have ended it itself.
        if (this.#transactions !== number || !this.inTransaction()) return result;
        const again = await this.#commitBefore(end);
        if (!again) return result;
      }
    }

    /** Whether the whole transaction has to run again. */
    async #commitBefore(end) {
      for (let attempt = 1; ; attempt++) {
        try {
          await this.commitTransaction();
          return false;
        } catch (error) {
          if (portico.DateNow() >= end) throw error;
          if (isLabelled(error, TRANSIENT)) return true;
          if (!isLabelled(error, UNKNOWN)) throw error;
          await this.#wait(attempt);
        }
      }
    }

    #wait(attempt) {
      let longest = BACKOFF_FIRST_MS;
      for (let step = 1; step < attempt && longest < BACKOFF_MS_MAX; step++) longest *= 1.5;
      const wait = 1 + Math.trunc(random() * (longest < BACKOFF_MS_MAX ? longest : BACKOFF_MS_MAX));
      return new Promise((resolve) => { portico.natives.timer(this.#call, wait, false, resolve); });
    }

    async #ask(operation) {
      try {
        const session = { id: this.#id, transaction: this.#transactions };
        await portico.natives.documents(this.#call, this.#service, "", "", operation, { session }, this.#as);
      } catch (error) {
        throw placed(error);
      }
    }

    #mustLive() {
      if (this.#ended) throw wrong("Cannot use a session that has ended");
    }

    /** Into which transaction an operation of a collection goes; `undefined` outside of transactions. */
    static claim(operation, session, call, service) {
      if (session === undefined || session === null) return undefined;
      if (typeof session !== "object" || !(#id in session)) {
        throw wrong(`collection.${operation}: session must be one that client.startSession() gave, but is ${shown(session)}`);
      }
      session.#mustLive();
      if (session.#call !== call || session.#service !== service) {
        throw wrong(`collection.${operation}: the session belongs to another client`);
      }
      if (!session.inTransaction()) return undefined;
      session.#state = "running";
      return { id: session.#id, transaction: session.#transactions };
    }
  }

  const wrong = (message) => fail("InvalidParameter", message);

  function isLabelled(error, label) {
    if (error === null || typeof error !== "object") return false;
    const labels = error.errorLabels;
    return ArrayIsArray(labels) && ArrayIncludes(labels, label);
  }

  function checkOptions(options) {
    if (typeof options !== "object") throw wrong(`the options of a transaction must be an object, but got ${shown(options)}`);
    const keys = ObjectKeys(options);
    for (let index = 0; index < keys.length; index++) {
      if (options[keys[index]] === undefined || ArrayIncludes(OPTIONS, keys[index])) continue;
      throw fail("NotAvailable", `the option '${keys[index]}' of a transaction is not available in this version of Portico`);
    }
    const { readPreference } = options;
    const mode = typeof readPreference === "object" && readPreference !== null ? readPreference.mode : readPreference;
    if (mode !== undefined && mode !== null && mode !== "primary") {
      throw wrong("Read preference in a transaction must be primary");
    }
  }

  // A constructor takes the number of a call; a tenant must not make one for another call.
  delete Session.prototype.constructor;

  portico.Session = Session;
})(globalThis.__portico);
