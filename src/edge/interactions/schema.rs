//! JSON Schema, as far as it can be judged in little time and without requests to others.
//!
//! A schema comes from an agent and is judged at a node, so what it may cost has a bound: its size with all that it
//! refers to, its depth, and patterns that are matched in time linear in the text. It refers to its own parts alone.

use jsonschema::{PatternOptions, Validator};
use serde_json::Value;

use super::super::content::raw::Object;
use crate::limits;

/// Whether a schema can be judged by; if not, why, in a sentence.
pub(in crate::edge) fn check(schema: &str) -> Result<(), String> {
    compiled(schema).map(drop)
}

/// Where a value does not fit a schema, and what is wrong there; the first few.
///
/// # Errors
/// The schema cannot be judged by.
pub(super) fn errors(schema: &str, value: &Value) -> Result<Vec<(String, String)>, String> {
    let (validator, parts) = compiled(schema)?;
    let error = |error: jsonschema::ValidationError<'_>| {
        let path = error.instance_path().to_string();
        // Without the value: it may be long, and whoever sent it has it.
        let mut message = error.masked().to_string();
        message.truncate(message.floor_char_boundary(limits::REASON_BYTES));
        (path, message)
    };
    // All that is wrong is gathered before the first of it is taken, so where that may be much, one is enough.
    if limits::SCHEMA_JUDGEMENTS < parts.saturating_mul(size(value)) {
        return Ok(validator.validate(value).err().map(error).into_iter().collect());
    }
    Ok(validator.iter_errors(value).take(limits::FORM_ERRORS).map(error).collect())
}

/// The values of a value, with itself.
fn size(value: &Value) -> usize {
    match value {
        Value::Array(all) => 1 + all.iter().map(size).sum::<usize>(),
        Value::Object(members) => 1 + members.values().map(size).sum::<usize>(),
        _ => 1,
    }
}

/// What judges by a schema, and to how many parts the schema comes.
fn compiled(schema: &str) -> Result<(Validator, usize), String> {
    let (bytes, most) = (schema.len(), limits::SCHEMA_BYTES);
    if most < bytes {
        return Err(format!("the schema has {bytes} bytes; the limit is {most}"));
    }
    if Object::parse(schema).is_none() {
        return Err("a schema is an object".into());
    }
    let value: Value = serde_json::from_str(schema).map_err(|why| why.to_string())?;
    let mut left = limits::SCHEMA_NODES;
    count(&value, &value, 0, &mut left)?;
    let patterns = PatternOptions::regex()
        .size_limit(limits::PATTERN_BYTES)
        .dfa_size_limit(limits::PATTERN_BYTES);
    let options = jsonschema::options().offline().with_pattern_options(patterns);
    let options = options.should_validate_formats(true);
    let validator = options.build(&value).map_err(|why| {
        let mut why = format!("the schema is none: {}", why.masked());
        why.truncate(why.floor_char_boundary(limits::REASON_BYTES));
        why
    })?;
    Ok((validator, limits::SCHEMA_NODES - left))
}

fn take(left: &mut usize, parts: usize) -> Result<(), String> {
    let most = limits::SCHEMA_NODES;
    let too_many = || format!("the schema comes to more than {most} parts");
    *left = left.checked_sub(parts).ok_or_else(too_many)?;
    Ok(())
}

/// Counts what a schema comes to with all that it refers to, and refuses what has no bound.
fn count(node: &Value, root: &Value, depth: usize, left: &mut usize) -> Result<(), String> {
    take(left, 1)?;
    if limits::SCHEMA_DEPTH < depth {
        let most = limits::SCHEMA_DEPTH;
        return Err(format!("the schema is deeper than {most}, or refers to itself"));
    }
    match node {
        Value::Array(all) => all.iter().try_for_each(|one| count(one, root, depth + 1, left)),
        Value::Object(members) => {
            for (name, member) in members {
                let own_id = depth == 0 && matches!(name.as_str(), "$id" | "id");
                match (name.as_str(), member) {
                    ("$ref", Value::String(to)) => {
                        let place = to.strip_prefix('#').filter(|place| !place.contains('%'));
                        let part = place.and_then(|place| root.pointer(place));
                        let part = part.ok_or("a schema refers to its own parts alone")?;
                        count(part, root, depth + 1, left)?;
                    }
                    ("$dynamicRef" | "$recursiveRef", Value::String(_)) => {
                        return Err(format!("a form's schema has no {name}"));
                    }
                    // Before draft 6 an id of another name moves what parts are called by.
                    ("$schema", Value::String(draft)) if depth != 0 || is_old(draft) => {
                        return Err("a form's schema is of draft 6 or later, as a whole".into());
                    }
                    ("pattern", Value::String(_)) => take(left, limits::PATTERN_NODES)?,
                    ("patternProperties", Value::Object(patterns)) => {
                        take(left, patterns.len().saturating_mul(limits::PATTERN_NODES))?;
                        count(member, root, depth + 1, left)?;
                    }
                    ("$id", Value::String(_)) if !own_id => {
                        return Err("a form's schema has no $id inside".into());
                    }
                    // Each looks again at all that those around it and beside it have judged.
                    (
                        "unevaluatedProperties" | "unevaluatedItems",
                        Value::Object(_) | Value::Bool(_),
                    ) => {
                        return Err(format!("a form's schema has no {name}"));
                    }
                    _ => count(member, root, depth + 1, left)?,
                }
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

fn is_old(draft: &str) -> bool {
    ["draft-03", "draft-04"].iter().any(|old| draft.contains(old))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn why(schema: &str) -> String {
        check(schema).err().unwrap_or_default()
    }

    #[test]
    fn a_schema_that_may_cost_too_much_or_asks_others_is_refused() {
        let deep = format!(r#"{}{{}}{}"#, r#"{"items":"#.repeat(40), "}".repeat(40));
        let doubles: Vec<String> = (0..9)
            .map(|at| format!(r##""a{at}":{{"allOf":[{{"$ref":"#/$defs/a{0}"}},{{"$ref":"#/$defs/a{0}"}}]}}"##, at + 1))
            .collect();
        let bomb =
            format!(r##"{{"$defs":{{{},"a9":{{}}}},"$ref":"#/$defs/a0"}}"##, doubles.join(","));
        let patterns: Vec<String> = (0..99).map(|at| format!(r#"{{"pattern":"a{at}"}}"#)).collect();
        let patterns = format!(r#"{{"allOf":[{}]}}"#, patterns.join(","));
        let long = format!(r#"{{"title":"{}"}}"#, "x".repeat(limits::SCHEMA_BYTES));
        for (schema, begins) in [
            (r#"{"type":"object"}"#, ""),
            (r##"{"$defs":{"n":{"type":"integer"}},"properties":{"a":{"$ref":"#/$defs/n"}}}"##, ""),
            (r#"{"$schema":"http://json-schema.org/draft-07/schema#","type":"string"}"#, ""),
            (r##"{"$ref":"#"}"##, "the schema is deeper than"),
            (r##"{"properties":{"a":{"$ref":"#"}}}"##, "the schema is deeper than"),
            (r##"{"$ref":"#/$defs/none"}"##, "a schema refers to its own parts alone"),
            (r#"{"$ref":"http://example.com/schema"}"#, "a schema refers to its own parts alone"),
            (r#"{"$ref":"file:///etc/passwd"}"#, "a schema refers to its own parts alone"),
            (r#"{"$schema":"http://example.com/schema"}"#, "the schema is none"),
            (r##"{"$dynamicRef":"#a"}"##, "a form's schema has no $dynamicRef"),
            (
                r#"{"anyOf":[{"unevaluatedItems":false}]}"#,
                "a form's schema has no unevaluatedItems",
            ),
            (r#"{"unevaluatedProperties":{}}"#, "a form's schema has no unevaluatedProperties"),
            (r#"{"pattern":"(a{1000}){1000}"}"#, "the schema is none"),
            (r#"{"pattern":"(?=a)"}"#, "the schema is none"),
            (&patterns, "the schema comes to more than"),
            (
                r#"{"$schema":"http://json-schema.org/draft-04/schema#"}"#,
                "a form's schema is of draft",
            ),
            (
                r#"{"items":{"$schema":"http://json-schema.org/draft-07/schema#"}}"#,
                "a form's schema is of draft",
            ),
            (&deep, "the schema is deeper than"),
            (&bomb, "the schema comes to more than"),
            (&long, "the schema has"),
            ("7", "a schema is an object"),
            (r#"{"type":7}"#, "the schema is none"),
        ] {
            let received = why(schema);
            let fits =
                if begins.is_empty() { received.is_empty() } else { received.starts_with(begins) };
            assert!(fits, "{schema:.60}: {received:?}");
        }
    }

    #[test]
    fn what_does_not_fit_is_told_with_its_place_and_without_what_was_sent() {
        let schema = r#"{"properties":{"mail":{"format":"email"},"age":{"maximum":9}},
            "additionalProperties":false}"#;
        let value = serde_json::json!({ "mail": "secret", "age": 10, "x": 1 });
        let errors = errors(schema, &value).unwrap();
        let mut places: Vec<_> = errors.iter().map(|(path, _)| path.as_str()).collect();
        places.sort_unstable();
        assert_eq!(places, ["", "/age", "/mail"]);
        assert!(errors.iter().all(|(_, message)| !message.contains("secret")), "{errors:?}");
    }

    /// The worst that the limits let through ends: no wall clock is asserted, but a hang would be seen.
    #[test]
    fn the_largest_answer_to_the_largest_schema_is_judged() {
        let parts = (limits::SCHEMA_NODES - 8) / 2;
        let parts = vec![r#"{"minimum":0}"#; parts].join(",");
        let schema = format!(r#"{{"items":{{"allOf":[{parts}]}}}}"#);
        let most = limits::FORM_BYTES / 2 - 1;
        let value = Value::Array(vec![Value::from(1); most]);
        let none =
            format!(r#"{{"items":{{"allOf":[{}]}}}}"#, vec![r#"{"maximum":0}"#; 500].join(","));
        assert_eq!(
            errors(&none, &value).unwrap().len(),
            1,
            "not millions, of which a few are taken"
        );
        let (received, judged) = std::sync::mpsc::sync_channel(1);
        std::thread::spawn(move || received.send(errors(&schema, &value)).ok());
        let errors = judged.recv_timeout(Duration::from_secs(120)).expect("it ends");
        assert_eq!(errors, Ok(Vec::new()));
    }
}
