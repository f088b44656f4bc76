//! Files of sessions: what comes in, what lives, and what a session answers.

use bytes::Bytes;
use proptest::prelude::*;

use super::files::sha256;
use super::stored::read_back;
use super::*;
use crate::ids::{FileId, Millis};
use crate::limits::{self, FILE_UNIT, PIECE_BYTES};

const DAY: u64 = limits::FILE_KEEP_MS;

fn file(letter: char) -> FileId {
    FileId::parse(&format!("file_{}", letter.to_string().repeat(20))).unwrap()
}

fn content(letter: char, size: usize) -> Vec<u8> {
    (0..size).map(|at| (at as u8).wrapping_mul(31) ^ letter as u8).collect()
}

fn begin_of(letter: char, size: usize) -> BeginFile {
    BeginFile {
        id: file(letter),
        size: size as u64,
        sha256: sha256(&content(letter, size)),
        media_type: None,
        name: None,
        keep_ms: DAY,
    }
}

fn begin(letter: char, size: usize) -> Command {
    request_of(FileRequest::Begin(begin_of(letter, size)))
}

fn request_of(request: FileRequest) -> Command {
    Command::File(Box::new(request))
}

/// The name alone: see [`aimed`].
fn drop_of(letter: char) -> Command {
    request_of(FileRequest::Drop { file: file(letter), number: 0, sha256: [0; 32] })
}

fn put(letter: char, offset: u64, bytes: &[u8]) -> Command {
    let bytes = Bytes::copy_from_slice(bytes);
    request_of(FileRequest::Put(Piece { file: file(letter), sha256: [0; 32], offset, bytes }))
}

/// The same for the file that has the name now.
fn aimed(session: &Session, command: &Command) -> Command {
    let mut command = command.clone();
    let Command::File(request) = &mut command else { return command };
    let named = |id: &FileId| session.files().iter().find(|file| file.id == *id);
    match &mut **request {
        FileRequest::Put(piece) => {
            piece.sha256 = named(&piece.file).map_or([0; 32], |file| file.sha256);
        }
        FileRequest::Drop { file, number, sha256 } => {
            (*number, *sha256) =
                named(file).map_or((0, [0; 32]), |file| (file.number, file.sha256));
        }
        FileRequest::Begin(_) | FileRequest::GiveUp { .. } => {}
    }
    command
}

fn whole(letter: char, size: usize) -> [Command; 2] {
    [begin(letter, size), put(letter, 0, &content(letter, size))]
}

fn emit(text: &str) -> Command {
    let payload = Bytes::copy_from_slice(text.as_bytes());
    let events = vec![NewEvent { format: Format::TEXT, payload }];
    Command::Append(Append { events, ..Append::default() })
}

struct Script {
    session: Session,
    at: Millis,
}

impl Script {
    fn new(config: Config) -> Script {
        let session = Session::absent(SessionId::parse("s").unwrap());
        let mut script = Script { session, at: Millis(1_000) };
        script.ok([Command::from(config)]);
        script
    }

    /// The refusal's code, or `ok`; a refusal changes nothing.
    fn run(&mut self, command: &Command) -> &'static str {
        let before = self.session.clone();
        match self.session.apply(self.at, &aimed(&before, command), &mut Vec::new()) {
            Ok(_) => "ok",
            Err(why) => {
                assert_eq!(self.session, before);
                why.code()
            }
        }
    }

    fn ok(&mut self, commands: impl IntoIterator<Item = Command>) {
        for command in commands {
            assert_eq!(self.run(&command), "ok", "{command:?}");
        }
    }

    fn has(&self) -> String {
        self.session.files().iter().map(|file| file.id.as_str().chars().last().unwrap()).collect()
    }
}

fn plain() -> Script {
    Script::new(Config::default())
}

#[test]
fn the_hash_is_that_of_the_standard() {
    let hex = |bytes: &[u8]| sha256(bytes).map(|byte| format!("{byte:02x}")).concat();
    for (bytes, hash) in [
        (&b""[..], "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
        (b"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
        (
            b"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1",
        ),
    ] {
        assert_eq!(hex(bytes), hash);
    }
    let million = vec![b'a'; 1_000_000];
    assert_eq!(hex(&million), "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

#[test]
fn pieces_come_in_order_and_each_again_is_no_change() {
    let (mut script, bytes) = (plain(), content('a', 1_000));
    script.ok([begin('a', 1_000), begin('a', 1_000)]);
    assert_eq!(script.run(&put('a', 64, &bytes[64..128])), "file_offset", "a hole");
    script.ok([put('a', 0, &bytes[..640])]);
    let before = script.session.clone();
    script.ok([put('a', 0, &bytes[..640]), put('a', 64, &bytes[64..128]), put('a', 640, b"")]);
    assert_eq!(script.session, before);
    assert_eq!(script.run(&put('a', 576, &bytes[576..704])), "file_offset", "it is known in part");
    assert_eq!(script.run(&put('a', 640, &bytes[640..700])), "bad_file", "a piece of any size");
    assert_eq!(script.run(&put('a', 640, &[0; 361])), "file_too_large");
    assert_eq!(script.run(&put('a', u64::MAX, b"x")), "file_too_large");
    assert_eq!(script.run(&put('a', 640, &[0; 360])), "hash_mismatch");
    assert_eq!(script.run(&put('b', 0, b"x")), "no_such_file");
    assert!(!script.session.files()[0].is_whole());
    assert_eq!(script.session.holding().stored_bytes, 640);
    script.ok([put('a', 640, &bytes[640..]), put('a', 640, &bytes[640..])]);
    assert!(script.session.files()[0].is_whole());
    assert_eq!(script.session.holding().stored_bytes, 1_000);
}

#[test]
fn what_cannot_be_a_file_is_refused() {
    let mut script = plain();
    let changed = |change: fn(&mut BeginFile)| {
        let mut begin = begin_of('a', 10);
        change(&mut begin);
        request_of(FileRequest::Begin(begin))
    };
    for (command, code) in [
        (changed(|begin| begin.size = 0), "bad_file"),
        (changed(|begin| begin.size = limits::FILE_BYTES + 1), "file_too_large"),
        (changed(|begin| begin.name = Some("a\nb".into())), "bad_file"),
        (changed(|begin| begin.name = Some("x".repeat(256))), "bad_file"),
        (changed(|begin| begin.keep_ms = 1), "bad_file"),
        (changed(|begin| begin.keep_ms = u64::MAX), "bad_file"),
        (changed(|_| ()), "ok"),
        (changed(|begin| begin.size = 11), "file_differs"),
        (changed(|begin| begin.sha256 = [0; 32]), "file_differs"),
    ] {
        assert_eq!(script.run(&command), code, "{command:?}");
    }
    script.ok([begin('b', 4 * PIECE_BYTES)]);
    assert_eq!(script.run(&put('b', 0, &vec![0; PIECE_BYTES + 64])), "bad_file");
    script.ok([Command::Close { producer: None }]);
    assert_eq!(script.run(&begin('c', 10)), "closed");
    assert_eq!(script.run(&put('a', 0, &content('a', 10))), "closed");
    script.ok([begin('a', 10)]);
}

#[test]
fn there_are_so_many_files_and_no_more() {
    let mut script = plain();
    let letters: Vec<char> = ('a'..='z').collect();
    for letter in &letters[..limits::UPLOADS] {
        script.ok([begin(*letter, 70)]);
    }
    assert_eq!(script.run(&begin('z', 70)), "too_many_files");
    script.ok([put('a', 0, &content('a', 70)), begin('z', 70), begin('z', 70)]);
    script.ok([drop_of('b')]);
    assert_eq!(script.run(&drop_of('b')), "no_such_file");
    script.ok([begin('b', 70)]);
    let numbers: Vec<_> = script.session.files().iter().map(|file| file.number).collect();
    assert_eq!(numbers.last(), Some(&17), "a number is never given again: {numbers:?}");
}

#[test]
fn a_file_lives_as_long_as_an_event_that_refers_to_it() {
    let mut script = plain();
    script.ok(whole('a', 100).into_iter().chain(whole('b', 100)));
    script.ok([emit("first"), emit(&format!("/files/{} and {}", file('a'), file('b')))]);
    script.ok([emit(&format!("see {}.", file('a')))]);
    assert_eq!(script.session.files()[0].cited, Some((Serial(2), Serial(3))));
    script.at = script.at.after(10 * DAY);
    script.ok([Command::Tick]);
    assert_eq!(script.run(&drop_of('a')), "file_in_use");
    script.ok([Command::Trim { before: Serial(2) }]);
    assert_eq!(script.has(), "ab");
    script.ok([Command::Trim { before: Serial(3) }]);
    assert_eq!(script.has(), "a");
    script.ok([Command::Trim { before: Serial(9) }]);
    assert_eq!((script.has().as_str(), script.session.holding().stored_bytes), ("", 0));
    script.ok(whole('a', 100));
    script.ok([Command::Delete { incarnation: None }]);
    assert_eq!(script.session.files(), []);
}

#[test]
fn retention_frees_files_with_the_events_that_refer_to_them() {
    let retention = Retention { max_bytes: Some(64), ..Retention::default() };
    let mut script = Script::new(Config { retention, ..Config::default() });
    script.ok(whole('a', 100));
    script.ok([emit(&format!("see {}", file('a')))]);
    assert_eq!(script.has(), "a");
    for _ in 0..4 {
        script.ok([emit("words and words and words and words and words")]);
    }
    assert_eq!(script.has(), "");
}

#[test]
fn what_nobody_goes_on_with_or_refers_to_is_given_up_after_a_while() {
    let mut script = plain();
    script.ok(whole('a', 100).into_iter().chain([begin('b', 100)]));
    script.ok([emit(&format!("{} is still coming", file('b')))]);
    assert_eq!(script.session.tick_at(), Some(Millis(1_000 + DAY)));
    script.at = script.at.after(DAY - 1);
    script.ok([put('b', 0, &content('b', 64)), Command::Tick]);
    assert_eq!(script.has(), "ab");
    script.at = script.at.after(1);
    script.ok([Command::Tick]);
    assert_eq!(script.has(), "b");
    script.at = script.at.after(DAY);
    script.ok([Command::Tick]);
    assert_eq!((script.has().as_str(), script.session.tick_at()), ("", None));
}

#[test]
fn a_frozen_session_takes_no_files() {
    let mut script = plain();
    script.ok([begin('a', 100)]);
    let shelve = Shelve { standing: Standing::ReadOnly, by: None };
    script.ok([Command::Shelve(Box::new(shelve))]);
    assert_eq!(script.run(&begin('b', 100)), "frozen");
    assert_eq!(script.run(&put('a', 0, &content('a', 100))), "frozen");
}

#[test]
fn who_may_bring_anything_may_bring_files() {
    let id = SessionId::parse("s").unwrap();
    let mut command = begin('a', 10);
    for right in Right::ALL {
        let grant = Grant { rights: vec![right], ..Grant::all() };
        let may = grant.narrow(&id, &mut command).is_ok();
        assert_eq!(may, Right::BRINGING.contains(&right), "{right:?}");
        let elsewhere = Grant { sessions: vec![], ..grant };
        assert_eq!(elsewhere.narrow(&id, &mut command), Err(Denied::Session));
    }
}

/// One thing that happens to the session of the property below.
#[derive(Clone, Debug)]
enum Step {
    Begin(usize),
    Put(usize, u64, usize),
    Drop(usize),
    TurnReport(Vec<usize>),
    Trim(u64),
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0..4_usize).prop_map(Step::Begin),
        12 => (0..4_usize, 0..6_u64, 1..5_usize).prop_map(|(file, at, length)| {
            Step::Put(file, at * FILE_UNIT as u64, length * FILE_UNIT)
        }),
        1 => (0..4_usize).prop_map(Step::Drop),
        4 => prop::collection::vec(0..4_usize, 0..3).prop_map(Step::TurnReport),
        1 => (0..20_u64).prop_map(Step::Trim),
        1 => (0..DAY).prop_map(Step::Wait),
    ]
}

const LETTERS: [char; 4] = ['a', 'b', 'c', 'd'];
const SIZES: [usize; 4] = [1, 64, 200, 300];

proptest! {
    /// A model that keeps bytes and references by itself: what is whole has the right bytes, and lives exactly as long
    /// as an event that refers to it, or a while.
    #[test]
    fn files_are_never_torn_and_live_as_long_as_they_are_needed(
        steps in prop::collection::vec(step(), 1..120),
    ) {
        let mut script = plain();
        let mut stored: std::collections::BTreeMap<(u64, u64), Vec<u8>> = Default::default();
        let mut log: Vec<Vec<usize>> = Vec::new();
        for step in steps {
            script.session = read_back(&script.session);
            let command = match &step {
                Step::Begin(at) => begin(LETTERS[*at], SIZES[*at]),
                Step::Put(at, offset, length) => {
                    let all = content(LETTERS[*at], SIZES[*at]);
                    let from = (*offset as usize).min(all.len());
                    let to = (from + length).min(all.len());
                    put(LETTERS[*at], from as u64, &all[from..to])
                }
                Step::Drop(at) => drop_of(LETTERS[*at]),
                Step::TurnReport(files) => {
                    let names = files.iter().map(|at| file(LETTERS[*at]).to_string());
                    emit(&format!("see {}", names.collect::<Vec<_>>().join(" and ")))
                }
                Step::Trim(before) => Command::Trim { before: Serial(*before) },
                Step::Wait(span) => {
                    script.at = script.at.after(*span);
                    Command::Tick
                }
            };
            let (mut out, command) = (Vec::new(), aimed(&script.session, &command));
            let answer = script.session.apply(script.at, &command, &mut out);
            // What the store does.
            if let (Ok(Applied::File { file, changed: true }), Command::File(request)) = (&answer, &command)
                && let FileRequest::Put(piece) = &**request
            {
                let known = stored.insert((file.number, piece.offset), piece.bytes.to_vec());
                prop_assert!(known.is_none(), "no bytes are written twice");
            }
            if let Step::TurnReport(files) = &step {
                log.push(files.clone());
            }
            let numbers: Vec<u64> = script.session.files().iter().map(|file| file.number).collect();
            stored.retain(|(number, _), _| numbers.contains(number));
            let first = script.session.first().0 as usize;
            for known in script.session.files() {
                let letter = known.id.as_str().chars().last().unwrap();
                let at = LETTERS.iter().position(|one| *one == letter).unwrap();
                let pieces = stored.range((known.number, 0)..(known.number + 1, 0));
                let bytes: Vec<u8> = pieces.flat_map(|(_, bytes)| bytes.clone()).collect();
                prop_assert_eq!(&bytes, &content(letter, SIZES[at])[..known.received as usize]);
                let last = log.iter().rposition(|files| files.contains(&at)).map(|at| at + 1);
                match known.cited {
                    Some((_, cited)) => prop_assert_eq!(Some(cited.0 as usize), last),
                    None => prop_assert!(
                        known.expires_at().is_some(),
                        "what nobody needs does not stay for ever"
                    ),
                }
                if let Some((_, cited)) = known.cited {
                    prop_assert!(first <= cited.0 as usize);
                }
            }
        }
    }
}

/// An event may name a file before it is announced, or while it comes a second time, and keeps it all the same.
#[test]
fn an_event_that_names_a_file_first_keeps_it_too() {
    let mut script = plain();
    script.ok([emit(&format!("see {}", file('a'))), emit("and more")]);
    script.ok(whole('a', 100));
    assert_eq!(script.session.files()[0].cited, Some((Serial(1), Serial(1))));
    assert_eq!(script.run(&drop_of('a')), "file_in_use");
    // What did not become whole may come again.
    script.ok([emit(&format!("{} {}", file('b'), file('c'))), begin('b', 100)]);
    script.ok([drop_of('b')]);
    script.ok(whole('b', 200));
    script.at = Millis(script.at.0 + 2 * DAY);
    script.ok([Command::Tick]);
    assert_eq!(script.has(), "ab");
    // With the event goes what it named.
    script.ok([Command::Trim { before: Serial(3) }]);
    assert_eq!(script.has(), "b");
    script.ok([Command::Trim { before: Serial(4) }]);
    script.ok(whole('c', 100));
    assert_eq!((script.has().as_str(), script.session.files()[0].cited), ("c", None));
}

#[test]
fn names_of_files_that_never_come_take_little() {
    let mut script = plain();
    for at in 0..2 * limits::FILES_AHEAD {
        script.ok([emit(&format!("file_{at:020}"))]);
    }
    let id = |at: usize| FileId::parse(&format!("file_{at:020}")).unwrap();
    for (at, cited) in [(0, false), (2 * limits::FILES_AHEAD - 1, true)] {
        let begin = BeginFile { id: id(at), ..begin_of('a', 100) };
        script.ok([request_of(FileRequest::Begin(begin))]);
        assert_eq!(script.session.files().last().unwrap().cited.is_some(), cited, "{at}");
    }
}

/// Whoever brought other bytes gives up what is not whole, and of that announcement alone.
#[test]
fn who_gives_up_a_file_never_takes_a_whole_one() {
    let give_up = |number| request_of(FileRequest::GiveUp { file: file('a'), number });
    let mut script = plain();
    script.ok([begin('a', 100)]);
    script.ok(whole('a', 100));
    script.ok([give_up(0)]);
    assert_eq!(script.has(), "a", "another one made it whole");
    script.ok([drop_of('a'), begin('a', 100), give_up(0)]);
    assert_eq!(script.has(), "a", "it is another one");
    script.ok([give_up(1)]);
    assert_eq!(script.run(&give_up(1)), "no_such_file");
}

/// Whoever goes on with a file whose name was announced anew for other bytes has no such file.
#[test]
fn bytes_go_into_the_file_that_they_were_announced_for() {
    let mut script = plain();
    script.ok([begin('a', 1_000)]);
    let old = aimed(&script.session, &put('a', 0, &content('a', 1_000)[..640]));
    script.ok([drop_of('a'), begin('a', 2_000)]);
    let stands = script.session.clone();
    let answer = script.session.apply(script.at, &old, &mut Vec::new());
    assert_eq!((answer, &script.session), (Err(Refusal::NoSuchFile), &stands));
    script.ok([put('a', 0, &content('a', 2_000))]);
}

/// A node repeats a drop whose answer it did not get: what was announced anew meanwhile is not meant.
#[test]
fn a_drop_again_drops_no_other_file_of_the_name() {
    let mut script = plain();
    script.ok([begin('a', 1_000)]);
    let drop = aimed(&script.session, &drop_of('a'));
    script.ok([drop.clone(), begin('a', 2_000)]);
    let stands = script.session.clone();
    let answer = script.session.apply(script.at, &drop, &mut Vec::new());
    assert_eq!((answer, &script.session), (Err(Refusal::NoSuchFile), &stands));
}
