//! Bodies that are nearly right: each is taken, or answered as the client's fault, and none takes the node with it.

use proptest::prelude::*;

use super::*;
use crate::fuzz::nearly;
use crate::session::Standing;

const BODIES: [&str; 14] = [
    r#"{"retention":{"max_age_ms":86400000,"max_bytes":1048576},"ttl_ms":3600000,"labels":{"a":"b"}}"#,
    r#"{"events":[{"text":"hello"},{"json":{"a":[1,2.5,null]}},{"format":"x","base64":"AAAA"}],"close":true}"#,
    r#"{"before":7}"#,
    r#"{"id":"t","agent":"poet","content":{"text":"hi"},"when_busy":"queue"}"#,
    r#"{"turn":"t","reason":"enough"}"#,
    r#"{"all":true}"#,
    r#"{"epoch":1,"seq":0,"events":[{"text":"a"}],"then":"complete","phase":"thinking"}"#,
    r#"{"answer":{"text":"yes"},"interaction":"i","participant":"ada","role":"controller","epoch":1}"#,
    r#"{"id":"u","regenerate":7}"#,
    r#"{"participant":"ada","device":"phone","interaction":"i","lease_ms":5000}"#,
    r#"{"epoch":1,"seq":0,"tools":[{"call":"c","tool":"mail","arguments":{"json":{"to":"bob"}}}]}"#,
    r#"{"take":{"mode":"manual"},"participant":"ada","role":"supervisor"}"#,
    r#"{"agent":"poet","participant":"ada"}"#,
    r#"{"turn":"t"}"#,
];

fn verbs() -> Vec<Verb> {
    let named = Verb::NAMED.into_iter().map(|(_, verb)| verb);
    let turn = TurnId::parse("t").expect("a name");
    let interaction = InteractionId::parse("i").ok();
    let others = [
        Verb::Touch,
        Verb::Trim,
        Verb::Report(turn.clone()),
        Verb::Answer(interaction),
        Verb::ToolResult(turn),
        Verb::Shelve(Standing::ReadOnly),
    ];
    named.chain(others).collect()
}

proptest! {
    #[test]
    fn a_body_is_taken_or_is_the_fault_of_who_sent_it(
        body in nearly(BODIES.map(|body| body.as_bytes().to_vec()).to_vec()),
    ) {
        for verb in verbs() {
            if let Err(problem) = verb.clone().parse(&body) {
                prop_assert!((400..500).contains(&problem.kind().status), "{verb:?}: {problem:?}");
            }
        }
    }

    #[test]
    fn deep_and_broken_json_is_refused(depth in 1_usize..50_000, open in prop::sample::select(vec!["[", "{\"a\":"])) {
        let body = open.repeat(depth);
        for verb in verbs() {
            prop_assert!(verb == Verb::Touch || verb.parse(body.as_bytes()).is_err());
        }
    }
}

#[test]
fn most_of_the_samples_are_taken() {
    // `touch` takes whatever comes.
    let takes = |verb: Verb, body: &str| verb != Verb::Touch && verb.parse(body.as_bytes()).is_ok();
    let taken = |body: &&str| verbs().into_iter().any(|verb| takes(verb, body));
    let refused: Vec<&str> = BODIES.into_iter().filter(|body| !taken(body)).collect();
    assert!(refused.len() <= 3, "{refused:?}");
}
