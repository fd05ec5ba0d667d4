//! Every fault by every engine, each way and both, in IPv4 and IPv6: the receiver sees an effect of the right size,
//! Murphy counts what the receiver misses, a pause and the end leave nothing of it.
//!
//! A new engine is one line of [`ENGINES`], a new fault is one test. By default each fault goes one way with each engine,
//! another one than others; with `MURPHY_SOAK=1` all of them.
#![allow(
    clippy::print_stderr,
    reason = "who fails shows in which of many cases"
)]

#[path = "../../murphy-sys/tests/wire/mod.rs"]
mod wire;

mod harness;
mod network;
mod victims;

use std::{env, thread, time::Duration};

use harness::{Guard, say_skipped, slack};
use murphy_fault::net::Engine;
use network::{
    Disturbance, Nodes, moments,
    ping::{discards, ping},
};
use serde_json::Value;
use wire::{Flow, Pace, QUIET, SIGMAS, assert_share, assert_share_of_chain};

/// What an engine may be able to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Skill {
    /// Loses each packet for itself.
    Loss,
    /// Loses a packet rather when it has lost the one before, and keeps the share.
    CorrelatedLoss,
    Bursts,
    EveryNth,
    LossBySegment,
    Duplicate,
    Corrupt,
    Drop,
    Reject,
    Delay,
    Reorder,
    Rate,
}

use Skill::{
    Bursts, CorrelatedLoss, Corrupt, Delay, Drop, Duplicate, EveryNth, Loss, LossBySegment, Rate,
    Reject, Reorder,
};

/// What an engine can do, and what of that only to what the target is sent. What it cannot, it refuses.
struct Able {
    engine: &'static str,
    to: &'static [Skill],
    only_from: &'static [Skill],
}

const IN_KERNEL: &[Skill] = &[
    Loss,
    CorrelatedLoss,
    Bursts,
    EveryNth,
    Duplicate,
    Drop,
    Reject,
];
const ALL: &[Skill] = &[
    Loss,
    CorrelatedLoss,
    Bursts,
    EveryNth,
    LossBySegment,
    Duplicate,
    Corrupt,
    Drop,
    Reject,
    Delay,
    Reorder,
    Rate,
];

/// Every engine but netem, which is in the emulated kernels only: `net_filters.rs` has its faults. That for cgroups does
/// nothing to a whole namespace: `net_group.rs` has its faults.
const ENGINES: &[Able] = &[
    Able {
        engine: "tcx",
        to: IN_KERNEL,
        only_from: &[],
    },
    Able {
        engine: "cable",
        to: ALL,
        only_from: &[],
    },
    Able {
        engine: "cls_bpf",
        to: ALL,
        only_from: &[],
    },
    Able {
        engine: "cgroup_skb",
        to: &[],
        only_from: &[],
    },
    Able {
        engine: "nfqueue",
        to: &[Loss, CorrelatedLoss, Bursts, EveryNth, Drop],
        only_from: &[Delay, Reorder, Rate],
    },
];

/// Which way, seen from the target, and whether what it sends, and what it is sent, is disturbed.
const DIRECTIONS: [(&str, [bool; 2]); 3] = [
    ("to", [true, false]),
    ("from", [false, true]),
    ("both", [true, true]),
];
/// How the two ways are called.
const WAYS: [&str; 2] = ["to", "from"];
/// So often a fault is injected where the machine has no time for it.
const TRIES: u32 = 10;
/// So many datagrams of each family say that nothing is wrong.
const FEW: u32 = 50;
/// So much later than Murphy says a datagram may come: it passes other programs before and behind.
const SLIP_MS: f64 = 2.0;
/// The first of those that nobody delays takes at most so many times as long.
const PROMPT: f64 = 5.0;

/// The clock of an emulated machine leaps while it waits for a file: how late something may come there, nobody can say.
fn leaps() -> u32 {
    slack().pow(3)
}

fn slip_ms() -> f64 {
    SLIP_MS * f64::from(leaps())
}

fn at_once(count: u32) -> Pace {
    Pace {
        patience: leaps().min(100) * QUIET,
        ..Pace::at_once(count)
    }
}

/// One by one, so that none waits for another.
fn one_by_one(count: u32) -> Pace {
    Pace {
        pause: Duration::from_millis(1),
        ..at_once(count)
    }
}

/// What is asked, and how it is seen.
struct Fault {
    needs: &'static [Skill],
    words: &'static [&'static str],
    pace: Pace,
    check: fn(&Seen<'_>),
}

/// What came of the datagrams of one way.
struct Seen<'a> {
    pace: Pace,
    /// IPv4 and IPv6, sent one after the other.
    flows: &'a [Flow],
    /// What Murphy says of this way.
    effect: &'a Value,
}

impl Fault {
    /// Sees it by every engine, and each way.
    fn is_seen(&self) {
        let Some(guard) = Guard::root_or_skip() else {
            return;
        };
        let nodes = Nodes::lay(&guard);
        for (place, able) in ENGINES.iter().enumerate() {
            let done = DIRECTIONS.map(|(direction, _)| self.is_done_by(able, direction));
            let salt = self.words.iter().map(|word| word.len()).sum::<usize>() + place;
            let turn = (salt..salt + 3).find(|turn| done[turn % 3]);
            for (which, direction) in DIRECTIONS.into_iter().enumerate() {
                if !done[which] {
                    self.is_refused(&guard, &nodes, able.engine, direction.0);
                } else if has(able.engine)
                    && (is_soak() || turn.is_some_and(|turn| turn % 3 == which))
                {
                    let is_seen = || self.is_seen_by(&guard, &nodes, able.engine, direction);
                    assert!((0..TRIES).any(|_| is_seen()), "it hangs again and again");
                }
            }
        }
    }

    fn is_done_by(&self, able: &Able, direction: &str) -> bool {
        let is_there = |skill| {
            able.to.contains(skill) || direction == "from" && able.only_from.contains(skill)
        };
        self.needs.iter().all(is_there)
    }

    fn words(&self, engine: &'static str, direction: &'static str) -> Vec<&'static str> {
        let more = ["--engine", engine, "--direction", direction];
        [self.words, &more, &["--protocol", "udp", "--for", "30m"]].concat()
    }

    fn is_refused(
        &self,
        guard: &Guard,
        nodes: &Nodes,
        engine: &'static str,
        direction: &'static str,
    ) {
        let target = nodes.target();
        let words = ["inject", "net", "--dry-run", "-t", &target];
        let words = [&words[..], &self.words(engine, direction)].concat();
        let refused = guard.murphy(&words).run();
        assert_eq!(refused.code, 2, "{words:?}: {refused:?}");
    }

    /// False where Murphy had no processor for a second, so that packets passed by as they should: that is seen elsewhere.
    fn is_seen_by(
        &self,
        guard: &Guard,
        nodes: &Nodes,
        engine: &'static str,
        (direction, hit): (&'static str, [bool; 2]),
    ) -> bool {
        let words = self.words(engine, direction);
        let before = discards(&nodes.wire.a);
        let disturbance = Disturbance::inject(guard, &nodes.target(), &words);
        assert_eq!(disturbance.active["engine"], engine);
        let tell = |verb: &str| {
            let told = guard.murphy([verb, disturbance.id.as_str()]).run();
            assert_eq!(told.code, 0, "{words:?}: {told:?}");
        };
        if direction == "both" {
            tell("pause");
            assert!(nodes.is_calm(), "{words:?}");
            tell("resume");
        }
        let (to, from) = thread::scope(|scope| {
            let flows = |way: usize| {
                let pace = if hit[way] { self.pace } else { one_by_one(FEW) };
                nodes.wire.flows(way == 1, pace)
            };
            // Whoever is not hit would wait for a processor while the others come all at once.
            if hit != [true; 2] {
                return (flows(0), flows(1));
            }
            let from = scope.spawn(move || flows(1));
            (flows(0), from.join().expect("what comes is whole"))
        });
        let effect = disturbance.interrupt();
        eprintln!("{words:?}: {effect}");
        let has_slipped = |way| effect[way]["slipped"]["packets"].as_u64() > Some(0);
        if WAYS.iter().any(has_slipped) {
            return false;
        }
        for (way, flows) in [&to, &from].into_iter().enumerate() {
            let effect = &effect[WAYS[way]];
            if hit[way] {
                let pace = self.pace;
                let seen = Seen {
                    pace,
                    flows,
                    effect,
                };
                seen.is_counted();
                (self.check)(&seen);
            } else {
                assert!(effect.is_null(), "{effect}");
                flows.iter().for_each(is_untouched);
            }
        }
        // An answer to an earlier datagram ends the next one before it is sent.
        if !self.needs.contains(&Reject) {
            assert_eq!(discards(&nodes.wire.a), before, "nobody is told of a loss");
        }
        assert!(nodes.is_calm(), "{words:?}");
        true
    }
}

/// Whether all is to be seen, and no sample.
fn is_soak() -> bool {
    env::var_os("MURPHY_SOAK").is_some()
}

fn has(engine: &str) -> bool {
    let engine: Engine = engine.parse().expect("the binary has it");
    if let Err(error) = engine.trial() {
        say_skipped(&format!("engine {engine}: {error}"));
        return false;
    }
    true
}

/// All come, once each, in their order, and soon.
fn is_untouched(flow: &Flow) {
    let numbers: Vec<_> = flow.came.iter().map(|arrival| arrival.number).collect();
    let sent: Vec<_> = (flow.first..flow.first + FEW).collect();
    assert_eq!((numbers, flow.told), (sent, 0));
    // A busy receiver takes many of them late; a delay would have made all of them late.
    let least = flow.came.iter().map(|arrival| arrival.took_ms());
    let least = least.fold(f64::MAX, f64::min);
    assert!(least < PROMPT * slip_ms(), "{least}");
}

impl Seen<'_> {
    fn sent(&self) -> u32 {
        self.pace.count * 2
    }

    fn packets(&self, fate: &str) -> u64 {
        let count = self.effect[fate]["packets"].as_u64();
        count.unwrap_or_else(|| panic!("no {fate} in {}", self.effect))
    }

    /// Datagrams of both families that never came.
    fn missed(&self) -> u64 {
        let missed = self.flows.iter().map(|flow| self.missed_of(flow));
        u64::try_from(missed.sum::<usize>()).expect("few")
    }

    fn missed_of(&self, flow: &Flow) -> usize {
        self.pace.count as usize - flow.distinct().len()
    }

    /// Datagrams of both families that came once more.
    fn more(&self) -> u64 {
        let more = |flow: &Flow| flow.came.len() - flow.distinct().len();
        u64::try_from(self.flows.iter().map(more).sum::<usize>()).expect("few")
    }

    /// Every datagram is one that came, one more, or one of those that Murphy says never will.
    fn is_counted(&self) {
        assert_eq!(self.packets("matched"), u64::from(self.sent()));
        let overflowed = self.effect["overflowed"].as_u64().expect("a count");
        let gone: u64 = ["dropped", "corrupted", "over_rate"]
            .map(|fate| self.packets(fate))
            .iter()
            .sum();
        let came: usize = self.flows.iter().map(|flow| flow.came.len()).sum();
        assert_eq!(
            came as u64 + gone + overflowed,
            u64::from(self.sent()) + self.packets("duplicated"),
            "{}",
            self.effect
        );
        if self.packets("refused") == 0 {
            assert!(self.flows.iter().all(|flow| flow.told == 0), "silently");
        }
    }

    /// Loses a share of each family, and nothing else; the fate of each may be like that of the one before.
    fn loses(&self, share: f64, correlation: f64) {
        for flow in self.flows {
            assert_share_of_chain(self.missed_of(flow), self.pace.count, share, correlation);
        }
        assert_eq!((self.packets("dropped"), self.more()), (self.missed(), 0));
        let loss = &self.effect["loss"];
        let bound = |at: usize| loss["interval"][at].as_f64().expect("a bound");
        let seen = self.missed() as f64 / f64::from(self.sent());
        assert!((bound(0)..=bound(1)).contains(&seen), "{loss}");
        let asked = loss["asked"].as_f64().expect("a share");
        assert!((asked - share).abs() < 1e-9, "{loss}");
    }

    /// In rows whose lengths are geometric: each loss is followed by another but for this share.
    fn loses_in_rows(&self, ends: f64) {
        for flow in self.flows {
            let came = flow.distinct();
            let is_lost = |number: &u32| !came.contains(number);
            let all = flow.first..flow.first + self.pace.count;
            let starts = all.filter(|number| {
                is_lost(number) && (*number == flow.first || came.contains(&(number - 1)))
            });
            let rows = starts.count() as f64;
            let mean = self.missed_of(flow) as f64 / rows;
            let sigma = (1.0 - ends).sqrt() / ends / rows.sqrt();
            assert!((mean - 1.0 / ends).abs() < SIGMAS * sigma, "rows of {mean}");
        }
    }

    /// Loses every nth, and no other.
    fn loses_every(&self, nth: u32) {
        for flow in self.flows {
            let sent = flow.first..flow.first + self.pace.count;
            let wanted = sent.filter(|number| number % nth != nth - 1);
            let came = flow.came.iter().map(|arrival| arrival.number);
            assert!(came.eq(wanted), "{:?}", flow.came);
        }
        assert_eq!(self.packets("dropped"), self.missed());
    }

    /// Nothing comes; senders are told, or not.
    fn passes_nothing(&self, is_told: bool) {
        let sent = u64::from(self.sent());
        let refused = if is_told { sent } else { 0 };
        let counted = ["dropped", "refused"].map(|fate| self.packets(fate));
        assert_eq!((self.missed(), counted), (sent, [sent, refused]));
        assert!(self.flows.iter().all(|flow| (flow.told > 0) == is_told));
    }

    /// A share of those that come comes twice, and none a third time.
    fn doubles(&self, share: f64) {
        for flow in self.flows {
            let distinct = flow.distinct();
            for number in &distinct {
                let times = flow.came.iter().filter(|arrival| arrival.number == *number);
                assert!(times.count() <= 2, "{number}");
            }
            let (all, more) = (distinct.len(), flow.came.len() - distinct.len());
            assert_share(more, u32::try_from(all).expect("few"), share);
        }
        assert_eq!(self.packets("duplicated"), self.more());
    }

    /// A share is changed, and none of these reaches who checks its sum.
    fn corrupts(&self, share: f64) {
        for flow in self.flows {
            assert_share(self.missed_of(flow), self.pace.count, share);
        }
        assert_eq!(self.packets("corrupted"), self.missed());
    }

    /// A measured time of Murphy's own lateness, in milliseconds.
    fn late_ms(&self, what: &str) -> f64 {
        // Who does not hold packets itself does not say how late it was.
        let late_ns = &self.effect["delays"][0]["lateness"][what];
        late_ns.as_f64().unwrap_or(0.0) / 1e6
    }

    fn slip_ms(&self) -> f64 {
        self.late_ms("mean_ns") + slip_ms()
    }

    /// All come, so late.
    fn delays_by(&self, base_ms: f64) {
        for flow in self.flows {
            let times: Vec<_> = flow.came.iter().map(|arrival| arrival.took_ms()).collect();
            let mean = times.iter().sum::<f64>() / times.len() as f64;
            assert!(
                (base_ms..base_ms + self.slip_ms()).contains(&mean),
                "{mean}"
            );
            assert!(times.iter().all(|time| *time >= base_ms), "{times:?}");
        }
        let delayed = u64::from(self.sent()) - self.packets("dropped") + self.packets("duplicated");
        assert_eq!(self.packets("delayed"), delayed);
    }

    /// All come, and their delays lie around 50 ms with a deviation. `kurtosis` says how sure one is of it, `below` which
    /// share of them is less than the mean, `least_ms` what none is below.
    fn scatters(&self, sigma_ms: f64, kurtosis: f64, below: f64, least_ms: f64) {
        const BASE_MS: f64 = 50.0;
        assert_eq!((self.missed(), self.more()), (0, 0));
        assert_eq!(self.packets("delayed"), u64::from(self.sent()));
        for flow in self.flows {
            let times: Vec<_> = flow.came.iter().map(|arrival| arrival.took_ms()).collect();
            let (n, (mean, sigma)) = (times.len() as f64, moments(&times));
            let error = SIGMAS * sigma_ms / n.sqrt();
            let bounds = BASE_MS - error..BASE_MS + error + self.slip_ms();
            assert!(bounds.contains(&mean), "a mean of {mean}: {}", self.effect);
            let error = SIGMAS * sigma_ms * ((kurtosis - 1.0) / (4.0 * n)).sqrt();
            let most = sigma_ms.hypot(self.late_ms("deviation_ns")) + slip_ms();
            let bounds = sigma_ms - error..most + error;
            assert!(bounds.contains(&sigma), "{sigma}: {}", self.effect);
            let least = times.iter().copied().fold(f64::MAX, f64::min);
            assert!(least >= least_ms, "{least}");
            // Lateness moves some beyond the mean, and none to this side of it.
            let share = |to: f64| times.iter().filter(|time| **time < to).count() as f64 / n;
            let error = SIGMAS * (below * (1.0 - below) / n).sqrt();
            assert!(share(BASE_MS) < below + error, "{times:?}");
            assert!(share(BASE_MS + self.slip_ms()) > below - error, "{times:?}");
        }
        if let Some(requested) = self.effect["delays"][0]["requested"].as_object() {
            let ms = |what: &str| requested[what].as_f64().expect("a time") / 1e6;
            assert!((ms("mean_ns") - BASE_MS).abs() < 0.01, "{requested:?}");
            assert!(
                (ms("deviation_ns") - sigma_ms).abs() < 0.01,
                "{requested:?}"
            );
        }
    }

    /// By chance some are not delayed, each at least so many after the last.
    fn lets_overtake(&self, chance: f64, gap: f64) {
        assert_eq!((self.missed(), self.more()), (0, 0));
        let mut early = Vec::new();
        for flow in self.flows {
            // Those that overtake come first, all of them.
            let is_step_back = |pair: &[wire::Arrival]| pair[1].number < pair[0].number;
            let turn = flow.came.windows(2).position(is_step_back);
            let (ahead, behind) = flow.came.split_at(turn.expect("some overtake") + 1);
            let is_in_order = |group: &[wire::Arrival]| group.is_sorted_by_key(|one| one.number);
            assert!(is_in_order(ahead) && is_in_order(behind), "{flow:?}");
            early.extend(ahead.iter().map(|arrival| f64::from(arrival.number)));
        }
        let delayed = u64::from(self.sent()) - early.len() as u64;
        assert_eq!(self.packets("delayed"), delayed);
        let steps: Vec<_> = early.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!(steps.iter().all(|step| *step >= gap), "{early:?}");
        let (n, sum) = (steps.len() as f64, steps.iter().sum::<f64>());
        let sigma = (1.0 - chance).sqrt() / chance / n.sqrt();
        let off = sum / n - (gap - 1.0 + 1.0 / chance);
        assert!(off.abs() < SIGMAS * sigma, "{steps:?}");
    }

    /// So many bytes come in a second, after a burst; what may not wait is counted.
    fn slows_to(&self, bytes_a_second: f64, burst: f64) {
        assert_eq!((self.packets("over_rate"), self.more()), (self.missed(), 0));
        let came = || self.flows.iter().flat_map(|flow| &flow.came);
        let bytes = (came().count() * self.pace.bytes) as f64;
        let sent = came().map(|arrival| arrival.sent).min().expect("some come");
        let came = came().map(|arrival| arrival.at).max().expect("some come");
        let took = came.saturating_sub(sent).as_secs_f64();
        let (least, most) = (
            (bytes - burst) / bytes_a_second,
            // Headers are up to a tenth of it, and datagrams may be sent no faster.
            1.5 * bytes / bytes_a_second,
        );
        assert!(took > least, "{bytes} bytes in {took} s");
        assert!(
            took < most + self.slip_ms() / 1e3,
            "{bytes} bytes in {took} s"
        );
    }
}

#[test]
fn every_engine_has_its_line() {
    let lines: Vec<_> = ENGINES.iter().map(|able| able.engine).collect();
    let mut all = Engine::ALL.map(Engine::name).to_vec();
    all.retain(|name| *name != "netem");
    assert_eq!(lines, all);
}

#[test]
fn a_share_is_lost() {
    let fault = Fault {
        needs: &[Loss],
        words: &["--loss", "30%"],
        pace: at_once(2000),
        check: |seen| seen.loses(0.3, 0.0),
    };
    fault.is_seen();
}

#[test]
fn losses_that_correlate_keep_their_share() {
    let fault = Fault {
        needs: &[Loss, CorrelatedLoss],
        words: &["--loss", "30%", "--loss-correlation", "50%"],
        pace: at_once(4000),
        check: |seen| {
            seen.loses(0.3, 0.5);
            // After a loss the next one is lost by 50 % + 30 % of 50 %.
            seen.loses_in_rows(0.35);
        },
    };
    fault.is_seen();
}

#[test]
fn bursts_have_their_share_and_their_length() {
    let fault = Fault {
        needs: &[Bursts],
        words: &["--gilbert-elliott", "p=5%,r=25%"],
        pace: at_once(5000),
        check: |seen| {
            seen.loses(0.05 / 0.3, 0.7);
            seen.loses_in_rows(0.25);
        },
    };
    fault.is_seen();
}

#[test]
fn every_nth_is_lost() {
    let fault = Fault {
        needs: &[EveryNth],
        words: &["--loss-every", "7"],
        pace: at_once(350),
        check: |seen| seen.loses_every(7),
    };
    fault.is_seen();
}

#[test]
fn a_share_of_what_is_on_a_wire_is_lost() {
    let fault = Fault {
        needs: &[LossBySegment],
        words: &["--loss", "30%", "--loss-unit", "segment"],
        pace: at_once(2000),
        check: |seen| seen.loses(0.3, 0.0),
    };
    fault.is_seen();
}

#[test]
fn a_share_comes_twice() {
    let fault = Fault {
        needs: &[Duplicate],
        words: &["--duplicate", "10%"],
        pace: at_once(2000),
        check: |seen| {
            assert_eq!(seen.missed(), 0);
            seen.doubles(0.1);
        },
    };
    fault.is_seen();
}

#[test]
fn what_is_corrupted_never_reaches_who_checks() {
    let fault = Fault {
        needs: &[Corrupt],
        words: &["--corrupt", "30%"],
        pace: at_once(1000),
        check: |seen| seen.corrupts(0.3),
    };
    fault.is_seen();
}

#[test]
fn nothing_passes_a_partition() {
    let fault = Fault {
        needs: &[Drop],
        words: &["--partition"],
        pace: at_once(FEW),
        check: |seen| seen.passes_nothing(false),
    };
    fault.is_seen();
}

#[test]
fn who_is_refused_is_told() {
    let fault = Fault {
        needs: &[Reject],
        words: &["--partition=reject"],
        pace: at_once(FEW),
        check: |seen| seen.passes_nothing(true),
    };
    fault.is_seen();
}

#[test]
fn all_are_late() {
    let fault = Fault {
        needs: &[Delay],
        words: &["--delay", "50ms"],
        pace: one_by_one(200),
        check: |seen| {
            assert_eq!(seen.missed(), 0);
            seen.delays_by(50.0);
        },
    };
    fault.is_seen();
}

#[test]
fn delays_lie_evenly_around_their_mean() {
    let fault = Fault {
        needs: &[Delay],
        words: &["--delay", "50ms", "--jitter", "10ms"],
        pace: one_by_one(500),
        // From 40 to 60 ms: the deviation is 10 / √3.
        check: |seen| seen.scatters(10.0 / 3.0_f64.sqrt(), 1.8, 0.5, 40.0),
    };
    fault.is_seen();
}

#[test]
fn delays_lie_around_their_mean_by_gauss() {
    let fault = Fault {
        needs: &[Delay],
        words: &[
            "--delay",
            "50ms",
            "--jitter",
            "10ms",
            "--distribution",
            "normal",
        ],
        pace: one_by_one(500),
        check: |seen| seen.scatters(10.0, 3.0, 0.5, 0.0),
    };
    fault.is_seen();
}

#[test]
fn delays_lie_around_their_mean_by_pareto() {
    let fault = Fault {
        needs: &[Delay],
        words: &[
            "--delay",
            "50ms",
            "--jitter",
            "10ms",
            "--distribution",
            "pareto",
        ],
        pace: one_by_one(500),
        // Of tc's table, moved to the mean 0 and stretched to the deviation 1: its fourth moment, what of it is below
        // zero, and its least.
        check: |seen| seen.scatters(10.0, 11.365, 0.689, 50.0 - 7.721),
    };
    fault.is_seen();
}

#[test]
fn some_overtake_each_so_many_after_the_last() {
    let fault = Fault {
        needs: &[Delay, Reorder],
        words: &["--delay", "1s", "--reorder", "50%", "--reorder-gap", "5"],
        pace: Pace {
            patience: Duration::from_millis(1500).max(at_once(0).patience),
            ..at_once(200)
        },
        check: |seen| seen.lets_overtake(0.5, 5.0),
    };
    fault.is_seen();
}

#[test]
fn only_so_much_passes() {
    let fault = Fault {
        needs: &[Rate],
        words: &["--rate", "8mbit", "--burst", "16KiB", "--limit", "128KiB"],
        pace: Pace {
            bytes: 1000,
            ..at_once(150)
        },
        check: |seen| seen.slows_to(1e6, f64::from(16 << 10)),
    };
    fault.is_seen();
}

#[test]
fn a_delay_a_loss_and_a_duplication_at_once() {
    let fault = Fault {
        needs: &[Delay, Loss, Duplicate],
        words: &["--delay", "50ms", "--loss", "30%", "--duplicate", "20%"],
        pace: one_by_one(500),
        check: |seen| {
            for flow in seen.flows {
                assert_share(seen.missed_of(flow), seen.pace.count, 0.3);
            }
            assert_eq!(seen.packets("dropped"), seen.missed());
            seen.doubles(0.2);
            seen.delays_by(50.0);
        },
    };
    fault.is_seen();
}

/// Who sends must believe that all is well: a `ping` that is told of a loss counts none, and sends again.
#[test]
fn a_share_of_pings_is_not_answered() {
    const PINGS: u16 = 2000;
    let Some(guard) = Guard::root_or_skip() else {
        return;
    };
    let nodes = Nodes::lay(&guard);
    let can = |able: &&Able| able.to.contains(&Loss) && has(able.engine);
    for Able { engine, .. } in ENGINES.iter().filter(can) {
        for (direction, hit) in DIRECTIONS {
            let words = ["--loss", "30%", "--engine", engine];
            let words = [&words[..], &["--direction", direction]].concat();
            let more = [
                "--protocol",
                "icmp",
                "--peer",
                &nodes.peer(),
                "--for",
                "30m",
            ];
            let words = [&words[..], &more].concat();
            let before = discards(&nodes.wire.a);
            let loss = Disturbance::inject(&guard, &nodes.target(), &words);
            let missed = [true, false].map(|is_v4| {
                let (from, to) = nodes.wire.ends(is_v4, false);
                usize::from(PINGS) - ping(from, to, PINGS, at_once(0).patience)
            });
            let effect = loss.interrupt();
            assert_eq!(discards(&nodes.wire.a), before, "nobody is told of a loss");
            // An echo and its answer must both pass.
            let share = if hit == [true, true] { 0.51 } else { 0.3 };
            for missed in missed {
                assert_share(missed, u32::from(PINGS), share);
            }
            let dropped = WAYS.map(|way| effect[way]["dropped"]["packets"].as_u64().unwrap_or(0));
            let dropped: u64 = dropped.iter().sum();
            assert_eq!(dropped, missed.iter().sum::<usize>() as u64, "{effect}");
        }
    }
}
