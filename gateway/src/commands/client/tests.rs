use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;

/// A server on this machine that gives each request the next of `answers` and keeps the heads of what it was sent.
async fn server(answers: Vec<(u16, &'static str)>) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let heads = Arc::new(Mutex::new(Vec::new()));
    let kept = heads.clone();
    tokio::spawn(async move {
        for (status, body) in answers {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.unwrap());
            }
            kept.lock().unwrap().push(String::from_utf8(head).unwrap());
            let length = body.len();
            let answer = format!("HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}");
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    (url, heads)
}

/// A directory with the profile of an earlier login to `url`.
fn logged_in(url: &str) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("profile.json");
    let profile = Profile {
        url: url.to_owned(),
        public_key: "pub".to_owned(),
        access_token: "old".to_owned(),
        refresh_token: "refresh".to_owned(),
        group_id: None,
    };
    profile::save(&path, &profile).unwrap();
    (dir, path)
}

const EXPIRED: (u16, &str) =
    (401, r#"{"error":"invalid session: access token expired","error_code":"InvalidSession"}"#);

#[tokio::test]
async fn an_expired_login_is_renewed_once_and_the_next_command_knows() {
    let (url, heads) = server(vec![EXPIRED, (201, r#"{"access_token":"new"}"#), (200, "[]")]).await;
    let (_dir, path) = logged_in(&url);
    let mut client = Client::connect_as(&Connection::default(), Ok(path.clone())).await.unwrap();
    assert_eq!(client.get("/groups/g/apps", &[("product", "a b")]).await.unwrap(), json!([]));
    let heads = heads.lock().unwrap();
    let sent = |index: usize, text: &str| heads[index].to_ascii_lowercase().contains(&text.to_ascii_lowercase());
    assert!(sent(0, "GET /api/admin/v3.0/groups/g/apps?product=a+b ") && sent(0, "authorization: bearer old"));
    assert!(sent(1, "POST /api/admin/v3.0/auth/session ") && sent(1, "authorization: bearer refresh"));
    assert!(sent(2, "GET /api/admin/v3.0/groups/g/apps?product=a+b ") && sent(2, "authorization: bearer new"));
    assert_eq!(profile::load(&path).unwrap().unwrap().access_token, "new");
}

#[tokio::test]
async fn a_login_that_cannot_be_renewed_says_so() {
    let (url, _) = server(vec![EXPIRED, EXPIRED]).await;
    let (_dir, path) = logged_in(&url);
    let mut client = Client::connect_as(&Connection::default(), Ok(path)).await.unwrap();
    let failure = client.get("/auth/profile", &[]).await.unwrap_err();
    assert_eq!((failure.exit, failure.message.as_str()), (Exit::Refused, "the login has ended"));
}

#[tokio::test]
async fn tokens_are_shown_only_to_the_server_that_gave_them() {
    let (_dir, path) = logged_in("http://127.0.0.1:8080");
    let elsewhere = Connection { url: Some("http://127.0.0.1:9".to_owned()), ..Connection::default() };
    let Err(failure) = Client::connect_as(&elsewhere, Ok(path)).await else { panic!("should not be logged in there") };
    assert_eq!((failure.exit, failure.message.as_str()), (Exit::Refused, "not logged in to http://127.0.0.1:9"));
}

#[tokio::test]
async fn half_a_key_pair_is_a_wrong_command_line() {
    let half = Connection { public_key: Some("pub".to_owned()), ..Connection::default() };
    let dir = tempfile::tempdir().unwrap();
    let Err(failure) = Client::connect_as(&half, Ok(dir.path().join("none"))).await else { panic!("half a pair") };
    assert_eq!(failure.exit, Exit::Usage);
}

#[tokio::test]
async fn a_server_that_is_not_there_is_unreachable() {
    // Bound and dropped, so nobody listens on it.
    let url = format!("http://{}", TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap());
    let Err(failure) = Client::log_in(&url, "pub", "priv").await else { panic!("nobody listens") };
    assert_eq!(failure.exit, Exit::Unreachable);
    assert!(failure.message.contains("refused"), "{failure}");
}

#[test]
fn a_server_is_a_scheme_a_host_and_a_port() {
    let rows = [
        ("http://127.0.0.1:8080/", Ok("http://127.0.0.1:8080")),
        ("https://portico.example", Ok("https://portico.example")),
        ("https://portico.example:443", Ok("https://portico.example")),
        ("127.0.0.1:8080", Err("not a URL")),
        ("localhost:8080", Err("not a server")),
        ("ftp://portico.example", Err("not a server")),
        ("https://portico.example/api/admin", Err("more than a server")),
        ("https://me@portico.example", Err("more than a server")),
    ];
    for (url, expected) in rows {
        match (checked(url), expected) {
            (Ok(found), Ok(expected)) => assert_eq!(found, expected),
            (Err(failure), Err(part)) => {
                assert!(failure.message.contains(part), "{url}: {failure}");
                assert_eq!(failure.exit, Exit::Usage);
            }
            (found, expected) => panic!("{url}: {found:?} instead of {expected:?}"),
        }
    }
}

#[test]
fn a_refusal_keeps_the_server_s_words_and_gets_an_exit_code() {
    let rows: [(u16, &str, &str, Exit); 5] = [
        (400, r#"{"error":"app name is taken","error_code":"X"}"#, "app name is taken", Exit::Failed),
        (401, r#"{"error":"invalid session","error_code":"InvalidSession"}"#, "invalid session", Exit::Refused),
        (403, r#"{"error":"read only"}"#, "read only", Exit::Refused),
        (502, "<h1>Bad Gateway</h1>", "the server answered 502: <h1>Bad Gateway</h1>", Exit::Failed),
        (404, "", "the server answered 404", Exit::Failed),
    ];
    for (status, body, message, exit) in rows {
        let failure = refused(status, body.as_bytes());
        assert_eq!((failure.message.as_str(), failure.exit), (message, exit));
    }
}

#[test]
fn loopback_is_never_reached_through_a_proxy() {
    for (url, local) in [
        ("http://127.0.0.1:1", true),
        ("http://[::1]:1", true),
        ("http://localhost", true),
        ("http://us-east-1.aws.data.localhost", true),
        ("http://10.0.0.1", false),
        ("http://localhost.example", false),
    ] {
        assert_eq!(is_local(&Url::parse(url).unwrap()), local, "{url}");
    }
}
