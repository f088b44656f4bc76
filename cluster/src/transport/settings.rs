//! How quinn is set up: windows, timers, and the runtime that drives it.

use std::{future::Future, io, net::UdpSocket, pin::Pin, sync::Arc, time::Duration};

use quinn::{
    AckFrequencyConfig, AsyncTimer, AsyncUdpSocket, IdleTimeout, Runtime, TokioRuntime,
    TransportConfig, VarInt, congestion::CubicConfig,
};
use tokio::runtime::Handle;
use tokio_util::task::TaskTracker;

use super::LANES;
use crate::limits::{CONGESTION_WINDOW_BYTES, PEER_STREAMS, STREAM_WINDOW_BYTES};

/// Assumed round trip before one is measured: nodes are near, and a lost first packet is repeated
/// after twice this, not after quinn's second.
const INITIAL_RTT: Duration = Duration::from_millis(100);

/// Packets that are acknowledged together; those fewer are within quinn's 25 ms. Nearly every packet of a
/// link is followed by an answer, which carries the acknowledgement for nothing.
const PACKETS_ACKNOWLEDGED: u32 = 10;

/// Windows and timers of one link.
///
/// A link may have `PEER_STREAMS` streams beside its lanes. Its own window is the sum of theirs, in
/// both directions: streams whose reader stalls can then never use up what a lane needs.
pub(super) fn transport(idle: Duration, keep_alive: Duration) -> Arc<TransportConfig> {
    let streams = PEER_STREAMS + LANES as u32;
    let window = u64::from(streams) * u64::from(STREAM_WINDOW_BYTES);
    let mut cubic = CubicConfig::default();
    cubic.initial_window(CONGESTION_WINDOW_BYTES);
    let mut acknowledging = AckFrequencyConfig::default();
    acknowledging.ack_eliciting_threshold(PACKETS_ACKNOWLEDGED.into());
    let mut config = TransportConfig::default();
    config
        .max_concurrent_bidi_streams(streams.into())
        .max_concurrent_uni_streams(0u32.into())
        .stream_receive_window(STREAM_WINDOW_BYTES.into())
        .receive_window(VarInt::from_u64(window).expect("the window is far below 2^62"))
        .send_window(window)
        .datagram_receive_buffer_size(None)
        .max_idle_timeout(Some(
            IdleTimeout::try_from(idle).expect("an idle timeout is far below 2^62 ms"),
        ))
        .keep_alive_interval(Some(keep_alive))
        .initial_rtt(INITIAL_RTT)
        .congestion_controller_factory(Arc::new(cubic))
        .ack_frequency_config(Some(acknowledging))
        .enable_segmentation_offload(true);
    Arc::new(config)
}

/// Runs quinn's drivers on one chosen runtime, and owns them.
#[derive(Debug)]
pub(super) struct Drivers {
    pub(super) handle: Handle,
    pub(super) tasks: TaskTracker,
}

impl Runtime for Drivers {
    fn new_timer(&self, at: std::time::Instant) -> Pin<Box<dyn AsyncTimer>> {
        let _here = self.handle.enter();
        TokioRuntime.new_timer(at)
    }

    fn spawn(&self, future: Pin<Box<dyn Future<Output = ()> + Send>>) {
        self.tasks.spawn_on(future, &self.handle);
    }

    fn wrap_udp_socket(&self, socket: UdpSocket) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        let _here = self.handle.enter();
        TokioRuntime.wrap_udp_socket(socket)
    }

    fn now(&self) -> std::time::Instant {
        TokioRuntime.now()
    }
}
