//! Names under which a node may be called, and origins of pages that may send it requests, beside its own.

use std::str::FromStr;

use super::BadServeConfig;

/// A name, `*.` and the end of one, or `*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AllowedHost {
    All,
    /// In small letters, without a port.
    One(String),
    /// A dot and what follows it.
    Below(String),
}

/// The origin of a page (RFC 6454), or `*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AllowedOrigin {
    All,
    /// Of a page for which a browser sends no origin: a file, or in a sandbox.
    Null,
    One {
        scheme: &'static str,
        /// In small letters.
        host: String,
        port: u16,
        /// The port where none is given.
        usual: u16,
    },
}

impl AllowedHost {
    /// Whether it allows a name that is given in small letters.
    pub fn fits(&self, name: &str) -> bool {
        match self {
            AllowedHost::All => true,
            AllowedHost::One(own) => own == name,
            AllowedHost::Below(end) => name.ends_with(end) && end.len() < name.len(),
        }
    }
}

impl FromStr for AllowedHost {
    type Err = BadServeConfig;

    fn from_str(text: &str) -> Result<AllowedHost, BadServeConfig> {
        let name = text.to_ascii_lowercase();
        if name == "*" {
            return Ok(AllowedHost::All);
        }
        let (below, rest) = match name.strip_prefix("*.") {
            Some(rest) => (true, rest),
            None => (false, name.as_str()),
        };
        if !is_name(rest) {
            return super::bad(format!(
                "allow_host {text:?} is not a name without a port, *.NAME or *"
            ));
        }
        Ok(if below { AllowedHost::Below(format!(".{rest}")) } else { AllowedHost::One(name) })
    }
}

impl FromStr for AllowedOrigin {
    type Err = BadServeConfig;

    fn from_str(text: &str) -> Result<AllowedOrigin, BadServeConfig> {
        match text {
            "*" => return Ok(AllowedOrigin::All),
            "null" => return Ok(AllowedOrigin::Null),
            _ => {}
        }
        let parsed = || {
            let (scheme, rest) = text.split_once("://")?;
            let (scheme, usual) = match scheme.to_ascii_lowercase().as_str() {
                "http" => ("http", 80),
                "https" => ("https", 443),
                _ => return None,
            };
            let rest = rest.to_ascii_lowercase();
            let end = rest.rfind(']').map_or(0, |end| end + 1);
            let (host, port) = match rest[end..].find(':') {
                Some(at) => (&rest[..end + at], rest[end + at + 1..].parse().ok()?),
                None => (rest.as_str(), usual),
            };
            let literal = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
            let is_host = match literal {
                Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
                None => is_name(host),
            };
            is_host.then(|| AllowedOrigin::One { scheme, host: host.to_owned(), port, usual })
        };
        parsed().map_or_else(
            || {
                super::bad(format!(
                    "allow_origin {text:?} is not of the form http://NAME:PORT, null or *"
                ))
            },
            Ok,
        )
    }
}

fn is_name(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    !text.is_empty() && text.bytes().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_origins_are_understood_whole_or_refused() {
        for text in ["", "a:80", "http://a", "*.", "a/b", "*a"] {
            assert!(text.parse::<AllowedHost>().is_err(), "{text:?}");
        }
        for text in ["", "a", "ftp://a", "http://", "http://a/", "http://a:x", "http://a b"] {
            assert!(text.parse::<AllowedOrigin>().is_err(), "{text:?}");
        }
        let one = |text: &str| text.parse::<AllowedOrigin>().unwrap();
        assert_eq!(one("HTTPS://App.example"), one("https://app.example:443"));
        assert_ne!(one("http://app.example"), one("https://app.example"));
        assert_eq!(one("http://[::1]"), one("http://[::1]:80"));
    }
}
