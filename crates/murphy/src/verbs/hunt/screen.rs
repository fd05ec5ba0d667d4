//! The screen of a hunt: on a terminal a live view below the lines that stay; elsewhere the lines alone.

use std::{
    io::{self, IsTerminal},
    sync::{Arc, Mutex, PoisonError},
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use murphy_hunt::progress::{Listener, NodeNow, Progress, Snapshot};
use serde_json::json;

use crate::output;

/// Bars of the little chart of throughput.
const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
/// Points of that chart.
const POINTS: usize = 24;

/// Shows a hunt's progress on standard error, or as JSON Lines.
#[derive(Clone)]
pub struct Screen {
    live: Option<ProgressBar>,
    json: bool,
    rates: Arc<Mutex<Rates>>,
}

#[derive(Default)]
struct Rates {
    before: Option<(f64, u64)>,
    points: Vec<f64>,
}

impl Screen {
    /// Says what is about to happen.
    pub fn start(headline: &str, json: bool) -> Self {
        let live = (!json && io::stderr().is_terminal()).then(|| {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(8));
            // The template is constant and has one field.
            bar.set_style(ProgressStyle::with_template("{msg}").expect("a valid template"));
            bar
        });
        let screen = Self {
            live,
            json,
            rates: Arc::default(),
        };
        screen.stay(headline);
        screen
    }

    /// What the hunt reports to.
    pub fn listener(&self) -> Listener {
        let screen = self.clone();
        Arc::new(move |progress| screen.hear(progress))
    }

    /// Takes the live view away.
    pub fn end(&self) {
        if let Some(live) = &self.live {
            live.finish_and_clear();
        }
    }

    fn hear(&self, progress: Progress) {
        match progress {
            Progress::Starting | Progress::Round { .. } => {}
            Progress::Ready { after_s } => self.event(after_s, "every node serves"),
            Progress::Fault { at_s, text }
            | Progress::Died { at_s, text }
            | Progress::Broken { at_s, text } => {
                self.event(at_s, &text);
            }
            Progress::Quiet { at_s, text } => self.event(at_s, &format!("quiet: {text}")),
            Progress::Now(now) => self.now(&now),
            Progress::Checking => {
                if let Some(live) = &self.live {
                    live.set_message("  judging the history");
                }
            }
        }
    }

    /// A line that stays.
    fn event(&self, at_s: f64, text: &str) {
        if self.json {
            output::json(&json!({ "event": "progress", "at_s": at_s, "text": text }));
        } else {
            self.stay(&format!("{at_s:>6.1} s   {text}"));
        }
    }

    fn stay(&self, text: &str) {
        match &self.live {
            Some(live) => live.println(text),
            None if self.json => {}
            None => output::note(text),
        }
    }

    fn now(&self, now: &Snapshot) {
        let Some(live) = &self.live else { return };
        let mut rates = self.rates.lock().unwrap_or_else(PoisonError::into_inner);
        let rate = rates.add(now.at_s, now.operations);
        let nodes: Vec<_> = now.nodes.iter().map(node).collect();
        let unknown = 100.0 * now.unknown as f64 / now.operations.max(1) as f64;
        live.set_message(format!(
            "  {}\n  {rate:.0} ops/s   unknown {unknown:.1} %   round {}   {}",
            nodes.join("   "),
            now.round,
            rates.chart()
        ));
    }
}

fn node(node: &NodeNow) -> String {
    let sign = if matches!(node.state, "leader" | "follower") {
        '●'
    } else {
        '○'
    };
    match node.revision {
        Some(revision) => format!("{} {} {sign} rev {revision}", node.name, node.state),
        None => format!("{} {} {sign}", node.name, node.state),
    }
}

impl Rates {
    /// Operations a second since the last call.
    fn add(&mut self, at_s: f64, operations: u64) -> f64 {
        let rate = match self.before {
            Some((before_s, before)) if at_s > before_s => {
                (operations.saturating_sub(before)) as f64 / (at_s - before_s)
            }
            _ => 0.0,
        };
        self.before = Some((at_s, operations));
        self.points.push(rate);
        if self.points.len() > POINTS {
            self.points.remove(0);
        }
        rate
    }

    fn chart(&self) -> String {
        let most = self.points.iter().copied().fold(1.0, f64::max);
        let bar = |rate: &f64| {
            // Between 0 and 7 by construction.
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "0 to 7"
            )]
            let height = (rate / most * 7.0).round() as usize;
            BARS[height.min(7)]
        };
        self.points.iter().map(bar).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chart_scales_to_its_highest_point() {
        let mut rates = Rates::default();
        assert!(rates.add(0.0, 0).abs() < 1e-9);
        assert!((rates.add(1.0, 100) - 100.0).abs() < 1e-9);
        assert!((rates.add(2.0, 150) - 50.0).abs() < 1e-9);
        assert_eq!(rates.chart(), "▁█▅");
    }
}
