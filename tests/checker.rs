//! The checker checked: it accuses no correct history, finds every planted fault, agrees with a
//! brute-force search, and reads back what the recorder wrote.

use harness::brute;
use harness::checker::{Expectations, check, check_file};
use harness::generate::{Shape, generate, generate_turns};
use harness::history::{Answer, Call, Control, Cursor, History, Kind, ReadMode, Record};
use harness::mutate;
use harness::recorder::Recorder;
use harness::report::{Code, Verdict};
use rand::SeedableRng;
use rand::rngs::StdRng;

#[test]
fn clean_histories_raise_no_alarm() {
    for seed in 0..400 {
        let (history, expectations) = generate(seed, Shape::small(seed));
        check(&history, &expectations).assert_valid();
    }
}

#[test]
fn clean_histories_with_turns_raise_no_alarm() {
    let (mut takeovers, mut receipts) = (0, 0);
    for seed in 0..400 {
        let (history, expectations) = generate_turns(seed);
        let report = check(&history, &expectations);
        report.assert_valid();
        takeovers += report.counts["takeovers"];
        receipts += report.counts.get("receipts").unwrap_or(&0);
    }
    assert!(200 < takeovers && 200 < receipts, "{takeovers} takeovers and {receipts} receipts");
}

#[test]
fn every_planted_fault_is_found() {
    find_all(mutate::ALL, |seed| generate(seed, Shape::small(seed)));
}

#[test]
fn every_fault_planted_in_turns_is_found() {
    find_all(mutate::TURNS, generate_turns);
}

fn find_all(mutations: &[mutate::Mutation], generate: impl Fn(u64) -> (History, Expectations)) {
    const TIMES: usize = 50;
    const SEEDS: u64 = 4_000;
    for mutation in mutations {
        let mut planted = 0;
        for seed in 0..SEEDS {
            let (history, expectations) = generate(seed);
            let mut rng = StdRng::seed_from_u64(seed ^ 0x5eed);
            let Some(broken) = (mutation.apply)(&history, &expectations, &mut rng) else {
                continue;
            };
            let report = check(&broken, &expectations);
            assert!(
                mutation.expected.iter().any(|code| report.has(*code)),
                "{}: seed {seed} was not found\n{report}",
                mutation.name
            );
            planted += 1;
            if planted == TIMES {
                break;
            }
        }
        assert!(planted == TIMES, "{}: only {planted} of {TIMES} planted", mutation.name);
    }
}

#[test]
fn the_sweep_agrees_with_a_search_over_all_orders() {
    let (mut good, mut bad) = (0, 0);
    for seed in 0..2_000 {
        let mut rng = StdRng::seed_from_u64(seed);
        let history = brute::tiny(&mut rng);
        let report = check(&history, &Expectations::default());
        let found = !report.anomalies.is_empty();
        let only_order = report.anomalies.iter().all(|a| matches!(a.code, Code::A5 | Code::A6));
        assert!(only_order, "seed {seed}: the history is wrong in another way\n{report}");
        let wanted = brute::linearizable(&history);
        assert!(found != wanted, "seed {seed}: the search says {wanted}\n{report}");
        if wanted { good += 1 } else { bad += 1 }
    }
    assert!(200 <= good && 200 <= bad, "{good} linearizable and {bad} not prove little");
}

#[test]
fn a_recorded_history_reads_back_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("history.jsonl");
    let history = record(Recorder::with_file(&path).unwrap());
    assert_eq!(History::load(&path).unwrap(), history);
    check_file(&path, &Expectations::default()).unwrap().assert_valid();

    let other = folder.path().join("other.jsonl");
    history.save(&other).unwrap();
    assert_eq!(History::load(&other).unwrap(), history);
    let every_kind = generate(1, Shape::small(1)).0;
    every_kind.save(&other).unwrap();
    assert_eq!(History::load(&other).unwrap(), every_kind);
}

#[test]
fn a_file_that_is_no_history_is_refused_with_its_line() {
    let text = "{\"t\":1,\"k\":\"nemesis\",\"action\":\"kill\",\"node\":\"n1\"}\n\nnonsense\n";
    let error = History::read(text.as_bytes()).unwrap_err();
    assert!(error.to_string().starts_with("line 3:"), "{error}");
}

#[test]
fn many_threads_record_one_ordered_history() {
    let recorder = Recorder::new();
    std::thread::scope(|scope| {
        for client in 0..8 {
            let recorder = &recorder;
            scope.spawn(move || {
                for _ in 0..200 {
                    let op = recorder.invoke(client, "n0", "s", None, Call::Create);
                    recorder.ok(op, Answer::Done { incarnation: 1 });
                }
            });
        }
    });
    let history = recorder.into_history();
    assert_eq!(history.events.len(), 2 * 8 * 200);
    assert!(history.events.is_sorted_by_key(|event| event.at));
    assert!(check(&history, &Expectations::default()).anomalies.is_empty());
}

#[test]
fn a_run_that_does_not_bite_proves_nothing() {
    let history = record(Recorder::new());
    let cases = [
        Expectations { ok_appends: 2, ..Expectations::default() },
        Expectations { unknown: 1, ..Expectations::default() },
        Expectations { nemesis: 2, ..Expectations::default() },
        Expectations { leader_changes: 2, ..Expectations::default() },
        Expectations { deliveries: 2, ..Expectations::default() },
        Expectations { final_nodes: 2, ..Expectations::default() },
    ];
    for expectations in cases {
        let report = check(&history, &expectations);
        assert_eq!(report.verdict, Verdict::Unknown, "{expectations:?}\n{report}");
        assert_eq!(report.missing.len(), 1, "{report}");
    }
}

#[test]
#[should_panic(expected = "A1 (lost): 1 cases")]
fn a_bad_report_panics_with_its_cases() {
    let mut history = record(Recorder::new());
    for event in &mut history.events {
        if let Kind::Ok { answer: Answer::Page { tail, records, .. }, .. } = &mut event.kind {
            (*tail, *records) = (Some(0), Vec::new());
        }
    }
    check(&history, &Expectations::default()).assert_valid();
}

#[test]
fn a_wait_is_told_with_the_fault_nearest_to_it() {
    // (milliseconds, line): an idle second and a lost call; the wait counts from the first demand.
    let text = [
        r#"{"t":100000000,"k":"inv","op":1,"client":1,"node":"n0","session":"s","call":{"f":"append","values":["a"]}}"#,
        r#"{"t":110000000,"k":"ok","op":1,"answer":{"r":"appended","incarnation":1,"first":1,"last":1}}"#,
        r#"{"t":150000000,"k":"nemesis","action":"start","node":"n2"}"#,
        r#"{"t":990000000,"k":"nemesis","action":"kill","node":"n1"}"#,
        r#"{"t":1000000000,"k":"inv","op":2,"client":1,"node":"n0","session":"s","call":{"f":"append","values":["b"]}}"#,
        r#"{"t":1200000000,"k":"info","op":2,"error":"timeout"}"#,
        r#"{"t":1300000000,"k":"inv","op":3,"client":1,"node":"n0","session":"s","call":{"f":"append","values":["c"]}}"#,
        r#"{"t":1500000000,"k":"ok","op":3,"answer":{"r":"appended","incarnation":1,"first":2,"last":2}}"#,
    ];
    let history = History::read(text.join("\n").as_bytes()).unwrap();
    let report = check(&history, &Expectations { final_nodes: 0, ..Expectations::default() });
    report.assert_valid();
    let stalls = &report.stalls;
    assert_eq!(
        (stalls.count(), stalls.percentile(50.0), stalls.max()),
        (2, 10_000_000, 500_000_000)
    );
    assert_eq!(stalls.worst[0].from, 1_000_000_000);
    assert_eq!(stalls.worst[0].nemesis.as_deref(), Some("kill n1 (-0.010 s)"));
}

/// The smallest whole run: one append, one reader, one fault, two leaders, one final read.
fn record(recorder: Recorder) -> History {
    let event = Record { serial: 1, value: "c0.0".to_owned(), chain: Some(u64::MAX), fact: None };
    recorder.leader(0, "n0");
    let values = vec![event.value.clone()];
    let op = recorder.invoke(0, "n0", "s", None, Call::Append { values, producer: None });
    recorder.nemesis("kill", "n0");
    recorder.leader(0, "n1");
    recorder.ok(op, Answer::Appended { incarnation: 1, first: 1, last: 1 });
    let sub = recorder.subscription();
    let cursor = Some(Cursor { incarnation: 1, serial: 0 });
    recorder.control(sub, "n1", "s", 1, Control::Attach { cursor });
    recorder.deliver(sub, "n1", "s", 1, event.clone());
    let op = recorder.invoke(0, "n1", "s", None, Call::Read { after: 0, mode: ReadMode::Final });
    let records = vec![event];
    recorder.ok(op, Answer::Page { incarnation: 1, first: 1, tail: Some(1), records });
    recorder.into_history()
}
