//! Mutual TLS between nodes: who is trusted, and that a peer is the node it must be.
//!
//! Trust is one authority; identity is the name in the certificate, never the address. TLS 1.3 only,
//! no early data, ring named explicitly so that no process-wide default decides.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, Error, RootCertStore,
    ServerConfig, SignatureScheme,
    client::{
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_cert_signed_by_trust_anchor,
    },
    crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature},
    pki_types::{
        CertificateDer, PrivateKeyDer, ServerName, UnixTime,
        pem::{self, PemObject},
    },
    server::{
        ParsedCertificate, WebPkiClientVerifier,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
};

use super::{identity::Identity, revoked::Revoked};

/// The one protocol of a link; another number is another wire format.
pub(super) const ALPN: &[u8] = b"outlive-node/1";

/// The file beside that of the authorities with their lists of revoked certificates, where there is one.
pub(super) const REVOKED: &str = "revoked.pem";

/// Where a node's PEM files are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The authorities that peers' certificates must be from.
    pub ca: PathBuf,
    /// This node's certificate, with those between it and an authority.
    pub cert: PathBuf,
    /// The private key of it.
    pub key: PathBuf,
}

/// A node's certificates and key, parsed.
#[derive(Debug)]
pub struct TlsMaterial {
    roots: Arc<RootCertStore>,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    revoked: Arc<Revoked>,
}

/// Why certificates cannot be made or used. Nothing was started.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read or written.
    #[error("{path}: {error}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// A file is there and holds nothing that can be used.
    #[error("the {what} is not usable PEM: {error}")]
    Pem {
        /// Which of the three it was to be.
        what: &'static str,
        /// What the parser said.
        error: String,
    },
    /// No key or certificate could be generated.
    #[error("a certificate cannot be made: {0}")]
    Generation(String),
    /// A name that no certificate can carry, or a certificate without this node's.
    #[error("{0}")]
    Identity(String),
    /// The parts do not fit each other, or the library takes none of them.
    #[error("the certificates are not usable: {0}")]
    Config(String),
}

impl TlsError {
    pub(super) fn io(path: &Path, error: io::Error) -> TlsError {
        TlsError::Io { path: path.into(), error }
    }
}

impl TlsMaterial {
    /// Reads a node's PEM files. The file of authorities may have several: whoever has a certificate of one of them is
    /// let in, so that one can take the place of another. Beside it there may be [`REVOKED`].
    ///
    /// # Errors
    /// A file is missing or holds no certificate or key.
    pub fn load(files: &TlsFiles) -> Result<TlsMaterial, TlsError> {
        let read = |path: &Path| fs::read(path).map_err(|error| TlsError::io(path, error));
        let own = TlsMaterial::from_pem(&read(&files.ca)?, &read(&files.cert)?, &read(&files.key)?);
        let revoked = files.ca.with_file_name(REVOKED);
        match fs::read(&revoked) {
            Ok(pem) => Ok(TlsMaterial { revoked: Arc::new(Revoked::from_pem(&pem)?), ..own? }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => own,
            Err(error) => Err(TlsError::io(&revoked, error)),
        }
    }

    /// Parses the authority, the node's chain (its own certificate first) and its key.
    ///
    /// # Errors
    /// One of them holds no certificate or key.
    pub fn from_pem(ca: &[u8], cert: &[u8], key: &[u8]) -> Result<TlsMaterial, TlsError> {
        let mut roots = RootCertStore::empty();
        for root in certificates("authority", ca)? {
            roots
                .add(root)
                .map_err(|error| TlsError::Pem { what: "authority", error: error.to_string() })?;
        }
        let key = PrivateKeyDer::from_pem_slice(key)
            .map_err(|error| TlsError::Pem { what: "key", error: error.to_string() })?;
        let chain = certificates("certificate", cert)?;
        Ok(TlsMaterial { roots: Arc::new(roots), chain, key, revoked: Arc::default() })
    }

    /// Whether it is the same as another one.
    pub(super) fn is_same(&self, other: &TlsMaterial) -> bool {
        self.chain == other.chain
            && self.key.secret_der() == other.key.secret_der()
            && self.revoked == other.revoked
            && self.roots.roots == other.roots.roots
    }

    /// Whether whoever shows this chain may be `expected`. Whoever may dial may be dialled.
    ///
    /// # Errors
    /// The text gives the reason.
    pub(super) fn trusts(
        &self,
        chain: &[CertificateDer<'_>],
        expected: Identity,
    ) -> Result<(), String> {
        let (own, intermediates) = chain.split_first().ok_or("the chain is empty")?;
        let name = ServerName::try_from("unused").map_err(|error| error.to_string())?;
        let verified = self.verifier(Arc::new(ring::default_provider()), expected);
        let verified = verified.verify_server_cert(own, intermediates, &name, &[], UnixTime::now());
        verified.map(drop).map_err(|error| error.to_string())
    }

    fn verifier(&self, provider: Arc<CryptoProvider>, expected: Identity) -> PeerVerifier {
        let (roots, revoked) = (self.roots.clone(), self.revoked.clone());
        PeerVerifier { provider, roots, revoked, expected }
    }

    /// The identity in this node's certificate.
    pub(super) fn identity(&self) -> Result<Identity, TlsError> {
        let own = self.chain.first().expect("a chain is parsed only with a certificate");
        Identity::of_certificate(own).map_err(TlsError::Identity)
    }

    /// The accepting side: lets in any node of `cluster`.
    pub(super) fn server(&self, cluster: &str) -> Result<ServerConfig, TlsError> {
        let provider = Arc::new(ring::default_provider());
        let inner =
            WebPkiClientVerifier::builder_with_provider(self.roots.clone(), provider.clone())
                .build()
                .map_err(config)?;
        let revoked = self.revoked.clone();
        let verifier = MemberVerifier { inner, revoked, cluster: cluster.into() };
        let mut server = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(config)?
            .with_client_cert_verifier(Arc::new(verifier))
            .with_single_cert(self.chain.clone(), self.key.clone_key())
            .map_err(config)?;
        server.alpn_protocols = vec![ALPN.into()];
        server.max_early_data_size = 0;
        server.send_tls13_tickets = 0;
        Ok(server)
    }

    /// The dialling side: accepts `expected` and no other.
    pub(super) fn client(&self, expected: Identity) -> Result<ClientConfig, TlsError> {
        let provider = Arc::new(ring::default_provider());
        let verifier = self.verifier(provider.clone(), expected);
        let mut client = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(config)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_client_auth_cert(self.chain.clone(), self.key.clone_key())
            .map_err(config)?;
        client.alpn_protocols = vec![ALPN.into()];
        client.resumption = rustls::client::Resumption::disabled();
        Ok(client)
    }
}

fn certificates(what: &'static str, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let parsed: Result<Vec<_>, pem::Error> = CertificateDer::pem_slice_iter(pem).collect();
    match parsed {
        Ok(list) if !list.is_empty() => Ok(list),
        Ok(_) => Err(TlsError::Pem { what, error: "it holds no certificate".into() }),
        Err(error) => Err(TlsError::Pem { what, error: error.to_string() }),
    }
}

fn config(error: impl std::fmt::Display) -> TlsError {
    TlsError::Config(error.to_string())
}

fn stranger(text: String) -> Error {
    Error::InvalidCertificate(CertificateError::Other(rustls::OtherError(Arc::new(
        io::Error::other(text),
    ))))
}

fn check_revoked(
    revoked: &Revoked,
    end_entity: &CertificateDer<'_>,
    intermediates: &[CertificateDer<'_>],
) -> Result<(), Error> {
    let mut chain = [end_entity].into_iter().chain(intermediates);
    match chain.any(|certificate| revoked.has(certificate)) {
        true => Err(Error::InvalidCertificate(CertificateError::Revoked)),
        false => Ok(()),
    }
}

/// Accepts the one server that is dialled: its chain leads to the authority, its name is expected.
#[derive(Debug)]
struct PeerVerifier {
    provider: Arc<CryptoProvider>,
    roots: Arc<RootCertStore>,
    revoked: Arc<Revoked>,
    expected: Identity,
}

impl ServerCertVerifier for PeerVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        verify_server_cert_signed_by_trust_anchor(
            &ParsedCertificate::try_from(end_entity)?,
            &self.roots,
            intermediates,
            now,
            self.provider.signature_verification_algorithms.all,
        )?;
        check_revoked(&self.revoked, end_entity, intermediates)?;
        let found = Identity::of_certificate(end_entity).map_err(stranger)?;
        if found != self.expected {
            return Err(stranger(format!("dialled {}, found {found}", self.expected)));
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// Accepts every client whose chain leads to the authority and whose name is of this cluster.
#[derive(Debug)]
struct MemberVerifier {
    inner: Arc<dyn ClientCertVerifier>,
    revoked: Arc<Revoked>,
    cluster: String,
}

impl ClientCertVerifier for MemberVerifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.inner.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self.inner.verify_client_cert(end_entity, intermediates, now)?;
        check_revoked(&self.revoked, end_entity, intermediates)?;
        let found = Identity::of_certificate(end_entity).map_err(stranger)?;
        if found.cluster != self.cluster {
            return Err(stranger(format!("{found} is not of cluster {}", self.cluster)));
        }
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}
