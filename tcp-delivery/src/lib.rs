//! Tells if the peer of a TCP connection acknowledges what is sent to it.
//!
//! A program that gets no answer cannot tell a busy peer from a dead one. The operating system can:
//! the host of a busy peer still acknowledges each segment (RFC 9293, 3.8). If it does not, the
//! system sends the segment again, and again later; it asks an idle or full peer in the same way.
//! Linux counts these repetitions, and begins again with each acknowledgement.

use std::io;
use std::os::fd::AsFd;

/// Returns how many segments in a row the system has sent again without an acknowledgement; 0 if
/// the peer has acknowledged the last ones, or if none were needed. A single one may be lost on a
/// healthy path.
///
/// # Errors
/// If the socket is not a TCP socket. [`io::ErrorKind::Unsupported`] on systems other than Linux.
pub fn unanswered(socket: impl AsFd) -> io::Result<u32> {
    system::unanswered(socket.as_fd())
}

#[cfg(target_os = "linux")]
mod system {
    use std::io;
    use std::os::fd::{AsRawFd as _, BorrowedFd};

    /// The first bytes of `struct tcp_info` (linux/tcp.h). Fields are only ever added at its end.
    #[repr(C)]
    #[derive(Default)]
    struct Information {
        state: u8,
        congestion_state: u8,
        /// Timeouts in a row after which the first unacknowledged segment was sent again.
        retransmits: u8,
        /// Segments in a row without an acknowledgement that keep the connection alive, or ask a
        /// full peer for room.
        questions: u8,
        backoff: u8,
        options: u8,
        window_scales: u8,
        flags: u8,
        /// Microseconds.
        retransmission_timeout: u32,
        acknowledgement_timeout: u32,
        send_segment_bytes: u32,
        receive_segment_bytes: u32,
        unacknowledged: u32,
        selectively_acknowledged: u32,
        lost: u32,
        retransmitted: u32,
        forward_acknowledged: u32,
        /// Milliseconds since data was last sent, for the first time or again.
        last_data_sent: u32,
        last_acknowledgement_sent: u32,
        last_data_received: u32,
        /// Milliseconds since an acknowledgement last arrived.
        last_acknowledgement_received: u32,
    }

    impl Information {
        /// A peer whose buffer is full drops data within the window that it has announced. It then
        /// acknowledges each repetition, but no new byte, so Linux goes on counting. The timeout
        /// doubles with each repetition: without an answer, the last acknowledgement is older than
        /// half of the present one, also if the answer to the last repetition is under way.
        fn repetitions(&self) -> u8 {
            let half_milliseconds = self.retransmission_timeout / 2_000;
            let was_answered = self.last_acknowledgement_received <= self.last_data_sent
                || self.last_acknowledgement_received < half_milliseconds;
            if was_answered { 0 } else { self.retransmits }
        }
    }

    pub(super) fn unanswered(socket: BorrowedFd<'_>) -> io::Result<u32> {
        let mut information = Information::default();
        let size = size_of::<Information>() as libc::socklen_t;
        let mut length = size;
        // SAFETY: the descriptor is open while it is borrowed. The system writes at most `length`
        // bytes, which is the size of a plain structure that any bytes are valid for.
        #[expect(unsafe_code, reason = "no safe library has this option of a socket")]
        let result = unsafe {
            libc::getsockopt(
                socket.as_raw_fd(),
                libc::IPPROTO_TCP,
                libc::TCP_INFO,
                (&raw mut information).cast(),
                &raw mut length,
            )
        };
        if result != 0 {
            return Err(io::Error::last_os_error());
        }
        if length < size {
            return Err(io::ErrorKind::Unsupported.into());
        }
        Ok(information.repetitions().max(information.questions).into())
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn a_repetition_that_was_acknowledged_is_no_unanswered_one() {
            let retransmits = 3;
            let dead = Information {
                retransmits,
                last_data_sent: 100,
                last_acknowledgement_received: 900,
                ..Information::default()
            };
            assert_eq!(dead.repetitions(), 3);
            let full = Information { last_acknowledgement_received: 99, ..dead };
            assert_eq!(full.repetitions(), 0);
            let under_way = Information { retransmission_timeout: 1_900_000, ..dead };
            assert_eq!(under_way.repetitions(), 0);
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod system {
    use std::io;
    use std::os::fd::BorrowedFd;

    pub(super) fn unanswered(_socket: BorrowedFd<'_>) -> io::Result<u32> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::io::Write as _;
    use std::net::{TcpListener, TcpStream, UdpSocket};
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_peer_that_reads_nothing_acknowledges_what_it_gets() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("it is bound");
        let mut client = TcpStream::connect(address).expect("it listens");
        let _peer = listener.accept().expect("a connection");
        client.write_all(b"ping").expect("it is taken");
        assert_eq!(unanswered(&client).expect("a TCP socket"), 0);
    }

    #[test]
    fn a_peer_whose_buffer_is_full_answers() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("it is bound");
        let mut client = TcpStream::connect(address).expect("it listens");
        let _peer = listener.accept().expect("a connection");
        client.set_nonblocking(true).expect("a mode of the socket");
        while client.write(&[0; 65_536]).is_ok() {}
        for _ in 0..100 {
            let unanswered = unanswered(&client).expect("a TCP socket");
            assert!(unanswered <= 1, "{unanswered} without an answer");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// A filter of the peer's socket drops every segment, as a dead host does.
    #[test]
    fn a_peer_that_gets_nothing_leaves_repetitions_unanswered() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("it is bound");
        let mut client = TcpStream::connect(address).expect("it listens");
        let (peer, _) = listener.accept().expect("a connection");
        const RETURN: u16 = 0x06;
        let nothing = socket2::SockFilter::new(RETURN, 0, 0, 0);
        socket2::SockRef::from(&peer).attach_filter(&[nothing]).expect("an option of the socket");
        client.write_all(b"ping").expect("it is taken");
        let repeated = (0..500).any(|_| {
            std::thread::sleep(Duration::from_millis(20));
            unanswered(&client).expect("a TCP socket") >= 2
        });
        assert!(repeated, "after ten seconds");
    }

    #[test]
    fn other_sockets_are_an_error() {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
        assert!(unanswered(&socket).is_err());
    }
}
