//! The nodes of a cluster, as an operator names them: `ID=HOST:PORT@HTTPURL`.

use std::collections::BTreeSet;
use std::str::FromStr;

use super::{BadServeConfig, bad};

/// One node as its peers and clients reach it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    pub id: u64,
    /// `HOST:PORT` for peers.
    pub peer: String,
    /// URL for clients, without a slash at the end.
    pub http: String,
}

/// All members, in order of their ids.
///
/// # Errors
/// One is given twice, or is not of the form.
pub(super) fn members(texts: &[String]) -> Result<Vec<Member>, BadServeConfig> {
    let mut members = texts.iter().map(|text| text.parse()).collect::<Result<Vec<Member>, _>>()?;
    members.sort_by_key(|member| member.id);
    let (mut ids, mut peers) = (BTreeSet::new(), BTreeSet::new());
    for member in &members {
        if !ids.insert(member.id) || !peers.insert(&member.peer) {
            return bad(format!("member {} is given twice", member.id));
        }
    }
    Ok(members)
}

impl Member {
    /// Whether peers can be reached at `text`: a host and a port.
    pub fn is_peer_address(text: &str) -> bool {
        let port = text.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse().ok()?)));
        port.is_some_and(|(host, port): (&str, u16)| !host.is_empty() && port != 0)
    }

    /// Whether clients can be sent to `text`.
    pub fn is_client_url(text: &str) -> bool {
        text.starts_with("http://") || text.starts_with("https://")
    }
}

impl FromStr for Member {
    type Err = BadServeConfig;

    fn from_str(text: &str) -> Result<Member, BadServeConfig> {
        let parts = text.split_once('=').and_then(|(id, rest)| {
            let (peer, http) = rest.split_once('@')?;
            Some((id.parse::<u64>().ok()?, peer, http))
        });
        let Some((id, peer, http)) = parts else {
            return bad(format!("member {text:?} is not of the form ID=HOST:PORT@HTTPURL"));
        };
        if id == 0 || !Member::is_peer_address(peer) {
            return bad(format!("member {text:?} needs an id from 1 and a port"));
        }
        if !Member::is_client_url(http) {
            return bad(format!("member {text:?} needs a URL that begins with http"));
        }
        Ok(Member { id, peer: peer.to_owned(), http: http.trim_end_matches('/').to_owned() })
    }
}
