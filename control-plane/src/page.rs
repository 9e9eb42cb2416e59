//! The page behind the `link` of an error body: `/groups/<group>/apps/<app>/logs?co_id=<call>`.
//!
//! In: a browser. Out: three files, the same for everybody, which hold no data: the page asks the Admin API with the key
//! pair of whoever looks at it. It loads nothing from anywhere else, and its policy forbids it to try.
//!
//! Not here: what there is to show (`api::logs`).

use std::sync::Arc;

use axum::Router;
use axum::response::Response;
use axum::routing::get;
use http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS};

use crate::ControlPlane;

/// Scripts, styles and questions of our own; nothing in frames, nothing in forms, nothing inline.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

pub fn routes() -> Router<Arc<ControlPlane>> {
    Router::new()
        .route("/groups/{group}/apps/{app}/logs", get(async || html(include_str!("../page/logs.html"))))
        .route("/groups/page/logs.css", get(async || file("text/css; charset=utf-8", include_str!("../page/logs.css"))))
        .route(
            "/groups/page/logs.js",
            get(async || file("text/javascript; charset=utf-8", include_str!("../page/logs.js"))),
        )
}

fn html(text: &'static str) -> Response<String> {
    file("text/html; charset=utf-8", text)
}

fn file(kind: &'static str, text: &'static str) -> Response<String> {
    let response = Response::builder()
        .header(CONTENT_TYPE, kind)
        .header(CONTENT_SECURITY_POLICY, POLICY)
        .header(X_CONTENT_TYPE_OPTIONS, "nosniff")
        // A correlation id in the address is nobody else's business.
        .header(REFERRER_POLICY, "no-referrer")
        .header(CACHE_CONTROL, "no-cache")
        .body(text.to_owned());
    response.expect("fixed header values are valid")
}
