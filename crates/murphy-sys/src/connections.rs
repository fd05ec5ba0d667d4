//! Connections are the TCP sockets of a network namespace: listed, and ended one by one, by `sock_diag(7)`.
//!
//! A socket is ended by what it is (addresses, ports, and a cookie that no other socket ever has), so that one that came
//! to its place meanwhile is not hit. The kernel aborts it: its owner's next call fails with `ECONNABORTED`, and its peer
//! is sent a reset. Listing needs nothing; ending needs `CAP_NET_ADMIN` in the user namespace that owns the network
//! namespace, and `CONFIG_INET_DIAG_DESTROY`.

use std::{
    fmt, io,
    net::{Ipv4Addr, SocketAddr},
    os::fd::{AsFd, AsRawFd},
    time::Duration,
};

use netlink_packet_sock_diag::{
    SOCK_DESTROY, SockDiagMessage,
    constants::{AF_INET, AF_INET6, IPPROTO_TCP},
    inet::{
        self, ExtensionFlags, InetRequest, InetResponse, StateFlags,
        nlas::{Nla, TcpInfo},
    },
};
use nix::libc;
use rtnetlink::{
    packet_core::{
        NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NLMSG_DONE, NLMSG_ERROR,
        NetlinkHeader, NetlinkMessage, NetlinkPayload, Nla as _, Parseable,
    },
    sys::{Socket as Netlink, protocols::NETLINK_SOCK_DIAG},
};
use rustix::{
    io::Errno,
    net::{
        AddressFamily, RecvFlags, Shutdown, SocketType, recv, shutdown, socket,
        sockopt::{set_socket_recv_buffer_size_force, socket_cookie},
    },
    process::{Pid, PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open},
};
use serde::{Deserialize, Serialize};

use crate::{
    namespace::{NamespaceError, NetNamespace},
    netlink::{messages, refusal},
    tcp_events::Figures,
};

/// The attribute of an answer that says whose cgroup the socket's is: `INET_DIAG_CGROUP_ID` of
/// `include/uapi/linux/inet_diag.h`.
const CGROUP: u16 = 21;
/// How often a list is asked for that changes while it is read.
const ATTEMPTS_MAX: u32 = 10;
/// An answer is at most as long as what the kernel puts into one datagram.
const ANSWER_BYTES: usize = 1 << 18;
/// So much may wait to be read: the answers to a whole batch.
const WAITING_BYTES: usize = 8 << 20;
/// The kernel is told of no more ranges of ports; whoever asks for more gets all sockets.
const CONDITION_MAX: u16 = 64;
/// How many sockets are ended by one call.
const BATCH: usize = 256;

/// Why connections cannot be listed or ended.
#[derive(Debug, thiserror::Error)]
pub enum ConnectionError {
    /// The namespace cannot be entered.
    #[error(transparent)]
    Namespace(#[from] NamespaceError),
    /// No socket to ask by, or it is broken.
    #[error("ask for the sockets of a network namespace: {0}")]
    Socket(#[source] io::Error),
    /// The kernel gives no list.
    #[error("list sockets: {0}; it needs CONFIG_INET_DIAG and CONFIG_INET_TCP_DIAG")]
    List(#[source] io::Error),
    /// The kernel's answer makes no sense.
    #[error("list sockets: the kernel's answer cannot be read")]
    Answer,
    /// The list changed whenever it was read.
    #[error("list sockets: the list changed {ATTEMPTS_MAX} times while it was read")]
    Unsteady,
    /// This kernel ends no socket.
    #[error("end a connection: this kernel is built without CONFIG_INET_DIAG_DESTROY")]
    NoDestroy,
    /// The privilege is missing.
    #[error("end a connection: {0}; it needs CAP_NET_ADMIN over the target's network namespace")]
    Privilege(#[source] io::Error),
    /// The owner cannot be reached.
    #[error(
        "end a connection in the place of pid {pid}: {source}; it needs CAP_SYS_PTRACE over it"
    )]
    Reach {
        /// The owner.
        pid: u32,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The kernel refused to end one for another reason.
    #[error("end the connection {id}: {source}")]
    Refused {
        /// Which.
        id: SocketId,
        /// The kernel's answer.
        source: io::Error,
    },
}

/// What a socket is known by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SocketId {
    /// Its own end. An address of IPv4 in IPv6's clothes is one of a socket of IPv6.
    pub local: SocketAddr,
    /// The other end.
    pub remote: SocketAddr,
    /// The device that it is bound to, or 0.
    pub device: u32,
    /// The kernel's own number for it, never given twice.
    pub cookie: u64,
}

impl SocketId {
    /// Both ends, in the clothes that they have on the wire: the local one first.
    pub fn ends(&self) -> (SocketAddr, SocketAddr) {
        (on_the_wire(self.local), on_the_wire(self.remote))
    }
}

fn on_the_wire(end: SocketAddr) -> SocketAddr {
    SocketAddr::new(end.ip().to_canonical(), end.port())
}

impl fmt::Display for SocketId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (local, remote) = self.ends();
        write!(f, "{local} to {remote}")
    }
}

/// The state of a connection, by RFC 9293 and as ss(8) calls it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[repr(u8)]
pub enum State {
    /// Both ends may send.
    Established = 1,
    /// It has asked for a connection.
    SynSent,
    /// It was asked for one.
    SynRecv,
    /// It was closed here.
    FinWait1,
    /// The other end knows that.
    FinWait2,
    /// It is over, and late packets are waited for.
    TimeWait,
    /// It is none.
    Close,
    /// The other end was closed, and this one is not yet.
    CloseWait,
    /// Both were closed, and the other end does not know yet.
    LastAck,
    /// It waits for connections.
    Listen,
    /// Both were closed at once.
    Closing,
}

impl State {
    /// All of them, by their numbers in the kernel.
    pub const ALL: [Self; 11] = [
        Self::Established,
        Self::SynSent,
        Self::SynRecv,
        Self::FinWait1,
        Self::FinWait2,
        Self::TimeWait,
        Self::Close,
        Self::CloseWait,
        Self::LastAck,
        Self::Listen,
        Self::Closing,
    ];

    /// The state of this number.
    pub fn of(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|state| *state as u8 == number)
    }

    /// Whether it belongs to a connection that is there, or may come to be.
    pub fn is_open(self) -> bool {
        !matches!(self, Self::Close | Self::TimeWait | Self::Listen)
    }

    /// Its name, as ss(8) has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Established => "established",
            Self::SynSent => "syn-sent",
            Self::SynRecv => "syn-recv",
            Self::FinWait1 => "fin-wait-1",
            Self::FinWait2 => "fin-wait-2",
            Self::TimeWait => "time-wait",
            Self::Close => "closed",
            Self::CloseWait => "close-wait",
            Self::LastAck => "last-ack",
            Self::Listen => "listening",
            Self::Closing => "closing",
        }
    }
}

/// What has passed over a connection, and when, by its `tcp_info`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Activity {
    /// How long ago it sent data; where it never did, how long ago it was made.
    pub sent_ago: Duration,
    /// How long ago it was sent data, the same way.
    pub received_ago: Duration,
    /// How long ago the other end has acknowledged something, the same way.
    pub acknowledged_ago: Duration,
    /// How much the round-trip time varies (RFC 6298).
    pub rtt_variation: Duration,
    /// The least round-trip time of the last minutes; 0 where none was measured.
    pub rtt_least: Duration,
    /// How often the timer of retransmits has run out in a row.
    pub timeouts: u8,
    /// What it has carried since it was made, and whose it is.
    pub figures: Figures,
}

impl Activity {
    /// How long nothing has passed.
    pub fn idle(&self) -> Duration {
        self.sent_ago.min(self.received_ago)
    }

    /// How old the connection is at least: its kernel does not say more.
    pub fn age_least(&self) -> Duration {
        self.sent_ago.max(self.received_ago)
    }
}

/// A socket of TCP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Socket {
    /// What it is known by.
    pub id: SocketId,
    /// Its state.
    pub state: State,
    /// The number of its file, as in `/proc/PID/fd`; 0 where it has none yet, or no longer.
    pub inode: u32,
    /// What has passed, where that was asked for.
    pub activity: Option<Box<Activity>>,
}

/// What the kernel says when it is asked for one socket.
#[derive(Debug, Default)]
struct Answer {
    socket: Option<Socket>,
    refusal: Option<io::Error>,
}

/// What became of a socket that was to be ended.
#[derive(Debug, PartialEq, Eq, Clone, Copy)]
pub enum Ended {
    /// It was aborted.
    Now,
    /// It was gone already.
    Gone,
}

/// What comes of a question for all sockets.
enum Heard {
    /// The kernel is asked, for the first time or again: what was heard before does not count.
    Again,
    /// There is this one.
    Socket(Socket),
}

/// Asks for all sockets of a family in some states.
fn dump_of(family: u8, states: &[State], with_activity: bool) -> InetRequest {
    let states = states.iter().fold(0, |all, state| all | 1 << *state as u8);
    InetRequest {
        family,
        protocol: IPPROTO_TCP,
        extensions: if with_activity {
            ExtensionFlags::INFO
        } else {
            ExtensionFlags::empty()
        },
        states: StateFlags::from_bits_retain(states),
        socket_id: any(family),
    }
}

/// Who lists and ends the sockets of one network namespace.
#[derive(Debug)]
pub struct Connections {
    netlink: Netlink,
    sequence: u32,
    buffer: Vec<u8>,
}

impl Connections {
    /// Opens a socket inside a namespace, where it stays.
    pub fn within(namespace: &NetNamespace) -> Result<Self, ConnectionError> {
        let open = || -> io::Result<Netlink> {
            let mut netlink = Netlink::new(NETLINK_SOCK_DIAG)?;
            netlink.bind_auto()?;
            netlink.set_cap_ack(true)?;
            // Without the privilege as much as anybody may have; batches are answered while they are read.
            let _ = set_socket_recv_buffer_size_force(&netlink, WAITING_BYTES);
            Ok(netlink)
        };
        Ok(Self {
            netlink: namespace.run(open)?.map_err(ConnectionError::Socket)?,
            sequence: 0,
            buffer: vec![0; ANSWER_BYTES],
        })
    }

    /// The sockets in some states, of both families; with when something passed, if that is wanted.
    pub fn list(
        &mut self,
        states: &[State],
        with_activity: bool,
    ) -> Result<Vec<Socket>, ConnectionError> {
        self.list_on(states, with_activity, &[])
    }

    /// The same without most of those whose own port is in none of some ranges, if there are any: what is not given back
    /// costs next to nothing.
    pub fn list_on(
        &mut self,
        states: &[State],
        with_activity: bool,
        ports: &[(u16, u16)],
    ) -> Result<Vec<Socket>, ConnectionError> {
        let condition = condition_of(ports);
        let mut sockets = Vec::new();
        for family in [AF_INET, AF_INET6] {
            let request = dump_of(family, states, with_activity);
            sockets.extend(self.list_family(&request, &condition)?);
        }
        Ok(sockets)
    }

    /// Gives each socket in some states, of both families, as soon as the kernel tells of it, so that not all of them are
    /// in memory at once. One may be given twice, when the kernel has to be asked again.
    pub fn each(
        &mut self,
        states: &[State],
        with_activity: bool,
        mut take: impl FnMut(Socket),
    ) -> Result<(), ConnectionError> {
        for family in [AF_INET, AF_INET6] {
            let request = dump_of(family, states, with_activity);
            self.each_of_family(&request, &[], |heard| {
                if let Heard::Socket(socket) = heard {
                    take(socket);
                }
            })?;
        }
        Ok(())
    }

    fn list_family(
        &mut self,
        request: &InetRequest,
        condition: &[u8],
    ) -> Result<Vec<Socket>, ConnectionError> {
        let mut sockets = Vec::new();
        self.each_of_family(request, condition, |heard| match heard {
            Heard::Again => sockets.clear(),
            Heard::Socket(socket) => sockets.push(socket),
        })?;
        Ok(sockets)
    }

    fn each_of_family(
        &mut self,
        request: &InetRequest,
        condition: &[u8],
        mut take: impl FnMut(Heard),
    ) -> Result<(), ConnectionError> {
        'again: for _ in 0..ATTEMPTS_MAX {
            take(Heard::Again);
            self.sequence += 1;
            let asked = self.sequence;
            let flags = NLM_F_REQUEST | NLM_F_DUMP;
            let bytes = with_condition(written(request.clone(), None, flags, asked), condition);
            self.send(&bytes)?;
            let mut is_torn = false;
            loop {
                let datagram = hear(&self.netlink, &mut self.buffer)?;
                for message in messages(datagram) {
                    if message.sequence != asked {
                        continue;
                    }
                    is_torn |= message.flags & NLM_F_DUMP_INTR != 0;
                    match message.kind {
                        NLMSG_ERROR | NLMSG_DONE => match refusal(message.body) {
                            // Without IPv6 there are no sockets of it.
                            Some(error) if error.kind() == io::ErrorKind::NotFound => {
                                return Ok(());
                            }
                            Some(error) => return Err(ConnectionError::List(error)),
                            None if is_torn => continue 'again,
                            None => return Ok(()),
                        },
                        _ => read(message.body)?
                            .into_iter()
                            .for_each(|socket| take(Heard::Socket(socket))),
                    }
                }
            }
        }
        Err(ConnectionError::Unsteady)
    }

    /// Ends sockets, and says of each what became of it. The first that is refused is an error; those before it are ended.
    pub fn end(&mut self, ids: &[SocketId]) -> Result<Vec<Ended>, ConnectionError> {
        self.of_each(ids, Some(SOCK_DESTROY), |id, answer| match answer.refusal {
            None => Ok(Ended::Now),
            Some(error) if error.kind() == io::ErrorKind::NotFound => Ok(Ended::Gone),
            Some(error) => Err(not_ended(*id, error)),
        })
    }

    /// Says of each socket whether it is there, and neither end has done with it.
    pub fn are_there(&mut self, ids: &[SocketId]) -> Result<Vec<bool>, ConnectionError> {
        self.of_each(ids, None, |_, answer| match answer.refusal {
            None => Ok(answer.socket.is_some_and(|socket| socket.state.is_open())),
            Some(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Some(error) => Err(ConnectionError::List(error)),
        })
    }

    /// Asks for something of each socket, in batches; says of each what its answer comes to. The first error is given
    /// back once all of its batch is answered.
    fn of_each<T>(
        &mut self,
        ids: &[SocketId],
        kind: Option<u16>,
        of: impl Fn(&SocketId, Answer) -> Result<T, ConnectionError>,
    ) -> Result<Vec<T>, ConnectionError> {
        let mut all = Vec::with_capacity(ids.len());
        for batch in ids.chunks(BATCH) {
            let first = self.sequence + 1;
            let mut bytes = Vec::new();
            for id in batch {
                self.sequence += 1;
                let flags = NLM_F_REQUEST | NLM_F_ACK;
                bytes.extend(written(request_of(id), kind, flags, self.sequence));
            }
            self.send(&bytes)?;
            let mut answers: Vec<Answer> = Vec::new();
            answers.resize_with(batch.len(), Answer::default);
            let mut waiting = batch.len();
            while waiting > 0 {
                let datagram = hear(&self.netlink, &mut self.buffer)?;
                for message in messages(datagram) {
                    let place = message.sequence.wrapping_sub(first) as usize;
                    let Some(answer) = answers.get_mut(place) else {
                        continue;
                    };
                    if message.kind == NLMSG_ERROR {
                        answer.refusal = refusal(message.body);
                        waiting -= 1;
                    } else {
                        answer.socket = read(message.body)?;
                    }
                }
            }
            let answered = batch.iter().zip(answers);
            let answered = answered.map(|(id, answer)| of(id, answer));
            all.extend(answered.collect::<Result<Vec<T>, _>>()?);
        }
        Ok(all)
    }

    fn send(&self, bytes: &[u8]) -> Result<(), ConnectionError> {
        let sent = self.netlink.send(bytes, 0);
        sent.map(drop).map_err(ConnectionError::Socket)
    }
}

/// Asks this kernel whether it ends sockets in a namespace, and for us: one that is not there, so that nothing changes.
pub fn trial(namespace: &NetNamespace) -> Result<(), ConnectionError> {
    let nowhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let nobody = SocketId {
        local: nowhere,
        remote: nowhere,
        device: 0,
        cookie: 0,
    };
    // Of one that is not there the kernel says so to everybody.
    Connections::within(namespace)?.end(&[nobody])?;
    namespace.run(has_privilege)?
}

/// Whether connections may be ended in the calling thread's network namespace. The kernel asks for the same privilege over
/// the same user namespace before it lets somebody repair a socket (`tcp_can_repair_sock` of `net/ipv4/tcp.c`), which is
/// tried with one that nobody else has, and that is connected to nobody.
fn has_privilege() -> Result<(), ConnectionError> {
    let own = socket(AddressFamily::INET, SocketType::STREAM, None)
        .map_err(|errno| ConnectionError::Socket(errno.into()))?;
    let on: libc::c_int = 1;
    // SAFETY: the option is a number, which is there until the call returns.
    let set = unsafe {
        libc::setsockopt(
            own.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_REPAIR,
            (&raw const on).cast(),
            4,
        )
    };
    if set == 0 {
        return Ok(());
    }
    Err(ConnectionError::Privilege(io::Error::last_os_error()))
}

/// Closes a socket for sending and receiving in its owner's place, by its descriptor there: both ends read the end of the
/// stream. Needs the right to trace the owner, and Linux 5.6.
pub fn close(pid: u32, descriptor: i32, id: &SocketId) -> Result<Ended, ConnectionError> {
    let not_closed = |errno: Errno| match errno {
        Errno::PERM | Errno::ACCESS => ConnectionError::Reach {
            pid,
            source: errno.into(),
        },
        _ => ConnectionError::Refused {
            id: *id,
            source: errno.into(),
        },
    };
    let gone = |errno: Errno| match errno {
        Errno::SRCH | Errno::BADF | Errno::NOTCONN | Errno::INVAL => Ok(Ended::Gone),
        _ => Err(not_closed(errno)),
    };
    let Some(process) = i32::try_from(pid).ok().and_then(Pid::from_raw) else {
        return Ok(Ended::Gone);
    };
    let taken = pidfd_open(process, PidfdFlags::empty())
        .and_then(|pidfd| pidfd_getfd(pidfd, descriptor, PidfdGetfdFlags::empty()));
    let socket = match taken {
        Ok(socket) => socket,
        Err(errno) => return gone(errno),
    };
    // The descriptor may be another socket's by now, or no socket's.
    if socket_cookie(&socket).ok() != Some(id.cookie) {
        return Ok(Ended::Gone);
    }
    match shutdown(&socket, Shutdown::Both) {
        Ok(()) => Ok(Ended::Now),
        Err(errno) => gone(errno),
    }
}

/// Asks this kernel whether a socket can be taken by its owner's descriptor: one of this process itself.
pub fn trial_of_close() -> io::Result<()> {
    let own = socket(AddressFamily::INET, SocketType::STREAM, None)?;
    let pidfd = pidfd_open(getpid(), PidfdFlags::empty())?;
    pidfd_getfd(pidfd, own.as_raw_fd(), PidfdGetfdFlags::empty())?;
    Ok(())
}

fn not_ended(id: SocketId, source: io::Error) -> ConnectionError {
    match source.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::OPNOTSUPP) => ConnectionError::NoDestroy,
        Some(Errno::PERM | Errno::ACCESS) => ConnectionError::Privilege(source),
        _ => ConnectionError::Refused { id, source },
    }
}

/// The next datagram.
fn hear<'a>(netlink: &Netlink, buffer: &'a mut [u8]) -> Result<&'a [u8], ConnectionError> {
    loop {
        match recv(netlink.as_fd(), &mut *buffer, RecvFlags::empty()) {
            Ok((_, length)) => return buffer.get(..length).ok_or(ConnectionError::Answer),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(ConnectionError::Socket(errno.into())),
        }
    }
}

/// A request as bytes, of this kind where it is not the usual one.
fn written(request: InetRequest, kind: Option<u16>, flags: u16, sequence: u32) -> Vec<u8> {
    let mut header = NetlinkHeader::default();
    (header.flags, header.sequence_number) = (flags, sequence);
    let payload = NetlinkPayload::from(SockDiagMessage::InetRequest(request));
    let mut message = NetlinkMessage::new(header, payload);
    message.finalize();
    if let Some(kind) = kind {
        message.header.message_type = kind;
    }
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    bytes
}

/// What a socket must be, as `inet_diag` has it (`include/uapi/linux/inet_diag.h`): its own port is in one of these ranges.
/// Each operation says how many bytes further it goes on where it is so and where it is not; who comes to the end is
/// meant, and who comes further is not.
fn condition_of(ports: &[(u16, u16)]) -> Vec<u8> {
    const JUMP: u8 = 1;
    const LOCAL_PORT_GE: u8 = 2;
    const LOCAL_PORT_LE: u8 = 3;
    /// The two comparisons of a range, each with its port behind it, and the jump to the end that all but the last have.
    const RANGE_BYTES: u16 = 8 + 8 + 4;
    if ports.len() > usize::from(CONDITION_MAX) {
        return Vec::new();
    }
    let operation = |code: u8, is_so: u8, is_not: u16| {
        let [low, high] = is_not.to_ne_bytes();
        [code, is_so, low, high]
    };
    let mut bytes = Vec::new();
    for (left, (first, last)) in (0_u16..CONDITION_MAX).zip(ports.iter().rev()).rev() {
        bytes.extend(operation(LOCAL_PORT_GE, 8, RANGE_BYTES));
        bytes.extend(operation(0, 0, *first));
        bytes.extend(operation(LOCAL_PORT_LE, 8, RANGE_BYTES - 8));
        bytes.extend(operation(0, 0, *last));
        if left > 0 {
            bytes.extend(operation(JUMP, 4, left * RANGE_BYTES));
        }
    }
    bytes
}

/// A request with a condition, if there is one.
fn with_condition(mut request: Vec<u8>, condition: &[u8]) -> Vec<u8> {
    const BYTECODE: u16 = 1;
    if condition.is_empty() {
        return request;
    }
    // Both are multiples of four bytes, so that there is nothing to pad.
    let length = u16::try_from(4 + condition.len()).unwrap_or(u16::MAX);
    request.extend([length.to_ne_bytes(), BYTECODE.to_ne_bytes()].concat());
    request.extend(condition);
    if let (Ok(length), Some(header)) = (u32::try_from(request.len()), request.first_chunk_mut()) {
        *header = length.to_ne_bytes();
    }
    request
}

fn any(family: u8) -> inet::SocketId {
    if family == AF_INET {
        inet::SocketId::new_v4()
    } else {
        inet::SocketId::new_v6()
    }
}

fn request_of(id: &SocketId) -> InetRequest {
    InetRequest {
        family: if id.local.is_ipv4() {
            AF_INET
        } else {
            AF_INET6
        },
        protocol: IPPROTO_TCP,
        extensions: ExtensionFlags::empty(),
        states: StateFlags::all(),
        socket_id: inet::SocketId {
            source_port: id.local.port(),
            destination_port: id.remote.port(),
            source_address: id.local.ip(),
            destination_address: id.remote.ip(),
            interface_id: id.device,
            cookie: id.cookie.to_ne_bytes(),
        },
    }
}

/// The socket that an answer is about; none in a state that is none of the connection's.
fn read(body: &[u8]) -> Result<Option<Socket>, ConnectionError> {
    let answer = InetResponse::parse(body).map_err(|_| ConnectionError::Answer)?;
    let header = answer.header;
    let Some(state) = State::of(header.state) else {
        return Ok(None);
    };
    let id = header.socket_id;
    let activity = answer.nlas.iter().find_map(|attribute| match attribute {
        Nla::TcpInfo(info) => Some(info),
        _ => None,
    });
    let cgroup = answer.nlas.iter().find_map(|attribute| match attribute {
        Nla::Other(other) if other.kind() == CGROUP => {
            let mut number = [0; 8];
            (other.value_len() == number.len()).then(|| other.emit_value(&mut number))?;
            Some(u64::from_ne_bytes(number))
        }
        _ => None,
    });
    let activity = activity.map(|info| Box::new(activity_of(info, cgroup.unwrap_or(0))));
    Ok(Some(Socket {
        id: SocketId {
            local: SocketAddr::new(id.source_address, id.source_port),
            remote: SocketAddr::new(id.destination_address, id.destination_port),
            device: id.interface_id,
            cookie: u64::from_ne_bytes(id.cookie),
        },
        state,
        inode: header.inode,
        activity,
    }))
}

fn activity_of(info: &TcpInfo, cgroup: u64) -> Activity {
    /// No measured time is that long: the kernel has measured none.
    const NEVER: u32 = u32::MAX;
    let ago = |ms: u32| Duration::from_millis(ms.into());
    let of_us = |us: u32| Duration::from_micros(if us == NEVER { 0 } else { us.into() });
    Activity {
        sent_ago: ago(info.last_data_sent),
        received_ago: ago(info.last_data_recv),
        acknowledged_ago: ago(info.last_ack_recv),
        rtt_variation: of_us(info.rttvar),
        rtt_least: of_us(info.min_rtt),
        timeouts: info.backoff,
        figures: Figures {
            cgroup,
            pid: None,
            bytes_acked: info.bytes_acked,
            bytes_received: info.bytes_received,
            bytes_out: info.bytes_sent,
            bytes_resent: info.bytes_retrans,
            data_segments_out: info.data_segs_out,
            data_segments_in: info.data_segs_in,
            retransmitted: info.total_retrans,
            delivered: info.delivered,
            duplicated: info.dsack_dups,
            out_of_order: info.rcv_ooopack,
            rtt_us: info.rtt,
            unacknowledged: info.unacked,
            error: None,
        },
    }
}
