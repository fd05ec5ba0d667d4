//! Coverage is which errors each call can be made to meet on this machine, and by which engine; of the others, why not.

use murphy_sys::syscalls::{Call, Errno};
use serde::Serialize;

use super::{
    engine::Engine,
    names::Calls,
    realism::{self, Rank},
    rules::Rules,
    spec::{Act, Pick, Spec},
};
use crate::ratio::Ratio;

/// What can be done to a call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Covered {
    /// Which call.
    pub call: String,
    /// The errors that it can be made to meet, the likeliest first.
    pub errors: Vec<Met>,
    /// By which engines, some of its errors at least, the first one of them by itself; none where it is refused.
    pub engines: Vec<&'static str>,
    /// Why it is refused, or only done where somebody insists.
    pub why: Option<String>,
}

/// An error that a call can be made to meet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Met {
    /// Which.
    pub errno: String,
    /// Whether the environment of a correct program does it: neither noise nor a mistake of its own.
    pub is_environmental: bool,
}

/// Every call of which it is known how it fails, by engines that work here.
pub fn coverage(engines: &[Engine]) -> Vec<Covered> {
    let mut calls: Vec<Call> = realism::calls().collect();
    calls.sort_by_key(ToString::to_string);
    calls.dedup();
    calls
        .into_iter()
        .map(|call| covered(call, engines))
        .collect()
}

fn covered(call: Call, engines: &[Engine]) -> Covered {
    let guarded = realism::guarded(call);
    let mut refused = realism::denied(call).map(str::to_owned);
    let mut errors = Vec::new();
    let mut able: Vec<Engine> = Vec::new();
    // That one only where it is asked for: it does what a patch does, and everything else slowly.
    let engines: Vec<Engine> = engines
        .iter()
        .copied()
        .filter(|engine| *engine != Engine::Ptrace)
        .collect();
    for (errno, rank) in realism::errors(call) {
        match rules(call, errno, guarded.is_some()) {
            Ok((spec, rules)) => {
                errors.push(Met {
                    errno: errno.to_string(),
                    is_environmental: rank == Rank::Environmental,
                });
                let does = |engine: &&Engine| {
                    **engine == Engine::Patch
                        || engine.failures(std::slice::from_ref(&spec), &rules).is_ok()
                };
                able.extend(engines.iter().filter(does));
            }
            Err(error) => {
                refused.get_or_insert(error);
            }
        }
    }
    let able = engines.iter().filter(|engine| able.contains(engine));
    Covered {
        call: call.to_string(),
        engines: able.map(|engine| engine.name()).collect(),
        why: match guarded {
            Some(why) => Some(format!("only with --force: {why}")),
            None if errors.is_empty() => refused,
            None => None,
        },
        errors,
    }
}

/// What an injection of it would be.
fn rules(call: Call, errno: Errno, force: bool) -> Result<(Spec, Rules), String> {
    let calls: Calls = call
        .to_string()
        .parse()
        .map_err(|error| format!("{error}"))?;
    let spec = Spec {
        calls: vec![calls],
        act: Act::Fail { errno, when: None },
        rate: Ratio::nearest(0.5),
        pick: Pick::Each,
        paths: None,
        kinds: Vec::new(),
        descriptors: None,
        force,
    };
    let rules = spec.rules().map_err(|error| error.to_string())?;
    Ok((spec, rules))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_call_is_covered_or_says_why_not() {
        let all = coverage(&Engine::ALL);
        assert!(all.len() > 80, "{}", all.len());
        for one in &all {
            assert!(
                !one.engines.is_empty() && !one.errors.is_empty() || one.why.is_some(),
                "{one:?}"
            );
        }
        let named = |name: &str| {
            all.iter()
                .find(|one| one.call == name)
                .expect("it is known")
        };
        let fsync = named("fsync");
        assert_eq!(fsync.engines, ["patch"]);
        assert_eq!(named("read").engines, ["patch", "lsm", "fmod_ret"]);
        assert_eq!(named("bind").engines.len(), 4);
        assert!(
            fsync
                .errors
                .iter()
                .any(|one| one.errno == "EIO" && one.is_environmental)
        );
        assert!(
            named("futex")
                .why
                .as_ref()
                .is_some_and(|why| why.contains("--force"))
        );
        assert!(coverage(&[]).iter().all(|one| one.engines.is_empty()));
    }
}
