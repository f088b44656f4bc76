//! Who may come in, whatever keys there are: programs, and pages of this node or of allowed origins.
//!
//! A web page can make its visitor's browser send requests to whatever the machine reaches, this node too. A
//! browser sends the page's origin, which is held against a list; and a page cannot call this node its own by
//! a name that was made to lead here (DNS rebinding), because the node answers to its own names alone. A
//! program sends no origin, and comes in as ever. Addresses, and names without a dot, are in no DNS zone: no
//! stranger makes them lead here.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use axum::http::{HeaderMap, HeaderName, HeaderValue, Uri, header};

use super::error::{self, Problem};
use crate::config::{AllowedHost, AllowedOrigin, Member};

/// The header with how the page of a request stands to this node (Fetch Metadata).
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const SEC_FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");

/// Names and origins of one node.
#[derive(Clone, Debug)]
pub struct Door {
    /// Where this node listens.
    port: u16,
    /// In small letters.
    names: BTreeSet<String>,
    hosts: Vec<AllowedHost>,
    origins: Vec<AllowedOrigin>,
}

/// Whether an answer may be read by the page that sent the request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Readable {
    /// No page sent the request, as far as is known.
    Unasked,
    ByAll,
    By(HeaderValue),
}

impl Door {
    /// The door of a node that listens at `listen`, is one of `members`, and may be called and sent requests as is
    /// allowed beside that.
    pub fn new(
        listen: SocketAddr,
        members: &[Member],
        hosts: &[AllowedHost],
        origins: &[AllowedOrigin],
    ) -> Door {
        let mut names: BTreeSet<String> = own_name().into_iter().collect();
        let mut origins = origins.to_vec();
        for member in members {
            names.extend(
                [
                    host_of(&member.peer),
                    member
                        .http
                        .split("://")
                        .nth(1)
                        .and_then(|rest| host_of(rest.split('/').next().unwrap_or(rest))),
                ]
                .into_iter()
                .flatten()
                .map(|(name, _)| name),
            );
            origins.extend(member.http.parse().ok());
        }
        Door { port: listen.port(), names, hosts: hosts.to_vec(), origins }
    }

    /// Looks at who sends a request, for what, and under which name.
    ///
    /// # Errors
    /// It may not; nothing is to happen.
    pub(super) fn look(&self, uri: &Uri, headers: &HeaderMap) -> Result<Readable, Problem> {
        let hosts = headers.get_all(header::HOST).iter().map(|host| host.to_str().ok());
        let mut called = None;
        for host in hosts.chain(uri.authority().map(|authority| Some(authority.as_str()))) {
            let known = host.and_then(host_of).filter(|(name, _)| self.knows(name));
            called = Some(known.ok_or_else(|| stranger(host.unwrap_or("?")))?);
        }
        let mut origins = headers.get_all(header::ORIGIN).iter();
        let Some(given) = origins.next() else {
            return match is_foreign(headers) && !self.allows_all() {
                true => Err(foreign("of another site")),
                false => Ok(Readable::Unasked),
            };
        };
        let origin = given.to_str().ok().filter(|_| origins.next().is_none());
        if origin.is_some_and(|origin| self.allows(origin, called.as_ref())) {
            return Ok(Readable::By(given.clone()));
        }
        match self.allows_all() {
            true => Ok(Readable::ByAll),
            false => Err(foreign(origin.unwrap_or("?"))),
        }
    }

    /// Whether it is a page of this node, or of an origin that is allowed by name, whose request a browser sends:
    /// from such alone a cookie is taken, which a browser sends for any page.
    ///
    /// Where the node is reached by TLS, a page of its own is one that came by TLS. A page that reads from its own node
    /// names no origin, and is known by Fetch Metadata; whatever changes something names one.
    pub(super) fn vouches(
        &self,
        uri: &Uri,
        headers: &HeaderMap,
        (by_tls, reads): (bool, bool),
    ) -> bool {
        let mut origins = headers.get_all(header::ORIGIN).iter();
        let Some(given) = origins.next() else {
            let site = headers.get(SEC_FETCH_SITE);
            return reads && site.is_some_and(|site| site == "same-origin" || site == "none");
        };
        let text = given.to_str().ok().filter(|_| origins.next().is_none());
        let origin = text.and_then(|text| text.parse::<AllowedOrigin>().ok());
        let Some(AllowedOrigin::One { scheme, host, port, usual }) = &origin else {
            // `null` is any page in a sandbox.
            return false;
        };
        if origin.as_ref().is_some_and(|origin| self.origins.contains(origin)) {
            return true;
        }
        let host_header = headers.get(header::HOST).and_then(|host| host.to_str().ok());
        let called = host_header.or(uri.authority().map(|authority| authority.as_str()));
        let Some((name, at)) = called.and_then(host_of) else { return false };
        let here = name == *host && at.unwrap_or(*usual) == *port;
        let beside = is_loopback(&name) && is_loopback(host) && *port == self.port;
        (here || beside) && (!by_tls || *scheme == "https")
    }

    fn allows_all(&self) -> bool {
        self.origins.contains(&AllowedOrigin::All)
    }

    /// Whether this node may be called so.
    fn knows(&self, name: &str) -> bool {
        is_loopback(name)
            || address(name).is_some()
            || !name.contains('.')
            || self.names.contains(name)
            || self.hosts.iter().any(|host| host.fits(name))
    }

    fn allows(&self, text: &str, called: Option<&(String, Option<u16>)>) -> bool {
        let Ok(origin) = text.parse::<AllowedOrigin>() else { return false };
        if self.origins.contains(&origin) {
            return true;
        }
        let AllowedOrigin::One { host, port, usual, .. } = origin else { return false };
        let own = called.is_some_and(|(name, at)| *name == host && at.unwrap_or(usual) == port);
        own || (is_loopback(&host) && port == self.port)
    }
}

/// Whether a browser reports that a page of another site sends the request, and not because a person went there.
fn is_foreign(headers: &HeaderMap) -> bool {
    let is = |name: &HeaderName, words: &[&str]| {
        headers.get(name).is_some_and(|value| words.iter().any(|word| value == word))
    };
    is(&SEC_FETCH_SITE, &["cross-site", "same-site"]) && !is(&SEC_FETCH_MODE, &["navigate"])
}

fn stranger(name: &str) -> Problem {
    let detail = format!("this node is not called {name:?}; --allow-host allows more names");
    Problem::new(&error::HOST_NOT_ALLOWED, detail)
}

fn foreign(origin: &str) -> Problem {
    let detail = format!("pages {origin:?} may not ask; --allow-origin allows more origins");
    Problem::new(&error::ORIGIN_NOT_ALLOWED, detail)
}

/// Name and port of `NAME`, `NAME:PORT` or `[ADDRESS]:PORT`, the name in small letters.
fn host_of(text: &str) -> Option<(String, Option<u16>)> {
    let (name, port) = match text.rfind(']') {
        Some(end) => (&text[..=end], text[end + 1..].strip_prefix(':')),
        None => text.split_once(':').map_or((text, None), |(name, port)| (name, Some(port))),
    };
    let port = match port {
        None | Some("") => None,
        Some(port) => Some(port.parse().ok()?),
    };
    let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    (!name.is_empty()).then_some((name, port))
}

fn address(name: &str) -> Option<IpAddr> {
    let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']'));
    bare.unwrap_or(name).parse().ok()
}

fn is_loopback(name: &str) -> bool {
    name == "localhost"
        || name.ends_with(".localhost")
        || address(name).is_some_and(|address| address.is_loopback())
}

/// The name of this machine.
fn own_name() -> Option<String> {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").ok()?;
    Some(name.trim().to_ascii_lowercase()).filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn door(hosts: &[&str], origins: &[&str]) -> Door {
        let member = Member {
            id: 1,
            peer: "outlive-0.outlive:4438".into(),
            http: "http://node-1.example:4437".into(),
        };
        let hosts: Vec<_> = hosts.iter().map(|text| text.parse().unwrap()).collect();
        let origins: Vec<_> = origins.iter().map(|text| text.parse().unwrap()).collect();
        Door::new(([127, 0, 0, 1], 4437).into(), &[member], &hosts, &origins)
    }

    fn look(door: &Door, given: &[(&'static str, &str)]) -> Result<Readable, &'static str> {
        let mut headers = HeaderMap::new();
        for (name, value) in given {
            headers.append(*name, value.parse().unwrap());
        }
        door.look(&Uri::from_static("/v1/sessions"), &headers).map_err(|why| why.kind().code)
    }

    #[test]
    fn a_node_answers_to_its_own_names_alone() {
        let door = door(&["chat.example", "*.internal"], &[]);
        for host in [
            "localhost:4437",
            "LocalHost",
            "a.localhost:1",
            "127.0.0.1:4437",
            "10.1.2.3",
            "[::1]:4437",
            "[fd00::1]",
            "outlive:4437",
            "outlive-0.outlive:4438",
            "node-1.example:4437",
            "chat.example",
            "chat.example.:443",
            "a.b.internal",
        ] {
            assert_eq!(look(&door, &[("host", host)]), Ok(Readable::Unasked), "{host}");
        }
        for host in [
            "evil.example:4437",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "a.chat.example",
            "a.evilinternal",
            "",
            ":4437",
            "localhost:x",
        ] {
            assert_eq!(look(&door, &[("host", host)]), Err("host_not_allowed"), "{host}");
        }
        assert_eq!(look(&door, &[]), Ok(Readable::Unasked), "HTTP/1.0 names nobody");
        let two = [("host", "localhost"), ("host", "evil.example")];
        assert_eq!(look(&door, &two), Err("host_not_allowed"));
        let absolute = Uri::from_static("http://evil.example/v1/sessions");
        let why = door.look(&absolute, &HeaderMap::new()).unwrap_err();
        assert_eq!(why.kind().code, "host_not_allowed");
    }

    #[test]
    fn a_page_comes_in_if_it_is_of_this_node_or_allowed() {
        let door =
            door(&["chat.example"], &["https://app.example", "http://localhost:3000", "null"]);
        for (host, origin) in [
            ("localhost:4437", "http://localhost:4437"),
            ("127.0.0.1:4437", "http://localhost:4437"),
            ("localhost:4437", "http://[::1]:4437"),
            ("10.0.0.1:80", "http://10.0.0.1"),
            ("chat.example", "https://chat.example"),
            ("localhost:4437", "https://app.example"),
            ("localhost:4437", "https://app.example:443"),
            ("localhost:4437", "http://localhost:3000"),
            ("localhost:4437", "http://node-1.example:4437"),
            ("localhost:4437", "null"),
        ] {
            let readable = look(&door, &[("host", host), ("origin", origin)]);
            assert_eq!(readable, Ok(Readable::By(origin.parse().unwrap())), "{host} {origin}");
        }
        for (host, origin) in [
            ("localhost:4437", "http://localhost:3001"),
            ("localhost:4437", "https://localhost"),
            ("localhost:4437", "https://evil.example"),
            ("localhost:4437", "http://app.example"),
            ("localhost:4437", "https://app.example.evil.example"),
            ("localhost:4437", "https://a.app.example"),
            ("127.0.0.1:4437", "http://10.0.0.1:4437"),
            ("chat.example", "https://chat.example:8443"),
            ("localhost:4437", "chrome-extension://abc"),
            ("localhost:4437", ""),
        ] {
            let found = look(&door, &[("host", host), ("origin", origin)]);
            assert_eq!(found, Err("origin_not_allowed"), "{host} {origin}");
        }
        let two = [("origin", "https://app.example"), ("origin", "https://evil.example")];
        assert_eq!(look(&door, &two), Err("origin_not_allowed"));
    }

    #[test]
    fn what_a_browser_fetches_for_another_site_is_refused_without_an_origin_too() {
        let door = door(&[], &[]);
        let fetched = |site: &'static str, mode: &'static str| {
            look(&door, &[("sec-fetch-site", site), ("sec-fetch-mode", mode)])
        };
        for (site, mode) in [("cross-site", "no-cors"), ("same-site", "no-cors")] {
            assert_eq!(fetched(site, mode), Err("origin_not_allowed"), "{site} {mode}");
        }
        for (site, mode) in
            [("cross-site", "navigate"), ("same-origin", "cors"), ("none", "navigate")]
        {
            assert_eq!(fetched(site, mode), Ok(Readable::Unasked), "{site} {mode}");
        }
    }

    #[test]
    fn a_cookie_is_taken_from_pages_of_this_node_and_of_origins_that_are_named() {
        let door = door(&["*"], &["*", "null", "https://app.example"]);
        let vouches = |given: &[(&'static str, &str)], how| {
            let mut headers = HeaderMap::new();
            for (name, value) in given {
                headers.append(*name, value.parse().unwrap());
            }
            door.vouches(&Uri::from_static("/v1/cookies"), &headers, how)
        };
        let (tls, plain, reads, changes) = (true, false, true, false);
        let host = ("host", "chat.example");
        for (given, how) in [
            (&[host, ("origin", "https://chat.example")][..], (tls, changes)),
            (&[host, ("origin", "http://chat.example")], (plain, changes)),
            (&[host, ("origin", "https://app.example")], (tls, changes)),
            (
                &[host, ("origin", "https://app.example"), ("sec-fetch-site", "cross-site")],
                (tls, reads),
            ),
            (&[host, ("origin", "http://node-1.example:4437")], (tls, changes)),
            (&[("host", "localhost:4437"), ("origin", "http://127.0.0.1:4437")], (plain, changes)),
            (&[host, ("sec-fetch-site", "same-origin")], (tls, reads)),
            (&[host, ("sec-fetch-site", "none")], (tls, reads)),
        ] {
            assert!(vouches(given, how), "{given:?}");
        }
        for (given, how) in [
            (&[host][..], (tls, reads)),
            (&[host], (plain, changes)),
            (&[host, ("sec-fetch-site", "same-origin")], (tls, changes)),
            (&[host, ("sec-fetch-site", "none")], (plain, changes)),
            (&[host, ("sec-fetch-site", "same-site")], (tls, reads)),
            (&[host, ("sec-fetch-site", "cross-site")], (tls, reads)),
            (&[host, ("origin", "http://chat.example")], (tls, changes)),
            (&[host, ("origin", "https://chat.example:8443")], (tls, changes)),
            (&[host, ("origin", "https://a.chat.example")], (tls, reads)),
            (
                &[host, ("origin", "https://evil.example"), ("sec-fetch-site", "same-origin")],
                (tls, reads),
            ),
            (
                &[host, ("origin", "https://app.example"), ("origin", "https://evil.example")],
                (tls, reads),
            ),
            (&[host, ("origin", "null")], (tls, reads)),
            (&[host, ("origin", "*")], (tls, reads)),
            (&[host, ("origin", "")], (tls, reads)),
            (&[host, ("origin", "http://localhost:4437")], (plain, changes)),
            (&[("host", "localhost:4437"), ("origin", "http://localhost:3000")], (plain, changes)),
            (&[("origin", "https://chat.example")], (tls, reads)),
        ] {
            assert!(!vouches(given, how), "{given:?} {how:?}");
        }
    }

    #[test]
    fn an_operator_may_open_it_to_all() {
        let door = door(&["*"], &["*"]);
        let given = [("host", "any.example"), ("origin", "https://other.example")];
        assert_eq!(look(&door, &given), Ok(Readable::ByAll));
        assert_eq!(look(&door, &[("sec-fetch-site", "cross-site")]), Ok(Readable::Unasked));
    }
}
