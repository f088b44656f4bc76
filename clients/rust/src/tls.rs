//! TLS to the outside, for webhooks and endpoints: who is trusted is what this machine trusts.

use std::sync::{Arc, OnceLock};

use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto};

/// Has everything in the process that uses TLS use one cryptography; doing it again is harmless. Clients of HTTP need
/// it before they are made.
pub fn install() {
    // It is this one that is installed already.
    crypto::ring::default_provider().install_default().ok();
}

/// The one connector of the process; the machine's certificates are read when it is first needed.
pub fn connector() -> &'static TlsConnector {
    static CONNECTOR: OnceLock<TlsConnector> = OnceLock::new();
    CONNECTOR.get_or_init(|| {
        let mut roots = RootCertStore::empty();
        let found = rustls_native_certs::load_native_certs();
        let (trusted, _) = roots.add_parsable_certificates(found.certs);
        if trusted == 0 {
            tracing::warn!("this machine trusts no certificates; requests by https will fail");
        }
        let provider = Arc::new(crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("ring has them")
            .with_root_certificates(roots)
            .with_no_client_auth();
        TlsConnector::from(Arc::new(config))
    })
}
