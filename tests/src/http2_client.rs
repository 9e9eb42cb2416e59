//! A well-behaved HTTP/2 client, as most are: the h2 crate over a plain or a TLS connection, on a runtime of its own. What
//! lawless clients do is in `http2`.

use std::net::SocketAddr;

use bytes::Bytes;
use h2::client::SendRequest;
use h2::{RecvStream, SendStream};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;

use crate::http::{Answer, Request};
use crate::tls::TlsClient;

/// One connection.
#[derive(Debug)]
pub struct Http2Client {
    runtime: Runtime,
    requests: SendRequest<Bytes>,
}

impl Http2Client {
    /// In cleartext, with prior knowledge.
    pub fn open(address: SocketAddr) -> Self {
        let runtime = Self::runtime();
        let requests = runtime.block_on(async {
            let stream = TcpStream::connect(address).await.expect("the server takes a connection");
            stream.set_nodelay(true).expect("an option of our own socket");
            begin(stream).await.expect("the server speaks HTTP/2")
        });
        Self { runtime, requests }
    }

    /// Inside TLS, as both sides chose by ALPN. `client` must not look at the names of certificates too closely.
    pub fn open_with_tls(address: SocketAddr, client: &TlsClient) -> Self {
        let runtime = Self::runtime();
        let config = client.clone().offering(&["h2"]).config();
        let requests = runtime.block_on(async {
            let stream = TcpStream::connect(address).await.expect("the server takes a connection");
            stream.set_nodelay(true).expect("an option of our own socket");
            let name = "localhost".try_into().expect("a server name");
            let stream = tokio_rustls::TlsConnector::from(config).connect(name, stream).await.expect("a handshake");
            assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]), "the server speaks HTTP/2");
            begin(stream).await.expect("the server speaks HTTP/2")
        });
        Self { runtime, requests }
    }

    fn runtime() -> Runtime {
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
    }

    /// Sends a request and reads its answer.
    pub fn call(&mut self, request: &Request) -> Result<Answer, String> {
        self.all(std::slice::from_ref(request)).remove(0)
    }

    /// Sends all requests at once, as far as the server lets it, and reads their answers.
    pub fn all(&mut self, requests: &[Request]) -> Vec<Result<Answer, String>> {
        self.runtime.block_on(async {
            let calls: Vec<_> =
                requests.iter().map(|request| tokio::spawn(exchange(self.requests.clone(), request.clone()))).collect();
            let mut answers = Vec::new();
            for call in calls {
                let answer = call.await.expect("a call does not panic");
                answers.push(answer.map_err(|error| error.to_string()));
            }
            answers
        })
    }
}

/// Begins to speak HTTP/2.
pub(crate) async fn begin(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
) -> Result<SendRequest<Bytes>, h2::Error> {
    let mut builder = h2::client::Builder::new();
    // Until the server has said how many streams it takes at once, what most clients assume.
    builder.initial_max_send_streams(100).initial_window_size(1 << 20).initial_connection_window_size(1 << 24);
    let (requests, connection) = builder.handshake(stream).await?;
    tokio::spawn(async move {
        // Who waits for an answer is told the same.
        let _ = connection.await;
    });
    Ok(requests)
}

/// One request and its answer.
pub(crate) async fn exchange(requests: SendRequest<Bytes>, request: Request) -> Result<Answer, h2::Error> {
    let host = request.headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("host"));
    let host = host.map_or("localhost", |(_, value)| value.as_str());
    let mut head =
        http::Request::builder().method(request.method.as_str()).uri(format!("http://{host}{}", request.target));
    for (name, value) in request.headers.iter().filter(|(name, _)| !name.eq_ignore_ascii_case("host")) {
        head = head.header(name, value);
    }
    let head = head.body(()).expect("the story's own request can be written");
    let mut requests = requests.ready().await?;
    let (response, stream) = requests.send_request(head, request.body.is_none())?;
    // An answer may come before the body has gone, and end it.
    let sending = request.body.map(|body| tokio::spawn(send(stream, Bytes::from(body))));
    let (head, body) = response.await?.into_parts();
    let body = receive(body).await?;
    if let Some(sending) = sending {
        sending.abort();
    }
    let value = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let headers = head.headers.iter().map(|(name, text)| (name.to_string(), value(text))).collect();
    Ok(Answer { status: head.status.as_u16(), headers, body, interim: Vec::new() })
}

async fn send(mut stream: SendStream<Bytes>, mut body: Bytes) -> Option<()> {
    while !body.is_empty() {
        stream.reserve_capacity(body.len());
        let fits = std::future::poll_fn(|context| stream.poll_capacity(context)).await?.ok()?;
        let piece = body.split_to(fits.min(body.len()));
        stream.send_data(piece, body.is_empty()).ok()?;
    }
    Some(())
}

async fn receive(mut body: RecvStream) -> Result<Vec<u8>, h2::Error> {
    let mut all = Vec::new();
    while let Some(piece) = body.data().await {
        let piece = piece?;
        body.flow_control().release_capacity(piece.len())?;
        all.extend_from_slice(&piece);
    }
    Ok(all)
}
