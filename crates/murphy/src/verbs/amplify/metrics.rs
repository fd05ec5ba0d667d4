//! What is recorded, as a Prometheus reads it: totals since the recording began, and how the target is now.

use std::collections::BTreeMap;

use murphy_amplify::recorder::{Cost, Interval};
use murphy_observe::metrics::{
    Family, Format, Head, Kind, Labels, Own, Unit, Value, end, render_own,
};
use murphy_run::probe;
use murphy_sys::census::Key;

/// Everything that was recorded, added up.
#[derive(Clone, Debug, Default)]
pub struct Totals {
    calls: BTreeMap<Key, (u64, u64)>,
    lost: u64,
    intervals: u64,
    cpu_ns: u64,
    restarts: u64,
    probes: BTreeMap<String, Looks>,
    last: Option<Interval>,
    ns_per_call: Option<f64>,
    latency: bool,
}

/// The looks of a probe.
#[derive(Clone, Copy, Debug, Default)]
struct Looks {
    passed: u64,
    failed: u64,
    median_s: Option<f64>,
}

const fn head(name: &'static str, kind: Kind, unit: Option<Unit>, help: &'static str) -> Head {
    Head {
        name,
        kind,
        unit,
        help,
    }
}

impl Totals {
    /// Of a recording with or without the time of calls.
    pub fn new(latency: bool) -> Self {
        Self {
            latency,
            ..Self::default()
        }
    }

    /// Takes in an interval.
    pub fn take(
        &mut self,
        interval: &Interval,
        probes: &BTreeMap<String, probe::Figures>,
        cost: &Cost,
    ) {
        for row in &interval.rows {
            let total = self.calls.entry(row.key).or_default();
            *total = (total.0 + row.calls, total.1 + row.took_ns);
        }
        self.lost += interval.lost;
        self.intervals += 1;
        self.cpu_ns += interval.processes.cpu_ns;
        self.restarts += interval.restarts;
        for (name, figures) in probes {
            let looks = self.probes.entry(name.clone()).or_default();
            looks.passed += figures.passed;
            looks.failed += figures.made - figures.passed;
            looks.median_s = figures.p50_us.map(|us| us as f64 / 1e6);
        }
        self.ns_per_call = cost.ns_per_call;
        self.last = Some(interval.clone());
    }

    /// All of it.
    pub fn text(&self, own: &Own, format: Format) -> String {
        let mut text = String::new();
        self.tell_calls(format, &mut text);
        self.tell_target(format, &mut text);
        self.tell_probes(format, &mut text);
        let mut one =
            |head: Head, value: Value| Family::new(head, format, &mut text).sample("", value);
        one(
            head(
                "murphy_recording_intervals_total",
                Kind::Counter,
                None,
                "Intervals that are over",
            ),
            Value::Count(self.intervals),
        );
        one(
            head(
                "murphy_recording_lost_calls_total",
                Kind::Counter,
                None,
                "Calls that could not be counted",
            ),
            Value::Count(self.lost),
        );
        if let Some(ns) = self.ns_per_call {
            one(
                head(
                    "murphy_recording_call_overhead_seconds",
                    Kind::Gauge,
                    Some(Unit::Seconds),
                    "What a look at a call takes, with --measure-overhead",
                ),
                Value::Number(ns / 1e9),
            );
        }
        render_own(own, format, &mut text);
        end(format, &mut text);
        text
    }

    fn tell_calls(&self, format: Format, text: &mut String) {
        let calls = head(
            "murphy_syscalls_total",
            Kind::Counter,
            None,
            "System calls by what they were asked to do, of what, and what they failed with (ok: not)",
        );
        let mut family = Family::new(calls, format, text);
        for (key, (calls, _)) in &self.calls {
            family.sample(labels(key).text(), Value::Count(*calls));
        }
        if !self.latency {
            return;
        }
        let times = head(
            "murphy_syscall_seconds_total",
            Kind::Counter,
            Some(Unit::Seconds),
            "How long these calls took together",
        );
        let mut family = Family::new(times, format, text);
        for (key, (_, took_ns)) in &self.calls {
            family.sample(labels(key).text(), Value::Number(*took_ns as f64 / 1e9));
        }
    }

    fn tell_target(&self, format: Format, text: &mut String) {
        let mut one = |head: Head, value: Value| Family::new(head, format, text).sample("", value);
        one(
            head(
                "murphy_target_cpu_seconds_total",
                Kind::Counter,
                Some(Unit::Seconds),
                "Time of processors that the target took",
            ),
            Value::Number(self.cpu_ns as f64 / 1e9),
        );
        one(
            head(
                "murphy_target_restarts_total",
                Kind::Counter,
                None,
                "How often everybody had gone, and somebody came again",
            ),
            Value::Count(self.restarts),
        );
        let Some(last) = &self.last else {
            return;
        };
        let now = last.processes;
        for (name, unit, help, value) in [
            (
                "murphy_target_processes",
                None,
                "Processes of the target",
                now.count,
            ),
            (
                "murphy_target_resident_memory_bytes",
                Some(Unit::Bytes),
                "Resident memory of the target",
                now.memory_bytes,
            ),
            (
                "murphy_target_open_fds",
                None,
                "Open descriptors of the target",
                now.descriptors,
            ),
            (
                "murphy_target_threads",
                None,
                "Threads of the target",
                now.threads,
            ),
        ] {
            one(head(name, Kind::Gauge, unit, help), Value::Count(value));
        }
        let jvm = head(
            "murphy_target_jvm",
            Kind::Gauge,
            None,
            "What a JVM says of itself through jstat, by column",
        );
        let mut family = Family::new(jvm, format, text);
        for (pid, columns) in &last.jvms {
            for (column, value) in columns {
                let labels = Labels::default().with("pid", &pid.to_string());
                family.sample(labels.with("column", column).text(), Value::Number(*value));
            }
        }
    }

    fn tell_probes(&self, format: Format, text: &mut String) {
        let looks = head(
            "murphy_probe_looks_total",
            Kind::Counter,
            None,
            "Looks of a probe by what came of them",
        );
        let mut family = Family::new(looks, format, text);
        for (name, looks) in &self.probes {
            for (outcome, count) in [("passed", looks.passed), ("failed", looks.failed)] {
                let labels = Labels::default()
                    .with("probe", name)
                    .with("outcome", outcome);
                family.sample(labels.text(), Value::Count(count));
            }
        }
        let took = head(
            "murphy_probe_median_seconds",
            Kind::Gauge,
            Some(Unit::Seconds),
            "The median of how long looks took that passed in the last interval",
        );
        let mut family = Family::new(took, format, text);
        for (name, looks) in &self.probes {
            if let Some(median) = looks.median_s {
                let labels = Labels::default().with("probe", name);
                family.sample(labels.text(), Value::Number(median));
            }
        }
    }
}

fn labels(key: &Key) -> Labels {
    let errno = key.errno.map_or("ok".to_owned(), |errno| errno.to_string());
    let mut labels = Labels::default().with("call", &key.call.to_string());
    if let Some(operation) = key.operation {
        labels = labels.with("operation", operation.name());
    }
    if let Some(kind) = key.kind {
        labels = labels.with("kind", kind.name());
    }
    if let Some(nonblocking) = key.nonblocking {
        labels = labels.with("nonblocking", if nonblocking { "true" } else { "false" });
    }
    labels.with("errno", &errno)
}
