//! What an operator does with documents: they are moved out and in, compacted, bounded, backed up and put back.

use std::sync::LazyLock;

use portico_tests::{Backend, Command, Request, Server, Setup};
use serde_json::{Value as Json, json};

static SERVER: LazyLock<Server> = LazyLock::new(|| Setup::default().start());

fn logged_in(server: &Server) -> Command {
    let shell = Command::default();
    let key = std::fs::read_to_string(server.data().join("admin-key.json")).expect("the key file");
    let key: Json = serde_json::from_str(&key).expect("the key file is JSON");
    let part = |name: &str| key[name].as_str().expect("both halves").to_owned();
    let url = format!("http://{}", server.address);
    let login = ["login", "--url", &url, "--api-key", &part("public"), "--private-api-key", &part("private")];
    shell.run(&login).expect(0);
    shell
}

/// An app whose `POST /put` stores a body's documents and whose `GET /count` counts them.
fn documents() -> Backend {
    let collection = "context.services.get('mongodb-atlas').db('shop').collection('orders')";
    let (put, count, clear) = (
        format!("exports = async ({{ body }}) => {collection}.insertMany(EJSON.parse(body.text()));"),
        format!("exports = async () => {collection}.count({{}});"),
        format!("exports = async () => {collection}.deleteMany({{}});"),
    );
    let copy = format!("exports = async () => {collection}.aggregate([{{ $out: 'copies' }}]).toArray();");
    let backend = Backend::new().data_source().on("POST", "/put", &put).on("GET", "/count", &count);
    backend.on("POST", "/clear", &clear).on("POST", "/copy", &copy)
}

#[test]
fn documents_leave_and_come_back_with_their_types() {
    let shell = logged_in(&SERVER);
    let app = SERVER.admin().serve("moved", &documents());
    let other = SERVER.admin().serve("moved-to", &documents());
    let typed = r#"[{"_id":{"$oid":"656565656565656565656565"},"n":{"$numberLong":"5"},"d":{"$numberDecimal":"1.50"},
        "at":{"$date":{"$numberLong":"1700000000000"}},"b":{"$binary":{"base64":"AQI=","subType":"00"}}},{"_id":7,"n":1.5}]"#;
    assert_eq!(SERVER.call(&Request::post(&app.target("/put"), typed)).status, 200);

    let id = app.client_app_id.as_str();
    let listed = shell.run(&["documents", "--app", id]).expect(0);
    assert_eq!(listed.out.split_whitespace().collect::<Vec<_>>(), ["shop.orders", "2"]);
    assert!(listed.err.contains("on disk"), "{}", listed.err);

    shell.run(&["documents", "export", "shop.orders", "orders.jsonl", "--app", id]).expect(0);
    let exported = std::fs::read_to_string(shell.file("orders.jsonl")).expect("the export");
    let lines: Vec<Json> = exported.lines().map(|line| serde_json::from_str(line).expect("a line is JSON")).collect();
    assert_eq!(lines.len(), 2);
    assert_eq!(lines[0], json!({ "_id": { "$numberInt": "7" }, "n": { "$numberDouble": "1.5" } }));
    assert_eq!(lines[1]["d"], json!({ "$numberDecimal": "1.50" }));

    let to = other.client_app_id.as_str();
    let imported = shell.run(&["documents", "import", "shop.orders", "orders.jsonl", "--app", to]).expect(0);
    assert!(imported.err.contains("2 stored, 0 refused"), "{}", imported.err);
    let again = shell.run(&["documents", "export", "shop.orders", "--app", to]).expect(0);
    assert_eq!(again.out, exported, "what was imported is exported as it was");
    // What is there already is refused by its line, or replaced.
    let twice = shell.run(&["documents", "import", "shop.orders", "orders.jsonl", "--app", to]).expect(1);
    assert!(twice.err.contains("line 1:") && twice.err.contains("E11000"), "{}", twice.err);
    shell.run(&["documents", "import", "shop.orders", "orders.jsonl", "--mode", "upsert", "--app", to]).expect(0);
    // A line that is none is told by number, and the others are stored.
    std::fs::write(shell.file("odd.jsonl"), "{\"_id\":8}\nnonsense\n\n[1]\n{\"_id\":9}\n").expect("a file");
    let odd = shell.run(&["documents", "import", "shop.orders", "odd.jsonl", "--app", to]).expect(1);
    for said in ["line 2: not JSON", "line 4: not a document", "2 stored, 2 refused"] {
        assert!(odd.err.contains(said), "{said} in {}", odd.err);
    }
    assert_eq!(SERVER.get(&other.target("/count")).json(), json!(4));
    // What was moved is counted, for all apps together.
    let figures = SERVER.get("/metrics").text();
    for (figure, least) in [
        ("portico_documents_exported_total ", 4),
        ("portico_documents_imported_total{outcome=\"stored\"} ", 6),
        ("portico_documents_imported_total{outcome=\"refused\"} ", 4),
    ] {
        let count = figures.lines().find_map(|line| line.strip_prefix(figure)?.parse::<u64>().ok());
        assert!(count.is_some_and(|count| count >= least), "{figure}: {count:?} in\n{figures}");
    }
    assert!(
        shell.run(&["documents", "export", "orders", "--app", to]).expect(2).err.contains("<database>.<collection>")
    );
}

#[test]
fn an_app_that_takes_all_it_may_can_only_delete_until_it_is_compacted() {
    let shell = logged_in(&SERVER);
    let app = SERVER.admin().serve("bounded", &documents());
    let id = app.client_app_id.as_str();
    shell.run(&["limits", "--app", id, "storage_mib=8"]).expect(0);
    let lot = format!("[{}]", vec![json!({ "text": "x".repeat(1000) }).to_string(); 1000].join(","));
    let refused = (0..40).find_map(|_| {
        let answer = SERVER.call(&Request::post(&app.target("/put"), lot.as_str()));
        (answer.status != 200).then_some(answer)
    });
    let refused = refused.expect("forty megabytes are more than eight");
    assert_eq!((refused.status, &refused.json()["error_code"]), (400, &json!("FunctionExecutionError")));
    assert!(refused.text().contains("storage_mib"), "{refused}");
    // Nor is there another way to add something.
    let into = app.path("/services/mongodb-atlas/documents/import?database=shop&collection=orders");
    let imported = app.admin.call("POST", &into, Some(&json!({ "_id": "imported" })));
    assert_eq!((imported.status, imported.error().1.as_str()), (507, "StorageQuotaExceeded"), "{imported}");
    let copied = SERVER.call(&Request::post(&app.target("/copy"), ""));
    assert!(copied.status == 400 && copied.text().contains("storage_mib"), "{copied}");
    // Reads and deletes go on.
    assert!(SERVER.get(&app.target("/count")).json().as_u64().is_some_and(|count| count >= 1000));
    assert_eq!(SERVER.call(&Request::post(&app.target("/clear"), "")).status, 200);
    let compacted = shell.run(&["compact", "--app", id]).expect(0);
    assert!(compacted.err.contains("MiB on disk"), "{}", compacted.err);
    assert_eq!(SERVER.call(&Request::post(&app.target("/put"), lot.as_str())).status, 200);
    assert_eq!(SERVER.get(&app.target("/count")).json(), json!(1000));
    let used = app.admin.get(&app.path("/storage"));
    assert!(used["bytes"].as_u64().is_some_and(|bytes| bytes < 8 << 20), "{used}");
    assert!(used["operations"]["writes"].as_u64().is_some_and(|writes| writes >= 3), "{used}");
}

#[test]
fn a_backup_made_under_load_is_restored_whole() {
    let server = Setup::default().start();
    let app = server.admin().serve("kept", &documents());
    let put = |n: usize| {
        let pair = format!("[{{\"_id\":{},\"of\":{n}}},{{\"_id\":{},\"of\":{n}}}]", n * 2, n * 2 + 1);
        assert_eq!(server.call(&Request::post(&app.target("/put"), pair.as_str())).status, 200);
    };
    (0..200).for_each(put);
    let shell = logged_in(&server);
    // Writes go on while it is made: each is there wholly or not at all.
    let backup = std::thread::scope(|scope| {
        let made = scope.spawn(|| shell.run(&["backup"]).expect(0).out);
        (200..400).for_each(put);
        made.join().expect("a backup")
    });
    let backup = backup.trim();
    let again = Setup::default();
    let data = again.data();
    let into = data.to_str().expect("a path");
    // A damaged backup is refused before anything is put anywhere.
    let manifest = std::fs::read_to_string(format!("{backup}/backup.json")).expect("a manifest");
    std::fs::write(format!("{backup}/backup.json"), manifest.replacen("\"sha256\": \"", "\"sha256\": \"0", 1)).unwrap();
    let refused = shell.run(&["restore", backup, "--data", into]).expect(1);
    assert!(refused.err.contains("is damaged") && !data.join("catalog.redb").exists(), "{}", refused.err);
    std::fs::write(format!("{backup}/backup.json"), manifest).unwrap();

    let restored = shell.run(&["restore", backup, "--data", into]).expect(0);
    assert!(restored.err.contains("vault.key"), "{}", restored.err);
    assert!(shell.run(&["restore", backup, "--data", into]).expect(1).err.contains("is there already"));
    let key = server.data().join("vault.key");
    let serve = ["serve", "--data", into, "--listen", "127.0.0.1:0", "--no-samples"];
    let without = shell.run(&serve).expect(1);
    assert!(without.err.contains("vault.key"), "{}", without.err);
    std::fs::copy(key, data.join("vault.key")).expect("the key, which is kept apart");
    drop(server);
    let server = again.start();
    let count = server.get(&app.target("/count")).json().as_u64().expect("a number");
    assert!((400..=800).contains(&count) && count % 2 == 0, "{count}");
}
