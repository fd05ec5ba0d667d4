//! The table of all metrics: what each is called, what it means, whose it is, and where it comes from. The renderer, the
//! page `docs/metrics.md` and the tests follow from it.
use murphy_fault::conn::Side;
use murphy_sys::program_runs::ProgramRuns;

use super::text::Head;
use super::{labels::Labels, own::Own};
use crate::{
    calls::{CallsNow, TimesNow},
    overhead::Overhead,
    peer::PeerNow,
    pings::Outcome,
    snapshot::{EdgeNow, Snapshot},
    tally::Tally,
};

/// A metric.
#[derive(Debug)]
pub struct Metric {
    /// Its name, with `_total` or `_info` at its end where it has that.
    pub name: &'static str,
    /// What its values do.
    pub kind: Kind,
    /// In what it is measured; nothing where it is a count.
    pub unit: Option<Unit>,
    /// What it means, in a sentence without a full stop.
    pub help: &'static str,
    /// Where it comes from.
    pub source: Source,
    pub(super) samples: Samples,
}

/// What the values of a metric do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// They grow as long as the series is there.
    Counter,
    /// They come and go.
    Gauge,
    /// They are all 1: the labels are what is told.
    Info,
}

/// In what something is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Seconds.
    Seconds,
    /// Bytes.
    Bytes,
}

/// Where a metric comes from. Where that is not to be had there is no sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// What the kernel tells, by eBPF.
    Kernel,
    /// What connections say when they are looked at; better, what the kernel tells of their beginning and end.
    Connections,
    /// Pings.
    Pings,
    /// System calls, by eBPF of their own.
    Calls,
    /// The detectors.
    Detectors,
    /// Murphy itself.
    Murphy,
}

/// A value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value {
    /// A whole number.
    Count(u64),
    /// Any number, or none (`NaN`).
    Number(f64),
}

/// One of several counts that are told apart by a label.
#[derive(Debug)]
pub(super) struct Part {
    /// The value of the label.
    pub value: &'static str,
    /// Only edges of this side have it.
    pub side: Option<Side>,
    pub read: fn(&Tally) -> u64,
}

/// Whose samples a metric has, and how they are read.
#[derive(Debug)]
pub(super) enum Samples {
    /// Of each edge of a side, or of each.
    Edges(Option<Side>, fn(&EdgeNow) -> Option<Value>),
    /// Of whatever was dialled; what several edges of it say is added up.
    Dialled(fn(&Tally) -> u64),
    /// Of each edge, several, told apart by a label.
    Parts(&'static str, &'static [Part]),
    /// Of each peer that is pinged.
    Peers(fn(&PeerNow) -> Option<Value>),
    /// Of each call of each target.
    Calls(
        fn(&CallsNow) -> Vec<(Labels, Value)>,
        &'static [&'static str],
    ),
    /// 1 where the target listens.
    Listening,
    /// 1 of what is found now.
    Findings,
    /// 1 with how it is observed.
    Mode,
    /// One.
    Whole(fn(&Snapshot) -> u64),
    /// One of what observing costs.
    Overhead(fn(&Overhead) -> Option<Value>),
    /// Of each BPF program, where their runs are counted.
    Programs(fn(&ProgramRuns) -> Value),
    /// One of Murphy's own process.
    Own(fn(&Own) -> Option<Value>),
}

impl Unit {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Seconds => "seconds",
            Self::Bytes => "bytes",
        }
    }
}

impl Kind {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Info => "info",
        }
    }
}

impl Source {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Kernel => "eBPF",
            Self::Connections => "connections",
            Self::Pings => "pings",
            Self::Calls => "system calls",
            Self::Detectors => "detectors",
            Self::Murphy => "Murphy",
        }
    }
}

impl Metric {
    /// The labels of its samples. A finding has those of its edge, of whichever side that is.
    pub fn labels(&self) -> Vec<&'static str> {
        const ASKED: [&str; 3] = ["container_id", "destination", "actual_destination"];
        const ASKING: [&str; 3] = ["container_id", "source", "port"];
        let edges = |side: Option<Side>| match side {
            Some(Side::Opened) => ASKED.to_vec(),
            Some(Side::Accepted) => ASKING.to_vec(),
            None => [&ASKED[..], &ASKING[1..]].concat(),
        };
        let side_of = |parts: &[Part]| {
            let first = parts.first().and_then(|part| part.side);
            first.filter(|side| parts.iter().all(|part| part.side == Some(*side)))
        };
        match &self.samples {
            Samples::Edges(side, _) => edges(*side),
            Samples::Dialled(_) => ASKED[..2].to_vec(),
            Samples::Parts(label, parts) => [&edges(side_of(parts))[..], &[*label]].concat(),
            Samples::Peers(_) => vec!["container_id", "destination_ip"],
            Samples::Calls(_, labels) => [&["container_id"], *labels].concat(),
            Samples::Listening => vec!["container_id", "listen_addr"],
            Samples::Findings => [&edges(None)[..], &["kind", "direction"]].concat(),
            Samples::Mode => vec!["version", "connections", "pings"],
            Samples::Programs(_) => vec!["program"],
            Samples::Whole(_) | Samples::Overhead(_) | Samples::Own(_) => Vec::new(),
        }
    }

    /// What it is called, and what it means.
    pub fn head(&self) -> Head {
        let Self {
            name,
            kind,
            unit,
            help,
            ..
        } = *self;
        Head {
            name,
            kind,
            unit,
            help,
        }
    }
}

const OPENED: Option<Side> = Some(Side::Opened);
const ACCEPTED: Option<Side> = Some(Side::Accepted);

const fn counter(
    name: &'static str,
    help: &'static str,
    source: Source,
    samples: Samples,
) -> Metric {
    metric(name, Kind::Counter, help, source, samples)
}

const fn gauge(name: &'static str, help: &'static str, source: Source, samples: Samples) -> Metric {
    metric(name, Kind::Gauge, help, source, samples)
}

const fn info(name: &'static str, help: &'static str, source: Source, samples: Samples) -> Metric {
    metric(name, Kind::Info, help, source, samples)
}

const fn metric(
    name: &'static str,
    kind: Kind,
    help: &'static str,
    source: Source,
    samples: Samples,
) -> Metric {
    Metric {
        name,
        kind,
        unit: None,
        help,
        source,
        samples,
    }
}

impl Metric {
    const fn in_unit(self, unit: Unit) -> Self {
        Self {
            unit: Some(unit),
            ..self
        }
    }
}

fn seconds(us: u64) -> Value {
    Value::Number(us as f64 / 1e6)
}

const fn part(value: &'static str, side: Option<Side>, read: fn(&Tally) -> u64) -> Part {
    Part { value, side, read }
}

fn call_errors(now: &CallsNow) -> Vec<(Labels, Value)> {
    let failed = now.calls.iter().filter_map(|one| {
        let labels = Labels::of_call(&now.container, &one.call);
        let labels = labels.with("errno", one.errno.as_deref()?);
        Some((labels, Value::Count(one.count)))
    });
    failed.collect()
}

fn call_times(now: &CallsNow, read: fn(&TimesNow) -> Value) -> Vec<(Labels, Value)> {
    let all = now.times.iter();
    all.map(|one| (Labels::of_call(&now.container, &one.call), read(one)))
        .collect()
}

/// The value of a ping: a time, or not a number where it was lost. No value where none was sent, or none could be.
fn latency(now: &PeerNow) -> Option<Value> {
    match now.last? {
        Outcome::Came(took) => Some(Value::Number(took.as_secs_f64())),
        Outcome::Lost => Some(Value::Number(f64::NAN)),
        Outcome::Unsent | Outcome::Waiting => None,
    }
}

/// All metrics, in the order in which they are told.
pub static TABLE: &[Metric] = &[
    // Coroot's.
    gauge(
        "container_net_latency_seconds",
        "How long the last ping of a peer took; NaN where it was lost, no sample where none was sent",
        Source::Pings,
        Samples::Peers(latency),
    )
    .in_unit(Unit::Seconds),
    counter(
        "container_net_tcp_successful_connects_total",
        "Connections that were asked for and came to be",
        Source::Connections,
        Samples::Edges(OPENED, |now| Some(Value::Count(now.total.connected))),
    ),
    counter(
        "container_net_tcp_failed_connects_total",
        "Connections that were refused, not answered, or to which there is no way",
        Source::Kernel,
        Samples::Dialled(Tally::failed),
    ),
    counter(
        "container_net_tcp_connection_time_seconds_total",
        "How long it took until connections came to be, together",
        Source::Kernel,
        Samples::Edges(OPENED, |now| Some(seconds(now.total.connecting_us))),
    )
    .in_unit(Unit::Seconds),
    gauge(
        "container_net_tcp_active_connections",
        "Connections that there are",
        Source::Connections,
        Samples::Edges(OPENED, |now| Some(Value::Count(now.active.into()))),
    ),
    counter(
        "container_net_tcp_retransmits_total",
        "Segments of established connections that were sent again, tail loss probes included",
        Source::Kernel,
        Samples::Edges(OPENED, |now| Some(Value::Count(now.total.retransmits + now.total.probes))),
    ),
    counter(
        "container_net_tcp_bytes_sent_total",
        "Bytes that were sent and acknowledged",
        Source::Connections,
        Samples::Edges(OPENED, |now| Some(Value::Count(now.total.bytes_sent))),
    )
    .in_unit(Unit::Bytes),
    counter(
        "container_net_tcp_bytes_received_total",
        "Bytes that were received",
        Source::Connections,
        Samples::Edges(OPENED, |now| Some(Value::Count(now.total.bytes_received))),
    )
    .in_unit(Unit::Bytes),
    info(
        "container_net_tcp_listen_info",
        "Where the target listens",
        Source::Connections,
        Samples::Listening,
    ),
    // What is wrong.
    gauge(
        "murphy_finding",
        "What is wrong now",
        Source::Detectors,
        Samples::Findings,
    ),
    // Pings.
    counter(
        "murphy_pings_sent_total",
        "Pings that were sent",
        Source::Pings,
        Samples::Peers(|now| Some(Value::Count(now.count.sent))),
    ),
    counter(
        "murphy_pings_unsent_total",
        "Pings that this machine did not send: there is no way to the peer, or a firewall forbids it",
        Source::Pings,
        Samples::Peers(|now| Some(Value::Count(now.count.unsent))),
    ),
    counter(
        "murphy_pings_lost_total",
        "Pings that were not answered in time",
        Source::Pings,
        Samples::Peers(|now| Some(Value::Count(now.count.lost))),
    ),
    counter(
        "murphy_pings_late_total",
        "Pings that were not answered in time, and answered later",
        Source::Pings,
        Samples::Peers(|now| Some(Value::Count(now.count.late))),
    ),
    // Connections that come and go.
    counter(
        "murphy_tcp_failed_connects_total",
        "Connections that were asked for and did not come to be, by the reason; given_up is the asker's own doing",
        Source::Kernel,
        Samples::Parts(
            "reason",
            &[
                part("refused", OPENED, |tally| tally.refused),
                part("timed_out", OPENED, |tally| tally.timed_out),
                part("unreachable", OPENED, |tally| tally.unreachable),
                part("given_up", OPENED, |tally| tally.given_up),
            ],
        ),
    ),
    gauge(
        "murphy_tcp_asking_connections",
        "Connections that were asked for more than a second ago, and are not answered",
        Source::Connections,
        Samples::Edges(OPENED, |now| Some(Value::Count(now.asking.into()))),
    ),
    counter(
        "murphy_tcp_accepted_connections_total",
        "Connections that the target was asked for and came to be",
        Source::Connections,
        Samples::Edges(ACCEPTED, |now| Some(Value::Count(now.total.accepted))),
    ),
    gauge(
        "murphy_tcp_accepted_active_connections",
        "Connections that the target was asked for and that there are",
        Source::Connections,
        Samples::Edges(ACCEPTED, |now| Some(Value::Count(now.active.into()))),
    ),
    counter(
        "murphy_tcp_accepted_bytes_sent_total",
        "Bytes that were sent to whoever asked, and acknowledged",
        Source::Connections,
        Samples::Edges(ACCEPTED, |now| Some(Value::Count(now.total.bytes_sent))),
    )
    .in_unit(Unit::Bytes),
    counter(
        "murphy_tcp_accepted_bytes_received_total",
        "Bytes that were received from whoever asked",
        Source::Connections,
        Samples::Edges(ACCEPTED, |now| Some(Value::Count(now.total.bytes_received))),
    )
    .in_unit(Unit::Bytes),
    counter(
        "murphy_tcp_refusals_sent_total",
        "How often somebody who asked the target for a connection was refused",
        Source::Kernel,
        Samples::Edges(ACCEPTED, |now| Some(Value::Count(now.total.refusals_sent))),
    ),
    counter(
        "murphy_tcp_closed_total",
        "Connections that have ended",
        Source::Connections,
        Samples::Edges(None, |now| Some(Value::Count(now.total.closed))),
    ),
    counter(
        "murphy_tcp_resets_sent_total",
        "Connections that were reset by the target's end",
        Source::Kernel,
        Samples::Edges(None, |now| Some(Value::Count(now.total.resets_sent))),
    ),
    counter(
        "murphy_tcp_resets_received_total",
        "Connections that were reset by the other end",
        Source::Kernel,
        Samples::Edges(None, |now| Some(Value::Count(now.total.resets_received))),
    ),
    counter(
        "murphy_tcp_broken_total",
        "Connections that the kernel has ended because nothing was acknowledged for too long",
        Source::Kernel,
        Samples::Edges(None, |now| Some(Value::Count(now.total.broken))),
    ),
    gauge(
        "murphy_tcp_stalled_connections",
        "Connections on which nothing passes any more: half open",
        Source::Connections,
        Samples::Edges(None, |now| Some(Value::Count(now.stalled.into()))),
    ),
    // What is sent again.
    counter(
        "murphy_tcp_retransmits_total",
        "Segments that were sent again, by what they are",
        Source::Kernel,
        Samples::Parts(
            "kind",
            &[
                part("syn", OPENED, |tally| tally.syn_retransmits),
                part("synack", ACCEPTED, |tally| tally.synack_retransmits),
                part("data", None, |tally| tally.retransmits),
                part("tail_loss_probe", None, |tally| tally.probes),
                part("untold", None, |tally| tally.untold),
            ],
        ),
    ),
    counter(
        "murphy_tcp_unsent_total",
        "Segments that were to be sent again and that this machine refused to send",
        Source::Kernel,
        Samples::Edges(None, |now| Some(Value::Count(now.total.unsent))),
    ),
    // What passes.
    gauge(
        "murphy_tcp_rtt_seconds",
        "The round trip that half of the connections took no longer than (tcp_info); no sample where nothing passes",
        Source::Connections,
        Samples::Edges(None, |now| now.rtt_us.map(seconds)),
    )
    .in_unit(Unit::Seconds),
    counter(
        "murphy_tcp_segments_sent_total",
        "Segments of data that were sent, again ones included",
        Source::Connections,
        Samples::Edges(None, |now| Some(Value::Count(now.total.segments_sent))),
    ),
    counter(
        "murphy_tcp_segments_received_total",
        "Segments of data that were received",
        Source::Connections,
        Samples::Edges(None, |now| Some(Value::Count(now.total.segments_received))),
    ),
    counter(
        "murphy_tcp_segments_delivered_total",
        "Segments that were acknowledged, those that came twice included",
        Source::Connections,
        Samples::Edges(None, |now| Some(Value::Count(now.total.delivered))),
    ),
    counter(
        "murphy_tcp_segments_resent_total",
        "Segments that were sent again on connections that something has passed since",
        Source::Connections,
        Samples::Edges(None, |now| Some(Value::Count(now.total.resent))),
    ),
    counter(
        "murphy_tcp_segments_duplicated_total",
        "Segments that came twice, by what the other end says",
        Source::Connections,
        Samples::Edges(None, |now| Some(Value::Count(now.total.duplicated))),
    ),
    counter(
        "murphy_tcp_segments_out_of_order_total",
        "Packets that came before one that was sent earlier",
        Source::Connections,
        Samples::Edges(None, |now| Some(Value::Count(now.total.out_of_order))),
    ),
    // System calls.
    counter(
        "murphy_syscall_errors_total",
        "System calls that have failed, by the error; the fifty that most have, of each target; only with --syscalls",
        Source::Calls,
        Samples::Calls(call_errors, &["call", "errno"]),
    ),
    counter(
        "murphy_syscall_timed_total",
        "System calls that were timed: those that are asked to work, not to wait; fifty of each target; only with --syscalls",
        Source::Calls,
        Samples::Calls(|now| call_times(now, |one| Value::Count(one.count)), &["call"]),
    ),
    counter(
        "murphy_syscall_seconds_total",
        "How long these took, together; only with --syscalls",
        Source::Calls,
        Samples::Calls(|now| call_times(now, |one| Value::Number(one.sum_ns as f64 / 1e9)), &["call"]),
    )
    .in_unit(Unit::Seconds),
    // How it is observed.
    info(
        "murphy_observe_info",
        "How it is observed: connections by ebpf or by sock_diag only, pings by icmp or by none",
        Source::Murphy,
        Samples::Mode,
    ),
    gauge(
        "murphy_edges",
        "Edges that are kept",
        Source::Murphy,
        Samples::Whole(|snapshot| snapshot.edges.len() as u64),
    ),
    counter(
        "murphy_events_lost_total",
        "Events of the kernel that there was no room for",
        Source::Kernel,
        Samples::Whole(|snapshot| snapshot.lost),
    ),
    // What observing costs.
    gauge(
        "murphy_observer_cpu_ratio",
        "The part of one processor that Murphy has used in the last five seconds",
        Source::Murphy,
        Samples::Overhead(|overhead| overhead.cpu.map(Value::Number)),
    ),
    gauge(
        "murphy_observer_look_seconds",
        "How long it took to look at all connections, the last time",
        Source::Murphy,
        Samples::Overhead(|overhead| Some(seconds(overhead.look_us))),
    )
    .in_unit(Unit::Seconds),
    gauge(
        "murphy_observer_looked_connections",
        "How many connections there were then",
        Source::Murphy,
        Samples::Overhead(|overhead| Some(Value::Count(overhead.looked))),
    ),
    counter(
        "murphy_observer_events_total",
        "Events of connections that were taken in",
        Source::Kernel,
        Samples::Overhead(|overhead| Some(Value::Count(overhead.events))),
    ),
    counter(
        "murphy_observer_program_runs_total",
        "How often each BPF program has run, for whomever; only with --measure-overhead",
        Source::Murphy,
        Samples::Programs(|program| Value::Count(program.runs)),
    ),
    counter(
        "murphy_observer_program_seconds_total",
        "How long these runs took, together; only with --measure-overhead",
        Source::Murphy,
        Samples::Programs(|program| Value::Number(program.ns as f64 / 1e9)),
    )
    .in_unit(Unit::Seconds),
    // Murphy's own process, by the names that every client of Prometheus has.
    counter(
        "process_cpu_seconds_total",
        "Time of processors that Murphy has used",
        Source::Murphy,
        Samples::Own(|own| own.cpu_s.map(Value::Number)),
    )
    .in_unit(Unit::Seconds),
    gauge(
        "process_resident_memory_bytes",
        "Memory that Murphy has in use",
        Source::Murphy,
        Samples::Own(|own| own.resident_bytes.map(Value::Count)),
    )
    .in_unit(Unit::Bytes),
    gauge(
        "process_virtual_memory_bytes",
        "Memory that Murphy may use",
        Source::Murphy,
        Samples::Own(|own| own.virtual_bytes.map(Value::Count)),
    )
    .in_unit(Unit::Bytes),
    gauge(
        "process_open_fds",
        "Files that Murphy has open",
        Source::Murphy,
        Samples::Own(|own| own.open_files.map(Value::Count)),
    ),
    gauge(
        "process_max_fds",
        "Files that Murphy may have open",
        Source::Murphy,
        Samples::Own(|own| own.open_files_max.map(Value::Count)),
    ),
    gauge(
        "process_threads",
        "Threads of Murphy",
        Source::Murphy,
        Samples::Own(|own| own.threads.map(Value::Count)),
    ),
    gauge(
        "process_start_time_seconds",
        "When Murphy began, in seconds since 1970",
        Source::Murphy,
        Samples::Own(|own| own.began_s.map(Value::Number)),
    )
    .in_unit(Unit::Seconds),
];
