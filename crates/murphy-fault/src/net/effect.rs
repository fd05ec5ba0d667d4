//! What was done to packets, as it was counted where it was done.

use murphy_sys::traffic::{Fate, Fates, Tally, Way};
use serde::Serialize;

use super::{
    NetError,
    cable::Held,
    hook::Hook,
    line::{self, Delaying},
    netem::Queued,
    place::PlaceSeen,
    rehearsal::Rehearsal,
    spec::{GilbertElliott, Loss, LossUnit, Spec},
};

/// How many standard deviations lie in an interval of 95 %.
const Z: f64 = 1.959_964;

/// How many packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counted {
    /// As the kernel handles them: one may be up to 64 KiB of a TCP stream.
    pub packets: u64,
    /// As a wire would carry them.
    pub segments: u64,
    /// With the headers of the device.
    pub bytes: u64,
}

impl From<Tally> for Counted {
    fn from(tally: Tally) -> Self {
        Self {
            packets: tally.packets,
            segments: tally.segments,
            bytes: tally.bytes,
        }
    }
}

impl Counted {
    /// Frames as a line counts them.
    fn of_frames(count: line::Count) -> Self {
        Self {
            packets: count.frames,
            segments: count.segments,
            bytes: count.bytes,
        }
    }

    /// Packets whose bytes nobody has counted.
    fn of_packets(packets: u64) -> Self {
        Self {
            packets,
            segments: packets,
            bytes: 0,
        }
    }

    fn and(self, other: Self) -> Self {
        Self {
            packets: self.packets + other.packets,
            segments: self.segments + other.segments,
            bytes: self.bytes + other.bytes,
        }
    }
}

/// How long packets of one device were held.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DeviceDelay {
    /// The device.
    pub device: String,
    /// What was asked, what was measured, and how late Murphy was.
    #[serde(flatten)]
    pub delaying: Delaying,
}

/// What was counted of one way, over several devices.
#[derive(Clone, Debug, Default)]
pub(super) struct Sum {
    fates: Fates,
    held: Vec<(String, Held)>,
    queued: Queued,
}

impl Sum {
    /// Adds what was counted at one device.
    pub(super) fn add(&mut self, hook: &dyn Hook, way: Way) -> Result<(), NetError> {
        self.fates = self.fates + hook.fates(way)?;
        self.held
            .extend(hook.held(way).map(|held| (hook.name().to_owned(), held)));
        self.queued = self.queued.and(hook.queued(way)?.unwrap_or_default());
        Ok(())
    }

    /// The frames of one fate, of all lines.
    fn frames(&self, fate: impl Fn(&line::Tally) -> line::Count) -> Counted {
        let counts = self.held.iter().map(|(_, held)| fate(&held.tally));
        counts.fold(Counted::default(), |sum, count| {
            sum.and(Counted::of_frames(count))
        })
    }
}

/// A share that was asked for, and the one that came of it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Share {
    /// What was asked, from 0 to 1.
    pub asked: f64,
    /// What was counted, from 0 to 1; none where there was nothing to count.
    pub seen: Option<f64>,
    /// The interval in which the true share lies with a confidence of 95 %: what was asked lies inside when the fault
    /// is one.
    pub interval: Option<(f64, f64)>,
    /// Whether it is one of what a wire carries as one, not of packets.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub of_segments: bool,
}

/// What happened to the packets of one way.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct WayEffect {
    /// All that passed the devices while it was in force.
    pub seen: Counted,
    /// Those that were meant.
    pub matched: Counted,
    /// Those of them that were dropped.
    pub dropped: Counted,
    /// Those of these whose sender was told.
    pub refused: Counted,
    /// What was sent once more.
    pub duplicated: Counted,
    /// What was changed in one bit.
    pub corrupted: Counted,
    /// What was held for a while.
    pub delayed: Counted,
    /// What was dropped because more waited at a limited rate than may; engine netem does not count its bytes.
    pub over_rate: Counted,
    /// Packets that Murphy could not hold, or not read in time: they were dropped by engine `cable` and passed by
    /// engine `nfqueue`, and nobody asked for that.
    pub overflowed: u64,
    /// What was to be held and passed by, because Murphy had shown no sign of life for a second.
    pub slipped: Counted,
    /// How long packets were held, by device.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub delays: Vec<DeviceDelay>,
    /// The share that was lost.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loss: Option<Share>,
    /// The share that came twice.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duplication: Option<Share>,
}

/// What an injection has done.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Disturbed {
    /// Whether it does nothing for now, as somebody has asked.
    pub paused: bool,
    /// What a ping met before anybody else was hit; none where nobody answered one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rehearsal: Option<Rehearsal>,
    /// Where.
    pub places: Vec<PlaceSeen>,
    /// The directories of the cgroups whose sockets alone are hit; empty where everybody in a place is.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
    /// The addresses of the peers, as they are now; empty where everybody is one.
    pub peers: Vec<String>,
    /// What the target sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<WayEffect>,
    /// What the target was sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<WayEffect>,
    /// What was not as it should be, each as a fragment that reads after "failed to".
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub troubles: Vec<String>,
    /// What could not be undone.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub left: Vec<String>,
}

impl Disturbed {
    /// Both ways, as far as they were asked for.
    pub fn ways(&self) -> impl Iterator<Item = (&'static str, &WayEffect)> {
        let ways = [("to", &self.to), ("from", &self.from)];
        ways.into_iter()
            .filter_map(|(name, way)| Some((name, way.as_ref()?)))
    }

    /// In words: `to: 1204 of 2000 packets matched, 361 dropped (30.0 %, 27.4 to 32.6)`.
    pub fn text(&self) -> String {
        let ways: Vec<_> = self
            .ways()
            .map(|(name, way)| format!("{name}: {}", way.text()))
            .collect();
        let paused = if self.paused { "paused · " } else { "" };
        format!("{paused}{}", ways.join(" · "))
    }

    /// Whether any packet was one that was meant.
    pub fn had_effect(&self) -> bool {
        self.ways().any(|(_, way)| way.matched.packets > 0)
    }
}

impl WayEffect {
    /// What was counted, beside what was asked.
    pub(super) fn of(sum: &Sum, spec: &Spec) -> Self {
        let counted = |fate| Counted::from(sum.fates[fate]);
        let (matched, in_kernel) = (counted(Fate::Matched), counted(Fate::Lost));
        let by_line = sum.frames(|tally| tally.lost);
        let duplicated = counted(Fate::Duplicated).and(sum.frames(|tally| tally.duplicated));
        let over_limits = sum.frames(|tally| tally.over_frames).packets
            + sum.frames(|tally| tally.over_bytes).packets;
        let overflowed: u64 = sum.held.iter().map(|(_, held)| held.overflowed).sum();
        let taken = sum.frames(|tally| tally.taken).packets;
        // Of what a line does, the share is one of the frames that came to it.
        let has_line = !sum.held.is_empty();
        let of_segments = has_line && spec.loss_unit == LossUnit::Segment;
        let (lost, of) = if of_segments {
            (by_line.packets, taken)
        } else {
            (in_kernel.packets, matched.packets)
        };
        let passed = if has_line {
            taken.saturating_sub(by_line.packets)
        } else {
            matched.packets.saturating_sub(in_kernel.packets)
        };
        Self {
            seen: counted(Fate::Seen),
            matched,
            dropped: in_kernel.and(by_line),
            refused: counted(Fate::Refused),
            duplicated,
            corrupted: sum.frames(|tally| tally.corrupted),
            delayed: sum
                .frames(|tally| tally.delayed)
                .and(sum.queued.delayed.into()),
            over_rate: sum
                .frames(|tally| tally.over_rate)
                .and(Counted::of_packets(sum.queued.over_rate)),
            overflowed: overflowed + over_limits + sum.queued.overflowed,
            slipped: counted(Fate::Slipped),
            delays: sum
                .held
                .iter()
                .map(|(device, held)| DeviceDelay {
                    device: device.clone(),
                    delaying: held.delaying,
                })
                .collect(),
            loss: spec.loss.map(|loss| Share {
                of_segments,
                ..Share::of(lost, of, loss.ratio(), inflation(loss))
            }),
            duplication: spec.duplicate.map(|chance| {
                let spread = of_correlation(1.0, chance.correlation.get());
                Share::of(duplicated.packets, passed, chance.ratio.get(), spread)
            }),
        }
    }
}

impl WayEffect {
    /// In words.
    fn text(&self) -> String {
        let mut text = format!(
            "{} of {} packets matched, {} dropped",
            self.matched.packets, self.seen.packets, self.dropped.packets
        );
        if let Some(loss) = &self.loss {
            text.push_str(&loss.text());
        }
        if self.refused.packets > 0 {
            let told = format!(", {} of them refused", self.refused.packets);
            text.push_str(&told);
        }
        if let Some(duplication) = &self.duplication {
            let more = format!(
                ", {} duplicated{}",
                self.duplicated.packets,
                duplication.text()
            );
            text.push_str(&more);
        }
        for (count, what) in [
            (self.slipped.packets, "passed by while Murphy hung"),
            (self.corrupted.packets, "corrupted"),
            (self.delayed.packets, "delayed"),
            (self.over_rate.packets, "dropped over the rate"),
            (self.overflowed, "too many for Murphy"),
        ] {
            if count > 0 {
                let more = format!(", {count} {what}");
                text.push_str(&more);
            }
        }
        // Of several devices the busiest speaks for all.
        let busiest = self
            .delays
            .iter()
            .max_by_key(|delay| delay.delaying.observed.count);
        if let Some(delay) = busiest.filter(|delay| delay.delaying.observed.count > 0) {
            text.push_str(&delay.text());
        }
        text
    }
}

impl DeviceDelay {
    /// In words, behind a count.
    fn text(&self) -> String {
        let ms = |ns: f64| ns / 1e6;
        let seen = &self.delaying.observed;
        format!(
            " by {:.2} ms ± {:.2} (half by at most {:.2}, 99 % by {:.2}; half of them {:.0} µs late)",
            ms(seen.mean_ns),
            ms(seen.deviation_ns),
            ms(seen.p50_ns as f64),
            ms(seen.p99_ns as f64),
            self.delaying.lateness.p50_ns as f64 / 1e3
        )
    }
}

impl Share {
    /// In words, behind a count.
    fn text(&self) -> String {
        match (self.seen, self.interval) {
            (Some(seen), Some((low, high))) => format!(
                " ({:.1} %{}, {:.1} to {:.1})",
                100.0 * seen,
                if self.of_segments { " of segments" } else { "" },
                100.0 * low,
                100.0 * high
            ),
            _ => String::new(),
        }
    }

    /// The share of `hits` in `all`, of which `inflation` are as good as one that is independent of all others. The
    /// interval is Wilson's (1927).
    fn of(hits: u64, all: u64, asked: f64, inflation: f64) -> Self {
        if all == 0 {
            return Self {
                asked,
                seen: None,
                interval: None,
                of_segments: false,
            };
        }
        let seen = hits as f64 / all as f64;
        let n = all as f64 / inflation;
        let middle = (seen + Z * Z / (2.0 * n)) / (1.0 + Z * Z / n);
        let half = Z / (1.0 + Z * Z / n) * (seen * (1.0 - seen) / n + Z * Z / (4.0 * n * n)).sqrt();
        Self {
            asked,
            seen: Some(seen),
            interval: Some(((middle - half).max(0.0), (middle + half).min(1.0))),
            of_segments: false,
        }
    }
}

/// How many packets of a model are worth one that is independent.
fn inflation(loss: Loss) -> f64 {
    match loss {
        Loss::Random(chance) => of_correlation(1.0, chance.correlation.get()),
        // Nothing is left to chance; the interval of independent ones is wider than it need be.
        Loss::Every(_) => 1.0,
        Loss::GilbertElliott(model) => of_model(model),
    }
}

/// The variance of a mean grows by 1 + 2 Σ a λᵏ where neighbours at a distance of k are correlated by a λᵏ.
fn of_correlation(first: f64, decay: f64) -> f64 {
    1.0 + 2.0 * first * decay / (1.0 - decay)
}

/// Only the state has a memory, not the draw within it.
fn of_model(model: GilbertElliott) -> f64 {
    let (p, r) = (model.p.get(), model.r.get());
    let in_bad = p / (p + r);
    let distance = model.bad.get() - model.good.get();
    let of_state = in_bad * (1.0 - in_bad) * distance * distance;
    let share = model.ratio();
    let of_all = share * (1.0 - share);
    if of_all == 0.0 {
        return 1.0;
    }
    // A chain that alternates is steadier than chance; the interval stays that of chance.
    of_correlation(of_state / of_all, 1.0 - p - r).max(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_of_a_share_is_wilsons() {
        let share = Share::of(300, 1000, 0.3, 1.0);
        let (low, high) = share.interval.unwrap();
        assert!(
            (low - 0.2724).abs() < 1e-3 && (high - 0.3291).abs() < 1e-3,
            "{share:?}"
        );
        let none = Share::of(0, 10, 0.3, 1.0);
        assert!(none.interval.unwrap().0 < 1e-9);
        assert!(none.interval.unwrap().1 > 0.2);
        assert_eq!(Share::of(0, 0, 0.3, 1.0).seen, None);
    }

    #[test]
    fn bursts_make_the_interval_wider() {
        let model: GilbertElliott = "p=1%,r=10%".parse().unwrap();
        let wide = inflation(Loss::GilbertElliott(model));
        // (1 + c) / (1 - c) with c = 0.89.
        assert!((wide - 1.89 / 0.11).abs() < 1e-6, "{wide}");
        let steady: GilbertElliott = "p=100%,r=100%".parse().unwrap();
        assert!((inflation(Loss::GilbertElliott(steady)) - 1.0).abs() < 1e-9);
    }
}
