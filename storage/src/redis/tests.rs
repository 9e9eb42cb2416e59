use std::io::{Read, Write};
use std::net::TcpListener;

use super::*;

fn settings(url: &str) -> Settings {
    Settings {
        url: SecretText::new(url),
        prefix: "p:".to_owned(),
        connect: Duration::from_millis(500),
        answer: Duration::from_millis(100),
    }
}

fn ping(redis: &Redis) -> impl Future<Output = Result<String, NoAnswer>> + use<> {
    redis.ask(|mut connection| async move { redis::cmd("PING").query_async(&mut connection).await })
}

async fn is_up(redis: &Redis) -> bool {
    for _ in 0..100 {
        if redis.health().down.is_none() {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    false
}

/// Somebody who answers the first connections with what is given, command by command, and then says nothing more.
fn actor(answers: &'static [&'static [u8]]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("redis://{}/", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        let mut open = Vec::new();
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut buffer = [0; 4096];
            // What the client says of itself first is answered, command by command, with OK.
            for answer in answers {
                let Ok(read @ 1..) = stream.read(&mut buffer) else { break };
                let text = String::from_utf8_lossy(&buffer[..read]).to_lowercase();
                let setups = text.matches("setinfo").count();
                let said: Vec<u8> = if setups > 0 { b"+OK\r\n".repeat(setups) } else { answer.to_vec() };
                if stream.write_all(&said).is_err() {
                    break;
                }
            }
            open.push(stream);
        }
    });
    url
}

#[test]
fn a_url_is_judged_without_repeating_it() {
    assert_eq!(check_url("redis://user:pass@127.0.0.1:6379/2"), Ok(()));
    for (url, named) in [
        ("rediss://user:pa55@h:1/", "TLS to Redis is not part of this build"),
        ("http://user:pa55@h/", "is not a URL of Redis"),
        ("redis://user:pa55@h:notaport/", "is not a URL of Redis"),
        ("localhost:6379", "is not a URL of Redis"),
    ] {
        let why = check_url(url).unwrap_err();
        assert!(why.contains(named) && !why.contains("pa55"), "{why}");
    }
}

#[tokio::test]
async fn while_there_is_nobody_commands_fail_at_once() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let redis = Redis::start(settings(&format!("redis://127.0.0.1:{port}/")), &Handle::current()).unwrap();
    let since = Instant::now();
    assert!(matches!(ping(&redis).await, Err(NoAnswer::Down(_))));
    assert!(since.elapsed() < Duration::from_millis(50));
    let health = redis.health();
    assert!(health.down.is_some() && health.age.is_none(), "{health:?}");
    assert_eq!(redis.name("x"), "p:x");
}

#[tokio::test]
async fn a_server_that_falls_silent_costs_one_bounded_wait() {
    let url = actor(&[b"+PONG\r\n", b"+PONG\r\n", b"+PONG\r\n"]);
    let redis = Redis::start(settings(&url), &Handle::current()).unwrap();
    assert!(is_up(&redis).await, "{:?}", redis.health());
    let mut silent = Ok(String::new());
    let since = Instant::now();
    while silent.is_ok() && since.elapsed() < Duration::from_secs(5) {
        silent = ping(&redis).await;
    }
    assert!(matches!(&silent, Err(NoAnswer::Down(why)) if why.contains("100 ms")), "{silent:?}");
    let since = Instant::now();
    drop(ping(&redis).await);
    assert!(since.elapsed() < Duration::from_millis(150), "the next waits no longer than the first");
}

#[tokio::test]
async fn rubbish_breaks_the_connection_and_a_refusal_does_not() {
    let url = actor(&[b"+PONG\r\n", b"+PONG\r\n", b"-OOM command not allowed\r\n", b"!rubbish$$$\r\n"]);
    let redis = Redis::start(settings(&url), &Handle::current()).unwrap();
    assert!(is_up(&redis).await, "{:?}", redis.health());
    let mut seen = Vec::new();
    for _ in 0..4 {
        seen.push(match ping(&redis).await {
            Ok(_) => "answered",
            Err(NoAnswer::Refused(_)) => "refused",
            Err(NoAnswer::Down(_)) => "down",
        });
    }
    let refused = seen.iter().position(|one| *one == "refused").unwrap_or_else(|| panic!("{seen:?}"));
    assert_eq!(seen.get(refused + 1), Some(&"down"), "{seen:?}");
}
