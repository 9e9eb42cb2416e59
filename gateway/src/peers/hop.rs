//! Which header fields go on to the next server and which belong to one connection (RFC 9110, section 7.6.1).

use http::header::{CONNECTION, HeaderMap, HeaderName, HeaderValue, TE, TRAILER, TRANSFER_ENCODING, UPGRADE};

use super::claims;

/// Whether a field speaks of the connection it came on. `expect` has been met by the time a request is whole, and how
/// long its body is will be said anew.
fn is_of_connection(name: &str) -> bool {
    const OURS: [&str; 11] = [
        "connection",
        "content-length",
        "expect",
        "host",
        "http2-settings",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    ];
    OURS.iter().any(|ours| ours.eq_ignore_ascii_case(name))
}

/// The fields of a request that the next server is to see.
pub fn of_request<'a>(headers: impl Iterator<Item = (&'a str, &'a [u8])> + Clone) -> HeaderMap {
    let named_by_connection: Vec<&str> = headers
        .clone()
        .filter(|(name, _)| name.eq_ignore_ascii_case("connection"))
        .flat_map(|(_, value)| std::str::from_utf8(value).unwrap_or_default().split(','))
        .map(str::trim)
        .collect();
    let mut kept = HeaderMap::new();
    for (name, value) in headers {
        let dropped = is_of_connection(name)
            || name.eq_ignore_ascii_case(claims::HEADER)
            || named_by_connection.iter().any(|named| named.eq_ignore_ascii_case(name));
        if dropped {
            continue;
        }
        // Both were read by a stricter parser than these.
        if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), HeaderValue::from_bytes(value)) {
            kept.append(name, value);
        }
    }
    kept
}

/// Takes what belongs to the connection out of an answer. HTTP/2 has none of it, but a peer may say so all the same.
pub fn of_answer(headers: &mut HeaderMap) {
    for name in [CONNECTION, TE, TRAILER, TRANSFER_ENCODING, UPGRADE] {
        headers.remove(name);
    }
    headers.remove("keep-alive");
    headers.remove("proxy-connection");
    headers.remove(claims::HEADER);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_belongs_to_a_connection_stays_on_it() {
        let sent: &[(&str, &str)] = &[
            ("Host", "data.example.org"),
            ("Connection", "keep-alive, X-Hop"),
            ("x-hop", "1"),
            ("TE", "trailers"),
            ("Transfer-Encoding", "chunked"),
            ("Expect", "100-continue"),
            ("X-Portico-Peer", "v1;forged"),
            ("Accept", "text/html"),
            ("accept", "*/*"),
            ("X-Forwarded-For", "192.0.2.1"),
            ("Authorization", "Bearer t"),
        ];
        let kept = of_request(sent.iter().map(|(name, value)| (*name, value.as_bytes())));
        let shown: Vec<_> = kept.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
        assert_eq!(
            shown,
            ["accept: text/html", "accept: */*", "x-forwarded-for: 192.0.2.1", "authorization: Bearer t"]
        );
    }
}
