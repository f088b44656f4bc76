//! The UDP socket under all links, with buffers large enough that a busy core loses no packets.

use std::{io, net::SocketAddr};

use socket2::{Domain, Protocol, Socket, Type};

use crate::limits::SOCKET_BUFFER_BYTES;

/// What the kernel really gave, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SocketBuffers {
    /// For what comes in.
    pub receive: usize,
    /// For what goes out.
    pub send: usize,
}

/// Binds `listen` with large buffers; warns once when the kernel gives less than requested.
pub(super) fn bind(listen: SocketAddr) -> io::Result<(std::net::UdpSocket, SocketBuffers)> {
    let socket = Socket::new(Domain::for_address(listen), Type::DGRAM, Some(Protocol::UDP))?;
    // A kernel that refuses to grow a buffer is reported below, by what it gave.
    let _ = socket.set_recv_buffer_size(SOCKET_BUFFER_BYTES);
    let _ = socket.set_send_buffer_size(SOCKET_BUFFER_BYTES);
    socket.set_nonblocking(true)?;
    socket.bind(&listen.into())?;
    let buffers = SocketBuffers {
        receive: usable(socket.recv_buffer_size()?),
        send: usable(socket.send_buffer_size()?),
    };
    if buffers.receive.min(buffers.send) < SOCKET_BUFFER_BYTES {
        tracing::warn!(
            receive_bytes = buffers.receive,
            send_bytes = buffers.send,
            asked_bytes = SOCKET_BUFFER_BYTES,
            "the kernel gave small socket buffers, so packets are lost under load; raise the sysctls \
             net.core.rmem_max and net.core.wmem_max to {SOCKET_BUFFER_BYTES}"
        );
    }
    Ok((socket.into(), buffers))
}

/// Linux reports twice what was set, to count its own bookkeeping (socket(7), SO_RCVBUF).
fn usable(reported: usize) -> usize {
    if cfg!(target_os = "linux") { reported / 2 } else { reported }
}
