//! What becomes of requests that are more than can be served: how many are served, how quickly, how soon are the others told?
//! And does an app that is flooded slow its neighbour?
//!
//! The server, gateway core and isolate host together, has one processor and the callers the other. Requests are sent when
//! their time has come; latency counts from then. The peak is what four callers in a closed loop are served.
//!
//! `BENCH_LOOPS` (4): how often the function reads some JSON, half a millisecond each; 0 for a hello. V8's own parser does
//! that, whose speed does not depend on what V8 has compiled. What is refused costs the server's processor some hundredths
//! of a millisecond each, so the share that is left for those that are served depends on how much they are. `BENCH_ROUNDS`
//! (3), `BENCH_SECONDS` (5) per load and round, after two seconds that do not count. `BENCH_STANDING_MS`, `BENCH_TARGET_MS`:
//! the server's settings, where they are not to be the defaults.

use std::time::Duration;

use portico_benches::{load, load_average, print_facts, setting, spread};
use portico_tests::{Backend, OpenLoop, Request, Seen, Setup, process, quantile};

fn main() {
    let loops = setting("BENCH_LOOPS", 4);
    let rounds = setting("BENCH_ROUNDS", 3);
    let seconds = Duration::from_secs(setting("BENCH_SECONDS", 5) as u64);
    let mut setup = Setup::default();
    for (bench, own) in
        [("BENCH_STANDING_MS", "PORTICO_OVERLOAD_STANDING_MS"), ("BENCH_TARGET_MS", "PORTICO_OVERLOAD_TARGET_MS")]
    {
        if let Ok(value) = std::env::var(bench) {
            setup = setup.set(own, &value);
        }
    }
    process::pin(Some(0));
    let server = setup.start();
    process::pin(Some(1));
    print_facts("overload", &server.driver());
    let work = format!(
        "const text = JSON.stringify(Array.from({{ length: 3000 }}, (_, i) => ({{ i, name: 'n' + i }})));
        exports = () => {{ let n = 0; for (let i = 0; i < {loops}; i++) n += JSON.parse(text).length; return {{ n }}; }};"
    );
    let backend = Backend::new().on("GET", "/work", &work);
    let admin = server.admin();
    let (app, quiet) = (admin.serve("flooded", &backend), admin.serve("quiet", &backend));
    let (request, gentle) = (Request::get(&app.target("/work")).bytes(), Request::get(&quiet.target("/work")).bytes());
    let open = |per_second: f64, request: &[u8]| {
        let warm_up = Duration::from_secs(2);
        OpenLoop { per_second, connections: 4_000, warm_up, time: seconds }.run(server.address, request)
    };
    load::run(server.address, 4, &gentle, Duration::from_secs(1));
    warm(|| load::run(server.address, 4, &request, Duration::from_secs(1)).requests);
    let (mut goodput, mut admitted, mut neighbour) = (Vec::new(), Vec::new(), Vec::new());
    for round in 1..=rounds {
        println!("round {round}, load average {}", load_average());
        let closed = load::run(server.address, 4, &request, seconds);
        let mut peak = closed.requests as f64 / closed.elapsed.as_secs_f64();
        println!("  closed loop of 4: {peak:.0}/s");
        let calm = told("0.2x", open(peak * 0.2, &request));
        let once = open(peak * 0.95, &request);
        peak = peak.max(once.goodput());
        told("0.95x", once);
        told("2x", open(peak * 2.0, &request));
        let flood = open(peak * 5.0, &request);
        goodput.push(flood.goodput() / peak);
        let p99 = told("5x", flood);
        admitted.push(p99.as_secs_f64() / calm.as_secs_f64());

        let alone = told("quiet neighbour alone, 5 %", open(peak * 0.05, &gentle));
        let beside = std::thread::scope(|scope| {
            let flood = scope.spawn(|| open(peak * 3.0, &request));
            let beside = open(peak * 0.05, &gentle);
            flood.join().expect("the flood ends");
            told("quiet neighbour beside 3x, 5 %", beside)
        });
        neighbour.push(beside.as_secs_f64() / alone.as_secs_f64());
    }
    println!("overload: goodput at 5x by peak {}", spread(goodput.into_iter(), 3));
    println!("overload: p99 of the served at 5x by unloaded p99 {}", spread(admitted.into_iter(), 2));
    println!("overload: quiet neighbour's p99 beside a flood by alone {}", spread(neighbour.into_iter(), 2));
}

/// Lets V8 compile the function as well as it will: until a second is like the one before it.
fn warm(second: impl Fn() -> u64) {
    let mut before = second();
    for _ in 0..20 {
        let now = second();
        if now.abs_diff(before) * 50 < now {
            return;
        }
        before = now;
    }
    println!("overload: the function's speed did not become steady; the figures mean little");
}

/// Prints what was seen and gives the 99th percentile of what was served.
fn told(load: &str, mut seen: Seen) -> Duration {
    let of = |values: &mut Vec<Duration>, share: f64| {
        if values.is_empty() { Duration::ZERO } else { quantile(values, share) }
    };
    let (p50, p99) = (of(&mut seen.served, 0.5), of(&mut seen.served, 0.99));
    let (r50, r99) = (of(&mut seen.refused_from_sent, 0.5), of(&mut seen.refused_from_sent, 0.99));
    println!(
        "  {load}: {:.0}/s served, p50 {p50:?}, p99 {p99:?}; {} refused, p50 {r50:?}, p99 {r99:?}, {} with Retry-After; {} \
         unanswered, {} broken, others {:?}",
        seen.goodput(),
        seen.refused.len(),
        seen.with_retry_after,
        seen.unanswered,
        seen.broken,
        seen.others.first()
    );
    p99
}
