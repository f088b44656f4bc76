//! Variables that Kubernetes sets in every container for each Service: they are no settings of ours, and look as
//! if they were where a Service is called `outlive`, or `outlive-` and more.

/// Whether the variable describes a Service; `all` are the names of all variables.
pub(super) fn is_of_service(name: &str, all: &[String]) -> bool {
    let Some(rest) = name.strip_prefix("OUTLIVE_") else { return false };
    // The Service may have more words in its name.
    let starts = std::iter::once(0).chain(rest.match_indices('_').map(|(at, _)| at + 1));
    let mut splits = starts.map(|at| rest.split_at(at));
    splits.any(|(words, end)| is_end(end) && (words.is_empty() || is_service(words, all)))
}

/// What follows the Service's name.
fn is_end(end: &str) -> bool {
    let is_name = |text: &str| {
        let plain = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
        !text.is_empty() && text.bytes().all(plain)
    };
    matches!(end, "SERVICE_HOST" | "SERVICE_PORT" | "PORT")
        || end.strip_prefix("SERVICE_PORT_").is_some_and(is_name)
        || end.strip_prefix("PORT_").is_some_and(is_port)
}

/// `4437_TCP`, or that and one more word.
fn is_port(text: &str) -> bool {
    let words: Vec<&str> = text.split('_').collect();
    let (number, protocol, what) = match *words {
        [number, protocol] => (number, protocol, "ADDR"),
        [number, protocol, what] => (number, protocol, what),
        _ => return false,
    };
    number.parse::<u16>().is_ok()
        && matches!(protocol, "TCP" | "UDP" | "SCTP")
        && matches!(what, "PROTO" | "PORT" | "ADDR")
}

/// Whether there is a Service of that name: a misspelt setting is still found.
fn is_service(words: &str, all: &[String]) -> bool {
    all.contains(&format!("OUTLIVE_{words}SERVICE_HOST"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_kubernetes_tells_of_a_service_is_no_setting_and_a_misspelt_setting_is_one() {
        let misspelt = |names: &[&str]| {
            let all: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            all.iter().filter(|name| !is_of_service(name, &all)).cloned().collect::<Vec<_>>()
        };
        let of = |service: &str| {
            let ends = [
                "SERVICE_HOST",
                "SERVICE_PORT",
                "SERVICE_PORT_HTTP",
                "PORT",
                "PORT_4437_TCP",
                "PORT_4437_TCP_PROTO",
                "PORT_4437_TCP_PORT",
                "PORT_4437_TCP_ADDR",
                "PORT_4438_UDP",
            ];
            ends.map(|end| format!("OUTLIVE_{service}{end}"))
        };
        for service in ["", "PEERS_", "CHAT_V2_"] {
            let names = of(service);
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            assert_eq!(misspelt(&names), Vec::<String>::new(), "{service}");
        }
        for name in [
            "OUTLIVE_LISTNE",
            "OUTLIVE_SERVICE",
            "OUTLIVE_SERVICE_HOSTS",
            "OUTLIVE_SERVICE_PORT_",
            "OUTLIVE_PORT_TCP",
            "OUTLIVE_PORT_4437_HTTP",
            "OUTLIVE_PORT_4437_TCP_X",
            "OUTLIVE_PORT_99999_TCP",
            "OUTLIVE_LISTEN_PORT",
            "OUTLIVE_PEER_SERVICE_PORT",
        ] {
            assert_eq!(misspelt(&[name, "OUTLIVE_SERVICE_HOST"]), [name]);
        }
    }
}
