//! The golden vectors on servers. What FerretDB lacks or answers differently stands in `ferretdb.txt`: a reason on a line
//! of its own, and under it, indented, the ids.

use std::collections::{BTreeMap, HashMap};

use serde_json::Value as Json;

use crate::backends::{Backend, Kind, drop_tenant, tenant};
use crate::ferretdb::FerretDb;
use crate::support::wait;
use crate::vectors::{self, Outcome};

/// What the reason begins with that keeps a line from being sent: FerretDB closes the connection on BSON types it does not
/// know, and the driver then waits half a second before it tries the server again.
const NOT_SENT: &str = "not sent:";

/// Whole areas FerretDB 1.24 has next to nothing of: expressions, the stages and accumulators that need them, `$jsonSchema`.
const AREAS_LACKING: &[&str] = &["accumulator", "expression", "jsonschema", "stage"];

#[test]
fn golden_vectors_hold_on_ferretdb() {
    // Its own, since some lines end it.
    let mut ferretdb = FerretDb::start();
    let backend = Backend::server(Kind::FerretDb, &ferretdb.uri());
    let lacks =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/conformance/ferretdb.txt")).unwrap();
    replay_all(&backend, &listed(&lacks), &mut |hangs| {
        let ended = hangs || ferretdb.has_ended();
        if ended {
            ferretdb.crash();
            ferretdb.restart();
        }
        ended
    });
}

#[test]
fn golden_vectors_hold_on_mongodb() {
    if let Some(backend) = Backend::mongodb() {
        replay_all(&backend, &HashMap::new(), &mut |_| false);
    }
}

/// `revive` starts a server again that ended or hangs, and says whether it had.
fn replay_all(backend: &Backend, lacks: &HashMap<&str, &str>, revive: &mut dyn FnMut(bool) -> bool) {
    let mut areas: BTreeMap<String, [usize; 4]> = BTreeMap::new();
    let mut wrong = Vec::new();
    for case in cases() {
        let id = case["id"].as_str().unwrap();
        let area = case["area"].as_str().unwrap();
        if backend.kind == Kind::FerretDb && AREAS_LACKING.contains(&area) {
            continue;
        }
        let counts = areas.entry(area.to_owned()).or_default();
        let listed = lacks.get(id);
        if listed.is_some_and(|reason| reason.starts_with(NOT_SENT)) {
            counts[1] += 1;
            continue;
        }
        let tenant = tenant();
        let mut outcome = vectors::replay_as(&*backend.store, tenant, &case);
        if revive(false) {
            outcome = Outcome::Failed("it ends the server".to_owned());
        }
        // The server may hang, or have ended a moment later.
        if wait(backend.store.drop_tenant(tenant)).is_err() {
            revive(true);
            drop_tenant(&*backend.store, tenant);
        }
        match outcome {
            Outcome::Passed => {
                counts[0] += 1;
                if listed.is_some() {
                    wrong.push(format!("{id}: passes, and is listed as lacking"));
                }
            }
            Outcome::NotOffered => counts[3] += 1,
            Outcome::NotSupported if listed.is_some() => counts[1] += 1,
            Outcome::Failed(_) if listed.is_some() => counts[1] += 1,
            outcome => {
                counts[2] += 1;
                wrong.push(format!("{id}: {outcome:?}"));
            }
        }
    }
    println!("{:?}\n{:<14}{:>10}{:>8}{:>8}{:>14}", backend.kind, "area", "passed", "listed", "failed", "not offered");
    for (area, [passed, listed, failed, not_offered]) in &areas {
        println!("{area:<14}{passed:>10}{listed:>8}{failed:>8}{not_offered:>14}");
    }
    assert!(wrong.is_empty(), "{} lines on {:?}:\n{}", wrong.len(), backend.kind, wrong.join("\n"));
}

fn cases() -> Vec<Json> {
    let mut files: Vec<_> = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "jsonl"))
        .collect();
    files.sort();
    let texts = files.iter().map(|file| std::fs::read_to_string(file).unwrap());
    texts.flat_map(|text| text.lines().map(|line| serde_json::from_str(line).unwrap()).collect::<Vec<_>>()).collect()
}

/// Id to reason.
fn listed(text: &str) -> HashMap<&str, &str> {
    let mut reason = "";
    let mut listed = HashMap::new();
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        match line.strip_prefix("  ") {
            None => reason = line,
            Some(ids) => listed.extend(ids.split_whitespace().map(|id| (id, reason))),
        }
    }
    listed
}
