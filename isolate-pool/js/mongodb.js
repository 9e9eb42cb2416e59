// Gives: the client behind `context.services.get("mongodb-atlas")`: databases, collections, cursors. Every operation is
// one `natives.documents(call, service, database, collection, operation, arguments, as)`, started when it is called; `as`
// is the function on whose behalf it is asked, when that function runs as system and the call does not.
// Arguments: insertOne {document}, insertMany {documents, ordered}, find {filter, projection?, sort?, skip?, limit?},
// findOne {filter, projection?}, count {filter, limit?}, updateOne and updateMany {filter, update, upsert, arrayFilters?},
// replaceOne {filter, replacement, upsert}, deleteOne and deleteMany {filter}, findOneAndUpdate {filter, update, sort?,
// projection?, upsert, arrayFilters?, returnNewDocument}, findOneAndReplace likewise with {replacement}, findOneAndDelete
// {filter, sort?, projection?}, distinct {path, filter}, bulkWrite {operations, ordered}, aggregate {pipeline, let?} (of a
// database when the collection is ""), collections and databases {}, getMore and closeCursor {cursor}.
//
// All but inserts and distinct take {let?} as well, the variables of expressions; an update is a document, or an array of
// stages that compute the new document.
//
// An operation with the option `session`, in a transaction of it, has {session: {id, transaction}} among its arguments.
//
// Absent: change streams, which the platform has for clients. Their method says so.
(function (portico) {
  "use strict";
  const { Number } = portico.globals;
  const { ArrayIsArray, NumberIsInteger, ObjectKeys, Session, WeakSetAdd, fail, kind, placed, shown } =
    portico;

  /** Promises of `count`: put un-awaited into a result they become a 64-bit integer, as the platform always did. */
  const counts = new WeakSet();

  class Client {
    #call;
    #service;
    #as;

    constructor(call, service, as) {
      this.#call = call;
      this.#service = service;
      this.#as = as;
    }

    startSession() { return new Session(this.#call, this.#service, this.#as); }

    db(name) { return new Database(this.#call, this.#service, this.#as, checkName("database", name)); }

    admin() { return new Admin(this.#call, this.#service, this.#as); }
  }

  class Admin {
    #call;
    #service;
    #as;

    constructor(call, service, as) {
      this.#call = call;
      this.#service = service;
      this.#as = as;
    }

    async getDBNames() {
      const { documents } = portico.natives;
      try {
        return (await documents(this.#call, this.#service, "", "", "databases", {}, this.#as)).v;
      } catch (error) {
        throw placed(error);
      }
    }
  }

  class Database {
    #call;
    #service;
    #as;
    #name;

    constructor(call, service, as, name) {
      this.#call = call;
      this.#service = service;
      this.#as = as;
      this.#name = name;
    }

    collection(name) {
      return new Collection(this.#call, this.#service, this.#as, this.#name, checkName("collection", name));
    }

    /** Of documents that the pipeline makes itself. */
    aggregate(pipeline, options) {
      const ask = (operation, args, session) => this.#ask(operation, args, session);
      return new Cursor(ask, "aggregate", pipelineOf("db", pipeline, options), options?.session);
    }

    async getCollectionNames() {
      try {
        return (await this.#ask("collections", {})).v;
      } catch (error) {
        throw placed(error);
      }
    }

    #ask(operation, args, session) {
      const { documents } = portico.natives;
      const transaction = Session.claim(operation, session, this.#call, this.#service);
      if (transaction !== undefined) args = { ...args, session: transaction };
      return documents(this.#call, this.#service, this.#name, "", operation, args, this.#as);
    }
  }

  class Collection {
    #call;
    #service;
    #as;
    #database;
    #name;

    constructor(call, service, as, database, name) {
      this.#call = call;
      this.#service = service;
      this.#as = as;
      this.#database = database;
      this.#name = name;
    }

    /** Async, so that whatever is wrong with the arguments rejects; the operation still starts before it returns. */
    async #run(operation, args, options) {
      try {
        return (await this.#ask(operation, args, options?.session)).v;
      } catch (error) {
        throw placed(error);
      }
    }

    #ask(operation, args, session) {
      const { documents } = portico.natives;
      const transaction = Session.claim(operation, session, this.#call, this.#service);
      if (transaction !== undefined) args = { ...args, session: transaction };
      return documents(this.#call, this.#service, this.#database, this.#name, operation, args, this.#as);
    }

    async insertOne(document, options) {
      allow("insertOne", options, NONE);
      return this.#run("insertOne", { document: checkDocument("insertOne", "the document", document) }, options);
    }

    async insertMany(documents, options) {
      allow("insertMany", options, ["ordered"]);
      if (!ArrayIsArray(documents)) {
        throw wrong(`collection.insertMany: the documents must be an array, but got ${shown(documents)}`);
      }
      if (documents.length === 0) throw wrong("must provide at least one element");
      for (let index = 0; index < documents.length; index++) {
        checkDocument("insertMany", `document ${index}`, documents[index]);
      }
      return this.#run("insertMany", { documents, ordered: options?.ordered !== false }, options);
    }

    find(filter, projection, options) {
      allow("find", options, ["projection", "sort", "skip", "limit", "let"]);
      const args = withLet("find", { filter: checkFilter("find", filter) }, options);
      const fields = projection ?? options?.projection;
      if (fields !== undefined && fields !== null) args.projection = checkDocument("find", "the projection", fields);
      const cursor = this.#cursor("find", args, options);
      if (options?.sort !== undefined) cursor.sort(options.sort);
      if (options?.skip !== undefined) cursor.skip(options.skip);
      if (options?.limit !== undefined) cursor.limit(options.limit);
      return cursor;
    }

    aggregate(pipeline, options) {
      return this.#cursor("aggregate", pipelineOf("collection", pipeline, options), options);
    }

    #cursor(operation, args, options) {
      const ask = (operation, args, session) => this.#ask(operation, args, session);
      return new Cursor(ask, operation, args, options?.session);
    }

    async findOne(filter, projection, options) {
      allow("findOne", options, ["projection", "let"]);
      const args = withLet("findOne", { filter: checkFilter("findOne", filter) }, options);
      const fields = projection ?? options?.projection;
      if (fields !== undefined && fields !== null) args.projection = checkDocument("findOne", "the projection", fields);
      return this.#run("findOne", args, options);
    }

    count(filter, options) {
      const promise = this.#count("count", filter, options);
      WeakSetAdd(counts, promise);
      return promise;
    }

    countDocuments(filter, options) {
      const promise = this.#count("countDocuments", filter, options);
      WeakSetAdd(counts, promise);
      return promise;
    }

    estimatedDocumentCount(options) {
      const promise = this.#count("estimatedDocumentCount", undefined, options);
      WeakSetAdd(counts, promise);
      return promise;
    }

    async #count(method, filter, options) {
      allow(method, options, ["limit", "let"]);
      const args = withLet(method, { filter: checkFilter(method, filter) }, options);
      if (options?.limit !== undefined) args.limit = checkAmount("limit", options.limit);
      return Number(await this.#run("count", args, options));
    }

    async updateOne(filter, update, options) { return this.#update("updateOne", filter, update, options); }

    async updateMany(filter, update, options) { return this.#update("updateMany", filter, update, options); }

    #update(operation, filter, update, options) {
      allow(operation, options, ["upsert", "arrayFilters", "let"]);
      checkChange(operation, update);
      const args = { filter: checkFilter(operation, filter), update, upsert: options?.upsert === true };
      return this.#run(operation, withLet(operation, withFilters(operation, args, options), options), options);
    }

    async replaceOne(filter, replacement, options) {
      allow("replaceOne", options, ["upsert", "let"]);
      checkDocument("replaceOne", "the replacement", replacement);
      const args = { filter: checkFilter("replaceOne", filter), replacement, upsert: options?.upsert === true };
      return this.#run("replaceOne", withLet("replaceOne", args, options), options);
    }

    async findOneAndUpdate(filter, update, options) {
      const change = { update: checkChange("findOneAndUpdate", update) };
      return this.#modify("findOneAndUpdate", filter, change, options);
    }

    async findOneAndReplace(filter, replacement, options) {
      checkDocument("findOneAndReplace", "the replacement", replacement);
      return this.#modify("findOneAndReplace", filter, { replacement }, options);
    }

    #modify(operation, filter, change, options) {
      allow(operation, options, ["upsert", "sort", "projection", "returnNewDocument", "arrayFilters", "let"]);
      const upsert = options?.upsert === true;
      const returnNewDocument = options?.returnNewDocument === true;
      const args = { ...this.#chosen(operation, filter, options), ...change, upsert, returnNewDocument };
      return this.#run(operation, withFilters(operation, args, options), options);
    }

    async findOneAndDelete(filter, options) {
      allow("findOneAndDelete", options, ["sort", "projection", "let"]);
      return this.#run("findOneAndDelete", this.#chosen("findOneAndDelete", filter, options), options);
    }

    /** Which document, and what of it is returned. */
    #chosen(operation, filter, options) {
      const args = withLet(operation, { filter: checkFilter(operation, filter) }, options);
      const sort = options?.sort;
      const projection = options?.projection;
      if (sort !== undefined && sort !== null) args.sort = checkDocument(operation, "the sort order", sort);
      if (projection !== undefined && projection !== null) {
        args.projection = checkDocument(operation, "the projection", projection);
      }
      return args;
    }

    async distinct(path, filter, options) {
      allow("distinct", options, NONE);
      if (typeof path !== "string" || path === "") {
        throw wrong(`collection.distinct: the field must be a string, but got ${shown(path)}`);
      }
      return this.#run("distinct", { path, filter: checkFilter("distinct", filter) }, options);
    }

    async bulkWrite(operations, options) {
      allow("bulkWrite", options, ["ordered", "let"]);
      if (!ArrayIsArray(operations)) {
        throw wrong(`collection.bulkWrite: the operations must be an array, but got ${shown(operations)}`);
      }
      if (operations.length === 0) throw wrong("must provide at least one element");
      const read = [];
      for (let index = 0; index < operations.length; index++) read[index] = bulkOperation(operations[index], index);
      const args = withLet("bulkWrite", { operations: read, ordered: options?.ordered !== false }, options);
      return this.#run("bulkWrite", args, options);
    }

    initializeOrderedBulkOp() { return this.#bulk(true); }

    initializeUnorderedBulkOp() { return this.#bulk(false); }

    #bulk(ordered) { return new Bulk((operations, options) => this.bulkWrite(operations, { ...options, ordered })); }

    async deleteOne(filter, options) {
      allow("deleteOne", options, ["let"]);
      const args = withLet("deleteOne", { filter: checkFilter("deleteOne", filter) }, options);
      return this.#run("deleteOne", args, options);
    }

    /** Clients watch; a function ends, and a stream would end with it. */
    watch() { throw fail("NotAvailable", "collection.watch is not available in functions, only to clients"); }

    async deleteMany(filter, options) {
      allow("deleteMany", options, ["let"]);
      const args = withLet("deleteMany", { filter: checkFilter("deleteMany", filter) }, options);
      return this.#run("deleteMany", args, options);
    }
  }

  /** One operation of a bulk write, in the form the platform reads. */
  function bulkOperation(operation, index) {
    const names = operation !== null && typeof operation === "object" ? ObjectKeys(operation) : NONE;
    const given = operation?.[names[0]];
    if (names.length !== 1 || given === null || typeof given !== "object") {
      throw wrong(`collection.bulkWrite: operation ${index} must be like { updateOne: { filter, update } }`);
    }
    const [name] = names;
    // Both `{insertOne: {document: {…}}}` and `{insertOne: {…}}` were documented.
    if (name === "insertOne") {
      const { document } = given;
      const wrapped = ObjectKeys(given).length === 1 && document !== null && typeof document === "object";
      return { insertOne: { document: wrapped ? document : given } };
    }
    return { [name]: given };
  }

  /** Operations gathered one by one, and sent together by `execute`. */
  class Bulk {
    #send;
    #operations = [];

    constructor(send) { this.#send = send; }

    insert(document) { return this.#add({ insertOne: { document } }); }

    find(filter) {
      const add = (operation) => this.#add(operation);
      const chosen = (upsert) => ({
        update: (update) => add({ updateMany: { filter, update, upsert } }),
        updateOne: (update) => add({ updateOne: { filter, update, upsert } }),
        replaceOne: (replacement) => add({ replaceOne: { filter, replacement, upsert } }),
        remove: () => add({ deleteMany: { filter } }),
        removeOne: () => add({ deleteOne: { filter } }),
        upsert: () => chosen(true),
      });
      return chosen(false);
    }

    execute(options) {
      const operations = this.#operations;
      this.#operations = [];
      return this.#send(operations, options);
    }

    #add(operation) {
      this.#operations[this.#operations.length] = operation;
      return this;
    }
  }

  /** The arguments of an aggregation. Whether it may use the disk is the store's own matter, so that option is let through. */
  function pipelineOf(object, pipeline, options) {
    allow("aggregate", options, ["allowDiskUse", "let"], object);
    if (!ArrayIsArray(pipeline)) {
      throw wrong(`${object}.aggregate: the pipeline must be an array of stages, but got ${shown(pipeline)}`);
    }
    const args = { pipeline: [] };
    for (let index = 0; index < pipeline.length; index++) {
      args.pipeline[index] = checkDocument("aggregate", `stage ${index}`, pipeline[index]);
    }
    const variables = options?.let;
    if (variables !== undefined && variables !== null) {
      args.let = checkDocument("aggregate", "the variables", variables);
    }
    return args;
  }

  /**
   * What a query or a pipeline found, fetched in batches when asked for. Not a promise; a cursor that a function returns becomes an
   * array. Each batch continues where the one before ended, and two readers at once share one fetch.
   */
  class Cursor {
    #documents;
    #args;
    #session; // of the query; what comes after it knows its cursor
    #operation;
    #maps = [];
    #batch = [];
    #index = 0;
    #id; // undefined before the first batch, then the host's handle, then `null` when there is no more
    #fetching;

    constructor(documents, operation, args, session) {
      this.#documents = documents;
      this.#operation = operation;
      this.#args = args;
      this.#session = session;
    }

    sort(order) { return this.#shape("sort", checkDocument("find", "the sort order", order)); }
    skip(amount) { return this.#shape("skip", checkAmount("skip", amount)); }
    limit(amount) { return this.#shape("limit", checkAmount("limit", amount)); }
    projection(fields) { return this.#shape("projection", checkDocument("find", "the projection", fields)); }
    project(fields) { return this.projection(fields); }

    #shape(name, value) {
      if (this.#id !== undefined || this.#fetching !== undefined) {
        throw wrong(`cursor.${name}: the cursor has already been read from`);
      }
      if (this.#operation === "find") {
        this.#args[name] = value;
      } else {
        // A pipeline goes on with one more stage.
        const { pipeline } = this.#args;
        pipeline[pipeline.length] = { [name === "projection" ? "$project" : `$${name}`]: value };
      }
      return this;
    }

    /** How many documents the query means, whatever is skipped and where it is limited. */
    async count() {
      if (this.#operation !== "find") throw unavailable("cursor.count of an aggregation");
      try {
        return Number((await this.#documents("count", { filter: this.#args.filter })).v);
      } catch (error) {
        throw placed(error);
      }
    }

    /** Documents are given as the function makes them. */
    map(change) {
      if (typeof change !== "function") throw wrong(`cursor.map: a function is needed, but got ${shown(change)}`);
      this.#maps[this.#maps.length] = change;
      return this;
    }

    /** Calls the function with each document, and waits for it, until it answers `false`. */
    async forEach(see) {
      if (typeof see !== "function") throw wrong(`cursor.forEach: a function is needed, but got ${shown(see)}`);
      while (await this.hasNext()) {
        if ((await see(this.#take())) === false) return this.close();
      }
    }

    #take() {
      let document = this.#batch[this.#index++];
      for (let index = 0; index < this.#maps.length; index++) document = (0, this.#maps[index])(document);
      return document;
    }

    async next() {
      while (this.#index >= this.#batch.length) {
        if (this.#id === null) return undefined;
        await this.#fetch();
      }
      return this.#take();
    }

    async hasNext() {
      while (this.#index >= this.#batch.length) {
        if (this.#id === null) return false;
        await this.#fetch();
      }
      return true;
    }

    async toArray() {
      const all = [];
      for (;;) {
        while (this.#index < this.#batch.length) all[all.length] = this.#take();
        if (this.#id === null) return all;
        await this.#fetch();
      }
    }

    async close() {
      const id = this.#id;
      this.#id = null;
      this.#batch = [];
      this.#index = 0;
      if (id !== undefined && id !== null) await this.#documents("closeCursor", { cursor: id });
    }

    [Symbol.asyncIterator]() {
      return {
        next: async () => {
          const done = !(await this.hasNext());
          return { value: done ? undefined : this.#take(), done };
        },
        return: async (value) => {
          await this.close();
          return { value, done: true };
        },
      };
    }

    #fetch() {
      return (this.#fetching ??= this.#read());
    }

    async #read() {
      try {
        const first = this.#id === undefined;
        const answer = await (first
          ? this.#documents(this.#operation, this.#args, this.#session)
          : this.#documents("getMore", { cursor: this.#id }));
        const closed = this.#id === null; // closed while the batch was under way
        this.#batch = closed ? [] : answer.v;
        this.#index = 0;
        const more = isOpen(answer.cursor);
        if (closed && more) await this.#documents("closeCursor", { cursor: answer.cursor });
        this.#id = more && !closed ? answer.cursor : null;
      } catch (error) {
        this.#id = null;
        throw placed(error);
      } finally {
        this.#fetching = undefined;
      }
    }

    static is(value) { return #documents in value; }
  }

  function isOpen(id) {
    if (id === undefined || id === null) return false;
    return typeof id === "object" && id[kind] === 4 ? !(id.low === 0 && id.high === 0) : id !== 0;
  }

  // --------------------------------------------------------------------------------------------------------- arguments

  const NONE = [];
  const wrong = (message) => fail("InvalidParameter", message);
  const unavailable = (what) => fail("NotAvailable", `${what} is not available in this version of Portico`);

  /** An option we would have to ignore is refused: an update without its arrayFilters changes the wrong things. */
  function allow(operation, options, names, object = "collection") {
    if (options === undefined || options === null) return;
    if (typeof options !== "object") {
      throw wrong(`${object}.${operation}: the options must be an object, but got ${shown(options)}`);
    }
    const keys = ObjectKeys(options);
    for (let index = 0; index < keys.length; index++) {
      // Every operation can be part of a transaction.
      if (options[keys[index]] === undefined || keys[index] === "session" || names.includes(keys[index])) continue;
      throw unavailable(`${object}.${operation}: the option '${keys[index]}'`);
    }
  }

  function checkName(what, name) {
    if (typeof name === "string" && name !== "") return name;
    throw wrong(`the name of a ${what} must be a string, but was ${shown(name)}`);
  }

  function checkDocument(operation, what, document) {
    if (document === null || typeof document !== "object" || ArrayIsArray(document) || document[kind] !== undefined) {
      throw wrong(`collection.${operation}: ${what} must be a document, but got ${shown(document)}`);
    }
    return document;
  }

  function checkFilter(operation, filter) {
    return filter === undefined || filter === null ? {} : checkDocument(operation, "the query", filter);
  }

  function withFilters(operation, args, options) {
    const filters = options?.arrayFilters;
    if (filters === undefined || filters === null) return args;
    if (!ArrayIsArray(filters)) {
      throw wrong(`collection.${operation}: arrayFilters must be an array, but got ${shown(filters)}`);
    }
    args.arrayFilters = filters;
    return args;
  }

  /** What expressions name as `$$name`. */
  function withLet(operation, args, options) {
    const variables = options?.let;
    if (variables !== undefined && variables !== null) args.let = checkDocument(operation, "let", variables);
    return args;
  }

  /** Operators in a document, or the stages of a pipeline in an array. */
  function checkChange(operation, update) {
    if (!ArrayIsArray(update)) return checkDocument(operation, "the update", update);
    if (update.length === 0) throw wrong(`collection.${operation}: the update must have at least one stage`);
    for (let index = 0; index < update.length; index++) {
      checkDocument(operation, `stage ${index} of the update`, update[index]);
    }
    return update;
  }

  function checkAmount(what, amount) {
    const number = Number(amount);
    if (NumberIsInteger(number) && number >= 0) return number;
    throw wrong(`${what} must be an integer of at least 0, but was ${shown(amount)}`);
  }

  // A constructor takes the number of a call; a tenant must not make one for another call.
  delete Client.prototype.constructor;
  delete Admin.prototype.constructor;
  delete Database.prototype.constructor;
  delete Collection.prototype.constructor;
  delete Cursor.prototype.constructor;
  delete Bulk.prototype.constructor;

  portico.Client = Client;
  portico.Cursor = Cursor;
  portico.counts = counts;
})(globalThis.__portico);
