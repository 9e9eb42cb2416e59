// Gives: `context`, one per call, shared by the functions the call executes. Members are made when first read, so a
// function pays only for what it uses; each call has its own copies, and what it changes in them no other call sees.
//
// Absent: what `context.http` does, which lies in a module of its own (`http.js`).
(function (portico) {
  "use strict";
  const { JSONParse, JSONStringify, ObjectKeys, PromiseReject, StringIncludes } = portico;

  class Context {
    #call;
    #action;
    #flat;
    #userJson;
    #system;
    #as;
    #made; // members made so far

    /** `as`: the function that runs as system and made this context, when the call itself does not run so. */
    constructor(call, action, flat, userJson, system, as) {
      this.#call = call;
      this.#action = action;
      this.#flat = flat;
      this.#userJson = userJson;
      this.#system = system;
      this.#as = as;
    }

    #once(name, make) {
      const made = (this.#made ??= { __proto__: null });
      return name in made ? made[name] : (made[name] = make());
    }

    get app() { return this.#once("app", () => JSONParse(appJson)); }
    get environment() { return this.#once("environment", () => JSONParse(environmentJson)); }
    get user() { return this.#once("user", () => parse(this.#userJson)); }

    /** Undefined in calls that no request caused, such as a trigger's. */
    get request() {
      return this.#once("request", () =>
        this.#flat === undefined ? undefined : portico.contextRequest(this.#flat, this.#action));
    }

    get values() { return this.#once("values", () => ({ get: valueOf })); }

    get services() {
      return this.#once("services", () => {
        const call = this.#call;
        const as = this.#as;
        return {
          get: (name) => {
            if (kindOf(name) === "data") return new portico.Client(call, name, as);
            return kindOf(name) === "http" ? this.http : undefined;
          },
        };
      });
    }

    get functions() {
      return this.#once("functions", () => ({ execute: (name, ...values) => this.#execute(name, values) }));
    }

    get http() { return this.#once("http", () => portico.internalModule("internal/http").clientOf(this.#call)); }

    runningAsSystem() { return this.#system; }

    /**
     * What the other function returns, as it returns it; it sees this same context and writes to the same log. One that
     * runs as system sees another, in which it does; whether the platform lets it is not decided here.
     */
    #execute(called, values) {
      let exported;
      try {
        const name = `${called}`;
        const rises = portico.lookUp(name).system && !this.#system;
        const context =
          rises ? new Context(this.#call, this.#action, this.#flat, this.#userJson, true, name) : this;
        exported = portico.instantiate(name, context, new portico.Console(this.#call));
      } catch (error) {
        return PromiseReject(error);
      }
      return exported(...values);
    }
  }

  let appJson = "{}";
  let environmentJson = "{}";
  let valuesJson = "{}";
  let values; // name -> value of primitive type, or the JSON text of another
  let services; // name -> what it gives: "data" or "http"

  /** Called once, when the isolate takes its app. */
  function take(app, values, environment) {
    appJson = app;
    valuesJson = values;
    environmentJson = environment;
  }

  function valueOf(name) {
    if (values === undefined) {
      values = { __proto__: null };
      const parsed = JSONParse(valuesJson);
      for (const key of ObjectKeys(parsed)) {
        const value = parsed[key];
        values[key] = value !== null && typeof value === "object" ? { json: JSONStringify(value) } : value;
      }
    }
    const value = values[name];
    return value !== null && typeof value === "object" ? JSONParse(value.json) : value;
  }

  /** Services of type `http` are of old apps; what they did is what `context.http` does. */
  function kindOf(name) {
    if (services === undefined) {
      services = { __proto__: null, "mongodb-atlas": "data", "mongodb-datafederation": "data" };
      const app = JSONParse(appJson);
      for (const service of app.httpServices ?? []) services[service] = "http";
      for (const source of app.dataSources ?? []) services[source] = "data";
    }
    return services[name];
  }

  /** The user document is stored, so it may hold Extended JSON; most do not, and plain parsing is faster. */
  function parse(text) {
    return StringIncludes(text, '"$') ? portico.ejsonParse(text) : JSONParse(text);
  }

  // A constructor takes the number of a call; a tenant must not make one for another call.
  delete Context.prototype.constructor;

  portico.Context = Context;
  portico.takeApp = take;
})(globalThis.__portico);
