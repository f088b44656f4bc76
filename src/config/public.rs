//! At which address clients reach a node that stands behind something else.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use reqwest::Url;

use super::{AllowedHost, AllowedOrigin, BadServeConfig, bad};

/// Where clients reach this node, as far as it is known before they do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicConfig {
    /// Scheme, name and port, without a path; else what requests carry.
    pub url: Option<String>,
    /// Whose headers are trusted about that: those behind which this node stands.
    pub proxies: Vec<IpNet>,
}

impl Default for PublicConfig {
    /// A proxy on the same machine is trusted.
    fn default() -> PublicConfig {
        PublicConfig { url: None, proxies: loopback().to_vec() }
    }
}

fn loopback() -> [IpNet; 2] {
    let loopback = IpNet::new_assert(IpAddr::from(Ipv4Addr::new(127, 0, 0, 0)), 8);
    [loopback, IpAddr::from(Ipv6Addr::LOCALHOST).into()]
}

/// What was given; a URL is a name under which this node may be called, and an origin whose pages may send it
/// requests.
pub(super) fn check(
    url: Option<&str>,
    proxies: &[String],
    (hosts, origins): (&mut Vec<AllowedHost>, &mut Vec<AllowedOrigin>),
) -> Result<PublicConfig, BadServeConfig> {
    let mut public = PublicConfig::default();
    if let Some(text) = url {
        let parsed = Url::parse(text).ok().filter(is_bare);
        let Some(parsed) = parsed else {
            return bad(format!("public_url {text:?} is not http://NAME or https://NAME"));
        };
        let origin = parsed.origin().ascii_serialization();
        hosts.extend(parsed.host_str().and_then(|host| host.parse().ok()));
        origins.push(origin.parse()?);
        public.url = Some(origin);
    }
    if !proxies.is_empty() {
        let networks = proxies.iter().map(|text| networks(text)).collect::<Result<Vec<_>, _>>()?;
        public.proxies = networks.concat();
    }
    Ok(public)
}

fn is_bare(url: &Url) -> bool {
    let is_web = matches!(url.scheme(), "http" | "https") && url.has_host();
    let has_more = url.path() != "/" || url.query().is_some() || url.fragment().is_some();
    is_web && !has_more && url.username().is_empty() && url.password().is_none()
}

fn networks(text: &str) -> Result<Vec<IpNet>, BadServeConfig> {
    if text == "loopback" {
        return Ok(loopback().to_vec());
    }
    let one = || text.parse::<IpAddr>().ok().map(IpNet::from);
    let network = text.parse().ok().or_else(one);
    let network = network.ok_or_else(|| {
        BadServeConfig(format!(
            "trust_proxy {text:?} is not an address, a network, as 10.0.0.0/8, or loopback"
        ))
    })?;
    Ok(vec![network])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_public_url_is_a_name_of_the_node_and_nothing_more() {
        let (mut hosts, mut origins) = (Vec::new(), Vec::new());
        let mut given = |url| check(Some(url), &[], (&mut hosts, &mut origins));
        assert_eq!(given("https://Chat.example/").unwrap().url.unwrap(), "https://chat.example");
        for url in ["chat.example", "ftp://h", "https://h/a", "https://h?a", "https://u@h"] {
            assert!(given(url).is_err(), "{url}");
        }
        assert_eq!((hosts.len(), origins.len()), (1, 1));
        assert!(hosts[0].fits("chat.example"));
    }

    #[test]
    fn proxies_are_addresses_and_networks() {
        let given = |texts: &[&str]| {
            let texts: Vec<_> = texts.iter().map(|text| (*text).to_owned()).collect();
            check(None, &texts, (&mut Vec::new(), &mut Vec::new())).map(|public| public.proxies)
        };
        let found = given(&["10.0.0.0/8", "fd00::1"]).unwrap();
        assert!(found[0].contains(&IpAddr::from([10, 1, 2, 3])));
        assert!(!found.iter().any(|net| net.contains(&IpAddr::from([127, 0, 0, 1]))));
        assert!(given(&[]).unwrap()[0].contains(&IpAddr::from([127, 0, 0, 1])));
        assert_eq!(given(&["loopback", "fd00::1"]).unwrap().len(), 3);
        assert!(given(&["10.0.0.0/33"]).is_err() && given(&["proxy"]).is_err());
    }
}
