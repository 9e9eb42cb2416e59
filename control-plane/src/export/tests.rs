//! Export and import against each other: whatever configuration comes in, what goes out must come in as the same, go out
//! as the same bytes, and survive being kept.

use std::collections::{BTreeMap, HashSet};

use serde_json::{Map, Value as Json, json};

use storage::model::{
    App, AppConfig, AppId, ClientAppId, DeploymentModel, DomainId, Environment, GroupId, ProviderRegion,
};

use super::*;
use crate::check::{Against, check};
use crate::payload::{self, Stored};
use crate::{diff, directory, limits};

fn app() -> App {
    App {
        id: AppId::new(),
        client_app_id: ClientAppId::new("shop-abcde"),
        group: GroupId::new(),
        domain: DomainId::new(),
        name: "shop".to_owned(),
        location: "US-VA".to_owned(),
        provider_region: ProviderRegion::parse("aws-us-east-1").unwrap(),
        deployment_model: DeploymentModel::Global,
        environment: Environment::None,
        product: "standard".to_owned(),
        created_at: 0,
        last_modified: 0,
        live: None,
    }
}

fn read(payload: &Json, previous: &AppConfig) -> AppConfig {
    let read = payload::read(payload.as_object().expect("a payload"), previous, 1);
    let mut problems = read.problems;
    let secrets = HashSet::from(["s".to_owned()]);
    let against = Against { secrets: &secrets, places: &read.places, source_bytes_max: limits::SOURCE_BYTES_MAX };
    problems.extend(check(&read.config, against));
    assert_eq!(problems.lines(), [""; 0], "{payload:#}");
    read.config
}

/// The same stream for the same seed.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % bound
    }

    fn chance(&mut self) -> bool {
        self.below(2) == 0
    }

    fn pick<T: Clone>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())].clone()
    }

    /// A name that is not among `taken`.
    fn name(&mut self, taken: &mut HashSet<String>, parts: &[&str]) -> String {
        loop {
            let name: String = (0..=self.below(3)).map(|_| self.pick(parts)).collect();
            let name = name.trim_matches('/').to_owned();
            if !name.is_empty() && !name.contains("//") && taken.insert(name.clone()) {
                return name;
            }
        }
    }

    fn json(&mut self, depth: usize) -> Json {
        match self.below(if depth == 0 { 6 } else { 8 }) {
            0 => Json::Null,
            1 => self.chance().into(),
            2 => (self.below(1 << 30) as i64 - (1 << 29)).into(),
            3 => (self.below(1000) as f64 / 8.0 + 0.0625).into(),
            4 => {
                self.pick(&["", "text", "ünïcödé \u{1F600}", "%%user.id", "a\"b\\c\n\u{7}", "%(not a template)"]).into()
            }
            5 => json!({ "$oid": "0123456789abcdef01234567" }),
            6 => (0..self.below(4)).map(|_| self.json(depth - 1)).collect(),
            _ => {
                let names = ["z", "a", "id_", "$set", "a.b", "ключ"];
                (0..self.below(4)).map(|_| (self.pick(&names).to_owned(), self.json(depth - 1))).collect()
            }
        }
    }

    /// Puts some of these keys into an object, in an order of its own.
    fn some(&mut self, object: &mut Json, mut keys: Vec<(&str, Json)>) {
        while !keys.is_empty() {
            let (key, value) = keys.remove(self.below(keys.len()));
            if self.chance() {
                object[key] = value;
            }
        }
    }
}

const PARTS: &[&str] = &["a", "B", "c-d", "e_f", "1"];

fn generated(random: &mut Random) -> Json {
    let mut taken = HashSet::new();
    let mut names = Vec::new();
    let (mut entries, mut sources) = (Vec::new(), Map::new());
    for _ in 0..1 + random.below(5) {
        let name = random.name(&mut taken, &["a", "B", "c-d", "/", "x/y"]);
        let source = random.pick(&[
            "exports = () => 1;",
            "exports = () => 2;\r\n",
            "// ünï\nexports = x => x",
            "\u{2028}exports=1",
        ]);
        sources.insert(format!("{name}.js"), source.into());
        if random.chance() {
            let mut entry = json!({ "name": name });
            let rule = random.pick(&[json!({}), json!(true), json!({ "%%user.data.email": { "%exists": true } })]);
            let optional = vec![
                ("private", random.chance().into()),
                ("can_evaluate", rule),
                ("disable_arg_logs", random.chance().into()),
                ("run_as_system", random.chance().into()),
                ("run_as_user_id", random.pick(&["", "5f0000000000000000000001"]).into()),
                ("run_as_user_id_script_source", "".into()),
                ("x_note", random.json(2)),
            ];
            random.some(&mut entry, optional);
            entries.push(entry);
        }
        names.push(name);
    }
    let mut routes = HashSet::new();
    let endpoints: Vec<Json> = (0..random.below(4))
        .map(|_| {
            let mut endpoint = json!({
                "route": format!("/{}", random.name(&mut routes, PARTS)),
                "http_method": random.pick(&["GET", "POST", "*"]),
                "function_name": random.pick(&names),
                "validation_method": "NO_VALIDATION",
                "respond_result": random.chance(),
                "disabled": random.chance(),
            });
            if random.chance() {
                endpoint["validation_method"] = "VERIFY_PAYLOAD".into();
                endpoint["secret_name"] = "s".into();
            }
            let optional = vec![
                ("fetch_custom_user_data", random.chance().into()),
                ("create_user_on_auth", random.chance().into()),
                ("return_type", random.pick(&["JSON", "EJSON"]).into()),
                ("can_evaluate", json!({ "%%request.httpMethod": "GET" })),
                ("x_note", random.json(2)),
            ];
            random.some(&mut endpoint, optional);
            endpoint
        })
        .collect();
    let mut payload = json!({
        "config_version": 20210101,
        "functions": { "config": entries, "sources": sources },
        "endpoints": { "config": endpoints },
    });
    others(random, &mut payload);
    payload
}

fn others(random: &mut Random, payload: &mut Json) {
    let mut taken = HashSet::new();
    let values: Json = (0..random.below(4))
        .map(|_| {
            let mut value = json!({ "name": random.name(&mut taken, PARTS), "value": random.json(3) });
            if random.below(4) == 0 {
                value["value"] = "s".into();
                value["from_secret"] = true.into();
            }
            let optional = vec![("private", random.chance().into()), ("x_note", random.json(1))];
            random.some(&mut value, optional);
            value
        })
        .collect();
    let environments = json!({
        "no-environment.json": { "values": { "a": random.json(1) }, "x_note": 1 },
        "qa.json": { "values": {} },
        "production.json": { "values": { "b": "c" } },
    });
    let providers = json!({
        "api-key": { "name": "api-key", "type": "api-key", "disabled": random.chance() },
        "anon-user": { "name": "anon-user", "type": "anon-user", "x_note": random.json(2) },
        "custom-token": {
            "name": "custom-token", "type": "custom-token", "secret_config": { "signingKeys": ["s"] },
            "config": { "audience": ["a", "b"], "signingAlgorithm": "HS256" },
            "metadata_fields": [{ "required": false, "name": "a\\.b.c", "field_name": "d" }],
        },
    });
    // Names that differ in case only, or in characters a file name cannot have, or not at all.
    let named = |random: &mut Random| -> Json {
        let names = ["t", "T", "a/b", "a:b", "t", "..", "ü"];
        (0..random.below(5)).map(|_| json!({ "name": random.pick(&names), "x": random.json(2) })).collect()
    };
    let (triggers, forwarders) = (named(random), named(random));
    let mut collections = HashSet::new();
    let rules: Json = (0..random.below(5))
        .map(|_| {
            let collection = random.name(&mut collections, &["Orders", "orders", "a.b", "x/y", ".."]);
            let mut rule = json!({ "database": "shop", "collection": collection });
            let role = json!({ "name": "r", "apply_when": { "owner": "%%user.id" }, "read": true, "x_note": 1 });
            let optional = vec![
                ("roles", json!([role])),
                ("filters", json!([{ "name": "f", "apply_when": {}, "query": { "a": 1 } }])),
                ("schema", json!({ "title": "t", "properties": { "a": random.json(1) } })),
                ("relationships", json!({})),
                ("x_note", random.json(1)),
            ];
            random.some(&mut rule, optional);
            rule
        })
        .collect();
    let config =
        json!({ "name": "db", "type": "mongodb-atlas", "config": { "clusterName": "c" }, "version": 1, "x": 2 });
    let source =
        json!({ "config": config, "default_rule": { "roles": [], "filters": [], "x_note": 1 }, "rules": rules });
    let webhook = json!({
        "config": { "name": "hook", "options": { "httpMethod": "POST", "validationMethod": "VERIFY_PAYLOAD", "secret_name": "s" } },
        "source": "exports = () => 3;",
    });
    let service = json!({
        "config": { "name": "svc", "type": "http" }, "incoming_webhooks": [webhook], "rules": [{ "name": "r", "when": {} }],
    });
    let keys = vec![
        ("values", values),
        ("environments", environments),
        ("environment", random.pick(&["", "qa", "production"]).into()),
        ("allowed_request_origins", json!(["https://a.example", "http://b.example:8000"])),
        ("auth", json!({ "providers": providers, "custom_user_data": { "enabled": false } })),
        ("triggers", triggers),
        ("log_forwarders", forwarders),
        ("data_sources", json!([source])),
        ("services", json!([service])),
        ("http_endpoints", json!([{ "config": { "name": "old" } }])),
        (
            "graphql",
            json!({
                "config": { "use_natural_pluralization": true },
                "custom_resolvers": [{ "on_type": "Query", "field_name": "b" }, { "on_type": "Query", "field_name": "a" }],
                "validation_settings": { "read_validation_action": "WARN" },
            }),
        ),
        ("sync", json!({ "config": { "development_mode_enabled": random.chance() } })),
        (
            "hosting",
            json!({
                "config": { "enabled": true }, "metadata": [{ "path": "/a", "attrs": [] }],
                "files": { "index.html": "PGgxPg==", "deep/er/x.bin": "AAEC/w==", ".well-known/y": "" },
            }),
        ),
        ("data_api_config", json!({ "disabled": true, "versions": ["v1"], "secret_name": "", "x_note": 1 })),
        ("x_root_key", json!({ "kept": random.json(2), "really": true })),
    ];
    random.some(payload, keys);
}

#[test]
fn whatever_comes_in_goes_out_and_comes_in_the_same() {
    for seed in 0..400 {
        println!("seed {seed}");
        let payload = generated(&mut Random(seed));
        let config = read(&payload, &AppConfig::default());
        let kept =
            payload::recall(&payload::keep(&Stored { config: config.clone(), ..Stored::default() })).unwrap().config;
        assert_eq!(kept, config, "a configuration comes back as it was kept");
        for layout in [Layout::Current, Layout::V20210101] {
            let out = files(&app(), &config, layout, true);
            let names: BTreeMap<&str, &[u8]> =
                out.iter().map(|(name, content)| (name.as_str(), &content[..])).collect();
            assert_eq!(names.len(), out.len(), "no file is written twice");
            let read_back = directory::of_files(out.clone()).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(read_back.layout, layout);
            let again = read(&read_back.payload, &config);
            assert_eq!(diff::lines(&config, &again), [""; 0], "{layout}: pushing it back is no change");
            let out_again = files(&app(), &again, layout, true);
            for ((name, content), (name_again, content_again)) in out.iter().zip(&out_again) {
                assert_eq!(name, name_again);
                let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
                assert_eq!(text(content), text(content_again), "{name}");
            }
            assert_eq!(out.len(), out_again.len());
        }
    }
}

#[test]
fn what_was_written_is_what_is_exported() {
    let payload = json!({
        "config_version": 20210101,
        "functions": {
            "config": [{ "name": "f", "run_as_user_id": "", "can_evaluate": {} }, { "name": "g", "private": false }],
            "sources": { "f.js": "exports = 1", "g.js": "exports = 1" },
        },
        "endpoints": { "config": [{
            "route": "/a", "http_method": "ANY", "function_name": "f", "verification_method": "NO_VALIDATION",
            "secret_name": "", "respond_result": true, "disabled": false, "_id": "5f0000000000000000000001",
        }] },
        "values": [{ "id": "5f0000000000000000000002", "name": "v", "value": 1 }],
    });
    let config = read(&payload, &AppConfig::default());
    let files: BTreeMap<String, Vec<u8>> = files(&app(), &config, Layout::V20210101, true).into_iter().collect();
    let json = |name: &str| serde_json::from_slice::<Json>(&files[name]).unwrap().to_string();
    assert_eq!(
        json("functions/config.json"),
        r#"[{"name":"f","can_evaluate":{},"run_as_user_id":""},{"name":"g","private":false}]"#
    );
    assert_eq!(
        json("http_endpoints/config.json"),
        r#"[{"route":"/a","http_method":"*","function_name":"f","validation_method":"NO_VALIDATION","secret_name":"","respond_result":true,"disabled":false}]"#
    );
    assert_eq!(json("values/v.json"), r#"{"name":"v","value":1}"#);
    assert_eq!(files.keys().next_back().map(String::as_str), Some("values/v.json"));
}

#[test]
fn a_name_from_outside_stays_inside_its_folder() {
    for (name, expected) in
        [("a", "a"), ("../a", "_._a"), (".a", "_a"), ("..", "_"), ("a\\b:c", "a_b_c"), ("a\0", "a_")]
    {
        assert_eq!(plain(name), expected);
    }
}
