//! What things cost, printed.

use super::*;

/// Figures, printed: `cargo test --release -p portico-isolate-pool -- --ignored --nocapture measure`.
#[test]
#[ignore = "prints figures"]
fn measure() {
    let started = Instant::now();
    snapshot();
    println!("snapshot: {} KB, made in {:?}", snapshot().len() / 1024, started.elapsed());
    crate::engine::start();
    let mut isolates = Vec::new();
    let rss = || {
        let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
        statm.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4
    };
    let before = rss();
    let mut times = Vec::new();
    for _ in 0..50 {
        let started = Instant::now();
        isolates.push(crate::engine::isolate::Isolate::new(snapshot(), 350).unwrap());
        times.push(started.elapsed());
    }
    times.sort();
    println!("blank isolate: p50 {:?}, p90 {:?}; {} KB each", times[25], times[45], (rss() - before) / 50);
    drop(isolates);

    let mut stage = Stage::new(&[("hello", "exports = function() { return { hello: 'world' }; };")]);
    stage.body("hello");
    let mut colds = Vec::new();
    let before = rss();
    for _ in 0..50 {
        (stage.app, stage.deployment) = (AppId::new(), BundleId::new());
        // With blanks ready, as between bursts.
        thread::sleep(Duration::from_millis(20));
        let started = Instant::now();
        stage.body("hello");
        colds.push(started.elapsed());
    }
    colds.sort();
    println!("cold call: p50 {:?}, p90 {:?}; {} KB per warm isolate", colds[25], colds[45], (rss() - before) / 50);

    for _ in 0..20_000 {
        stage.body("hello");
    }
    let (count, depth) = (100_000, 32);
    let started = Instant::now();
    let (mut sent, mut done, mut js_us) = (0u64, 0u64, 0u64);
    while done < count {
        let mut batch = Vec::new();
        while sent < count && sent - done < depth {
            batch.extend(stage.frame_for("hello", None).1);
            sent += 1;
        }
        if !batch.is_empty() {
            stage.link.write_all(&batch).unwrap();
        }
        if let Said::Done(_, outcome) = stage.hear() {
            js_us += u64::from(outcome.cpu_us);
            done += 1;
        }
    }
    println!(
        "hello, {depth} in flight: {:.2} us each over the link, {js_us} us counted",
        started.elapsed().as_secs_f64() * 1e6 / count as f64
    );
    let started = Instant::now();
    for _ in 0..10_000 {
        stage.body("hello");
    }
    println!("hello, one at a time: {:.2} us round trip", started.elapsed().as_secs_f64() * 1e6 / 10_000.0);

    let mut stage = Stage::new(&[
        ("nothing", "exports = () => { for (let i = 0; i < 1e5; i++) {} }"),
        ("read", "exports = () => { x = 1; let sum = 0; for (let i = 0; i < 1e5; i++) sum += x; return sum }"),
        ("write", "exports = () => { for (let i = 0; i < 1e5; i++) x = i; }"),
        (
            "built-in",
            "exports = () => { let sum = 0; for (let i = 0; i < 1e5; i++) sum += parseFloat.length; return sum }",
        ),
        (
            "overwritten built-in",
            "exports = () => { parseFloat = 0; let sum = 0; for (let i = 0; i < 1e5; i++) sum += parseFloat; return sum }",
        ),
    ]);
    for function in ["nothing", "built-in", "read", "write", "overwritten built-in"] {
        let best = (0..5).map(|_| stage.call(function).cpu_us).min().unwrap_or_default();
        println!("global, {function}: {:.0} ns each", f64::from(best) * 1e3 / 1e5);
    }
}
