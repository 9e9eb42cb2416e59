//! One exchange over HTTP on behalf of a function: redirects, digest authentication, decoding, in the order of the wire.
//!
//! In: a request as a host sent it. Out: the answer, whatever its status, or why there is none. Every hop is judged anew
//! before it is made: its scheme and, if its host is an address, that address here; the addresses of names when the client
//! connects. A hop to another origin loses the credentials that were meant for the first.
//!
//! Not here: cookies, which the function's side keeps, and streaming: bodies are whole on both sides.

use std::error::Error as _;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bson::raw::{RawArrayBuf, RawBson, RawDocumentBuf};
use bson::{Binary, rawdoc, spec::BinarySubtype};
use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode};
use http_body_util::BodyExt;
use isolate_pool::services::Refusal;
use url::{Host, Url};

use super::body::{Body, BodyError, Collector, Held};
use super::digest::Challenge;
use super::fields::{Fields, refused, wrong};
use super::guard::Guard;
use super::names::{NoAddress, restricted_words};
use crate::limits::{
    ANSWER_BYTES_MAX, OUTBOUND_HEADER_BYTES_MAX, OUTBOUND_HEADERS_MAX, OUTBOUND_REQUEST_BYTES_MAX,
    OUTBOUND_URL_BYTES_MAX, REDIRECTS_MAX,
};

/// What to do with an answer that says to ask elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Redirect {
    Follow,
    Manual,
    Error,
}

/// A request that was understood.
#[derive(Debug)]
pub struct Request {
    method: Method,
    url: Url,
    headers: HeaderMap,
    body: Option<Bytes>,
    redirect: Redirect,
    redirects_max: usize,
    decode: bool,
    pub insecure: bool,
    pub http2: bool,
    pub timeout: Option<Duration>,
    digest: Option<(String, String)>,
}

impl Request {
    pub fn read(fields: &Fields<'_>) -> Result<Self, Refusal> {
        let method = fields.text("method")?;
        let method = Method::from_bytes(method.as_bytes())
            .ok()
            .filter(|method| !matches!(*method, Method::CONNECT | Method::TRACE))
            .ok_or_else(|| wrong(format!("'{method}' is not a method that can be sent")))?;
        let text = fields.text("url")?;
        if text.len() > OUTBOUND_URL_BYTES_MAX {
            return Err(wrong(format!("the URL is longer than {OUTBOUND_URL_BYTES_MAX} bytes")));
        }
        let mut url = Url::parse(text).map_err(|error| wrong(format!("url: '{text}' is not a URL: {error}")))?;
        let body = fields.bytes("body")?;
        if body.is_some_and(|body| body.len() > OUTBOUND_REQUEST_BYTES_MAX) {
            return Err(wrong(format!("the body of the request is larger than {OUTBOUND_REQUEST_BYTES_MAX} bytes")));
        }
        let http2 = fields.flag("http2")?;
        let mut headers = headers(&fields.texts("headers", OUTBOUND_HEADERS_MAX * 2)?, http2)?;
        let digest = match fields.document("digest")? {
            Some(digest) => Some((digest.text("username")?.to_owned(), digest.text("password")?.to_owned())),
            None => None,
        };
        // Credentials in a URL become a header, as everywhere; they are not kept in the URL, which others see.
        if (!url.username().is_empty() || url.password().is_some()) && digest.is_none() {
            let decoded = |text: &str| percent_decoded(text);
            let pair = [decoded(url.username()), vec![b':'], decoded(url.password().unwrap_or_default())].concat();
            if !headers.contains_key(header::AUTHORIZATION) {
                let mut value = HeaderValue::try_from(format!("Basic {}", STANDARD.encode(pair)))
                    .map_err(|_| wrong("the credentials in the URL cannot be sent"))?;
                value.set_sensitive(true);
                headers.insert(header::AUTHORIZATION, value);
            }
        }
        // Only URLs without a host refuse this, and those are refused below.
        let _ = url.set_username("").and_then(|()| url.set_password(None));
        url.set_fragment(None);
        let redirect = match fields.optional_text("redirect")? {
            None | Some("manual") => Redirect::Manual,
            Some("follow") => Redirect::Follow,
            Some("error") => Redirect::Error,
            Some(other) => return Err(wrong(format!("redirect: '{other}' is none of follow, manual, error"))),
        };
        let redirects_max =
            fields.number("redirects")?.map_or(REDIRECTS_MAX, |most| (most as usize).min(REDIRECTS_MAX));
        Ok(Self {
            method,
            url,
            headers,
            body: body.map(Bytes::copy_from_slice),
            redirect,
            redirects_max,
            decode: fields.flag("decode")?,
            insecure: fields.flag("insecure")?,
            http2,
            timeout: fields.number("timeoutMs")?.map(Duration::from_millis),
            digest,
        })
    }

    pub fn url(&self) -> &Url {
        &self.url
    }
}

/// Headers about the connection are the client's own business, and the host is what the URL says: a request that names
/// another would reach what its address does not show.
const NOT_SENT: &[&str] = &[
    "connection",
    "content-length",
    "expect",
    "host",
    "http2-settings",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

fn headers(flat: &[&str], http2: bool) -> Result<HeaderMap, Refusal> {
    if flat.iter().map(|text| text.len()).sum::<usize>() > OUTBOUND_HEADER_BYTES_MAX {
        return Err(wrong(format!("the headers of the request are longer than {OUTBOUND_HEADER_BYTES_MAX} bytes")));
    }
    let mut headers = HeaderMap::with_capacity(flat.len() / 2);
    for pair in flat.chunks(2) {
        let [name, value] = pair else { return Err(wrong("a header has no value")) };
        let parsed = HeaderName::from_bytes(name.as_bytes());
        let parsed = parsed.map_err(|_| wrong(format!("'{name}' is not the name of a header")))?;
        // The one value that HTTP/2 leaves to `te` (RFC 9113, 8.2.2), and that gRPC's servers insist on.
        let takes_trailers = http2 && parsed == header::TE && *value == "trailers";
        if NOT_SENT.contains(&parsed.as_str()) && !takes_trailers {
            continue;
        }
        let value = header_value(value).ok_or_else(|| wrong(format!("the value of header '{name}' cannot be sent")))?;
        headers.append(parsed, value);
    }
    Ok(headers)
}

/// Header values are bytes: one for each character where all fit, as browsers have it, UTF-8 where not.
fn header_value(text: &str) -> Option<HeaderValue> {
    let text = text.trim_matches([' ', '\t', '\r', '\n']);
    let narrow: Result<Vec<u8>, _> = text.chars().map(|character| u8::try_from(u32::from(character))).collect();
    HeaderValue::from_bytes(&narrow.unwrap_or_else(|_| text.as_bytes().to_vec())).ok()
}

fn percent_decoded(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let pair = if *first == b'%' { after.get(..2) } else { None };
        let byte =
            pair.and_then(|pair| std::str::from_utf8(pair).ok()).and_then(|pair| u8::from_str_radix(pair, 16).ok());
        match byte {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    bytes
}

/// What an exchange is made with.
pub struct Way<'a> {
    pub client: &'a reqwest::Client,
    pub guard: &'a Guard,
    pub held: &'a Arc<Held>,
}

/// An answer, as it goes back to the host.
pub struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    trailers: HeaderMap,
    url: Url,
    redirected: bool,
    /// The body's encoding was undone.
    decoded: bool,
    body: Body,
}

impl Answer {
    pub fn document(mut self) -> RawDocumentBuf {
        let bytes = std::mem::take(&mut self.body.bytes);
        let body = RawBson::Binary(Binary { subtype: BinarySubtype::Generic, bytes });
        rawdoc! {
            "status": i32::from(self.status.as_u16()),
            "reason": self.status.canonical_reason().unwrap_or_default(),
            "headers": flat(&self.headers),
            "trailers": flat(&self.trailers),
            "url": self.url.as_str(),
            "redirected": self.redirected,
            "decoded": self.decoded,
            "body": body,
        }
    }
}

/// Names and values in turn, as they cross.
fn flat(headers: &HeaderMap) -> RawArrayBuf {
    let mut all = RawArrayBuf::new();
    for (name, value) in headers {
        all.push(name.as_str());
        all.push(header_text(value.as_bytes()));
    }
    all
}

fn header_text(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => bytes.iter().map(|byte| char::from(*byte)).collect(),
    }
}

/// Makes the exchange.
pub async fn perform(way: &Way<'_>, mut request: Request) -> Result<Answer, Refusal> {
    if request.decode && !request.headers.contains_key(header::ACCEPT_ENCODING) {
        request.headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("gzip, deflate, br"));
    }
    if !request.headers.contains_key(header::USER_AGENT) {
        request.headers.insert(header::USER_AGENT, HeaderValue::from_static(USER_AGENT));
    }
    let mut redirects = 0;
    loop {
        let response = hop(way, &mut request).await?;
        let Some(target) = redirect_of(&request, &response)? else {
            return receive(way, &request, response, redirects > 0).await;
        };
        if redirects == request.redirects_max {
            let words = format!("stopped after {redirects} redirects, the last one to {target}");
            return Err(refused("TooManyRedirects", words));
        }
        redirects += 1;
        follow(&mut request, response.status(), target);
    }
}

/// Names this product; some services refuse requests that name none.
const USER_AGENT: &str = concat!("Portico/", env!("CARGO_PKG_VERSION"));

/// One request and the head of its answer; two when the server asks for digest credentials.
async fn hop(way: &Way<'_>, request: &mut Request) -> Result<reqwest::Response, Refusal> {
    let response = send(way, request).await?;
    let Some((username, password)) = &request.digest else { return Ok(response) };
    if response.status() != StatusCode::UNAUTHORIZED || request.headers.contains_key(header::AUTHORIZATION) {
        return Ok(response);
    }
    let offered = response.headers().get_all(header::WWW_AUTHENTICATE);
    let Some(challenge) = Challenge::find(offered.iter().filter_map(|value| value.to_str().ok())) else {
        return Ok(response);
    };
    let mut random = [0; 16];
    getrandom::fill(&mut random).map_err(|_| refused("InternalServerError", "the system gave no random bytes"))?;
    let target = &request.url[url::Position::BeforePath..url::Position::AfterQuery];
    let answer = challenge.answer(username, password, request.method.as_str(), target, &hex::encode(random));
    let mut value =
        HeaderValue::try_from(answer).map_err(|_| wrong("the digest credentials cannot be sent in a header"))?;
    value.set_sensitive(true);
    request.headers.insert(header::AUTHORIZATION, value);
    send(way, request).await
}

async fn send(way: &Way<'_>, request: &Request) -> Result<reqwest::Response, Refusal> {
    check(way.guard, &request.url)?;
    let mut out = reqwest::Request::new(request.method.clone(), request.url.clone());
    out.headers_mut().clone_from(&request.headers);
    if let Some(body) = &request.body {
        *out.body_mut() = Some(body.clone().into());
    } else if matches!(request.method, Method::POST | Method::PUT | Method::PATCH) {
        // Servers expect these to say that they have nothing to say.
        out.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from_static("0"));
    }
    way.client.execute(out).await.map_err(|error| explained(&error, &request.url))
}

/// What can be judged before a connection is made.
pub fn check(guard: &Guard, url: &Url) -> Result<(), Refusal> {
    if !matches!(url.scheme(), "http" | "https") {
        let scheme = url.scheme();
        return Err(refused(
            "RestrictedHost",
            format!("scheme '{scheme}' cannot be used from functions: http and https can"),
        ));
    }
    let address: IpAddr = match url.host() {
        Some(Host::Ipv4(address)) => address.into(),
        Some(Host::Ipv6(address)) => address.into(),
        Some(Host::Domain(_)) => return Ok(()),
        None => return Err(wrong(format!("url: '{url}' names no host"))),
    };
    let host = url.host_str().unwrap_or_default();
    guard.check(address).map_err(|restricted| refused("RestrictedHost", restricted_words(host, restricted)))
}

/// Where the answer says to go on, if it does and that is wanted.
fn redirect_of(request: &Request, response: &reqwest::Response) -> Result<Option<Url>, Refusal> {
    let redirects = matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308);
    let location = response.headers().get(header::LOCATION).map(|value| header_text(value.as_bytes()));
    let Some(location) = location.filter(|_| redirects) else { return Ok(None) };
    match request.redirect {
        Redirect::Manual => Ok(None),
        Redirect::Error => Err(refused("UnexpectedRedirect", format!("{} redirects to {location}", request.url))),
        Redirect::Follow => {
            let target = request.url.join(&location);
            let target = target.map_err(|_| {
                refused("BadRedirect", format!("{} redirects to '{location}', which is not a URL", request.url))
            })?;
            Ok(Some(target))
        }
    }
}

/// Turns a request into the one that follows its redirect.
fn follow(request: &mut Request, status: StatusCode, target: Url) {
    let by_get = match status.as_u16() {
        301 | 302 => request.method == Method::POST,
        303 => !matches!(request.method, Method::GET | Method::HEAD),
        _ => false,
    };
    if by_get {
        request.method = Method::GET;
        request.body = None;
        let about_body =
            [header::CONTENT_TYPE, header::CONTENT_ENCODING, header::CONTENT_LANGUAGE, header::CONTENT_LOCATION];
        for name in about_body {
            request.headers.remove(name);
        }
    }
    if request.url.origin() != target.origin() {
        for name in [header::AUTHORIZATION, header::COOKIE] {
            request.headers.remove(name);
        }
        request.digest = None;
    }
    request.url = target;
    let _ = request.url.set_username("").and_then(|()| request.url.set_password(None));
    request.url.set_fragment(None);
}

async fn receive(
    way: &Way<'_>,
    request: &Request,
    mut response: reqwest::Response,
    redirected: bool,
) -> Result<Answer, Refusal> {
    let told = |error: BodyError| {
        let code = match error {
            BodyError::TooLarge => "ResponseTooLarge",
            BodyError::NoRoom => "TooManyRequests",
            BodyError::Undecodable(_) => "BadResponse",
        };
        refused(code, format!("{}: {}", request.url, error.message()))
    };
    let encoding = response.headers().get(header::CONTENT_ENCODING).and_then(|value| value.to_str().ok());
    let encoding = encoding.filter(|encoding| request.decode && Collector::undoes(encoding)).map(str::to_owned);
    if encoding.is_none()
        && request.method != Method::HEAD
        && response.content_length().is_some_and(|length| length > ANSWER_BYTES_MAX as u64)
    {
        return Err(told(BodyError::TooLarge));
    }
    let mut collector = Collector::new(way.held.clone(), encoding.as_deref());
    let (status, headers) = (response.status(), std::mem::take(response.headers_mut()));
    let mut trailers = HeaderMap::new();
    let mut arriving = reqwest::Body::from(response);
    while let Some(frame) = arriving.frame().await {
        match frame.map_err(|error| explained(&error, &request.url))?.into_data() {
            Ok(piece) => collector.take(&piece).map_err(told)?,
            Err(frame) => trailers = frame.into_trailers().unwrap_or_default(),
        }
    }
    let body = collector.finish().map_err(told)?;
    Ok(Answer { status, headers, trailers, url: request.url.clone(), redirected, decoded: encoding.is_some(), body })
}

/// The client's error in the words and codes that JavaScript libraries know.
pub(super) fn explained(error: &reqwest::Error, url: &Url) -> Refusal {
    let host = url.host_str().unwrap_or_default();
    let port = url.port_or_known_default().unwrap_or_default();
    let mut cause = error.source();
    let mut last = String::new();
    while let Some(error) = cause {
        if let Some(no_address) = error.downcast_ref::<NoAddress>() {
            return refused(code_of(no_address), no_address.to_string());
        }
        if let Some(error) = error.downcast_ref::<std::io::Error>() {
            // An error of TLS travels inside one of the socket, and is told in its own words below.
            if let Some((code, verb)) = io_code(error) {
                return refused(code, format!("{verb} {code} {host}:{port}"));
            }
        }
        last = error.to_string();
        cause = error.source();
    }
    if error.is_timeout() {
        return refused("ETIMEDOUT", format!("connect ETIMEDOUT {host}:{port}"));
    }
    if last.is_empty() {
        last = error.to_string();
    }
    let code = if error.is_connect() { "ECONNFAILED" } else { "EPROTO" };
    refused(code, format!("{url}: {last}"))
}

pub fn code_of(no_address: &NoAddress) -> &'static str {
    match no_address {
        NoAddress::Unknown { .. } => "ENOTFOUND",
        NoAddress::Restricted { .. } => "RestrictedHost",
    }
}

/// A system's error as Node names it: code, and what was being done.
pub fn io_code(error: &std::io::Error) -> Option<(&'static str, &'static str)> {
    use std::io::ErrorKind;
    Some(match error.kind() {
        ErrorKind::ConnectionRefused => ("ECONNREFUSED", "connect"),
        ErrorKind::ConnectionReset => ("ECONNRESET", "read"),
        ErrorKind::ConnectionAborted => ("ECONNABORTED", "read"),
        ErrorKind::BrokenPipe => ("EPIPE", "write"),
        ErrorKind::TimedOut => ("ETIMEDOUT", "connect"),
        ErrorKind::HostUnreachable => ("EHOSTUNREACH", "connect"),
        ErrorKind::NetworkUnreachable => ("ENETUNREACH", "connect"),
        ErrorKind::AddrNotAvailable => ("EADDRNOTAVAIL", "connect"),
        ErrorKind::UnexpectedEof => ("ECONNRESET", "read"),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(fields: RawDocumentBuf) -> Result<Request, Refusal> {
        Request::read(&Fields::of("the request", fields.as_bytes()).unwrap())
    }

    #[test]
    fn what_a_host_may_not_say_is_refused_by_name() {
        for (fields, named) in [
            (rawdoc! {}, "method is not a string"),
            (rawdoc! { "method": "GET" }, "url is not a string"),
            (rawdoc! { "method": "GE T", "url": "http://a.example" }, "'GE T'"),
            (rawdoc! { "method": "CONNECT", "url": "http://a.example" }, "'CONNECT'"),
            (rawdoc! { "method": "TRACE", "url": "http://a.example" }, "'TRACE'"),
            (rawdoc! { "method": "GET", "url": "nonsense" }, "'nonsense' is not a URL"),
            (rawdoc! { "method": "GET", "url": "http://a.example", "headers": ["a"] }, "no value"),
            (rawdoc! { "method": "GET", "url": "http://a.example", "headers": ["a b", "c"] }, "'a b'"),
            (rawdoc! { "method": "GET", "url": "http://a.example", "headers": ["a", "b\r\nc: d"] }, "'a'"),
            (rawdoc! { "method": "GET", "url": "http://a.example", "headers": [1] }, "headers is not"),
            (rawdoc! { "method": "GET", "url": "http://a.example", "redirect": "maybe" }, "'maybe'"),
        ] {
            let message = request(fields).unwrap_err().message;
            assert!(message.contains(named), "{message}");
        }
    }

    #[test]
    fn headers_of_the_connection_are_not_the_functions_to_set() {
        let flat = rawdoc! {
            "method": "GET", "url": "http://user:p%40ss@a.example/x#part",
            "headers": ["Host", "b.example", "Connection", "close", "Transfer-Encoding", "chunked", "X-Mine", "é", "X-Wide", "日"],
        };
        let request = request(flat).unwrap();
        let mut names: Vec<&str> = request.headers.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["authorization", "x-mine", "x-wide"]);
        assert_eq!(request.headers["x-mine"].as_bytes(), [0xe9]);
        assert_eq!(request.headers["x-wide"].as_bytes(), "日".as_bytes());
        assert_eq!(request.headers["authorization"], "Basic dXNlcjpwQHNz");
        assert_eq!(request.url.as_str(), "http://a.example/x");
    }

    /// Every way to write an address that is not to be reached; none of them may pass, whatever the parser makes of it.
    #[test]
    fn no_spelling_of_a_closed_address_passes() {
        let guard = Guard::default();
        for text in [
            "http://127.0.0.1/",
            "http://127.1/",
            "http://127.0.1/",
            "http://2130706433/",
            "http://0x7f000001/",
            "http://0x7f.0.0.1/",
            "http://0177.0.0.1/",
            "http://017700000001/",
            "http://0x7f.1/",
            "http://127.0.0.1./",
            "http://①②⑦.0.0.1/",
            "http://127。0。0。1/",
            "http://%31%32%37.0.0.1/",
            "http://0/",
            "http://0.0.0.0/",
            "http://[::]/",
            "http://[::1]/",
            "http://[0:0:0:0:0:0:0:1]/",
            "http://[::ffff:127.0.0.1]/",
            "http://[::ffff:7f00:1]/",
            "http://[::127.0.0.1]/",
            "http://[64:ff9b::7f00:1]/",
            "http://[2002:7f00:1::]/",
            "http://[fe80::1]/",
            "http://[fd00:ec2::254]/latest/meta-data/",
            "http://169.254.169.254/latest/meta-data/",
            "http://2852039166/",
            "http://0xa9fea9fe/",
            "http://0251.0376.0251.0376/",
            "http://10.0.0.1:8080/",
            "http://192.168.1.1/",
            "http://user:pass@127.0.0.1/",
            "http://a.example@127.0.0.1/",
            "http://a.example:80@127.0.0.1:80/",
            "http:\\\\127.0.0.1\\",
            "http:/127.0.0.1/",
            "http:127.0.0.1",
            "http:///127.0.0.1",
            "http://127.0.0.1\\@a.example/",
            "HTTP://127.0.0.1/",
            " http://127.0.0.1/",
            "ht\ntp://127.0.0.1/",
            "https://127.0.0.1/",
            "file:///etc/passwd",
            "ftp://127.0.0.1/",
            "gopher://127.0.0.1:70/",
            "unix:///var/run/docker.sock",
            "data:text/plain,x",
            "javascript:1",
            "ws://127.0.0.1/",
        ] {
            let refusal = request(rawdoc! { "method": "GET", "url": text })
                .and_then(|request| check(&guard, &request.url))
                .expect_err(text);
            assert_eq!(refusal.code, "RestrictedHost", "{text}: {}", refusal.message);
        }
    }

    #[test]
    fn a_redirect_changes_what_the_standard_says_it_does() {
        let made = |method: &str| {
            let mut one = request(rawdoc! {
                "method": method, "url": "http://a.example/one",
                "headers": ["Authorization", "Bearer x", "Cookie", "a=b", "Content-Type", "text/plain", "X-Kept", "1"],
            })
            .unwrap();
            one.body = Some(Bytes::from_static(b"body"));
            one
        };
        let to = |target: &str| Url::parse(target).unwrap();
        for (method, status, becomes) in [
            ("POST", 301, "GET"),
            ("POST", 302, "GET"),
            ("PUT", 302, "PUT"),
            ("PUT", 303, "GET"),
            ("POST", 307, "POST"),
            ("POST", 308, "POST"),
            ("HEAD", 303, "HEAD"),
        ] {
            let mut request = made(method);
            follow(&mut request, StatusCode::from_u16(status).unwrap(), to("http://a.example/two"));
            assert_eq!(request.method.as_str(), becomes, "{method} {status}");
            assert_eq!(request.body.is_some(), becomes == method, "{method} {status}");
            assert!(request.headers.contains_key("authorization"), "the same origin may know");
            assert_eq!(request.headers.contains_key("content-type"), becomes == method);
        }
        for elsewhere in ["http://b.example/", "https://a.example/", "http://a.example:81/"] {
            let mut request = made("GET");
            follow(&mut request, StatusCode::FOUND, to(elsewhere));
            let mut names: Vec<&str> = request.headers.keys().map(HeaderName::as_str).collect();
            names.sort_unstable();
            assert_eq!(names, ["content-type", "x-kept"], "{elsewhere}");
        }
    }
}
