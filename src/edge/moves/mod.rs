//! Sessions that move: exported as lines of JSON, and imported from them, as themselves or under another name;
//! histories of other programs, which come in as sessions.

mod export;
mod history;
mod import;
mod line;
mod steps;

pub(super) use export::export;
pub(super) use import::import;
