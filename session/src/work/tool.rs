//! Calls of tools that workers make: their beginnings and results. Nothing here makes one.
//!
//! A call that was begun and has no result when its worker is lost is in doubt: the next worker learns of it, with the
//! key under which it was made. The result of a call is recorded whoever reports it, and when: of a worker that was
//! fenced, or after the turn's end, as late, and as a fact of no turn (S4, S5).

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::command::{ToolMark, ToolResult, ToolStep, TurnReport};
use crate::event::{Event, NewEvent};
use crate::fact::Fact;
use crate::ids::{CallId, Millis, Serial, TurnEpoch, TurnId};
use crate::limits;
use crate::live::{Live, check_size};
use crate::outcome::Applied;
use crate::refusal::Refusal;
use crate::tool_key;
use crate::turn::ToolCall;
use crate::work::ask::digest;

/// The result of a call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ToolOutcome {
    /// Hash of the call and of what came of it.
    digest: u64,
    serial: Serial,
    late: bool,
}

impl Live {
    /// The keys of the calls that a report begins.
    pub(super) fn tool_keys(&self, request: &TurnReport) -> Vec<(CallId, u128)> {
        let tools = request.output.iter().flat_map(|output| &output.tools);
        let begun = tools.filter(|mark| matches!(mark.step, ToolStep::Started { .. }));
        let key = |call: &CallId| tool_key::of(self.work.key_seed, &request.turn, call);
        begun.map(|mark| (mark.call.clone(), key(&mark.call))).collect()
    }

    /// Checks whether a worker may begin all of these calls.
    pub(super) fn check_tools(&self, at: usize, tools: &[ToolMark]) -> Result<(), Refusal> {
        for mark in tools {
            check_size(std::slice::from_ref(mark.output()))?;
        }
        let turn = &self.work.turns[at];
        let mut under_way = turn.tools.len();
        for mark in tools {
            let known = turn.tools.iter().any(|begun| begun.call == mark.call);
            under_way += usize::from(!known && matches!(mark.step, ToolStep::Started { .. }));
        }
        let limit = limits::TOOL_CALLS;
        if limit < under_way { Err(Refusal::TooManyToolCalls { limit }) } else { Ok(()) }
    }

    /// Takes the results that a worker reports of its calls.
    pub(super) fn finish_tools(
        &mut self,
        now: Millis,
        at: usize,
        epoch: TurnEpoch,
        tools: &[ToolMark],
        out: &mut Vec<Event>,
    ) {
        for mark in tools {
            let ToolStep::Finished { result, failed } = &mark.step else { continue };
            self.finish(now, at, epoch, &mark.call, (result, *failed), out);
        }
    }

    /// Takes note of calls that a worker is about to make. One that it has begun already is not begun again.
    pub(super) fn start_tools(
        &mut self,
        now: Millis,
        at: usize,
        epoch: TurnEpoch,
        tools: &[ToolMark],
        out: &mut Vec<Event>,
    ) {
        for mark in tools {
            let ToolStep::Started { tool, arguments } = &mark.step else { continue };
            let turn = &mut self.work.turns[at];
            let begun = turn.tools.iter().position(|begun| begun.call == mark.call);
            if begun.is_some_and(|begun| turn.tools[begun].epoch == epoch) {
                continue;
            }
            let (id, call, tool) = (turn.id.clone(), mark.call.clone(), tool.clone());
            let key = tool_key::of(self.work.key_seed, &id, &call);
            let (of, named) = (call.clone(), tool.clone());
            let fact = Fact::ToolStarted { turn: id, epoch, call: of, tool: named, key };
            let serial = self.record(now, fact, arguments, out);
            let started = ToolCall { call, tool, key, epoch, serial };
            let tools = &mut self.work.turns[at].tools;
            match begun {
                Some(begun) => tools[begun] = started,
                None => tools.push(started),
            }
        }
    }

    fn finish(
        &mut self,
        now: Millis,
        at: usize,
        epoch: TurnEpoch,
        call: &CallId,
        (result, failed): (&NewEvent, bool),
        out: &mut Vec<Event>,
    ) -> Serial {
        let turn = &mut self.work.turns[at];
        turn.tools.retain(|begun| begun.call != *call);
        let (turn, call) = (turn.id.clone(), call.clone());
        let key = tool_key::of(self.work.key_seed, &turn, &call);
        self.record(now, Fact::ToolFinished { turn, epoch, call, key, failed }, result, out)
    }

    /// Takes what came of a call from whoever made it.
    pub(crate) fn tool_result(
        &mut self,
        now: Millis,
        request: &ToolResult,
        out: &mut Vec<Event>,
    ) -> Result<Applied, Refusal> {
        let ToolResult { turn, call, key, epoch, result, failed } = request;
        if *key != tool_key::of(self.work.key_seed, turn, call) {
            return Err(Refusal::NoSuchToolCall);
        }
        let digest = digest_of(turn, call, result, *failed);
        // A call that was begun again since then has a result again.
        let at = self.work.find(turn);
        let begun = at.and_then(|at| {
            let mut begun = self.work.turns[at].tools.iter();
            begun.find(|begun| begun.call == *call).map(|begun| begun.serial)
        });
        let mut before = self.work.tool_results.iter();
        let before = before.find(|before| {
            before.digest == digest && begun.is_none_or(|begun| begun < before.serial)
        });
        if let Some(before) = before {
            let (serial, late) = (before.serial, before.late);
            return Ok(Applied::ToolResult { serial, duplicate: true, late });
        }
        self.check_takes_turns()?;
        if at.is_none() && self.work.known(turn).is_none() {
            self.check_standing()?;
        }
        check_size(std::slice::from_ref(result))?;
        let has =
            |at: &usize| self.work.turns[*at].lease().is_some_and(|lease| lease.epoch == *epoch);
        let late = !at.as_ref().is_some_and(has);
        let serial = match at {
            Some(at) if !late => self.finish(now, at, *epoch, call, (result, *failed), out),
            at => {
                if let Some(at) = at {
                    // Its next worker need not query its result.
                    self.work.turns[at].tools.retain(|begun| begun.call != *call);
                }
                let (of, call) = (turn.clone(), call.clone());
                let (epoch, key, failed) = (*epoch, *key, *failed);
                let fact = Fact::ToolLate { of, epoch, call, key, failed };
                self.record_of(now, None, fact, result, out)
            }
        };
        self.work.tool_results.push_back(ToolOutcome { digest, serial, late });
        if limits::TOOL_RESULTS < self.work.tool_results.len() {
            self.work.tool_results.pop_front();
        }
        Ok(Applied::ToolResult { serial, duplicate: false, late })
    }
}

fn digest_of(turn: &TurnId, call: &CallId, result: &NewEvent, failed: bool) -> u64 {
    let named = format!("{}\0{}\0{failed}", turn.as_str(), call.as_str());
    xxh3_64_with_seed(named.as_bytes(), digest(result))
}
