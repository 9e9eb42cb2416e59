// The page behind the `link` of an error: one call of an app, and the calls around it.
//
// In: the address, /groups/<group>/apps/<app>/logs?co_id=<call>, and an administrator's key pair. Out: what the Admin API
// says to that administrator. Nothing an app or its callers wrote is ever taken for markup: text is set as text.
"use strict";

const [, , group, , app] = location.pathname.split("/");
const appPath = `/groups/${encodeURIComponent(group)}/apps/${encodeURIComponent(app)}`;
const KEPT = "portico-session";
const PAGE = 50;
const LIVE_MS = 2000;
/** Lines of a source shown before and behind the one that failed. */
const AROUND = 4;

const at = (id) => document.getElementById(id);
let session = JSON.parse(sessionStorage.getItem(KEPT) ?? "null");
let chosen = new URLSearchParams(location.search).get("co_id");
let shown = []; // entries in the list, newest first
let next = null; // where the next page begins

// ------------------------------------------------------------------------------------------------------------ asking

class Refused extends Error {
  constructor(status, body) {
    super(body?.error ?? `the server answered ${status}`);
    this.status = status;
    this.code = body?.error_code;
  }
}

async function call(method, path, token, body) {
  const headers = body === undefined ? {} : { "Content-Type": "application/json" };
  if (token) headers.Authorization = `Bearer ${token}`;
  const answer = await fetch(`/api/admin/v3.0${path}`, { method, headers, body: body && JSON.stringify(body) });
  const json = answer.status === 204 ? null : await answer.json().catch(() => null);
  if (!answer.ok) throw new Refused(answer.status, json);
  return json;
}

/** Asks as whoever signed in; an access token that has run out is renewed once. */
async function ask(path) {
  try {
    return await call("GET", path, session.access_token);
  } catch (error) {
    if (error.code !== "InvalidSession") throw error;
  }
  try {
    const renewed = await call("POST", "/auth/session", session.refresh_token);
    keep({ ...session, access_token: renewed.access_token });
  } catch (error) {
    keep(null);
    enter("The session has ended. Sign in again.");
    throw error;
  }
  return call("GET", path, session.access_token);
}

function keep(next) {
  session = next;
  if (next === null) sessionStorage.removeItem(KEPT);
  else sessionStorage.setItem(KEPT, JSON.stringify(next));
}

// ----------------------------------------------------------------------------------------------------------- making

/** An element. Members of `parts` that are strings become text. */
function make(tag, className, ...parts) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  element.append(...parts.filter((part) => part !== null && part !== undefined));
  return element;
}

function statusOf(entry) {
  const status = entry.status === undefined ? "–" : String(entry.status);
  return make("span", `status s${status[0]}`, status);
}

function whatOf(entry) {
  if (entry.endpoint_route) return `${entry.request_method} ${entry.endpoint_route}`;
  return entry.function_name ?? `${entry.request_method ?? ""} ${entry.request_url ?? entry.type}`.trim();
}

function tookOf(entry) {
  const ms = new Date(entry.completed) - new Date(entry.started);
  if (!(ms >= 0)) return "";
  return ms < 1000 ? `${ms} ms` : `${(ms / 1000).toFixed(ms < 10000 ? 2 : 1)} s`;
}

function dateOf(text) {
  const date = new Date(text);
  return Number.isNaN(date.getTime()) ? text : date.toLocaleString(undefined, { dateStyle: "medium", timeStyle: "medium" });
}

function timeOf(text) {
  const date = new Date(text);
  const today = date.toDateString() === new Date().toDateString();
  return today ? date.toLocaleTimeString() : date.toLocaleString(undefined, { dateStyle: "short", timeStyle: "short" });
}

// ------------------------------------------------------------------------------------------------------------- list

async function load(older) {
  const query = new URLSearchParams({ limit: PAGE });
  const text = at("search").value.trim();
  if (text) query.set("q", text);
  if (at("errors").checked) query.set("errors_only", "true");
  if (older && next) {
    query.set("end_date", next.date);
    query.set("skip", next.skip);
  }
  const page = await ask(`${appPath}/logs?${query}`);
  shown = older ? shown.concat(page.logs) : page.logs;
  next = page.nextEndDate ? { date: page.nextEndDate, skip: page.nextSkip ?? 0 } : null;
  list(text);
}

function list(text) {
  at("entries").replaceChildren(...shown.map(item));
  at("more").hidden = next === null;
  at("empty").hidden = shown.length > 0;
  at("empty").textContent = text || at("errors").checked ? "No call matches." : "Nothing has been called yet.";
}

function item(entry) {
  const messages = entry.messages ?? [];
  const said = entry.error ? wordsOf(entry.error) : messages[messages.length - 1];
  const button = make("button", "", statusOf(entry), make("span", "what", whatOf(entry)),
    make("span", "when", timeOf(entry.started)), said === undefined ? null : make("span", entry.error ? "said failed" : "said", said));
  button.type = "button";
  button.setAttribute("aria-current", String(entry.co_id === chosen));
  button.addEventListener("click", () => choose(entry));
  return make("li", "", button);
}

function choose(entry) {
  chosen = entry.co_id;
  history.replaceState(null, "", `?co_id=${encodeURIComponent(chosen)}`);
  for (const [index, child] of [...at("entries").children].entries()) {
    child.firstChild.setAttribute("aria-current", String(shown[index].co_id === chosen));
  }
  detail(entry);
}

// ----------------------------------------------------------------------------------------------------------- detail

function detail(entry) {
  const place = at("detail");
  document.title = `${entry.status ?? ""} ${whatOf(entry)} · Portico`.trim();
  const parts = [
    make("h2", "", statusOf(entry), whatOf(entry)),
    make("p", "dim", [dateOf(entry.started), tookOf(entry), entry.type].filter(Boolean).join(" · ")),
  ];
  const details = entry.error_details ?? {};
  const stack = details.stack ?? "";
  const where = placeOf(stack);
  let source = null;
  if (entry.error) {
    const failure = make("div", "card failure", make("strong", "", entry.error_code ?? "Error"), make("p", "", wordsOf(entry.error)));
    if (details.reason) failure.append(make("p", "dim", details.reason));
    parts.push(failure);
    if (where) {
      source = make("div", "");
      parts.push(source);
    }
    if (stack) parts.push(make("h3", "", where ? "Stack" : "Details"), make("pre", "card", stack.replace(/^ +/gm, "")));
  }
  const messages = entry.messages ?? [];
  if (messages.length > 0 || !entry.error) parts.push(make("h3", "", "Console"));
  if (messages.length > 0) parts.push(make("ol", "card console", ...messages.map((line) => make("li", "", line))));
  else if (!entry.error) parts.push(make("p", "dim", "The function wrote nothing."));
  if (entry.messages_dropped) parts.push(make("p", "dim", `${entry.messages_dropped} more lines were not kept.`));
  parts.push(...request(entry));
  parts.push(make("h3", "", "Call"), facts({
    "Request id": entry.co_id,
    Address: entry.request_url,
    "Asked from": entry.remote_ip_address,
    User: entry.user_id,
    Function: entry.function_name,
    Location: [entry.function_call_location, entry.function_call_provider_region].filter(Boolean).join(" · "),
    "Compute used": entry.mem_time_usage === undefined ? undefined : `${entry.mem_time_usage.toLocaleString()} bytes•ms`,
    Started: entry.started,
    Completed: entry.completed,
  }));
  place.replaceChildren(...parts);
  if (source) showSource(source, where, entry.function_name);
}

/** A thrown Error is kept as JSON of its message and name. */
function wordsOf(error) {
  try {
    const { name, message } = JSON.parse(error);
    if (typeof name === "string" && typeof message === "string") return `${name}: ${message}`;
  } catch {
    // It is text.
  }
  return error;
}

function facts(values) {
  const list = make("dl", "card");
  for (const [name, value] of Object.entries(values)) {
    if (value === undefined || value === null || value === "") continue;
    list.append(make("dt", "", name), make("dd", "", String(value)));
  }
  return list;
}

function request(entry) {
  const parts = [];
  const given = entry.function_call?.arguments;
  if (Array.isArray(given)) parts.push(make("h3", "", "Arguments"), make("pre", "card", JSON.stringify(given, null, 2)));
  let args = entry.endpoint_args;
  if (typeof args === "string") {
    try {
      args = JSON.parse(args);
    } catch {
      return parts;
    }
  }
  if (!args) return parts;
  const flat = (values) => Object.fromEntries(Object.entries(values ?? {}).map(([name, value]) => [name, [value].flat().join("\n")]));
  if (Object.keys(args.query ?? {}).length > 0) parts.push(make("h3", "", "Query"), facts(flat(args.query)));
  if (args.body) {
    const note = args.truncated ? "Body (its beginning)" : "Body";
    parts.push(make("h3", "", note), make("pre", "card", bodyText(args.body)));
  }
  if (Object.keys(args.headers ?? {}).length > 0) parts.push(make("h3", "", "Headers"), facts(flat(args.headers)));
  return parts;
}

function bodyText(body) {
  const base64 = body?.$binary?.base64 ?? "";
  const bytes = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
  let text;
  try {
    text = new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    return `${bytes.length.toLocaleString()} bytes that are no text`;
  }
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}

// ----------------------------------------------------------------------------------------------------------- source

/** The first place in one of the app's files that a stack names. */
function placeOf(stack) {
  const found = /functions\/([^\s():]+)\.js:(\d+):(\d+)/.exec(stack);
  return found && { name: found[1], line: Number(found[2]), column: Number(found[3]) };
}

/** The lines around the place, from the source that is deployed now. */
async function showSource(into, place) {
  const functions = await ask(`${appPath}/functions`);
  const wanted = functions.find((one) => one.name === place.name);
  if (!wanted) return;
  const { source } = await ask(`${appPath}/functions/${wanted._id}`);
  const lines = source.split("\n");
  if (place.line > lines.length) return;
  const block = make("pre", "card source");
  const first = Math.max(1, place.line - AROUND);
  for (let number = first; number <= Math.min(lines.length, place.line + AROUND); number++) {
    block.append(make("span", number === place.line ? "here" : "", make("span", "number", String(number)), lines[number - 1] || " "));
  }
  into.replaceChildren(make("h3", "path", `functions/${place.name}.js, line ${place.line}`), block);
}

// ---------------------------------------------------------------------------------------------------------- sessions

function enter(message) {
  at("logs").hidden = true;
  at("sign-out").hidden = true;
  at("login").hidden = false;
  at("login-error").textContent = message ?? "";
  at("public-key").focus();
}

async function open() {
  at("login").hidden = true;
  at("logs").hidden = false;
  at("sign-out").hidden = false;
  ask(appPath).then((one) => { at("app").textContent = one.client_app_id; }).catch(() => {});
  await load(false);
  if (chosen) {
    const page = await ask(`${appPath}/logs?co_id=${encodeURIComponent(chosen)}`);
    if (page.logs.length > 0) return detail(page.logs[0]);
    return missing(`Nothing is kept about the call ${chosen}.`, "Entries are kept for some days only, and appear when the call has ended.");
  }
  if (shown.length > 0) choose(shown[0]);
  else missing("No call has been made yet.", "Calls of this app's endpoints and functions appear here.");
}

function missing(what, why) {
  at("detail").replaceChildren(make("h2", "", what), make("p", "dim", why));
}

async function trying(work) {
  try {
    await work();
  } catch (error) {
    if (session !== null) missing(error.status === 404 ? "This app is not here, or not yours to see." : "That did not work.", error.message);
  }
}

at("login-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const pair = { username: at("public-key").value.trim(), apiKey: at("private-key").value.trim() };
  try {
    const { access_token, refresh_token } = await call("POST", "/auth/providers/mongodb-cloud/login", null, pair);
    keep({ access_token, refresh_token });
  } catch (error) {
    at("login-error").textContent = error.status === 401 ? "This key pair is not known here." : error.message;
    return;
  }
  at("private-key").value = "";
  trying(open);
});

at("sign-out").addEventListener("click", () => {
  call("DELETE", "/auth/session", session?.refresh_token).catch(() => {});
  keep(null);
  at("app").textContent = "";
  at("entries").replaceChildren();
  at("detail").replaceChildren();
  enter();
});

let typing;
at("search").addEventListener("input", () => {
  clearTimeout(typing);
  typing = setTimeout(() => trying(() => load(false)), 250);
});
at("filter").addEventListener("submit", (event) => {
  event.preventDefault();
  trying(() => load(false));
});
at("errors").addEventListener("change", () => trying(() => load(false)));
at("more").addEventListener("click", () => trying(() => load(true)));

setInterval(() => {
  // Older pages somebody has opened are not taken away again.
  if (at("live").checked && session !== null && !document.hidden && shown.length <= PAGE) trying(() => load(false));
}, LIVE_MS);

if (session === null) enter();
else trying(open);
