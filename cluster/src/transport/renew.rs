//! Reads a node's certificates again when their files change. New links begin under the new ones. Links that are there
//! go on, but for those to peers that are trusted no more.

use std::{sync::Arc, time::Duration};

use quinn::{ServerConfig, crypto::rustls::QuicServerConfig};
use rustls::pki_types::CertificateDer;
use tokio::time::sleep;

use super::{
    TlsError, TlsFiles, TlsMaterial, handshake::CLOSE_SHUTDOWN, identity::Identity, quic::Core,
};

/// How often the files are looked at.
const LOOK: Duration = Duration::from_secs(2);

/// What the accepting side of all new links is.
///
/// # Errors
/// The certificates are not usable.
pub(super) fn accepting(
    tls: &TlsMaterial,
    cluster: &str,
    transport: Arc<quinn::TransportConfig>,
) -> Result<ServerConfig, TlsError> {
    let tls = QuicServerConfig::try_from(tls.server(cluster)?)
        .map_err(|error| TlsError::Config(error.to_string()))?;
    let mut server = ServerConfig::with_crypto(Arc::new(tls));
    server.transport_config(transport);
    Ok(server)
}

/// Looks at the files for ever. Some that cannot be used, perhaps because not all were replaced yet, change nothing.
pub(super) async fn run(core: Arc<Core>, files: TlsFiles) {
    let mut failed = None;
    loop {
        sleep(LOOK).await;
        let files = files.clone();
        let found = tokio::task::spawn_blocking(move || TlsMaterial::load(&files)).await;
        let found = match found {
            Ok(found) => found.map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        let renewed = found.and_then(|tls| match tls.is_same(&core.tls()) {
            true => Ok(()),
            false => begin(&core, tls),
        });
        match renewed {
            Ok(()) => failed = None,
            Err(why) if failed.as_ref() == Some(&why) => {}
            Err(why) => {
                tracing::warn!(why, "the certificates for peers cannot be renewed");
                failed = Some(why);
            }
        }
    }
}

fn begin(core: &Core, tls: TlsMaterial) -> Result<(), String> {
    let own = Identity { cluster: core.own.cluster.clone(), node: core.own.node };
    let found = tls.identity().map_err(|error| error.to_string())?;
    if found != own {
        return Err(format!("the certificate is for {found}, not for {own}"));
    }
    let server =
        accepting(&tls, &own.cluster, core.transport()).map_err(|error| error.to_string())?;
    let Some(endpoint) = core.endpoint() else { return Ok(()) };
    endpoint.set_server_config(Some(server));
    let tls = Arc::new(tls);
    core.set_tls(tls.clone());
    tracing::info!(node = %core.own.node, "the certificates for peers were renewed");
    for peer in core.all_peers() {
        let Some(link) = peer.link() else { continue };
        let expected = Identity { cluster: own.cluster.clone(), node: peer.id };
        let shown = link.connection.peer_identity();
        let chain = shown.and_then(|shown| shown.downcast::<Vec<CertificateDer<'static>>>().ok());
        let trusted = match &chain {
            Some(chain) => tls.trusts(chain, expected),
            None => Err("it shows no certificate".into()),
        };
        if let Err(why) = trusted {
            tracing::warn!(node = %core.own.node, peer = %peer.id, why, "the peer's certificate is trusted no more");
            link.close(CLOSE_SHUTDOWN, "the certificate is trusted no more");
        }
    }
    Ok(())
}
