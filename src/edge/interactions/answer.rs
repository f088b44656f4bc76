//! Whether an answer fits its question.

use serde_json::Value;

use super::super::content::raw::{self, Object};
use super::question::choices;
use super::{Unfit, schema};
use crate::ids::KindName;
use crate::limits;
use crate::session::{Format, NewEvent};

/// Arguments in place of those that an agent proposed, by our name and by that of AG-UI.
pub(super) const EDITED: [&str; 2] = ["arguments", "editedArgs"];

/// Whether an answer to a question of this kind cannot be judged without that.
pub(super) fn reads_question(kind: &str, answer: &NewEvent) -> bool {
    match kind {
        KindName::FORM | KindName::CHOICE => true,
        KindName::APPROVAL => {
            let text = String::from_utf8_lossy(&answer.payload);
            let object = Some(&*text).filter(|_| answer.format == Format::JSON);
            object.and_then(Object::parse).is_some_and(|object| edited(&object).is_some())
        }
        _ => false,
    }
}

fn edited<'o>(object: &'o Object<'o>) -> Option<&'o str> {
    EDITED.iter().find_map(|name| object.get(name))
}

/// Whether an answer is that there is none: somebody put the question away.
pub(in crate::edge) fn is_dismissal(format: &Format, answer: &[u8]) -> bool {
    let text = str::from_utf8(answer).ok().filter(|_| *format == Format::JSON);
    text.and_then(Object::parse).is_some_and(|answer| {
        answer.is_true("cancelled") && answer.get("approved") == Some("false")
    })
}

/// Judges an answer by its question.
pub(super) fn check(kind: &str, question: &[u8], answer: &NewEvent) -> Result<(), Unfit> {
    let question = String::from_utf8_lossy(question);
    // A question in another shape, by an agent of another dialect, is that one's to judge.
    let Some(question) = Object::parse(&question) else { return Ok(()) };
    if is_dismissal(&answer.format, &answer.payload) {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&answer.payload);
    match kind {
        KindName::FORM => match question.get("schema") {
            Some(schema) => form(schema, answer, &text),
            None => Ok(()),
        },
        KindName::CHOICE => choice(&question, answer, &text),
        _ => approval(&question, &text),
    }
}

fn form(schema: &str, answer: &NewEvent, text: &str) -> Result<(), Unfit> {
    if answer.format != Format::JSON {
        return Err(Unfit::because("the answer to a form is JSON"));
    }
    let most = limits::FORM_BYTES;
    if most < text.len() {
        let bytes = text.len();
        return Err(Unfit::because(format!("the form has {bytes} bytes; the limit is {most}")));
    }
    let value = value(text)?;
    let errors = schema::errors(schema, &value).map_err(Unfit::because)?;
    if errors.is_empty() {
        return Ok(());
    }
    Err(Unfit { detail: "the answer does not fit the form's schema".into(), errors })
}

fn choice(question: &Object<'_>, answer: &NewEvent, text: &str) -> Result<(), Unfit> {
    let Ok(choices) = choices(question) else { return Ok(()) };
    let values: Vec<Value> =
        choices.into_iter().filter_map(|json| serde_json::from_str(json).ok()).collect();
    let given = match answer.format == Format::JSON {
        true => value(text)?,
        false => Value::String(text.to_owned()),
    };
    let chosen = match given {
        Value::Array(all) if question.is_true("multiple") => all,
        _ if question.is_true("multiple") => {
            return Err(Unfit::because("several may be chosen: the answer is a list"));
        }
        one => vec![one],
    };
    if values.len() < chosen.len() {
        return Err(Unfit::because("more is chosen than there are choices"));
    }
    let known = chosen.iter().all(|one| values.contains(one));
    let twice = chosen.iter().enumerate().any(|(at, one)| chosen[..at].contains(one));
    match (known, twice) {
        (true, false) => Ok(()),
        (true, true) => Err(Unfit::because("something is chosen twice")),
        (false, _) => Err(Unfit::because("the answer is none of the choices")),
    }
}

/// Arguments that a person puts in place of an agent's.
fn approval(question: &Object<'_>, text: &str) -> Result<(), Unfit> {
    let Some(answer) = Object::parse(text) else { return Ok(()) };
    let Some(arguments) = edited(&answer) else { return Ok(()) };
    if EDITED.iter().all(|name| answer.get(name).is_some()) {
        return Err(Unfit::because("arguments and editedArgs are two names of one thing"));
    }
    if !answer.is_true("approved") {
        return Err(Unfit::because("arguments go with a yes: approved is true"));
    }
    if question.get("tool").is_none() {
        return Err(Unfit::because("the question is about no tool, so it has no arguments"));
    }
    let tool = question.object("tool");
    // A tool that takes something else than an object is rare, and its agent shows that.
    let proposed = tool.get("arguments").unwrap_or("{}");
    if Object::parse(proposed).is_some() && Object::parse(arguments).is_none() {
        return Err(Unfit::because("the arguments of a tool are an object"));
    }
    let Some(schema) = tool.get("schema") else { return Ok(()) };
    let errors = schema::errors(schema, &value(arguments)?).map_err(Unfit::because)?;
    if errors.is_empty() {
        return Ok(());
    }
    Err(Unfit { detail: "the arguments do not fit the tool's schema".into(), errors })
}

fn value(json: &str) -> Result<Value, Unfit> {
    serde_json::from_str(json).map_err(|_| Unfit::because("the answer is no JSON"))
}

/// The arguments that an answer puts in place of the proposed ones, if it does.
pub(in crate::edge) fn edited_arguments(answer: &str) -> Option<String> {
    let object = Object::parse(answer)?;
    let arguments = edited(&object).filter(|json| raw::is_json(json))?;
    object.is_true("approved").then(|| arguments.to_owned())
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn judged(kind: &str, question: &str, json: &str) -> String {
        let payload = Bytes::copy_from_slice(json.as_bytes());
        let answer = NewEvent { format: Format::JSON, payload };
        if !reads_question(kind, &answer) {
            return String::new();
        }
        check(kind, question.as_bytes(), &answer).err().map(|why| why.detail).unwrap_or_default()
    }

    #[test]
    fn an_answer_fits_its_question_or_is_told_why_not() {
        let form = r#"{"schema":{"type":"object","properties":{"age":{"type":"integer"}},
            "required":["age"]}}"#;
        let choice = r#"{"choices":["a",{"value":2}]}"#;
        let several = r#"{"choices":["a",{"value":2}],"multiple":true}"#;
        let tool = r#"{"tool":{"name":"mail","arguments":{"to":"bob"},
            "schema":{"properties":{"to":{"type":"string"}}}}}"#;
        for (kind, question, answer, why) in [
            ("form", form, r#"{"age":7}"#, ""),
            ("form", form, r#"{"age":"7"}"#, "the answer does not fit the form's schema"),
            ("form", form, "{}", "the answer does not fit the form's schema"),
            ("form", r#"{"text":"as before"}"#, "7", ""),
            ("choice", choice, r#""a""#, ""),
            ("choice", choice, "2", ""),
            ("choice", choice, r#""b""#, "the answer is none of the choices"),
            ("choice", choice, r#"["a"]"#, "the answer is none of the choices"),
            ("choice", several, r#"["a",2]"#, ""),
            ("choice", several, r#"["a","a"]"#, "something is chosen twice"),
            ("choice", several, r#""a""#, "several may be chosen: the answer is a list"),
            ("choice", choice, r#"{"approved":false,"cancelled":true}"#, ""),
            ("form", form, r#"{"approved":false,"cancelled":true}"#, ""),
            ("form", form, r#"{"cancelled":true}"#, "the answer does not fit the form's schema"),
            ("approval", tool, "true", ""),
            ("approval", tool, r#"{"approved":false,"reason":"no"}"#, ""),
            ("approval", tool, r#"{"approved":true,"arguments":{"to":"eve"}}"#, ""),
            ("approval", tool, r#"{"approved":true,"editedArgs":{"to":"eve"}}"#, ""),
            ("approval", tool, r#"{"approved":true,"arguments":{"to":7}}"#, "the arguments do not"),
            ("approval", tool, r#"{"approved":true,"arguments":"eve"}"#, "the arguments of a tool"),
            ("approval", tool, r#"{"approved":false,"arguments":{}}"#, "arguments go with a yes"),
            ("approval", r#"{"text":"?"}"#, r#"{"approved":true,"arguments":{}}"#, "the question"),
            ("text", "{}", r#"{"arguments":1}"#, ""),
        ] {
            let received = judged(kind, question, answer);
            let fits = if why.is_empty() { received.is_empty() } else { received.starts_with(why) };
            assert!(fits, "{kind} {answer}: {received:?}");
        }
        let edited = edited_arguments(r#"{"approved":true,"arguments":{"n":1.10}}"#);
        assert_eq!(edited.as_deref(), Some(r#"{"n":1.10}"#));
        assert_eq!(edited_arguments(r#"{"approved":false,"arguments":{}}"#), None);
    }
}
