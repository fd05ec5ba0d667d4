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
        let mut family = Family {
            metric,
            format,
            text: &mut text,
            is_begun: false,
        };
        scene.tell(&mut family);
    }
    if format == Format::OpenMetrics {
        text.push_str("# EOF\n");
    }
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

/// A family of samples under way.
struct Family<'a> {
    metric: &'a Metric,
    format: Format,
    text: &'a mut String,
    is_begun: bool,
}

impl Scene<'_> {
    fn tell(&self, family: &mut Family<'_>) {
        const ONE: Value = Value::Count(1);
        let edges = || self.snapshot.edges.iter().zip(&self.edges);
        match &family.metric.samples {
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
impl Family<'_> {
    /// One of several that are told apart by one more label, whose value needs no escape.
    fn part(&mut self, labels: &str, (label, part): (&str, &str), value: Value) {
        self.start();
        let _ = write!(self.text, "{{{labels},{label}=\"{part}\"}}");
        self.end(value);
    }

    fn sample(&mut self, labels: &str, value: Value) {
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
        self.text.push_str(self.metric.name);
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
        let Metric {
            name, kind, help, ..
        } = *self.metric;
        let family = self.metric.family();
        let _ = match self.format {
            Format::OpenMetrics => {
                let kind = kind.name();
                let _ = writeln!(self.text, "# TYPE {family} {kind}");
                // A family says its unit only where its name does.
                let unit = self.metric.unit.map(Unit::name);
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
