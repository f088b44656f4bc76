//! Whom a certificate identifies: the SAN URI `spiffe://outlive/<cluster>/node/<id>`.

use std::fmt;

use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use crate::ids::NodeId;

const PREFIX: &str = "spiffe://outlive/";

/// A node of a cluster, as its certificate names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) cluster: String,
    pub(super) node: NodeId,
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}/node/{}", self.cluster, self.node.0)
    }
}

impl Identity {
    /// The one identity that the certificate `der` names.
    ///
    /// # Errors
    /// The text gives what is wrong with the certificate.
    pub(super) fn of_certificate(der: &[u8]) -> Result<Identity, String> {
        let (_, certificate) =
            X509Certificate::from_der(der).map_err(|error| format!("no certificate: {error}"))?;
        let names = certificate
            .subject_alternative_name()
            .map_err(|error| format!("the certificate's names do not parse: {error}"))?
            .ok_or("the certificate names no node")?;
        let mut uris = names.value.general_names.iter().filter_map(|name| match name {
            GeneralName::URI(uri) => Some(*uri),
            _ => None,
        });
        match (uris.next(), uris.next()) {
            (Some(uri), None) => Identity::parse(uri),
            _ => Err("the certificate does not name exactly one node".into()),
        }
    }

    fn parse(uri: &str) -> Result<Identity, String> {
        let parts = uri.strip_prefix(PREFIX).and_then(|rest| rest.split_once("/node/"));
        let Some((cluster, node)) = parts else {
            return Err(format!("{uri:?} names no node"));
        };
        check_cluster(cluster)?;
        match node.parse() {
            // Only the shortest spelling of a number, so that one node has one name.
            Ok(id) if u64::to_string(&id) == node => {
                Ok(Identity { cluster: cluster.into(), node: NodeId(id) })
            }
            _ => Err(format!("{uri:?} has no node id")),
        }
    }
}

/// Checks whether `cluster` can stand in a certificate: letters, digits, `.`, `_`, `-`; 1 to 128 bytes.
pub(super) fn check_cluster(cluster: &str) -> Result<(), String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    if cluster.is_empty() || 128 < cluster.len() || !cluster.bytes().all(plain) {
        return Err(format!("{cluster:?} is no cluster id"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_reads_back_as_it_is_written() {
        let identity = Identity { cluster: "blue-1".into(), node: NodeId(3) };
        assert_eq!(identity.to_string(), "spiffe://outlive/blue-1/node/3");
        assert_eq!(Identity::parse(&identity.to_string()), Ok(identity));
    }

    #[test]
    fn other_names_are_no_identity() {
        for uri in [
            "spiffe://other/blue/node/3",
            "spiffe://outlive/blue/node/",
            "spiffe://outlive/blue/node/+3",
            "spiffe://outlive/blue/node/03",
            "spiffe://outlive//node/3",
            "spiffe://outlive/a/b/node/3",
            "spiffe://outlive/blue/node/3/node/4",
        ] {
            assert!(Identity::parse(uri).is_err(), "{uri}");
        }
    }
}
