//! What goes wrong with a request about a subscription, in the words of the dialect.

use std::fmt::Display;

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::super::super::error::{Code, Problem};
use super::state::Refused;

/// Why a request was not done.
#[derive(Debug)]
pub(super) enum Fault {
    Said {
        status: u16,
        code: &'static str,
        message: String,
        holder: Option<(String, u64)>,
    },
    /// The subscription is no more.
    Gone,
    /// What the whole edge has in common: bodies, most of all.
    Edge(Problem),
}

impl Fault {
    pub(super) fn new(status: u16, code: &'static str, message: impl Into<String>) -> Fault {
        Fault::Said { status, code, message: message.into(), holder: None }
    }

    pub(super) fn invalid(message: impl Into<String>) -> Fault {
        Fault::new(400, "INVALID_REQUEST", message)
    }

    pub(super) fn gone() -> Fault {
        Fault::Gone
    }

    pub(super) fn internal() -> Fault {
        Fault::new(500, "INTERNAL", "the change cannot be kept")
    }

    /// The text of why is for operators.
    pub(super) fn unavailable(why: &dyn Display) -> Fault {
        tracing::debug!(%why, "a subscription is out of reach");
        Fault::new(503, "UNAVAILABLE", "nobody answered in time; try again")
    }
}

impl From<Refused> for Fault {
    fn from(refused: Refused) -> Fault {
        let message = refused.to_string();
        match refused {
            Refused::Fenced | Refused::Awake => Fault::new(409, "FENCED", message),
            Refused::Offset(_) => Fault::new(409, "INVALID_OFFSET", message),
            Refused::Claimed { holder, generation } => Fault::Said {
                status: 409,
                code: "ALREADY_CLAIMED",
                message,
                holder: Some((holder, generation)),
            },
        }
    }
}

impl From<Problem> for Fault {
    fn from(problem: Problem) -> Fault {
        Fault::Edge(problem)
    }
}

impl IntoResponse for Fault {
    fn into_response(self) -> Response {
        let (status, code, message, holder) = match self {
            Fault::Edge(problem) => return problem.into_response(),
            Fault::Gone => (404, "SUBSCRIPTION_NOT_FOUND", "no such subscription".into(), None),
            Fault::Said { status, code, message, holder } => (status, code, message, holder),
        };
        let mut error = json!({ "code": code, "message": message });
        if let Some((holder, generation)) = holder {
            error["current_holder"] = holder.into();
            error["generation"] = generation.into();
        }
        let status = StatusCode::from_u16(status).expect("the codes are real");
        let mut response = (status, Json(json!({ "error": error }))).into_response();
        response.extensions_mut().insert(Code(code));
        if status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}
