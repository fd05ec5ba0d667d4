//! The packet socket of a DNS tap, `packet(7)`: cooked packets of every device of a namespace, as far as the filter lets
//! them pass, each with its time.

use std::{
    fmt, io,
    mem::MaybeUninit,
    os::fd::{AsFd, AsRawFd, BorrowedFd},
    sync::atomic::{AtomicU64, Ordering},
};

use nix::libc;
use rustix::net::sockopt::set_socket_recv_buffer_size_force;
use socket2::{Domain, MaybeUninitSlice, MsgHdrMut, SockAddr, SockAddrStorage, Socket, Type};

use super::{DnsTapError, filter};
use crate::clock::realtime_ns;

/// What waits to be taken, in bytes as the kernel counts them: ten thousand messages of usual length, as it counts twice
/// what it is asked for.
const WAITING_BYTES: usize = 4 << 20;
/// The longest packet of IPv6, its header included. One of IPv4 is shorter.
const PACKET_BYTES: usize = 40 + 65_535;
/// Room for what comes beside a packet: its time, and what another kernel may add.
const CONTROL_BYTES: usize = 256;
/// `PACKET_STATISTICS`.
const STATISTICS: libc::c_int = 6;

/// A packet that passed the filter.
#[derive(Clone, Copy, Debug)]
pub(super) struct Packet<'a> {
    /// When it was sent or received, in nanoseconds of `CLOCK_REALTIME`; when it was read where the kernel does not say.
    pub at_ns: u64,
    /// The number of the device that it was seen on.
    pub device: u32,
    /// Whether it left there; otherwise it arrived.
    pub is_outgoing: bool,
    /// From its network header on.
    pub bytes: &'a [u8],
}

/// What is listened to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hears {
    /// What leaves and what comes, each with its time.
    All,
    /// What comes, and when is not asked: then the kernel neither clones what leaves nor stamps what comes.
    Answers,
}

/// A socket that hears what the filter lets pass.
pub(super) struct PacketSocket {
    socket: Socket,
    buffer: Vec<u8>,
    /// Packets for which there was no room, as far as the kernel was asked.
    dropped: AtomicU64,
}

impl fmt::Debug for PacketSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PacketSocket")
            .field("socket", &self.socket)
            .finish_non_exhaustive()
    }
}

fn refused(what: &'static str) -> impl Fn(io::Error) -> DnsTapError {
    move |source| DnsTapError::Refused { what, source }
}

impl PacketSocket {
    /// Opens one in the namespace of the calling thread.
    pub fn open(hears: Hears) -> Result<Self, DnsTapError> {
        // Of no protocol it hears nothing yet: no packet gets past a filter that is not there.
        let socket =
            Socket::new(Domain::PACKET, Type::DGRAM, None).map_err(refused("open a socket"))?;
        socket
            .attach_filter(&filter::PROGRAM)
            .map_err(refused("attach a filter"))?;
        // Without the privilege over the machine there is less room.
        if set_socket_recv_buffer_size_force(&socket, WAITING_BYTES).is_err() {
            let _ = socket.set_recv_buffer_size(WAITING_BYTES);
        }
        socket
            .set_nonblocking(true)
            .map_err(refused("set up a socket"))?;
        match hears {
            Hears::All => {
                switch_on(&socket, libc::SOL_SOCKET, libc::SO_TIMESTAMPNS)
                    .map_err(refused("ask for times"))?;
            }
            // Linux before 4.20 does not know this, and tells of what leaves, too.
            Hears::Answers => {
                let _ = switch_on(&socket, libc::SOL_PACKET, libc::PACKET_IGNORE_OUTGOING);
            }
        }
        // Only as one of every protocol it hears also what leaves.
        socket
            .bind(&every_device())
            .map_err(refused("bind a socket"))?;
        Ok(Self {
            socket,
            buffer: Vec::with_capacity(PACKET_BYTES),
            dropped: AtomicU64::new(0),
        })
    }

    /// The next packet that waits; none where none does.
    pub fn receive(&mut self) -> Option<Packet<'_>> {
        self.buffer.clear();
        let mut from = nobody();
        let mut control = [MaybeUninit::new(0_u8); CONTROL_BYTES];
        let (length, control_length) = loop {
            let mut buffers = [MaybeUninitSlice::new(self.buffer.spare_capacity_mut())];
            let mut message = MsgHdrMut::new()
                .with_addr(&mut from)
                .with_buffers(&mut buffers)
                .with_control(&mut control);
            match self.socket.recvmsg(&mut message, 0) {
                Ok(length) => break (length, message.control_len()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // Nothing waits. Another error would be one of a device, which is said once, and this is bound to none.
                Err(_) => return None,
            }
        };
        // SAFETY: without MSG_TRUNC the length is that of what the kernel has written, into the spare capacity.
        unsafe { self.buffer.set_len(length) };
        // SAFETY: every byte of it was set to zero, and since then only the kernel has written.
        let control = control.map(|byte| unsafe { byte.assume_init() });
        let mut storage = from.as_storage();
        // SAFETY: all bytes of it were set, to zero or by the kernel, and numbers are all that a `sockaddr_ll` has.
        let from: &libc::sockaddr_ll = unsafe { storage.view_as() };
        Some(Packet {
            at_ns: time_ns(control.get(..control_length)?).unwrap_or_else(realtime_ns),
            device: from.sll_ifindex.cast_unsigned(),
            is_outgoing: from.sll_pkttype == libc::PACKET_OUTGOING,
            bytes: &self.buffer,
        })
    }

    /// Packets for which there was no room, from the beginning on.
    pub fn dropped(&self) -> u64 {
        // `struct tpacket_stats`: all packets, and those that were dropped; the kernel counts anew after each question.
        let mut counts = [0_u32; 2];
        let mut bytes = socklen(size_of_val(&counts));
        // SAFETY: the kernel writes at most so many bytes to `counts`, and their number to `bytes`, which both live until
        // the call returns.
        let answer = unsafe {
            libc::getsockopt(
                self.socket.as_raw_fd(),
                libc::SOL_PACKET,
                STATISTICS,
                counts.as_mut_ptr().cast(),
                &raw mut bytes,
            )
        };
        let new = if answer == 0 { counts[1].into() } else { 0 };
        self.dropped.fetch_add(new, Ordering::Relaxed) + new
    }
}

impl AsFd for PacketSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Switches an option on.
fn switch_on(socket: &Socket, level: libc::c_int, option: libc::c_int) -> io::Result<()> {
    let yes: libc::c_int = 1;
    // SAFETY: the kernel reads so many bytes of `yes`, which lives until the call returns.
    let answer = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            option,
            (&raw const yes).cast(),
            socklen(size_of_val(&yes)),
        )
    };
    if answer < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// An address with room for any other.
fn nobody() -> SockAddr {
    let storage = SockAddrStorage::zeroed();
    let bytes = storage.size_of();
    // SAFETY: of no family at all, it is as long as it says.
    unsafe { SockAddr::new(storage, bytes) }
}

/// The address of every protocol on every device of a namespace.
fn every_device() -> SockAddr {
    let mut storage = SockAddrStorage::zeroed();
    // SAFETY: a `sockaddr_ll` is numbers, all of which may be zero.
    let address: &mut libc::sockaddr_ll = unsafe { storage.view_as() };
    address.sll_family = u16::try_from(libc::AF_PACKET).unwrap_or(0);
    address.sll_protocol = u16::try_from(libc::ETH_P_ALL).unwrap_or(0).to_be();
    // SAFETY: it holds a whole `sockaddr_ll`, of the family of those.
    unsafe { SockAddr::new(storage, socklen(size_of::<libc::sockaddr_ll>())) }
}

/// The length of something that is not long.
fn socklen(bytes: usize) -> libc::socklen_t {
    libc::socklen_t::try_from(bytes).unwrap_or(0)
}

/// The time in what came beside a packet, in nanoseconds; a `cmsghdr` stands before it, see `cmsg(3)`.
fn time_ns(mut control: &[u8]) -> Option<u64> {
    loop {
        let (length, rest) = control.split_first_chunk()?;
        let (level, rest) = rest.split_first_chunk()?;
        let (kind, data) = rest.split_first_chunk()?;
        let is_time = i32::from_ne_bytes(*level) == libc::SOL_SOCKET
            && i32::from_ne_bytes(*kind) == libc::SCM_TIMESTAMPNS;
        if is_time {
            let (seconds, rest) = data.split_first_chunk()?;
            let seconds = u64::try_from(i64::from_ne_bytes(*seconds)).ok()?;
            let nanoseconds = u64::try_from(i64::from_ne_bytes(*rest.first_chunk()?)).ok()?;
            return seconds.checked_mul(1_000_000_000)?.checked_add(nanoseconds);
        }
        let whole = usize::from_ne_bytes(*length).checked_next_multiple_of(size_of::<usize>())?;
        control = control.get(whole.max(1)..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn beside(level: i32, kind: i32, data: &[u8]) -> Vec<u8> {
        let length = (16 + data.len()).to_ne_bytes();
        let mut bytes = [&length[..], &level.to_ne_bytes(), &kind.to_ne_bytes(), data].concat();
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        bytes
    }

    #[test]
    fn the_time_is_found_beside_other_things() {
        let data = [5_i64, 7].map(i64::to_ne_bytes).concat();
        let time = beside(libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS, &data);
        let other = beside(libc::SOL_PACKET, 8, &[1, 2, 3]);
        assert_eq!(time_ns(&time), Some(5_000_000_007));
        assert_eq!(time_ns(&[&other[..], &time].concat()), Some(5_000_000_007));
        assert_eq!(time_ns(&other), None);
        assert_eq!(time_ns(&time[..time.len() - 1]), None);
    }

    proptest! {
        #[test]
        fn nothing_beside_a_packet_is_too_strange(
            bytes in proptest::collection::vec(any::<u8>(), 0..64),
        ) {
            let _ = time_ns(&bytes);
        }
    }
}
