//! One call's operations against servers on this machine, which the guard of these tests lets through.

use std::net::SocketAddr;

use bson::{Binary, rawdoc, spec::BinarySubtype};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::limits::SOCKETS_PER_CALL_MAX;

/// 127.0.0.1 is open, the rest of this machine is not.
fn outbound(timeout: Duration) -> Arc<Outbound> {
    let guard = Guard { allow: vec!["127.0.0.1/32".parse().unwrap()], ..Guard::default() };
    Outbound::new(OutboundSettings { guard, timeout, ..OutboundSettings::default() })
}

fn session() -> OutboundSession {
    outbound(Duration::from_secs(10)).session(AppId::new())
}

/// Answers each connection with what `answer` makes of the request's head.
async fn server(answer: impl Fn(&str) -> String + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let answer = Arc::new(answer);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let answer = answer.clone();
            tokio::spawn(async move {
                let head = head(&mut stream).await;
                let answer = answer(&head);
                if answer.is_empty() {
                    std::future::pending::<()>().await;
                }
                stream.write_all(answer.as_bytes()).await.unwrap();
            });
        }
    });
    address
}

async fn head(stream: &mut TcpStream) -> String {
    let mut received = Vec::new();
    while !received.windows(4).any(|four| four == b"\r\n\r\n") {
        let mut chunk = [0; 1024];
        let length = stream.read(&mut chunk).await.unwrap();
        assert!(length > 0, "the client closed early");
        received.extend_from_slice(&chunk[..length]);
    }
    String::from_utf8(received).unwrap()
}

fn document(answer: &[u8]) -> bson::Document {
    bson::Document::from_reader(answer).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_leads_nowhere_the_guard_would_not_let_one_go() {
    let address = server(|head| {
        let target = head.split(' ').nth(1).unwrap();
        let (status, location) = target[1..].split_once('/').unwrap();
        let location = location.replace("%2F", "/");
        format!("HTTP/1.1 {status} Away\r\nLocation: {location}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
    })
    .await;
    let session = session();
    for status in [301, 302, 303, 307, 308] {
        for target in [
            "http://127.0.0.2:9/",
            "http://[::1]/",
            "http://0x7f000002/",
            "http://169.254.169.254/latest",
            "http://localhost.:1@10.0.0.1/",
            "//10.0.0.1/x",
            "file:///etc/passwd",
        ] {
            let url = format!("http://{address}/{status}/{}", target.replace('/', "%2F"));
            let request = rawdoc! { "method": "GET", "url": url, "redirect": "follow" };
            let refusal = session.http(request.into_bytes()).await.unwrap_err();
            assert_eq!(refusal.code, "RestrictedHost", "{status} {target}: {}", refusal.message);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn names_of_this_machine_are_judged_by_their_address() {
    let everything_closed = Outbound::new(OutboundSettings::default()).session(AppId::new());
    for name in ["localhost", "LOCALHOST"] {
        let request = rawdoc! { "method": "GET", "url": format!("http://{name}:1/") };
        let refusal = everything_closed.http(request.into_bytes()).await.unwrap_err();
        assert_eq!(refusal.code, "RestrictedHost", "{name}: {}", refusal.message);
        assert!(refusal.message.contains("is a loopback address"), "{}", refusal.message);
        let connect = rawdoc! { "op": "connect", "host": name, "port": 1 };
        assert_eq!(everything_closed.socket(connect.into_bytes()).await.unwrap_err().code, "RestrictedHost");
        let lookup = rawdoc! { "name": name, "type": "ADDRESS" };
        assert_eq!(everything_closed.lookup(lookup.into_bytes()).await.unwrap_err().code, "RestrictedHost");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_in_progress_ends_with_its_time_its_ticket_and_its_call() {
    let address = server(|_| String::new()).await;
    let hanging = |extra: (&str, i32)| {
        let mut request = rawdoc! { "method": "GET", "url": format!("http://{address}/") };
        request.append(bson::raw::CString::try_from(extra.0).unwrap(), extra.1);
        request.into_bytes()
    };
    let session = session();
    let timed = session.http(hanging(("timeoutMs", 50))).await.unwrap_err();
    assert_eq!((timed.code.as_str(), timed.message.as_str()), ("ETIMEDOUT", "the request took longer than 50 ms"));

    // At once: an exchange can be broken off as soon as it was asked for.
    let waiting = tokio::spawn(session.http(hanging(("ticket", 7))));
    session.http(rawdoc! { "cancel": 7 }.into_bytes()).await.unwrap();
    assert_eq!(waiting.await.unwrap().unwrap_err().code, "Cancelled");
    session.http(rawdoc! { "cancel": 7 }.into_bytes()).await.unwrap();

    let waiting = tokio::spawn(session.http(hanging(("ticket", 8))));
    session.end();
    assert_eq!(waiting.await.unwrap().unwrap_err().code, "Cancelled");
    assert_eq!(session.http(hanging(("ticket", 9))).await.unwrap_err().code, "Cancelled", "nothing starts afterwards");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_of_ones_own_reads_writes_and_ends() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = i32::from(listener.local_addr().unwrap().port());
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut received = String::new();
        stream.read_to_string(&mut received).await.unwrap();
        stream.write_all(received.to_uppercase().as_bytes()).await.unwrap();
    });
    let session = session();
    let connected = session.socket(rawdoc! { "op": "connect", "host": "127.0.0.1", "port": port }.into_bytes()).await;
    let connected = document(&connected.unwrap());
    assert_eq!(
        (connected.get_str("remoteAddress").unwrap(), connected.get_i32("remotePort").unwrap()),
        ("127.0.0.1", port)
    );
    let socket = connected.get_i32("socket").unwrap();
    let data = Binary { subtype: BinarySubtype::Generic, bytes: b"hello".to_vec() };
    let write = rawdoc! { "op": "write", "socket": socket, "data": data };
    session.socket(write.into_bytes()).await.unwrap();
    session.socket(rawdoc! { "op": "end", "socket": socket }.into_bytes()).await.unwrap();
    let read = rawdoc! { "op": "read", "socket": socket }.into_bytes();
    let answer = document(&session.socket(read.clone()).await.unwrap());
    assert_eq!(answer.get_binary_generic("data").unwrap(), b"HELLO");
    assert!(document(&session.socket(read.clone()).await.unwrap()).get_bool("end").unwrap());
    session.socket(rawdoc! { "op": "close", "socket": socket }.into_bytes()).await.unwrap();
    assert_eq!(session.socket(read).await.unwrap_err().code, "ERR_SOCKET_CLOSED");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_has_so_many_connections_and_no_more() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = i32::from(listener.local_addr().unwrap().port());
    let session = session();
    let connect = rawdoc! { "op": "connect", "host": "127.0.0.1", "port": port }.into_bytes();
    let mut last = 0;
    for _ in 0..SOCKETS_PER_CALL_MAX {
        last = document(&session.socket(connect.clone()).await.unwrap()).get_i32("socket").unwrap();
    }
    let refusal = session.socket(connect.clone()).await.unwrap_err();
    assert_eq!(refusal.message, "a call may have 25 sockets open at a time, and all of them are");
    // A read that waits is answered by the close, and the place is free again.
    let waiting = tokio::spawn(session.socket(rawdoc! { "op": "read", "socket": last }.into_bytes()));
    tokio::task::yield_now().await;
    session.socket(rawdoc! { "op": "close", "socket": last }.into_bytes()).await.unwrap();
    let ended = waiting.await.unwrap();
    assert!(ended.is_err() || document(&ended.unwrap()).get_bool("end").unwrap());
    session.socket(connect).await.unwrap();
}

/// A certificate nobody has signed but itself, for `outside.example` and 127.0.0.1, and its key. Good for a hundred years.
const SELF_SIGNED: &[u8] = include_bytes!("outside.example.pem");

fn acceptor() -> tokio_rustls::TlsAcceptor {
    let certificate = CertificateDer::from_pem_slice(SELF_SIGNED).unwrap();
    let key = PrivateKeyDer::from_pem_slice(SELF_SIGNED).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let mut config = config.with_no_client_auth().with_single_cert(vec![certificate], key).unwrap();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    tokio_rustls::TlsAcceptor::from(Arc::new(config))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_nobody_vouches_for_is_taken_only_when_the_function_says_so() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let Ok(mut stream) = acceptor().accept(stream).await else { return };
                let mut request = [0; 1024];
                if stream.read(&mut request).await.is_ok_and(|length| length > 0) {
                    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nsecret").await.unwrap();
                    stream.shutdown().await.unwrap();
                }
            });
        }
    });
    let session = session();
    let url = format!("https://{address}/");
    let refusal = session.http(rawdoc! { "method": "GET", "url": url.as_str() }.into_bytes()).await.unwrap_err();
    assert!(refusal.message.to_lowercase().contains("certificate"), "{}: {}", refusal.code, refusal.message);
    let asked = rawdoc! { "method": "GET", "url": url.as_str(), "insecure": true };
    let answer = document(&session.http(asked.into_bytes()).await.unwrap());
    assert_eq!(answer.get_binary_generic("body").unwrap(), b"secret");

    let connect = |insecure: bool| {
        rawdoc! {
            "op": "connect", "host": "127.0.0.1", "port": i32::from(address.port()), "tls": true,
            "servername": "outside.example", "alpn": ["http/1.1"], "insecure": insecure,
        }
    };
    assert_eq!(session.socket(connect(false).into_bytes()).await.unwrap_err().code, "ERR_TLS");
    let connected = document(&session.socket(connect(true).into_bytes()).await.unwrap());
    assert_eq!(connected.get_str("alpn").unwrap(), "http/1.1");
    let socket = connected.get_i32("socket").unwrap();
    talk(&session, socket, "secret").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_is_secured_on_the_way() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = i32::from(listener.local_addr().unwrap().port());
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut ask = [0; 8];
        stream.read_exact(&mut ask).await.unwrap();
        stream.write_all(b"go ahead").await.unwrap();
        let mut stream = acceptor().accept(stream).await.unwrap();
        let mut request = [0; 64];
        assert!(stream.read(&mut request).await.unwrap() > 0);
        stream.write_all(b"now secret").await.unwrap();
        stream.shutdown().await.unwrap();
    });
    let session = session();
    let connected = session.socket(rawdoc! { "op": "connect", "host": "127.0.0.1", "port": port }.into_bytes()).await;
    let socket = document(&connected.unwrap()).get_i32("socket").unwrap();
    let data = Binary { subtype: BinarySubtype::Generic, bytes: b"STARTTLS".to_vec() };
    session.socket(rawdoc! { "op": "write", "socket": socket, "data": data }.into_bytes()).await.unwrap();
    let read = rawdoc! { "op": "read", "socket": socket }.into_bytes();
    let answer = document(&session.socket(read.clone()).await.unwrap());
    assert_eq!(answer.get_binary_generic("data").unwrap(), b"go ahead");
    // A reader that waits lets go while the connection is being secured.
    let waiting = tokio::spawn(session.socket(read));
    let secure = rawdoc! { "op": "secure", "socket": socket, "servername": "outside.example", "insecure": true };
    session.socket(secure.into_bytes()).await.unwrap();
    assert!(document(&waiting.await.unwrap().unwrap()).get_bool("paused").unwrap());
    talk(&session, socket, "now secret").await;
}

/// Says something and hears everything until the end.
async fn talk(session: &OutboundSession, socket: i32, expected: &str) {
    let data = Binary { subtype: BinarySubtype::Generic, bytes: b"hello".to_vec() };
    session.socket(rawdoc! { "op": "write", "socket": socket, "data": data }.into_bytes()).await.unwrap();
    let mut heard = Vec::new();
    loop {
        let read = rawdoc! { "op": "read", "socket": socket };
        let answer = document(&session.socket(read.into_bytes()).await.unwrap());
        match answer.get_binary_generic("data") {
            Ok(data) => heard.extend_from_slice(data),
            Err(_) => break,
        }
    }
    assert!(String::from_utf8(heard).unwrap().ends_with(expected));
}
