//! What addresses say: paths and query strings of requests, and the URLs that functions ask for.
//!
//! Promises: a path is decoded once and has no more segments than were sent; encoded again it is the same path. Query
//! strings are read as everybody reads forms, and lose exactly what is taken out. A URL that may be asked for is `http` or
//! `https`, carries no credentials, names no address inside, and its host is the same to whoever makes the connection.

use std::borrow::Cow;
use std::net::IpAddr;

use bson::rawdoc;
use control_plane::outbound::Guard;
use control_plane::strangers;
use gateway::http1::target;
use gateway::route;
use gateway::webhook::Webhook;
use url::{Host, Url, form_urlencoded};

pub fn run(data: &[u8]) {
    path(data);
    query(data);
    if let Ok(text) = std::str::from_utf8(data) {
        routes(text);
        outbound(text);
    }
}

fn path(raw: &[u8]) {
    match target::path(raw) {
        Ok(text) => {
            assert!(text.len() <= raw.len(), "decoding does not make a path longer");
            let slashes = |bytes: &[u8]| bytes.iter().filter(|byte| **byte == b'/').count();
            assert_eq!(slashes(text.as_bytes()), slashes(raw), "an encoded slash separates nothing");
            let control = |bytes: &[u8]| bytes.iter().filter(|byte| byte.is_ascii_control()).count();
            assert_eq!(control(text.as_bytes()), control(raw), "decoding makes no control bytes");
            assert_eq!(matches!(text, Cow::Borrowed(_)), !raw.contains(&b'%'));
            let encoded: String =
                text.bytes().map(|byte| if byte == b'/' { "/".to_owned() } else { format!("%{byte:02x}") }).collect();
            // Control bytes that were sent as they are never get here: no request target holds them.
            if control(raw) == 0 {
                assert_eq!(
                    target::path(encoded.as_bytes()).as_deref(),
                    Ok(&*text),
                    "encoded again it is the same path"
                );
            }
        }
        Err(bad) => assert!(bad.offset < raw.len(), "a fault names a byte that is there"),
    }
}

fn query(raw: &[u8]) {
    let pairs: Vec<_> = target::pairs(raw).collect();
    assert!(pairs.iter().cloned().eq(form_urlencoded::parse(raw)), "a query string is read as everybody reads forms");
    let unique = target::query(raw);
    for (index, (name, value)) in unique.iter().enumerate() {
        assert!(unique[..index].iter().all(|(other, _)| other != name), "a name is there once");
        assert_eq!(target::first(raw, name).as_ref(), Some(value), "with its first value");
    }
    for name in pairs.iter().map(|(name, _)| name.as_ref()).chain(["secret"]).take(8) {
        let kept = target::without(raw, name);
        let wanted = pairs.iter().filter(|(given, _)| given != name);
        assert!(target::pairs(&kept).eq(wanted.cloned()), "what is taken out is gone, the rest is there");
        assert_eq!(target::first(&kept, name), None);
        assert_eq!(target::without(&kept, name), kept);
        if pairs.iter().all(|(given, _)| given != name) {
            assert_eq!(kept, raw, "what holds nothing to be taken out is left as it is");
        }
    }
}

fn routes(path: &str) {
    for host_app in [None, Some("shop-abcde")] {
        let app = route::client_app_id(path, host_app);
        assert!(path.contains(app) || Some(app) == host_app, "an app is one that was named");
        assert!(!app.contains('/'), "an app's name is one segment");
    }
    if let Some(webhook) = Webhook::of(path) {
        assert_eq!(route::client_app_id(path, None), webhook.app);
        assert_eq!(webhook.route().matches('/').count(), 2, "a webhook's route has two segments");
        assert!(!webhook.app.is_empty() && !webhook.route().contains("//"));
    }
}

fn outbound(text: &str) {
    let asked = rawdoc! { "method": "GET", "url": text, "headers": bson::raw::RawArrayBuf::new() };
    let Ok(url) = strangers::exchange(&Guard::default(), asked.as_bytes()) else { return };
    assert!(matches!(url.scheme(), "http" | "https"));
    assert!(url.username().is_empty() && url.password().is_none() && url.fragment().is_none());
    assert_eq!(Url::parse(url.as_str()).as_ref(), Ok(&url), "a URL written down is the same URL");
    match url.host().expect("a URL that is asked has a host") {
        Host::Ipv4(address) => assert!(is_outside(address.into()), "{address} is not outside"),
        Host::Ipv6(address) => assert!(is_outside(address.into()), "{address} is not outside"),
        Host::Domain(name) => assert!(name.parse::<IpAddr>().is_err(), "an address is judged as one"),
    }
    // The client that makes the connection reads the URL's text with a parser of its own.
    if let Ok(uri) = url.as_str().parse::<http::Uri>() {
        assert_eq!(uri.host(), url.host_str(), "a URL has one host");
        assert_eq!(uri.port_u16(), url.port(), "and one port");
    }
}

/// What the standard library knows of addresses; the product's own lists know more.
fn is_outside(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => {
            !(address.is_loopback()
                || address.is_private()
                || address.is_link_local()
                || address.is_unspecified()
                || address.is_broadcast()
                || address.is_multicast()
                || address.is_documentation())
        }
        IpAddr::V6(address) => match address.to_ipv4() {
            Some(inner) => is_outside(inner.into()),
            None => {
                !(address.is_loopback()
                    || address.is_unspecified()
                    || address.is_multicast()
                    || address.is_unique_local()
                    || address.is_unicast_link_local())
            }
        },
    }
}

pub fn seeds() -> Vec<Vec<u8>> {
    let targets = crate::corpus::cases().into_iter().flat_map(|case| case.wanted).filter_map(|wanted| match wanted {
        crate::corpus::Wanted::Request { target, .. } if target.len() < 200 => Some(target),
        _ => None,
    });
    let mut seeds: Vec<Vec<u8>> = targets.collect();
    seeds.sort();
    seeds.dedup();
    let more: [&[u8]; 16] = [
        b"/app/shop-abcde/endpoint/caf%C3%A9%2Fa?secret=hello&a=b+c%2B&s%65cret=x&&d=50%",
        b"/api/client/v2.0/app/shop-abcde/service/http/incoming_webhook/hook",
        b"/endpoint/%2e%2e/%00",
        b"https://user:word@example.com:8443/a?b#c",
        b"http://2130706433/",
        b"http://0x7f.1/",
        b"http://127.0.0.1.:80/",
        b"http://[::ffff:10.0.0.1]:8080/x",
        b"http://[64:ff9b::7f00:1]/",
        b"http:/\\\\example.com\\@10.0.0.1/",
        b"http://example.com%2f@169.254.169.254/latest",
        "http://\u{ff11}\u{ff12}7\u{3002}0.0.1/".as_bytes(),
        "https://b\u{fc}cher.example/stra\u{df}e".as_bytes(),
        b"http://8.8.8.8:80/?q=%zz",
        b"file:///etc/passwd",
        b"http://localhost:443/;a=b",
    ];
    seeds.extend(more.map(<[u8]>::to_vec));
    seeds
}
