//! The shapes of questions, by their kinds. One of a kind that is not known here is as its agent wants it.

use super::super::content::raw::{self, Object};
use super::schema;
use crate::ids::KindName;
use crate::limits;
use crate::session::{Format, NewEvent};

/// Whether a question can be put to people; if not, why, in a sentence.
pub(in crate::edge) fn check(kind: &str, question: &NewEvent) -> Result<(), String> {
    let text = String::from_utf8_lossy(&question.payload);
    let object = Some(&*text).filter(|_| question.format == Format::JSON).and_then(Object::parse);
    match kind {
        KindName::FORM => {
            let object = object.ok_or("a form is JSON: an object with a schema")?;
            let schema = object.get("schema").ok_or("a form has a schema")?;
            schema::check(schema)
        }
        KindName::CHOICE => {
            let object = object.ok_or("a choice is JSON: an object with choices")?;
            choices(&object).map(drop)
        }
        KindName::APPROVAL => {
            let Some(object) = object.filter(|object| object.get("tool").is_some()) else {
                // As text alone.
                return Ok(());
            };
            match object.object("tool").get("schema") {
                Some(schema) => schema::check(schema),
                None => Ok(()),
            }
        }
        KindName::CLIENT_TOOL => {
            let object = object.ok_or("a call for a client is JSON: an object with its tool")?;
            let named = |object: &Object<'_>| object.text("name").is_some();
            let tool = object.get("tool").map(|tool| raw::string(tool).is_some());
            let has_name = match tool {
                Some(is_text) => is_text || named(&object.object("tool")),
                None => named(&object),
            };
            if has_name { Ok(()) } else { Err("a call for a client names its tool".into()) }
        }
        _ => Ok(()),
    }
}

/// What there is to choose among: JSON values, as they stand.
///
/// # Errors
/// Gives what is wrong with it.
pub(in crate::edge) fn choices<'q>(question: &'q Object<'q>) -> Result<Vec<&'q str>, String> {
    let most = limits::CHOICES;
    let choices = question.get("choices").and_then(raw::list);
    let choices = choices.filter(|all| !all.is_empty() && all.len() <= most);
    let choices = choices.ok_or_else(|| format!("a choice has a list of 1 to {most} choices"))?;
    let value = |choice: &'q str| match Object::parse(choice) {
        Some(object) => object.get("value").ok_or("a choice that is an object has a value"),
        None => Ok(choice),
    };
    choices.into_iter().map(|choice| value(choice).map_err(str::to_owned)).collect()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn each_kind_of_question_has_its_shape() {
        let check = |kind: &str, json: &str| {
            let payload = Bytes::copy_from_slice(json.as_bytes());
            check(kind, &NewEvent { format: Format::JSON, payload }).err().unwrap_or_default()
        };
        for (kind, question, why) in [
            ("form", r#"{"text":"who?","schema":{"type":"object"}}"#, ""),
            ("form", r#"{"text":"who?"}"#, "a form has a schema"),
            ("form", "7", "a form is JSON: an object with a schema"),
            ("form", r#"{"schema":{"type":"objekt"}}"#, "the schema is none: "),
            ("choice", r#"{"choices":["a",{"value":2,"label":"two"}]}"#, ""),
            ("choice", r#"{"choices":[]}"#, "a choice has a list of 1 to"),
            ("choice", r#"{"choices":[{"label":"two"}]}"#, "a choice that is an object"),
            ("choice", r#""which?""#, "a choice is JSON"),
            ("approval", r#""may I?""#, ""),
            ("approval", r#"{"tool":{"name":"mail","schema":{"type":"object"}}}"#, ""),
            ("approval", r#"{"tool":{"name":"mail","schema":7}}"#, "a schema is an object"),
            ("client_tool", r#"{"tool":{"name":"where"}}"#, ""),
            ("client_tool", r#"{"tool":"where"}"#, ""),
            ("client_tool", r#"{"name":"where","arguments":{}}"#, ""),
            ("client_tool", r#"{"tool":{"id":"c"}}"#, "a call for a client names its tool"),
            ("text", "7", ""),
            ("whatever", "7", ""),
        ] {
            let received = check(kind, question);
            let fits = if why.is_empty() { received.is_empty() } else { received.starts_with(why) };
            assert!(fits, "{kind} {question}: {received:?}");
        }
    }
}
