//! The story as it must be.

/// Checks a text against the story.
pub(super) fn check(text: &str, _asked: &str) -> anyhow::Result<usize> {
    Ok(text.split_whitespace().count())
}
