//! Beginning again on the same stream: after a gap or a reset, with the session as it is then.

use std::time::Duration;

use tokio::time::Instant;

use super::super::Edge;
use super::super::content::raw::Json;
use super::super::error::Problem;
use super::super::history::{Log, Pin};
use super::{AttachOptions, Visibility, snapshot};
use crate::ids::SessionId;
use crate::limits::REQUEST_MS;
use crate::runtime::{Freshness, Reader, Start};
use crate::session::View;

/// How a stream begins again.
pub(in crate::edge) struct Again {
    edge: Edge,
    id: SessionId,
    messages: Option<usize>,
    visibility: Visibility,
    pin: Pin,
}

impl Again {
    /// As it was requested, if it was.
    pub(super) fn of(edge: &Edge, id: &SessionId, request: &AttachOptions) -> Option<Box<Again>> {
        let AttachOptions { messages, visibility, again, pin, .. } = *request;
        let (edge, id) = (edge.clone(), id.clone());
        again.then(|| Box::new(Again { edge, id, messages, visibility, pin }))
    }

    /// A reader at the end of the log, the session where it begins, and the path that is sent of it, where it is one.
    /// A branch that is not there any more is not waited for: all is sent.
    ///
    /// # Errors
    /// The session is not to be had now.
    pub(in crate::edge) async fn begin(
        &self,
    ) -> Result<(Reader, Json, Option<Box<View>>), Problem> {
        let Again { edge, id, messages, visibility, pin } = self;
        let deadline = Instant::now() + Duration::from_millis(REQUEST_MS);
        let freshness = Freshness::Linearizable;
        let reader = edge.sessions().attach(id, Start::Tail, freshness, deadline).await?;
        let status = reader.status();
        let mut log = Log::new(edge, id, status.incarnation, deadline);
        let (view, pinned) = match pin.view(&mut log, status).await {
            Ok(view) => (view.clone(), pin.is_path().then(|| Box::new(view))),
            Err(why) if why.is_passing() => return Err(why),
            Err(_) => (status.branches.current_view(), None),
        };
        let wanted = (*messages, *visibility, view);
        let snapshot = snapshot::of(edge, id, &reader, wanted, deadline).await?;
        let at = reader.cursor();
        let data = Json::object([
            ("incarnation", u64::from(at.incarnation.0).into()),
            ("cursor", at.to_string().into()),
            ("tail", reader.status().tail.0.into()),
            ("closed", reader.is_closed().into()),
            ("snapshot", snapshot),
        ]);
        Ok((reader, data, pinned))
    }
}
