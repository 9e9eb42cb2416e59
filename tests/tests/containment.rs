//! What a stranger who owns an isolate host finds there: nothing to hold on to.

use std::fs;
use std::path::Path;

use portico_tests::{Backend, Setup, process};

/// What may stand behind a descriptor of an isolate host. Sockets are looked at more closely.
const HARMLESS: [&str; 5] = ["/dev/null", "pipe:", "anon_inode:", "/memfd:", "socket:"];

#[test]
fn isolate_hosts_hold_no_files_no_network_and_no_environment() {
    let server = Setup::default().set("PORTICO_HOSTS", "2").start();
    let app = server.admin().serve("contained", &Backend::new().on("GET", "/x", "exports = () => 1;"));
    assert_eq!(server.get(&app.target("/x")).status, 200, "a host that has worked is looked at, too");
    let hosts = server.isolate_hosts();
    assert!(hosts.len() >= 3, "two hosts and a spare, not {hosts:?}");
    for host in hosts {
        assert_eq!(process::status_field(host, "Seccomp").as_deref(), Some("2"), "a filter is on host {host}");
        assert_eq!(process::status_field(host, "NoNewPrivs").as_deref(), Some("1"), "host {host}");
        let environment = fs::read(format!("/proc/{host}/environ")).expect("our own child");
        let named: Vec<_> = environment.split(|byte| *byte == 0).filter(|line| !line.is_empty()).collect();
        assert!(named.is_empty(), "host {host} has an environment of {} variables", named.len());
        descriptors(host);
    }
}

fn descriptors(host: u32) {
    let unix = fs::read_to_string(format!("/proc/{host}/net/unix")).expect("our own child");
    for entry in fs::read_dir(format!("/proc/{host}/fd")).expect("our own child").flatten() {
        let Ok(target) = fs::read_link(entry.path()) else { continue };
        let target = target.to_string_lossy().into_owned();
        assert!(HARMLESS.iter().any(|harmless| target.starts_with(harmless)), "host {host} holds {target}");
        assert!(!Path::new(&target).is_dir(), "host {host} holds the directory {target}");
        if let Some(inode) = target.strip_prefix("socket:[").and_then(|rest| rest.strip_suffix(']')) {
            let listed = unix.lines().any(|line| line.split_whitespace().nth(6) == Some(inode));
            assert!(listed, "host {host} holds a socket that is not a Unix one: {target}");
        }
    }
}

#[test]
fn code_cannot_reach_what_the_platform_did_not_give_it() {
    let names = ["Deno", "XMLHttpRequest", "WebAssembly", "SharedArrayBuffer", "Atomics", "__portico"];
    let probes: String = names.map(|name| format!("[{name:?}, typeof {name}, typeof globalThis.{name}],")).concat();
    let source =
        format!("exports = () => [{probes}].filter((kinds) => kinds[1] !== 'undefined' || kinds[2] !== 'undefined');");
    let server = Setup::default().start();
    let app = server.admin().serve("curious", &Backend::new().on("GET", "/x", &source));
    let answer = server.get(&app.target("/x"));
    assert_eq!((answer.status, answer.text().as_str()), (200, "[]"), "{answer}");
}

/// Code generators from npm need it. What they make is the app's own code, so it must find the same walls.
#[test]
fn text_becomes_code_inside_the_same_walls() {
    let source = r#"exports = () => {
        const made = [
            (0, eval),
            (text) => new Function(`return ${text}`)(),
            (text) => (() => {}).constructor(`return ${text}`)(),
        ];
        const names = ["__portico", "internal", "module", "context", "WebAssembly", "SharedArrayBuffer", "Atomics"];
        const seen = [];
        for (const one of made) {
            if (one("20 + 1") !== 21) seen.push("does not run");
            for (const name of names) if (one(`typeof ${name}`) !== "undefined") seen.push(`${one} sees ${name}`);
        }
        return seen;
    };"#;
    let server = Setup::default().start();
    let app = server.admin().serve("evaluator", &Backend::new().on("GET", "/x", source));
    let answer = server.get(&app.target("/x"));
    assert_eq!((answer.status, answer.text().as_str()), (200, "[]"), "{answer}");
}
