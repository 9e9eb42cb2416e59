//! Functions that take more than their share, and their neighbours on the same server, who should not notice.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use portico_tests::{App, Backend, Load, Request, Sample, Server, Setup, quantile};

const RUN_TIME: Duration = Duration::from_millis(1_000);

static SERVER: LazyLock<Server> = LazyLock::new(|| {
    Setup::default().set("PORTICO_RUN_TIME_MS", "1000").set("PORTICO_HEAP_MIB", "64").set("PORTICO_HOSTS", "2").start()
});

const LOOP: &str = "exports = () => { while (true) {} };";
const FILL: &str = "exports = () => { let a = []; for (;;) a.push(new Array(1e6).fill(1)); };";
const MICROTASKS: &str = "exports = async () => { for (;;) await null; };";

fn hello(name: &str) -> App {
    SERVER.admin().serve(name, &Backend::new().on("GET", "/hello", "exports = () => ({ hello: 1 });"))
}

fn hog(name: &str, source: &str) -> App {
    SERVER.admin().serve(name, &Backend::new().on("GET", "/hog", source))
}

/// Calls a neighbour until `busy` is over; every answer must be right.
fn with_a_neighbour<T>(name: &str, busy: impl FnOnce() -> T) -> T {
    let app = hello(name);
    assert_eq!(SERVER.get(&app.target("/hello")).text(), r#"{"hello":1}"#);
    let load = Load::of(SERVER.address, 2, Request::get(&app.target("/hello")));
    load.wait_for_more(20);
    let done = busy();
    load.wait_for_more(20);
    let samples = load.stop();
    for sample in &samples {
        let answer = sample.answer.as_ref().unwrap_or_else(|error| panic!("a neighbour's call failed: {error}"));
        assert_eq!((answer.status, answer.text().as_str()), (200, r#"{"hello":1}"#), "{answer}");
    }
    let mut latencies: Vec<Duration> = samples.iter().map(Sample::latency).collect();
    let (p50, p99) = (quantile(&mut latencies, 0.5), quantile(&mut latencies, 0.99));
    let longest = latencies.last().copied().unwrap_or_default();
    println!("{name}: {} calls beside it, p50 {p50:?}, p99 {p99:?}, longest {longest:?}", samples.len());
    assert!(p99 < RUN_TIME / 4, "a neighbour waited {p99:?} at p99");
    assert!(longest < RUN_TIME, "a neighbour waited {longest:?}, as long as the hog may run");
    done
}

fn ends_at_its_time_limit(app: &App) {
    let since = Instant::now();
    let answer = SERVER.get(&app.target("/hog"));
    let took = since.elapsed();
    let expected = ("execution time limit exceeded".to_owned(), "ExecutionTimeLimitExceeded".to_owned());
    assert_eq!((answer.status, answer.error()), (400, expected), "{answer}");
    assert!(took >= RUN_TIME && took < RUN_TIME * 4, "{took:?} for a limit of {RUN_TIME:?}");
}

#[test]
fn an_endless_loop_ends_at_its_limit_beside_a_neighbour_that_keeps_answering() {
    let app = hog("looping", LOOP);
    with_a_neighbour("beside-a-loop", || ends_at_its_time_limit(&app));
    // The app is not lost: what it is pushed next runs.
    app.push(&Backend::new().on("GET", "/hog", "exports = () => 'mended';"));
    assert_eq!(SERVER.get(&app.target("/hog")).text(), r#""mended""#);
}

#[test]
fn an_endless_chain_of_microtasks_ends_at_its_limit_too() {
    let app = hog("microtasking", MICROTASKS);
    with_a_neighbour("beside-microtasks", || ends_at_its_time_limit(&app));
}

#[test]
fn a_full_heap_is_an_error_of_the_one_who_filled_it() {
    let app = hog("filling", FILL);
    with_a_neighbour("beside-a-full-heap", || {
        for _ in 0..2 {
            let answer = SERVER.get(&app.target("/hog"));
            let expected = ("memory limit exceeded".to_owned(), "FunctionExecutionError".to_owned());
            assert_eq!((answer.status, answer.error()), (400, expected), "{answer}");
        }
    });
}

#[test]
fn four_hogs_of_four_apps_at_once_each_get_their_limit_and_neighbours_keep_answering() {
    let server = Setup::default()
        .set("PORTICO_RUN_TIME_MS", "1000")
        .set("PORTICO_HEAP_MIB", "64")
        .set("PORTICO_HOSTS", "2")
        .start();
    let admin = server.admin();
    let hogs: Vec<App> =
        (0..4).map(|number| admin.serve(&format!("hog{number}"), &Backend::new().on("GET", "/hog", LOOP))).collect();
    let app = admin.serve("hello", &Backend::new().on("GET", "/hello", "exports = () => ({ hello: 1 });"));
    assert_eq!(server.get(&app.target("/hello")).status, 200);
    let load = Load::of(server.address, 2, Request::get(&app.target("/hello")));
    load.wait_for_more(20);
    std::thread::scope(|scope| {
        for hog in &hogs {
            scope.spawn(|| {
                let answer = server.get(&hog.target("/hog"));
                assert_eq!((answer.status, answer.error().1.as_str()), (400, "ExecutionTimeLimitExceeded"), "{answer}");
            });
        }
    });
    load.wait_for_more(20);
    let samples = load.stop();
    assert!(samples.iter().all(|sample| sample.status() == 200), "a neighbour's call failed");
    let mut latencies: Vec<Duration> = samples.iter().map(Sample::latency).collect();
    let (p50, p99) = (quantile(&mut latencies, 0.5), quantile(&mut latencies, 0.99));
    println!("four hogs: {} calls beside them, p50 {p50:?}, p99 {p99:?}", samples.len());
    // Six processes on what may be two processors: what counts is that nobody waits for a hog to end.
    assert!(p99 < RUN_TIME, "a neighbour waited {p99:?} at p99");
}
