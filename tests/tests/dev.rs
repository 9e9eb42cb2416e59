//! `portico dev`: a person with an editor and a browser.

use std::time::{Duration, Instant};

use portico_tests::{Backend, Setup, wait_for};

#[test]
fn a_saved_file_is_what_the_next_call_runs() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let version = |number: u32| format!("exports = () => {{ console.log('said {number}'); return {number}; }};\n");
    Backend::new().on("GET", "/version", &version(1)).write_to(directory.path(), "edited");
    let server = Setup::dev(directory.path()).start();
    let out = server.output();
    let (_, url) = out.split_once(" is at http://").expect("the app's address");
    let target = format!("{}/version", url.lines().next().expect("a line")[server.address.to_string().len()..].trim());
    let now_answers = |text: &str| {
        wait_for(&format!("the app answers {text}"), Duration::from_secs(10), || {
            (server.get(&target).text() == text).then_some(())
        });
    };
    now_answers("1");

    let file = directory.path().join("functions/get_version.js");
    let mut took = Vec::new();
    for number in 2..=6 {
        std::fs::write(&file, version(number)).expect("saved");
        let saved = Instant::now();
        now_answers(&number.to_string());
        took.push(saved.elapsed());
    }
    println!("from save to new answer: {took:?}");
    assert!(took.iter().all(|took| *took < Duration::from_secs(2)), "{took:?}");

    std::fs::write(&file, "exports = () => {\n  return {;\n};\n").expect("saved");
    wait_for("the mistake is shown", Duration::from_secs(10), || {
        server.output().contains("functions/get_version.js:2").then_some(())
    });
    assert_eq!(server.get(&target).text(), "6", "the version before keeps serving");

    std::fs::write(&file, version(7)).expect("saved");
    now_answers("7");
    wait_for("what the function said is shown", Duration::from_secs(10), || {
        server.output().contains("said 7").then_some(())
    });
    server.stop();
}
