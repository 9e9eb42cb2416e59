//! More requests than there is processor for: those that are let in are served as quickly and as many as ever, the others
//! are told at once when to come again, and nobody else is made to wait.
//!
//! The server has one processor and the callers another, where there are two; requests are sent when their time has come,
//! whatever became of those before. `benches/src/bin/overload.rs` measures the same at length.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use portico_tests::{App, Backend, Load, OpenLoop, Request, Seen, Server, Setup, process, quantile};

/// Some milliseconds of work, as much as a function that renders a page or checks a password takes. It is in V8's own
/// parser: how fast a loop of JavaScript is depends on what V8 has compiled by then, and the peak would not be one.
const WORK: &str = "const text = JSON.stringify(Array.from({ length: 3000 }, (_, i) => ({ i, name: 'n' + i })));
    exports = () => { let n = 0; for (let i = 0; i < 4; i++) n += JSON.parse(text).length; return n; };";

/// One story at a time has the processors.
fn start() -> (Server, MutexGuard<'static, ()>) {
    static PROCESSORS: Mutex<()> = Mutex::new(());
    let alone = PROCESSORS.lock().unwrap_or_else(PoisonError::into_inner);
    process::pin(Some(0));
    let server = Setup::default().start();
    process::pin(Some(1));
    (server, alone)
}

/// Answers a second when nobody has to wait for anybody.
fn capacity(server: &Server, app: &App) -> f64 {
    let request = Request::get(&app.target("/work"));
    (0..50).for_each(|_| drop(server.call(&request)));
    let (load, since) = (Load::of(server.address, 4, request), Instant::now());
    std::thread::sleep(Duration::from_secs(2));
    let samples = load.stop();
    assert!(samples.iter().all(|sample| sample.status() == 200), "four callers are no overload");
    samples.len() as f64 / since.elapsed().as_secs_f64()
}

fn run(server: &Server, app: &App, per_second: f64, seconds: u64) -> Seen {
    let open = OpenLoop {
        per_second,
        connections: 2_000,
        warm_up: Duration::from_millis(1_500),
        time: Duration::from_secs(seconds),
    };
    let seen = open.run(server.address, &Request::get(&app.target("/work")).bytes());
    assert_eq!((&seen.others[..], seen.broken), (&[][..], 0), "served or refused, and nothing else");
    seen
}

#[test]
fn five_times_as_many_requests_as_can_be_served_are_shed_early() {
    let (server, _alone) = start();
    let app = server.admin().serve("busy", &Backend::new().on("GET", "/work", WORK));
    let peak = capacity(&server, &app);
    let mut calm = run(&server, &app, peak * 0.2, 3).served;
    let calm = quantile(&mut calm, 0.99);

    let (address, metrics) = (server.address, std::sync::mpsc::channel());
    let watch = std::thread::spawn(move || {
        // Operators and load balancers are answered meanwhile.
        let until = Instant::now() + Duration::from_secs(4);
        let mut slowest = Duration::ZERO;
        while Instant::now() < until {
            let asked = Instant::now();
            let answer = portico_tests::Connection::open(address).call(&Request::get("/health"));
            assert_eq!(answer.expect("an answer").status, 200);
            slowest = slowest.max(asked.elapsed());
            std::thread::sleep(Duration::from_millis(50));
        }
        let _ = metrics.0.send(slowest);
    });
    let mut seen = run(&server, &app, peak * 5.0, 4);
    watch.join().expect("health is answered under overload");
    let health = metrics.1.recv().expect("it was sent");
    let admitted = quantile(&mut seen.served, 0.99);
    let refusal = quantile(&mut seen.refused_from_sent, 0.5);
    println!(
        "peak {peak:.0}/s; at five times that {:.0}/s served (p99 {admitted:?}, unloaded {calm:?}), {} refused (p50 \
         {refusal:?}), {} unanswered, health at most {health:?}",
        seen.goodput(),
        seen.refused.len(),
        seen.unanswered
    );
    assert!(seen.refused.len() > 2 * seen.served.len(), "it was no overload");
    assert_eq!(seen.with_retry_after, seen.refused.len(), "each is told when to come again");
    // A quiet machine shows 0.87 and twice; one that does other things meanwhile needs much room.
    assert!(seen.goodput() > 0.5 * peak, "{:.0} of {peak:.0} a second", seen.goodput());
    assert!(admitted < (calm * 6).max(Duration::from_millis(80)), "{admitted:?}, unloaded {calm:?}");
    assert!(health < Duration::from_secs(2), "{health:?}");

    let refused = server.get("/metrics").text();
    assert!(refused.contains("portico_shed_total{reason=\"queue\"}"), "{refused}");
    // The flood is over, and with it the refusals.
    portico_tests::wait_for("everybody is served again", Duration::from_secs(10), || {
        (server.get(&app.target("/work")).status == 200).then_some(())
    });
    let entry = app.admin.get(&app.path("/logs?status=503&limit=1"));
    assert!(entry["logs"][0].to_string().contains("waited too long"), "{entry}");
}

#[test]
fn an_app_that_is_flooded_does_not_slow_its_neighbour() {
    let (server, _alone) = start();
    let flooded = server.admin().serve("flooded", &Backend::new().on("GET", "/work", WORK));
    let quiet = server.admin().serve("quiet", &Backend::new().on("GET", "/work", WORK));
    let peak = capacity(&server, &flooded);
    server.get(&quiet.target("/work"));
    let mut alone = run(&server, &quiet, 20.0, 4).served;
    let (alone, half) = (quantile(&mut alone, 0.99), quantile(&mut alone, 0.5));
    let flood = {
        let (address, request) = (server.address, Request::get(&flooded.target("/work")).bytes());
        std::thread::spawn(move || {
            let time = Duration::from_secs(6);
            OpenLoop { per_second: peak * 3.0, connections: 2_000, warm_up: Duration::ZERO, time }
                .run(address, &request)
        })
    };
    let beside = run(&server, &quiet, 20.0, 4);
    flood.join().expect("the flood ends");
    assert_eq!(beside.refused.len(), 0, "whoever asks for little is served");
    let mut served = beside.served;
    let (p99, p50) = (quantile(&mut served, 0.99), quantile(&mut served, 0.5));
    println!("quiet neighbour: p50 {half:?}, p99 {alone:?} alone; p50 {p50:?}, p99 {p99:?} beside a flood");
    // It waits for the call that runs and the one that lies ready behind it.
    assert!(p50 < (half * 4).max(Duration::from_millis(40)), "{p50:?} beside a flood, {half:?} alone");
    assert!(p99 < (alone * 6).max(Duration::from_millis(80)), "{p99:?} beside a flood, {alone:?} alone");
}
