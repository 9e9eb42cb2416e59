//! What functions do outside: `context.http`, `fetch`, Node's network modules, against a server on this machine that the
//! operator let them reach, and everything they must not reach.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use portico_tests::{App, Backend, Http2Origin, Origin, Request, Server, Setup};
use serde_json::{Value as Json, json};

static ORIGIN: LazyLock<Origin> = LazyLock::new(Origin::start);

/// Functions may reach 127.0.0.1 here, and nothing else of this machine.
static SERVER: LazyLock<Server> = LazyLock::new(|| {
    Setup::default().set("PORTICO_OUTBOUND_ALLOW", "127.0.0.1").set("PORTICO_RUN_TIME_MS", "20000").start()
});

/// An app whose one endpoint runs `body` with the request's query in scope.
fn serve(name: &str, body: &str) -> App {
    let source = format!("exports = async function ({{ query }}) {{ const {{ http }} = context; {body} }};");
    SERVER.admin().serve(name, &Backend::new().on("POST", "/x", &source))
}

/// What `body` returns. `URL` in it is the server outside, without a slash at its end.
fn run(name: &str, body: &str) -> Json {
    let app = serve(name, &body.replace("URL/", &ORIGIN.url("/")));
    let answer = SERVER.call(&Request::post(&app.target("/x"), ""));
    assert_eq!(answer.status, 200, "{body}: {answer}");
    answer.json()
}

fn header<'a>(echo: &'a Json, name: &str) -> Option<&'a str> {
    let headers = echo["headers"].as_array()?;
    headers.iter().find(|pair| pair[0].as_str().is_some_and(|other| other.eq_ignore_ascii_case(name)))?[1].as_str()
}

#[test]
fn every_method_of_context_http_sends_and_receives() {
    let echoed = run(
        "methods",
        "const results = {};
         for (const method of ['get', 'post', 'put', 'patch', 'delete']) {
           const args = { url: 'URL/echo/' + method, headers: { 'X-Mine': ['1', '2'] } };
           if (method !== 'get') args.body = 'body of ' + method;
           results[method] = JSON.parse((await http[method](args)).body.text());
         }
         const head = await http.head({ url: 'URL/big/7' });
         results.head = { length: head.contentLength, body: head.body === undefined, code: head.statusCode };
         return results;",
    );
    for method in ["get", "post", "put", "patch", "delete"] {
        let echo = &echoed[method];
        assert_eq!(echo["method"], method.to_uppercase());
        assert_eq!(echo["target"], format!("/echo/{method}"));
        let expected = if method == "get" { String::new() } else { format!("body of {method}") };
        assert_eq!(echo["body"], expected);
        assert_eq!(header(echo, "x-mine"), Some("1"));
        assert_eq!(header(echo, "host"), Some(ORIGIN.address.to_string().as_str()));
    }
    assert_eq!(echoed["head"], json!({ "length": 7, "body": true, "code": 200 }));
}

#[test]
fn the_parts_of_a_url_cookies_forms_and_encoded_bodies_arrive() {
    let port = ORIGIN.address.port();
    let echoed = run(
        "parts",
        &format!(
            "const text = async (promise) => JSON.parse((await promise).body.text());
             const parts = {{ scheme: 'http', host: '127.0.0.1:{port}', path: '/echo/p', query: {{ a: ['1', 'b c'] }}, username: 'u', password: 'p', cookies: {{ c: 'v' }} }};
             const ejson = {{ url: 'URL/echo', body: {{ n: 1, when: new Date(5) }}, encodeBodyAsJSON: true }};
             const form = {{ url: 'URL/echo', form: {{ a: '1', f: BSON.Binary.fromText('bytes') }} }};
             const binary = {{ url: 'URL/echo', body: BSON.Binary.fromHex('c3a9') }};
             return {{ parts: await text(http.get(parts)), ejson: await text(http.post(ejson)), form: await text(http.post(form)), binary: await text(http.post(binary)) }};"
        ),
    );
    let parts = &echoed["parts"];
    assert_eq!(parts["target"], "/echo/p?a=1&a=b%20c");
    assert_eq!((header(parts, "authorization"), header(parts, "cookie")), (Some("Basic dTpw"), Some("c=v")));
    assert_eq!(header(&echoed["ejson"], "content-type"), Some("application/json"));
    let sent: Json = serde_json::from_str(echoed["ejson"]["body"].as_str().unwrap()).unwrap();
    assert_eq!(sent, json!({ "n": { "$numberInt": "1" }, "when": { "$date": { "$numberLong": "5" } } }));
    let form = echoed["form"]["body"].as_str().unwrap();
    assert!(header(&echoed["form"], "content-type").unwrap().starts_with("multipart/form-data; boundary="));
    assert!(form.contains("name=\"a\"\r\n\r\n1\r\n") && form.contains("filename=\"f\""), "{form}");
    assert_eq!(echoed["binary"]["body"], "é");
}

#[test]
fn a_response_is_exactly_this_whatever_its_status() {
    let response = run(
        "response",
        "const r = await http.get({ url: 'URL/status/404' });
         return { ...r, body: r.body.text(), keys: Object.keys(r), binary: r.body instanceof BSON.Binary };",
    );
    assert_eq!(response["keys"], json!(["status", "statusCode", "contentLength", "headers", "cookies", "body"]));
    assert_eq!((&response["status"], &response["statusCode"]), (&json!("404 Not Found"), &json!(404)));
    assert_eq!((&response["contentLength"], &response["body"]), (&json!(8), &json!("as asked")));
    assert_eq!(response["headers"], json!({ "X-Status": ["404"], "Content-Length": ["8"] }));
    assert_eq!(response["binary"], true);
    let cookies = run("cookies", "return (await http.get({ url: 'URL/cookies' })).cookies;");
    assert_eq!(cookies["sid"], json!({ "name": "sid", "value": "abc", "path": "/", "httpOnly": true }));
    assert_eq!(cookies["theme"]["value"], "dark");
    let packed = run("packed", "return EJSON.parse((await http.get({ url: 'URL/packed' })).body.text());");
    assert_eq!(packed, json!({ "packed": true }));
}

#[test]
fn redirects_are_followed_only_when_asked_for() {
    let results = run(
        "redirects",
        "const code = async (args) => (await http.get(args)).statusCode;
         const posted = JSON.parse((await http.post({ url: 'URL/to/303//echo/after', body: 'x', followRedirects: true })).body.text());
         let loop; try { await http.get({ url: 'URL/to/302//to/302//to/302//to/302//to/302//to/302//to/302//to/302//to/302//to/302//to/302//echo', followRedirects: true }); } catch (e) { loop = e.message; }
         return [await code({ url: 'URL/to/302//status/201' }), await code({ url: 'URL/to/302//status/201', followRedirects: true }), posted.method, posted.body, loop];",
    );
    assert_eq!(results[0], 302);
    assert_eq!(results[1], 201);
    assert_eq!((&results[2], &results[3]), (&json!("GET"), &json!("")));
    assert!(results[4].as_str().is_some_and(|loops| loops.starts_with("stopped after 10 redirects")), "{results}");
}

#[test]
fn digest_credentials_and_a_login_for_cookies() {
    let results = run(
        "digest",
        "const digest = JSON.parse((await http.get({ url: 'URL/digest/in?x=1', username: 'Mufasa', password: 'p', digestAuth: true })).body.text());
         const cookies = JSON.parse((await http.get({ url: 'URL/echo', authUrl: 'URL/cookies', cookies: { own: '1' } })).body.text());
         return { digest, cookies };",
    );
    let authorization = header(&results["digest"], "authorization").unwrap();
    for part in [
        "Digest username=\"Mufasa\"",
        "realm=\"stories\"",
        "nonce=\"n0nce\"",
        "uri=\"/digest/in?x=1\"",
        "algorithm=SHA-256",
        "opaque=\"0paque\"",
        "qop=auth",
        "nc=00000001",
    ] {
        assert!(authorization.contains(part), "{authorization}");
    }
    assert_eq!(header(&results["cookies"], "cookie"), Some("sid=abc; theme=dark; own=1"));
}

#[test]
fn a_request_nobody_awaits_is_finished_before_the_answer() {
    let before = ORIGIN.received("/slow/300/unawaited").len();
    let since = Instant::now();
    let answer = run(
        "unawaited",
        "for (let n = 0; n < 40; n++) http.post({ url: 'URL/slow/300/unawaited', body: 'n' }); return 'done';",
    );
    assert_eq!(answer, "done");
    assert_eq!(ORIGIN.received("/slow/300/unawaited").len() - before, 40, "all were sent");
    // 25 at a time, so the second round begins after the first.
    assert!(since.elapsed() >= Duration::from_millis(600), "{:?}", since.elapsed());
    let failing = serve("unawaited-fails", "http.post({ url: 'http://10.0.0.1/' }); return 'fine';");
    let answer = SERVER.call(&Request::post(&failing.target("/x"), ""));
    assert_eq!(answer.json(), "fine", "a rejection nobody hears does not fail the call");
    let entry = failing.log_of(answer.header("x-appservices-request-id").expect("a correlation id"));
    assert!(entry["messages"].to_string().contains("host '10.0.0.1' cannot be reached"), "{entry}");
}

#[test]
fn the_limits_of_an_exchange_are_named() {
    let results = run(
        "limits",
        "const why = async (promise) => { try { await promise; return 'no error'; } catch (e) { return `${e.code}: ${e.message}`; } };
         return [
           (await http.get({ url: 'URL/big/20000000' })).body.bytes.length,
           await why(http.get({ url: 'URL/big/34000000' })),
           await why(http.post({ url: 'URL/echo', body: 'x'.repeat(19 * 1024 * 1024) })),
           await why(http.get({ url: 'http://127.0.0.1:1/' })),
           await why(http.get({ url: 'http://no-such-name.invalid/' })),
           await why(http.get({ url: 'nonsense' })),
         ];",
    );
    assert_eq!(results[0], 20_000_000);
    for (index, part) in [
        (1, "ResponseTooLarge: "),
        (1, "larger than 33554432 bytes"),
        (2, "the body of the request is larger than 18874368 bytes"),
        (3, "ECONNREFUSED: connect ECONNREFUSED 127.0.0.1:1"),
        (4, "ENOTFOUND: getaddrinfo ENOTFOUND no-such-name.invalid"),
        (5, "'nonsense' is not a URL"),
    ] {
        let said = results[index].as_str().unwrap();
        assert!(said.contains(part), "{said}");
    }
}

#[test]
fn a_call_may_start_a_thousand_operations_and_no_more() {
    let app = serve(
        "thousand",
        &format!("for (let n = 0; n < 1001; n++) http.get({{ url: '{}' }}); return 1;", ORIGIN.url("/hang")),
    );
    let answer = SERVER.call(&Request::post(&app.target("/x"), ""));
    assert_eq!(answer.status, 400, "{answer}");
    assert_eq!(answer.error().0, "exceeded max async work queue size of 1000");
}

#[test]
fn what_hangs_outside_ends_with_the_call() {
    let server = Setup::default().set("PORTICO_OUTBOUND_ALLOW", "127.0.0.1").set("PORTICO_RUN_TIME_MS", "300").start();
    let source = format!("exports = async () => {{ await context.http.get({{ url: '{}' }}); }};", ORIGIN.url("/hang"));
    let app = server.admin().serve("hangs", &Backend::new().on("GET", "/x", &source));
    let since = Instant::now();
    let answer = server.get(&app.target("/x"));
    assert_eq!(answer.error().0, "execution time limit exceeded", "{answer}");
    assert!(since.elapsed() < Duration::from_secs(5), "{:?}", since.elapsed());
}

#[test]
fn fetch_works_as_elsewhere() {
    let results = run(
        "fetch",
        "const echo = await (await fetch('URL/echo', { method: 'POST', body: JSON.stringify({ a: 1 }), headers: { 'Content-Type': 'application/json', 'X-Mine': 'é' } })).json();
         const moved = await fetch('URL/to/302//packed');
         const missing = await fetch(new Request('URL/status/404'));
         const form = new FormData(); form.append('a', 'b'); form.append('f', new Blob(['file']), 'f.txt');
         const posted = await (await fetch('URL/echo', { method: 'POST', body: form })).json();
         let chunks = ''; for await (const chunk of (await fetch('URL/status/200')).body) chunks += new TextDecoder().decode(chunk);
         const streamed = await (await fetch('URL/echo', { method: 'POST', duplex: 'half', body: new ReadableStream({ start(c) { c.enqueue(new TextEncoder().encode('in ')); c.enqueue(new TextEncoder().encode('pieces')); c.close(); } }) })).json();
         return { echo, moved: [moved.redirected, moved.url.endsWith('/packed'), await moved.json(), moved.headers.get('content-encoding')], missing: [missing.ok, missing.status, await missing.text()], posted: posted.body, chunks, streamed: streamed.body };",
    );
    assert_eq!(results["echo"]["body"], r#"{"a":1}"#);
    assert_eq!(header(&results["echo"], "content-type"), Some("application/json"));
    assert_eq!(header(&results["echo"], "x-mine"), Some("é"));
    assert!(header(&results["echo"], "user-agent").is_some_and(|agent| agent.starts_with("Portico/")));
    assert_eq!(results["moved"], json!([true, true, { "packed": true }, "gzip"]));
    assert_eq!(results["missing"], json!([false, 404, "as asked"]));
    let posted = results["posted"].as_str().unwrap();
    assert!(
        posted.contains("name=\"f\"; filename=\"f.txt\"\r\nContent-Type: application/octet-stream\r\n\r\nfile"),
        "{posted}"
    );
    assert_eq!((&results["chunks"], &results["streamed"]), (&json!("as asked"), &json!("in pieces")));
}

#[test]
fn an_aborted_fetch_lets_the_call_go_on_at_once() {
    let since = Instant::now();
    let results = run(
        "aborted",
        "const names = [];
         try { await fetch('URL/hang', { signal: AbortSignal.timeout(100) }); } catch (e) { names.push(e.name); }
         const controller = new AbortController();
         const pending = fetch('URL/hang', { signal: controller.signal });
         controller.abort();
         try { await pending; } catch (e) { names.push(e.name); }
         return names;",
    );
    assert_eq!(results, json!(["TimeoutError", "AbortError"]));
    assert!(since.elapsed() < Duration::from_secs(10), "the exchanges were broken off: {:?}", since.elapsed());
}

/// Every way to name what is not the internet. None may be reached, by any means.
const UNREACHABLE: &[&str] = &[
    "http://127.0.0.2/",
    "http://127.255.255.254/",
    "http://localhost.localdomain@127.0.0.2/",
    "http://[::1]/",
    "http://[::]/",
    "http://0/",
    "http://0.0.0.0/",
    "http://0.0.0.0:22/",
    "http://127.2/",
    "http://127.0.2/",
    "http://2130706434/",
    "http://0x7f000002/",
    "http://0x7f.0.0.2/",
    "http://0177.0.0.2/",
    "http://0x7f.2/",
    "http://127.0.0.2./",
    "http://%31%32%37.0.0.2/",
    "http://１２７.0.0.2/",
    "http://127。0。0。2/",
    "http://10.0.0.1/",
    "http://10.255.255.255/",
    "http://012.0.0.1/",
    "http://167772161/",
    "http://172.16.0.1/",
    "http://172.31.255.255/",
    "http://192.168.0.1/",
    "http://192.168.1.1:8080/",
    "http://0xc0a80001/",
    "http://100.64.0.1/",
    "http://100.127.255.255/",
    "http://100.100.100.200/latest/meta-data/",
    "http://169.254.169.254/",
    "http://169.254.169.254/latest/meta-data/iam/",
    "http://2852039166/",
    "http://0xA9FEA9FE/",
    "http://0251.0376.0251.0376/",
    "http://169.254.43518/",
    "http://169.16689662/",
    "http://169.254.170.2/v2/credentials",
    "http://169.254.0.1/",
    "http://168.63.129.16/machine",
    "http://192.0.0.192/opc/v2/",
    "http://192.0.0.1/",
    "http://192.0.2.1/",
    "http://192.88.99.1/",
    "http://198.18.0.1/",
    "http://198.19.255.255/",
    "http://198.51.100.1/",
    "http://203.0.113.1/",
    "http://224.0.0.1/",
    "http://239.255.255.250:1900/",
    "http://240.0.0.1/",
    "http://255.255.255.255/",
    "http://[::ffff:127.0.0.2]/",
    "http://[::ffff:7f00:2]/",
    "http://[::ffff:10.0.0.1]/",
    "http://[::ffff:169.254.169.254]/",
    "http://[::ffff:a9fe:a9fe]/",
    "http://[::127.0.0.2]/",
    "http://[::10.0.0.1]/",
    "http://[::8.8.8.8]/",
    "http://[::ffff:0:127.0.0.2]/",
    "http://[64:ff9b::127.0.0.2]/",
    "http://[64:ff9b::a9fe:a9fe]/",
    "http://[64:ff9b::10.0.0.1]/",
    "http://[64:ff9b:1::1]/",
    "http://[2002:7f00:2::]/",
    "http://[2002:a00:1::1]/",
    "http://[2002:a9fe:a9fe::]/",
    "http://[2001::1]/",
    "http://[2001:0:4136:e378:8000:63bf:3fff:fdd2]/",
    "http://[2001:db8::1]/",
    "http://[2001:2::1]/",
    "http://[2001:10::1]/",
    "http://[3fff::1]/",
    "http://[5f00::1]/",
    "http://[100::1]/",
    "http://[fc00::1]/",
    "http://[fd00::1]/",
    "http://[fd00:ec2::254]/latest/meta-data/",
    "http://[fd20:ce::254]/",
    "http://[fe80::1]/",
    "http://[febf::1]/",
    "http://[fec0::1]/",
    "http://[ff02::1]/",
    "http://[ff0e::1]/",
    "http://[4000::1]/",
    "http://[8000::1]/",
    "http://user:pass@10.0.0.1/",
    "http://example.com@10.0.0.1/",
    "http://example.com:80@10.0.0.1:80/",
    "http:\\\\10.0.0.1\\",
    "http:/10.0.0.1/",
    "http:10.0.0.1",
    "http:///10.0.0.1/",
    "http://10.0.0.1\\@example.com/",
    "http://10.0.0.1#@example.com/",
    "http://10.0.0.1?@example.com/",
    "HTTP://10.0.0.1/",
    "https://10.0.0.1/",
    "https://[::1]:443/",
    "file:///etc/passwd",
    "file://localhost/etc/passwd",
    "ftp://10.0.0.1/",
    "gopher://10.0.0.1:70/_x",
    "unix:///var/run/docker.sock",
    "dict://127.0.0.1:11211/",
    "ldap://10.0.0.1/",
    "ws://10.0.0.1/",
];

#[test]
fn nothing_that_is_not_the_internet_is_reached() {
    assert!(UNREACHABLE.len() >= 100);
    let list = serde_json::to_string(UNREACHABLE).unwrap();
    let results = run(
        "unreachable",
        &format!(
            "const results = [];
             for (const url of {list}) {{
               let direct, fetched, redirected;
               try {{ direct = (await http.get({{ url }})).statusCode; }} catch (e) {{ direct = e.code; }}
               try {{ fetched = (await fetch(url)).status; }} catch (e) {{ fetched = e.cause?.code ?? e.message; }}
               try {{ redirected = (await http.get({{ url: 'URL/to/307/' + encodeURI(url).replace('%25', '%'), followRedirects: true }})).statusCode; }} catch (e) {{ redirected = e.code; }}
               results.push([url, direct, fetched, redirected]);
             }}
             return results;"
        ),
    );
    for row in results.as_array().unwrap() {
        assert_eq!(row[1], "RestrictedHost", "{row}");
        let fetched = row[2].as_str().unwrap_or_else(|| panic!("{row}"));
        assert!(fetched == "RestrictedHost" || fetched.contains("includes credentials"), "{row}");
        // Some of these are no absolute URL in a Location; then they lead back to where they came from, as paths, or to
        // the name behind the at-sign.
        let led = row[3].as_str().unwrap_or("404");
        let harmless = ["RestrictedHost", "BadRedirect", "TooManyRedirects", "ENOTFOUND", "404"];
        assert!(harmless.contains(&led) && (row[3].is_string() || row[3] == 404), "{row}");
    }
}

#[test]
fn names_are_judged_by_where_they_lead() {
    let server = Setup::default().start();
    let port = ORIGIN.address.port();
    let source = format!(
        "exports = async () => {{
           const why = async (work) => {{ try {{ return await work(); }} catch (e) {{ return [e.cause?.code ?? e.code, e.message]; }} }};
           return [
             await why(() => context.http.get({{ url: 'http://localhost:{port}/echo' }})),
             await why(() => context.http.get({{ url: 'http://127.0.0.1:{port}/echo' }})),
             await why(() => fetch('http://localhost:{port}/echo')),
           ];
         }};"
    );
    let app = server.admin().serve("closed", &Backend::new().on("GET", "/x", &source));
    let answer = server.get(&app.target("/x")).json();
    for row in answer.as_array().unwrap() {
        assert_eq!(row[0], "RestrictedHost", "{row}");
    }
    let named = answer[0][1].as_str().unwrap();
    assert!(named.starts_with("host 'localhost' cannot be reached from functions: its address "), "{named}");
    assert_eq!(answer[1][1], "host '127.0.0.1' cannot be reached from functions: it is a loopback address");
    assert!(ORIGIN.received("/echo").iter().all(|received| received.header("user-agent").is_some()));
}

#[test]
fn headers_of_ours_and_of_the_connection_do_not_leave() {
    let echo = run(
        "leaves",
        "return JSON.parse((await http.get({ url: 'URL/echo', headers: { Host: ['inside.example'], Connection: ['upgrade'], Upgrade: ['h2c'], 'Transfer-Encoding': ['chunked'], 'Proxy-Authorization': ['x'], 'X-Kept': ['1'] } })).body.text());",
    );
    let mut names: Vec<String> =
        echo["headers"].as_array().unwrap().iter().map(|pair| pair[0].as_str().unwrap().to_lowercase()).collect();
    names.sort();
    assert_eq!(names, ["accept", "accept-encoding", "host", "user-agent", "x-kept"]);
    assert_eq!(header(&echo, "host"), Some(ORIGIN.address.to_string().as_str()));
}

#[test]
fn nodes_http_client_sends_streams_and_hears_of_errors() {
    let results = run(
        "node-http",
        "const client = require('http'), https = require('node:https');
         const read = (response) => new Promise((resolve, reject) => { const parts = []; response.on('data', (part) => parts.push(part)).on('end', () => resolve(Buffer.concat(parts).toString())).on('error', reject); });
         const sent = (input, options, body) => new Promise((resolve, reject) => {
           const request = client.request(input, options, async (response) => resolve({ code: response.statusCode, message: response.statusMessage, headers: response.headers, complete: response.complete, body: await read(response) }));
           request.on('error', reject);
           for (const part of body ?? []) request.write(part);
           request.end();
         });
         const url = new URL('URL/echo/node?x=1');
         const posted = await sent({ hostname: url.hostname, port: url.port, path: url.pathname + url.search, method: 'POST', auth: 'u:p', headers: { 'Content-Type': 'text/plain', 'X-Many': ['1', '2'] } }, undefined, ['in ', Buffer.from('two parts')]);
         const got = await sent('URL/cookies', { headers: { accept: 'x/y' } });
         const gotten = await new Promise((resolve, reject) => client.get('URL/status/404', (response) => read(response).then((body) => resolve([response.statusCode, body]))).on('error', reject));
         const moved = await sent('URL/to/302//echo');
         const failed = await sent('http://127.0.0.1:1/').catch((error) => [error.code, error.message]);
         const closed = await sent('http://10.0.0.1/').catch((error) => error.code);
         const timed = await new Promise((resolve) => { const request = client.get('URL/hang', { timeout: 50 }); request.on('timeout', () => request.destroy(new Error('took too long'))); request.on('error', (error) => resolve(error.message)); });
         const aborted = await new Promise((resolve) => { const controller = new AbortController(); const request = client.get('URL/hang', { signal: controller.signal }); request.on('error', (error) => resolve([error.name, error.code])); controller.abort(); });
         const events = await new Promise((resolve) => { const seen = []; const request = client.request('URL/echo', { method: 'PUT' }); for (const name of ['socket', 'finish', 'response', 'close']) request.on(name, (value) => { seen.push(name); if (name === 'response') value.resume(); if (name === 'close') resolve(seen); }); request.end('x'); });
         const upgrade = await sent('URL/echo', { headers: { Connection: 'Upgrade', Upgrade: 'websocket' } }).catch((error) => error.code);
         let server; try { client.createServer(); } catch (error) { server = error.message; }
         let secure; try { new https.Server(); } catch (error) { secure = error.message; }
         const piped = await new Promise((resolve, reject) => { const request = client.request('URL/echo', { method: 'POST' }, (response) => read(response).then(resolve)); request.on('error', reject); require('stream').Readable.from(['pi', 'ped']).pipe(request); });
         return { posted, got: [got.headers['set-cookie'], got.complete], gotten, moved: [moved.code, moved.headers.location], failed, closed, timed, aborted, upgrade, events, server, secure, piped: JSON.parse(piped).body, agent: https.globalAgent instanceof https.Agent && new https.Agent({ keepAlive: true }) instanceof client.Agent };",
    );
    let echo: Json = serde_json::from_str(results["posted"]["body"].as_str().unwrap()).unwrap();
    assert_eq!(echo["target"], "/echo/node?x=1");
    assert_eq!((&echo["method"], &echo["body"]), (&json!("POST"), &json!("in two parts")));
    assert_eq!(header(&echo, "authorization"), Some("Basic dTpw"));
    assert_eq!((&results["posted"]["code"], &results["posted"]["message"]), (&json!(200), &json!("OK")));
    assert_eq!(results["got"], json!([["sid=abc; Path=/; HttpOnly", "theme=dark"], true]));
    assert_eq!(results["gotten"], json!([404, "as asked"]));
    assert_eq!(results["moved"], json!([302, "/echo"]), "following is the library's business");
    assert_eq!(results["failed"], json!(["ECONNREFUSED", "connect ECONNREFUSED 127.0.0.1:1"]));
    assert_eq!(results["closed"], "RestrictedHost");
    assert_eq!(results["timed"], "took too long");
    assert_eq!(results["aborted"], json!(["AbortError", "ABORT_ERR"]));
    assert_eq!(results["upgrade"], "ERR_NOT_AVAILABLE");
    assert_eq!(results["events"], json!(["socket", "finish", "response", "close"]));
    assert!(results["server"].as_str().is_some_and(|said| said.starts_with("http.createServer is not available")));
    assert!(results["secure"].as_str().is_some_and(|said| said.starts_with("https.Server is not available")));
    assert_eq!(results["piped"], "piped");
    assert_eq!(results["agent"], true);
}

#[test]
fn nodes_http2_client_asks_and_is_answered() {
    let origin = Http2Origin::start();
    let results = run(
        "node-http2",
        &"const http2 = require('http2');
         const asked = (session, headers, body, options) => new Promise((resolve, reject) => {
           const stream = session.request(headers, options), seen = {};
           stream.on('response', (headers) => { seen.headers = headers; });
           stream.on('trailers', (trailers) => { seen.trailers = trailers; });
           const parts = [];
           stream.on('data', (part) => parts.push(part)).on('end', () => { seen.body = Buffer.concat(parts).toString(); });
           stream.on('error', reject).on('close', () => resolve(seen));
           for (const part of body ?? []) stream.write(part);
           stream.end();
         });
         const session = http2.connect('http://127.0.0.1:PLAIN');
         const connected = await new Promise((resolve) => session.on('connect', () => resolve([session.connecting, session.encrypted, session.alpnProtocol])));
         const posted = await asked(session, { ':method': 'POST', ':path': '/echo?x=1', 'X-Mine': 'yes', 'x-many': ['1', '2'] }, ['in ', Buffer.from('two parts')]);
         const unary = await asked(session, { ':method': 'POST', ':path': '/unary', te: 'trailers', 'content-type': 'application/grpc' }, ['framed']);
         const cookies = await asked(session, { ':path': '/cookies' });
         const together = await Promise.all(Array.from({ length: 30 }, (_, at) => asked(session, { ':path': '/echo?' + at })));
         const reset = await asked(session, { ':path': '/reset' }).catch((error) => error.code);
         const given = await new Promise((resolve) => { const stream = session.request({ ':path': '/hang' }); stream.on('aborted', () => resolve([stream.closed, stream.aborted])); setTimeout(() => stream.close(http2.constants.NGHTTP2_CANCEL), 20); });
         const timed = await new Promise((resolve) => { const stream = session.request({ ':path': '/hang' }); stream.setTimeout(20, () => { stream.close(); resolve('timeout'); }); });
         const forbidden = []; for (const headers of [{ connection: 'close' }, { ':nonsense': 'x' }, { ':authority': 'b.example' }, { ':method': 'CONNECT' }]) try { session.request(headers); } catch (error) { forbidden.push(error.code); }
         const closed = await new Promise((resolve) => session.close(() => resolve([session.closed, session.destroyed])));
         let after; try { session.request({}); } catch (error) { after = error.code; }
         const unverified = await new Promise((resolve) => { const one = http2.connect('https://127.0.0.1:SECURE'); one.on('error', (error) => resolve(error.code)); one.request({}).on('error', () => {}); });
         const secure = http2.connect('https://127.0.0.1:SECURE', { rejectUnauthorized: false });
         const sealed = await asked(secure, { ':path': '/echo' });
         secure.destroy();
         const failed = await new Promise((resolve) => { const one = http2.connect('http://127.0.0.1:1'), codes = []; one.on('error', (error) => codes.push(error.code)); one.on('close', () => resolve(codes)); one.request({}).on('error', (error) => codes.push(error.code)); });
         const away = await new Promise((resolve) => { const one = http2.connect('http://10.0.0.1'); one.on('error', (error) => resolve(error.code)); one.request({}).on('error', () => {}); });
         const old = await new Promise((resolve) => { const one = http2.connect('URL/'.slice(0, -1)); one.on('error', () => {}); one.request({}).on('error', (error) => resolve(error.code)); });
         return { connected, posted: { ...JSON.parse(posted.body), status: posted.headers[':status'] }, unary, cookies: [cookies.headers, cookies.body], together: together.every((one, at) => JSON.parse(one.body).headers[':path'] === '/echo?' + at), reset, given, timed, forbidden, closed, after, unverified, sealed: JSON.parse(sealed.body).session, failed, away, old };"
            .replace("PLAIN", &origin.plain_port.to_string())
            .replace("SECURE", &origin.secure_port.to_string()),
    );
    assert_eq!(results["connected"], json!([false, false, "h2c"]));
    let posted = &results["posted"];
    assert_eq!((&posted["status"], &posted["body"]), (&json!(200), &json!("in two parts")));
    assert_eq!(posted["headers"][":method"], "POST");
    assert_eq!(posted["headers"][":path"], "/echo?x=1");
    assert_eq!((&posted["headers"]["x-mine"], &posted["headers"]["x-many"]), (&json!("yes"), &json!("1, 2")));
    let unary = &results["unary"];
    assert_eq!((&unary["body"], &unary["headers"]["content-type"]), (&json!("framed"), &json!("application/grpc")));
    assert_eq!(unary["trailers"], json!({ "grpc-status": "0", "grpc-message": "fine", "te": "trailers" }));
    let (headers, body) = (&results["cookies"][0], &results["cookies"][1]);
    assert_eq!((&headers[":status"], body), (&json!(404), &json!("none")));
    assert_eq!((&headers["set-cookie"], &headers["x-many"]), (&json!(["a=1", "b=2"]), &json!("1, 2")));
    assert_eq!(results["together"], true);
    assert_eq!(results["reset"], "ERR_HTTP2_ERROR");
    assert_eq!(results["given"], json!([true, true]));
    assert_eq!(results["timed"], "timeout");
    let refusals = [
        "ERR_HTTP2_INVALID_CONNECTION_HEADERS",
        "ERR_HTTP2_INVALID_PSEUDOHEADER",
        "ERR_NOT_AVAILABLE",
        "ERR_NOT_AVAILABLE",
    ];
    assert_eq!(results["forbidden"], json!(refusals));
    assert_eq!(results["closed"], json!([true, true]));
    assert_eq!(results["after"], "ERR_HTTP2_INVALID_SESSION");
    assert_eq!(results["unverified"], "ECONNFAILED", "nobody vouches for its certificate");
    assert_eq!(results["sealed"], true);
    assert_eq!(results["failed"], json!(["ERR_HTTP2_STREAM_CANCEL", "ECONNREFUSED"]));
    assert_eq!(results["away"], "RestrictedHost");
    assert_eq!(results["old"], "ERR_HTTP2_ERROR", "a server of HTTP/1.1 only");
}

#[test]
fn a_node_request_nobody_awaits_is_finished_too() {
    let before = ORIGIN.received("/slow/200/node").len();
    let answer = run(
        "node-unawaited",
        "const request = require('http').request('URL/slow/200/node', { method: 'POST' }); request.end('x'); return 'done';",
    );
    assert_eq!(answer, "done");
    assert_eq!(ORIGIN.received("/slow/200/node").len() - before, 1);
}

#[test]
fn connections_of_ones_own() {
    let port = ORIGIN.address.port();
    let results = run(
        "net",
        &format!(
            "const net = require('net');
             const talk = () => new Promise((resolve, reject) => {{
               const socket = net.connect({port}, '127.0.0.1', () => socket.write('GET /status/200 HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n'));
               let text = '';
               socket.setEncoding('utf8');
               socket.on('data', (part) => {{ text += part; if (text.endsWith('as asked')) socket.end(); }});
               socket.on('close', () => resolve([text.split('\\r\\n')[0], socket.remoteAddress, socket.remotePort, socket.bytesWritten > 0, socket.bytesRead]));
               socket.on('error', reject);
             }});
             const failing = (port, host) => new Promise((resolve) => net.connect({{ port, host }}).on('error', (error) => resolve([error.code, error.syscall])));
             const talked = await talk();
             const refused = await failing(1, '127.0.0.1');
             const closed = await failing(80, '10.0.0.1');
             const open = [];
             await Promise.all(Array.from({{ length: 25 }}, () => new Promise((resolve, reject) => open.push(net.connect({port}, '127.0.0.1', resolve).on('error', reject)))));
             const tooMany = await new Promise((resolve) => net.connect({port}, '127.0.0.1').on('error', (error) => resolve(error.message)));
             let server; try {{ net.createServer(); }} catch (error) {{ server = error.message; }}
             let datagrams; try {{ require('dgram').createSocket('udp4'); }} catch (error) {{ datagrams = error.message; }}
             let two; try {{ require('http2').createServer(); }} catch (error) {{ two = error.message; }}
             const plain = await new Promise((resolve) => require('tls').connect({port}, '127.0.0.1').on('error', (error) => resolve(error.code)));
             return {{ talked, refused, closed, tooMany, server, datagrams, two, plain, ip: [net.isIP('1.2.3.4'), net.isIP('::1'), net.isIP('x'), net.isIPv6('fe80::1%eth0'), net.isIPv4('01.2.3.4')] }};"
        ),
    );
    let read = results["talked"][4].as_u64().unwrap();
    assert_eq!(results["talked"], json!(["HTTP/1.1 200 OK", "127.0.0.1", port, true, read]));
    assert_eq!(results["refused"], json!(["ECONNREFUSED", "connect"]));
    assert_eq!(results["closed"], json!(["RestrictedHost", "connect"]));
    // The open ones are still open: the call is over all the same, and they close with it.
    assert_eq!(results["tooMany"], "a call may have 25 sockets open at a time, and all of them are");
    for (key, said) in [
        ("server", "net.createServer is not available: functions connect to others and cannot listen"),
        ("datagrams", "dgram.createSocket is not available: functions have no datagram sockets"),
        ("two", "http2.createServer is not available: functions connect to others and cannot listen"),
    ] {
        assert_eq!(results[key], said);
    }
    assert_eq!(results["plain"], "TooManyConnections");
    assert_eq!(results["ip"], json!([4, 6, 0, true, false]));
}

#[test]
fn names_are_asked_for() {
    let server = Setup::default().set("PORTICO_OUTBOUND_ALLOW_PRIVATE", "true").start();
    let source = "exports = async () => {
      const dns = require('dns');
      const called = await new Promise((resolve, reject) => dns.lookup('localhost', (error, address, family) => (error ? reject(error) : resolve([address, family]))));
      const all = await dns.promises.lookup('localhost', { all: true });
      const literal = await require('dns/promises').lookup('192.0.2.7');
      const unknown = await dns.promises.lookup('no-such-name.invalid').catch((error) => [error.code, error.syscall, error.hostname]);
      let wrong; try { await dns.promises.resolve('a.example', 'NOPE'); } catch (error) { wrong = error.code; }
      return { called, all: all.length > 0 && all.every((one) => one.family === 4 || one.family === 6), literal, unknown, wrong };
    };";
    let app = server.admin().serve("names", &Backend::new().on("GET", "/x", source));
    let answer = server.get(&app.target("/x")).json();
    let (address, family) = (answer["called"][0].as_str().unwrap(), answer["called"][1].as_u64().unwrap());
    assert!((address == "127.0.0.1" && family == 4) || (address == "::1" && family == 6), "{answer}");
    assert_eq!(answer["all"], true);
    assert_eq!(answer["literal"], json!({ "address": "192.0.2.7", "family": 4 }));
    assert_eq!(answer["unknown"], json!(["ENOTFOUND", "getaddrinfo", "no-such-name.invalid"]));
    assert_eq!(answer["wrong"], "ERR_INVALID_ARG_VALUE");
}

#[test]
fn while_somebody_works_on_an_app_its_functions_reach_this_machine() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let source = format!("exports = async () => (await fetch('{}')).status;", ORIGIN.url("/status/201"));
    Backend::new().on("GET", "/x", &source).write_to(directory.path(), "near");
    let server = Setup::dev(directory.path()).start();
    let target = portico_tests::wait_for("the app is deployed", Duration::from_secs(60), || {
        let out = server.output();
        out.contains("deployed in").then_some(())?;
        let (_, url) = out.split_once(" is at http://")?;
        let path = url.split_once('/')?.1.split_whitespace().next()?.to_owned();
        Some(format!("/{path}/x"))
    });
    assert_eq!(server.get(&target).json(), 201);
}
