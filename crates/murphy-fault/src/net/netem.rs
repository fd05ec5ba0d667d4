//! Engine `netem`: the programs of a device lose and double packets, and qdiscs of Murphy's have the others wait in the
//! kernel.
//!
//! What leaves goes through a prio as the device's root, whose second band is netem's: a packet that has to wait bears
//! that band as its priority. What arrives is taken by a filter, the last one of the device, to an ifb whose root is
//! netem. A limited rate is a tbf below netem. All of it outlives Murphy, but packets that have no such priority do not
//! wait: once the programs are gone, or past their time, nothing is disturbed.

use std::{
    cell::Cell,
    collections::BTreeSet,
    num::NonZeroU64,
    thread::sleep,
    time::{Duration, Instant},
};

use murphy_sys::{
    link::Device,
    namespace::NetNamespace,
    qdisc::{
        self, Discipline, Handle, Place, Prio, Qdisc, QdiscError, QdiscId, Tbf,
        distribution::Distribution as Shape,
        ifb,
        netem::{Chance, Delay, JITTER_MAX_NS, Netem, Probability, Reorder},
        trial::Feature,
    },
    traffic::{self, Fate, Fates, Filters, Network, Role, Tally, TrafficError, Way},
};

use super::{
    NetError,
    cable::Held,
    hook::{Hold, Hook, Job, Programs, undos_of},
    spec::{self, Distribution, LossUnit, Spec},
};
use crate::{journal::Journal, undo::Undo};

/// How many packets may wait for their delay, one way of a device; those beyond are lost, and counted.
const LIMIT: u32 = 1 << 15;
/// How long packets that wait at the end are given to come.
const DRAIN_MAX: Duration = Duration::from_secs(2);
/// How often that is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// A token bucket holds at least one packet with its headers: that of Ethernet, and a tag.
const HEADER_BYTES: u32 = 18;
/// Numbers of qdiscs that an injection has: prio, netem, tbf.
const NUMBERS: u32 = 3;
/// The kernel gives out numbers from here on by itself.
const NUMBER_MAX: u32 = 0x7fff;
/// The bands of the prio: for packets that do not wait, and for those that do.
const BANDS: u8 = 2;
/// The class of the second band, and what marks packets that arrive, which is no class.
const WAITING: u16 = 2;
const ARRIVED: u16 = 3;
/// The one class of netem.
const ONLY_CLASS: u16 = 1;

/// What became of packets that waited in qdiscs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Queued {
    /// All that had to.
    pub delayed: Tally,
    /// Dropped because more waited at the limited rate than may.
    pub over_rate: u64,
    /// Dropped because more waited than may, or when the qdisc was removed.
    pub overflowed: u64,
}

impl Queued {
    /// Both together.
    pub(super) fn and(self, other: Self) -> Self {
        Self {
            delayed: self.delayed + other.delayed,
            over_rate: self.over_rate + other.over_rate,
            overflowed: self.overflowed + other.overflowed,
        }
    }
}

/// Why netem does not do what is asked.
pub(super) fn serves(spec: &Spec) -> Result<(), NetError> {
    let refused = |why| {
        Err(NetError::NotByNetem {
            asked: spec.to_string(),
            why,
        })
    };
    if !spec.needs_queue() {
        return refused("it is for packets that have to wait; engine tcx does that");
    }
    if spec.corrupt.is_some() {
        return refused("it would change headers of the device, too, and count nothing");
    }
    if spec.loss.is_some() && spec.loss_unit == LossUnit::Segment {
        return refused("it loses whole packets, not segments");
    }
    if let Some(delay) = &spec.delay {
        if !delay.correlation.is_zero() {
            return refused("its correlation shrinks the jitter");
        }
        if matches!(
            delay.distribution,
            Distribution::Pareto | Distribution::ParetoNormal
        ) {
            return refused("its tables end at four jitters, where this distribution does not");
        }
        if delay.jitter.0.as_nanos() > u128::from(JITTER_MAX_NS) {
            return refused("its jitter is of 31 bits of nanoseconds");
        }
    }
    if spec
        .reorder
        .is_some_and(|reorder| !reorder.chance.correlation.is_zero())
    {
        return refused("its correlation does not keep the share");
    }
    let is_beyond = |shaper: spec::Shaper| {
        let is_long = |bytes| u32::try_from(bytes).is_err();
        shaper.rate.bits() < 8 || is_long(shaper.burst.0) || is_long(shaper.limit.0)
    };
    if spec.rate.is_some_and(is_beyond) {
        return refused("its buckets are of 32 bits of bytes, and of whole bytes a second");
    }
    Ok(())
}

/// Asks this kernel whether it has all that it takes.
pub(super) fn trial() -> Result<(), NetError> {
    for feature in [
        Feature::Netem,
        Feature::Tbf,
        Feature::Prio,
        Feature::Ifb,
        Feature::Clsact,
        Feature::ClsBpf,
        Feature::Mirred,
    ] {
        feature.trial().map_err(TrafficError::from)?;
    }
    Ok(traffic::trial().or_else(|_| traffic::trial_by_filters())?)
}

/// Refuses a device whose places are taken.
pub(super) fn is_free(
    namespace: &NetNamespace,
    device: &Device,
    ways: &[Way],
) -> Result<(), NetError> {
    let taken = |by: String, undo: &Undo| {
        let by = match whose(undo) {
            Some(injection) => format!("{by} of injection {injection}"),
            None => by,
        };
        let device = device.name.clone();
        Err(NetError::Taken { device, by })
    };
    let number = namespace.inode().map_err(NetError::Inode)?;
    if ways.contains(&Way::To) {
        let there = qdisc::list(namespace, device.index)?;
        let is_somebodys = |qdisc: &&Qdisc| qdisc.is_root() && !qdisc.is_kernel_default();
        if let Some(root) = there.iter().find(is_somebodys) {
            let undo = Undo::RemoveQdisc {
                namespace: number,
                qdisc: root.id.clone(),
            };
            return taken(root.id.to_string(), &undo);
        }
    }
    if ways.contains(&Way::From)
        && let Some(filter) = Filters::taker(namespace, device.index, Way::From)?
    {
        let by = filter.to_string();
        let undo = Undo::RemoveFilter {
            namespace: number,
            filter,
        };
        return taken(by, &undo);
    }
    Ok(())
}

/// The injection whose way back this is, as far as this user's journal says.
fn whose(undo: &Undo) -> Option<String> {
    let (records, _) = Journal::of_user().ok()?.list().ok()?;
    let record = records.iter().find(|record| record.undos.contains(undo))?;
    Some(record.header.id.clone())
}

/// The programs of a device, and the qdiscs that have its packets wait.
#[derive(Debug)]
pub(super) struct Queues {
    programs: Programs,
    namespace: NetNamespace,
    inode: u64,
    device: Device,
    by_way: Vec<Queue>,
    /// What takes packets that arrive to the ifb.
    filters: Option<Filters>,
    /// How long packets may wait at the most, as far as that is known.
    drain: Duration,
    has_left: bool,
}

/// The qdiscs of one way.
#[derive(Debug)]
struct Queue {
    way: Way,
    numbers: Numbers,
    /// The name of the ifb, where packets wait there.
    ifb: Option<String>,
    netem: Option<Netem>,
    tbf: Option<Tbf>,
    /// Where they are, once they are.
    ifindex: Cell<Option<u32>>,
    /// What they said last, but for what waits.
    last: Cell<(u64, u64)>,
}

/// The handles of an injection's qdiscs at one device.
#[derive(Clone, Copy, Debug)]
struct Numbers {
    prio: Handle,
    netem: Handle,
    tbf: Handle,
}

impl Numbers {
    fn of(injection: u32) -> Self {
        let first = injection % (NUMBER_MAX / NUMBERS) * NUMBERS + 1;
        // It is at most 0x7fff with the two behind it.
        let first = u16::try_from(first).unwrap_or(1);
        Self {
            prio: Handle::qdisc(first),
            netem: Handle::qdisc(first + 1),
            tbf: Handle::qdisc(first + 2),
        }
    }
}

impl Queues {
    /// Loads the programs and finds places; changes nothing.
    pub(super) fn load(job: Job<'_>, spec: &Spec, hold: Hold) -> Result<Self, NetError> {
        is_free(job.namespace, job.device, job.ways)?;
        let (namespace, device) = (job.namespace.clone(), job.device.clone());
        let filters = if job.ways.contains(&Way::From) {
            let ways = [Way::From];
            let role = Role::Takes;
            let chosen = Filters::choose(&namespace, device.index, &ways, &job.name, role)?;
            Some(chosen)
        } else {
            None
        };
        let netem = netem(spec, job.order.seed)?;
        let tbf = spec.rate.map(|shaper| tbf(shaper, device.mtu));
        let numbers = Numbers::of(job.order.id);
        let queue = |way: &Way| Queue {
            way: *way,
            numbers,
            ifb: (*way == Way::From).then(|| format!("{}q", job.name)),
            netem: netem.clone(),
            tbf,
            ifindex: Cell::new(None),
            last: Cell::default(),
        };
        let delay = spec.delay.as_ref();
        let longest = delay.map_or(DRAIN_MAX, |delay| delay.base.0 + 4 * delay.jitter.0);
        Ok(Self {
            by_way: job.ways.iter().map(queue).collect(),
            filters,
            drain: longest.min(DRAIN_MAX),
            inode: namespace.inode().map_err(NetError::Inode)?,
            namespace,
            device,
            programs: Programs::load(job, hold)?,
            has_left: false,
        })
    }

    fn queue(&self, way: Way) -> Option<&Queue> {
        self.by_way.iter().find(|queue| queue.way == way)
    }

    /// Waits until nothing waits any more, but not for ever; what waits then is lost.
    fn drain(&self) -> Result<(), QdiscError> {
        let until = Instant::now() + self.drain;
        loop {
            let mut waiting = 0;
            for queue in &self.by_way {
                waiting += queue.look(&self.namespace)?;
            }
            if waiting == 0 {
                return Ok(());
            }
            if Instant::now() >= until {
                break;
            }
            sleep(LOOK_EVERY);
        }
        for queue in &self.by_way {
            let waiting = u64::from(queue.look(&self.namespace)?);
            let (over_rate, overflowed) = queue.last.get();
            queue.last.set((over_rate, overflowed + waiting));
        }
        Ok(())
    }
}

impl Queue {
    /// What packets that have to wait are known by.
    fn priority(&self) -> u32 {
        let class = match self.way {
            Way::To => WAITING,
            Way::From => ARRIVED,
        };
        self.numbers.prio.class(class).raw()
    }

    fn undo(&self, namespace: u64, ifindex: u32) -> Undo {
        match &self.ifb {
            Some(name) => Undo::RemoveIfb {
                namespace,
                name: name.clone(),
            },
            None => Undo::RemoveQdisc {
                namespace,
                qdisc: self.root(ifindex),
            },
        }
    }

    /// The prio of the device.
    fn root(&self, ifindex: u32) -> QdiscId {
        QdiscId {
            place: Place {
                ifindex,
                parent: Handle::ROOT,
                handle: self.numbers.prio,
            },
            kind: "prio".into(),
        }
    }

    /// Makes its qdiscs, at the device or at an ifb of its own; gives that one's index.
    fn lay(&self, namespace: &NetNamespace, device: u32) -> Result<u32, QdiscError> {
        let (ifindex, parent) = if let Some(name) = &self.ifb {
            (ifb::add(namespace, name)?, Handle::ROOT)
        } else {
            let prio = Discipline::Prio(Prio::first_but_for_filters(BANDS));
            qdisc::add(namespace, self.root(device).place, &prio)?;
            (device, self.numbers.prio.class(WAITING))
        };
        let mut place = Place {
            ifindex,
            parent,
            handle: self.numbers.netem,
        };
        if let Some(netem) = &self.netem {
            qdisc::add(namespace, place, &Discipline::Netem(netem.clone()))?;

            place.parent = place.handle.class(ONLY_CLASS);
        }
        if let Some(tbf) = self.tbf {
            place.handle = self.numbers.tbf;
            qdisc::add(namespace, place, &Discipline::Tbf(tbf))?;
        }
        self.ifindex.set(Some(ifindex));
        Ok(ifindex)
    }

    /// Counts what was dropped; says how many packets wait.
    fn look(&self, namespace: &NetNamespace) -> Result<u32, QdiscError> {
        let Some(ifindex) = self.ifindex.get() else {
            return Ok(0);
        };
        let there = qdisc::list(namespace, ifindex)?;
        let find = |handle| {
            let of = there.iter().find(|qdisc| qdisc.id.place.handle == handle);
            of.map(|qdisc| qdisc.statistics)
        };
        let (netem, tbf) = (find(self.numbers.netem), find(self.numbers.tbf));
        let drops = tbf.map_or(0, |tbf| tbf.drops);
        // What tbf drops, netem above it drops, too.
        let more = netem.map_or(0, |netem| netem.drops.saturating_sub(drops));
        let (over_rate, overflowed) = self.last.get();
        // A qdisc that is gone says nothing: what it said last stays.
        self.last
            .set((over_rate.max(drops.into()), overflowed.max(more.into())));
        let waiting = |statistics: Option<qdisc::Statistics>| {
            statistics.map_or(0, |statistics| statistics.queued)
        };
        Ok(waiting(netem).max(waiting(tbf)))
    }
}

impl Hook for Queues {
    fn name(&self) -> &str {
        &self.device.name
    }

    fn undos(&self) -> Vec<Undo> {
        // The last is run first: what hands packets over goes before where they go.
        let queues = self.by_way.iter();
        let mut undos: Vec<_> = queues
            .map(|queue| queue.undo(self.inode, self.device.index))
            .collect();
        let filters = self.filters.iter();
        undos.extend(filters.flat_map(|filters| undos_of(filters, self.inode)));
        undos.extend(self.programs.undos());
        undos
    }

    fn attach(&mut self) -> Result<(), NetError> {
        for queue in &self.by_way {
            let ifindex = queue.lay(&self.namespace, self.device.index)?;
            let traffic = self.programs.traffic();
            traffic.have_wait(queue.way, queue.priority())?;
            if let (Way::From, Some(filters)) = (queue.way, &self.filters) {
                traffic.take(&self.namespace, filters, ifindex)?;
            }
        }
        self.programs.attach()
    }

    fn allow(&mut self, peers: &BTreeSet<Network>) -> Result<(), NetError> {
        self.programs.allow(peers)
    }

    fn activate(&mut self, active: bool) -> Result<(), NetError> {
        self.programs.activate(active)
    }

    fn fates(&self, way: Way) -> Result<Fates, NetError> {
        self.programs.fates(way)
    }

    fn held(&self, _way: Way) -> Option<Held> {
        None
    }

    fn queued(&self, way: Way) -> Result<Option<Queued>, NetError> {
        let Some(queue) = self.queue(way) else {
            return Ok(None);
        };
        if !self.has_left {
            queue.look(&self.namespace)?;
        }
        let (over_rate, overflowed) = queue.last.get();
        Ok(Some(Queued {
            delayed: self.programs.fates(way)?[Fate::Cabled],
            over_rate,
            overflowed,
        }))
    }

    fn is_broken(&self) -> bool {
        false
    }

    fn is_off(&self) -> bool {
        self.programs.is_off()
    }

    fn leave(&mut self) -> Result<(), NetError> {
        let told = self.programs.activate(false);
        let drained = self.drain();
        self.has_left = true;
        let left = self.programs.leave();
        if let Some(filters) = &self.filters {
            filters.remove().map_err(TrafficError::from)?;
        }
        for queue in &self.by_way {
            match &queue.ifb {
                Some(name) => ifb::delete(&self.namespace, name)?,
                None => qdisc::delete(&self.namespace, &queue.root(self.device.index))?,
            };
        }
        told?;
        left?;
        Ok(drained?)
    }
}

/// The delay, where one is asked for.
fn netem(spec: &Spec, seed: u64) -> Result<Option<Netem>, NetError> {
    let Some(delay) = &spec.delay else {
        return Ok(None);
    };
    let shape = match &delay.distribution {
        Distribution::Normal => Shape::normal(),
        Distribution::Table(path) => Shape::read(path).map_err(|error| NetError::Table {
            path: path.clone(),
            why: error.to_string(),
        })?,
        // The others are not for netem.
        Distribution::Uniform | Distribution::Pareto | Distribution::ParetoNormal => Shape::UNIFORM,
    };
    // More is not for netem, and no delay lasts for centuries.
    let ns = |span: crate::span::Span| u64::try_from(span.0.as_nanos()).unwrap_or(u64::MAX);
    let reorder = spec.reorder.map(|reorder| Reorder {
        chance: Chance::independent(Probability::nearest(reorder.chance.ratio.get())),
        gap: reorder.gap,
    });
    Ok(Some(Netem {
        delay: Some(Delay {
            mean_ns: ns(delay.base),
            jitter_ns: ns(delay.jitter),
            distribution: shape,
            reorder,
            ..Delay::default()
        }),
        limit: LIMIT,
        seed: Some(seed),
        ..Netem::default()
    }))
}

fn tbf(shaper: spec::Shaper, mtu: u32) -> Tbf {
    // More is not for netem.
    let bytes = |bytes: u64| u32::try_from(bytes).unwrap_or(u32::MAX);
    let largest = mtu.saturating_add(HEADER_BYTES);
    Tbf {
        bytes_per_second: NonZeroU64::new(shaper.rate.bits() / 8).unwrap_or(NonZeroU64::MIN),
        burst_bytes: bytes(shaper.burst.0).max(largest),
        limit_bytes: bytes(shaper.limit.0).max(largest),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_of_an_injection_are_three_that_the_kernel_does_not_give_out() {
        for injection in [0, 1, NUMBER_MAX / NUMBERS - 1, 0x00ff_ffff] {
            let numbers = Numbers::of(injection);
            let all = [numbers.prio, numbers.netem, numbers.tbf].map(Handle::raw);
            assert!(all[0] > 0 && all[2] >> 16 <= NUMBER_MAX, "{numbers:?}");
            assert!(all[0] < all[1] && all[1] < all[2], "{numbers:?}");
        }
    }

    #[test]
    fn what_netem_would_falsify_is_not_for_it() {
        let ms = |ms| crate::span::Span(Duration::from_millis(ms));
        let delay = |jitter, distribution| spec::Delay {
            base: ms(50),
            jitter: ms(jitter),
            correlation: crate::ratio::Ratio::ZERO,
            distribution,
        };
        let with = |delay| Spec {
            delay: Some(delay),
            ..Spec::default()
        };
        assert!(serves(&with(delay(0, Distribution::Uniform))).is_ok());
        assert!(serves(&with(delay(9, Distribution::Normal))).is_ok());
        assert!(serves(&with(delay(9, Distribution::Pareto))).is_err());
        assert!(serves(&with(delay(3000, Distribution::Uniform))).is_err());
        let correlated = spec::Delay {
            correlation: "25%".parse().unwrap(),
            ..delay(9, Distribution::Uniform)
        };
        assert!(serves(&with(correlated)).is_err());
        let chance = spec::Chance::independent("1%".parse().unwrap());
        let corrupt = Spec {
            corrupt: Some(chance),
            ..Spec::default()
        };
        assert!(serves(&corrupt).is_err());
        assert!(serves(&Spec::default()).is_err(), "nothing waits");
    }
}
