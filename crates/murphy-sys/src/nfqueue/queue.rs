//! A queue that this process reads: packets come out of it one by one, and wait in the kernel for what becomes of them.

use std::{
    fmt, io,
    os::fd::{AsFd, BorrowedFd},
};

use nix::libc;
use rtnetlink::{
    packet_core::{DefaultNla, NLM_F_ACK, NLMSG_ERROR},
    sys::Socket,
};
use rustix::net::sockopt::set_socket_recv_buffer_size_force;

use super::{NfqueueError, socket};
use crate::{
    namespace::NetNamespace,
    netlink::{attribute, messages, refusal},
    nfnetlink::{self, Message, QUEUE, Refused, ask, attributes, word32},
    tap::Frames,
};

/// How much of each packet is read, in bytes from its network header on: enough for the ports behind options and
/// extension headers.
pub const START_BYTES: u32 = 256;
/// So many packets may wait for their verdict.
const PACKETS_MAX: u32 = 100_000;
/// So much may wait to be read, in bytes as the kernel counts them.
const WAITING_BYTES: usize = 32 << 20;
/// Queues are numbered from here on: low numbers are what others choose.
const FIRST_NUMBER: u16 = 0x4d00;
const NUMBERS: u16 = 256;
/// So many verdicts are said at once.
const VERDICTS_MAX: usize = 512;

/// `NFQNL_MSG_PACKET`, `_VERDICT`, `_CONFIG`.
const PACKET: u16 = (QUEUE as u16) << 8;
const VERDICT: u8 = 1;
const CONFIGURE: u8 = 2;
/// `NFQA_CFG_*`.
const COMMAND: u16 = 1;
const PARAMETERS: u16 = 2;
const LENGTH_MAX: u16 = 3;
const MASK: u16 = 4;
const FLAGS: u16 = 5;
/// `NFQNL_CFG_CMD_BIND`, for every family.
const BIND: [u8; 4] = [1, 0, 0, 0];
/// `NFQNL_COPY_PACKET`.
const COPY: u8 = 2;
/// `NFQA_CFG_F_FAIL_OPEN`: what comes when it is full passes. `NFQA_CFG_F_GSO`: packets to be sent as many stay whole.
const FAIL_OPEN: u32 = 1;
const GSO: u32 = 4;
/// `NFQA_*`.
const HEADER: u16 = 1;
const SAID: u16 = 2;
const PAYLOAD: u16 = 10;
const WHOLE_LENGTH: u16 = 13;
const INFO: u16 = 14;
/// `NFQA_SKB_GSO`.
const IS_LARGE: u32 = 2;
/// `NF_DROP`, `NF_ACCEPT`.
const DROP: u32 = 0;
const ACCEPT: u32 = 1;

/// A packet that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet<'a> {
    /// Which one it is, in its queue.
    pub id: u32,
    /// How long it is from its network header on, in bytes.
    pub bytes: u64,
    /// Whether it is to be sent as more than one, or came as more than one.
    pub is_large: bool,
    /// Its beginning, from its network header on: [`START_BYTES`] at most.
    pub start: &'a [u8],
}

/// A queue, and its one reader. It ends with this.
pub struct Queue {
    socket: Socket,
    number: u16,
    buffer: Vec<u8>,
    verdicts: Vec<u8>,
    waiting_verdicts: usize,
    last_id: u32,
    missed: u64,
}

impl fmt::Debug for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue")
            .field("number", &self.number)
            .field("missed", &self.missed)
            .finish_non_exhaustive()
    }
}

impl Queue {
    /// Opens one in a namespace, by a number that nobody uses there, for packets as they are to come. None comes before
    /// a rule sends it.
    pub fn open(namespace: &NetNamespace, frames: Frames) -> Result<Self, NfqueueError> {
        let socket = socket(namespace)?;
        // Without the privilege over the machine there is less room.
        if set_socket_recv_buffer_size_force(&socket, WAITING_BYTES).is_err() {
            let _ = socket.set_rx_buf_sz(i32::try_from(WAITING_BYTES).unwrap_or(i32::MAX));
        }
        // What does not fit is counted by the numbers of packets.
        socket.set_no_enobufs(true).map_err(NfqueueError::Queue)?;
        let mut taken = None;
        for number in FIRST_NUMBER..FIRST_NUMBER + NUMBERS {
            match ask(&socket, &bind(number, frames)) {
                Ok(_) => {
                    return Ok(Self {
                        socket,
                        number,
                        buffer: vec![0; 1 << 16],
                        verdicts: Vec::new(),
                        waiting_verdicts: 0,
                        last_id: 0,
                        missed: 0,
                    });
                }
                // Somebody else's queue is a lack of permission, too.
                Err(Refused { source, .. })
                    if matches!(source.raw_os_error(), Some(libc::EPERM | libc::EBUSY)) =>
                {
                    taken = Some(source);
                }
                Err(refused) => return Err(NfqueueError::Queue(refused.source)),
            }
        }
        let none = || io::Error::from_raw_os_error(libc::EBUSY);
        Err(NfqueueError::Queue(taken.unwrap_or_else(none)))
    }

    /// Its number in its namespace.
    pub fn number(&self) -> u16 {
        self.number
    }

    /// How many packets passed it, or were dropped by the kernel, because they came faster than they were read, or
    /// because somebody has removed a chain of netfilter's in this namespace.
    pub fn missed(&self) -> u64 {
        self.missed
    }

    /// The next packet, if there is one. Somebody must say what becomes of it.
    pub fn take(&mut self) -> Result<Option<Packet<'_>>, NfqueueError> {
        loop {
            let number = self.number;
            let broken = |source| NfqueueError::Packets { number, source };
            let Some(datagram) = nfnetlink::next(&self.socket, &mut self.buffer).map_err(broken)?
            else {
                return Ok(None);
            };
            // The kernel sends each message by itself.
            let length = datagram.len();
            let Some(message) = messages(datagram).next() else {
                continue;
            };
            if message.kind == NLMSG_ERROR {
                match refusal(message.body) {
                    // The packet is gone already.
                    Some(error) if error.raw_os_error() == Some(libc::ENOENT) => self.missed += 1,
                    Some(error) => return Err(broken(error)),
                    None => {}
                }
                continue;
            }
            if message.kind != PACKET {
                continue;
            }
            let Some(id) = packet(message.body).map(|packet| packet.id) else {
                continue;
            };
            // Each packet has the number behind that of the one before; those that are left out were not read in time.
            let step = id.wrapping_sub(self.last_id);
            self.missed += u64::from(step.saturating_sub(1));
            self.last_id = id;
            // The borrow of the first look ends before this one is given away.
            let message = messages(&self.buffer[..length]).next();
            return Ok(message.and_then(|message| packet(message.body)));
        }
    }

    /// Says of a packet whether it passes; the kernel hears of it at the next [`Queue::tell`] at the latest.
    pub fn say(&mut self, id: u32, passes: bool) -> Result<(), NfqueueError> {
        let said = if passes { ACCEPT } else { DROP };
        let said = [said.to_be_bytes(), id.to_be_bytes()].concat();
        let message = Message {
            part: QUEUE,
            kind: VERDICT,
            resource: self.number,
            attributes: vec![DefaultNla::new(SAID, said)],
            ..Message::default()
        };
        message.write(id, &mut self.verdicts);
        self.waiting_verdicts += 1;
        if self.waiting_verdicts >= VERDICTS_MAX {
            self.tell()?;
        }
        Ok(())
    }

    /// Tells the kernel what was said of packets.
    pub fn tell(&mut self) -> Result<(), NfqueueError> {
        if self.verdicts.is_empty() {
            return Ok(());
        }
        let sent = self.socket.send(&self.verdicts, 0);
        self.verdicts.clear();
        self.waiting_verdicts = 0;
        sent.map(drop).map_err(|source| NfqueueError::Packets {
            number: self.number,
            source,
        })
    }
}

impl AsFd for Queue {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// What opens the queue of a number.
fn bind(number: u16, frames: Frames) -> [Message; 4] {
    let flags = match frames {
        Frames::Large => FAIL_OPEN | GSO,
        Frames::Wire => FAIL_OPEN,
    };
    let parameters = [&START_BYTES.to_be_bytes()[..], &[COPY]].concat();
    [
        vec![DefaultNla::new(COMMAND, BIND.into())],
        vec![DefaultNla::new(PARAMETERS, parameters)],
        vec![word32(LENGTH_MAX, PACKETS_MAX)],
        vec![word32(MASK, FAIL_OPEN | GSO), word32(FLAGS, flags)],
    ]
    .map(|attributes| Message {
        part: QUEUE,
        kind: CONFIGURE,
        flags: NLM_F_ACK,
        family: 0,
        resource: number,
        attributes,
    })
}

/// Reads a packet's message.
fn packet(body: &[u8]) -> Option<Packet<'_>> {
    let attributes = attributes(body);
    let id = attribute(attributes, HEADER)?.first_chunk()?;
    let start = attribute(attributes, PAYLOAD).unwrap_or_default();
    let whole = nfnetlink::word32_of(attributes, WHOLE_LENGTH).map(u64::from);
    let info = nfnetlink::word32_of(attributes, INFO).unwrap_or(0);
    Some(Packet {
        id: u32::from_be_bytes(*id),
        bytes: whole.unwrap_or(start.len() as u64),
        is_large: info & IS_LARGE != 0,
        start,
    })
}
