//! TLS for connections that functions open themselves. What the HTTP client does for its own is the client's.
//!
//! In: an open connection and the name its certificate must be for. Out: the secured connection and what was agreed.

use std::sync::{Arc, OnceLock};

use rustls::ClientConfig;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, SignatureScheme};
use rustls_platform_verifier::BuilderVerifierExt;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use isolate_pool::services::Refusal;

use super::fields::{refused, wrong};

/// The two ways to trust a server; made when first needed, since reading the system's certificates takes milliseconds.
#[derive(Default)]
pub struct Tls {
    checked: OnceLock<Result<ClientConfig, String>>,
    unchecked: OnceLock<Result<ClientConfig, String>>,
}

/// How a connection is to be secured.
#[derive(Debug, Clone)]
pub struct Terms {
    pub name: String,
    pub alpn: Vec<String>,
    /// The function said `rejectUnauthorized: false`.
    pub insecure: bool,
}

impl Tls {
    pub async fn secure<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: S,
        terms: &Terms,
    ) -> Result<TlsStream<S>, Refusal> {
        let config =
            if terms.insecure { self.unchecked.get_or_init(unchecked) } else { self.checked.get_or_init(checked) };
        let mut config =
            config.clone().map_err(|why| refused("InternalServerError", format!("TLS is not to be had: {why}")))?;
        config.alpn_protocols = terms.alpn.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        let name = ServerName::try_from(terms.name.clone())
            .map_err(|_| wrong(format!("servername: '{}' is neither a name nor an address", terms.name)))?;
        let connected = TlsConnector::from(Arc::new(config)).connect(name, stream).await;
        connected.map_err(|error| refused("ERR_TLS", format!("{}: {error}", terms.name)))
    }
}

fn checked() -> Result<ClientConfig, String> {
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().map_err(|error| error.to_string())?;
    let builder = builder.with_platform_verifier().map_err(|error| error.to_string())?;
    Ok(builder.with_no_client_auth())
}

fn unchecked() -> Result<ClientConfig, String> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone());
    let builder = builder.with_safe_default_protocol_versions().map_err(|error| error.to_string())?;
    let builder = builder.dangerous().with_custom_certificate_verifier(Arc::new(AnyCertificate(provider)));
    Ok(builder.with_no_client_auth())
}

/// Takes any certificate, as the function asked; signatures are still checked.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
