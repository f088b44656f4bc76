//! The laws of dependency, held by reading the tree: who may name what, how a file opens, how long
//! it is, and what a test may not do. Words in comments and strings are free.

use std::fs;
use std::path::Path;

/// One broken law: where, and what.
type Breach = (usize, String);

/// The dependencies that live in one place: the name, and the paths that may say it.
const PLACES: &[(&str, &[&str])] = &[
    ("openraft", &["cluster/src/raft"]),
    ("quinn", &["cluster/src/transport"]),
    ("bincode", &["cluster/src/codec.rs"]),
    ("ractor", &["src/runtime", "src/node.rs"]),
    ("axum", &["src/edge"]),
    ("fjall", &["src/store/lsm"]),
];

/// What a folder may not name: its words, and those same words inside longer names.
const WORDS: &[(&str, &[&str])] = &[
    ("cluster/src", &["session", "agent", "turn", "token", "http", "serde_json"]),
    (
        "session/src",
        &[
            "tokio",
            "ractor",
            "async",
            "await",
            "futures",
            "Instant",
            "SystemTime",
            "serde_json",
            "rand",
            "HashMap",
            "HashSet",
        ],
    ),
];

/// Names of other crates that contain a forbidden word and mean something else.
const FOREIGN: &[&str] = &["CancellationToken", "child_token"];

/// What each folder may not reach: arrows of the design point one way.
const ABOVE: &[(&str, &[&str])] = &[
    ("src/runtime", &["edge", "node", "cli", "tools"]),
    ("src/auth", &["edge", "node", "cli", "tools"]),
    ("src/subscriptions", &["auth", "edge", "node", "cli", "tools"]),
    ("src/edge", &["node", "cli", "tools"]),
];

/// Where the edge makes the id of a session: what a client wrote becomes one in its own tenant there and nowhere else.
const NAMERS: &[&str] = &[
    "src/edge/name",
    "src/subscriptions/named",
    // They have one name in the cluster.
    "src/subscriptions/signing_keys",
];

/// The parts inside src/runtime from the bottom up, in levels: the type that others are given, and its files. All other
/// files there are below the first level. A part is named by its own files and by those of higher levels, so never
/// upward, nor beside itself; `Runtime` is the whole, which only the wiring knows.
const PARTS: &[&[(&str, &[&str])]] = &[
    &[("Directory", &["directory"])],
    &[
        (
            "Sessions",
            &[
                "sessions",
                "asking",
                "attach",
                "status",
                "files",
                "fork",
                "following",
                "faults",
                "actions",
            ],
        ),
        ("Ephemerals", &["ephemeral"]),
    ],
    &[
        ("Workers", &["workers", "claim", "served", "agent"]),
        ("Presence", &["presence"]),
        ("Members", &["members"]),
        ("Comparison", &["compare"]),
    ],
    &[("Overview", &["overview", "ready", "trust"])],
    &[("Peers", &["peer/mod", "peer/relay"])],
    &[("Runtime", &["wiring", "mod"])],
];

const LINES: usize = 500;
/// Lines of one function of the product.
const FUNCTION_LINES: usize = 70;
/// Columns of a comment, and of a line of prose in docs.
const COLUMNS: usize = 120;

/// Words that were replaced: the type, and what to say now.
const GONE: &[(&str, &str)] = &[
    ("Desk", "TurnQueue"),
    ("Duty", "Effect"),
    ("Frozen", "the type itself"),
    ("LyingDisk", "FaultDisk"),
    ("Mouth", "SocketSender"),
    ("Roll", "PresenceTable"),
    ("Seat", "TurnLease"),
    ("Seeker", "Claimer"),
    ("Stitched", "ForkReader"),
];

#[test]
fn the_tree_keeps_its_laws() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut broken = Vec::new();
    let mut files = 0;
    for folder in ["src", "clients", "cluster", "session", "tools", "tests", "benches"] {
        if !root.join(folder).exists() {
            continue;
        }
        for entry in walkdir::WalkDir::new(root.join(folder)).sort_by_file_name() {
            let entry = entry.expect("the tree can be read");
            if entry.path().extension().is_none_or(|extension| extension != "rs") {
                continue;
            }
            let path = entry.path().strip_prefix(root).expect("a file below the root");
            let path = path.to_str().expect("file names are text").replace('\\', "/");
            let text = fs::read_to_string(entry.path()).expect("a source file is text");
            files += 1;
            let breaches = judge(&path, &text);
            broken
                .extend(breaches.into_iter().map(|(line, what)| format!("{path}:{line}: {what}")));
        }
    }
    assert!(0 < files, "no source was found below {}", root.display());
    assert!(broken.is_empty(), "\n{}", broken.join("\n"));
}

#[test]
fn pages_are_no_wider_than_a_screen_and_decisions_are_numbered() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let pages = walkdir::WalkDir::new(root.join("docs")).sort_by_file_name().into_iter();
    let pages = pages.map(|page| page.expect("the tree can be read").into_path());
    let is_page = |page: &std::path::PathBuf| {
        let vendored = page.components().any(|part| part.as_os_str() == "node_modules");
        !vendored && page.extension().is_some_and(|extension| extension == "md")
    };
    let mut broken = Vec::new();
    for page in pages.chain([root.join("README.md"), root.join("CHANGELOG.md")]).filter(is_page) {
        let text = fs::read_to_string(&page).expect("a page is text");
        for (place, line) in text.lines().enumerate() {
            if COLUMNS < line.chars().count() {
                broken.push(format!("{}:{}: {COLUMNS} columns", page.display(), place + 1));
            }
        }
    }
    let decisions = fs::read_dir(root.join("docs/decisions")).expect("decisions are there");
    let names = decisions.map(|entry| entry.expect("it can be read").file_name());
    let mut names: Vec<_> = names.filter_map(|name| name.into_string().ok()).collect();
    names.retain(|name| name != "README.md");
    names.sort();
    for (name, number) in names.iter().zip(1..) {
        if !name.starts_with(&format!("{number:04}-")) {
            broken.push(format!("docs/decisions/{name}: number {number} comes next"));
        }
    }
    assert!(!names.is_empty() && broken.is_empty(), "\n{}", broken.join("\n"));
}

#[test]
fn the_bans_and_unwinding_stay_in_force() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let clippy = fs::read_to_string(root.join("clippy.toml")).expect("clippy.toml is there");
    for ban in [
        "\"tokio::spawn\"",
        "\"std::time::Instant::now\"",
        "\"std::time::SystemTime::now\"",
        "\"tokio::sync::mpsc::unbounded_channel\"",
        "\"std::env::set_var\"",
    ] {
        assert!(clippy.contains(ban), "clippy.toml no longer bans {ban}");
    }
    for manifest in ["Cargo.toml", "cluster/Cargo.toml", "session/Cargo.toml"] {
        let text = fs::read_to_string(root.join(manifest)).expect("a manifest is there");
        let lines = text.lines().map(|line| line.split('#').next().unwrap_or(""));
        let aborts = lines.filter(|line| line.replace(' ', "").contains("panic=\"abort\""));
        assert_eq!(aborts.count(), 0, "{manifest}: supervision needs unwinding");
    }
}

/// All breaches in one file.
fn judge(path: &str, text: &str) -> Vec<Breach> {
    let tokens = tokens(text);
    let mut found = Vec::new();
    if !text.starts_with("//!") {
        found.push((1, "a file opens with //!".to_owned()));
    }
    // What stands below `mod tests` is test and may be longer.
    let lines = text.lines().take_while(|line| line.trim() != "#[cfg(test)]").count();
    let test = path.split('/').any(|part| {
        matches!(part, "tests" | "tests.rs" | "benches" | "properties.rs")
            || part.ends_with("_tests.rs")
    });
    if LINES < lines && !test {
        found.push((LINES, format!("{lines} lines; {LINES} is the wall")));
    }
    found.extend(wide(text));
    for (gone, now) in GONE {
        let what = format!("`{gone}` is gone; say {now}");
        let listed = tokens.iter().filter(|(_, word)| word == gone);
        found.extend(listed.map(|(line, _)| (*line, what.clone())));
    }
    let inside = |folder: &str| {
        path.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    let product = inside("src") || inside("cluster/src") || inside("session/src");
    if product && !test {
        found.extend(long_functions(text, lines));
    }
    for (name, homes) in PLACES.iter().filter(|_| product) {
        // A home is a folder, or a file with or without its ending.
        let stem = path.strip_suffix(".rs").unwrap_or(path);
        if !homes.iter().any(|home| inside(home) || *home == stem) {
            let family = format!("{name}_");
            found.extend(named(&tokens, |word| word == *name || word.starts_with(&family)));
        }
    }
    for (_, words) in WORDS.iter().filter(|(folder, _)| inside(folder)) {
        found.extend(named(&tokens, |word| {
            !FOREIGN.contains(&word) && words.iter().any(|forbidden| says(word, forbidden))
        }));
    }
    if inside("session/src") {
        found.extend(reached(&tokens, "std", &["time", "thread", "net", "fs"]));
    }
    for (_, above) in ABOVE.iter().filter(|(folder, _)| inside(folder)) {
        found.extend(reached(&tokens, "crate", above));
    }
    if (inside("src/edge") || inside("src/subscriptions")) && !test {
        found.extend(across_tenants(path, lines, &tokens));
    }
    if inside("src/runtime") && !test {
        found.extend(upward(path, &tokens));
    }
    if product {
        let what = "what is needed is built first and given, not reached later";
        let late = sequence(&tokens, &["OnceLock", "<", "Weak"]);
        found.extend(late.map(|line| (line, what.to_owned())));
    }
    for pattern in [
        &["allow", "(", "clippy", ":", ":", "disallowed_methods"][..],
        &["allow", "(", "clippy", ":", ":", "disallowed_types"],
    ] {
        let what = "a ban is lifted with #[expect(…, reason = \"…\")]";
        found.extend(sequence(&tokens, pattern).map(|line| (line, what.to_owned())));
    }
    let ignored = sequence(&tokens, &["#", "[", "ignore"]);
    found.extend(ignored.map(|line| (line, "no test is ignored".to_owned())));
    if test {
        let what = "a test waits for a fact in a loop, not for time";
        found.extend(sleeps(&tokens).into_iter().map(|line| (line, what.to_owned())));
    }
    found
}

/// Ids of sessions that are made or shown past the tenant of whoever asks.
fn across_tenants(path: &str, lines: usize, tokens: &[Token<'_>]) -> Vec<Breach> {
    let names = NAMERS.iter().any(|home| path.strip_suffix(".rs") == Some(home));
    let mut found = Vec::new();
    for maker in ["parse", "of", "read", "reserved"] {
        let what = "a session is named in its client's tenant: edge/name does that";
        let wanted = ["SessionId", ":", ":", maker];
        let made = sequence(tokens, &wanted).filter(|_| !names);
        found.extend(made.map(|line| (line, what.to_owned())));
    }
    let what = "clients see the name of a session, not its full name";
    let shown = sequence(tokens, &[".", "full", "("]);
    found.extend(shown.map(|line| (line, what.to_owned())));
    // Tests below make what they like.
    found.retain(|(line, _)| *line <= lines);
    found
}

/// Parts of the runtime that a file names and that are not below it.
fn upward(path: &str, tokens: &[Token<'_>]) -> Vec<Breach> {
    let file = path.trim_start_matches("src/runtime/").trim_end_matches(".rs");
    let is_of = |files: &[&str]| {
        files.iter().any(|home| file == *home || file.starts_with(&format!("{home}/")))
    };
    let own = PARTS.iter().position(|level| level.iter().any(|(_, files)| is_of(files)));
    let mut found = Vec::new();
    for (level, parts) in PARTS.iter().enumerate() {
        let above = parts.iter().filter(|(_, files)| !is_of(files) && own <= Some(level));
        for (part, _) in above {
            found.extend(named(tokens, |word| word == *part));
        }
    }
    found
}

/// Comments that are wider than a page.
fn wide(text: &str) -> Vec<Breach> {
    let is_comment = |line: &str| line.trim_start().starts_with("//");
    let lines = text.lines().enumerate().filter(|(_, line)| is_comment(line));
    let wide = lines.filter(|(_, line)| COLUMNS < line.chars().count());
    wide.map(|(place, _)| (place + 1, format!("a comment has at most {COLUMNS} columns"))).collect()
}

/// Functions within the first `lines` that are longer than one reads at once. The text is formatted, so a function
/// ends with the first brace that stands as far in as it does.
fn long_functions(text: &str, lines: usize) -> Vec<Breach> {
    let lines: Vec<&str> = text.lines().take(lines).collect();
    let mut found = Vec::new();
    for (start, line) in lines.iter().enumerate() {
        let code = line.trim_start();
        let begins =
            ["fn ", "pub", "async fn ", "const fn "].iter().any(|word| code.starts_with(word));
        if !begins || !format!(" {code}").contains(" fn ") {
            continue;
        }
        let end = format!("{}}}", &line[..line.len() - code.len()]);
        let opens = lines[start..].iter().find(|line| line.ends_with(['{', ';', '}']));
        if opens.is_none_or(|line| !line.ends_with('{')) {
            continue;
        }
        let length = lines[start..].iter().position(|line| *line == end).map_or(0, |last| last + 1);
        if FUNCTION_LINES < length {
            let what = format!("a function of {length} lines; {FUNCTION_LINES} are enough");
            found.push((start + 1, what));
        }
    }
    found
}

/// Sleeps that are not the pause between two looks: those outside of every loop.
fn sleeps(tokens: &[Token<'_>]) -> Vec<usize> {
    let mut found = Vec::new();
    // For each open brace, whether it is inside a loop; and whether the next brace opens one.
    let (mut braces, mut begins, mut header) = (vec![false], false, false);
    for (place, (line, word)) in tokens.iter().enumerate() {
        match *word {
            "impl" => header = true,
            "loop" | "while" | "for" if !header => begins = true,
            "{" => {
                let inside = braces.last() == Some(&true) || begins;
                braces.push(inside);
                (begins, header) = (false, false);
            }
            "}" => {
                braces.pop();
            }
            ";" => (begins, header) = (false, false),
            "sleep"
                if braces.last() != Some(&true)
                    && tokens.get(place + 1).is_some_and(|(_, next)| *next == "(") =>
            {
                found.push(*line);
            }
            _ => {}
        }
    }
    found
}

type Token<'t> = (usize, &'t str);

fn named(tokens: &[Token<'_>], forbidden: impl Fn(&str) -> bool) -> Vec<Breach> {
    let words = tokens.iter().filter(|(_, word)| forbidden(word));
    words.map(|(line, word)| (*line, format!("`{word}` may not be named here"))).collect()
}

/// Whether `name` is the word, or one of the words that make up the name is.
fn says(name: &str, word: &str) -> bool {
    if name == word {
        return true;
    }
    // A word with capitals, or a crate with an underscore, is a whole name.
    if word.contains('_') || word.contains(char::is_uppercase) {
        return false;
    }
    let plural = format!("{word}s");
    parts(name).any(|part| part == word || part == plural)
}

/// `SessionId` → session, id; `turn_count` → turn, count.
fn parts(name: &str) -> impl Iterator<Item = String> {
    let mut spaced = String::new();
    let mut before_lower = false;
    for letter in name.chars() {
        if letter.is_uppercase() && before_lower {
            spaced.push('_');
        }
        before_lower = letter.is_lowercase() || letter.is_ascii_digit();
        spaced.extend(letter.to_lowercase());
    }
    spaced.split('_').map(str::to_owned).collect::<Vec<_>>().into_iter()
}

/// `base::name`, or `base::{…}` with `name` among the first words.
fn reached(tokens: &[Token<'_>], base: &str, names: &[&str]) -> Vec<Breach> {
    let mut found = Vec::new();
    let mut flag = |(line, word): Token<'_>| {
        if names.contains(&word) {
            found.push((line, format!("`{base}::{word}` may not be named here")));
        }
    };
    for start in 0..tokens.len().saturating_sub(3) {
        if [0, 1, 2].map(|i| tokens[start + i].1) != [base, ":", ":"] {
            continue;
        }
        if tokens[start + 3].1 != "{" {
            flag(tokens[start + 3]);
            continue;
        }
        let (mut depth, mut first) = (0, true);
        for &token in &tokens[start + 3..] {
            match token.1 {
                "{" => depth += 1,
                "}" => depth -= 1,
                _ if depth == 1 && first => flag(token),
                _ => {}
            }
            first = depth == 1 && matches!(token.1, "{" | ",");
            if depth == 0 {
                break;
            }
        }
    }
    found
}

fn sequence<'t>(tokens: &'t [Token<'t>], pattern: &'t [&str]) -> impl Iterator<Item = usize> + 't {
    let same =
        |window: &[Token<'_>]| window.iter().map(|(_, word)| *word).eq(pattern.iter().copied());
    tokens.windows(pattern.len()).filter(move |window| same(window)).map(|window| window[0].0)
}

/// Names and signs with their lines; comments, strings and characters are left out.
fn tokens(text: &str) -> Vec<Token<'_>> {
    let bytes = text.as_bytes();
    let (mut at, mut line) = (0, 1);
    let mut found = Vec::new();
    while at < bytes.len() {
        let end = match bytes[at] {
            b'/' if bytes.get(at + 1) == Some(&b'/') => {
                text[at..].find('\n').map_or(text.len(), |n| at + n)
            }
            b'/' if bytes.get(at + 1) == Some(&b'*') => block_comment(bytes, at),
            b'"' => string(bytes, at),
            b'\'' => character(text, at),
            byte if byte.is_ascii_alphanumeric() || byte == b'_' => {
                let word = text[at..].find(|c: char| !c.is_alphanumeric() && c != '_');
                let end = word.map_or(text.len(), |n| at + n);
                match (&text[at..end], bytes.get(end)) {
                    ("r" | "br" | "cr", Some(b'#' | b'"')) => raw_string(text, at, end),
                    ("b" | "c", Some(b'"')) => string(bytes, end),
                    (name, _) => {
                        found.push((line, name));
                        end
                    }
                }
            }
            byte if byte.is_ascii_punctuation() => {
                found.push((line, &text[at..=at]));
                at + 1
            }
            _ => at + 1,
        };
        line += bytes[at..end].iter().filter(|&&byte| byte == b'\n').count();
        at = end;
    }
    found
}

fn block_comment(bytes: &[u8], start: usize) -> usize {
    let (mut at, mut depth) = (start, 0);
    while at < bytes.len() {
        match &bytes[at..bytes.len().min(at + 2)] {
            b"/*" => (depth, at) = (depth + 1, at + 2),
            b"*/" => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            return at;
        }
    }
    bytes.len()
}

fn string(bytes: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while at < bytes.len() && bytes[at] != b'"' {
        at += 1 + usize::from(bytes[at] == b'\\');
    }
    bytes.len().min(at + 1)
}

/// `hashes` is where the word `r` ends. A raw name (`r#type`) is skipped like its `r`.
fn raw_string(text: &str, start: usize, hashes: usize) -> usize {
    let body = text[hashes..].find(|c| c != '#').map_or(text.len(), |n| hashes + n);
    if !text[body..].starts_with('"') {
        return body.max(start + 1);
    }
    let close = format!("\"{}", &text[hashes..body]);
    text[body + 1..].find(&close).map_or(text.len(), |n| body + 1 + n + close.len())
}

/// A character; or, for a lifetime, its quote alone.
fn character(text: &str, start: usize) -> usize {
    let mut rest = text[start + 1..].char_indices();
    match rest.next() {
        Some((_, '\\')) => {
            let from = start + 3;
            text.get(from..).and_then(|t| t.find('\'')).map_or(text.len(), |n| from + n + 1)
        }
        Some((_, first)) if text[start + 1 + first.len_utf8()..].starts_with('\'') => {
            start + 1 + first.len_utf8() + 1
        }
        _ => start + 1,
    }
}

fn check(path: &str, text: &str, wanted: &[(usize, &str)]) {
    let found = judge(path, text);
    let same = found.len() == wanted.len()
        && found.iter().zip(wanted).all(|(f, w)| f.0 == w.0 && f.1.contains(w.1));
    assert!(same, "{path}\n{text}\nfound {found:?}\nwanted {wanted:?}");
}

#[test]
fn each_law_is_broken_by_its_breach() {
    for (path, text, wanted) in [
        ("src/a.rs", "use x;\n", "opens with"),
        ("src/runtime/a.rs", "//! A.\nuse openraft::Raft;\n", "`openraft`"),
        ("cluster/src/group.rs", "//! A.\nuse openraft_rt::X;\n", "`openraft_rt`"),
        ("cluster/src/raft2.rs", "//! A.\nuse openraft::X;\n", "`openraft`"),
        ("src/edge/a.rs", "//! A.\nlet x = quinn::x();\n", "`quinn`"),
        ("cluster/src/raft/a.rs", "//! A.\nuse bincode as b;\n", "`bincode`"),
        ("src/edge/a.rs", "//! A.\nuse ractor::Actor;\n", "`ractor`"),
        ("src/runtime/a.rs", "//! A.\nuse axum::Router;\n", "`axum`"),
        ("src/runtime/a.rs", "//! A.\nuse fjall::Keyspace;\n", "`fjall`"),
        ("src/store.rs", "//! A.\nuse fjall::Keyspace;\n", "`fjall`"),
        ("cluster/src/a.rs", "//! A.\nstruct SessionId;\n", "`SessionId`"),
        ("cluster/src/a.rs", "//! A.\nfn agents() {}\n", "`agents`"),
        ("cluster/src/a.rs", "//! A.\nlet turn_count = 0;\n", "`turn_count`"),
        ("cluster/src/a.rs", "//! A.\nlet token = 0;\n", "`token`"),
        ("cluster/src/a.rs", "//! A.\nuse http::Uri;\n", "`http`"),
        ("src/a.rs", "//! A.\nstruct Seat;\n", "`Seat` is gone"),
        ("src/a.rs", &format!("//! A.\n// {}\n", "x".repeat(118)), "120 columns"),
        ("src/a.rs", &format!("//! A.\nfn x() {{\n{}}}\n", "    y();\n".repeat(69)), "of 71 lines"),
        ("session/src/a.rs", "//! A.\nasync fn x() {}\n", "`async`"),
        ("session/src/a.rs", "//! A.\nlet m: HashMap<u8, u8>;\n", "`HashMap`"),
        ("session/src/a.rs", "//! A.\nuse rand::Rng;\n", "`rand`"),
        ("session/src/a.rs", "//! A.\nuse std::time::Duration;\n", "`std::time`"),
        ("session/src/a.rs", "//! A.\nuse std::{fmt, time::Duration};\n", "`std::time`"),
        ("src/runtime/a.rs", "//! A.\nuse crate::{ids::X, edge::Y};\n", "`crate::edge`"),
        ("src/runtime/a.rs", "//! A.\nuse super::Runtime;\n", "`Runtime`"),
        ("src/runtime/peer/mod.rs", "//! A.\nuse super::Runtime;\n", "`Runtime`"),
        ("src/runtime/session/mod.rs", "//! A.\nfn x(d: &Directory) {}\n", "`Directory`"),
        ("src/runtime/status.rs", "//! A.\nfn x(w: &Workers) {}\n", "`Workers`"),
        ("src/runtime/members.rs", "//! A.\nfn x(p: &Presence) {}\n", "`Presence`"),
        ("src/edge/a.rs", "//! A.\nlet id = SessionId::parse(x);\n", "client's tenant"),
        ("src/edge/name2.rs", "//! A.\nlet id = SessionId::of(None, x);\n", "client's tenant"),
        ("src/edge/name.rs", "//! A.\nlet text = id.full();\n", "not its full name"),
        ("src/a.rs", "//! A.\nstruct X(OnceLock<Weak<Y>>);\n", "built first"),
        ("src/a.rs", "//! A.\n#[allow(clippy::disallowed_methods)]\n", "is lifted"),
        ("src/a.rs", "//! A.\n#[ignore]\n", "ignored"),
        ("tests/a.rs", "//! A.\ntokio::time::sleep(x);\n", "for a fact"),
        ("cluster/tests/a.rs", "//! A.\nsleep (x);\n", "for a fact"),
        ("tests/a.rs", "//! A.\nimpl A for B { fn x() { sleep(x); } }\n", "for a fact"),
    ] {
        let line = if text.starts_with("//!") { 2 } else { 1 };
        check(path, text, &[(line, wanted)]);
    }
    let long = format!("//! A.\n{}", "fn x() {}\n".repeat(500));
    check("src/a.rs", &long, &[(500, "501 lines")]);
    check("tests/a.rs", &long, &[]);
    let tested = long.replacen("fn x() {}\n", "#[cfg(test)]\nmod tests {}\n", 1);
    check("src/a.rs", &tested, &[]);
}

#[test]
fn words_in_prose_and_in_their_home_are_free() {
    for (path, text) in [
        ("cluster/src/raft/core.rs", "//! A.\nuse openraft::Raft;\n"),
        ("cluster/src/raft.rs", "//! A.\nuse openraft::Raft;\n"),
        ("cluster/src/codec.rs", "//! A.\nuse bincode::serde;\n"),
        ("cluster/src/transport/quic.rs", "//! A.\nuse quinn::Endpoint;\n"),
        ("src/node.rs", "//! A.\nuse ractor::Actor;\n"),
        ("src/store/lsm.rs", "//! A.\nuse fjall::Keyspace;\n"),
        ("cluster/src/a.rs", "//! Knows no session.\n/* no /* agent */ turn */ fn x() {}\n"),
        ("cluster/src/a.rs", "//! A.\nlet a = \"a \\\" session\"; return a; // turn\n"),
        ("cluster/src/a.rs", "//! A.\nlet a = r#\"say \"agent\" \"#; let b = b\"http\";\n"),
        ("cluster/src/a.rs", "//! A.\nlet a: CancellationToken = b.child_token();\n"),
        ("cluster/src/a.rs", "//! A.\nlet q = '\"'; let turned: &'static str = \"turn\";\n"),
        ("session/src/a.rs", "//! A.\nlet operand = std::mem::take(&mut x.time);\n"),
        ("src/runtime/a.rs", "//! A.\nuse crate::{session::edge, ids};\n"),
        ("src/runtime/agent/a.rs", "//! A.\nfn x(s: &Sessions, w: &Workers, d: &Directory) {}\n"),
        ("src/edge/name.rs", "//! A.\nlet id = SessionId::of(tenant, x);\n"),
        ("src/edge/a.rs", "//! A.\n#[cfg(test)]\nmod tests { let x = SessionId::parse(y); }\n"),
        ("src/runtime/wiring.rs", "//! A.\nfn x(s: &Sessions) -> Runtime {}\n"),
        ("tests/a.rs", "//! A.\nwhile !done() { if x { y(); } sleep(short); }\n"),
        ("tests/a.rs", "//! A.\nlet sleep = 1; let x = \"sleep(\"; // #[ignore]\n"),
    ] {
        check(path, text, &[]);
    }
}
