// Gives: `performance`: now, timeOrigin, marks and measures. Time is as coarse as `Date.now()`: finer clocks tell a
// program what its neighbours do.
"use strict";

const timeOrigin = Date.now();
let last = 0;
let entries = [];

/** Most marks and measures that are kept; the oldest go. */
const ENTRIES_MAX = 10_000;

class PerformanceEntry {
  constructor(name, entryType, startTime, duration, detail) {
    this.name = name;
    this.entryType = entryType;
    this.startTime = startTime;
    this.duration = duration;
    this.detail = detail ?? null;
  }

  toJSON() { return { ...this }; }
}

class PerformanceMark extends PerformanceEntry {
  constructor(name, options) { super(`${name}`, "mark", options?.startTime ?? now(), 0, options?.detail); }
}

class PerformanceMeasure extends PerformanceEntry {}

/** Never backwards, whatever the clock does. */
function now() {
  last = Math.max(last, Date.now() - timeOrigin);
  return last;
}

function keep(entry) {
  entries.push(entry);
  if (entries.length > ENTRIES_MAX) entries = entries.slice(-ENTRIES_MAX / 2);
  return entry;
}

function timeOf(mark, standard) {
  if (mark === undefined) return standard;
  if (typeof mark === "number") return mark;
  const found = entries.findLast((entry) => entry.entryType === "mark" && entry.name === mark);
  if (found === undefined) throw new SyntaxError(`The "${mark}" performance mark has not been set`);
  return found.startTime;
}

class Performance {
  get timeOrigin() { return timeOrigin; }
  get [Symbol.toStringTag]() { return "Performance"; }
  now() { return now(); }
  mark(name, options) { return keep(new PerformanceMark(name, options)); }

  measure(name, startOrOptions, endMark) {
    const options = typeof startOrOptions === "object" && startOrOptions !== null ? startOrOptions : { start: startOrOptions, end: endMark };
    const end = options.end === undefined && options.duration !== undefined && options.start !== undefined
      ? timeOf(options.start) + options.duration : timeOf(options.end, now());
    const start = options.start === undefined && options.duration !== undefined ? end - options.duration : timeOf(options.start, 0);
    return keep(new PerformanceMeasure(`${name}`, "measure", start, end - start, options.detail));
  }

  clearMarks(name) { this.#clear("mark", name); }
  clearMeasures(name) { this.#clear("measure", name); }
  clearResourceTimings() {}
  setResourceTimingBufferSize() {}
  getEntries() { return [...entries]; }
  getEntriesByType(type) { return entries.filter((entry) => entry.entryType === type); }
  getEntriesByName(name, type) { return entries.filter((entry) => entry.name === name && (type === undefined || entry.entryType === type)); }
  eventLoopUtilization() { return { idle: 0, active: 0, utilization: 0 }; }
  timerify(work) { return work; }
  toJSON() { return { timeOrigin }; }

  #clear(type, name) { entries = entries.filter((entry) => entry.entryType !== type || (name !== undefined && entry.name !== name)); }
}

module.exports = { Performance, PerformanceEntry, PerformanceMark, PerformanceMeasure, performance: new Performance() };
