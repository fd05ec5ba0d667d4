//! Engine `nfqueue`: the packets of a device go through queues of netfilter's that Murphy reads, and pass, wait or are
//! dropped as it says of each.
//!
//! It needs neither BPF nor a device, and so it works on kernels without tcx, and for who is root in a user namespace
//! only. What a target sends may be lost here, behind the back of its sender, but may not wait: a packet that waits on
//! its way out still counts as unsent for the socket that it is of, which sends two or three and then no more.
//!
//! The rules that hand packets over outlive Murphy, and then let them pass. A Murphy that is stopped would hold them up:
//! so it tells its keeper all the time that it is at work, and the keeper removes the rules of one that is not.

use std::{
    collections::BTreeSet,
    io,
    os::fd::AsFd,
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread::{self, JoinHandle},
};

use murphy_sys::{
    clock::{boottime_ns, monotonic_ns},
    link::Device,
    namespace::NetNamespace,
    nfqueue::{NfqueueError, Queue, Rule, Table},
    pump::{Bell, Wait, WaitError},
    traffic::{Fate, Fates, Match, Network, Tally, Way},
};

use super::{
    NetError, Scope, Spec,
    cable::{Held, Recipe},
    hook::{Hook, Job},
    line::{self, LineError, Packets, Size, frames_for},
    packet::{Peers, is_meant},
    spec::{LossUnit, Partition},
};
use crate::{keeper::Pulse, undo::Undo};

/// How often the keeper is told that queues are served, and others what was done.
const BEAT_NS: u64 = 100_000_000;
/// How many packets are read from one queue before the kernel is told what becomes of them, and others have their turn.
const BATCH: usize = 32;
/// So many packets of one queue may wait: fewer than the kernel would hold, so that it never has to choose.
const WAITING_MAX: usize = 50_000;
/// The header of Ethernet, which packets have on a device of that kind and not in a queue.
const ETHERNET_BYTES: u64 = 14;
/// The headers of IP and TCP that each segment of a stream has, as most streams have them.
const STREAM_BYTES: u64 = 20 + 32;

/// Why packets cannot go through queues.
#[derive(Debug, thiserror::Error)]
pub enum QueuedError {
    /// Not by this engine.
    #[error("{asked} by engine nfqueue: {why}; {remedy}")]
    Never {
        /// What was asked.
        asked: String,
        /// Why not.
        why: &'static str,
        /// What to do instead.
        remedy: &'static str,
    },
    /// The kernel refuses.
    #[error(transparent)]
    Queue(#[from] NfqueueError),
    /// No thread that waits.
    #[error(transparent)]
    Wait(#[from] WaitError),
    /// No line.
    #[error(transparent)]
    Line(#[from] LineError),
    /// No thread.
    #[error("start a thread: {0}")]
    Thread(#[source] io::Error),
    /// The namespace cannot be told from others.
    #[error("look at a network namespace: {0}")]
    Inode(#[source] io::Error),
}

/// Refuses what this engine does not do, by its field and with a remedy.
pub(super) fn check(spec: &Spec, scope: &Scope) -> Result<(), QueuedError> {
    let by_segment = spec.loss.is_some() && spec.loss_unit == LossUnit::Segment;
    let waits = spec.delay.is_some() || spec.reorder.is_some() || spec.rate.is_some();
    let cases = [
        (
            spec.partition == Some(Partition::Reject),
            "it answers nobody",
            "engine tcx does, and --partition lets them vanish",
        ),
        (
            spec.duplicate.is_some(),
            "it cannot make a packet twice",
            "engines tcx and cable do",
        ),
        (
            spec.corrupt.is_some(),
            "it reads the beginnings of packets only",
            "engine cable does it",
        ),
        (
            by_segment,
            "it sees packets as the kernel handles them",
            "--loss-unit packet, or engine cable",
        ),
        (
            waits && spec.direction.is_to(),
            "what a target sends cannot wait there, since its sockets would stop to send",
            "--direction from, here or at the peer, or engine cable",
        ),
        (
            scope.arp,
            "it does not see ARP",
            "leave out --arp, or take engine tcx or cable",
        ),
    ];
    match cases.into_iter().find(|(is_asked, ..)| *is_asked) {
        None => Ok(()),
        Some((_, why, remedy)) => Err(QueuedError::Never {
            asked: spec.to_string(),
            why,
            remedy,
        }),
    }
}

/// The undo of one hook of that name.
pub(super) fn undo(namespace: u64, name: &str) -> Undo {
    Undo::DeleteTable {
        namespace,
        name: name.into(),
    }
}

/// What the thread that reads the queues is told, and what it tells.
#[derive(Debug, Default)]
struct Shared {
    active: AtomicBool,
    ends: AtomicBool,
    peers: RwLock<Peers>,
    told: Mutex<Vec<Told>>,
}

/// What became of the packets of one way.
#[derive(Clone, Copy, Debug)]
struct Told {
    way: Way,
    fates: Fates,
    held: Held,
}

/// The queues of one device, their thread, and the table whose rules send packets there.
#[derive(Debug)]
pub(super) struct Queued {
    namespace: NetNamespace,
    inode: u64,
    device: Device,
    name: String,
    rules: Vec<Rule>,
    /// Whether packets may have to wait.
    is_slow: bool,
    table: Option<Table>,
    shared: Arc<Shared>,
    bell: Bell,
    thread: Option<JoinHandle<Result<(), QueuedError>>>,
}

impl Queued {
    /// Opens the queues, to which nothing is sent yet, and serves them.
    pub(super) fn open(job: Job<'_>) -> Result<Self, QueuedError> {
        let recipe = job.recipe.unwrap_or_default();
        let (mut lanes, mut rules) = (Vec::new(), Vec::new());
        for way in job.ways {
            let queue = Queue::open(job.namespace, frames_for(&recipe.spec))?;
            rules.push(Rule {
                way: *way,
                device: job.device.index,
                queue: queue.number(),
            });
            lanes.push(Lane::new(*way, queue, &recipe)?);
        }
        let shared = Arc::new(Shared {
            active: job.order.active.into(),
            told: Mutex::new(lanes.iter().map(Lane::told).collect()),
            ..Shared::default()
        });
        let bell = Bell::new()?;
        let pump = Pump {
            shared: Arc::clone(&shared),
            bell: bell.clone(),
            pulse: job.pulse.cloned(),
            matched: job.order.matched,
            until_ns: job.order.until_ns.unwrap_or(u64::MAX),
            is_partition: recipe.spec.partition.is_some(),
            device: job.device.clone(),
        };
        let thread = thread::Builder::new()
            .name("nfqueue".into())
            .spawn(move || pump.run(lanes))
            .map_err(QueuedError::Thread)?;
        Ok(Self {
            namespace: job.namespace.clone(),
            inode: job.namespace.inode().map_err(QueuedError::Inode)?,
            device: job.device.clone(),
            name: job.name,
            rules,
            is_slow: recipe.spec.needs_queue(),
            table: None,
            shared,
            bell,
            thread: Some(thread),
        })
    }

    fn told(&self, way: Way) -> Option<Told> {
        let told = self.shared.told.lock();
        let told = told.unwrap_or_else(PoisonError::into_inner);
        told.iter().find(|told| told.way == way).copied()
    }

    /// Lets everything pass that waits, and ends the thread and its queues.
    fn end(&mut self) -> Result<(), QueuedError> {
        self.shared.ends.store(true, Relaxed);
        self.bell.ring();
        match self.thread.take().map(JoinHandle::join) {
            None => Ok(()),
            Some(Ok(outcome)) => outcome,
            Some(Err(panic)) => std::panic::resume_unwind(panic),
        }
    }
}

impl Hook for Queued {
    fn name(&self) -> &str {
        &self.device.name
    }

    fn undos(&self) -> Vec<Undo> {
        vec![undo(self.inode, &self.name)]
    }

    fn attach(&mut self) -> Result<(), NetError> {
        let table = Table::make(&self.namespace, &self.name, &self.rules);
        self.table = Some(table.map_err(QueuedError::from)?);
        Ok(())
    }

    fn allow(&mut self, peers: &BTreeSet<Network>) -> Result<(), NetError> {
        let fresh = Peers::new(peers);
        *self
            .shared
            .peers
            .write()
            .unwrap_or_else(PoisonError::into_inner) = fresh;
        Ok(())
    }

    fn activate(&mut self, active: bool) -> Result<(), NetError> {
        self.shared.active.store(active, Relaxed);
        // What waits passes now, not when it was due.
        self.bell.ring();
        Ok(())
    }

    fn fates(&self, way: Way) -> Result<Fates, NetError> {
        Ok(self.told(way).map(|told| told.fates).unwrap_or_default())
    }

    fn held(&self, way: Way) -> Option<Held> {
        let held = self.told(way)?.held;
        (self.is_slow || held.overflowed > 0).then_some(held)
    }

    fn is_broken(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    fn leave(&mut self) -> Result<(), NetError> {
        // In this order, or what waits would be dropped: no more packets, those that wait, the table.
        let table = self.table.take();
        let cleared = table.as_ref().map_or(Ok(()), Table::clear);
        let ended = self.end();
        let removed = table.map_or(Ok(false), |table| table.remove());
        cleared.and(removed).map_err(QueuedError::from)?;
        Ok(ended?)
    }
}

impl Drop for Queued {
    fn drop(&mut self) {
        // Whoever wanted to know how it ended has asked.
        let _ = self.end();
    }
}

/// One way of a device.
#[derive(Debug)]
struct Lane {
    way: Way,
    queue: Queue,
    line: Packets,
    fates: Fates,
    held: Held,
}

impl Lane {
    fn new(way: Way, queue: Queue, recipe: &Recipe) -> Result<Self, LineError> {
        // The two ways are not each other's echo.
        let seed = recipe.seed.wrapping_add(way as u64);
        let table = recipe.table.as_ref();
        Ok(Self {
            way,
            queue,
            line: Packets::new(&recipe.spec, table, WAITING_MAX, seed)?,
            fates: Fates::default(),
            held: Held::default(),
        })
    }

    fn told(&self) -> Told {
        Told {
            way: self.way,
            fates: self.fates,
            held: self.held,
        }
    }

    /// Lets everything pass that waits.
    fn flush(&mut self) -> Result<(), NfqueueError> {
        while let Some(id) = self.line.flush() {
            self.queue.say(id, true)?;
        }
        self.queue.tell()
    }
}

/// What passes packets on.
struct Pump {
    shared: Arc<Shared>,
    bell: Bell,
    pulse: Option<Pulse>,
    matched: Match,
    until_ns: u64,
    is_partition: bool,
    device: Device,
}

impl Pump {
    /// Until it is told to end.
    fn run(&self, mut lanes: Vec<Lane>) -> Result<(), QueuedError> {
        // Descriptors of their own: the lanes are changed while they are waited for.
        let sources: Vec<_> = lanes
            .iter()
            .map(|lane| lane.queue.as_fd().try_clone_to_owned())
            .collect::<Result<_, _>>()
            .map_err(QueuedError::Thread)?;
        let mut wait = Wait::new(&self.bell, sources.iter().map(AsFd::as_fd))?;
        // Without the privilege packets leave a little later; how much, is measured.
        let _ = wait.hurry();
        let mut beat_ns = 0;
        loop {
            let now_ns = monotonic_ns();
            if now_ns >= beat_ns {
                beat_ns = now_ns + BEAT_NS;
                if let Some(pulse) = &self.pulse {
                    pulse.beat();
                }
                self.publish(&mut lanes, true);
            }
            let ends = self.shared.ends.load(Relaxed);
            let is_active = !ends && self.shared.active.load(Relaxed);
            let is_active = is_active && boottime_ns() < self.until_ns;
            let mut read = 0;
            for lane in &mut lanes {
                read += self.serve(lane, is_active)?;
            }
            self.publish(&mut lanes, ends);
            if ends && read == 0 {
                return Ok(());
            }
            let due = lanes.iter().filter_map(|lane| lane.line.due()).min();
            wait.until(Some(due.map_or(beat_ns, |due| due.min(beat_ns))))?;
        }
    }

    /// Passes on what is due, and takes what has come; says how many those were.
    fn serve(&self, lane: &mut Lane, is_active: bool) -> Result<usize, NfqueueError> {
        if !is_active {
            lane.flush()?;
        }
        let mut read = 0;
        let peers = self.shared.peers.read();
        let peers = peers.unwrap_or_else(PoisonError::into_inner);
        while read < BATCH {
            let Some(packet) = lane.queue.take()? else {
                break;
            };
            read += 1;
            let (id, is_ours) = (
                packet.id,
                is_active && is_meant(packet.start, lane.way, &self.matched, &peers),
            );
            let (tally, wire_bytes) = self.sizes(packet.bytes, packet.is_large);
            if is_active {
                lane.fates.count(Fate::Seen, tally);
            }
            if !is_ours {
                lane.queue.say(id, true)?;
                continue;
            }
            lane.fates.count(Fate::Matched, tally);
            if self.is_partition {
                lane.fates.count(Fate::Lost, tally);
                lane.queue.say(id, false)?;
                continue;
            }
            let size = Size {
                segments: tally.segments,
                bytes: tally.bytes,
            };
            match lane.line.take(monotonic_ns(), id, size, wire_bytes) {
                line::Fate::Lost => {
                    lane.fates.count(Fate::Lost, tally);
                    lane.queue.say(id, false)?;
                }
                line::Fate::Dropped => lane.queue.say(id, false)?,
                line::Fate::Passes => lane.queue.say(id, true)?,
                line::Fate::Waits => {}
            }
        }
        while let Some(id) = lane.line.release(monotonic_ns()) {
            lane.queue.say(id, true)?;
        }
        lane.queue.tell()?;
        Ok(read)
    }

    /// A packet as it is counted, and its bytes on a wire. The kernel does not say how many segments one of a stream
    /// stands for: as many as the device's MTU demands.
    fn sizes(&self, bytes: u64, is_large: bool) -> (Tally, u64) {
        let header = if self.device.is_ethernet {
            ETHERNET_BYTES
        } else {
            0
        };
        let segments = if is_large {
            bytes.div_ceil(u64::from(self.device.mtu).max(1)).max(1)
        } else {
            1
        };
        let tally = Tally {
            packets: 1,
            segments,
            bytes: bytes + header,
        };
        let more = (segments - 1) * (header + STREAM_BYTES);
        (tally, tally.bytes + more)
    }

    fn publish(&self, lanes: &mut [Lane], with_times: bool) {
        let told = self.shared.told.lock();
        let mut told = told.unwrap_or_else(PoisonError::into_inner);
        for (told, lane) in told.iter_mut().zip(lanes) {
            lane.held.tally = lane.line.tally();
            lane.held.overflowed = lane.queue.missed();
            if with_times {
                lane.held.delaying = lane.line.delaying();
            }
            *told = lane.told();
        }
    }
}
