//! What is asked of a campaign: errors of calls, each by itself, or the models and combinations of a file.

use std::{
    fs::File,
    io::{Read, stdin},
    path::Path,
    str::FromStr,
};

use clap::ValueEnum;
use murphy_amplify::{
    campaign::experiment::{Experiment, Natural, Part},
    model::{self, Again},
};
use murphy_fault::{
    ratio::Ratio,
    syscall::{
        Calls, Kind, Pick, Rules, Spec,
        spec::{SpecError, errno},
    },
};
use murphy_sys::syscalls::Errno;

use super::run::RunArgs;
use crate::exit::Failure;

/// An error, as it is asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct Asked {
    calls: Calls,
    kinds: Vec<Kind>,
    errno: Errno,
}

impl FromStr for Asked {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (what, errno_name) = text
            .split_once('=')
            .ok_or("say CALL=ERRNO, such as write=ENOSPC, or read/socket=ECONNRESET")?;
        let (calls, kinds) = what
            .split_once('/')
            .map_or((what, None), |(calls, kind)| (calls, Some(kind)));
        Ok(Self {
            calls: calls.parse().map_err(|error| format!("{error}"))?,
            kinds: kinds
                .map(|kind| kind.parse().map_err(|error| format!("{error}")))
                .into_iter()
                .collect::<Result<_, _>>()?,
            errno: errno(errno_name).map_err(|error| error.to_string())?,
        })
    }
}

/// What comes of a connection or file that was hit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum AgainArg {
    /// It fails for good.
    Fails,
    /// It passes the next time.
    Passes,
    /// It has the same chance.
    Either,
}

impl RunArgs {
    /// What is tried: errors as they were asked for, or the models of a file.
    pub(super) fn experiments(&self) -> Result<Vec<Experiment>, Failure> {
        let mut all = match &self.models {
            Some(path) => self.modelled(path)?,
            None => self.errors.iter().map(|asked| self.asked(asked)).collect(),
        };
        if self.no_search {
            for one in &mut all {
                one.first = one.up_to;
            }
        }
        for (place, one) in all.iter().enumerate() {
            // What no kernel says, and what no program survives, is refused before anything is touched.
            let specs = one.specs(one.up_to);
            if specs.is_empty() {
                return Err(Failure::input(format!(
                    "amplify: {} comes as often by nature as it would be injected: there is nothing to amplify",
                    one.name
                )));
            }
            self.can_inject(&specs).map_err(|error| {
                Failure::input(match &self.models {
                    Some(path) => format!("read {}: {}: {error}", path.display(), one.name),
                    None => error.to_string(),
                })
            })?;
            if all[..place].iter().any(|other| other.name == one.name) {
                return Err(Failure::input(format!(
                    "amplify: --error {} is there twice",
                    one.name
                )));
            }
        }
        Ok(all)
    }

    /// That there are such errors, and that the engine has calls fail so.
    fn can_inject(&self, specs: &[Spec]) -> Result<(), SpecError> {
        let rules = Rules::of(specs)?;
        specs.iter().try_for_each(|spec| self.engine.check(spec))?;
        if self.engine.is_in_kernel() {
            self.engine.failures(specs, &rules)?;
        }
        Ok(())
    }

    fn asked(&self, asked: &Asked) -> Experiment {
        let kind = asked.kinds.first();
        let kinds = kind.map_or(String::new(), |kind| format!("/{kind}"));
        Experiment {
            name: format!("{}{kinds}={}", asked.calls, asked.errno),
            parts: vec![Part {
                calls: asked.calls.clone(),
                errno: asked.errno,
                kinds: asked.kinds.clone(),
                force: self.force,
                natural: Natural::default(),
                weight: 1.0,
                pick: self.pick(asked),
            }],
            first: self.rate.unwrap_or(self.first).get(),
            up_to: self.rate.or(self.up_to).map_or(1.0, Ratio::get),
        }
    }

    /// Which of the calls of an error are hit, by a chance.
    fn pick(&self, asked: &Asked) -> Pick {
        let again = match self.again {
            // Programs in the kernel do not know what was hit before.
            None if self.cap.is_none() && !self.engine.is_in_kernel() => {
                Again::of(&asked.calls, asked.errno)
            }
            None | Some(AgainArg::Either) => None,
            Some(AgainArg::Fails) => Some(Again::Fails),
            Some(AgainArg::Passes) => Some(Again::Passes),
        };
        if let Some(again) = again {
            return again.pick();
        }
        let default =
            model::is_answered_at_once(asked.errno).then_some(model::Rule::DEFAULT.in_a_row);
        let cap = self.cap.or(default).filter(|cap| *cap > 0);
        cap.map_or(Pick::Each, Pick::AtMost)
    }

    /// The experiments of a file with models, in its order; combinations behind them.
    fn modelled(&self, path: &Path) -> Result<Vec<Experiment>, Failure> {
        let refused = |error: &dyn std::fmt::Display| {
            Failure::input(format!("read {}: {error}", path.display()))
        };
        let source: Box<dyn Read> = if path == Path::new("-") {
            Box::new(stdin())
        } else {
            Box::new(File::open(path).map_err(|error| refused(&error))?)
        };
        let models = model::file::read(source).map_err(|error| refused(&error))?;
        let is_meant = |name: &str, is_on: bool| {
            if self.only.is_empty() {
                is_on
            } else {
                self.only.iter().any(|only| only == name)
            }
        };
        let first = self.first.get();
        let mut all = Vec::new();
        for one in models
            .models
            .iter()
            .filter(|one| is_meant(&one.name, one.is_on))
        {
            all.push(one.experiment(first).map_err(|error| refused(&error))?);
        }
        for one in models
            .combinations
            .iter()
            .filter(|one| is_meant(&one.name, one.is_on))
        {
            let experiment = models.together(one, first).ok_or_else(|| {
                refused(&format!(
                    "the combination {} names a model that is not there",
                    one.name
                ))
            })?;
            all.push(experiment.map_err(|error| refused(&error))?);
        }
        if let Some(unknown) = self
            .only
            .iter()
            .find(|only| all.iter().all(|one| one.name != **only))
        {
            let names = models.models.iter().map(|one| one.name.as_str());
            let names: Vec<&str> = names
                .chain(models.combinations.iter().map(|one| one.name.as_str()))
                .collect();
            return Err(refused(&format!(
                "there is no {unknown}; there are {}",
                names.join(", ")
            )));
        }
        if all.is_empty() {
            return Err(refused(
                &"no model is on; set `inject: on`, or name one with --only",
            ));
        }
        for one in &mut all {
            if let Some(rate) = self.rate {
                (one.first, one.up_to) = (rate.get(), rate.get());
            } else if let Some(up_to) = self.up_to {
                one.up_to = up_to.get();
                one.first = one.first.min(one.up_to);
            }
        }
        Ok(all)
    }
}
