//! Watches the session actors of a node: one that fails is forgotten, and its successor replays the journal.

use std::sync::Arc;

use ractor::{Actor, ActorProcessingErr, ActorRef, SupervisionEvent};

use super::shards::Shards;

/// The actor above all session actors of a node.
pub(super) struct Supervisor;

/// It gets no messages; it is notified of its children.
pub(super) enum Never {}

impl Actor for Supervisor {
    type Msg = Never;
    type State = Arc<Shards>;
    type Arguments = Arc<Shards>;

    async fn pre_start(
        &self,
        _myself: ActorRef<Never>,
        shards: Arc<Shards>,
    ) -> Result<Arc<Shards>, ActorProcessingErr> {
        Ok(shards)
    }

    async fn handle_supervisor_evt(
        &self,
        _myself: ActorRef<Never>,
        event: SupervisionEvent,
        shards: &mut Arc<Shards>,
    ) -> Result<(), ActorProcessingErr> {
        if let SupervisionEvent::ActorFailed(actor, error) = event {
            let session = shards.failed(actor.get_id());
            tracing::error!(?session, %error, "a session's actor failed; the next one replays");
        }
        Ok(())
    }
}
