//! How the ACME library reaches an authority: by the HTTP client we have already, checked against the operator's own
//! certificates where they are named.

use std::future::Future;
use std::path::Path;
use std::pin::Pin;

use bytes::Bytes;
use http_body_util::BodyExt;
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient};

use crate::limits;

#[derive(Clone)]
pub struct Client(reqwest::Client);

impl Client {
    /// `ca`: certificates in PEM by which the authority is checked instead of by the system's.
    pub fn new(ca: Option<&Path>) -> Result<Self, String> {
        let mut builder = reqwest::Client::builder().timeout(limits::ACME_REQUEST).https_only(true);
        if let Some(path) = ca {
            let wrong = |error: &dyn std::fmt::Display| format!("tls.acme.ca: {}: {error}", path.display());
            let pem = std::fs::read(path).map_err(|error| wrong(&error))?;
            let roots = reqwest::Certificate::from_pem_bundle(&pem).map_err(|error| wrong(&error))?;
            if roots.is_empty() {
                return Err(wrong(&"there is no certificate in it"));
            }
            builder = builder.tls_certs_only(roots);
        }
        builder.build().map(Self).map_err(|error| format!("the ACME client: {error}"))
    }
}

impl HttpClient for Client {
    fn request(
        &self,
        request: http::Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        let client = self.0.clone();
        Box::pin(async move {
            let (head, body) = request.into_parts();
            let Ok(body) = body.collect().await.map(http_body_util::Collected::to_bytes);
            let request = reqwest::Request::try_from(http::Request::from_parts(head, body)).map_err(other)?;
            let response = client.execute(request).await.map_err(other)?;
            Ok(BytesResponse::from(http::Response::from(response)))
        })
    }
}

/// With its causes: the outermost sentence of this client says only that it failed.
fn other(error: reqwest::Error) -> Error {
    let mut sentence = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(error) = cause {
        sentence.push_str(": ");
        sentence.push_str(&error.to_string());
        cause = error.source();
    }
    Error::Other(sentence.into())
}
