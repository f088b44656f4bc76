//! TLS for clients: the certificate of two files, read again when they change.
//!
//! Connections that are open go on under the certificate that they began with. Files that cannot be used, for example
//! because only one of the two was replaced yet, leave the certificate as it is.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, RwLock};
use std::time::Duration;

use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::{ClientHello, ResolvesServerCert};
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::version::TLS13;

use crate::config::CertificateFiles;

/// How often the files are looked at.
const LOOK: Duration = Duration::from_secs(5);
/// The protocols over TLS, the best first (RFC 7301).
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// A certificate that is read again when its files change.
#[derive(Clone)]
pub struct Certificate(Arc<Shared>);

struct Shared {
    files: CertificateFiles,
    provider: Arc<CryptoProvider>,
    held: Arc<Held>,
    acceptor: TlsAcceptor,
}

struct Held(RwLock<Arc<CertifiedKey>>);

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Certificate({})", self.0.files.cert.display())
    }
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Held")
    }
}

impl ResolvesServerCert for Held {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.read().expect("no panic under this lock").clone())
    }
}

impl Certificate {
    /// Reads the files.
    ///
    /// # Errors
    /// Names which cannot be used, and why.
    pub fn load(files: CertificateFiles) -> Result<Certificate, String> {
        let provider = Arc::new(ring::default_provider());
        let key = read(&files, &provider)?;
        let held = Arc::new(Held(RwLock::new(Arc::new(key))));
        let mut config = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[&TLS13])
            .map_err(|why| why.to_string())?
            .with_no_client_auth()
            .with_cert_resolver(held.clone());
        config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).to_vec();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        Ok(Certificate(Arc::new(Shared { files, provider, held, acceptor })))
    }

    /// What takes connections under it.
    pub(super) fn acceptor(&self) -> &TlsAcceptor {
        &self.0.acceptor
    }

    /// Reads the files again when they change, for ever.
    pub(super) async fn renew(&self) {
        let Shared { files, provider, held, .. } = &*self.0;
        let current = || held.0.read().expect("no panic under this lock").clone();
        let mut failed = None;
        loop {
            tokio::time::sleep(LOOK).await;
            let (files, provider) = (files.clone(), provider.clone());
            let found = tokio::task::spawn_blocking(move || read(&files, &provider)).await;
            match found.unwrap_or_else(|why| Err(why.to_string())) {
                Ok(key) => {
                    failed = None;
                    if key.cert != current().cert {
                        *held.0.write().expect("no panic under this lock") = Arc::new(key);
                        tracing::info!("the certificate for clients was renewed");
                    }
                }
                Err(why) if failed.as_ref() == Some(&why) => {}
                Err(why) => {
                    tracing::warn!(why, "the certificate for clients cannot be renewed");
                    failed = Some(why);
                }
            }
        }
    }
}

fn read(files: &CertificateFiles, provider: &CryptoProvider) -> Result<CertifiedKey, String> {
    let CertificateFiles { cert, key } = files;
    let of = |path: &PathBuf, why: &dyn fmt::Display| format!("{}: {why}", path.display());
    let chain = CertificateDer::pem_file_iter(cert).map_err(|why| of(cert, &why))?;
    let chain = chain.collect::<Result<Vec<_>, _>>().map_err(|why| of(cert, &why))?;
    if chain.is_empty() {
        return Err(of(cert, &"it has no certificate"));
    }
    let private = PrivateKeyDer::from_pem_file(key).map_err(|why| of(key, &why))?;
    CertifiedKey::from_der(chain, private, provider).map_err(|why| of(key, &why))
}
