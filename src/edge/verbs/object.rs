//! A text that is one JSON object, read strictly.

use serde::Deserialize;

use super::super::error::Problem;
use super::turns::bad;

/// Takes a body that is one JSON object.
pub(in crate::edge) fn json<'b, T: Deserialize<'b>>(body: &'b [u8]) -> Result<T, Problem> {
    object(body).map_err(|why| bad(&why))
}

/// Members under the names that they had before (decision 0083), which are taken until 0.1.0 and shown nowhere.
const FORMER: [&str; 4] = ["input", "said", "heard", "quiet_ms"];

/// A complaint about members without those of former names.
fn in_new_words(why: &str) -> String {
    let Some((what, list)) = why.split_once(", expected one of ") else { return why.to_owned() };
    let (list, place) = list.split_once(" at line").unwrap_or((list, ""));
    let is_former = |name: &&str| FORMER.contains(&name.trim_matches('`'));
    let names: Vec<&str> = list.split(", ").filter(|name| !is_former(name)).collect();
    let place = if place.is_empty() { String::new() } else { format!(" at line{place}") };
    format!("{what}, expected one of {}{place}", names.join(", "))
}

/// Takes a text that is one JSON object.
pub(in crate::edge) fn object<'b, T: Deserialize<'b>>(text: &'b [u8]) -> Result<T, String> {
    // What is derived takes an array of the members' values, too.
    if !text.trim_ascii_start().starts_with(b"{") {
        return Err("it is no JSON object".to_owned());
    }
    serde_json::from_slice(text).map_err(|why| in_new_words(&why.to_string()))
}
