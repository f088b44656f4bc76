//! Patterns over the names of streams: `*` is one segment, `**` is none or any number of them.

/// One segment of a pattern.
enum Piece {
    One,
    Many,
    Name(String),
}

/// Whether the name `path` is one that `pattern` means.
pub(super) fn matches(pattern: &str, path: &str) -> bool {
    let path: Vec<&str> = segments(path).collect();
    // A place may be reached by many ways; each is looked at once.
    let mut reached = vec![false; path.len() + 1];
    reached[0] = true;
    for piece in segments(pattern).map(piece) {
        let mut next = vec![false; path.len() + 1];
        if let Piece::Many = piece {
            let first = reached.iter().position(|reached| *reached).unwrap_or(next.len());
            next[first..].fill(true);
        } else {
            for (at, name) in path.iter().enumerate() {
                let same = !matches!(&piece, Piece::Name(wanted) if wanted != name);
                next[at + 1] = reached[at] && same;
            }
        }
        reached = next;
    }
    reached[path.len()]
}

/// What every name that the pattern means begins with.
pub(super) fn prefix(pattern: &str) -> String {
    let mut prefix = String::new();
    for segment in pattern.split('/') {
        if segment == "**" {
            // It may mean nothing, and then the slash is not there.
            return prefix.trim_end_matches('/').to_owned();
        }
        if segment == "*" || escaped(segment) {
            return prefix;
        }
        if segment.is_empty() {
            continue;
        }
        if !prefix.is_empty() && !prefix.ends_with('/') {
            prefix.push('/');
        }
        prefix.push_str(segment);
        prefix.push('/');
    }
    // All of it is literal: it means one name.
    prefix.pop();
    prefix
}

fn segments(text: &str) -> impl Iterator<Item = &str> {
    text.split('/').filter(|segment| !segment.is_empty())
}

fn escaped(segment: &str) -> bool {
    segment.contains("%2A") || segment.contains("%2a")
}

fn piece(segment: &str) -> Piece {
    match segment {
        "*" => Piece::One,
        "**" => Piece::Many,
        // A star that stands for itself is written so.
        _ => Piece::Name(segment.replace("%2A", "*").replace("%2a", "*")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_is_one_segment_and_two_are_any_number() {
        for (pattern, path, wanted) in [
            ("events/*", "events/a", true),
            ("events/*", "events/a/b", false),
            ("events/*", "events", false),
            ("events/**", "events", true),
            ("events/**", "events/a/b", true),
            ("**/b", "b", true),
            ("**/b", "a/a/b", true),
            ("**/b/**/c", "b/x/b/y/c", true),
            ("**/b/**/c", "x/c", false),
            ("a/%2A", "a/*", true),
            ("a/%2A", "a/x", false),
            ("*", "a", true),
            ("**", "a/b/c", true),
            ("a", "a", true),
            ("a", "b", false),
        ] {
            assert_eq!(matches(pattern, path), wanted, "{pattern} {path}");
        }
        let many = "**/a/".repeat(60);
        assert!(!matches(&many, &"a/".repeat(59)));
    }

    #[test]
    fn a_prefix_begins_all_names_that_are_meant() {
        for (pattern, wanted) in [
            ("events/*", "events/"),
            ("a/b/**/c", "a/b"),
            ("**", ""),
            ("a/b", "a/b"),
            ("/a/x*y/", "a/x*y"),
            ("a/%2A/b", "a/"),
        ] {
            assert_eq!(prefix(pattern), wanted, "{pattern}");
        }
    }
}
