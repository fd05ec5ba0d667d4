//! The text of metrics: all samples of a snapshot, family by family.

use std::{collections::BTreeMap, fmt::Write};

use murphy_fault::conn::Side;

use super::{
    format::Format,
    labels::Labels,
    own::Own,
    table::{Kind, Metric, Samples, Source, TABLE, Unit, Value},
};
use crate::snapshot::Snapshot;

/// So many lines there are of an edge, each so long without its labels; and so much else.
const EDGE_LINES: usize = 27;
const LINE_BYTES: usize = 50;
const REST_BYTES: usize = 64 << 10;

/// Writes down what there is.
pub fn render(snapshot: &Snapshot, own: &Own, format: Format) -> String {
    let labels = snapshot.edges.iter().map(Labels::of);
    let scene = Scene {
        snapshot,
        own,
        edges: labels.collect(),
        peers: snapshot.peers.iter().map(Labels::of_peer).collect(),
    };
    let lines = scene.edges.iter();
    let lines = lines.map(|labels| EDGE_LINES * (LINE_BYTES + labels.text().len()));
    let mut text = String::with_capacity(REST_BYTES + lines.sum::<usize>());
    for metric in TABLE {
        if metric.source == Source::Kernel && !snapshot.mode.is_told {
            // What nobody tells has not happened never: it is not known.
            continue;
        }
        scene.tell(metric, &mut Family::new(metric.head(), format, &mut text));
    }
    end(format, &mut text);
    text
}

/// What is rendered, with the labels that many metrics share.
struct Scene<'a> {
    snapshot: &'a Snapshot,
    own: &'a Own,
    /// Of each edge, in their order.
    edges: Vec<Labels>,
    /// Of each peer.
    peers: Vec<Labels>,
}

/// Adds what there is of Murphy's own process.
pub fn render_own(own: &Own, format: Format, text: &mut String) {
    for metric in TABLE {
        if let Samples::Own(read) = &metric.samples
            && let Some(value) = read(own)
        {
            Family::new(metric.head(), format, text).sample("", value);
        }
    }
}

/// Ends a text.
pub fn end(format: Format, text: &mut String) {
    if format == Format::OpenMetrics {
        text.push_str("# EOF\n");
    }
}

/// What a family of samples is called, and what it means.
#[derive(Clone, Copy, Debug)]
pub struct Head {
    /// Its name, with `_total` or `_info` at its end where it has that.
    pub name: &'static str,
    /// What its values do.
    pub kind: Kind,
    /// In what it is measured; nothing where it is a count.
    pub unit: Option<Unit>,
    /// What it means, in a sentence without a full stop.
    pub help: &'static str,
}

/// A family of samples under way.
#[derive(Debug)]
pub struct Family<'a> {
    head: Head,
    format: Format,
    text: &'a mut String,
    is_begun: bool,
}

impl Scene<'_> {
    fn tell(&self, metric: &Metric, family: &mut Family<'_>) {
        const ONE: Value = Value::Count(1);
        let edges = || self.snapshot.edges.iter().zip(&self.edges);
        match &metric.samples {
            Samples::Edges(side, read) => {
                for (now, labels) in edges() {
                    // What is of the whole target has no connections.
                    let is_side = side.is_none_or(|side| side == now.edge.side);
                    let is_meant = is_side && !now.edge.is_whole();
                    if let Some(value) = read(now).filter(|_| is_meant) {
                        family.sample(labels.text(), value);
                    }
                }
            }
            Samples::Dialled(read) => {
                let mut sums: BTreeMap<Labels, u64> = BTreeMap::new();
                let opened = self.snapshot.edges.iter();
                let opened =
                    opened.filter(|now| now.edge.side == Side::Opened && !now.edge.is_whole());
                for now in opened {
                    *sums.entry(Labels::dialled(&now.edge)).or_default() += read(&now.total);
                }
                for (labels, sum) in &sums {
                    family.sample(labels.text(), Value::Count(*sum));
                }
            }
            Samples::Parts(label, parts) => {
                for (now, labels) in edges() {
                    for part in *parts {
                        if part.side.is_none_or(|side| side == now.edge.side) {
                            let value = Value::Count((part.read)(&now.total));
                            family.part(labels.text(), (label, part.value), value);
                        }
                    }
                }
            }
            Samples::Peers(read) => {
                for (now, labels) in self.snapshot.peers.iter().zip(&self.peers) {
                    if let Some(value) = read(now) {
                        family.sample(labels.text(), value);
                    }
                }
            }
            Samples::Calls(read, _) => {
                for (labels, value) in self.snapshot.syscalls.iter().flat_map(read) {
                    family.sample(labels.text(), value);
                }
            }
            Samples::Listening => {
                for listening in &self.snapshot.listening {
                    family.sample(Labels::of_listening(listening).text(), ONE);
                }
            }
            Samples::Findings => {
                for now in &self.snapshot.edges {
                    for finding in &now.findings {
                        family.sample(Labels::of_finding(now, finding).text(), ONE);
                    }
                }
            }
            Samples::Mode => {
                let mode = &self.snapshot.mode;
                let told = if mode.is_told { "ebpf" } else { "sock_diag" };
                let pings = if mode.is_pinging { "icmp" } else { "none" };
                let labels = Labels::default().with("version", env!("CARGO_PKG_VERSION"));
                let labels = labels.with("connections", told).with("pings", pings);
                family.sample(labels.text(), ONE);
            }
            Samples::Whole(read) => family.sample("", Value::Count(read(self.snapshot))),
            Samples::Overhead(read) => {
                if let Some(value) = read(&self.snapshot.overhead) {
                    family.sample("", value);
                }
            }
            Samples::Programs(read) => {
                for program in &self.snapshot.overhead.programs {
                    let labels = Labels::default().with("program", &program.name);
                    family.sample(labels.text(), read(program));
                }
            }
            Samples::Own(read) => {
                if let Some(value) = read(self.own) {
                    family.sample("", value);
                }
            }
        }
    }
}

// A string takes all that is written to it.
impl<'a> Family<'a> {
    /// At the end of a text. A family without samples is not said.
    pub fn new(head: Head, format: Format, text: &'a mut String) -> Self {
        Self {
            head,
            format,
            text,
            is_begun: false,
        }
    }

    /// One of several that are told apart by one more label, whose value needs no escape.
    fn part(&mut self, labels: &str, (label, part): (&str, &str), value: Value) {
        self.start();
        let _ = write!(self.text, "{{{labels},{label}=\"{part}\"}}");
        self.end(value);
    }

    /// A sample; `labels` as they stand between braces.
    pub fn sample(&mut self, labels: &str, value: Value) {
        self.start();
        if !labels.is_empty() {
            self.text.push('{');
            self.text.push_str(labels);
            self.text.push('}');
        }
        self.end(value);
    }

    fn start(&mut self) {
        if !std::mem::replace(&mut self.is_begun, true) {
            self.begin();
        }
        self.text.push_str(self.head.name);
    }

    fn end(&mut self, value: Value) {
        let _ = match value {
            Value::Count(count) => writeln!(self.text, " {count}"),
            // Rust writes `NaN` as both formats do, and never an exponent. Nothing here is infinite.
            Value::Number(number) => writeln!(self.text, " {number}"),
        };
    }

    /// What a family is, said before its first sample.
    fn begin(&mut self) {
        let Head {
            name, kind, help, ..
        } = self.head;
        let family = self.head.family();
        let _ = match self.format {
            Format::OpenMetrics => {
                let kind = kind.name();
                let _ = writeln!(self.text, "# TYPE {family} {kind}");
                // A family says its unit only where its name does.
                let unit = self.head.unit.map(Unit::name);
                if let Some(unit) = unit.filter(|unit| family.ends_with(&format!("_{unit}"))) {
                    let _ = writeln!(self.text, "# UNIT {family} {unit}");
                }
                writeln!(self.text, "# HELP {family} {help}.")
            }
            Format::Text => {
                let kind = match kind {
                    // It has no better name there.
                    Kind::Info => Kind::Gauge.name(),
                    kind => kind.name(),
                };
                writeln!(self.text, "# HELP {name} {help}.\n# TYPE {name} {kind}")
            }
        };
    }
}

impl Head {
    /// The name of its family in `OpenMetrics`, which names samples after it.
    pub fn family(&self) -> &'static str {
        let ending = match self.kind {
            Kind::Counter => "_total",
            Kind::Gauge => "",
            Kind::Info => "_info",
        };
        self.name.strip_suffix(ending).unwrap_or(self.name)
    }
}
