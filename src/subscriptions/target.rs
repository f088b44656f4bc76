//! Where webhooks may go: never to what only this machine or its network should reach.
//!
//! Names are looked up here and connected to by the address that was checked, so a name that changes
//! its mind in between gains nothing.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use reqwest::Url;
use tokio::net::lookup_host;

use crate::config::WebhookReach;

/// A webhook's URL, taken apart.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) url: Url,
    /// As in the URL, without brackets.
    pub(super) host: String,
    port: u16,
    reach: WebhookReach,
}

/// Why nothing is sent there.
#[derive(Debug, thiserror::Error)]
pub(super) enum BadTarget {
    #[error("the URL cannot be understood: {0}")]
    Url(&'static str),
    #[error("the URL leads to an address that webhooks may not reach")]
    Forbidden,
    #[error("the name has no address: {0}")]
    Unknown(std::io::Error),
}

impl Target {
    /// Takes the URL apart, and refuses addresses that are written out.
    pub(super) fn parse(text: &str, reach: WebhookReach) -> Result<Target, BadTarget> {
        let url = Url::parse(text).map_err(|_| BadTarget::Url("it is none"))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(BadTarget::Url("it must begin with http or https"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(BadTarget::Url("it must have no user"));
        }
        let host = url.host_str().ok_or(BadTarget::Url("it names no host"))?;
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let port = url.port_or_known_default().ok_or(BadTarget::Url("it names no port"))?;
        if host.parse().is_ok_and(|address| !allows(reach, address)) {
            return Err(BadTarget::Forbidden);
        }
        Ok(Target { url, host, port, reach })
    }

    /// The addresses that may be connected to. One that is forbidden forbids all.
    pub(super) async fn addresses(&self) -> Result<Vec<SocketAddr>, BadTarget> {
        let found = lookup_host((self.host.as_str(), self.port)).await;
        let found: Vec<_> = found.map_err(BadTarget::Unknown)?.collect();
        if !found.iter().all(|address| allows(self.reach, address.ip())) {
            return Err(BadTarget::Forbidden);
        }
        Ok(found)
    }
}

/// Whether webhooks may go to the address.
fn allows(reach: WebhookReach, address: IpAddr) -> bool {
    let address = match address {
        IpAddr::V6(v6) => inner(v6).map_or(address, IpAddr::V4),
        IpAddr::V4(_) => address,
    };
    if address.is_loopback() {
        return reach != WebhookReach::Public;
    }
    match address {
        IpAddr::V4(v4) => match v4.octets() {
            // Metadata of clouds that is not link-local.
            [100, 100, 100, 200] | [168, 63, 129, 16] => false,
            [10, ..] | [192, 168, ..] | [172, 16..=31, ..] | [100, 64..=127, ..] => {
                reach == WebhookReach::Private
            }
            // This network, link-local, protocol assignments, documentation, benchmarks, multicast, future.
            [0, ..] | [169, 254, ..] | [192, 0, 0 | 2, _] | [198, 18..=19, ..] => false,
            [198, 51, 100, _] | [203, 0, 113, _] | [224..=255, ..] => false,
            _ => true,
        },
        IpAddr::V6(v6) => match v6.segments() {
            // Metadata of a cloud inside the private range.
            [0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254] => false,
            [0xfc00..=0xfdff, ..] => reach == WebhookReach::Private,
            // Only global unicast is left, without documentation and tunnels that hide another address.
            [0x2001, 0xdb8 | 0, ..] | [0x2002, ..] => false,
            [first, ..] => (0x2000..0x4000).contains(&first),
        },
    }
}

/// The IPv4 address that an IPv6 address stands for.
fn inner(v6: Ipv6Addr) -> Option<Ipv4Addr> {
    match v6.segments() {
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => {
            let bits = u32::from(high) << 16 | u32::from(low);
            Some(Ipv4Addr::from_bits(bits))
        }
        _ => v6.to_ipv4_mapped(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_public_is_reached_only_where_it_may_be() {
        use WebhookReach::{Loopback, Private, Public};
        let parse = |text: &str, reach| Target::parse(text, reach).is_ok();
        for (text, wanted) in [
            ("http://8.8.8.8/x", [true, true, true]),
            ("https://example.org:8443/x", [true, true, true]),
            ("https://[2606:4700::1111]/", [true, true, true]),
            ("http://127.0.0.1:80", [false, true, true]),
            ("http://2130706433/", [false, true, true]),
            ("http://[::1]/", [false, true, true]),
            ("http://[::ffff:127.0.0.1]/", [false, true, true]),
            ("http://10.0.0.1/hook", [false, false, true]),
            ("http://172.31.0.1/", [false, false, true]),
            ("http://192.168.1.1/", [false, false, true]),
            ("http://100.64.0.1/", [false, false, true]),
            ("http://[fd00::1]/", [false, false, true]),
            ("http://[64:ff9b::a00:1]/", [false, false, true]),
            ("http://169.254.169.254/latest", [false, false, false]),
            ("http://[::ffff:169.254.169.254]/", [false, false, false]),
            ("http://[fd00:ec2::254]/", [false, false, false]),
            ("http://[fe80::1]/", [false, false, false]),
            ("http://[ff02::1]/", [false, false, false]),
            ("http://[::]/", [false, false, false]),
            ("http://0.0.0.0/", [false, false, false]),
            ("http://224.0.0.1/", [false, false, false]),
            ("http://255.255.255.255/", [false, false, false]),
            ("ftp://8.8.8.8/", [false, false, false]),
            ("http://a:b@8.8.8.8/", [false, false, false]),
            ("8.8.8.8", [false, false, false]),
        ] {
            let shown = [Public, Loopback, Private].map(|reach| parse(text, reach));
            assert_eq!(shown, wanted, "{text}");
        }
    }

    #[tokio::test]
    async fn a_name_is_judged_by_its_addresses() {
        let local = |reach| Target::parse("http://localhost:1/", reach).unwrap();
        let found = local(WebhookReach::Public).addresses().await;
        assert!(matches!(found, Err(BadTarget::Forbidden)), "{found:?}");
        assert!(!local(WebhookReach::Loopback).addresses().await.unwrap().is_empty());
    }
}
