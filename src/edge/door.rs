//! Who may come in while there are no keys: programs, and pages of this node or of allowed origins.
//!
//! A web page can make its visitor's browser send requests to whatever the machine reaches, this node too. A
//! browser tells the page's origin, which is held against a list; and a page cannot call this node its own by
//! a name that was made to lead here (DNS rebinding), because the node answers to its own names alone. A
//! program tells no origin, and comes in as ever. Addresses, and names without a dot, are in nobody's zone: no
//! stranger makes them lead here.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use axum::http::{HeaderMap, HeaderName, HeaderValue, Uri, header};

use super::error::{self, Problem};
use crate::config::{AllowedHost, AllowedOrigin, Member};

/// Says how a page that asks stands to this node (Fetch Metadata).
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

/// Whether an answer may be read by the page that asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Readable {
    /// No page asked, as far as is known.
    Unasked,
    ByAll,
    By(HeaderValue),
}

impl Door {
    /// The door of a node that listens at `listen`, is one of `members`, and may be called and asked as is allowed
    /// beside that.
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

    /// Looks at who asks, for what, and under which name.
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
        if self.allows_all() {
            return Ok(Readable::ByAll);
        }
        let origin = given.to_str().ok().filter(|_| origins.next().is_none());
        let allowed = origin.is_some_and(|origin| self.allows(origin, called.as_ref()));
        if allowed { Ok(Readable::By(given.clone())) } else { Err(foreign(origin.unwrap_or("?"))) }
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

/// Whether a browser says that a page of another site asks, and not because a person went there.
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
    fn an_operator_may_open_it_to_all() {
        let door = door(&["*"], &["*"]);
        let given = [("host", "any.example"), ("origin", "https://other.example")];
        assert_eq!(look(&door, &given), Ok(Readable::ByAll));
        assert_eq!(look(&door, &[("sec-fetch-site", "cross-site")]), Ok(Readable::Unasked));
    }
}
