//! What a grant allows, and what it makes of a command.

use bytes::Bytes;

use super::*;
use crate::command::{Append, Cancel, Input, Scope, SubTurn, TurnOutput, TurnReport};
use crate::event::{Format, NewEvent};
use crate::ids::{TurnEpoch, TurnId};

fn grant(rights: &[Right]) -> Grant {
    Grant {
        tenant: None,
        rights: rights.to_vec(),
        sessions: vec![Pattern::parse("chat:*").unwrap(), Pattern::parse("one").unwrap()],
        agents: vec![Pattern::parse("poet").unwrap()],
        participant: Some(ParticipantName::parse("ada").unwrap()),
        device: None,
        role: Role::Participant,
        until: None,
    }
}

fn session(name: &str) -> SessionId {
    SessionId::parse(name).unwrap()
}

fn input(sender: Option<&str>, when_busy: Option<WhenBusy>) -> Command {
    let content = NewEvent { format: Format::TEXT, payload: Bytes::from_static(b"hello") };
    let agent = AgentName::parse("poet").unwrap();
    let sender = sender
        .map(|name| Sender { participant: ParticipantName::parse(name).unwrap(), device: None });
    let input = Input::new(TurnId::parse("t").unwrap(), agent, content);
    Command::Input(Box::new(Input { sender, when_busy, ..input }))
}

#[test]
fn a_session_of_others_is_denied_before_a_right_is_looked_at() {
    let grant = grant(&[Right::Read]);
    assert_eq!(grant.allows(Right::Read, Some(&session("chat:1"))), Ok(()));
    assert_eq!(grant.allows(Right::Read, Some(&session("one"))), Ok(()));
    assert_eq!(grant.allows(Right::Read, Some(&session("two"))), Err(Denied::Session));
    assert_eq!(grant.allows(Right::Admin, Some(&session("two"))), Err(Denied::Session));
    assert_eq!(grant.allows(Right::Send, Some(&session("one"))), Err(Denied::Right(Right::Send)));
}

#[test]
fn a_command_is_narrowed_to_the_name_and_role_of_the_grant() {
    let (grant, id) = (grant(&[Right::Send]), session("chat:1"));
    let mut command = input(None, None);
    grant.narrow(&id, &mut command).unwrap();
    let Command::Input(narrowed) = &command else { panic!("it is an input") };
    assert_eq!(narrowed.sender.as_ref().unwrap().participant.as_str(), "ada");
    assert_eq!(narrowed.role, Role::Participant);
    assert_eq!(narrowed.when_busy, Some(WhenBusy::Unsteered), "it may not steer");
    assert_eq!(grant.narrow(&id, &mut input(Some("bob"), None)), Err(Denied::Name));
    let mut steers = grant.clone();
    steers.rights = vec![Right::Steer];
    let steer = &mut input(None, Some(WhenBusy::Steer));
    assert_eq!(steers.narrow(&id, steer), Err(Denied::Right(Right::Send)));
    assert_eq!(grant.narrow(&id, steer), Err(Denied::Right(Right::Steer)));
    let interrupt = &mut input(None, Some(WhenBusy::Interrupt));
    assert_eq!(grant.narrow(&id, interrupt), Err(Denied::Right(Right::Cancel)));
    let mut cancel = Command::Cancel(Box::new(Cancel::new(Scope::All, "")));
    assert_eq!(grant.narrow(&id, &mut cancel), Err(Denied::Right(Right::Cancel)));
    let mut append = Command::Append(Append::default());
    assert_eq!(grant.narrow(&id, &mut append), Err(Denied::Right(Right::Publish)));
}

#[test]
fn the_names_below_a_prefix_are_those_of_the_grant_alone() {
    let grant = grant(&[Right::Read]);
    let below = |prefix: &str| -> Vec<(String, bool)> { grant.beginnings(prefix) };
    let named = |name: &str, whole| (name.to_owned(), whole);
    assert_eq!(below(""), [named("chat:", false), named("one", true)]);
    assert_eq!(below("ch"), [named("chat:", false)]);
    assert_eq!(below("chat:7"), [named("chat:7", false)]);
    assert_eq!(below("one"), [named("one", true)]);
    assert_eq!(below("one1"), []);
    assert_eq!(below("other"), []);
}

#[test]
fn a_grant_is_for_one_tenant() {
    let acme = TenantName::parse("acme").unwrap();
    let theirs = SessionId::of(Some(&acme), "one").unwrap();
    let all = Grant { tenant: Some(acme.clone()), ..Grant::all() };
    assert_eq!(all.allows(Right::Read, Some(&theirs)), Ok(()));
    assert_eq!(all.allows(Right::Read, Some(&session("one"))), Err(Denied::Session));
    assert_eq!(Grant::all().allows(Right::Read, Some(&theirs)), Err(Denied::Session));
    let mut delete = Command::Delete { incarnation: None };
    assert_eq!(all.narrow(&session("one"), &mut delete), Err(Denied::Session));
    assert_eq!((Grant::all().allows_operating(), all.allows(Right::Admin, None)), (Ok(()), Ok(())));
    assert_eq!(all.allows_operating(), Err(Denied::Tenant));
}

#[test]
fn every_right_has_a_name_of_its_own() {
    for right in Right::ALL {
        assert_eq!(Right::parse(right.name()), Some(right));
    }
    assert_eq!(Right::parse("root"), None);
}

#[test]
fn what_was_narrowed_passes_a_second_look_and_what_was_not_does_not() {
    let given = grant(&[Right::Send]);
    let id = session("one");
    let mut request = input(None, None);
    assert_eq!(given.has_narrowed(&id, &request), Err(Denied::Name));
    given.narrow(&id, &mut request).unwrap();
    assert_eq!(given.has_narrowed(&id, &request), Ok(()));
    assert_eq!(given.has_narrowed(&session("two"), &request), Err(Denied::Session));
    let reader = grant(&[Right::Read]);
    assert_eq!(reader.has_narrowed(&id, &request), Err(Denied::Right(Right::Send)));
}

#[test]
fn a_worker_gives_turns_to_its_own_agents_and_to_others_with_the_right_to_send() {
    let begins = |agents: &[&str]| {
        let begin = |agent: &&str| SubTurn {
            turn: TurnId::parse(agent).unwrap(),
            agent: AgentName::parse(agent).unwrap(),
            content: NewEvent { format: Format::TEXT, payload: "go".into() },
            attempts: None,
            progress_timeout_ms: None,
        };
        let output = TurnOutput { begin: agents.iter().map(begin).collect(), ..Default::default() };
        let report = TurnReport::new(TurnId::parse("t").unwrap(), TurnEpoch(1));
        Command::Report(Box::new(TurnReport { output: Some(output), ..report }))
    };
    let poet = vec![Pattern::parse("poet*").unwrap()];
    let worker = Grant { agents: poet.clone(), ..grant(&[Right::Claim]) };
    let id = session("one");
    assert_eq!(worker.narrow(&id, &mut begins(&[])), Ok(()));
    assert_eq!(worker.narrow(&id, &mut begins(&["poet", "poet-2"])), Ok(()));
    let denied = Err(Denied::Right(Right::Send));
    assert_eq!(worker.narrow(&id, &mut begins(&["poet", "critic"])), denied);
    let sends = Grant { agents: poet, ..grant(&[Right::Claim, Right::Send]) };
    assert_eq!(sends.narrow(&id, &mut begins(&["critic"])), Ok(()));
}

mod fuzz {
    use proptest::prelude::*;

    use super::*;

    /// What a pattern means, by another algorithm.
    fn means(pattern: &str, name: &str) -> bool {
        match pattern.strip_suffix('*') {
            Some(stem) => name.get(..stem.len()) == Some(stem),
            None => pattern == name,
        }
    }

    fn commands() -> impl Strategy<Value = Command> {
        let names = || prop::option::of(prop::sample::select(vec!["ada", "bob"]));
        let busy = prop::sample::select(vec![
            None,
            Some(WhenBusy::Queue),
            Some(WhenBusy::Steer),
            Some(WhenBusy::Interrupt),
            Some(WhenBusy::Instead),
        ]);
        let cancel = Cancel::new(Scope::All, "");
        prop_oneof![
            (names(), busy).prop_map(|(name, busy)| input(name, busy)),
            Just(Command::Cancel(Box::new(cancel))),
            Just(Command::Append(Append::default())),
            Just(Command::Delete { incarnation: None }),
            Just(Command::Tick),
            Just(Command::Touch),
        ]
    }

    proptest! {
        #[test]
        fn a_grant_allows_what_its_parts_say_and_nothing_else(
            rights in prop::sample::subsequence(Right::ALL.to_vec(), 0..12),
            patterns in prop::collection::vec("[ab]{0,2}[*]?", 0..3),
            tenant in prop::option::of(prop::sample::select(vec!["t", "u"])),
            owner in prop::option::of(prop::sample::select(vec!["t", "u"])),
            name in "[ab]{1,3}",
            command in commands(),
        ) {
            let of = |name: Option<&str>| name.map(|name| TenantName::parse(name).unwrap());
            let parsed = patterns.iter().filter_map(|text| Pattern::parse(text).ok());
            let sessions: Vec<Pattern> = parsed.collect();
            let meant = sessions.iter().any(|pattern| means(pattern.as_str(), &name));
            let given = Grant { tenant: of(tenant), rights, sessions, ..grant(&[]) };
            let id = SessionId::of(of(owner).as_ref(), &name).unwrap();
            prop_assert_eq!(given.is_for(&id), meant && tenant == owner);
            let mut narrowed = command.clone();
            let judged = given.narrow(&id, &mut narrowed);
            if judged.is_ok() {
                prop_assert!(given.is_for(&id));
                prop_assert!(command.rights().iter().all(|right| given.rights.contains(right)));
                prop_assert_eq!(given.has_narrowed(&id, &narrowed), Ok(()));
                // Narrowing needs no more rights than before.
                let needed = narrowed.rights();
                prop_assert!(needed.iter().all(|right| given.rights.contains(right)));
            }
        }
    }
}
