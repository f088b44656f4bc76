//! What holds of turns, as scripts and checked after any commands in any order (S4, S5, S9).

use std::collections::BTreeMap;

use bytes::Bytes;
use proptest::prelude::*;

use super::people_tests::reports;
use super::stored::read_back;
use super::subturn_tests::sub;
use super::*;
use crate::ids::{AgentName, StepName, TurnEpoch, TurnId, WorkerName};

pub(super) fn turn_id(name: &str) -> TurnId {
    TurnId::parse(name).unwrap()
}

pub(super) fn words(text: &str) -> NewEvent {
    NewEvent { format: Format::TEXT, payload: Bytes::copy_from_slice(text.as_bytes()) }
}

pub(super) fn input(name: &str, agent: &str, when_busy: WhenBusy) -> Command {
    let (input, agent) = (turn_id(name), AgentName::parse(agent).unwrap());
    let output = words(&format!("please {name}"));
    let when_busy = Some(when_busy);
    Command::Input(Box::new(Input { when_busy, ..Input::new(input, agent, output) }))
}

pub(super) fn claim(turn: &str, worker: &str, key: u64) -> Command {
    let (turn, worker) = (turn_id(turn), WorkerName::parse(worker).unwrap());
    Command::Claim(Box::new(Claim {
        turn,
        worker,
        key,
        lease_ms: 1_000,
        progress_timeout_ms: 4_000,
        node: None,
    }))
}

pub(super) fn emit(turn: &str, epoch: u64, seq: Option<u64>, text: &str, then: Then) -> Command {
    let events = if text.is_empty() { Vec::new() } else { vec![words(text)] };
    let output = seq.map(|seq| TurnOutput { seq, events, then, ..TurnOutput::default() });
    Command::Report(Box::new(TurnReport {
        output,
        ..TurnReport::new(turn_id(turn), TurnEpoch(epoch))
    }))
}

pub(super) fn cancel(scope: Scope) -> Command {
    Command::Cancel(Box::new(Cancel::new(scope, "enough")))
}

pub(super) struct Play {
    pub(super) session: Session,
    pub(super) now: Millis,
    pub(super) log: Vec<Event>,
}

impl Play {
    pub(super) fn new() -> Play {
        Play::under(Policy::default())
    }

    pub(super) fn under(policy: Policy) -> Play {
        let mut session = Session::absent(SessionId::parse("s").unwrap());
        let config = Config { policy, ..Config::default() };
        session.apply(Millis(0), &config.into(), &mut Vec::new()).unwrap();
        Play { session, now: Millis(0), log: Vec::new() }
    }

    pub(super) fn run(&mut self, command: Command) -> Result<Applied, Refusal> {
        let before = self.session.clone();
        let answer = self.session.apply(self.now, &command, &mut self.log);
        if answer.is_err() {
            assert_eq!(self.session, before, "a refusal changes nothing");
        }
        answer
    }

    /// Lets a worker that begins sub-turns have its turn, and know its epoch and seq, if it is open.
    fn know_place(&self, command: &mut Command) {
        let Command::Report(report) = command else { return };
        let lease = self.session.live().and_then(|live| {
            let turn = live.work.turns.iter().find(|turn| turn.id == report.turn)?;
            turn.lease().map(|lease| (lease.epoch, lease.seq))
        });
        if let (Some((epoch, seq)), Some(output)) = (lease, &mut report.output)
            && !output.begin.is_empty()
        {
            (report.epoch, output.seq) = (epoch, seq);
        }
    }

    /// What has happened and is not rendered yet.
    pub(super) fn log(&self) -> &[Event] {
        &self.log
    }

    pub(super) fn drain(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.log)
    }

    pub(super) fn wait(&mut self, span_ms: u64) -> &mut Play {
        self.now = self.now.after(span_ms);
        self
    }

    /// What has happened since the last call, as text.
    pub(super) fn rendered(&mut self) -> String {
        let tell = |event: Event| {
            let fact = event.fact.expect("everything means something");
            let text = String::from_utf8_lossy(&event.payload).replace("null", "");
            let about = match &*fact {
                Fact::Receipt { input, .. } => input.as_str(),
                fact => fact.turn().map_or("", TurnId::as_str),
            };
            let rendered = format!("{} {about} {text}", fact.name());
            rendered.split_whitespace().collect::<Vec<_>>().join(" ")
        };
        let all: Vec<_> = self.log.drain(..).map(tell).collect();
        all.join(", ")
    }
}

#[test]
fn a_turn_goes_from_its_input_to_its_end() {
    let mut play = Play::new();
    play.run(input("t1", "a", WhenBusy::Steer)).unwrap();
    let again = play.run(input("t1", "a", WhenBusy::Steer)).unwrap();
    assert!(matches!(again, Applied::Input { duplicate: true, serial: Serial(1), .. }));
    let offer =
        Effect::Offer { turn: turn_id("t1"), agent: AgentName::parse("a").unwrap(), attempt: 0 };
    assert_eq!(play.session.effects(play.now), [offer]);
    play.run(claim("t1", "w", 7)).unwrap();
    assert_eq!(play.session.effects(play.now), []);
    let again = play.run(claim("t1", "w", 7)).unwrap();
    assert!(matches!(again, Applied::Claimed { turn } if turn.attempts == 1));
    assert_eq!(play.run(claim("t1", "x", 8)), Err(Refusal::TurnAlreadyClaimed));
    play.run(emit("t1", 1, Some(0), "Hel", Then::GoOn)).unwrap();
    let again = play.run(emit("t1", 1, Some(0), "Hel", Then::GoOn)).unwrap();
    assert!(matches!(again, Applied::OutputAccepted { duplicate: true, places: None, .. }));
    let gap = Refusal::SequenceGap { expected: 1, received: 2 };
    assert_eq!(play.run(emit("t1", 1, Some(2), "x", Then::GoOn)), Err(gap));
    let done = play.run(emit("t1", 1, Some(1), "lo", Then::Complete)).unwrap();
    assert!(matches!(
        done,
        Applied::OutputAccepted { over: true, places: Some((Serial(4), Serial(5))), .. }
    ));
    let again = play.run(emit("t1", 1, Some(1), "lo", Then::Complete)).unwrap();
    assert!(matches!(
        again,
        Applied::OutputAccepted { over: true, duplicate: true, places: None, .. }
    ));
    assert_eq!(play.run(emit("t1", 1, Some(2), "more", Then::GoOn)), Err(Refusal::TurnEnded));
    assert_eq!(
        play.rendered(),
        "input.accepted t1 please t1, turn.started t1, turn.output t1 Hel, turn.output t1 lo, \
         turn.completed t1"
    );
    assert_eq!(play.session.deadline(), None);
}

#[test]
fn an_input_to_a_busy_agent_does_as_it_says() {
    let mut play = Play::new();
    play.run(input("t1", "a", WhenBusy::Reject)).unwrap();
    play.run(claim("t1", "w", 1)).unwrap();
    let busy = Refusal::Busy { turn: turn_id("t1") };
    assert_eq!(play.run(input("t2", "a", WhenBusy::Reject)), Err(busy));
    let steered = play.run(input("t3", "a", WhenBusy::Steer)).unwrap();
    assert!(matches!(steered, Applied::Input { turn, .. } if turn == turn_id("t1")));
    play.run(input("t4", "a", WhenBusy::Queue)).unwrap();
    play.run(input("t5", "b", WhenBusy::Steer)).unwrap();
    assert_eq!(play.session.effects(play.now).len(), 1, "t4 waits for t1, and t5 for nobody");
    let beat = play.run(emit("t1", 1, None, "", Then::GoOn)).unwrap();
    assert!(matches!(beat, Applied::OutputAccepted { last_input: Serial(3), over: false, .. }));
    play.run(input("t6", "a", WhenBusy::Interrupt)).unwrap();
    assert_eq!(play.run(emit("t1", 1, Some(0), "late", Then::GoOn)), Err(Refusal::TurnEnded));
    play.rendered();
    play.run(cancel(Scope::Agent(AgentName::parse("b").unwrap()))).unwrap();
    assert_eq!(play.rendered(), "turn.cancelled t5");
    assert_eq!(play.run(cancel(Scope::All)).unwrap(), Applied::Cancelled { turns: 1 });
    assert_eq!(play.run(cancel(Scope::All)).unwrap(), Applied::Cancelled { turns: 0 });
    assert_eq!(play.rendered(), "turn.cancelled t6");
}

#[test]
fn who_may_not_steer_is_under_the_policy_all_the_same() {
    use WhenBusy::{Instead, Interrupt, Queue, Reject, Steer, Unsteered};
    for (request, policy, done) in [
        (None, Steer, Steer),
        (None, Reject, Reject),
        (Some(Unsteered), Steer, Queue),
        (Some(Unsteered), Queue, Queue),
        (Some(Unsteered), Reject, Reject),
        (Some(Unsteered), Interrupt, Interrupt),
        (Some(Unsteered), Instead, Instead),
        (Some(Queue), Reject, Queue),
    ] {
        assert_eq!(WhenBusy::under(request, policy), done, "{request:?} {policy:?}");
    }
    assert_eq!(WhenBusy::parse("unsteered"), None);
    let mut play = Play::new();
    play.run(input("t1", "a", Steer)).unwrap();
    let queued = play.run(input("t2", "a", Unsteered)).unwrap();
    assert!(matches!(queued, Applied::Input { turn, .. } if turn == turn_id("t2")));
}

#[test]
fn a_turn_may_be_cancelled_before_it_is_asked_for() {
    let mut play = Play::new();
    play.run(cancel(Scope::Turn(turn_id("t1")))).unwrap();
    assert_eq!(play.rendered(), "");
    play.run(input("t1", "a", WhenBusy::Steer)).unwrap();
    assert_eq!(play.rendered(), "input.accepted t1 please t1, turn.cancelled t1");
    assert_eq!(play.session.effects(play.now), []);
    let again = play.run(input("t1", "a", WhenBusy::Steer)).unwrap();
    assert!(matches!(again, Applied::Input { duplicate: true, .. }));
}

#[test]
fn a_silent_worker_is_replaced_and_fenced() {
    let mut play = Play::new();
    play.run(input("t1", "a", WhenBusy::Steer)).unwrap();
    play.run(claim("t1", "w", 1)).unwrap();
    play.run(emit("t1", 1, Some(0), "one ", Then::GoOn)).unwrap();
    play.rendered();
    play.wait(999).run(Command::Tick).unwrap();
    assert_eq!(play.rendered(), "");
    play.wait(1).run(Command::Tick).unwrap();
    assert_eq!(play.rendered(), "agent.lost t1");
    assert_eq!(play.session.effects(play.now).len(), 1, "the first successor comes at once");
    let fenced = Err(Refusal::Fenced { given: TurnEpoch(1), held: TurnEpoch(1) });
    assert_eq!(play.run(emit("t1", 1, Some(1), "zombie", Then::GoOn)), fenced);
    let taken = play.run(claim("t1", "x", 2)).unwrap();
    assert!(matches!(taken, Applied::Claimed { turn } if turn.attempts == 2));
    let fenced = Err(Refusal::Fenced { given: TurnEpoch(1), held: TurnEpoch(2) });
    assert_eq!(play.run(emit("t1", 1, Some(1), "zombie", Then::Complete)), fenced);
    // It is lost again and again: the pauses grow, and then it is enough.
    let mut pauses = Vec::new();
    for key in 3.. {
        play.wait(1_000).run(Command::Tick).unwrap();
        let Some(from) = play.session.deadline() else { break };
        pauses.push(from.since(play.now));
        play.wait(from.since(play.now));
        play.run(claim("t1", "x", key)).unwrap();
    }
    assert_eq!(pauses, [1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000]);
    assert!(play.rendered().ends_with("agent.lost t1, turn.failed t1"));
}

#[test]
fn a_worker_that_lives_and_says_nothing_is_stalled_and_then_replaced() {
    let mut play = Play::new();
    play.run(input("t1", "a", WhenBusy::Steer)).unwrap();
    play.run(claim("t1", "w", 1)).unwrap();
    play.rendered();
    let mut beats = String::new();
    for _ in 0..20 {
        play.wait(500).run(Command::Tick).unwrap();
        if play.run(emit("t1", 1, None, "", Then::GoOn)).is_err() {
            break;
        }
        let rendered = play.rendered();
        if !rendered.is_empty() {
            beats += &format!("{} at {}; ", rendered, play.now.0);
        }
    }
    assert_eq!(beats + &play.rendered(), "agent.stalled t1 at 4000; agent.lost t1");
    // A slow tool with a declared time is not stalled.
    play.run(claim("t1", "w", 2)).unwrap();
    play.rendered();
    let (progress_timeout_ms, checkpoint) = (Some(60_000), Some(Bytes::from_static(b"half")));
    let busy = TurnReport {
        progress_timeout_ms,
        checkpoint,
        ..TurnReport::new(turn_id("t1"), TurnEpoch(2))
    };
    play.run(Command::Report(Box::new(busy))).unwrap();
    for _ in 0..20 {
        play.wait(500).run(Command::Tick).unwrap();
        play.run(emit("t1", 2, None, "", Then::GoOn)).unwrap();
    }
    assert_eq!(play.rendered(), "");
    play.run(emit("t1", 2, Some(0), "", Then::Release)).unwrap();
    assert_eq!(play.rendered(), "agent.lost t1");
    let again = play.run(emit("t1", 2, Some(0), "", Then::Release)).unwrap();
    assert!(matches!(again, Applied::OutputAccepted { over: false, duplicate: true, .. }));
    let taken = play.wait(1_000).run(claim("t1", "x", 3));
    let Ok(Applied::Claimed { turn }) = taken else { panic!("{taken:?}") };
    assert_eq!(turn.checkpoint.as_deref(), Some(&b"half"[..]));
}

#[test]
fn a_stalled_worker_loses_its_step_before_it_loses_its_turn() {
    let mut play = Play::new();
    play.run(input("t1", "a", WhenBusy::Steer)).unwrap();
    play.run(claim("t1", "w", 1)).unwrap();
    let step = |seq, epoch, name: &str| {
        let (step, events) = (StepName::parse(name).ok(), vec![words("x")]);
        let output = TurnOutput { seq, step, events, ..TurnOutput::default() };
        let report = TurnReport::new(turn_id("t1"), TurnEpoch(epoch));
        Command::Report(Box::new(TurnReport { output: Some(output), ..report }))
    };
    play.run(step(0, 1, "search")).unwrap();
    play.rendered();
    let beat = emit("t1", 1, None, "", Then::GoOn);
    let mut rendered = String::new();
    for _ in 0..13 {
        play.wait(500).run(Command::Tick).unwrap();
        play.run(beat.clone()).unwrap();
        rendered += &play.rendered();
    }
    assert_eq!(rendered, "agent.stalled t1step.cancelled t1");
    // It gets on, but not with that.
    let more = play.run(emit("t1", 1, Some(1), "more", Then::GoOn));
    assert!(matches!(more, Err(Refusal::StepCancelled { .. })), "{more:?}");
    play.run(step(1, 1, "write")).unwrap();
    play.run(emit("t1", 1, Some(2), "more", Then::GoOn)).unwrap();
    assert_eq!(
        play.rendered(),
        "agent.resumed t1, step.started t1, turn.output t1 x, turn.output t1 more"
    );
    // Whoever comes after one that was lost so goes on with the step.
    for _ in 0..20 {
        play.wait(500).run(Command::Tick).unwrap();
        if play.run(beat.clone()).is_err() {
            break;
        }
    }
    assert!(play.rendered().ends_with("step.cancelled t1, agent.lost t1"));
    play.run(claim("t1", "x", 2)).unwrap();
    play.run(emit("t1", 2, Some(0), "more", Then::GoOn)).unwrap();
}

#[test]
fn a_session_that_closes_ends_its_turns() {
    let mut play = Play::new();
    play.run(input("t1", "a", WhenBusy::Steer)).unwrap();
    play.run(input("t2", "a", WhenBusy::Queue)).unwrap();
    play.run(Command::Close { producer: None }).unwrap();
    assert!(play.rendered().ends_with("turn.cancelled t1, turn.cancelled t2"));
    let closed = Err(Refusal::Closed { tail: Serial(4) });
    assert_eq!(play.run(input("t3", "a", WhenBusy::Steer)), closed);
}

pub(super) fn any_command() -> impl Strategy<Value = Command> {
    let turn = || prop_oneof![Just("t1"), Just("t2"), Just("t3"), Just("t4")];
    let open = || prop_oneof![2 => turn(), 1 => Just("s1"), 1 => Just("s2")];
    let busy = prop_oneof![
        Just(WhenBusy::Steer),
        Just(WhenBusy::Queue),
        Just(WhenBusy::Interrupt),
        Just(WhenBusy::Reject),
        Just(WhenBusy::Instead)
    ];
    let agent = prop_oneof![Just("a"), Just("b")];
    let then = prop_oneof![
        4 => Just(Then::GoOn),
        1 => Just(Then::Complete),
        1 => Just(Then::Fail { reason: "no".into() }),
        1 => Just(Then::Release),
        1 => Just(Then::WaitAll),
        1 => Just(Then::WaitAny)
    ];
    let below = prop::collection::vec((open(), prop_oneof![Just("a"), Just("c")]), 0..3);
    prop_oneof![
        3 => (turn(), agent, busy).prop_map(|(turn, agent, busy)| input(turn, agent, busy)),
        4 => (open(), 0..4_u64).prop_map(|(turn, key)| claim(turn, "w", key)),
        8 => (open(), 0..6_u64, prop::option::of(0..3_u64), then.clone())
            .prop_map(|(turn, epoch, seq, then)| emit(turn, epoch, seq, "x", then)),
        6 => (open(), 0..4_u64, 0..2_u64, below, then.clone()).prop_map(|(turn, epoch, seq, below, then)| {
            let begin = below.iter().map(|(turn, agent)| sub(turn, agent)).collect();
            reports(turn, epoch, TurnOutput { seq, begin, then, ..TurnOutput::default() })
        }),
        1 => turn().prop_map(|turn| cancel(Scope::Turn(turn_id(turn)))),
        1 => Just(cancel(Scope::All)),
        4 => Just(Command::Tick),
        1 => Just(Command::Close { producer: None }),
        1 => Just(Command::Delete { incarnation: None }),
        2 => Just(Command::from(Config::default())),
    ]
}

proptest! {
    #[test]
    fn every_turn_ends_once_and_only_its_worker_speaks(
        steps in prop::collection::vec((0_u64..3_000, any_command()), 1..120),
    ) {
        let mut play = Play::new();
        let mut ended: BTreeMap<String, u32> = BTreeMap::new();
        let mut holder: BTreeMap<String, TurnEpoch> = BTreeMap::new();
        let mut last_epoch = TurnEpoch::NONE;
        for (wait, mut command) in steps {
            play.know_place(&mut command);
            let sent = read_back(&command);
            prop_assert_eq!(&sent, &command);
            let life = play.session.incarnation();
            play.wait(wait).run(command).ok();
            if play.session.incarnation() != life {
                ended.clear();
                holder.clear();
            }
            for event in play.log.drain(..) {
                prop_assert_eq!(&read_back(&event), &event);
                let fact = event.fact.unwrap();
                let Some(turn) = fact.turn().map(ToString::to_string) else { continue };
                let over = ended.contains_key(&turn);
                match *fact {
                    Fact::Input { held: true, .. } => {}
                    Fact::Input { .. } => prop_assert!(!over, "an input to a turn that is over"),
                    Fact::Started { epoch, .. } => {
                        prop_assert!(!over && last_epoch < epoch, "epochs only grow");
                        last_epoch = epoch;
                        holder.insert(turn, epoch);
                    }
                    Fact::Output(Output { epoch, .. }) => {
                        prop_assert!(!over, "output after the end (S5)");
                        prop_assert_eq!(holder.get(&turn), Some(&epoch), "a zombie spoke (S4)");
                    }
                    Fact::Stalled { epoch, .. } | Fact::Lost { epoch, .. } => {
                        prop_assert_eq!(holder.get(&turn), Some(&epoch));
                        if matches!(*fact, Fact::Lost { .. }) {
                            holder.remove(&turn);
                        }
                    }
                    Fact::Ended { .. } => *ended.entry(turn).or_default() += 1,
                    Fact::Receipt { .. } => {}
                    _ => prop_assert!(!over, "{} after the end", fact.name()),
                }
            }
            prop_assert!(ended.values().all(|times| *times == 1), "a second end (S9)");
            let again = read_back(&play.session);
            prop_assert_eq!(&again, &play.session);
            let open = play.session.status().map_or_else(Vec::new, |status| status.turns);
            prop_assert!(open.iter().all(|turn| !ended.contains_key(turn.turn.as_str())));
        }
        // Left alone, every turn comes to its end: no worker takes it, or the one that has it is lost.
        for _ in 0..1_000 {
            let Some(at) = play.session.tick_at() else { break };
            play.now = play.now.max(at);
            play.run(Command::Tick).unwrap();
        }
        let open = play.session.status().map_or(0, |status| status.turns.len());
        prop_assert_eq!(open, 0, "a turn without an end (S9)");
    }
}
