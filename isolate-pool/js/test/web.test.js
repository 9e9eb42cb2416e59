// The web's globals and `context.http`, against a world that answers with what a test says.
"use strict";
const test = require("node:test");
const assert = require("node:assert/strict");
const { start } = require("./runtime_under_test.js");

const plain = (value) => JSON.parse(JSON.stringify(value));

/** Evaluates an async function's body in a fresh runtime; `world` answers requests. Gives its JSON. */
async function run(body, world) {
  const rt = start({ world, functions: { f: `exports = async () => { ${body} }` } });
  const { body: text } = await rt.endpoint("f");
  return { value: text === undefined ? undefined : JSON.parse(text), asked: rt.asked };
}

async function table(t, rows, world) {
  for (const [source, expected] of rows) {
    await t.test(source, async () => {
      assert.deepEqual((await run(source.includes("return") ? source : `return ${source};`, world)).value, expected);
    });
  }
}

/** Answers every exchange with this. */
const answering = (answer, body = "") => () => ({
  status: 200, reason: "OK", headers: [], url: "http://a.example/", redirected: false, decoded: false, ...answer,
  body: { bytes: new Uint8Array(Buffer.from(body)) },
});

test("URL", (t) => table(t, [
  ["new URL('../b?x=1#y', 'https://u:p@Example.com:8443/a/c').href", "https://u:p@example.com:8443/b?x=1#y"],
  ["(({origin, host, hostname, port, pathname, search, hash, username, password, protocol}) => [origin, host, hostname, port, pathname, search, hash, username, password, protocol])(new URL('http://u:p@h:1/p?q#f'))",
    ["http://h:1", "h:1", "h", "1", "/p", "?q", "#f", "u", "p", "http:"]],
  ["const u = new URL('http://a/'); u.searchParams.append('k', 'a b&'); u.hash = 'z'; u.port = '81'; return [u.href, `${u}`, JSON.stringify(u)]",
    ["http://a:81/?k=a+b%26#z", "http://a:81/?k=a+b%26#z", '"http://a:81/?k=a+b%26#z"']],
  ["const u = new URL('http://a/?x=1'); const p = u.searchParams; u.search = '?y=2'; return [p.get('x'), p.get('y')]", [null, "2"]],
  ["[URL.canParse('nope'), URL.canParse('/x', 'http://a'), URL.parse('nope')]", [false, true, null]],
  ["try { new URL('nope'); } catch (e) { return [e instanceof TypeError, e.code, e.message]; }", [true, "ERR_INVALID_URL", "Invalid URL"]],
]));

test("URLSearchParams", (t) => table(t, [
  ["const p = new URLSearchParams('?a=1&b=2&a=3&c=%20+%26&d'); return [[...p], p.getAll('a'), p.size]",
    [[["a", "1"], ["b", "2"], ["a", "3"], ["c", "  &"], ["d", ""]], ["1", "3"], 5]],
  ["`${new URLSearchParams({ 'ä b': \"~!'()*-._\", x: 1 })}`", "%C3%A4+b=%7E%21%27%28%29*-._&x=1"],
  ["const p = new URLSearchParams([['b', 2], ['a', 1], ['b', 3]]); p.set('b', 'x'); p.sort(); p.delete('nope'); return `${p}`", "a=1&b=x"],
  ["[new URLSearchParams('a=%').get('a'), new URLSearchParams('a=%ff%41').get('a')]", ["%", "\ufffdA"]],
  ["const p = new URLSearchParams('a=1&a=2'); p.delete('a', '1'); return [`${p}`, p.has('a', '2'), p.has('a', '1')]", ["a=2", true, false]],
]));

test("Headers", (t) => table(t, [
  ["const h = new Headers({ B: '1', 'a-x': ' 2 ' }); h.append('b', '3'); h.append('Set-Cookie', 'x'); h.append('set-cookie', 'y'); return [[...h], h.get('B'), h.getSetCookie(), h.has('A-X')]",
    [[["a-x", "2"], ["b", "1, 3"], ["set-cookie", "x"], ["set-cookie", "y"]], "1, 3", ["x", "y"], true]],
  ["try { new Headers({ 'a b': '1' }); } catch (e) { return e.name; }", "TypeError"],
  ["try { new Headers([['a', 'b\\nc']]); } catch (e) { return e.name; }", "TypeError"],
  ["[...new Headers(new Headers([['x', 'y']])).keys()]", ["x"]],
]));

test("bodies", (t) => table(t, [
  ["await new Response('héé').text()", "héé"],
  ["await Response.json({ a: 1 }).json()", { a: 1 }],
  ["const r = new Response('x'); await r.text(); try { await r.text(); } catch (e) { return [r.bodyUsed, e.message]; }", [true, "Body is unusable: Body has already been read"]],
  ["const r = new Response('abc'); const c = r.clone(); return [await r.text(), await c.text()]", ["abc", "abc"]],
  ["const reader = new Response('abc').body.getReader(); const first = await reader.read(); const last = await reader.read(); return [new TextDecoder().decode(first.value), last.done]", ["abc", true]],
  ["let text = ''; for await (const chunk of new Response('abc').body) text += new TextDecoder().decode(chunk); return text", "abc"],
  ["const r = new Request('http://a/', { method: 'post', body: new URLSearchParams({ a: 'b c' }) }); return [r.method, r.headers.get('content-type'), await r.text()]",
    ["POST", "application/x-www-form-urlencoded;charset=UTF-8", "a=b+c"]],
  ["const f = new FormData(); f.append('t', 'x\\ny'); f.append('f', new File(['hey'], 'a.txt', { type: 'text/plain' })); const back = await new Response(f).formData(); return [back.get('t'), back.get('f').name, await back.get('f').text(), back.get('f').type]",
    ["x\r\ny", "a.txt", "hey", "text/plain"]],
  ["const b = new Blob(['ab', new Uint8Array([99]), new Blob(['d'])], { type: 'Text/X' }); return [b.size, b.type, await b.text(), await b.slice(1, -1).text(), (await b.arrayBuffer()).byteLength]",
    [4, "text/x", "abcd", "bc", 4]],
  ["new Request('http://a/', { method: 'GET', body: 'x' }).method", undefined],
  ["const s = new ReadableStream({ start(c) { c.enqueue('a'); c.enqueue(new Uint8Array([98])); c.close(); } }); return await new Response(s).text()", "ab"],
].filter(([, expected]) => expected !== undefined)));

test("streams", (t) => table(t, [
  ["const got = []; for await (const x of ReadableStream.from([1, 2, 3])) got.push(x); return got", [1, 2, 3]],
  ["const [a, b] = ReadableStream.from(['x', 'y']).tee(); const all = async (s) => { const r = []; for await (const c of s) r.push(c); return r; }; return [await all(a), await all(b)]", [["x", "y"], ["x", "y"]]],
  ["const up = new TransformStream({ transform(c, k) { k.enqueue(c.toUpperCase()); }, flush(k) { k.enqueue('!'); } }); const got = []; for await (const c of ReadableStream.from(['a', 'b', 'c', 'd']).pipeThrough(up)) got.push(c); return got", ["A", "B", "C", "D", "!"]],
  ["const got = []; await ReadableStream.from([1, 2]).pipeTo(new WritableStream({ write(c) { got.push(c); }, close() { got.push('end'); } })); return got", [1, 2, "end"]],
  ["let why; const s = new ReadableStream({ cancel(r) { why = r; } }); await s.cancel('no'); return why", "no"],
  ["const s = new ReadableStream({ start(c) { c.error(new Error('bad')); } }); try { await s.getReader().read(); } catch (e) { return e.message; }", "bad"],
  ["const d = ReadableStream.from([new Uint8Array([0xc3]), new Uint8Array([0xa9])]).pipeThrough(new TextDecoderStream()); let t = ''; for await (const c of d) t += c; return t", "é"],
]));

test("events and aborting", (t) => table(t, [
  ["const seen = []; const e = new EventTarget(); e.addEventListener('x', (v) => seen.push(v.type), { once: true }); e.dispatchEvent(new Event('x')); e.dispatchEvent(new Event('x')); return seen", ["x"]],
  ["const c = new AbortController(); const seen = []; c.signal.onabort = () => seen.push('on'); c.signal.addEventListener('abort', () => seen.push('listener')); c.abort(); c.abort(); return [seen, c.signal.aborted, c.signal.reason.name, c.signal.reason.code]",
    [["on", "listener"], true, "AbortError", 20]],
  ["const c = new AbortController(); const any = AbortSignal.any([c.signal]); c.abort('why'); return [any.aborted, any.reason]", [true, "why"]],
  ["try { AbortSignal.abort().throwIfAborted(); } catch (e) { return e instanceof DOMException; }", true],
  ["new CustomEvent('x', { detail: 5 }).detail", 5],
]));

test("structuredClone", (t) => table(t, [
  ["const a = { d: new Date(0), m: new Map([[1, { x: 2 }]]), s: new Set([3]), b: new Uint8Array([4, 5]), r: /x/gi, l: [, 1] }; a.self = a; const c = structuredClone(a); return [c !== a, c.self === c, c.d.getTime(), c.m.get(1).x, c.s.has(3), [...c.b], String(c.r), 0 in c.l]",
    [true, true, 0, 2, true, [4, 5], "/x/gi", false]],
  ["try { structuredClone({ f() {} }); } catch (e) { return e.name; }", "DataCloneError"],
  ["const id = BSON.ObjectId('5d505646cf6d4fe581014ab2'); const c = structuredClone({ id }).id; return [c !== id, c instanceof BSON.ObjectId, c.toHexString()]", [true, true, "5d505646cf6d4fe581014ab2"]],
  ["const e = structuredClone(new TypeError('t', { cause: 1 })); return [e instanceof TypeError, e.message, e.cause]", [true, "t", 1]],
]));

test("TextDecoder, in pieces and in other encodings", (t) => table(t, [
  ["const d = new TextDecoder(); return d.decode(new Uint8Array([0xe2, 0x82]), { stream: true }) + d.decode(new Uint8Array([0xac, 0x21]), { stream: true }) + d.decode()", "€!"],
  ["new TextDecoder('latin1').encoding + new TextDecoder('koi8-r').decode(new Uint8Array([0xc1]))", "windows-1252а"],
  ["const d = new TextDecoder('utf-16le'); return d.decode(new Uint8Array([0x61, 0, 0x3d]), { stream: true }) + d.decode(new Uint8Array([0xd8, 0, 0xde]), { stream: true }) + d.decode()", "a\u{1f600}"],
]));

test("fetch sends what it was given and gives what came back", async () => {
  const world = answering({ status: 404, reason: "Not Found", headers: ["content-type", "application/json", "set-cookie", "a=1", "set-cookie", "b=2"], url: "http://a.example/after", redirected: true }, '{"no":1}');
  const { value, asked } = await run(`
    const r = await fetch("http://a.example/x?y#z", { method: "put", headers: { "X-One": "1" }, body: JSON.stringify({ a: 1 }) });
    return [r.ok, r.status, r.statusText, r.url, r.redirected, r.headers.getSetCookie(), await r.json()];`, world);
  assert.deepEqual(value, [false, 404, "Not Found", "http://a.example/after", true, ["a=1", "b=2"], { no: 1 }]);
  const [{ kind, background, question }] = asked;
  const { method, url, headers, redirect, decode, body } = question;
  assert.deepEqual([kind, background, method, url, redirect, decode, Buffer.from(body.bytes).toString()], [0, false, "PUT", "http://a.example/x?y#z", "follow", true, '{"a":1}']);
  assert.deepEqual(plain(headers), ["x-one", "1", "content-type", "text/plain;charset=UTF-8", "accept", "*/*", "accept-language", "*"]);
});

test("a fetch that fails says why, and one that is aborted breaks its exchange off", async () => {
  const refusing = () => { throw Object.assign(new Error("connect ECONNREFUSED 127.0.0.1:1"), { code: "ECONNREFUSED" }); };
  const failed = await run("try { await fetch('http://127.0.0.1:1/'); } catch (e) { return [e.name, e.message, e.cause.code]; }", refusing);
  assert.deepEqual(failed.value, ["TypeError", "fetch failed: connect ECONNREFUSED 127.0.0.1:1", "ECONNREFUSED"]);
  const hanging = ({ cancel }) => (cancel === undefined ? new Promise(() => {}) : {});
  const { value, asked } = await run(`
    const c = new AbortController();
    const pending = fetch("http://a.example/", { signal: c.signal });
    c.abort();
    try { await pending; } catch (e) { return e.name; }`, hanging);
  assert.equal(value, "AbortError");
  assert.equal(asked[1].question.cancel, asked[0].question.ticket);
});

test("context.http sends what each argument says", async (t) => {
  const rows = [
    ["get({ url: 'http://a.example/x' })", { method: "GET", url: "http://a.example/x", headers: [], redirect: "manual", decode: true }],
    ["get({ scheme: 'https', host: 'a.example', path: '/p', query: { q: ['1', 'b c'], r: ['é'] }, fragment: 'f' })", { url: "https://a.example/p?q=1&q=b%20c&r=%C3%A9#f" }],
    ["get({ host: 'a.example', path: 'p', username: 'u', password: 'p' })", { url: "http://a.example/p", headers: ["Authorization", "Basic dTpw"] }],
    ["get({ url: 'http://a.example/?a=1#f', query: { b: ['2'] } })", { url: "http://a.example/?a=1&b=2#f" }],
    ["get({ url: 'http://a.example', headers: { 'X-A': ['1', '2'], 'Accept-Encoding': ['gzip'] }, cookies: { c: 'v', d: 'w' } })",
      { headers: ["X-A", "1", "X-A", "2", "Accept-Encoding", "gzip", "Cookie", "c=v; d=w"], decode: false }],
    ["get({ url: 'http://a.example', followRedirects: true })", { redirect: "follow", redirects: 10 }],
    ["get({ url: 'http://a.example', username: 'u', password: 'p', digestAuth: true })", { digest: { username: "u", password: "p" }, headers: [] }],
    ["post({ url: 'http://a.example', body: 'héé' })", { method: "POST", body: "héé", headers: [] }],
    ["put({ url: 'http://a.example', body: BSON.Binary.fromText('bin') })", { method: "PUT", body: "bin" }],
    ["patch({ url: 'http://a.example', body: { a: 1, id: BSON.ObjectId('5d505646cf6d4fe581014ab2') }, encodeBodyAsJSON: true })",
      { method: "PATCH", body: '{"a":{"$numberInt":"1"},"id":{"$oid":"5d505646cf6d4fe581014ab2"}}', headers: ["Content-Type", "application/json"] }],
    ["delete({ url: 'http://a.example', body: 'x', encodeBodyAsJSON: true, headers: { 'content-type': ['text/x'] } })",
      { method: "DELETE", body: '"x"', headers: ["content-type", "text/x"] }],
    ["head({ url: 'http://a.example', body: 'ignored' })", { method: "HEAD", body: undefined }],
  ];
  for (const [source, expected] of rows) {
    await t.test(source, async () => {
      const { asked } = await run(`await context.http.${source};`, answering({}));
      const [{ question }] = asked;
      const sent = { ...question, body: question.body && Buffer.from(question.body.bytes).toString() };
      for (const key of Object.keys(expected)) assert.deepEqual(sent[key] && plain(sent[key]), expected[key], key);
    });
  }
  await t.test("form", async () => {
    const { asked } = await run("await context.http.post({ url: 'http://a.example', form: { a: '1', b: ['x', 'y'] } });", answering({}));
    const [{ question }] = asked;
    const [name, type] = question.headers;
    const boundary = /^multipart\/form-data; boundary=(.+)$/.exec(type)[1];
    const part = (key, value) => `--${boundary}\r\nContent-Disposition: form-data; name="${key}"\r\n\r\n${value}\r\n`;
    assert.equal(name, "Content-Type");
    assert.equal(Buffer.from(question.body.bytes).toString(), `${part("a", "1")}${part("b", "x")}${part("b", "y")}--${boundary}--\r\n`);
  });
  await t.test("authUrl", async () => {
    const world = ({ url }) => answering(url.endsWith("login") ? { headers: ["set-cookie", "sid=abc; Path=/", "set-cookie", "mine=theirs"] } : {})();
    const { asked } = await run("await context.http.get({ url: 'http://a.example/x', authUrl: 'http://a.example/login', cookies: { mine: 'own' } });", world);
    assert.deepEqual(asked.map(({ question }) => question.url), ["http://a.example/login", "http://a.example/x"]);
    assert.deepEqual(plain(asked[1].question.headers), ["Cookie", "sid=abc; mine=own"]);
  });
});

test("context.http gives exactly this response", async () => {
  const headers = ["content-type", "application/json", "content-length", "7", "x-many", "1", "x-many", "2", "set-cookie", "sid=a=b; Path=/; HttpOnly; Max-Age=60; SameSite=Lax", "www-authenticate", "Basic"];
  const { value } = await run("const r = await context.http.get({ url: 'http://a.example' }); return { ...r, body: r.body.text(), parsed: EJSON.parse(r.body.text()) };", answering({ status: 201, reason: "Created", headers }, '{"a":1}'));
  assert.deepEqual(value, {
    status: "201 Created", statusCode: 201, contentLength: 7, body: '{"a":1}', parsed: { a: 1 },
    headers: { "Content-Type": ["application/json"], "Content-Length": ["7"], "X-Many": ["1", "2"], "Set-Cookie": ["sid=a=b; Path=/; HttpOnly; Max-Age=60; SameSite=Lax"], "Www-Authenticate": ["Basic"] },
    cookies: { sid: { name: "sid", value: "a=b", path: "/", httpOnly: true, maxAge: 60, sameSite: "Lax" } },
  });
  const head = await run("const r = await context.http.head({ url: 'http://a.example' }); return ['body' in r, r.contentLength];", answering({ headers: ["content-length", "99"] }));
  assert.deepEqual(head.value, [false, 99]);
  const undone = await run("const r = await context.http.get({ url: 'http://a.example' }); return [r.contentLength, Object.keys(r.headers)];", answering({ decoded: true, headers: ["content-length", "9", "content-encoding", "gzip", "etag", "x"] }, "four"));
  assert.deepEqual(undone.value, [4, ["Etag"]]);
});

test("context.http names the argument that means nothing", async (t) => {
  const rows = [
    ["get('http://a.example')", "context.http.get needs an object of arguments, but got 'http://a.example'"],
    ["get({})", "context.http.get: url must be given, or scheme, host, path and query instead"],
    ["get({ url: 5 })", "context.http.get: url must be a string, but is 5"],
    ["get({ host: 'a', scheme: 'ftp' })", "context.http.get: scheme must be \"http\" or \"https\", but is 'ftp'"],
    ["post({ url: 'http://a', headers: ['x'] })", "context.http.post: headers must be an object of arrays of strings"],
    ["post({ url: 'http://a', headers: { 'X-A': [null] } })", "context.http.post: headers.X-A must be an array of strings, but holds null"],
    ["post({ url: 'http://a', query: 'a=b' })", "context.http.post: query must be an object of arrays of strings"],
    ["post({ url: 'http://a', cookies: 'a=b' })", "context.http.post: cookies must be an object of strings"],
    ["post({ url: 'http://a', followRedirects: 'yes' })", "context.http.post: followRedirects must be true or false, but is 'yes'"],
    ["post({ url: 'http://a', digestAuth: true })", "context.http.post: username must be given, since digestAuth is true"],
    ["post({ url: 'http://a', body: { a: 1 } })", "context.http.post: body must be a string or BSON.Binary"],
    ["post({ url: 'http://a', form: 'x' })", "context.http.post: form must be an object"],
    ["post({ url: 'http://a', encodeBodyAsJSON: 1, body: 'x' })", "context.http.post: encodeBodyAsJSON must be true or false, but is 1"],
  ];
  for (const [source, message] of rows) {
    await t.test(source, async () => {
      const { value, asked } = await run(`try { await context.http.${source}; } catch (e) { return e.message; }`);
      assert.ok(value.startsWith(message), value);
      assert.deepEqual(plain(asked), []);
    });
  }
});
