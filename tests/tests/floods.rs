//! What a hostile peer can do with lawful and unlawful frames, and what it gets: sent away, at a small price, while others
//! are served.
//!
//! Each flood is sent once by one connection and once by fifty, as fast as the server takes it. It must end in GOAWAY or
//! in a closed connection, name its reason in the metrics, add no more than so much memory per connection, and leave a
//! lawful client alone. The table that is printed says what each cost: `cargo test … --test floods -- --nocapture`.
//!
//! `PORTICO_TEST_FLOODS_S=5` lets each flood be repeated for so many seconds by one connection after the other, and prints
//! by how much a lawful client's slow answers got slower.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use portico_tests::http2::{
    self, CONTINUATION, END_HEADERS, END_STREAM, Frame, GOAWAY, HEADERS, INITIAL_WINDOW_SIZE, PRIORITY, RST_STREAM,
};
use portico_tests::{App, Backend, Http2, Server, Setup, process, quantile, wait_for};

/// Most memory a hostile connection may add, bytes.
const MEMORY_PER_CONNECTION: u64 = 256 * 1024;
const HOSTILE_CONNECTIONS: u64 = 50;
/// How long a flood may go on before the server must have had enough.
const FLOOD: Duration = Duration::from_secs(20);

/// Frames without end.
struct Flood {
    name: &'static str,
    /// What the connection is counted as, among the reasons in the metrics.
    reasons: &'static [&'static str],
    /// Sent once, after the preface.
    begin: Vec<u8>,
    /// What is sent then, again and again; the number counts the rounds.
    round: Box<dyn Fn(u32) -> Vec<u8> + Send + Sync>,
    /// Whether the peer takes what it is answered.
    reads: bool,
}

impl Flood {
    fn new(
        name: &'static str,
        reasons: &'static [&'static str],
        begin: Vec<u8>,
        round: impl Fn(u32) -> Vec<u8> + Send + Sync + 'static,
    ) -> Self {
        Self { name, reasons, begin, round: Box::new(round), reads: true }
    }

    /// The same frame for ever.
    fn of(name: &'static str, reasons: &'static [&'static str], begin: Vec<u8>, frame: &Frame) -> Self {
        let round = frame.bytes().repeat(50);
        Self::new(name, reasons, begin, move |_| round.clone())
    }

    /// Some frames once: a lie.
    fn once(name: &'static str, reasons: &'static [&'static str], frames: &[Frame]) -> Self {
        let begin = frames.iter().flat_map(Frame::bytes).collect();
        Self::new(name, reasons, begin, |_| Vec::new())
    }

    fn unread(self) -> Self {
        Self { reads: false, ..self }
    }
}

/// Streams one after the other, each with the frames that `of` makes for its number.
fn streams(round: u32, of: impl Fn(u32) -> Vec<Frame>) -> Vec<u8> {
    (0..50).flat_map(|place| of((round * 50 + place) * 2 + 1)).flat_map(|frame| frame.bytes()).collect()
}

const CALM: &[&str] = &["resets", "resets-before-accept"];
const ERRORS: &[&str] = &["stream-errors", "protocol"];

fn floods(target: &str) -> Vec<Flood> {
    let get: Vec<(String, String)> = owned(&http2::request("GET", target));
    let post: Vec<(String, String)> = owned(&http2::request("POST", target));
    let head = |fields: &[(String, String)], stream: u32, end: bool| Frame::headers(stream, end, &borrowed(fields));
    let open = head(&post, 1, false).bytes();
    let made_to_reset = |name, make: fn(u32) -> Frame| {
        let post = post.clone();
        Flood::new(name, ERRORS, Vec::new(), move |round| {
            streams(round, |stream| vec![Frame::headers(stream, false, &borrowed(&post)), make(stream)])
        })
    };
    let bomb = {
        let mut block = http2::block(&http2::request("GET", target));
        block.push(0x40);
        http2::length(&mut block, 0x7f, 0, 1);
        block.push(b'x');
        http2::length(&mut block, 0x7f, 0, 3_900);
        block.extend([b'v'; 3_900]);
        block.extend([0xbe; 10_000]);
        Frame::new(HEADERS, END_HEADERS | END_STREAM, 1, block)
    };
    let resized =
        Frame::new(HEADERS, END_HEADERS | END_STREAM, 1, [http2::block(&borrowed(&get)), vec![0x20]].concat());
    let half_closed = head(&get, 1, true);
    let lying = [&borrowed(&post)[..], &[("content-length", "5")]].concat();
    let lying = owned(&lying);
    let (pairs, slow_pairs, plain) = (get.clone(), get.clone(), post.clone());
    vec![
        Flood::new("rapid reset", CALM, Vec::new(), move |round| {
            streams(round, |stream| vec![Frame::headers(stream, true, &borrowed(&pairs)), Frame::reset(stream, 8)])
        }),
        Flood::new("rapid reset, one by one", CALM, Vec::new(), move |round| {
            thread::sleep(Duration::from_micros(200));
            let stream = round * 2 + 1;
            [Frame::headers(stream, true, &borrowed(&slow_pairs)).bytes(), Frame::reset(stream, 8).bytes()].concat()
        }),
        made_to_reset("made to reset: window overflow", |stream| Frame::window_update(stream, 0x7fff_ffff)),
        made_to_reset("made to reset: window of nothing", |stream| Frame::window_update(stream, 0)),
        made_to_reset("made to reset: its own priority", |stream| {
            Frame::new(PRIORITY, 0, stream, [&stream.to_be_bytes()[..], &[1]].concat())
        }),
        made_to_reset("made to reset: headers that end nothing", |stream| Frame::headers(stream, false, &[("x", "v")])),
        Flood::new("made to reset: a length that lies", ERRORS, Vec::new(), move |round| {
            streams(round, |stream| vec![Frame::headers(stream, true, &borrowed(&lying))])
        }),
        Flood::new("streams past the limit", ERRORS, Vec::new(), move |round| {
            streams(round, |stream| vec![Frame::headers(stream, false, &borrowed(&plain))])
        }),
        Flood::of(
            "CONTINUATION",
            &["continuations", "control-frames"],
            Frame::new(HEADERS, END_STREAM, 1, http2::block(&borrowed(&get))).bytes(),
            &Frame::new(CONTINUATION, 0, 1, http2::block(&[("x", "v")])),
        ),
        Flood::once("HPACK bomb", &["header-list"], &[bomb]),
        Flood::once("HPACK table resized inside a block", &["compression", "protocol"], &[resized]),
        Flood::of("SETTINGS", &["control-frames"], Vec::new(), &Frame::settings(&[(INITIAL_WINDOW_SIZE, 1)])),
        Flood::of("PING", &["control-frames"], Vec::new(), &Frame::ping()),
        Flood::of("PING, answers unread", &["control-frames"], Vec::new(), &Frame::ping()).unread(),
        Flood::of("SETTINGS, answers unread", &["control-frames"], Vec::new(), &Frame::settings(&[])).unread(),
        Flood::of("PRIORITY", &["control-frames"], Vec::new(), &Frame::new(PRIORITY, 0, 1, [0, 0, 0, 3, 1])),
        Flood::of("WINDOW_UPDATE", &["window-updates"], Vec::new(), &Frame::window_update(0, 1)),
        Flood::of("WINDOW_UPDATE of a stream", &["window-updates"], open.clone(), &Frame::window_update(1, 1)),
        Flood::of("empty DATA", &["control-frames", "data-frames"], open.clone(), &Frame::data(1, false, b"")),
        Flood::of("tiny DATA", &["tiny-data", "data-frames"], open.clone(), &Frame::data(1, false, b"x")),
        Flood::of("unknown frames", &["control-frames"], Vec::new(), &Frame::new(0x42, 0, 1, [0; 16])),
        Flood::of("window past 2^31", &["flow-control"], Vec::new(), &Frame::window_update(0, 0x7fff_ffff)),
        Flood::once("no SETTINGS first", &["no-settings"], &[]),
        Flood::once("DATA on a half-closed stream", ERRORS, &[half_closed.clone(), Frame::data(1, true, b"x")]),
        Flood::once("DATA before HEADERS", ERRORS, &[Frame::data(1, true, b"x")]),
        Flood::once("RST_STREAM of an idle stream", ERRORS, &[Frame::reset(1, 8)]),
        Flood::once("an even stream", ERRORS, &[head(&get, 2, true)]),
        Flood::once("a stream again", ERRORS, &[head(&get, 3, true), head(&get, 1, true)]),
        Flood::once("a push from the client", ERRORS, &[half_closed, push()]),
    ]
}

fn push() -> Frame {
    Frame::new(
        http2::PUSH_PROMISE,
        END_HEADERS,
        1,
        [&[0, 0, 0, 2][..], &http2::block(&http2::request("GET", "/"))].concat(),
    )
}

fn owned(fields: &[(&str, &str)]) -> Vec<(String, String)> {
    fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn borrowed(fields: &[(String, String)]) -> Vec<(&str, &str)> {
    fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
}

/// What a flood came to.
#[derive(Debug)]
struct Ended {
    sent_bytes: usize,
    took: Duration,
    /// The code of GOAWAY; none when the connection was closed without.
    code: Option<u32>,
}

/// Sends a flood until the server has had enough, or panics.
fn send(server: &Server, flood: &Flood) -> Ended {
    let mut connection = match flood.name {
        "no SETTINGS first" => {
            let mut connection = Http2::silent(server.address);
            let ping = Frame::ping().bytes();
            connection.send(&[http2::PREFACE, &ping].concat()).expect("the server takes a preface");
            connection
        }
        _ => Http2::open(server.address, &[]),
    };
    let since = Instant::now();
    let over = Arc::new(AtomicBool::new(false));
    let reader = flood.reads.then(|| {
        let (mut reader, over) = (connection.reader(), over.clone());
        thread::spawn(move || {
            let mut code = None;
            while let Ok(Some(frame)) = reader.receive() {
                if frame.kind == GOAWAY {
                    code = Some(frame.go_away_code());
                    break;
                }
            }
            over.store(true, Ordering::Relaxed);
            (code, since.elapsed())
        })
    });
    let mut begun = connection.send(&flood.begin);
    for round in 0.. {
        if begun.is_err() || over.load(Ordering::Relaxed) {
            break;
        }
        assert!(since.elapsed() < FLOOD, "{}: nobody minds it", flood.name);
        let bytes = (flood.round)(round);
        if bytes.is_empty() {
            thread::sleep(Duration::from_millis(1));
        } else {
            begun = connection.send(&bytes);
        }
    }
    let (code, took) = match reader {
        Some(reader) => reader.join().expect("a reader does not panic"),
        None => (None, since.elapsed()),
    };
    Ended { sent_bytes: connection.sent_bytes, took, code }
}

/// How often connections ended for each reason.
fn endings(server: &Server) -> Vec<(String, u64)> {
    let text = server.get("/metrics").text();
    let counted = text.lines().filter_map(|line| line.strip_prefix("portico_http2_ended_total{reason=\""));
    let pairs = counted.filter_map(|rest| rest.split_once("\"} "));
    pairs.map(|(reason, count)| (reason.to_owned(), count.parse().expect("a count"))).collect()
}

fn ended_for(server: &Server, reasons: &[&str]) -> u64 {
    endings(server).iter().filter(|(reason, _)| reasons.contains(&reason.as_str())).map(|(_, count)| count).sum()
}

/// A lawful client that asks all the time, and how long its answers took.
struct Victim {
    stop: Arc<AtomicBool>,
    asking: thread::JoinHandle<Vec<(Instant, Duration)>>,
}

impl Victim {
    fn start(server: &Server, target: &str) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, address, target) = (stop.clone(), server.address, target.to_owned());
        let asking = thread::spawn(move || {
            let mut connection = Http2::open(address, &[]);
            let get = http2::request("GET", &target);
            let mut took = Vec::new();
            for stream in (1..).step_by(2) {
                let since = Instant::now();
                let (status, body) = connection.call(stream, &get).expect("a lawful client is answered");
                assert_eq!((status, body.as_slice()), (200, &b"\"hello\""[..]));
                took.push((since, since.elapsed()));
                // What it sends is little, but windows are finite.
                connection.frame(&Frame::window_update(0, body.len() as u32)).expect("the server reads");
                if stopped.load(Ordering::Relaxed) {
                    break;
                }
                thread::sleep(Duration::from_millis(2));
            }
            took
        });
        Self { stop, asking }
    }

    /// When it asked, and how long each answer took.
    fn stop(self) -> Vec<(Instant, Duration)> {
        self.stop.store(true, Ordering::Relaxed);
        self.asking.join().expect("a lawful client is answered")
    }
}

fn backend() -> Backend {
    let slow = "exports = async () => { await new Promise((resolve) => setTimeout(resolve, 3000)); return 1; };";
    Backend::new().on("*", "/hello", "exports = () => 'hello';").on("GET", "/slow", slow).on(
        "GET",
        "/large",
        "exports = (query, response) => response.setBody('x'.repeat(8 << 20));",
    )
}

fn start() -> (Server, App) {
    let server = Setup::default().start();
    let app = server.admin().serve("target", &backend());
    (server, app)
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1_000.0
}

/// What five hundred lawful requests send, KiB, and cost.
fn plain_requests(server: &Server, target: &str) -> (f64, Duration) {
    let mut connection = Http2::open(server.address, &[]);
    let before = process::cpu_time_exact(server.pid);
    for stream in (1..1_000).step_by(2) {
        assert_eq!(connection.call(stream, &http2::request("GET", target)).expect("an answer").0, 200);
    }
    (connection.sent_bytes as f64 / 1024.0, process::cpu_time_exact(server.pid) - before)
}

/// By how much a lawful client's p99 grows beside one hostile connection after the other. Calm and hostile moments take
/// turns, since other work on the machine comes and goes.
fn beside(server: &Server, target: &str, flood: &Flood, time: Duration) -> f64 {
    const MOMENT: Duration = Duration::from_millis(200);
    let victim = Victim::start(server, target);
    let mut hostile = Vec::new();
    let began = Instant::now();
    while began.elapsed() < time {
        thread::sleep(MOMENT);
        let since = Instant::now();
        while since.elapsed() < MOMENT {
            send(server, flood);
            // The client's own work, on the same machine, is not what is measured.
            thread::sleep(Duration::from_millis(50));
        }
        hostile.push(since..Instant::now());
    }
    let answers = victim.stop();
    let p99 = |hostile_wanted: bool| {
        let wanted = |asked: &Instant| hostile.iter().any(|moment| moment.contains(asked)) == hostile_wanted;
        let mut took: Vec<Duration> =
            answers.iter().filter(|(asked, _)| wanted(asked)).map(|(_, took)| *took).collect();
        quantile(&mut took, 0.99).as_secs_f64()
    };
    p99(true) / p99(false)
}

#[test]
fn every_flood_ends_and_costs_little() {
    let (server, app) = start();
    let target = app.target("/hello");
    let seconds: u64 = std::env::var("PORTICO_TEST_FLOODS_S").map_or(0, |text| text.parse().expect("seconds"));
    // Whatever is made once is there before anything is counted.
    let warm = Victim::start(&server, &target);
    thread::sleep(Duration::from_secs(1));
    warm.stop();
    println!("{:<42} {:>9} {:>11} {:>9} {:>9} {:>10}", "", "KiB sent", "CPU-ms/KiB", "ms", "KiB each", "p99 ratio");
    let (kib, cpu) = plain_requests(&server, &target);
    println!("{:<42} {kib:>9.1} {:>11.4}", "(plain requests)", ms(cpu) / kib);
    for flood in floods(&target) {
        let before = ended_for(&server, flood.reasons);
        let cpu_before = process::cpu_time_exact(server.pid);
        let ended = send(&server, &flood);
        let cpu = process::cpu_time_exact(server.pid) - cpu_before;
        assert!(ended.code != Some(0), "{}: {ended:?}", flood.name);
        wait_for(
            &format!("{}: it is counted, not among {:?}", flood.name, endings(&server)),
            Duration::from_secs(30),
            || (ended_for(&server, flood.reasons) > before).then_some(()),
        );

        let victim = Victim::start(&server, &target);
        process::forget_peak(server.pid);
        let resting = process::peak_memory(server.pid);
        thread::scope(|scope| {
            for _ in 0..HOSTILE_CONNECTIONS {
                scope.spawn(|| send(&server, &flood));
            }
        });
        let added = process::peak_memory(server.pid).saturating_sub(resting) / HOSTILE_CONNECTIONS;
        victim.stop();
        let ratio = (seconds > 0).then(|| beside(&server, &target, &flood, Duration::from_secs(seconds)));
        let ratio = ratio.map(|ratio| format!("{ratio:.2}")).unwrap_or_default();
        let kib = ended.sent_bytes as f64 / 1024.0;
        println!(
            "{:<42} {kib:>9.1} {:>11.4} {:>9.1} {:>9} {ratio:>10}",
            flood.name,
            ms(cpu) / kib,
            ms(ended.took),
            added / 1024
        );
        assert!(added <= MEMORY_PER_CONNECTION, "{}: {added} bytes per connection", flood.name);
    }
    assert_eq!(server.get(&target).text(), "\"hello\"");
    let text = server.get("/metrics").text();
    assert!(!text.contains("portico_panics_total{task=\"connection\"}"), "a connection's task panicked");
    assert!(!text.contains("portico_panics_total{task=\"stream\"}"), "a stream's task panicked");
}

#[test]
fn resetting_streams_buys_no_more_work_at_once() {
    let (server, app) = start();
    let target = app.target("/slow");
    let slow = http2::request("GET", &target);
    let mut connection = Http2::open(server.address, &[]);
    let mut reader = connection.reader();
    // Two hundred lawful resets: a hundred streams run on, and the second hundred finds no place.
    let mut refused = 0;
    for stream in (1..=399).step_by(2) {
        connection.frame(&Frame::headers(stream, true, &slow)).expect("the server reads");
        connection.frame(&Frame::ping()).expect("the server reads");
        // Its answer shows that the stream was seen before its reset was sent.
        loop {
            let frame = reader.receive().expect("frames").expect("no end");
            match frame.kind {
                RST_STREAM if frame.number() == http2::REFUSED_STREAM => refused += 1,
                GOAWAY => panic!("sent away: {frame:?}"),
                http2::PING => break,
                _ => {}
            }
        }
        connection.frame(&Frame::reset(stream, 8)).expect("the server reads");
    }
    let running = |text: &str| -> u64 {
        let lines = text.lines().filter_map(|line| line.strip_prefix("portico_calls_in_flight{"));
        lines.filter_map(|line| line.split_once("} ")?.1.parse::<f64>().ok()).sum::<f64>() as u64
    };
    let at_once = running(&server.get("/metrics").text());
    assert!(at_once <= 100, "{at_once} calls run for one connection");
    // The last refusal may still be on its way.
    assert!((99..=100).contains(&refused), "{refused} of the second hundred were refused");
    // When the work is over the places are free again.
    wait_for("the calls end", Duration::from_secs(20), || (running(&server.get("/metrics").text()) == 0).then_some(()));
    // The figure is of a moment ago, and a call that is over has its answer written before its place is given back.
    let mut stream = 399;
    wait_for("a place is free again", Duration::from_secs(10), || {
        stream += 2;
        let answer = connection.call(stream, &http2::request("GET", "/health"));
        answer.is_ok_and(|(status, ..)| status == 200).then_some(())
    });
}

#[test]
fn whoever_makes_the_server_wait_is_let_go() {
    let (server, app) = start();
    let (large, hello) = (app.target("/large"), app.target("/hello"));
    let at_most = Duration::from_secs(40);
    let reset = |mut connection: Http2, nudge: Option<Frame>| {
        let since = Instant::now();
        let mut sender = connection.reader();
        let nudging = thread::spawn(move || {
            let Some(nudge) = nudge else { return };
            while since.elapsed() < at_most && sender.frame(&nudge).is_ok() {
                thread::sleep(Duration::from_millis(100));
            }
        });
        loop {
            match connection.receive_of_stream().expect("frames") {
                Some(frame) if frame.kind == RST_STREAM => break,
                Some(frame) if frame.kind == GOAWAY => break,
                Some(_) => {}
                None => break,
            }
        }
        let took = since.elapsed();
        drop(connection);
        drop(nudging);
        took
    };
    let closed = |mut connection: Http2| {
        let since = Instant::now();
        connection.set_patience(at_most);
        while let Ok(Some(frame)) = connection.receive() {
            if frame.kind == GOAWAY {
                break;
            }
        }
        since.elapsed()
    };
    let get_large = Frame::headers(1, true, &http2::request("GET", &large));
    let open_with = |settings: &[(u16, u32)], frames: &[&Frame]| {
        let mut connection = Http2::open(server.address, settings);
        for frame in frames {
            connection.frame(frame).expect("the server reads");
        }
        connection.set_patience(at_most);
        connection
    };
    let trickled = |bytes: &[u8]| {
        let mut connection = Http2::silent(server.address);
        connection.send(bytes).expect("the server reads");
        connection
    };
    thread::scope(|scope| {
        let waits = [
            ("a window of nothing", scope.spawn(|| reset(open_with(&[(INITIAL_WINDOW_SIZE, 0)], &[&get_large]), None))),
            (
                "a window of a byte",
                scope.spawn(|| {
                    let connection = open_with(&[(INITIAL_WINDOW_SIZE, 0)], &[&get_large]);
                    reset(connection, Some(Frame::window_update(1, 1)))
                }),
            ),
            ("half a preface", scope.spawn(|| closed(trickled(&http2::PREFACE[..16])))),
            ("a preface alone", scope.spawn(|| closed(trickled(http2::PREFACE)))),
            (
                "a head that does not end",
                scope.spawn(|| {
                    let head = Frame::new(HEADERS, END_STREAM, 1, http2::block(&http2::request("GET", &hello)));
                    closed(open_with(&[], &[&head]))
                }),
            ),
            (
                "a frame that does not end",
                scope.spawn(|| {
                    let mut connection = open_with(&[], &[]);
                    connection.send(&[0, 1, 0, HEADERS, END_HEADERS, 0, 0, 0, 1, 0]).expect("the server reads");
                    closed(connection)
                }),
            ),
            (
                "answers that are not read",
                scope.spawn(|| {
                    let widest = [(INITIAL_WINDOW_SIZE, 0x7fff_ffff)];
                    let wide = Frame::window_update(0, 0x7fff_0000 - 65_535);
                    let mut connection = open_with(&widest, &[&wide]);
                    for stream in (1..9).step_by(2) {
                        let get = Frame::headers(stream, true, &http2::request("GET", &large));
                        connection.frame(&get).expect("the server reads");
                    }
                    let since = Instant::now();
                    wait_for("it is closed", at_most, || {
                        thread::sleep(Duration::from_millis(100));
                        (ended_for(&server, &["not-reading"]) > 0).then_some(())
                    });
                    since.elapsed()
                }),
            ),
            (
                "a body that does not come",
                scope.spawn(|| {
                    let head = Frame::headers(1, false, &http2::request("POST", &hello));
                    let mut connection = open_with(&[], &[&head]);
                    let since = Instant::now();
                    assert_eq!(connection.answer(1).expect("an answer").0, 408);
                    since.elapsed()
                }),
            ),
        ];
        for (what, wait) in waits {
            let took = wait.join().unwrap_or_else(|_| panic!("{what}"));
            println!("{what}: let go after {:.1} s", took.as_secs_f64());
            assert!((Duration::from_secs(10)..Duration::from_secs(40)).contains(&took), "{what}: {took:?}");
        }
    });
    assert_eq!(server.get(&hello).text(), "\"hello\"");
    // None of it is held any longer.
    wait_for("the hostile connections are gone", Duration::from_secs(10), || {
        let text = server.get("/metrics").text();
        let open =
            text.lines().find_map(|line| line.strip_prefix("portico_connections{core=\"0\"} "))?.parse::<f64>().ok()?;
        (open <= 4.0).then_some(())
    });
}
