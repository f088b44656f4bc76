//! Beginning again on the same stream: after a gap or a reset, with the session as it is then.

use std::time::Duration;

use tokio::time::Instant;

use super::super::Edge;
use super::super::content::raw::Json;
use super::super::error::Problem;
use super::{AttachOptions, Visibility, snapshot};
use crate::ids::SessionId;
use crate::limits::REQUEST_MS;
use crate::runtime::{Freshness, Reader, Start};

/// How a stream begins again.
pub(in crate::edge) struct Again {
    edge: Edge,
    id: SessionId,
    messages: Option<usize>,
    visibility: Visibility,
}

impl Again {
    /// As it was asked for, if it was.
    pub(super) fn of(edge: &Edge, id: &SessionId, request: &AttachOptions) -> Option<Box<Again>> {
        let AttachOptions { messages, visibility, again, .. } = *request;
        let (edge, id) = (edge.clone(), id.clone());
        again.then(|| Box::new(Again { edge, id, messages, visibility }))
    }

    /// A reader at the end of the log, and the session where it begins.
    ///
    /// # Errors
    /// The session is not to be had now.
    pub(in crate::edge) async fn begin(&self) -> Result<(Reader, Json), Problem> {
        let Again { edge, id, messages, visibility } = self;
        let deadline = Instant::now() + Duration::from_millis(REQUEST_MS);
        let freshness = Freshness::Linearizable;
        let reader = edge.runtime.sessions.attach(id, Start::Tail, freshness, deadline).await?;
        let wanted = (*messages, *visibility);
        let snapshot = snapshot::of(edge, id, &reader, wanted, deadline).await?;
        let at = reader.cursor();
        let data = Json::object([
            ("incarnation", u64::from(at.incarnation.0).into()),
            ("cursor", at.to_string().into()),
            ("tail", reader.status().tail.0.into()),
            ("closed", reader.is_closed().into()),
            ("snapshot", snapshot),
        ]);
        Ok((reader, data))
    }
}
