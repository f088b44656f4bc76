//! Questions to people and their answers, judged where it enters: each kind of question has a shape, and an
//! answer fits its question.
//!
//! The session knows no JSON. So an answer names the question that it was judged by, and the session takes it for
//! that one alone.

mod answer;
mod question;
mod schema;

use tokio::time::Instant;

use super::Edge;
use super::error::{self, Problem};
use super::history::Log;
use crate::ids::{Serial, SessionId};
use crate::limits;
use crate::runtime::{Freshness, Reply, SubmitError};
use crate::session::{Answer, Command, Grant, Refusal, Status};

pub(super) use answer::{edited_arguments, is_dismissal};
pub(super) use question::{check as question, choices};
pub(super) use schema::check as is_schema;

/// Why an answer does not fit its question.
#[derive(Debug, PartialEq)]
struct Unfit {
    detail: String,
    /// Where in a form, and what is wrong there.
    errors: Vec<(String, String)>,
}

impl Unfit {
    fn because(detail: impl Into<String>) -> Unfit {
        Unfit { detail: detail.into(), errors: Vec::new() }
    }
}

impl From<Unfit> for Problem {
    fn from(unfit: Unfit) -> Problem {
        let problem = Problem::new(&error::BAD_ANSWER, unfit.detail);
        if unfit.errors.is_empty() {
            return problem;
        }
        let error = |(path, message)| serde_json::json!({ "path": path, "message": message });
        problem.with("errors", unfit.errors.into_iter().map(error).collect::<Vec<_>>())
    }
}

/// Commits an answer that fits its question.
///
/// # Errors
/// It does not fit; nothing happened.
pub(super) async fn answer(
    edge: &Edge,
    grant: Option<&Grant>,
    id: &SessionId,
    mut answer: Box<Answer>,
    deadline: Instant,
) -> Result<Result<Reply, SubmitError>, Problem> {
    loop {
        judge(edge, id, &mut answer, deadline).await?;
        let command = Command::Answer(answer.clone());
        let done = edge.runtime.sessions.submit_for(grant, id, command, deadline).await;
        let differs =
            matches!(done, Err(SubmitError::Refused { refusal: Refusal::QuestionDiffers, .. }));
        // Its question came, or came anew, meanwhile.
        if !differs || deadline <= Instant::now() {
            return Ok(done);
        }
    }
}

async fn judge(
    edge: &Edge,
    id: &SessionId,
    answer: &mut Answer,
    deadline: Instant,
) -> Result<(), Problem> {
    let (bytes, limit) = (answer.content.payload.len(), limits::EVENT_BYTES);
    if limit < bytes {
        return Err(Refusal::EventTooLarge { bytes, limit }.into());
    }
    let status = edge.sessions().status(id, Freshness::Linearizable, deadline).await?;
    let Some(status) = status else { return Ok(()) };
    let mut open = status.interactions.iter();
    let Some(open) = open.find(|open| open.interaction == answer.interaction) else {
        // What became of it is for the session to answer.
        answer.judged = Some(Serial::ZERO);
        return Ok(());
    };
    answer.judged = Some(open.serial);
    let kind = open.kind.as_str();
    if !answer::reads_question(kind, &answer.content) {
        return Ok(());
    }
    let Some(request) = request(edge, id, &status, open.serial, deadline).await? else {
        // Retention took it; the agent judges alone.
        return Ok(());
    };
    let (kind, content) = (kind.to_owned(), answer.content.clone());
    let judged =
        tokio::task::spawn_blocking(move || answer::check(&kind, &request, &content)).await;
    let unjudged = |_| Unfit::because("the answer could not be judged by its question");
    judged.map_err(unjudged)?.map_err(Problem::from)
}

/// The payload of a question.
async fn request(
    edge: &Edge,
    id: &SessionId,
    status: &Status,
    at: Serial,
    deadline: Instant,
) -> Result<Option<bytes::Bytes>, Problem> {
    if at < status.first {
        return Ok(None);
    }
    let mut log = Log::new(edge, id, status.incarnation, deadline);
    let event = log.at(&[at]).await?;
    Ok(event.first().map(|shown| shown.event.payload.clone()))
}
