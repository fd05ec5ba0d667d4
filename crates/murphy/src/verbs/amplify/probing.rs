//! Probes that are watched while something is recorded, and how they were before.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use clap::Args;
use murphy_fault::span::Span;
use murphy_run::probe::{Figures, Pace, Probe, Prober, Tally, Watch};
use murphy_sys::signal::Interrupts;

use crate::{exit::Failure, output};

/// How often each probe looks before anything is attached.
const LOOKS_BEFORE: u32 = 20;
/// And for how long, at most.
const BEFORE_MAX: Duration = Duration::from_secs(10);

/// Which probes, and how often they look.
#[derive(Debug, Args)]
pub struct ProbingArgs {
    /// What tells that all is well: an http URL, tcp:HOST:PORT, command:WORDS, log:FILE!~PATTERN, prometheus:URL QUERY
    /// (docs/probes.md); repeatable.
    #[arg(long = "probe", value_name = "PROBE")]
    pub probes: Vec<Probe>,

    /// Each probe looks so often.
    #[arg(long, value_name = "TIME", default_value = "1s")]
    pub probe_every: Span,

    /// A look that takes longer has failed.
    #[arg(long, value_name = "TIME", default_value = "2s")]
    pub probe_limit: Span,
}

/// What one probe saw.
#[derive(Clone)]
struct Tallies {
    /// Since somebody asked.
    lately: Tally,
    all: Tally,
}

/// Probes that look.
pub struct Probing {
    watch: Watch,
    names: Vec<String>,
    tallies: Arc<Mutex<Vec<Tallies>>>,
    before: Vec<Figures>,
}

/// That no two probes have one name: nobody could tell what each saw.
pub fn differently_named(probes: &[Probe]) -> Result<(), Failure> {
    for (place, probe) in probes.iter().enumerate() {
        let name = probe.name();
        if probes[..place].iter().any(|other| other.name() == name) {
            return Err(Failure::input(format!(
                "amplify: two --probe are called {name:?}; give each its own name, such as `--probe other={}`",
                probe.kind()
            )));
        }
    }
    Ok(())
}

impl ProbingArgs {
    /// How often, and how long.
    pub fn pace(&self) -> Result<Pace, Failure> {
        Pace::new(self.probe_every.0, self.probe_limit.0).map_err(Failure::input)
    }

    /// How each is before anything is done: its latencies are held against those that come. None where somebody has ended it
    /// meanwhile.
    pub fn before(&self, interrupts: &Interrupts) -> Result<Option<Vec<Figures>>, Failure> {
        differently_named(&self.probes)?;
        let pace = self.pace()?;
        let mut all = Vec::new();
        for probe in &self.probes {
            let mut prober = Prober::new(probe, pace.limit()).map_err(Failure::machine)?;
            let mut tally = Tally::new();
            let began = Instant::now();
            for _ in 0..LOOKS_BEFORE {
                tally.add(&prober.look());
                let pause = pace.every().min(Duration::from_millis(100));
                let is_ended = interrupts.wait(pause);
                if is_ended
                    .map_err(|error| Failure::machine(format!("listen for Ctrl-C: {error}")))?
                {
                    return Ok(None);
                }
                // Looks that take long are fewer, and say as much.
                if began.elapsed() > BEFORE_MAX {
                    break;
                }
            }
            all.push(tally.figures());
        }
        Ok(Some(all))
    }

    /// Begins; none without probes.
    pub fn begin(&self, before: Vec<Figures>) -> Result<Option<Probing>, Failure> {
        if self.probes.is_empty() {
            return Ok(None);
        }
        let none = Tallies {
            lately: Tally::new(),
            all: Tally::new(),
        };
        let tallies = vec![none; self.probes.len()];
        let tallies = Arc::new(Mutex::new(tallies));
        let heard = Arc::clone(&tallies);
        let watch = Watch::start(&self.probes, self.pace()?, move |seen| {
            let mut tallies = heard.lock().unwrap_or_else(PoisonError::into_inner);
            let Some(Tallies { lately, all }) = tallies.get_mut(seen.probe) else {
                return;
            };
            for tally in [lately, all] {
                tally.skip(seen.skipped);
                tally.add(&seen.look);
            }
        });
        Ok(Some(Probing {
            watch: watch.map_err(Failure::machine)?,
            names: self.probes.iter().map(Probe::name).collect(),
            tallies,
            before,
        }))
    }
}

impl Probing {
    /// What was seen since this was asked last.
    pub fn take(&self) -> BTreeMap<String, Figures> {
        let mut tallies = self.tallies.lock().unwrap_or_else(PoisonError::into_inner);
        let lately = tallies.iter_mut().map(|one| &mut one.lately);
        let figures = lately.map(|tally| std::mem::take(tally).figures());
        self.names.iter().cloned().zip(figures).collect()
    }

    /// Ends, and says what the probes were before and meanwhile.
    pub fn end(self, json: bool) -> Result<(), Failure> {
        self.watch.stop().map_err(Failure::machine)?;
        if json {
            return Ok(());
        }
        let ms = |us: Option<u64>| {
            us.map_or("–".to_owned(), |us| format!("{:.2} ms", us as f64 / 1e3))
        };
        let tallies = self.tallies.lock().unwrap_or_else(PoisonError::into_inner);
        for ((name, before), since) in self.names.iter().zip(&self.before).zip(&*tallies) {
            let since = since.all.figures();
            output::note(&format!(
                "probe {name}: {} of {} passed, {}; before anything was attached {} of {}, {}",
                since.passed,
                since.made,
                ms(since.p50_us),
                before.passed,
                before.made,
                ms(before.p50_us),
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_probes_of_one_name_are_refused_by_that_name() {
        let probes = |texts: &[&str]| -> Vec<Probe> {
            texts.iter().map(|text| text.parse().unwrap()).collect()
        };
        let apart = probes(&["up=tcp:127.0.0.1:1", "tcp:127.0.0.1:1"]);
        assert_eq!(differently_named(&apart), Ok(()));
        for twice in [
            ["up=tcp:127.0.0.1:1", "up=tcp:127.0.0.1:2"],
            ["tcp:127.0.0.1:1", "tcp:127.0.0.1:1"],
        ] {
            let refused = differently_named(&probes(&twice)).unwrap_err();
            assert!(refused.message.contains("--probe"), "{}", refused.message);
        }
    }
}
