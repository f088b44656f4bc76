//! Bodies about calls of tools, parsed once and strictly.

use serde::Deserialize;

use super::super::error::Problem;
use super::Item;
use super::turns::{bad, json, name};
use crate::ids::{CallId, ToolName, TurnEpoch, TurnId};
use crate::session::{Format, NewEvent, ToolMark, ToolResult, ToolStep, tool_key};

/// A call that begins, which names its tool, or one that was made, which has a result.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MarkBody<'b> {
    call: String,
    tool: Option<String>,
    #[serde(borrow)]
    arguments: Option<Item<'b>>,
    #[serde(borrow)]
    result: Option<Item<'b>>,
    #[serde(default)]
    failed: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ResultBody<'b> {
    call: String,
    key: String,
    epoch: TurnEpoch,
    #[serde(borrow)]
    result: Item<'b>,
    #[serde(default)]
    failed: bool,
}

/// What a worker reports of calls at once: of each one thing, because results come before output, and beginnings
/// after.
pub(super) fn marks(request: Vec<MarkBody<'_>>) -> Result<Vec<ToolMark>, Problem> {
    let marks = request.into_iter().map(mark).collect::<Result<Vec<_>, _>>()?;
    let is_twice = |at: usize| marks[..at].iter().any(|before| before.call == marks[at].call);
    match (1..marks.len()).any(is_twice) {
        true => Err(bad("a report names a call once: its end comes after its beginning")),
        false => Ok(marks),
    }
}

/// What a worker reports of a call.
fn mark(request: MarkBody<'_>) -> Result<ToolMark, Problem> {
    let call = name("call", &request.call, CallId::parse)?;
    let step = match (request.tool, request.result) {
        (Some(tool), None) if !request.failed => {
            let tool = name("tool", &tool, ToolName::parse)?;
            let none = NewEvent { format: Format::JSON, payload: "null".into() };
            let arguments = request.arguments.map_or(Ok(none), Item::event)?;
            ToolStep::Started { tool, arguments }
        }
        (None, Some(result)) if request.arguments.is_none() => {
            ToolStep::Finished { result: result.event()?, failed: request.failed }
        }
        _ => return Err(bad("a call has a tool and arguments, or a result and failed")),
    };
    Ok(ToolMark { call, step })
}

/// What came of a call, from whoever made it.
pub(super) fn result(turn: TurnId, body: &[u8]) -> Result<ToolResult, Problem> {
    let request: ResultBody<'_> = json(body)?;
    Ok(ToolResult {
        turn,
        call: name("call", &request.call, CallId::parse)?,
        key: tool_key::parse(&request.key).ok_or_else(|| bad("a key has 32 hexadecimal digits"))?,
        epoch: request.epoch,
        result: request.result.event()?,
        failed: request.failed,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_begins_or_has_come_to_something() {
        let mark = |body: &str| mark(serde_json::from_str(body).unwrap());
        let begun = mark(r#"{"call":"c","tool":"mail","arguments":{"data":{"n":1.10}}}"#).unwrap();
        assert_eq!(begun.output().payload, r#"{"n":1.10}"#);
        assert!(mark(r#"{"call":"c","tool":"mail"}"#).is_ok());
        let done = mark(r#"{"call":"c","result":{"text":"sent"},"failed":true}"#).unwrap();
        assert!(matches!(done.step, ToolStep::Finished { failed: true, .. }));
        for body in [
            r#"{"call":"c"}"#,
            r#"{"call":"","tool":"mail"}"#,
            r#"{"call":"c","tool":"mail","result":{"text":"x"}}"#,
            r#"{"call":"c","tool":"mail","failed":true}"#,
            r#"{"call":"c","result":{"text":"x"},"arguments":{"text":"y"}}"#,
        ] {
            assert!(mark(body).is_err(), "{body}");
        }
        let twice = r#"[{"call":"c","tool":"mail"},{"call":"c","result":{"text":"x"}}]"#;
        assert!(marks(serde_json::from_str(twice).unwrap()).is_err());
        let turn = || TurnId::parse("t").unwrap();
        let key = "0123456789abcdef0123456789abcdef";
        let body = format!(r#"{{"call":"c","key":"{key}","epoch":1,"result":{{"data":1}}}}"#);
        assert_eq!(tool_key::text(result(turn(), body.as_bytes()).unwrap().key), key);
        assert!(result(turn(), body.replace(key, "12").as_bytes()).is_err());
    }
}
