//! Deltas as the events of a response. Their numbers are those of the log: what is superseded later is sent all the
//! same, and each reader, at any node and time, gets the same event under the same number.

use super::super::super::content::Call;
use super::super::super::content::raw::Json;
use super::super::delta::{Delta, Kind, PartId};
use super::super::live::{self, At, Dialect, Flow};
use super::items::{Item, Items, Text, UNDER_WAY, WHOLE, What, text_part};
use super::place::ResponsePlace;
use crate::session::End;

/// A response as it comes.
pub(super) struct Events {
    place: ResponsePlace,
    /// The first number that is sent.
    first: u64,
    number: u64,
    created_s: u64,
    status: &'static str,
    error: Option<String>,
    incomplete: Option<&'static str>,
    in_progress: bool,
    /// Items that were sent, also those that were taken back.
    index: u64,
    items: Items,
}

type Fields = Vec<(&'static str, Json)>;

impl Events {
    /// `first`: the number of the first event that the client does not have.
    pub(super) fn new(place: ResponsePlace, first: u64, items: Items) -> Events {
        Events {
            place,
            first,
            number: 0,
            created_s: 0,
            status: "queued",
            error: None,
            incomplete: None,
            in_progress: false,
            index: 0,
            items,
        }
    }

    fn emit(&mut self, kind: &str, fields: Fields, out: &mut Vec<u8>) {
        let number = self.number;
        self.number += 1;
        if number < self.first {
            return;
        }
        let mut all = vec![("type", kind.into()), ("sequence_number", count(number))];
        all.extend(fields);
        out.extend_from_slice(format!("event: {kind}\n").as_bytes());
        live::data(out, &Json::Object(all));
    }

    /// Whether the response was found.
    pub(super) fn is_shown(&self) -> bool {
        self.created_s != 0
    }

    /// How many events there are so far.
    pub(super) fn count(&self) -> u64 {
        self.number
    }

    /// The response as it stands.
    pub(super) fn response(&self) -> Json {
        let last = match self.status {
            "queued" | "in_progress" => UNDER_WAY,
            "completed" => WHOLE,
            // The end cut it.
            _ => "incomplete",
        };
        let error = self.error.as_deref().map_or(Json::Null, |message| {
            Json::object([("code", "server_error".into()), ("message", message.into())])
        });
        let incomplete =
            self.incomplete.map_or(Json::Null, |reason| Json::object([("reason", reason.into())]));
        let agent = self.place.agent.as_str();
        let conversation = Json::object([("id", self.place.session.name().into())]);
        let format = Json::object([("type", "text".into())]);
        Json::Object(vec![
            ("id", self.place.id().into()),
            ("object", "response".into()),
            ("created_at", count(self.created_s)),
            ("status", self.status.into()),
            ("background", true.into()),
            ("conversation", conversation),
            ("error", error),
            ("incomplete_details", incomplete),
            ("instructions", Json::Null),
            ("max_output_tokens", Json::Null),
            ("metadata", Json::object([])),
            ("model", agent.into()),
            ("output", self.items.json(agent, last).into()),
            ("parallel_tool_calls", true.into()),
            ("previous_response_id", Json::Null),
            ("store", true.into()),
            ("temperature", Json::Null),
            ("text", Json::object([("format", format)])),
            ("tool_choice", "auto".into()),
            ("tools", Vec::new().into()),
            ("top_p", Json::Null),
            ("truncation", "disabled".into()),
            ("usage", Json::Null),
        ])
    }

    fn lifecycle(&mut self, kind: &str, out: &mut Vec<u8>) {
        let response = self.response();
        self.emit(kind, vec![("response", response)], out);
    }

    fn created(&mut self, at: At, out: &mut Vec<u8>) {
        self.created_s = at.time.0 / 1000;
        self.lifecycle("response.created", out);
        self.lifecycle("response.queued", out);
    }

    fn progress(&mut self, out: &mut Vec<u8>) {
        if !std::mem::replace(&mut self.in_progress, true) {
            self.status = "in_progress";
            self.lifecycle("response.in_progress", out);
        }
    }

    fn end(&mut self, status: &'static str, out: &mut Vec<u8>) -> Flow {
        self.status = status;
        let kind = match status {
            "completed" => "response.completed",
            "failed" => "response.failed",
            _ => "response.incomplete",
        };
        self.lifecycle(kind, out);
        Flow::Ended
    }

    fn fail(&mut self, reason: String, out: &mut Vec<u8>) -> Flow {
        self.error = Some(reason);
        self.end("failed", out)
    }

    /// An item is sent; `done`: all of it at once.
    fn add(&mut self, item: Item, done: bool, out: &mut Vec<u8>) {
        let json = item.json(self.place.agent.as_str(), if done { WHOLE } else { UNDER_WAY });
        let index = count(self.index);
        self.items.add(item);
        let fields = vec![("output_index", index), ("item", json)];
        self.emit("response.output_item.added", fields.clone(), out);
        if done {
            self.emit("response.output_item.done", fields, out);
            self.index += 1;
        }
    }

    /// Where the text that is under way is.
    fn text_at(&self, kind: Kind) -> Fields {
        let id = self.items.all.last().map_or("", |item| item.id.as_str());
        let place = match kind {
            Kind::Text => "content_index",
            Kind::Reasoning => "summary_index",
        };
        vec![("item_id", id.into()), ("output_index", count(self.index)), (place, count(0))]
    }

    fn begins(&mut self, at: At, part: PartId, kind: Kind, out: &mut Vec<u8>) {
        let (prefix, what) = match kind {
            Kind::Text => ("msg", What::Message(Text::default())),
            Kind::Reasoning => ("rs", What::Reasoning(Text::default())),
        };
        let item = Item { id: format!("{prefix}_{part}"), serial: at.serial, what };
        let json = match kind {
            // Its part comes next.
            Kind::Text => Json::object([
                ("id", item.id.as_str().into()),
                ("type", "message".into()),
                ("status", "in_progress".into()),
                ("role", "assistant".into()),
                ("content", Vec::new().into()),
            ]),
            Kind::Reasoning => item.json(self.place.agent.as_str(), UNDER_WAY),
        };
        self.items.add(item);
        let fields = vec![("output_index", count(self.index)), ("item", json)];
        self.emit("response.output_item.added", fields, out);
        self.part(kind, "added", "", out);
    }

    fn part(&mut self, kind: Kind, what: &str, text: &str, out: &mut Vec<u8>) {
        let mut fields = self.text_at(kind);
        let (name, part) = match kind {
            Kind::Text => ("content_part", text_part(text)),
            Kind::Reasoning => {
                let part = [("type", "summary_text".into()), ("text", text.into())];
                ("reasoning_summary_part", Json::object(part))
            }
        };
        fields.push(("part", part));
        self.emit(&format!("response.{name}.{what}"), fields, out);
    }

    fn goes(&mut self, at: At, kind: Kind, text: &str, out: &mut Vec<u8>) {
        self.items.goes(at.serial, text);
        let mut fields = self.text_at(kind);
        fields.push(("delta", text.into()));
        if kind == Kind::Text {
            fields.push(("logprobs", Vec::new().into()));
        }
        self.emit(&format!("response.{}.delta", name_of(kind)), fields, out);
    }

    fn ends(&mut self, kind: Kind, out: &mut Vec<u8>) {
        let Some(Item { what: What::Message(whole) | What::Reasoning(whole), .. }) =
            self.items.all.last()
        else {
            return;
        };
        let text = whole.text.clone();
        let mut fields = self.text_at(kind);
        fields.push(("text", text.as_str().into()));
        if kind == Kind::Text {
            fields.push(("logprobs", Vec::new().into()));
        }
        self.emit(&format!("response.{}.done", name_of(kind)), fields, out);
        self.part(kind, "done", &text, out);
        let item = self.items.all.last().map(|item| item.json(self.place.agent.as_str(), WHOLE));
        let fields = vec![
            ("output_index", count(self.index)),
            ("item", item.expect("it is the one that ends")),
        ];
        self.emit("response.output_item.done", fields, out);
        self.index += 1;
    }

    fn made(&mut self, at: At, id: String, call: Call, out: &mut Vec<u8>) {
        self.items.made(&call.id);
        self.add(Item { id, serial: at.serial, what: What::Made(call) }, true, out);
    }

    fn waits(&mut self, at: At, out: &mut Vec<u8>) -> Flow {
        for item in self.items.wanted(at.serial) {
            self.add(item, true, out);
        }
        self.left(at, out);
        self.end("completed", out)
    }

    fn left(&mut self, at: At, out: &mut Vec<u8>) {
        for call in self.items.left() {
            let id = format!("mcp_{}_{}", at.serial.0, self.index);
            self.made(at, id, call, out);
        }
    }

    fn ended(&mut self, at: At, end: End, out: &mut Vec<u8>) -> Flow {
        self.left(at, out);
        match end {
            End::Completed { reason } if reason == "length" => {
                self.incomplete = Some("max_output_tokens");
                self.end("incomplete", out)
            }
            End::Completed { .. } => self.end("completed", out),
            End::Failed { reason } => self.fail(reason, out),
            End::Cancelled { .. } => self.end("cancelled", out),
        }
    }

    fn output(&mut self, at: At, delta: Delta, out: &mut Vec<u8>) {
        match delta {
            Delta::Begins(part, kind) => self.begins(at, part, kind, out),
            Delta::Goes(_, kind, text) => self.goes(at, kind, &text, out),
            Delta::Ends(_, kind, _) => self.ends(kind, out),
            Delta::CallReady(_, call) => self.items.ready(call),
            Delta::CallResult { part, call, preliminary: false } => {
                self.made(at, format!("mcp_{part}"), call, out);
            }
            Delta::File { media, url } if media.starts_with("image/") => {
                let Some((_, data)) = url.split_once(";base64,") else { return };
                let id = format!("ig_{}_{}", at.serial.0, self.index);
                let what = What::Image(data.to_owned());
                self.add(Item { id, serial: at.serial, what }, true, out);
            }
            // This dialect has no event for it.
            _ => {}
        }
    }
}

impl Dialect for Events {
    fn open(&mut self, _: &mut Vec<u8>) {}

    fn take(&mut self, at: At, delta: Delta, out: &mut Vec<u8>) -> Flow {
        if at.serial == self.place.begins {
            // That the agent had waited before it is another response's.
            if delta == Delta::Waits {
                return Flow::GoesOn;
            }
            // The input, or the answer that it goes on after.
            self.created(at, out);
            return match delta {
                Delta::Accepted { answered: false } => self.end("completed", out),
                _ => Flow::GoesOn,
            };
        }
        match delta {
            Delta::Accepted { .. } | Delta::Step | Delta::Metadata(_) => {}
            Delta::Started => self.progress(out),
            Delta::Rewound { from, .. } => self.items.take_back(from),
            Delta::Question(_) | Delta::Answered { .. } | Delta::Expired { .. } => {
                self.items.question(delta);
            }
            Delta::Waits => return self.waits(at, out),
            Delta::Ended(end) => return self.ended(at, end, out),
            output => {
                self.progress(out);
                self.output(at, output, out);
            }
        }
        if self.items.is_too_large() {
            return self.fail("the answer is larger than a response may be".into(), out);
        }
        // At another node, or later, there may be.
        if self.items.has_room() { Flow::GoesOn } else { Flow::BreaksOff }
    }

    fn knows(&mut self, delta: Delta) {
        self.items.question(delta);
    }

    fn lost(&mut self, out: &mut Vec<u8>) {
        self.fail("the answer can be followed no further".into(), out);
    }
}

fn name_of(kind: Kind) -> &'static str {
    match kind {
        Kind::Text => "output_text",
        Kind::Reasoning => "reasoning_summary_text",
    }
}

/// A number, as JSON.
pub(super) fn count(number: u64) -> Json {
    Json::raw(&number.to_string())
}
