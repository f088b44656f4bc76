//! The laws of dependency, held by reading the tree: who may name what, how a file opens, how long
//! it is, and what a test may not do. Words in comments and strings are free.

mod breaches;
mod tokens;

use std::fs;
use std::path::Path;

use tokens::{Token, sequence, tokens};

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

/// Where the edge is had as it is, and not for who sent a request.
const WHOLE_EDGE: &[&str] = &["src/edge/routes", "src/edge/durable/subscriptions"];

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
    ("Say", "TurnReport"),
    ("Seat", "TurnLease"),
    ("Seeker", "Claimer"),
    ("Stitched", "ForkReader"),
];

/// Members, frames and paths that the protocol had, and what it has now (decision 0083): no page has them.
const FORMER: &[(&str, &str)] = &[
    ("`said`", "`content`"),
    ("\"said\":", "content"),
    ("/say`", "/output"),
    ("`beat`", "`heartbeat`"),
    ("/told", "/signals"),
    ("`spoken`", "`last_input`"),
    ("`heard`", "`consumed`"),
    ("quiet_ms", "progress_timeout_ms"),
    ("quiet_until", "progress_deadline"),
    ("alive_at", "last_seen_at"),
    ("person.said", "person.message"),
    ("turn_over", "turn_ended"),
    ("role_forbids", "insufficient_role"),
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
            let former = FORMER.iter().filter(|_| !page.to_string_lossy().contains("/decisions/"));
            for (word, now) in former.filter(|(word, _)| line.contains(word)) {
                broken.push(format!("{}:{}: {word} is {now}", page.display(), place + 1));
            }
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
    // What stands below `mod tests {` is test and may be longer.
    let is_test = |pair: &[&str]| {
        pair[0] == "#[cfg(test)]" && pair[1].starts_with("mod ") && !pair[1].ends_with(";")
    };
    let all: Vec<&str> = text.lines().collect();
    let lines = all.windows(2).position(is_test).unwrap_or(all.len());
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
    if inside("src/edge") && !WHOLE_EDGE.iter().any(|file| path.starts_with(file)) {
        // The edge's own `State` is for who sent the request: what goes to other nodes has the grant.
        found.extend(reached(&tokens, "extract", &["State"]));
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
