//! The address at which a client reached this node: what it gets as `Location`, and what callbacks of webhooks
//! are built from.
//!
//! It is the configured one, or else what the request was sent to. What a request carries of a hop before
//! (`Forwarded`, RFC 7239, or `X-Forwarded-Host` and `-Proto`) is taken from a trusted proxy alone: anybody else
//! could have another one's callbacks sent to itself.

use std::convert::Infallible;
use std::net::IpAddr;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{Extensions, HeaderMap, Uri, header};

use super::Edge;
use crate::config::PublicConfig;

/// Who sent a request: a client, or what stands between.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer(pub(super) IpAddr);

/// Scheme, name and port that the client used, if they can be known.
pub(super) struct Reached(pub(super) Option<String>);

impl FromRequestParts<Edge> for Reached {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, edge: &Edge) -> Result<Reached, Infallible> {
        let peer = parts.extensions.get::<Peer>().copied();
        let tls = edge.settings.certificate.is_some();
        Ok(Reached(reached(&edge.settings.public, tls, peer, &parts.uri, &parts.headers)))
    }
}

/// Whether the client reached this node by TLS, or what stands before it.
#[derive(Clone, Copy)]
pub(super) struct ByTls(pub(super) bool);

impl FromRequestParts<Edge> for ByTls {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, edge: &Edge) -> Result<ByTls, Infallible> {
        Ok(ByTls(by_tls(edge, &parts.extensions, &parts.uri, &parts.headers)))
    }
}

/// Whether the client reached this node by TLS, or what stands before it.
pub(super) fn by_tls(edge: &Edge, with: &Extensions, uri: &Uri, headers: &HeaderMap) -> bool {
    let (public, tls) = (&edge.settings.public, edge.settings.certificate.is_some());
    let address = reached(public, tls, with.get::<Peer>().copied(), uri, headers);
    address.map_or(tls, |address| address.starts_with("https://"))
}

pub(super) fn reached(
    public: &PublicConfig,
    tls: bool,
    peer: Option<Peer>,
    uri: &Uri,
    headers: &HeaderMap,
) -> Option<String> {
    if let Some(url) = &public.url {
        return Some(url.clone());
    }
    // The line that was added last is the nearest hop's.
    let text =
        |name: &str| headers.get_all(name).iter().next_back().and_then(|value| value.to_str().ok());
    let direct =
        uri.authority().map(|authority| authority.as_str()).or(text(header::HOST.as_str()));
    let trusted = peer.is_some_and(|Peer(peer)| {
        let peer = peer.to_canonical();
        public.proxies.iter().any(|network| network.contains(&peer))
    });
    let (host, scheme) = match trusted {
        false => (None, None),
        // What a proxy does not set itself it passes on as its client wrote it: one that sets any of the others is
        // not one that sets this.
        true => match (text("x-forwarded-host"), text("x-forwarded-proto"), text("forwarded")) {
            (None, None, Some(hops)) => (member(hops, "host"), member(hops, "proto")),
            (host, proto, _) => (host.and_then(last), proto.and_then(last)),
        },
    };
    let scheme = match scheme {
        Some(scheme) if scheme.eq_ignore_ascii_case("https") => "https",
        Some(_) => "http",
        None if tls => "https",
        None => "http",
    };
    let base = format!("{scheme}://{}", host.or(direct)?);
    // No more than a name and a port.
    let url = reqwest::Url::parse(&base).ok()?;
    let is_bare = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
    (is_bare && url.username().is_empty()).then_some(base)
}

/// What the nearest hop added: what stands before it, a client may have written.
fn last(hops: &str) -> Option<&str> {
    hops.rsplit(',').next().map(str::trim).filter(|hop| !hop.is_empty())
}

fn member<'h>(hops: &'h str, name: &str) -> Option<&'h str> {
    let pairs = last(hops)?.split(';').filter_map(|pair| pair.split_once('='));
    let found = pairs.into_iter().find(|(given, _)| given.trim().eq_ignore_ascii_case(name));
    found.map(|(_, value)| value.trim().trim_matches('"'))
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn check(peer: [u8; 4], given: &[(&'static str, &'static str)], expected: Option<&str>) {
        let mut headers = HeaderMap::new();
        for (name, value) in given {
            headers.insert(*name, HeaderValue::from_static(value));
        }
        let (public, uri) = (PublicConfig::default(), Uri::from_static("/v1/stream/a"));
        let found = reached(&public, false, Some(Peer(peer.into())), &uri, &headers);
        assert_eq!(found.as_deref(), expected, "{given:?}");
    }

    #[test]
    fn what_was_forwarded_is_taken_from_a_trusted_proxy_alone() {
        let (proxy, other) = ([127, 0, 0, 1], [192, 0, 2, 1]);
        let host = ("host", "node:4437");
        let proto = ("x-forwarded-proto", "https");
        check(proxy, &[host], Some("http://node:4437"));
        check(proxy, &[host, proto], Some("https://node:4437"));
        check(other, &[host, proto], Some("http://node:4437"));
        let named = ("x-forwarded-host", "evil.example, chat.example");
        check(proxy, &[host, named, proto], Some("https://chat.example"));
        check(other, &[host, named, proto], Some("http://node:4437"));
        let hops = ("forwarded", "host=evil.example, for=1;Proto=https;host=\"chat.example:8443\"");
        check(proxy, &[host, hops], Some("https://chat.example:8443"));
        check(other, &[host, hops], Some("http://node:4437"));
        check(proxy, &[host, hops, proto], Some("https://node:4437"));
        check(proxy, &[host, ("x-forwarded-host", "a/b?c")], None);
        check(proxy, &[], None);
    }

    #[test]
    fn a_configured_address_is_the_one() {
        let public =
            PublicConfig { url: Some("https://chat.example".into()), ..Default::default() };
        let mut headers = HeaderMap::new();
        headers.insert("host", HeaderValue::from_static("evil.example"));
        let found = reached(&public, false, None, &Uri::from_static("/a"), &headers);
        assert_eq!(found.as_deref(), Some("https://chat.example"));
        let found =
            reached(&PublicConfig::default(), true, None, &Uri::from_static("/a"), &headers);
        assert_eq!(found.as_deref(), Some("https://evil.example"), "it is served by TLS");
    }
}
