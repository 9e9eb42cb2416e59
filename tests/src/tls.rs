//! The client's side of TLS in stories: an authority of the test's own, and clients that trust it, or trust anybody and
//! look at what they were shown.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, HandshakeKind, ProtocolVersion, RootCertStore,
    SignatureScheme, StreamOwned, SupportedProtocolVersion,
};

/// Long, because the machine may be busy with a build.
const PATIENCE: Duration = Duration::from_secs(30);

/// Issues certificates.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

/// A certificate and its key, in PEM.
#[derive(Debug, Clone)]
pub struct Issued {
    pub certificate: String,
    pub key: String,
}

impl Default for Authority {
    fn default() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names are good names");
        params.distinguished_name.push(DnType::CommonName, "The test's own authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let key = KeyPair::generate().expect("a key");
        let pem = params.self_signed(&key).expect("a certificate").pem();
        Self { issuer: Issuer::new(params, key), pem }
    }
}

impl Authority {
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// For these names or addresses.
    pub fn issue(&self, names: &[&str]) -> Issued {
        self.issue_until(names, 2099)
    }

    /// Valid until the year begins.
    pub fn issue_until(&self, names: &[&str], year: i32) -> Issued {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let mut params = CertificateParams::new(names).expect("names");
        params.not_before = rcgen::date_time_ymd(2000, 1, 1);
        params.not_after = rcgen::date_time_ymd(year, 1, 1);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate").pem();
        Issued { certificate, key: key.serialize_pem() }
    }
}

/// A key agreement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Group {
    X25519,
    /// With one beside it that tomorrow's computers do not break.
    X25519Mlkem768,
}

/// Connects with TLS. Clones share the sessions they may resume.
#[derive(Debug, Clone)]
pub struct TlsClient {
    config: Arc<ClientConfig>,
}

impl TlsClient {
    /// Trusts an authority, or a certificate that was signed with its own key.
    pub fn trusting(pem: &str) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(pem.as_bytes()).expect("a certificate")).expect("a root");
        let config = builder(rustls::ALL_VERSIONS).with_root_certificates(roots).with_no_client_auth();
        Self { config: Arc::new(config) }
    }

    /// Takes whatever certificate it is shown.
    pub fn careless() -> Self {
        Self::careless_at(rustls::ALL_VERSIONS)
    }

    /// The same, with some versions of TLS only.
    pub fn careless_at(versions: &[&'static SupportedProtocolVersion]) -> Self {
        let verifier = Arc::new(Careless(Arc::new(aws_lc_rs::default_provider())));
        let config = builder(versions).dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth();
        Self { config: Arc::new(config) }
    }

    /// The same, with one cipher of TLS 1.3 and one key agreement, for comparing.
    pub fn careless_by(group: Group) -> Self {
        let group = match group {
            Group::X25519 => aws_lc_rs::kx_group::X25519,
            Group::X25519Mlkem768 => aws_lc_rs::kx_group::X25519MLKEM768,
        };
        let provider = Arc::new(CryptoProvider {
            cipher_suites: vec![aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256],
            kx_groups: vec![group],
            ..aws_lc_rs::default_provider()
        });
        let builder = ClientConfig::builder_with_provider(provider.clone());
        let builder = builder.with_protocol_versions(&[&rustls::version::TLS13]).expect("a version this library has");
        let verifier = Arc::new(Careless(provider));
        let config = builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth();
        Self { config: Arc::new(config) }
    }

    /// The same without sessions to resume.
    pub fn without_sessions(&self) -> Self {
        let mut config = ClientConfig::clone(&self.config);
        config.resumption = Resumption::disabled();
        Self { config: Arc::new(config) }
    }

    /// Offers these protocols.
    pub fn offering(mut self, protocols: &[&str]) -> Self {
        let protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        Arc::make_mut(&mut self.config).alpn_protocols = protocols;
        self
    }

    /// What clients of other libraries than ours are made with.
    pub(crate) fn config(&self) -> Arc<ClientConfig> {
        self.config.clone()
    }

    /// A session that has not begun.
    pub fn session(&self, name: &str) -> ClientConnection {
        let name = ServerName::try_from(name.to_owned()).expect("a server name");
        ClientConnection::new(self.config.clone(), name).expect("a session")
    }

    /// Connects and shakes hands. `name`: a host name, or an address, which is not told to the server.
    pub fn connect(&self, address: SocketAddr, name: &str) -> io::Result<TlsStream> {
        self.shake_hands(TcpStream::connect(address)?, name)
    }

    /// The same on a connection that is there.
    pub fn shake_hands(&self, socket: TcpStream, name: &str) -> io::Result<TlsStream> {
        let name = ServerName::try_from(name.to_owned()).map_err(io::Error::other)?;
        let session = ClientConnection::new(self.config.clone(), name).map_err(io::Error::other)?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.set_write_timeout(Some(PATIENCE))?;
        let mut stream = StreamOwned::new(session, socket);
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock)?;
        }
        Ok(TlsStream(stream))
    }
}

/// A connection with TLS inside.
#[derive(Debug)]
pub struct TlsStream(StreamOwned<ClientConnection, TcpStream>);

impl TlsStream {
    pub fn version(&self) -> Option<ProtocolVersion> {
        self.0.conn.protocol_version()
    }

    /// The protocol both sides chose.
    pub fn protocol(&self) -> Option<String> {
        self.0.conn.alpn_protocol().map(|protocol| String::from_utf8_lossy(protocol).into_owned())
    }

    pub fn is_resumed(&self) -> bool {
        self.0.conn.handshake_kind() == Some(HandshakeKind::Resumed)
    }

    /// The server's own certificate, DER.
    pub fn certificate(&self) -> Vec<u8> {
        self.0.conn.peer_certificates().and_then(|chain| chain.first()).expect("a certificate").to_vec()
    }

    /// The session, and the socket under it.
    pub fn parts(&mut self) -> (&mut ClientConnection, &mut TcpStream) {
        (&mut self.0.conn, &mut self.0.sock)
    }

    /// Says that nothing more will be sent.
    pub fn finish_sending(&mut self) {
        self.0.conn.send_close_notify();
        // A peer that has closed already has nothing to be told.
        let _ = self.0.flush();
        let _ = self.0.sock.shutdown(Shutdown::Write);
    }
}

impl Read for TlsStream {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.0.read(into)
    }
}

impl Write for TlsStream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

fn builder(
    versions: &[&'static SupportedProtocolVersion],
) -> rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier> {
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
    builder.with_protocol_versions(versions).expect("versions this library has")
}

/// Checks signatures, since a handshake is no handshake without, and nothing else.
#[derive(Debug)]
struct Careless(Arc<CryptoProvider>);

impl ServerCertVerifier for Careless {
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
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
