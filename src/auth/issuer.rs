//! Tokens of the product's own identity provider: signed statements (JWT, RFC 7519) of who a caller is and what it
//! may do.
//!
//! Which keys a token may be signed with follows from the configuration alone: nothing in a token is ever an
//! address. The algorithm is that of the key, whatever the token names. Keys are read again every minute, and where
//! a token names one that is not known, at most once in 30 s; where they cannot be read, the last ones hold for an
//! hour.

use std::path::PathBuf;
use std::sync::{Arc, RwLock};
use std::time::Duration;

use jsonwebtoken::jwk::{
    AlgorithmParameters, EllipticCurve, Jwk, JwkSet, KeyAlgorithm, PublicKeyUse,
};
use jsonwebtoken::{
    Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, decode_header, encode,
};
use serde::Deserialize;
use session::ids::{Millis, TenantName};
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep};

use super::caller::{Caller, Ended};
use super::claims::Claims;
use super::{Refused, crypto, fetch};

/// How often keys are read.
const EVERY: Duration = Duration::from_secs(60);
/// How often at most keys are read because a token names one that is not known.
const UNKNOWN: Duration = Duration::from_secs(30);
/// How long keys hold that cannot be read again.
const STALE: Duration = Duration::from_secs(60 * 60);
/// How far ahead the issuer's clock may be, in seconds.
const LEEWAY_S: u64 = 60;
/// How long a token lets in after its end, in seconds; its streams end then.
const GRACE_S: f64 = 4.0;
/// Longest life of a token, in seconds.
const LIFE_S: f64 = 24.0 * 60.0 * 60.0;
/// Keys of one issuer that are looked at.
const KEYS: usize = 64;

/// One issuer, as configured.
#[derive(Clone, PartialEq, Eq)]
pub struct IssuerConfig {
    /// The claim `iss` of its tokens.
    pub issuer: String,
    /// The claim `aud` that its tokens must have.
    pub audience: String,
    /// The tenant that its tokens are for, whoever they name; any, where none is given.
    pub tenant: Option<TenantName>,
    pub keys: KeySource,
}

/// Where the keys of an issuer are.
#[derive(Clone, PartialEq, Eq)]
pub enum KeySource {
    /// A secret for HS256, which it shares with this node.
    Secret(Vec<u8>),
    /// A file with a set of keys (JWKS, RFC 7517).
    File(PathBuf),
    /// A URL of one, by http or https.
    Url(String),
}

impl std::fmt::Debug for IssuerConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let keys = match &self.keys {
            KeySource::Secret(_) => "***".to_owned(),
            KeySource::File(path) => path.display().to_string(),
            KeySource::Url(url) => url.clone(),
        };
        let IssuerConfig { issuer, audience, .. } = self;
        write!(f, "IssuerConfig {{ {issuer:?} for {audience:?}, keys {keys} }}")
    }
}

/// An issuer, and its keys as they were read last.
pub(super) struct Issuer {
    config: IssuerConfig,
    keys: RwLock<Held>,
    /// When keys were read last because one was not known.
    looked: Mutex<Option<Instant>>,
}

#[derive(Clone, Default)]
struct Held {
    keys: Arc<Vec<Known>>,
    read: Option<Instant>,
}

/// A key that tokens may be signed with.
struct Known {
    kid: Option<String>,
    algorithm: Algorithm,
    key: DecodingKey,
}

impl Issuer {
    pub(super) fn new(config: IssuerConfig) -> Issuer {
        crypto::install();
        Issuer { config, keys: RwLock::default(), looked: Mutex::default() }
    }

    /// Keeps the keys as they are at their source, for ever.
    pub(super) async fn run(&self) {
        loop {
            self.read().await;
            sleep(EVERY).await;
        }
    }

    async fn read(&self) {
        match self.load().await {
            Ok(keys) => {
                let held = Held { keys: Arc::new(keys), read: Some(Instant::now()) };
                *self.keys.write().expect("no panic under this lock") = held;
            }
            Err(why) => {
                tracing::warn!(issuer = self.config.issuer, why, "its keys cannot be read");
            }
        }
    }

    async fn load(&self) -> Result<Vec<Known>, String> {
        let bytes = match &self.config.keys {
            KeySource::Secret(secret) => {
                let key = DecodingKey::from_secret(secret).map_err(|why| why.to_string())?;
                return Ok(vec![Known { kid: None, algorithm: Algorithm::HS256, key }]);
            }
            KeySource::File(path) => tokio::fs::read(path).await.map_err(|why| why.to_string())?,
            KeySource::Url(url) => fetch::get(url).await?.to_vec(),
        };
        let set: JwkSet = serde_json::from_slice(&bytes).map_err(|why| why.to_string())?;
        Ok(set.keys.iter().take(KEYS).filter_map(known).collect())
    }

    fn held(&self) -> Held {
        let held = self.keys.read().expect("no panic under this lock").clone();
        match held.read {
            Some(read) if read.elapsed() < STALE => held,
            _ => Held::default(),
        }
    }

    /// The keys that may have signed a token which names this one.
    async fn candidates(&self, kid: Option<&str>) -> Arc<Vec<Known>> {
        let is_known = |held: &Held| held.keys.iter().any(|key| key.is(kid));
        let held = self.held();
        if is_known(&held) {
            return held.keys;
        }
        let mut looked = self.looked.lock().await;
        let held = self.held();
        // Another request may have looked meanwhile.
        if !is_known(&held) && looked.is_none_or(|last| UNKNOWN <= last.elapsed()) {
            *looked = Some(Instant::now());
            self.read().await;
        }
        self.held().keys
    }
}

impl Known {
    /// Whether a token that names this key may be signed with it.
    fn is(&self, kid: Option<&str>) -> bool {
        kid.is_none() || self.kid.is_none() || self.kid.as_deref() == kid
    }
}

/// A key of a set, if tokens may be signed with it.
fn known(jwk: &Jwk) -> Option<Known> {
    let usual = match &jwk.algorithm {
        AlgorithmParameters::RSA(_) => Algorithm::RS256,
        AlgorithmParameters::EllipticCurve(curve) if curve.curve == EllipticCurve::P256 => {
            Algorithm::ES256
        }
        AlgorithmParameters::OctetKeyPair(pair) if pair.curve == EllipticCurve::Ed25519 => {
            Algorithm::EdDSA
        }
        AlgorithmParameters::OctetKey(_) => Algorithm::HS256,
        _ => return None,
    };
    let algorithm = match jwk.common.key_algorithm {
        None => usual,
        Some(KeyAlgorithm::HS256) => Algorithm::HS256,
        Some(KeyAlgorithm::RS256) => Algorithm::RS256,
        Some(KeyAlgorithm::ES256) => Algorithm::ES256,
        Some(KeyAlgorithm::EdDSA) => Algorithm::EdDSA,
        Some(_) => return None,
    };
    let signs = !matches!(jwk.common.public_key_use, Some(PublicKeyUse::Encryption));
    let key = DecodingKey::from_jwk(jwk).ok()?;
    let kid = jwk.common.key_id.clone();
    (algorithm == usual && signs).then_some(Known { kid, algorithm, key })
}

/// Looks at claims as a node does.
///
/// # Errors
/// No node would let a caller in by them.
pub fn check(claims: &serde_json::Value) -> Result<(), String> {
    let claims = Claims::deserialize(claims).map_err(|why| why.to_string())?;
    let life = claims.exp.zip(claims.iat).map_or(0.0, |(exp, iat)| exp - iat);
    if LIFE_S < life {
        return Err(format!("a token lasts at most {} hours", LIFE_S / 3600.0));
    }
    Ok(claims.grant(None, Millis(0)).map(drop)?)
}

/// Signs claims with a secret (HS256), as an issuer would that shares it.
///
/// # Errors
/// The secret is empty.
pub fn sign(secret: &[u8], claims: &serde_json::Value) -> Result<String, String> {
    crypto::install();
    let key = EncodingKey::from_secret(secret).map_err(|why| why.to_string())?;
    encode(&Header::new(Algorithm::HS256), claims, &key).map_err(|why| why.to_string())
}

/// Whose a token is, before anybody knows whether it is true.
#[derive(Deserialize)]
struct UnverifiedClaims {
    iss: Option<String>,
}

/// Who brings this token.
///
/// # Errors
/// It is none of these issuers', or means nothing now.
pub(super) async fn caller(
    issuers: &[Issuer],
    token: &str,
    now: Millis,
) -> Result<Caller, Refused> {
    let unknown = Refused::Unknown;
    let header = decode_header(token).map_err(|_| unknown("this is no token"))?;
    if header.extras.inner().contains_key("crit") {
        return Err(unknown("the token wants something that this service does not know"));
    }
    let unverified: UnverifiedClaims = jsonwebtoken::dangerous::insecure_decode_claims(token)
        .map_err(|_| unknown("the token has no claims"))?;
    let issuer =
        issuers.iter().find(|issuer| unverified.iss.as_ref() == Some(&issuer.config.issuer));
    let issuer = issuer.ok_or(unknown("the token's issuer is not known here"))?;
    let kid = header.kid.as_deref();
    let keys = issuer.candidates(kid).await;
    let mut why = unknown("the token's key is not known here");
    for key in keys.iter().filter(|key| key.is(kid) && key.algorithm == header.alg) {
        match judge(issuer, key, token, now) {
            Ok(caller) => return Ok(caller),
            Err(other) => why = other,
        }
    }
    Err(why)
}

fn judge(issuer: &Issuer, key: &Known, token: &str, now: Millis) -> Result<Caller, Refused> {
    use jsonwebtoken::errors::ErrorKind;

    let mut validation = Validation::new(key.algorithm);
    validation.leeway = LEEWAY_S;
    validation.validate_nbf = true;
    validation.set_audience(&[&issuer.config.audience]);
    validation.set_issuer(&[&issuer.config.issuer]);
    validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
    let data = decode::<Claims>(token, &key.key, &validation).map_err(|why| match why.kind() {
        ErrorKind::ExpiredSignature => Refused::Ended(Ended::Expired),
        ErrorKind::ImmatureSignature => Refused::Unknown("the token does not hold yet"),
        ErrorKind::InvalidAudience => Refused::Unknown("the token is for another audience"),
        ErrorKind::InvalidSignature => Refused::Unknown("the token's signature is wrong"),
        _ => Refused::Unknown("the token lacks a claim, or has one that cannot be understood"),
    })?;
    let claims = data.claims;
    let now_s = now.0 as f64 / 1000.0;
    let leeway = LEEWAY_S as f64;
    let exp = claims.exp.filter(|exp| exp.is_finite() && 0.0 < *exp);
    let exp = exp.ok_or(Refused::Unknown("the token has no exp"))?;
    if claims.iat.is_some_and(|iat| now_s + leeway < iat) {
        return Err(Refused::Unknown("the token was issued in the future"));
    }
    if now_s + LIFE_S + leeway < exp {
        return Err(Refused::Unknown("the token lasts longer than a token may"));
    }
    let until = Millis(((exp + GRACE_S) * 1000.0) as u64);
    let sub = claims.sub.clone().unwrap_or_default();
    let name = format!("token:{}#{sub}", issuer.config.issuer).into();
    let bound = issuer.config.tenant.as_ref();
    let grant = claims.grant(bound, until).map_err(Refused::Unknown)?;
    Caller::of(Arc::new(grant), name, None, now)
}

#[cfg(test)]
#[path = "issuer_tests.rs"]
mod tests;
