//! Stock chat clients: a folder for each dialect that clients of others use, over one fold of the log.
//!
//! A client's message is an input, its agent's answer a turn, and a chat a session. [`fold`] makes of the events of a
//! turn what they mean (see [`delta`]), whichever dialect the agent uses; a dialect renders it in its own form, and
//! [`live`] carries them. Nothing is kept here: whatever is sent can be sent again, at any node, from the log. A
//! dialect is rid of by deleting its folder, its line in [`routes`] and its names in the gate.

mod ag_ui;
mod ai_sdk;
mod answer;
mod begin;
mod client_message;
mod delta;
mod fold;
mod follow;
mod follows;
mod health;
mod live;
mod names;
mod openai;
mod question;
mod superseded;
#[cfg(test)]
mod tests;

use axum::response::Response;

pub(super) use client_message::{MessagePart, message as said_by_person};
pub(super) use follow::{Follow, Lost};
pub(super) use openai::content_parts;

use super::routes::Route;

/// The paths of all dialects. They are described by their own documentation, not by `openapi.json`.
pub(super) fn routes() -> Vec<Route> {
    let mut routes = ai_sdk::routes();
    routes.extend(openai::routes());
    routes.extend(ag_ui::routes());
    routes
}

/// An answer as the clients of a route read it: problems have a form of their own in some dialects.
pub(super) async fn in_dialect(route: &str, response: Response) -> Response {
    if route.starts_with("openai_") { openai::problem(response).await } else { response }
}
