//! Small documents that the platform itself needs from an address an app names: the keys of its token issuer.
//!
//! In: an address. Out: what is there, within a bound of bytes and time, or why not. Where it may lead is judged as for
//! functions; redirects are not followed, since who is trusted with an app's logins should be named by it.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use reqwest::Url;

use super::{Outbound, exchange};
use crate::limits::{ISSUER_DOCUMENT_BYTES_MAX, ISSUER_FETCH_TIME_MAX};
use crate::users::Fetch;

/// A way to documents outside.
pub struct Documents(pub Arc<Outbound>);

impl Fetch for Documents {
    fn get(&self, address: &str) -> BoxFuture<'static, Result<Vec<u8>, String>> {
        let (outbound, address) = (self.0.clone(), address.to_owned());
        Box::pin(async move {
            match tokio::time::timeout(ISSUER_FETCH_TIME_MAX, outbound.document(&address)).await {
                Ok(document) => document,
                Err(_) => Err(format!("it took longer than {} s", ISSUER_FETCH_TIME_MAX.as_secs())),
            }
        })
    }
}

impl Outbound {
    async fn document(&self, address: &str) -> Result<Vec<u8>, String> {
        let url = Url::parse(address).map_err(|error| error.to_string())?;
        exchange::check(&self.settings.guard, &url).map_err(|refusal| refusal.message)?;
        let client = self.client(false, false).map_err(|refusal| refusal.message)?;
        let mut response =
            client.get(url.clone()).send().await.map_err(|error| exchange::explained(&error, &url).message)?;
        if response.status() != http::StatusCode::OK {
            return Err(format!("it answered {}", response.status()));
        }
        let mut document = Vec::new();
        while let Some(piece) = response.chunk().await.map_err(|error| exchange::explained(&error, &url).message)? {
            if document.len() + piece.len() > ISSUER_DOCUMENT_BYTES_MAX {
                return Err(format!("it is larger than {ISSUER_DOCUMENT_BYTES_MAX} bytes"));
            }
            document.extend_from_slice(&piece);
        }
        Ok(document)
    }
}
