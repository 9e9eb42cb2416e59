//! Compresses answers for clients that ask for it.
//!
//! In: an answer. Out: the same, its body perhaps as gzip or Brotli, with `Content-Encoding` and `Vary` saying so. Left as
//! they are: small bodies, types that are compressed already, and answers whose function decided the matter itself, by
//! `Content-Encoding`, by `Cache-Control: no-transform`, by a range, or by a strong `ETag`, which names these very bytes.
//!
//! A core has other connections to serve, so a body is compressed on it only up to `COMPRESS_INLINE_BYTES_MAX`. Larger ones
//! go to a worker thread, and when all of those have work already the body is sent as it is: compression saves a client
//! time, and a queue would cost it. Slices with yields between them were the other way to keep the core's other connections
//! served; a thread needs no resumable state and leaves the core to what only it can do.

use std::borrow::Cow;
use std::rc::Rc;
use std::sync::Arc;

use crate::coding::{self, Encoder};
use crate::core::Core;
use crate::cors::vary;
use crate::limits::{COMPRESS_BYTES_MIN, COMPRESS_INLINE_BYTES_MAX};
use crate::request::Request;
use crate::respond::Answer;

pub async fn body(core: &Rc<Core>, request: &Request<'_>, answer: &mut Answer) {
    if answer.body.len() < COMPRESS_BYTES_MIN || !core.parts.edge.compress || !is_ours_to_compress(answer) {
        return;
    }
    vary(&mut answer.headers, "Accept-Encoding");
    let Some(coding) = coding::wanted(request.header_items("accept-encoding")) else { return };
    let coded = if answer.body.len() <= COMPRESS_INLINE_BYTES_MAX {
        Some(core.encoder.borrow_mut().encode(coding, &answer.body))
    } else {
        let Some(place) = core.parts.workers.place() else { return };
        let body = Arc::new(std::mem::take(&mut answer.body));
        let shared = body.clone();
        let work = core.parts.workers.run(place, move || Encoder::default().encode(coding, &shared));
        let coded = core.remote.wait(work).await;
        answer.body = Arc::try_unwrap(body).unwrap_or_else(|shared| shared.to_vec());
        coded
    };
    if let Some(coded) = coded
        && coded.len() < answer.body.len()
    {
        answer.body = coded;
        answer.headers.push((Cow::Borrowed("Content-Encoding"), coding.name().to_owned()));
    }
}

/// Whether nothing in the answer speaks against it.
fn is_ours_to_compress(answer: &Answer) -> bool {
    if matches!(answer.status, 100..=199 | 204 | 206 | 304) {
        return false;
    }
    let mut compressible = false;
    for (name, value) in &answer.headers {
        if name.eq_ignore_ascii_case("content-type") {
            compressible = is_compressible(value);
        } else if name.eq_ignore_ascii_case("content-encoding")
            || name.eq_ignore_ascii_case("content-range")
            || (name.eq_ignore_ascii_case("etag") && !value.trim_start().starts_with("W/"))
            || (name.eq_ignore_ascii_case("cache-control") && value.to_ascii_lowercase().contains("no-transform"))
        {
            return false;
        }
    }
    compressible
}

/// Text of any kind, and the formats that are text under another name. Images, archives and the like are compressed
/// already.
fn is_compressible(content_type: &str) -> bool {
    let media = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    const TEXTS: [&str; 8] = [
        "application/json",
        "application/ejson",
        "application/javascript",
        "application/xml",
        "application/x-www-form-urlencoded",
        "application/x-ndjson",
        "application/wasm",
        "image/svg+xml",
    ];
    media.starts_with("text/") || media.ends_with("+json") || media.ends_with("+xml") || TEXTS.contains(&media.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::respond::Header;

    #[test]
    fn a_function_s_own_headers_decide_whether_its_answer_is_touched() {
        for (status, headers, expected) in [
            (200, &[("Content-Type", "application/json")][..], true),
            (400, &[("content-type", "TEXT/html; charset=utf-8")], true),
            (200, &[("Content-Type", "application/problem+json")], true),
            (200, &[("Content-Type", "image/png")], false),
            (200, &[], false),
            (200, &[("Content-Type", "text/plain"), ("Content-Encoding", "zstd")], false),
            (200, &[("Content-Type", "text/plain"), ("cache-control", "public, No-Transform")], false),
            (200, &[("Content-Type", "text/plain"), ("ETag", "\"abc\"")], false),
            (200, &[("Content-Type", "text/plain"), ("ETag", "W/\"abc\"")], true),
            (206, &[("Content-Type", "text/plain")], false),
        ] {
            let headers: Vec<Header> =
                headers.iter().map(|(name, value)| (Cow::Borrowed(*name), (*value).to_owned())).collect();
            let answer = Answer { status, headers, ..Answer::default() };
            assert_eq!(is_ours_to_compress(&answer), expected, "{answer:?}");
        }
    }
}
