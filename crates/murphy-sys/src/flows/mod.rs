//! Flows are single connections of TCP that stay as they are in the kernel while BPF programs at the devices of their
//! network namespace break them: nothing passes, only so many bytes do, or the other end alone is told that one is over.
//!
//! The programs look for each packet of TCP in a map of connections; whose is not in there passes. They are attached,
//! told when they end, and found by whoever has to take them off like those for all [`traffic`](crate::traffic) of a
//! device, by the number of the injection. A connection is looked for by its addresses as they are at the device: where
//! those of the socket are translated on the way (NAT), it is not found. Every device that its packets may pass has to
//! have the programs; where they pass two, nothing counts twice.
//!
//! Of a connection that has ended a later one may have both ends: who broke it takes it [out](Flows::remove).
//!
//! Needs what traffic needs, and `CAP_NET_RAW` for [provocations](Flows::provoke). See `bpf/flows.bpf.c`.

mod provocation;
mod record;

pub use record::{Dropped, FLOWS_MAX, Flow, FlowState, Mode};

use std::{
    collections::BTreeSet,
    fmt, io,
    net::{Ipv4Addr, SocketAddr},
    os::fd::{AsFd, BorrowedFd},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use libbpf_rs::{MapCore, MapFlags, RingBuffer, RingBufferBuilder};

use crate::{
    bpf,
    namespace::{NamespaceError, NetNamespace},
    traffic::{Attachment, Order, Traffic, TrafficError, Way, refused, try_filters},
};

#[cfg(target_arch = "x86_64")]
const OBJECT: Option<&[u8]> = Some(include_bytes!(concat!(env!("OUT_DIR"), "/flows.bpf.o")));
#[cfg(not(target_arch = "x86_64"))]
const OBJECT: Option<&[u8]> = None;

/// How often the other end of an idle connection is provoked.
const ROUNDS: usize = 5;
/// How long it is waited for then: longer than Linux stays silent after it has answered one.
const ROUND: Duration = Duration::from_millis(600);
/// How long lies between two looks at whether all were told.
const GLANCE: Duration = Duration::from_millis(10);

/// Why single connections cannot be broken.
#[derive(Debug, thiserror::Error)]
pub enum FlowsError {
    /// Programs cannot be loaded, attached, told or asked.
    #[error(transparent)]
    Traffic(#[from] TrafficError),
    /// More connections than fit.
    #[error("break connections: at most {FLOWS_MAX} at once")]
    Full,
    /// No segment can be forged.
    #[error("provoke the other end of a connection: {0}; it needs CAP_NET_RAW and CAP_NET_ADMIN")]
    Raw(#[source] io::Error),
    /// The namespace cannot be entered.
    #[error(transparent)]
    Namespace(#[from] NamespaceError),
}

/// The connections of one network namespace that are broken.
pub struct Flows {
    ring: RingBuffer<'static>,
    /// What the programs have told since somebody asked last.
    told: Arc<Mutex<BTreeSet<Flow>>>,
    broken: BTreeSet<Flow>,
    devices: Vec<u32>,
    namespace: NetNamespace,
    traffic: Traffic,
}

// SAFETY: libbpf binds none of these to a thread, the callback of the ring may be sent, and no other owner of the
// pointers inside is left outside: `Flows` gives none of them away.
unsafe impl Send for Flows {}

impl fmt::Debug for Flows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Flows")
            .field("broken", &self.broken.len())
            .field("devices", &self.devices)
            .finish_non_exhaustive()
    }
}

impl Flows {
    /// Loads the programs, which break nothing yet, for injection `id`. What they do ends at `until_ns`, in nanoseconds
    /// since boot.
    pub fn load(
        namespace: &NetNamespace,
        id: u32,
        until_ns: Option<u64>,
    ) -> Result<Self, FlowsError> {
        let traffic = Traffic::load_from(
            OBJECT,
            Order {
                id,
                until_ns,
                active: true,
                ..Order::idle()
            },
        )?;
        let told = Arc::new(Mutex::new(BTreeSet::new()));
        let heard = Arc::clone(&told);
        let hear = move |key: &[u8]| {
            let mut heard = heard.lock().unwrap_or_else(PoisonError::into_inner);
            heard.extend(Flow::decode(key));
            0
        };
        let ring = {
            let map = traffic.map("cuts")?;
            let mut ring = RingBufferBuilder::new();
            ring.add(&map, hear)
                .map_err(refused("listen to the BPF programs"))?;
            ring.build()
                .map_err(refused("listen to the BPF programs"))?
        };
        Ok(Self {
            ring,
            told,
            broken: BTreeSet::new(),
            devices: Vec::new(),
            namespace: namespace.clone(),
            traffic,
        })
    }

    /// Attaches the programs for both ways to a device, behind those that are there. With [filters], which are chosen for
    /// [both ways](Way::ALL), the device keeps them until those are removed.
    ///
    /// [filters]: crate::traffic::Filters
    pub fn attach(&mut self, ifindex: u32, by: Attachment<'_>) -> Result<(), FlowsError> {
        for way in Way::ALL {
            self.traffic.attach(&self.namespace, ifindex, way, by)?;
        }
        self.devices.push(ifindex);
        Ok(())
    }

    /// Whether a device that they were attached to by a link is gone, also where another one has its number by now.
    pub fn is_off(&self) -> bool {
        self.traffic.is_off()
    }

    /// Takes the programs off every device, but for those that filters hold. What has been counted stays readable.
    pub fn leave(&mut self) {
        self.traffic.leave();
    }

    /// Breaks connections from now on. Of one that is broken already everything begins anew. Where they would be more than
    /// [`FLOWS_MAX`] none is touched.
    pub fn insert(&mut self, flows: &[(Flow, Mode)]) -> Result<(), FlowsError> {
        let asked: BTreeSet<Flow> = flows.iter().map(|(flow, _)| *flow).collect();
        if self.broken.union(&asked).count() > FLOWS_MAX {
            return Err(FlowsError::Full);
        }
        let map = self.traffic.map("flows")?;
        for (flow, mode) in flows {
            map.update(&flow.encode(), &mode.encode(), MapFlags::ANY)
                .map_err(refused("tell the BPF programs"))?;
            self.broken.insert(*flow);
        }
        Ok(())
    }

    /// Breaks connections no longer: what is sent from now on passes, what was lost is sent again by whoever still has
    /// the connection. Those that are not broken stay so.
    pub fn remove(&mut self, flows: &[Flow]) -> Result<(), FlowsError> {
        let map = self.traffic.map("flows")?;
        for flow in flows {
            bpf::forget(&map, &flow.encode()).map_err(refused("tell the BPF programs"))?;
            self.broken.remove(flow);
        }
        Ok(())
    }

    /// What happened to a connection so far, if it is broken.
    pub fn state(&self, flow: &Flow) -> Result<Option<FlowState>, FlowsError> {
        let states = self.states_of([flow])?;
        Ok(states.into_iter().map(|(_, state)| state).next())
    }

    /// The same of all that are broken.
    pub fn states(&self) -> Result<Vec<(Flow, FlowState)>, FlowsError> {
        self.states_of(&self.broken)
    }

    fn states_of<'a>(
        &self,
        flows: impl IntoIterator<Item = &'a Flow>,
    ) -> Result<Vec<(Flow, FlowState)>, FlowsError> {
        let map = self.traffic.map("flows")?;
        let mut states = Vec::new();
        for flow in flows {
            let record = map
                .lookup(&flow.encode(), MapFlags::ANY)
                .map_err(refused("ask the BPF programs"))?;
            states.extend(record.map(|record| (*flow, FlowState::decode(&record))));
        }
        Ok(states)
    }

    /// Those of [`Mode::AfterBytes`] that were cut since this was asked last, each once; there is something to read from
    /// this as a file as soon as there is one. Both ends still believe in them: to end one takes
    /// [`Connections::end`](crate::connections::Connections::end), whose reset passes.
    pub fn cut(&mut self) -> Result<Vec<Flow>, FlowsError> {
        self.ring
            .consume()
            .map_err(refused("listen to the BPF programs"))?;
        let told = {
            let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *told)
        };
        // One may have been taken out meanwhile, or have begun anew.
        let states = self.states_of(&told)?;
        let cut = states.into_iter().filter(|(_, state)| state.is_cut);
        Ok(cut.map(|(flow, _)| flow).collect())
    }

    /// Breaks nothing until [`Self::resume`]. Bytes that pass meanwhile do not count.
    pub fn pause(&mut self) -> Result<(), FlowsError> {
        Ok(self.traffic.tell(|order| order.active = false)?)
    }

    /// Goes on.
    pub fn resume(&mut self) -> Result<(), FlowsError> {
        Ok(self.traffic.tell(|order| order.active = true)?)
    }

    /// When it ends by itself, in nanoseconds since boot; `None` for never.
    pub fn end_at(&mut self, until_ns: Option<u64>) -> Result<(), FlowsError> {
        Ok(self.traffic.tell(|order| order.until_ns = until_ns)?)
    }

    /// Makes the other ends of connections of [`Mode::ResetRemote`] say something, so that they are told of their end
    /// where they are idle: again and again until all were told, at most for three seconds. Returns those that were not:
    /// their hosts cannot be reached, or keep silent.
    pub fn provoke(&self, flows: &[Flow]) -> Result<Vec<Flow>, FlowsError> {
        let mut left = self.untold(flows)?;
        for round in 0..ROUNDS {
            if left.is_empty() {
                break;
            }
            self.provoke_once(&left, round)?;
            let until = Instant::now() + ROUND;
            while !left.is_empty() && Instant::now() < until {
                thread::sleep(GLANCE);
                left = self.untold(&left)?;
            }
        }
        Ok(left)
    }

    /// The same once, without waiting for answers, for whoever has a rhythm of his own: 600 ms apart, as Linux answers
    /// none sooner, and with another `round` each time, as one in two may be taken for a good one.
    pub fn provoke_once(&self, flows: &[Flow], round: usize) -> Result<(), FlowsError> {
        self.trial_of_provocation()?;
        let mark = Order::mark(self.traffic.order().id);
        let devices = &self.devices;
        let send = || provocation::send(flows, round, devices, mark);
        Ok(self.namespace.run(send)?)
    }

    /// Asks whether others can be provoked from this namespace, by a socket that sends nothing.
    pub fn trial_of_provocation(&self) -> Result<(), FlowsError> {
        let nowhere = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
        let opened = self.namespace.run(|| provocation::open(nowhere, 0))?;
        opened.map(drop).map_err(FlowsError::Raw)
    }

    /// Those whose other end was not told yet.
    fn untold(&self, flows: &[Flow]) -> Result<Vec<Flow>, FlowsError> {
        let told = self.states_of(flows)?;
        let told: BTreeSet<Flow> = told
            .into_iter()
            .filter(|(_, state)| state.is_told())
            .map(|(flow, _)| flow)
            .collect();
        Ok(flows
            .iter()
            .filter(|flow| !told.contains(flow))
            .copied()
            .collect())
    }
}

impl AsFd for Flows {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the descriptor is the ring's own, which lives as long as `self`.
        unsafe { BorrowedFd::borrow_raw(self.ring.epoll_fd()) }
    }
}

/// Asks this kernel whether connections can be broken at its tcx hooks.
pub fn trial() -> Result<(), FlowsError> {
    Ok(Traffic::load_from(OBJECT, Order::idle())?.try_links()?)
}

/// The same by filters.
pub fn trial_by_filters() -> Result<(), FlowsError> {
    Ok(try_filters(|| Traffic::load_from(OBJECT, Order::idle()))?)
}
