//! Who has access to a node: its root key, the issuers of tokens, and where it may listen without either.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use serde::Deserialize;

use super::{BadServeConfig, bad};
use crate::auth::Secret;
use crate::auth::issuer::{IssuerConfig, KeySource};
use crate::ids::TenantName;

/// Lengths of the secrets that are taken, in bytes.
const SECRET_BYTES: RangeInclusive<usize> = 32..=4096;

/// Where the certificate for clients and its key are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The chain of certificates in PEM, the node's own first.
    pub cert: PathBuf,
    /// The key of the first, in PEM.
    pub key: PathBuf,
}

/// An issuer as the file gives it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GivenIssuer {
    issuer: String,
    audience: String,
    /// A file, or a URL.
    jwks: Option<String>,
    /// Where a secret for HS256 is: a file, or `env:NAME`.
    secret: Option<String>,
    /// The one tenant that its tokens are for.
    tenant: Option<String>,
}

/// The secret at a place: `env:NAME` or a file, without white space at its ends.
///
/// # Errors
/// It cannot be read, or is no secret; `key` is what it is for.
pub fn secret(key: &str, place: &str) -> Result<String, BadServeConfig> {
    let text = match place.strip_prefix("env:") {
        Some(name) => std::env::var(name)
            .or_else(|_| bad(format!("{key}: the environment variable {name} is not set")))?,
        None => secret_file(place).or_else(|why| bad(format!("{key}: {place} {why}")))?,
    };
    let text = text.trim().to_owned();
    let visible = text.bytes().all(|byte| byte.is_ascii_graphic());
    if !SECRET_BYTES.contains(&text.len()) || !visible {
        let (least, most) = SECRET_BYTES.into_inner();
        return bad(format!("{key} must have {least} to {most} visible ASCII characters"));
    }
    Ok(text)
}

/// What a file with a secret holds, or what is wrong with it.
fn secret_file(place: &str) -> Result<String, String> {
    let cannot = |why: std::io::Error| format!("cannot be read: {why}");
    // Opening a pipe would wait for its writer.
    let about = std::fs::metadata(place).map_err(cannot)?;
    if !about.is_file() {
        return Err("is no file".into());
    }
    // A few line ends more do no harm.
    if (2 * *SECRET_BYTES.end() as u64) < about.len() {
        return Err(format!("has {} bytes: it holds no secret", about.len()));
    }
    if about.permissions().mode() & 0o077 != 0 {
        tracing::warn!(place, "others than its owner can use this file with a secret: chmod 600");
    }
    std::fs::read_to_string(place).map_err(cannot)
}

pub(super) fn root_key(place: Option<&str>) -> Result<Option<Secret>, BadServeConfig> {
    place.map(|place| Ok(Secret::of(&secret("root_key", place)?))).transpose()
}

pub(super) fn client_tls(
    cert: Option<PathBuf>,
    key: Option<PathBuf>,
) -> Result<Option<CertificateFiles>, BadServeConfig> {
    match (cert, key) {
        (None, None) => Ok(None),
        (Some(cert), Some(key)) => Ok(Some(CertificateFiles { cert, key })),
        _ => bad("tls_cert and tls_key go together"),
    }
}

pub(super) fn issuers(given: Vec<GivenIssuer>) -> Result<Vec<IssuerConfig>, BadServeConfig> {
    let all = given.into_iter().map(issuer).collect::<Result<Vec<_>, _>>()?;
    let mut seen = BTreeSet::new();
    match all.iter().find(|one| !seen.insert((&one.issuer, &one.audience))) {
        Some(twice) => bad(format!("the issuer {:?} is given twice", twice.issuer)),
        None => Ok(all),
    }
}

fn issuer(given: GivenIssuer) -> Result<IssuerConfig, BadServeConfig> {
    let GivenIssuer { issuer, audience, jwks, secret: place, tenant } = given;
    let tenant = tenant.as_deref().map(TenantName::parse).transpose();
    let tenant = tenant.or_else(|why| bad(format!("issuer {issuer:?}: {why}")))?;
    if issuer.is_empty() || audience.is_empty() {
        return bad("an issuer needs issuer and audience, as its tokens say them");
    }
    let keys = match (jwks, place) {
        (Some(jwks), None) if jwks.starts_with("http://") || jwks.starts_with("https://") => {
            KeySource::Url(jwks)
        }
        (Some(jwks), None) => KeySource::File(jwks.into()),
        (None, Some(place)) => KeySource::Secret(secret("issuers.secret", &place)?.into_bytes()),
        _ => return bad(format!("issuer {issuer:?} needs either jwks or secret")),
    };
    Ok(IssuerConfig { issuer, audience, tenant, keys })
}

/// Refuses a node that everybody in the network could drive.
pub(super) fn check(
    listen: SocketAddr,
    asks_who: bool,
    insecure: bool,
) -> Result<(), BadServeConfig> {
    if asks_who || insecure || listen.ip().is_loopback() {
        return Ok(());
    }
    bad(format!(
        "listen {listen} would let everybody who reaches it do everything: set root_key (a file with a secret, or \
         env:NAME) or issuers, or insecure where a proxy in front knows who asks"
    ))
}
