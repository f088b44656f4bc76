//! Names and signs of a file in Rust, with their lines: what the laws are held against.

/// A line, and what stands on it.
pub(crate) type Token<'t> = (usize, &'t str);

/// Lines on which these follow each other.
pub(crate) fn sequence<'t>(
    tokens: &'t [Token<'t>],
    pattern: &'t [&str],
) -> impl Iterator<Item = usize> + 't {
    let same =
        |window: &[Token<'_>]| window.iter().map(|(_, word)| *word).eq(pattern.iter().copied());
    tokens.windows(pattern.len()).filter(move |window| same(window)).map(|window| window[0].0)
}

/// Names and signs with their lines; comments, strings and characters are left out.
pub(crate) fn tokens(text: &str) -> Vec<Token<'_>> {
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
