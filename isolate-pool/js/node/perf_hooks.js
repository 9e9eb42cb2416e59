// Gives: `perf_hooks`: a clock, marks and measures. The clock is as coarse as `process.hrtime`.
//
// Absent: entries of the engine's own (garbage collections, function times).

const { natives } = internal;

const origin = Date.now();
const start = natives.now();
const now = () => natives.now() - start;
const entries = [];
const observers = new Set();

class PerformanceEntry {
  constructor(name, entryType, startTime, duration, detail) {
    Object.assign(this, { name, entryType, startTime, duration, detail });
  }
  toJSON() { return { ...this }; }
}
class PerformanceMark extends PerformanceEntry {
  constructor(name, options) { super(`${name}`, "mark", options?.startTime ?? now(), 0, options?.detail ?? null); }
}
class PerformanceMeasure extends PerformanceEntry {}
class PerformanceResourceTiming extends PerformanceEntry {}

function keep(entry) {
  entries.push(entry);
  // Nobody clears marks in a function that is called a million times.
  if (entries.length > 1000) entries.shift();
  for (const observer of observers) observer.hear(entry);
  return entry;
}

class PerformanceObserver {
  static get supportedEntryTypes() { return ["mark", "measure"]; }
  #callback;
  #types = [];
  #heard = [];
  constructor(callback) { this.#callback = callback; }
  observe({ entryTypes, type }) {
    this.#types = entryTypes ?? [type];
    observers.add(this);
  }
  disconnect() { observers.delete(this); }
  takeRecords() { return this.#heard.splice(0); }
  hear(entry) {
    if (!this.#types.includes(entry.entryType)) return;
    if (this.#heard.push(entry) > 1) return;
    queueMicrotask(() => {
      const heard = this.takeRecords();
      const list = {
        getEntries: () => heard,
        getEntriesByName: (name) => heard.filter((one) => one.name === name),
        getEntriesByType: (wanted) => heard.filter((one) => one.entryType === wanted),
      };
      if (heard.length > 0) this.#callback(list, this);
    });
  }
}
class PerformanceObserverEntryList {}

const timeOf = (mark, otherwise) => {
  if (typeof mark === "number") return mark;
  if (mark === undefined) return otherwise;
  const found = entries.findLast((entry) => entry.entryType === "mark" && entry.name === mark);
  if (found === undefined) throw new SyntaxError(`The "${mark}" performance mark has not been set`);
  return found.startTime;
};

class Performance {
  get timeOrigin() { return origin; }
  now() { return now(); }
  mark(name, options) { return keep(new PerformanceMark(name, options)); }
  measure(name, from, to) {
    const options = from !== null && typeof from === "object" ? from : { start: from, end: to };
    const begin = timeOf(options.start, 0);
    const duration = options.duration ?? timeOf(options.end, now()) - begin;
    return keep(new PerformanceMeasure(`${name}`, "measure", begin, duration, options.detail ?? null));
  }
  clearMarks(name) { forget("mark", name); }
  clearMeasures(name) { forget("measure", name); }
  clearResourceTimings() {}
  getEntries() { return entries.slice(); }
  getEntriesByName(name, type) { return entries.filter((entry) => entry.name === name && (type === undefined || entry.entryType === type)); }
  getEntriesByType(type) { return entries.filter((entry) => entry.entryType === type); }
  setResourceTimingBufferSize() {}
  timerify(work) { return work; }
  eventLoopUtilization() { return { idle: 0, active: now(), utilization: 1 }; }
  get nodeTiming() { return { name: "node", entryType: "node", startTime: 0, duration: now() }; }
  toJSON() { return { timeOrigin: origin }; }
}

function forget(type, name) {
  for (let at = entries.length - 1; at >= 0; at--) {
    if (entries[at].entryType === type && (name === undefined || entries[at].name === name)) entries.splice(at, 1);
  }
}

class Histogram {
  #values = [];
  record(value) { this.#values.push(Number(value)); }
  recordDelta() {}
  reset() { this.#values = []; }
  get count() { return this.#values.length; }
  get min() { return this.#values.length === 0 ? 9223372036854776000 : Math.min(...this.#values); }
  get max() { return this.#values.length === 0 ? 0 : Math.max(...this.#values); }
  get mean() { return this.#values.reduce((sum, value) => sum + value, 0) / this.#values.length; }
  get stddev() {
    const mean = this.mean;
    return Math.sqrt(this.#values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / this.#values.length);
  }
  get exceeds() { return 0; }
  percentile(percent) {
    const sorted = this.#values.slice().sort((left, right) => left - right);
    return sorted[Math.max(0, Math.ceil((percent / 100) * sorted.length) - 1)] ?? 0;
  }
  enable() { return true; }
  disable() { return true; }
}

const performance = new Performance();

module.exports = {
  Performance, PerformanceEntry, PerformanceMark, PerformanceMeasure, PerformanceObserver, PerformanceObserverEntryList,
  PerformanceResourceTiming, performance,
  monitorEventLoopDelay: () => new Histogram(),
  createHistogram: () => new Histogram(),
  constants: { NODE_PERFORMANCE_GC_MAJOR: 4, NODE_PERFORMANCE_GC_MINOR: 1, NODE_PERFORMANCE_GC_INCREMENTAL: 8, NODE_PERFORMANCE_GC_WEAKCB: 16 },
};
