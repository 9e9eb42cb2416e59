//! HTTP/2, as clients see it: the same answers as over HTTP/1.1, many at once, and the same words for what is wrong.

use std::os::unix::fs::PermissionsExt;
use std::sync::LazyLock;
use std::time::Duration;

use portico_tests::http2::{self, DATA, END_HEADERS, END_STREAM, Frame, GOAWAY, HEADERS, RST_STREAM};
use portico_tests::server::program;
use portico_tests::{App, Backend, Http2, Http2Client, Request, Server, Setup};
use rustix::process::Signal;
use serde_json::Value as Json;

const ECHO: &str = "exports = ({ query, headers, body }, response) => {
    response.setBody(JSON.stringify({
        method: context.request.httpMethod, query, body: body ? body.text() : null,
        host: headers['Host'], cookie: headers['Cookie'], x: headers['X-Test'], ip: context.request.remoteIPAddress,
    }));
};";
const SLOW: &str =
    "exports = async () => { await new Promise((resolve) => setTimeout(resolve, 700)); return 'done'; };";

/// One server for each driver, with the same app.
static SERVERS: LazyLock<[(Server, App); 2]> = LazyLock::new(|| {
    ["auto", "epoll"].map(|driver| {
        let server = Setup::default().set("PORTICO_DRIVER", driver).start();
        let app = server.admin().serve("target", &backend());
        (server, app)
    })
});

fn backend() -> Backend {
    Backend::new()
        .on("GET", "/hello", "exports = () => 'hello';")
        .on("*", "/echo", ECHO)
        .on("GET", "/number", "exports = ({ query }) => Number(query.n) + 1;")
        .on("POST", "/length", "exports = ({ body }) => body.text().length;")
        .on("GET", "/large", "exports = (query, response) => response.setBody('x'.repeat(10 << 20));")
        .on("GET", "/nothing", "exports = (query, response) => response.setStatusCode(204);")
        .on("GET", "/slow", SLOW)
}

fn with(fields: &[(&'static str, &str)], more: &[(&'static str, &str)]) -> Vec<(&'static str, String)> {
    fields.iter().chain(more).map(|(name, value)| (*name, (*value).to_owned())).collect()
}

fn borrowed<'t>(fields: &'t [(&'static str, String)]) -> Vec<(&'static str, &'t str)> {
    fields.iter().map(|(name, value)| (*name, value.as_str())).collect()
}

#[test]
fn a_function_sees_the_same_request_over_either_protocol() {
    for (server, app) in SERVERS.iter() {
        let mut client = Http2Client::open(server.address);
        for request in [
            Request::get(&app.target("/echo?a=1&b=%20x")).header("X-Test", "v").header("Cookie", "a=1; b=2"),
            Request::post(&app.target("/echo"), "some body").header("Host", "127.0.0.1:80"),
            Request::new("DELETE", &app.target("/echo")),
            Request::get(&app.target("/nowhere")),
            Request::get("/nowhere"),
            Request::get("/health"),
        ] {
            let over_http1 = server.call(&request);
            let answer = client.call(&request).expect("an answer");
            assert_eq!(answer.status, over_http1.status, "over {}: {answer}", server.driver());
            let without_link = |answer: &portico_tests::Answer| {
                let mut body: Json = serde_json::from_slice(&answer.body).expect("JSON");
                body.as_object_mut().map(|body| body.remove("link"));
                body
            };
            assert_eq!(without_link(&answer), without_link(&over_http1), "{}", request.target);
            for name in ["content-type", "content-length", "vary"] {
                if name != "content-length" || answer.status == 200 {
                    assert_eq!(answer.header(name), over_http1.header(name), "{name} of {}", request.target);
                }
            }
            assert!(answer.header("date").is_some() && answer.header("connection").is_none());
        }
        let empty = client.call(&Request::get(&app.target("/nothing"))).expect("an answer");
        assert_eq!((empty.status, empty.body.len(), empty.header("content-length")), (204, 0, None));
        let head = client.call(&Request::new("HEAD", "/health")).expect("an answer");
        assert!(head.body.is_empty() && head.header("content-length").is_some_and(|length| length != "0"), "{head}");
    }
}

#[test]
fn a_hundred_requests_at_a_time_find_their_own_answers() {
    for (server, app) in SERVERS.iter() {
        let requests: Vec<Request> =
            (0..400).map(|number| Request::get(&app.target(&format!("/number?n={number}")))).collect();
        let answers = Http2Client::open(server.address).all(&requests);
        for (number, answer) in answers.into_iter().enumerate() {
            let answer = answer.unwrap_or_else(|error| panic!("request {number}: {error}"));
            assert_eq!(answer.text(), (number + 1).to_string(), "over {}", server.driver());
        }
    }
}

#[test]
fn large_bodies_come_and_go_whole_beside_small_ones() {
    for (server, app) in SERVERS.iter() {
        let mut requests = vec![Request::get(&app.target("/hello")); 8];
        for _ in 0..3 {
            requests.push(Request::post(&app.target("/length"), vec![b'x'; 10 << 20]));
            requests.push(Request::get(&app.target("/large")));
        }
        for (request, answer) in requests.iter().zip(Http2Client::open(server.address).all(&requests)) {
            let answer = answer.unwrap_or_else(|error| panic!("{} {}: {error}", request.method, request.target));
            let route = request.target.rsplit('/').next().unwrap_or_default();
            match route {
                "hello" => assert_eq!(answer.text(), "\"hello\""),
                "length" => assert_eq!(answer.text(), (10 << 20).to_string()),
                _ => assert!(answer.body.len() == 10 << 20 && answer.body.iter().all(|byte| *byte == b'x')),
            }
        }
    }
}

#[test]
fn the_control_plane_and_the_client_api_are_there_too() {
    for (server, app) in SERVERS.iter() {
        let mut client = Http2Client::open(server.address);
        let key = std::fs::read_to_string(server.data().join("admin-key.json")).expect("the key file");
        let key: Json = serde_json::from_str(&key).expect("the key file is JSON");
        let login = serde_json::json!({ "username": key["public"], "apiKey": key["private"] });
        let login = Request::post("/api/admin/v3.0/auth/providers/mongodb-cloud/login", login.to_string())
            .header("Content-Type", "application/json");
        let answer = client.call(&login).expect("an answer");
        assert_eq!(answer.status, 200, "{answer}");
        let token = answer.json()["access_token"].as_str().expect("a token").to_owned();
        let apps = Request::get(&format!("/api/admin/v3.0{}", app.path("")))
            .header("Authorization", &format!("Bearer {token}"));
        let answer = client.call(&apps).expect("an answer");
        assert_eq!((answer.status, &answer.json()["name"]), (200, &Json::from("target")), "{answer}");
        // Without credentials it is refused in the same words.
        let bare = Request::get(&format!("/api/admin/v3.0{}", app.path("")));
        let (refused, over_http1) = (client.call(&bare).expect("an answer"), server.call(&bare));
        assert_eq!((refused.status, refused.error()), (over_http1.status, over_http1.error()));
        let unknown = Request::post("/api/client/v2.0/app/nobody-abcde/auth/providers/anon-user/login", "{}");
        assert_eq!(client.call(&unknown).expect("an answer").status, server.call(&unknown).status);
    }
}

#[test]
fn what_is_wrong_with_a_head_is_said_as_over_http1() {
    let (long, large) = ("/".to_owned() + &"a".repeat(9_000), "v".repeat(33_000));
    let method = "M".repeat(40);
    let get = http2::request("GET", "/health");
    let post = http2::request("POST", "/health");
    let many: Vec<(&str, &str)> = vec![("x", "v"); 101];
    for (what, fields, status, words) in [
        ("a tunnel", vec![(":method", "CONNECT"), (":authority", "localhost:1")], 501, "opens no tunnels"),
        ("a method", http2::request(&method, "/health"), 501, "method name is too long"),
        ("a target", http2::request("GET", &long), 414, "target is too long"),
        ("no host", get[..3].to_vec(), 400, "no Host"),
        ("two hosts", [&get[..], &[("host", "other")]].concat(), 400, "exactly one valid Host"),
        ("a user", [&get[..3], &[(":authority", "user@localhost")]].concat(), 400, "exactly one valid Host"),
        ("two lengths", [&post[..], &[("content-length", "0"), ("content-length", "0")]].concat(), 400, "given once"),
        ("an expectation", [&get[..], &[("expect", "more")]].concat(), 417, "100-continue"),
        ("lines", [&get[..], &many].concat(), 431, "too many header lines"),
        ("bytes", [&get[..], &[("x", &large)]].concat(), 431, "head is too large"),
        ("a space", [&get[..], &[("x", " v")]].concat(), 400, "header line"),
    ] {
        for (server, _) in SERVERS.iter() {
            let mut connection = Http2::open(server.address, &[]);
            let block = http2::block(&fields);
            let (first, rest) = block.split_at(block.len().min(16_000));
            let mut sent = Frame::new(HEADERS, END_STREAM, 1, first).bytes();
            rest.chunks(16_000).for_each(|piece| sent.extend(Frame::new(http2::CONTINUATION, 0, 1, piece).bytes()));
            sent.extend(Frame::new(http2::CONTINUATION, END_HEADERS, 1, []).bytes());
            connection.send(&sent).expect("the server reads");
            let (got, body) = connection.answer(1).unwrap_or_else(|error| panic!("{what}: {error}"));
            let body = String::from_utf8_lossy(&body).into_owned();
            assert_eq!(got, status, "{what}: {body}");
            assert!(body.contains(words), "{what}: {body}");
            // It was a matter of that stream alone.
            assert_eq!(connection.call(3, &get).expect("an answer").0, 200, "after {what}");
        }
    }
}

#[test]
fn what_is_no_request_ends_its_stream_and_nothing_else() {
    let get = http2::request("GET", "/health");
    for (what, fields) in [
        ("a connection's own header", [&get[..], &[("connection", "close")]].concat()),
        ("keep-alive", [&get[..], &[("keep-alive", "1")]].concat()),
        ("a transfer coding", [&get[..], &[("transfer-encoding", "chunked")]].concat()),
        ("an upgrade", [&get[..], &[("upgrade", "h2c")]].concat()),
        ("TE that is not trailers", [&get[..], &[("te", "gzip")]].concat()),
        ("two paths", [&get[..], &[(":path", "/")]].concat()),
        ("a pseudo-field after a field", [&[("x", "v")], &get[..]].concat()),
        ("a response's pseudo-field", [&get[..], &[(":status", "200")]].concat()),
        ("no method", get[1..].to_vec()),
        ("no scheme", [&get[..1], &get[2..]].concat()),
        ("an empty path", http2::request("GET", "")),
        ("a path that is none", http2::request("GET", "health")),
        ("a length that is none", [&get[..], &[("content-length", "x")]].concat()),
        ("a length that lies", [&get[..], &[("content-length", "5")]].concat()),
    ] {
        for (server, _) in SERVERS.iter() {
            let mut connection = Http2::open(server.address, &[]);
            connection.frame(&Frame::headers(1, true, &fields)).expect("the server reads");
            let frame = connection.receive_of_stream().expect("a frame").expect("no end");
            assert_eq!((frame.kind, frame.number()), (RST_STREAM, http2::PROTOCOL_ERROR), "{what}: {frame:?}");
            assert_eq!(connection.call(3, &get).expect("an answer").0, 200, "after {what}");
        }
    }
    // Names and values that HPACK's own users must refuse end the connection, since the table may differ after them.
    for (what, name, value) in [("upper case", "X-Test", "v"), ("a line end", "x", "a\r\nb"), ("a zero", "x", "a\0b")] {
        for (server, _) in SERVERS.iter() {
            let mut connection = Http2::open(server.address, &[]);
            let fields = with(&get, &[(name, value)]);
            connection.frame(&Frame::headers(1, true, &borrowed(&fields))).expect("the server reads");
            let frame = connection.receive_of_stream().expect("a frame").expect("no end");
            assert!(matches!(frame.kind, RST_STREAM | GOAWAY), "{what}: {frame:?}");
        }
    }
}

#[test]
fn crumbs_of_a_cookie_are_one_cookie() {
    let (server, app) = &SERVERS[0];
    let mut connection = Http2::open(server.address, &[]);
    let target = app.target("/echo");
    let fields = [&http2::request("GET", &target)[..], &[("cookie", "a=1"), ("cookie", "b=2")]].concat();
    let (status, body) = connection.call(1, &fields).expect("an answer");
    let body: Json = serde_json::from_slice(&body).expect("JSON");
    assert_eq!((status, &body["cookie"]), (200, &serde_json::json!(["a=1; b=2"])), "{body}");
}

#[test]
fn trailers_end_a_body_and_are_passed_over() {
    for (server, app) in SERVERS.iter() {
        let mut connection = Http2::open(server.address, &[]);
        let target = app.target("/length");
        connection.frame(&Frame::headers(1, false, &http2::request("POST", &target))).expect("the server reads");
        connection.frame(&Frame::data(1, false, b"12345")).expect("the server reads");
        connection.frame(&Frame::headers(1, true, &[("x-checksum", "1")])).expect("the server reads");
        assert_eq!(connection.answer(1).expect("an answer"), (200, b"5".to_vec()));
    }
}

#[test]
fn a_body_is_sent_for_when_its_client_waits_and_refused_when_it_is_too_large() {
    for (server, app) in SERVERS.iter() {
        let mut connection = Http2::open(server.address, &[]);
        let target = app.target("/length");
        let post = http2::request("POST", &target);
        let waiting = [&post[..], &[("expect", "100-continue"), ("content-length", "3")]].concat();
        connection.frame(&Frame::headers(1, false, &waiting)).expect("the server reads");
        let interim = connection.receive_of_stream().expect("a frame").expect("no end");
        assert_eq!((interim.status(), interim.ends_stream()), (Some(100), false));
        connection.frame(&Frame::data(1, true, b"abc")).expect("the server reads");
        assert_eq!(connection.answer(1).expect("an answer"), (200, b"3".to_vec()));

        // Announced, and not: the answer comes before the body has.
        let announced = [&post[..], &[("content-length", "99999999")]].concat();
        connection.frame(&Frame::headers(3, false, &announced)).expect("the server reads");
        let (status, body) = connection.answer(3).expect("an answer");
        assert_eq!(status, 413, "{}", String::from_utf8_lossy(&body));
        assert!(String::from_utf8_lossy(&body).contains("RequestTooLarge"));
        assert_eq!(connection.call(5, &http2::request("GET", "/health")).expect("an answer").0, 200);
        let health = Request::post("/health", vec![b'x'; 70_000]);
        let answer = Http2Client::open(server.address).call(&health).expect("an answer");
        assert_eq!(answer.status, 413, "{answer}");
    }
}

#[test]
fn http2_is_known_by_its_first_bytes_and_by_no_later_ones() {
    for (server, _) in SERVERS.iter() {
        // A preface that comes in pieces is one.
        let mut slow = Http2::silent(server.address);
        for byte in http2::PREFACE {
            slow.send(&[*byte]).expect("the server reads");
        }
        slow.frame(&Frame::settings(&[(http2::HEADER_TABLE_SIZE, 0)])).expect("the server reads");
        assert_eq!(slow.call(1, &http2::request("GET", "/health")).expect("an answer").0, 200);
        // After a request of HTTP/1.1 it is a request with a wrong version.
        let mut connection = server.connect();
        connection.call(&Request::get("/health")).expect("an answer");
        connection.send(http2::PREFACE).expect("the server reads");
        assert_eq!(connection.receive("PRI").expect("an answer").status, 505);
        // A preface that goes on differently is none.
        let mut wrong = Http2::silent(server.address);
        wrong.send(b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n").expect("the server reads");
        while let Ok(Some(frame)) = wrong.receive() {
            assert!(matches!(frame.kind, http2::SETTINGS | GOAWAY), "{frame:?}");
        }
    }
}

#[test]
fn the_listener_s_bounds_hold_for_http2_too() {
    let server = Setup::default()
        .set("PORTICO_HEAD_BYTES_MAX", "2048")
        .set("PORTICO_BODY_BYTES_MAX", "1000")
        .set("PORTICO_BODY_MS", "1000")
        .set("PORTICO_IDLE_MS", "1500")
        .start();
    let (get, post) = (http2::request("GET", "/health"), http2::request("POST", "/health"));
    let mut connection = Http2::open(server.address, &[]);
    let large = "v".repeat(2_048);
    let (status, body) = connection.call(1, &[&get[..], &[("x", &large)]].concat()).expect("an answer");
    assert_eq!(status, 431, "{}", String::from_utf8_lossy(&body));
    connection.frame(&Frame::headers(3, false, &post)).expect("the server reads");
    connection.frame(&Frame::data(3, true, &[b'x'; 1_001])).expect("the server reads");
    assert_eq!(connection.answer(3).expect("an answer").0, 413);
    connection.frame(&Frame::headers(5, false, &post)).expect("the server reads");
    assert_eq!(connection.answer(5).expect("an answer").0, 408, "its body does not come");
    // Well before the seconds that would be borne with otherwise.
    connection.set_patience(Duration::from_secs(15));
    let mut last = None;
    while let Some(frame) = connection.receive().expect("frames to the end") {
        last = Some(frame);
    }
    let last = last.expect("a word of farewell");
    assert_eq!((last.kind, last.go_away_code()), (GOAWAY, 0), "{last:?}");
}

#[test]
fn connections_that_lie_idle_make_room_for_others() {
    // Few descriptors, and more clients than they are enough for.
    let few = "#!/bin/sh\nulimit -n 200\nexec \"$PORTICO\" \"$@\"\n";
    let dir = tempfile::tempdir().expect("a directory");
    let script = dir.path().join("few");
    std::fs::write(&script, few.replace("$PORTICO", program().to_str().expect("a plain name"))).expect("a script");
    std::fs::set_permissions(&script, PermissionsExt::from_mode(0o755)).expect("our own file");
    let server = Setup::default().program(script).start();
    let get = http2::request("GET", "/health");
    let mut idle: Vec<Http2> = Vec::new();
    for _ in 0..200 {
        let mut connection = Http2::open(server.address, &[]);
        connection.frame(&Frame::headers(1, true, &get)).expect("it lies in the queue at least");
        idle.push(connection);
    }
    assert_eq!(idle[0].answer(1).expect("an answer").0, 200);
    assert_eq!(server.get("/health").status, 200, "whoever comes is served long before idle_ms is over");
    let metrics = server.get("/metrics").text();
    let shed =
        metrics.lines().find_map(|line| line.strip_prefix("portico_connections_shed_total ")?.parse::<u64>().ok());
    assert!(shed.is_some_and(|shed| shed > 0), "{shed:?}");
    // None was broken off: it was told before.
    let mut last = None;
    while let Some(frame) = idle[0].receive().expect("frames to the end") {
        last = Some(frame);
    }
    assert_eq!(last.map(|frame| (frame.kind, frame.go_away_code())), Some((GOAWAY, 0)));
}

#[test]
fn curl_and_nghttp_are_served() {
    let (server, app) = &SERVERS[0];
    let url = format!("http://{}{}", server.address, app.target("/hello"));
    for (program, arguments) in
        [("curl", vec!["-sS", "--http2-prior-knowledge", "-w", " %{http_version}", &url]), ("nghttp", vec!["-v", &url])]
    {
        let ran = std::process::Command::new(program).args(&arguments).output();
        let ran = ran.unwrap_or_else(|error| panic!("{program} is not installed ({error}); tests/run does it"));
        let out = String::from_utf8_lossy(&ran.stdout);
        assert!(ran.status.success() && out.contains("\"hello\""), "{program}: {out}");
        assert!(program != "curl" || out.ends_with(" 2"), "{out}");
    }
}

#[test]
fn a_server_that_ends_says_so_and_finishes_what_it_has_begun() {
    for driver in ["auto", "epoll"] {
        let mut server = Setup::default().set("PORTICO_DRIVER", driver).start();
        let app = server.admin().serve("target", &backend());
        let target = app.target("/slow");
        let slow = http2::request("GET", &target);
        let mut idle = Http2::open(server.address, &[]);
        assert_eq!(idle.call(1, &http2::request("GET", "/health")).expect("an answer").0, 200);
        let mut busy = Http2::open(server.address, &[]);
        for stream in [1, 3, 5] {
            busy.frame(&Frame::headers(stream, true, &slow)).expect("the server reads");
        }
        // Its answer shows that the others were taken.
        assert_eq!(busy.call(7, &http2::request("GET", "/health")).expect("an answer").0, 200);
        server.signal(Signal::TERM);
        let (mut said, mut ended) = (Vec::new(), Vec::new());
        while let Some(frame) = busy.receive().expect("frames to the end") {
            match frame.kind {
                GOAWAY => {
                    assert_eq!(frame.go_away_code(), 0, "{frame:?}");
                    said.push(frame.number());
                }
                // The server waits for this to know that its first GOAWAY has been seen.
                http2::PING => busy.frame(&Frame { flags: http2::ACK, ..frame }).expect("the server reads"),
                HEADERS => assert_eq!(frame.status(), Some(200)),
                DATA if frame.ends_stream() => ended.push(frame.stream),
                RST_STREAM => panic!("stream {} was reset", frame.stream),
                _ => {}
            }
        }
        assert_eq!(said, [0x7fff_ffff, 7], "over {driver}: first a warning, then which streams were taken");
        ended.sort_unstable();
        assert_eq!(ended, [1, 3, 5], "over {driver}");
        // Whoever asks for nothing is not waited for long.
        idle.set_patience(Duration::from_secs(8));
        let mut last = None;
        while let Some(frame) = idle.receive().expect("frames to the end") {
            last = Some(frame.kind).filter(|kind| *kind == GOAWAY).or(last);
        }
        assert_eq!(last, Some(GOAWAY));
        assert!(server.wait(Duration::from_secs(10)).success());
    }
}
