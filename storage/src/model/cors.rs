//! What a browser may do with an app beyond what every app lets it do.

/// Header names of an app's own. Which origins may call is `allowed_request_origins`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CorsPolicy {
    /// Request headers a page may send beside `Authorization`, `Content-Type` and `Accept`.
    pub allowed_headers: Vec<String>,
    /// Response headers a page may read beside those every page may.
    pub exposed_headers: Vec<String>,
}
