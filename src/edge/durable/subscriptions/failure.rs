//! What goes wrong with a request about a subscription, in the form of the dialect.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::super::super::error::{Code, Problem};
use crate::subscriptions::{Fault, Refused};

/// Why a request was not done.
#[derive(Debug)]
pub(super) enum Failure {
    /// What the dialect has an error for.
    Fault(Fault),
    /// What the whole edge has in common: bodies, most of all.
    Edge(Problem),
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Failure {
        Failure::Fault(fault)
    }
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Failure {
        Failure::Edge(problem)
    }
}

/// The status and the code of a fault.
fn code(fault: &Fault) -> (StatusCode, &'static str) {
    match fault {
        Fault::Invalid(_) => (StatusCode::BAD_REQUEST, "INVALID_REQUEST"),
        Fault::Url(_) => (StatusCode::BAD_REQUEST, "WEBHOOK_URL_REJECTED"),
        Fault::NoToken(_) => (StatusCode::UNAUTHORIZED, "TOKEN_INVALID"),
        Fault::Gone => (StatusCode::NOT_FOUND, "SUBSCRIPTION_NOT_FOUND"),
        Fault::Exists => (StatusCode::CONFLICT, "SUBSCRIPTION_ALREADY_EXISTS"),
        Fault::NoPendingWork => (StatusCode::CONFLICT, "NO_PENDING_WORK"),
        Fault::Refused(Refused::Fenced | Refused::Awake) => (StatusCode::CONFLICT, "FENCED"),
        Fault::Refused(Refused::Offset(_)) => (StatusCode::CONFLICT, "INVALID_OFFSET"),
        Fault::Refused(Refused::Claimed { .. }) => (StatusCode::CONFLICT, "ALREADY_CLAIMED"),
        Fault::TooMany => (StatusCode::TOO_MANY_REQUESTS, "QUOTA_EXCEEDED"),
        Fault::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "UNAVAILABLE"),
        Fault::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "INTERNAL"),
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let fault = match self {
            Failure::Edge(problem) => return problem.into_response(),
            Failure::Fault(fault) => fault,
        };
        let (status, code) = code(&fault);
        let mut error = json!({ "code": code, "message": fault.to_string() });
        if let Fault::Refused(Refused::Claimed { holder, generation }) = fault {
            error["current_holder"] = holder.into();
            error["generation"] = generation.into();
        }
        let mut response = (status, Json(json!({ "error": error }))).into_response();
        response.extensions_mut().insert(Code(code));
        if status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}
