//! What holds between people and agents: receipts, steps, pauses, questions and control, as scripts.

use bytes::Bytes;
use proptest::prelude::*;

use super::call_tests::{finishes, result, starts};
use super::stored::read_back;
use super::subturn_tests::sub;
use super::turn_tests::{Play, cancel, claim, emit, input, turn_id, words};
use super::*;
use crate::ids::{
    AgentName, CallEpoch, InteractionId, KindName, ParticipantName, StepName, ToolName, TurnEpoch,
};

fn sender(name: &str) -> Sender {
    Sender { participant: ParticipantName::parse(name).unwrap(), device: None }
}

pub(super) fn from(name: &str, id: &str) -> Command {
    let agent = AgentName::parse("a").unwrap();
    let sender = Some(sender(name));
    Command::Input(Box::new(Input { sender, ..Input::new(turn_id(id), agent, words("hi")) }))
}

fn hears(turn: &str, epoch: u64, delivered: u64, consumed: u64) -> Command {
    let (delivered, consumed) = (Some(Serial(delivered)), Some(Serial(consumed)));
    Command::Report(Box::new(TurnReport {
        delivered,
        consumed,
        ..TurnReport::new(turn_id(turn), TurnEpoch(epoch))
    }))
}

pub(super) fn reports(turn: &str, epoch: u64, emitted: TurnOutput) -> Command {
    Command::Report(Box::new(TurnReport {
        output: Some(emitted),
        ..TurnReport::new(turn_id(turn), TurnEpoch(epoch))
    }))
}

fn step(name: &str) -> Option<StepName> {
    Some(StepName::parse(name).unwrap())
}

pub(super) fn asks(seq: u64, name: &str, deadline_ms: Option<u64>, then: Then) -> TurnOutput {
    let (interaction, kind) =
        (InteractionId::parse(name).unwrap(), KindName::parse("approval").unwrap());
    let ask =
        Ask { interaction, kind, question: words("may I?"), deadline_ms, role: Role::Participant };
    TurnOutput { seq, ask: vec![ask], then, ..TurnOutput::default() }
}

pub(super) fn answer(name: &str, by: &str, text: &str) -> Command {
    let interaction = InteractionId::parse(name).unwrap();
    let (sender, role) = (Some(sender(by)), Role::Participant);
    Command::Answer(Box::new(Answer { sender, role, ..Answer::new(interaction, words(text)) }))
}

pub(super) fn control(by: &str, role: Role, verb: ControlVerb) -> Command {
    let (by, for_ms, note) = (sender(by), 10_000, String::new());
    Command::Control(Box::new(ControlRequest { verb, by, for_ms, note, role }))
}

pub(super) fn take(by: &str, role: Role) -> Command {
    control(by, role, ControlVerb::Take { mode: Mode::Manual })
}

pub(super) fn audience(watchers: u32) -> Command {
    Command::Audience(Audience { watchers, controllers: 0 })
}

pub(super) fn lose(turn: &str, epoch: u64, cause: Cause) -> Command {
    let (turn, epoch) = (turn_id(turn), TurnEpoch(epoch));
    Command::Lose(Box::new(Lose { turn, epoch, cause, wait_ms: 0, detail: "x".into() }))
}

#[test]
fn who_speaks_instead_of_answering_ends_what_waits_for_people_alone() {
    let mut play = Play::new();
    play.run(input("t1", "a", WhenBusy::Steer)).unwrap();
    play.run(claim("t1", "w", 1)).unwrap();
    // It works yet.
    play.run(input("t2", "a", WhenBusy::Instead)).unwrap();
    play.run(reports("t1", 1, asks(0, "q", None, Then::Wait))).unwrap();
    play.rendered();
    play.run(input("t3", "a", WhenBusy::Instead)).unwrap();
    assert_eq!(
        play.rendered(),
        "interaction.expired t1, turn.cancelled t1, input.accepted t3 please t3",
        "what others asked for stays"
    );
    // What it did before a retry came is no change.
    let again = play.run(input("t3", "a", WhenBusy::Instead)).unwrap();
    assert!(matches!(again, Applied::Input { duplicate: true, .. }));
    assert_eq!(play.rendered(), "");
}

#[test]
fn a_steer_hears_what_became_of_it() {
    let mut play = Play::new();
    play.run(input("t1", "a", WhenBusy::Steer)).unwrap();
    play.run(claim("t1", "w", 1)).unwrap();
    play.run(input("s1", "a", WhenBusy::Steer)).unwrap();
    play.run(input("s2", "a", WhenBusy::Steer)).unwrap();
    play.rendered();
    play.run(hears("t1", 1, 4, 3)).unwrap();
    play.run(hears("t1", 1, 4, 3)).unwrap();
    assert_eq!(
        play.rendered(),
        "input.delivered s1, input.consumed s1, input.delivered s2",
        "said again, it is no news"
    );
    play.run(emit("t1", 1, Some(0), "done", Then::Complete)).unwrap();
    assert_eq!(play.rendered(), "turn.output t1 done, turn.completed t1, input.deferred s2");
    let next = play.run(claim("s2", "w", 2)).unwrap();
    assert!(matches!(next, Applied::Claimed { turn } if turn.input == Serial(4)));
    play.run(input("s3", "a", WhenBusy::Steer)).unwrap();
    play.rendered();
    play.run(cancel(Scope::All)).unwrap();
    assert_eq!(play.rendered(), "input.dropped s3, turn.cancelled s2");
    assert_eq!(play.run(emit("t1", 1, Some(1), "late", Then::GoOn)), Err(Refusal::TurnEnded));
}

#[test]
fn what_came_with_the_assignment_is_taken_in_when_the_turn_ends() {
    let mut play = Play::new();
    play.run(input("t1", "a", WhenBusy::Steer)).unwrap();
    play.run(input("s1", "a", WhenBusy::Steer)).unwrap();
    play.run(claim("t1", "w", 1)).unwrap();
    play.rendered();
    play.run(emit("t1", 1, Some(0), "", Then::Complete)).unwrap();
    assert_eq!(play.rendered(), "input.consumed s1, turn.completed t1");
}

#[test]
fn a_later_attempt_supersedes_an_earlier_one_only_when_it_speaks() {
    let mut play = Play::new();
    play.run(input("t1", "a", WhenBusy::Steer)).unwrap();
    play.run(claim("t1", "w", 1)).unwrap();
    let write = |seq, text: &str, rewind| {
        let events = if text.is_empty() { vec![] } else { vec![words(text)] };
        TurnOutput { seq, step: step("write"), rewind, events, ..TurnOutput::default() }
    };
    play.run(reports("t1", 1, write(0, "half", false))).unwrap();
    assert_eq!(play.run(lose("t1", 7, Cause::Exited)).unwrap(), Applied::Lost { was: false });
    assert_eq!(play.run(lose("t1", 1, Cause::Exited)).unwrap(), Applied::Lost { was: true });
    play.run(claim("t1", "w", 2)).unwrap();
    play.rendered();
    play.run(reports("t1", 2, write(0, "", true))).unwrap();
    assert_eq!(play.rendered(), "step.started t1");
    let rest =
        TurnOutput { seq: 1, rewind: true, events: vec![words("whole")], ..TurnOutput::default() };
    play.run(reports("t1", 2, rest)).unwrap();
    assert_eq!(play.rendered(), "step.rewound t1, turn.output t1 whole");
    let turn = play.session.status().unwrap().turns.remove(0);
    assert_eq!((turn.step, turn.first_output), (Some((step("write").unwrap(), 2)), Serial(9)));
    let late = reports("t1", 1, write(1, "zombie", false));
    assert_eq!(play.run(late), Err(Refusal::Fenced { given: TurnEpoch(1), held: TurnEpoch(2) }));
    play.rendered();
    let scope = Scope::Step(turn_id("t1"), step("write").unwrap());
    assert_eq!(play.run(cancel(scope.clone())).unwrap(), Applied::Cancelled { turns: 1 });
    assert_eq!(play.run(cancel(scope)).unwrap(), Applied::Cancelled { turns: 0 });
    let more = emit("t1", 2, Some(2), "more", Then::GoOn);
    assert!(matches!(play.run(more), Err(Refusal::StepCancelled { .. })));
    let read = TurnOutput {
        seq: 2,
        step: step("read"),
        events: vec![words("on")],
        ..TurnOutput::default()
    };
    play.run(reports("t1", 2, read)).unwrap();
    assert_eq!(play.rendered(), "step.cancelled t1, step.started t1, turn.output t1 on");
}

#[test]
fn who_waits_for_people_is_not_stalled() {
    let mut play = Play::new();
    play.run(input("t1", "a", WhenBusy::Steer)).unwrap();
    play.run(claim("t1", "w", 1)).unwrap();
    play.run(reports("t1", 1, asks(0, "q", None, Then::GoOn))).unwrap();
    play.rendered();
    for _ in 0..40 {
        play.wait(500).run(emit("t1", 1, None, "", Then::GoOn)).unwrap();
        play.run(Command::Tick).unwrap();
    }
    assert_eq!(play.rendered(), "");
    play.run(answer("q", "ann", "yes")).unwrap();
    play.wait(500).run(emit("t1", 1, None, "", Then::GoOn)).unwrap();
    play.run(Command::Tick).unwrap();
    assert_eq!(play.rendered(), "interaction.resolved t1 yes");
}

#[test]
fn turns_rest_when_nobody_watches_and_go_on_when_somebody_comes() {
    let unwatched = Unwatched::Pause { after_ms: 100 };
    let mut play = Play::under(Policy { unwatched, ..Policy::default() });
    play.run(input("t1", "a", WhenBusy::Steer)).unwrap();
    play.run(input("t2", "b", WhenBusy::Steer)).unwrap();
    play.run(claim("t1", "w", 1)).unwrap();
    play.run(audience(1)).unwrap();
    play.run(audience(1)).unwrap();
    play.rendered();
    play.wait(10).run(audience(0)).unwrap();
    assert_eq!(play.session.tick_at(), Some(Millis(110)));
    play.wait(100).run(Command::Tick).unwrap();
    assert_eq!(play.rendered(), "audience.changed, turn.pausing t1, turn.paused t2");
    let pause = emit("t1", 1, Some(0), "so far", Then::Pause);
    play.run(pause).unwrap();
    assert_eq!(play.rendered(), "turn.output t1 so far, turn.paused t1");
    assert_eq!((play.session.effects(play.now), play.session.tick_at()), (vec![], None));
    play.run(audience(2)).unwrap();
    assert_eq!(play.rendered(), "audience.changed, turn.resumed t1, turn.resumed t2");
    assert_eq!(play.session.effects(play.now).len(), 2);
    play.run(claim("t1", "w", 2)).unwrap();
    play.run(audience(0)).unwrap();
    play.wait(100).run(Command::Tick).unwrap();
    play.run(audience(1)).unwrap();
    play.rendered();
    // It was requested to pause, and a participant came before it did: it goes on with whoever takes it next.
    play.run(emit("t1", 2, Some(0), "", Then::Pause)).unwrap();
    assert_eq!(play.rendered(), "agent.lost t1");
    assert_eq!(play.session.effects(play.now).len(), 2);
}

#[test]
fn a_policy_may_cancel_what_nobody_watches_but_not_what_waits_for_people() {
    let unwatched = Unwatched::Cancel { after_ms: 100 };
    let mut play = Play::under(Policy { unwatched, ..Policy::default() });
    play.run(input("t1", "a", WhenBusy::Steer)).unwrap();
    play.run(input("t2", "b", WhenBusy::Steer)).unwrap();
    play.run(claim("t1", "w", 1)).unwrap();
    play.run(reports("t1", 1, asks(0, "q", None, Then::Wait))).unwrap();
    play.run(audience(0)).unwrap();
    play.rendered();
    play.wait(100).run(Command::Tick).unwrap();
    assert_eq!(play.rendered(), "turn.cancelled t2");
}

#[test]
fn drafts_are_internal_and_a_failure_may_ask_for_a_person() {
    let mut play = Play::under(Policy { escalate: true, attempts: Some(1), ..Policy::default() });
    play.run(from("user", "t1")).unwrap();
    play.run(claim("t1", "w", 1)).unwrap();
    let assist = ControlVerb::Take { mode: Mode::Assist };
    play.run(control("sue", Role::Controller, assist)).unwrap();
    play.run(emit("t1", 1, Some(0), "draft", Then::GoOn)).unwrap();
    let event = play.log().last().cloned().unwrap();
    assert!(matches!(event.fact.as_deref(), Some(Fact::Output(Output { internal: true, .. }))));
    play.run(control("sue", Role::Controller, ControlVerb::Release)).unwrap();
    play.run(emit("t1", 1, Some(1), "out", Then::GoOn)).unwrap();
    let event = play.log().last().cloned().unwrap();
    let Some(Fact::Output(output)) = event.fact.as_deref() else { panic!("{event:?}") };
    assert_eq!((output.internal, output.offset), (false, 5));
    play.rendered();
    play.run(lose("t1", 1, Cause::Exited)).unwrap();
    assert_eq!(play.rendered(), "agent.lost t1, turn.failed t1, control.requested");
}

#[test]
fn a_phase_is_told_once_and_a_stalled_worker_that_gets_on_is_not_stalled() {
    let mut play = Play::new();
    play.run(input("t1", "a", WhenBusy::Steer)).unwrap();
    play.run(claim("t1", "w", 1)).unwrap();
    play.rendered();
    let tool = || {
        let phase = Some(Phase::Tool(ToolName::parse("search").unwrap()));
        Command::Report(Box::new(TurnReport {
            phase,
            ..TurnReport::new(turn_id("t1"), TurnEpoch(1))
        }))
    };
    play.run(tool()).unwrap();
    play.run(tool()).unwrap();
    assert_eq!(play.rendered(), "agent.phase t1");
    for _ in 0..8 {
        play.wait(500).run(tool()).unwrap();
        play.run(Command::Tick).unwrap();
    }
    assert_eq!(play.rendered(), "agent.stalled t1");
    play.run(emit("t1", 1, Some(0), "there", Then::GoOn)).unwrap();
    assert_eq!(play.rendered(), "agent.resumed t1, turn.output t1 there");
}

pub(super) fn any_command() -> impl Strategy<Value = Command> {
    let turn = || prop_oneof![Just("t1"), Just("t2"), Just("t3")];
    let role = || prop::sample::select(Role::ALL.to_vec());
    let who = || prop_oneof![Just("ann"), Just("bob")];
    let then = prop_oneof![
        3 => Just(Then::GoOn),
        1 => Just(Then::Wait),
        1 => Just(Then::WaitAll),
        1 => Just(Then::Pause),
        1 => Just(Then::Complete),
        1 => Just(Then::Release)
    ];
    let below = prop::option::weighted(0.2, turn());
    let mode = || prop::sample::select(Mode::ALL.to_vec());
    let verb = prop_oneof![
        Just(ControlVerb::Request),
        mode().prop_map(|mode| ControlVerb::Take { mode }),
        mode().prop_map(|mode| ControlVerb::Grant { to: sender("bob"), mode }),
        Just(ControlVerb::Release),
    ];
    prop_oneof![
        4 => (who(), turn()).prop_map(|(who, turn)| from(who, turn)),
        4 => (turn(), 0..4_u64).prop_map(|(turn, key)| claim(turn, "w", key)),
        6 => (turn(), 0..5_u64, 0..3_u64, then, prop::bool::ANY, prop::bool::ANY, below).prop_map(
            |(turn, epoch, seq, then, asking, rewind, below)| {
                let mut emitted = asks(seq, &format!("q-{turn}"), Some(2_000), then);
                emitted.ask[0].kind = KindName::parse(KindName::CLIENT_TOOL).unwrap();
                emitted.begin = below.iter().map(|turn| sub(turn, "b")).collect();
                emitted.tools = vec![if rewind { finishes("c") } else { starts("c") }];
                if !asking {
                    emitted.ask.clear();
                    emitted.events = vec![text_event()];
                    (emitted.rewind, emitted.step) = (rewind, step("s"));
                }
                reports(turn, epoch, emitted)
            }
        ),
        2 => (turn(), 0..5_u64, 0..9_u64).prop_map(|(turn, epoch, to)| hears(turn, epoch, to, to)),
        2 => (turn(), who()).prop_map(|(turn, who)| answer(&format!("q-{turn}"), who, "y")),
        3 => (who(), role(), verb).prop_map(|(who, role, verb)| control(who, role, verb)),
        2 => (0..2_u32).prop_map(audience),
        1 => (turn(), 0..5_u64).prop_map(|(turn, epoch)| lose(turn, epoch, Cause::Exited)),
        1 => role().prop_map(|role| {
            Command::Pause(Box::new(Pause { scope: Scope::All, by: None, role }))
        }),
        1 => role().prop_map(|role| {
            Command::Resume(Box::new(Resume { scope: Scope::All, by: None, role }))
        }),
        1 => Just(cancel(Scope::All)),
        3 => Just(Command::Tick),
        2 => (turn(), who(), 0..3_u64).prop_map(|(turn, who, epoch)| {
            let interaction = InteractionId::parse(&format!("q-{turn}")).unwrap();
            let epoch = Some(CallEpoch(epoch)).filter(|epoch| *epoch != CallEpoch(0));
            let (by, role, lease_ms) = (sender(who), Role::Participant, 1_000);
            Command::ClaimCall(Box::new(ClaimCall { interaction, by, lease_ms, epoch, role }))
        }),
        1 => (turn(), 0..3_u64, prop::bool::ANY).prop_map(|(turn, epoch, left)| {
            let interaction = InteractionId::parse(&format!("q-{turn}")).unwrap();
            let (epoch, by) = (CallEpoch(epoch), None);
            Command::ReleaseCall(Box::new(ReleaseCall { interaction, epoch, by, left }))
        }),
        2 => (turn(), 0..5_u64).prop_map(|(turn, epoch)| result(turn, epoch, "sent")),
        1 => (turn(), 0..2_u8).prop_map(|(turn, merges)| {
            let busy = if merges == 0 { WhenBusy::Parallel } else { WhenBusy::Merge };
            input(&format!("p-{turn}"), "a", busy)
        }),
    ]
}

fn text_event() -> NewEvent {
    NewEvent { format: Format::TEXT, payload: Bytes::from_static(b"x") }
}

proptest! {
    #[test]
    fn whatever_people_and_agents_do_states_survive_and_turns_end_once(
        steps in prop::collection::vec((0_u64..1_500, any_command()), 1..100),
        unwatched in prop_oneof![
            Just(Unwatched::Continue),
            Just(Unwatched::Pause { after_ms: 500 }),
            Just(Unwatched::Cancel { after_ms: 500 })
        ],
    ) {
        let mut play = Play::under(Policy { unwatched, ..Policy::default() });
        let mut begun = std::collections::BTreeSet::new();
        let mut ended = std::collections::BTreeSet::new();
        let mut pending = std::collections::BTreeSet::new();
        for (wait, command) in steps.into_iter().map(Some).chain([None]).map(|step| {
            step.unwrap_or((0, Command::Close { producer: None }))
        }) {
            prop_assert_eq!(&read_back(&command), &command);
            play.wait(wait).run(command).ok();
            let again = read_back(&play.session);
            prop_assert_eq!(&again, &play.session);
            for event in play.drain() {
                prop_assert_eq!(&read_back(&event), &event);
                match *event.fact.unwrap() {
                    Fact::Input { held: false, input, turn, .. } => {
                        prop_assert!(!ended.contains(&turn), "an input to a turn that is over");
                        if input == turn {
                            begun.insert(turn);
                        } else {
                            pending.insert(input);
                        }
                    }
                    Fact::Receipt { input, turn, receipt } => match receipt {
                        Receipt::Consumed { .. } | Receipt::Dropped { .. } => {
                            prop_assert!(pending.remove(&input), "one receipt for each input");
                        }
                        Receipt::Deferred if input == turn => {
                            prop_assert!(pending.remove(&input), "it waited");
                            begun.insert(turn);
                        }
                        Receipt::Deferred | Receipt::Delivered { .. } => {
                            prop_assert!(pending.contains(&input), "it waits");
                        }
                    },
                    Fact::Started { turn, .. } => {
                        // One that was held back begins without an input of its own.
                        begun.insert(turn);
                    }
                    Fact::Output(Output { turn, .. }) => {
                        prop_assert!(!ended.contains(&turn), "output after the end (S5)");
                    }
                    Fact::Ended { turn, .. } => {
                        prop_assert!(ended.insert(turn), "a second end (S9)");
                    }
                    _ => {}
                }
            }
        }
        prop_assert!(pending.is_empty(), "every input has its receipt: {pending:?}");
        prop_assert!(begun.is_subset(&ended), "every turn ends: {begun:?} {ended:?}");
        prop_assert_eq!(play.session.tick_at(), None);
    }
}
