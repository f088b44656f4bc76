//! Plain histories of chats: what users and assistants wrote elsewhere becomes a session of turns that are over.
//!
//! The session is played here as if it had happened, by its own rules, and then brought in as one that was exported.

use bytes::Bytes;
use xxhash_rust::xxh3::Xxh3;

use super::steps::bad;
use crate::edge::chat::{MessagePart, content_parts, said_by_person};
use crate::edge::content::raw::{self, Json, Object};
use crate::edge::error::Problem;
use crate::edge::verbs::Verb;
use crate::ids::{AgentName, Millis, SessionId, TurnId, WorkerName};
use crate::limits;
use crate::session::{
    Applied, Carried, Claim, Command, Config, Event, Format, Input, NewEvent, Session, Then,
    TurnOutput, TurnReport,
};

/// The agent whose output the assistant's messages are, where none is named.
const AGENT: &str = "assistant";

/// What is brought in: its hash, its state, its events.
pub(super) type History = (u128, Carried, Vec<Event>);

/// What the history in a body of so many bytes takes in memory beside the body, at most, in bytes.
pub(super) fn room_for(bytes: usize) -> usize {
    let events = (bytes / limits::HISTORY_EVENT_BYTES).min(limits::IMPORT_HISTORY_EVENTS);
    bytes + events * limits::EVENT_OVERHEAD_BYTES
}

/// Plays a history: it takes a while, and is to be done where blocking is allowed.
///
/// # Errors
/// It is none, or has something that no session can hold; the text names the message.
pub(super) fn play(id: &SessionId, at: Millis, body: &Bytes) -> Result<History, Problem> {
    let text = str::from_utf8(body).ok();
    let whole = text.and_then(Object::parse).ok_or_else(|| bad("the body is a JSON object"))?;
    for (name, _) in whole.members() {
        if !["messages", "agent", "config"].contains(&name) {
            return Err(bad(format!("{name:?} is not known here; messages, agent and config are")));
        }
    }
    let messages = whole.get("messages").and_then(raw::list);
    let messages = messages.ok_or_else(|| bad("messages is a list"))?;
    if limits::IMPORT_HISTORY_MESSAGES < messages.len() {
        let (count, limit) = (messages.len(), limits::IMPORT_HISTORY_MESSAGES);
        return Err(bad(format!("it has {count} messages; the limit is {limit}")));
    }
    let agent = whole.text("agent").unwrap_or_else(|| AGENT.into());
    let agent = AgentName::parse(&agent).map_err(|why| bad(format!("agent: {why}")))?;
    let create = match whole.get("config") {
        Some(config) => Verb::Create.parse(config.as_bytes())?,
        None => Config::default().into(),
    };
    let (session, log, turn, epoch) = (Session::absent(id.clone()), Vec::new(), None, 0);
    let mut play = Play { session, at, log, agent, turn, epoch, named: 0 };
    play.ask(&create)?;
    for (number, json) in messages.into_iter().enumerate() {
        let taken = play.message(number, json);
        taken.map_err(|why| {
            let why = why.detail().trim_start_matches("the import is no session: ");
            bad(format!("message {}: {why}", number + 1))
        })?;
    }
    play.end_turn()?;
    let carried = play.session.carried().ok_or_else(|| bad("it is no session"))?;
    // Its own retention may have taken some already.
    play.log.retain(|event| carried.first <= event.serial);
    let mut hash = Xxh3::new();
    hash.update(body);
    Ok((hash.digest128(), carried, play.log))
}

/// A session that is played.
struct Play {
    session: Session,
    at: Millis,
    log: Vec<Event>,
    agent: AgentName,
    /// The turn that is open, and how many outputs it has.
    turn: Option<(TurnId, u64)>,
    epoch: u64,
    /// The number in the last name that was looked for.
    named: usize,
}

impl Play {
    fn ask(&mut self, command: &Command) -> Result<Applied, Problem> {
        let applied = self.session.apply(self.at, command, &mut self.log)?;
        if limits::IMPORT_HISTORY_EVENTS < self.log.len() {
            let limit = limits::IMPORT_HISTORY_EVENTS;
            return Err(bad(format!("the history makes more than {limit} events")));
        }
        Ok(applied)
    }

    fn message(&mut self, number: usize, json: &str) -> Result<(), Problem> {
        let message = Object::parse(json).ok_or_else(|| bad("it is no object"))?;
        match message.text("role").as_deref() {
            Some("user") => self.user(number, &message),
            Some("assistant") => {
                for event in assistant(&message)? {
                    self.emit(event)?;
                }
                Ok(())
            }
            Some("tool") => {
                let call = message.text("tool_call_id").ok_or_else(|| bad("it is of no call"))?;
                let output = message.get("content").unwrap_or("null");
                self.emit(result(&call, "output", output)?)
            }
            _ => Err(bad("its role is none of user, assistant and tool")),
        }
    }

    /// A person's message: it begins a turn.
    fn user(&mut self, number: usize, message: &Object<'_>) -> Result<(), Problem> {
        self.end_turn()?;
        let given = message.text("id").and_then(|id| TurnId::parse(&id).ok());
        // A name that was given twice would be the same message again.
        let is_free = |id: &TurnId| self.session.place_of(id).is_none();
        self.named = self.named.max(number + 1);
        let own = (self.named..).inspect(|number| self.named = *number);
        let own = own.map(|number| format!("message-{number}"));
        let own = own.filter_map(|name| TurnId::parse(&name).ok());
        let turn = given.into_iter().chain(own).find(is_free);
        let turn = turn.ok_or_else(|| bad("it has no name"))?;
        let content = said_by_person(parts(message)?)?;
        let input = Input::new(turn.clone(), self.agent.clone(), content);
        self.ask(&Command::Input(Box::new(input)))?;
        let claim = Claim {
            turn: turn.clone(),
            worker: WorkerName::parse("import").expect("a name"),
            key: number as u64,
            lease_ms: limits::LEASE_MS,
            progress_timeout_ms: limits::PROGRESS_TIMEOUT_MS,
            node: None,
        };
        let Applied::Claimed { turn: claimed } = self.ask(&Command::Claim(Box::new(claim)))? else {
            return Err(bad("its turn is not to be had"));
        };
        let lease = claimed.lease.ok_or_else(|| bad("its turn has no worker"))?;
        self.epoch = lease.epoch.0;
        self.turn = Some((turn, 0));
        Ok(())
    }

    /// Output of the agent in the turn that is open.
    fn emit(&mut self, event: NewEvent) -> Result<(), Problem> {
        self.put_out(vec![event], Then::GoOn)
    }

    fn end_turn(&mut self) -> Result<(), Problem> {
        match self.turn {
            Some(_) => self.put_out(Vec::new(), Then::Complete),
            None => Ok(()),
        }
    }

    fn put_out(&mut self, events: Vec<NewEvent>, then: Then) -> Result<(), Problem> {
        let Some((turn, seq)) = self.turn.take() else {
            return Err(bad("a history begins with a message of a user"));
        };
        let is_over = then != Then::GoOn;
        let output = Some(TurnOutput { seq, events, then, ..TurnOutput::default() });
        let report = TurnReport::new(turn.clone(), crate::ids::TurnEpoch(self.epoch));
        self.ask(&Command::Report(Box::new(TurnReport { output, ..report })))?;
        self.turn = (!is_over).then_some((turn, seq + 1));
        Ok(())
    }
}

/// The parts of a message: those of a UI message, or its content.
fn parts(message: &Object<'_>) -> Result<Vec<MessagePart>, Problem> {
    if message.get("parts").is_some() {
        let parts = message.get("parts").and_then(raw::list);
        let parts = parts.ok_or_else(|| bad("parts is a list"))?;
        let part = |json: &str| {
            let part = Object::parse(json).ok_or_else(|| bad("a part is no object"))?;
            Ok(match part.text("type").ok_or_else(|| bad("a part has no type"))?.as_str() {
                "text" => MessagePart::Text(part.text("text").unwrap_or_default()),
                _ => MessagePart::Part(Json::raw(json)),
            })
        };
        return parts.into_iter().map(part).collect();
    }
    content_parts(message)
}

/// An assistant's message, as events of a turn.
fn assistant(message: &Object<'_>) -> Result<Vec<NewEvent>, Problem> {
    let mut events = Vec::new();
    for (at, part) in parts(message)?.into_iter().enumerate() {
        match part {
            MessagePart::Text(text) => events.extend(texts(&text)),
            MessagePart::Part(json) => {
                let json = json.to_string();
                let part = Object::parse(&json).ok_or_else(|| bad("a part is no object"))?;
                of_part(at, &part, &json, &mut events)?;
            }
        }
    }
    for call in message.objects("tool_calls") {
        let function = call.object("function");
        let (Some(id), Some(tool)) = (call.text("id"), function.text("name")) else {
            return Err(bad("a call has an id and the name of a function"));
        };
        let arguments = function.text("arguments").unwrap_or_default();
        let input = Object::parse(&arguments)
            .map_or_else(|| Json::from(arguments.clone()), |_| Json::raw(&arguments));
        events.push(begun(&id, &tool, input)?);
    }
    Ok(events)
}

/// A part of a UI message that is no text.
fn of_part(
    at: usize,
    part: &Object<'_>,
    json: &str,
    events: &mut Vec<NewEvent>,
) -> Result<(), Problem> {
    let kind = part.text("type").unwrap_or_default();
    match kind.as_str() {
        "reasoning" => {
            let id = format!("r{at}");
            let of = |kind: &'static str| {
                Json::object([("type", kind.into()), ("id", id.clone().into())])
            };
            events.push(chunk(of("reasoning-start"))?);
            let text = part.text("text").unwrap_or_default();
            events.push(chunk(of("reasoning-delta").with("delta", text))?);
            events.push(chunk(of("reasoning-end"))?);
        }
        "step-start" => events.push(chunk(Json::object([("type", "start-step".into())]))?),
        kind if kind == "dynamic-tool" || kind.starts_with("tool-") => {
            let named = kind.strip_prefix("tool-").map(str::to_owned);
            let tool = part.text("toolName").or(named).unwrap_or_default();
            let id = part.text("toolCallId").ok_or_else(|| bad("a call has a toolCallId"))?;
            let input = part.get("input").map_or_else(|| Json::raw("null"), Json::raw);
            events.push(begun(&id, &tool, input)?);
            if let Some(output) = part.get("output") {
                events.push(result(&id, "output", output)?);
            } else if let Some(error) = part.get("errorText") {
                events.push(result(&id, "errorText", error)?);
            }
        }
        // Files, sources and data are taken as they stand.
        _ => events.push(chunk(Json::raw(json))?),
    }
    Ok(())
}

fn begun(id: &str, tool: &str, input: Json) -> Result<NewEvent, Problem> {
    let call = Json::object([
        ("type", "tool-input-available".into()),
        ("toolCallId", id.to_owned().into()),
        ("toolName", tool.to_owned().into()),
    ]);
    chunk(call.with("input", input))
}

/// What came of a call: `output`, or `errorText`.
fn result(id: &str, member: &'static str, json: &str) -> Result<NewEvent, Problem> {
    let kind = if member == "output" { "tool-output-available" } else { "tool-output-error" };
    let part = Json::object([("type", kind.into()), ("toolCallId", id.to_owned().into())]);
    chunk(part.with(member, Json::raw(json)))
}

fn chunk(json: Json) -> Result<NewEvent, Problem> {
    let format = Format::parse("ai-sdk/1").expect("the name of a dialect is a format");
    let payload = Bytes::from(json.to_string());
    if limits::EVENT_BYTES < payload.len() {
        return Err(bad(format!(
            "a part has {} bytes; the limit is {}",
            payload.len(),
            limits::EVENT_BYTES
        )));
    }
    Ok(NewEvent { format, payload })
}

/// A text in pieces that events can hold.
fn texts(text: &str) -> Vec<NewEvent> {
    let (mut rest, mut all) = (text, Vec::new());
    while !rest.is_empty() {
        let (piece, after) = rest.split_at(rest.floor_char_boundary(limits::EVENT_BYTES));
        let payload = Bytes::copy_from_slice(piece.as_bytes());
        all.push(NewEvent { format: Format::TEXT, payload });
        rest = after;
    }
    all
}
