//! Who may come in: the demo kills processes, so it obeys its own page alone.
//!
//! The page is served on loopback only. Another web page in the same browser can send requests here
//! too; it cannot read the key that stands in ours, name our origin as its own, or, by a name of its
//! own for this address, be called by our host.

use hyper::header::{self, HeaderMap};
use rand::Rng;

/// The header that carries the key.
const KEY: &str = "x-demo-key";

/// The port and the key of one run.
pub(super) struct Door {
    port: u16,
    pub(super) key: String,
}

impl Door {
    pub(super) fn new(port: u16) -> Door {
        Door { port, key: format!("{:032x}", rand::rng().random::<u128>()) }
    }

    /// Whether a request was meant for this server under a name that is ours.
    pub(super) fn knows_host(&self, headers: &HeaderMap) -> bool {
        let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
        host.is_some_and(|host| self.names().iter().any(|name| host.eq_ignore_ascii_case(name)))
    }

    /// Whether a request that changes something comes from our page.
    pub(super) fn lets_in(&self, headers: &HeaderMap) -> bool {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let origin = text("origin").and_then(|origin| origin.strip_prefix("http://"));
        let ours = origin.is_some_and(|origin| self.names().iter().any(|name| origin == name));
        let key = text(KEY).unwrap_or_default();
        ours && self.knows_host(headers) && key == self.key
    }

    fn names(&self) -> [String; 2] {
        ["127.0.0.1", "localhost"].map(|name| format!("{name}:{}", self.port))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_page_with_the_key_is_let_in() {
        let door = Door::new(4400);
        let lets_in = |host: &str, origin: Option<&str>, key: &str| {
            let mut headers = HeaderMap::new();
            headers.insert("host", host.parse().unwrap());
            headers.insert("x-demo-key", key.parse().unwrap());
            if let Some(origin) = origin {
                headers.insert("origin", origin.parse().unwrap());
            }
            door.lets_in(&headers)
        };
        let ours = Some("http://127.0.0.1:4400");
        assert!(lets_in("127.0.0.1:4400", ours, &door.key));
        assert!(lets_in("localhost:4400", Some("http://localhost:4400"), &door.key));
        assert!(!lets_in("127.0.0.1:4400", ours, "0"));
        assert!(!lets_in("127.0.0.1:4400", ours, ""));
        assert!(!lets_in("127.0.0.1:4400", None, &door.key));
        assert!(!lets_in("127.0.0.1:4400", Some("http://evil.example"), &door.key));
        assert!(!lets_in("127.0.0.1:4400", Some("http://127.0.0.1:4401"), &door.key));
        // A foreign name that was made to lead here.
        assert!(!lets_in("evil.example:4400", Some("http://evil.example:4400"), &door.key));
    }
}
