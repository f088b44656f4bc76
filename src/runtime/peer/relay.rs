//! The sending end of a relay: a reader at this replica for a node without one.

use bytes::Bytes;
use cluster::codec;
use cluster::ids::NodeId;
use cluster::transport::Stream;
use tokio::time::Instant;

use crate::limits::REQUEST_DEADLINE;
use crate::runtime::reader::{AttachError, Delivery};
use crate::runtime::relay::{RelayRequest, Sent, VERSION};
use crate::runtime::sessions::Sessions;
use crate::session::Event;

/// Serves a reader of another node from this replica, until either side ends.
pub(super) async fn serve(sessions: &Sessions, from: NodeId, request: &Bytes, stream: Stream) {
    let (mut send, mut recv) = stream.split();
    let work = async {
        let RelayRequest { session, attach, grant } = codec::decode(VERSION, request).ok()?;
        let deadline = Instant::now() + REQUEST_DEADLINE;
        let judged = grant.map_or(Ok(()), |grant| grant.allows_reading(&session));
        let attached = match judged {
            Ok(()) => sessions.attach_here(&session, &attach, deadline).await,
            Err(why) => {
                let session = session.for_operators();
                tracing::warn!(%from, session, %why, "a node reads what its asker may not");
                Err(AttachError::Denied(why))
            }
        };
        let sent: Sent = match &attached {
            Ok(reader) => {
                let status = Box::new(reader.status().clone());
                Sent::Attached { cursor: reader.cursor(), status }
            }
            Err(error) => Sent::Refused(error.clone()),
        };
        send.send(codec::encode(VERSION, &sent).into()).await.ok()?;
        let Ok(mut reader) = attached else { return send.finish().await.ok() };
        loop {
            let delivery = reader.next().await;
            let sent = sent_for(&delivery);
            send.send(codec::encode(VERSION, &sent).into()).await.ok()?;
            if matches!(sent, Sent::End { .. } | Sent::Deleted | Sent::Detached) {
                return send.finish().await.ok();
            }
        }
    };
    tokio::select! {
        _ = work => {}
        _ = recv.recv() => tracing::debug!(peer = %from, "a relayed reader left"),
    }
}

fn sent_for(delivery: &Delivery) -> Sent<&Event> {
    match delivery {
        Delivery::Events(events) => Sent::Events(events.iter().map(|shown| &shown.event).collect()),
        Delivery::CaughtUp { at } => Sent::CaughtUp { at: *at },
        Delivery::Gap { first } => Sent::Gap { first: *first },
        Delivery::Reset { incarnation } => Sent::Reset { incarnation: *incarnation },
        Delivery::End { at } => Sent::End { at: *at },
        Delivery::Deleted => Sent::Deleted,
        Delivery::Detached { .. } => Sent::Detached,
    }
}
