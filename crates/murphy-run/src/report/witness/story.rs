//! The story of a witness: its lines and the faults that bear on it, numbered in order of time.

use murphy_check::verdict::WitnessLine;

use crate::report::faults::family_class;
use crate::report::html::sentence;
use crate::report::words;
use crate::timeline::{FaultSpan, Timeline};
use crate::verdict::Promise;

/// The most faults a story tells of.
const FAULTS: usize = 3;

/// What happens, in order of time.
#[derive(Debug)]
pub struct Story<'a> {
    /// The steps; the first is number 1.
    pub steps: Vec<Step<'a>>,
    /// The decimals it takes to tell their times apart.
    pub decimals: usize,
}

/// One thing that happens.
#[derive(Clone, Copy, Debug)]
pub enum Step<'a> {
    /// A line of the witness, with its place in it.
    Line(usize, &'a WitnessLine),
    /// A fault.
    Fault(&'a FaultSpan),
}

impl Step<'_> {
    /// When it begins.
    pub fn start_ns(&self) -> u64 {
        match self {
            Self::Line(_, line) => line.start_ns,
            Self::Fault(fault) => fault.start_ns,
        }
    }
}

impl<'a> Story<'a> {
    /// The story of a broken promise.
    pub fn of(promise: &'a Promise, timeline: &'a Timeline) -> Self {
        let lines = promise.witness.iter().enumerate();
        let mut steps: Vec<Step<'_>> = lines.map(|(i, line)| Step::Line(i, line)).collect();
        steps.extend(faults(promise, timeline).into_iter().map(Step::Fault));
        steps.sort_by_key(Step::start_ns);
        let decimals = decimals(&steps);
        Self { steps, decimals }
    }

    /// How many faults are told of.
    pub fn faults(&self) -> u64 {
        let faults = self.steps.iter().filter(|s| matches!(s, Step::Fault(_)));
        faults.count() as u64
    }

    /// The end of the last step that has one.
    pub fn end_ns(&self) -> u64 {
        let end = |step: &Step<'_>| match step {
            Step::Line(_, line) => line.end_ns.unwrap_or(line.start_ns),
            Step::Fault(fault) => fault.end_ns.unwrap_or(fault.start_ns),
        };
        self.steps.iter().map(end).max().unwrap_or_default()
    }

    /// The steps as a list.
    pub fn sentences(&self) -> String {
        let numbered = (1..).zip(&self.steps);
        numbered
            .map(|(number, step)| {
                let at = words::moment(step.start_ns(), self.decimals);
                match step {
                    Step::Line(_, line) => line_sentence(number, &at, line),
                    Step::Fault(fault) => fault_sentence(number, &at, fault),
                }
            })
            .collect()
    }
}

/// The members that hold something else than most, and those asked.
fn involved(promise: &Promise) -> (Vec<&str>, Vec<&str>) {
    let rows = promise.members.iter();
    let suspects: Vec<&str> = rows.flat_map(super::outliers).collect();
    let asked = promise.witness.iter().filter_map(|l| l.node.as_deref());
    let asked = asked.chain(suspects.iter().copied()).collect();
    (suspects, asked)
}

/// The faults that bear on a witness: they hit a member with a part in it while it went on; those that hit
/// a suspect come first, then those nearest to its beginning.
fn faults<'a>(promise: &Promise, timeline: &'a Timeline) -> Vec<&'a FaultSpan> {
    let (suspects, involved) = involved(promise);
    let starts = promise.witness.iter().map(|l| l.start_ns);
    let from_ns = starts.min().unwrap_or_default();
    let ends = promise
        .witness
        .iter()
        .map(|l| l.end_ns.unwrap_or(l.start_ns));
    let to_ns = ends.max().unwrap_or_default();
    let hits = |fault: &FaultSpan, nodes: &[&str]| nodes.iter().any(|n| fault.hits(n));
    let mut faults: Vec<&FaultSpan> = timeline
        .faults
        .iter()
        .filter(|f| f.start_ns <= to_ns && f.end_ns.is_none_or(|end| end >= from_ns))
        .filter(|f| hits(f, &involved))
        .collect();
    faults.sort_by_key(|f| (!hits(f, &suspects), f.start_ns.abs_diff(from_ns)));
    faults.truncate(FAULTS);
    faults
}

/// From 2, for hundredths, to 5.
fn decimals(steps: &[Step<'_>]) -> usize {
    let starts = steps.iter().map(Step::start_ns);
    let times: Vec<u64> = starts.collect();
    let differ = |decimals: usize| {
        let unit_ns = 10_u64.pow(9 - u32::try_from(decimals).unwrap_or(9));
        times
            .windows(2)
            .all(|t| t[0] == t[1] || t[0] / unit_ns != t[1] / unit_ns)
    };
    (2..5).find(|d| differ(*d)).unwrap_or(5)
}

fn line_sentence(number: usize, at: &str, line: &WitnessLine) -> String {
    let class = if line.clashes {
        r#" class="broken""#
    } else {
        ""
    };
    format!(
        r#"      <li{class}><span class="step">{number}</span><time>{at}</time><p>{text}</p><a class="mono" href="./history.jsonl#L{n}">line {n}</a></li>
"#,
        text = sentence(&line.text),
        n = line.line
    )
}

fn fault_sentence(number: usize, at: &str, fault: &FaultSpan) -> String {
    let until = match fault.end_ns {
        Some(end_ns) if end_ns > fault.start_ns => {
            format!(", until {}", words::moment(end_ns, 2))
        }
        _ => String::new(),
    };
    let effect = match &fault.text {
        Some(text) => format!(": {text}"),
        None => String::new(),
    };
    let text = words::full_stop(&format!(
        "Murphy {} {}{until}{effect}",
        deed(&fault.fault),
        words::and(&fault.targets)
    ));
    format!(
        r#"      <li class="{class}"><span class="step">{number}</span><time>{at}</time><p>{text}</p><a class="mono" href="./events.jsonl#L{n}">event {n}</a></li>
"#,
        class = family_class(&fault.family),
        text = sentence(&text),
        n = fault.line
    )
}

/// What was done: `killed`; the fault's own name where no better word is known.
pub fn deed(fault: &str) -> String {
    match fault {
        "kill" => "killed".into(),
        "term" => "terminated".into(),
        "pause" => "paused".into(),
        "skew" => "skewed the clock of".into(),
        other => format!("did {other} to"),
    }
}
