//! An engine is a way to have system calls fail: each does some of what may be asked, on some machines.

use std::{fmt, str::FromStr};

use murphy_sys::{
    call_tracer, cgroup_errors, failures,
    lsm_errors::{self, Means},
    patch::{self, Only},
    syscalls::{Call, Errno},
};
use serde::Serialize;

use super::{
    SyscallError,
    rules::Rules,
    spec::{Act, Kind, Spec, SpecError},
};

/// One of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Engine {
    /// In the code of the target: everything.
    #[default]
    Patch,
    /// By programs of the cgroup, in the kernel.
    Cgroup,
    /// By programs that are a security module, in the kernel.
    Lsm,
    /// By programs before the functions that ask all security modules, in the kernel.
    FmodRet,
    /// By stopping the target at each of its calls.
    Ptrace,
}

/// What programs in the kernel are told.
#[derive(Clone, Debug, PartialEq)]
pub struct Failures {
    /// One rule for each call.
    pub rules: Vec<(Call, failures::Rule)>,
    /// Calls of families and classes that are not hit.
    pub left_out: Vec<Call>,
}

impl Engine {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Patch,
        Self::Cgroup,
        Self::Lsm,
        Self::FmodRet,
        Self::Ptrace,
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Patch => super::ENGINE,
            Self::Cgroup => "cgroup",
            Self::Lsm => "lsm",
            Self::FmodRet => "fmod_ret",
            Self::Ptrace => "ptrace",
        }
    }

    /// What it is good for.
    pub fn does(self) -> &'static str {
        match self {
            Self::Patch => "calls of running programs fail, come late, or do half",
            Self::Cgroup => {
                "connect, bind, socket and sends of datagrams fail, the target untouched"
            }
            Self::Lsm => "calls that security modules are asked about fail, the target untouched",
            Self::FmodRet => "the same where BPF is no security module",
            Self::Ptrace => {
                "calls of any code fail or come late, all of them a hundred times slower"
            }
        }
    }

    /// Asks this machine whether it works.
    pub fn trial(self) -> Result<(), SyscallError> {
        match self.means() {
            Some(means) => Ok(means.trial()?),
            None if self == Self::Cgroup => Ok(cgroup_errors::trial()?),
            None if self == Self::Ptrace => Ok(call_tracer::trial()?),
            None => super::trial(),
        }
    }

    /// How programs come to be asked by it, where that is at functions of the kernel.
    pub(super) fn means(self) -> Option<Means> {
        match self {
            Self::Lsm => Some(Means::Lsm),
            Self::FmodRet => Some(Means::FmodRet),
            Self::Patch | Self::Cgroup | Self::Ptrace => None,
        }
    }

    /// Whether it is by programs in the kernel.
    pub fn is_in_kernel(self) -> bool {
        match self {
            Self::Cgroup | Self::Lsm | Self::FmodRet => true,
            Self::Patch | Self::Ptrace => false,
        }
    }

    /// Whether it does such a thing to calls.
    pub fn check(self, spec: &Spec) -> Result<(), SpecError> {
        if self == Self::Ptrace && matches!(spec.act, Act::Short) {
            let rules = spec.rules()?;
            let call = rules.rules.first().map(|(call, _)| *call);
            let what =
                "half of what was asked for, where a register would stay changed if Murphy died";
            return Err(call.map_or(SpecError::NoCall, |call| self.refusal(call, what)));
        }
        Ok(())
    }

    /// Whether it has such a call fail at all.
    fn covers(self, call: Call) -> bool {
        match self {
            Self::Patch | Self::Ptrace => true,
            Self::Cgroup => cgroup_errors::covers(call).is_some(),
            Self::Lsm | Self::FmodRet => lsm_errors::covers(call).is_some(),
        }
    }

    /// The same rules for programs in the kernel. Of a family or a class those calls are left out that they are not asked about.
    pub fn failures(self, specs: &[Spec], rules: &Rules) -> Result<Failures, SpecError> {
        let is_meant = |call: &Call| rules.rules.iter().any(|(one, _)| one == call);
        for calls in specs.iter().flat_map(|spec| &spec.calls) {
            let mut meant = calls.iter().filter(is_meant);
            if let Some(call) = meant.next()
                && !self.covers(call)
                && !meant.any(|call| self.covers(call))
            {
                return Err(
                    self.refusal(call, "such a call, about which the kernel asks no program")
                );
            }
        }
        let mut failures = Failures {
            rules: Vec::new(),
            left_out: Vec::new(),
        };
        for (call, rule) in &rules.rules {
            if self.covers(*call) {
                failures.rules.push((*call, self.failure(*call, rule)?));
            } else {
                failures.left_out.push(*call);
            }
        }
        let all: Vec<_> = failures
            .rules
            .iter()
            .map(|(_, rule)| rule.clone())
            .collect();
        match self {
            Self::Cgroup => cgroup_errors::check(&all)?,
            Self::Patch | Self::Ptrace | Self::Lsm | Self::FmodRet => lsm_errors::check(&all)?,
        }
        Ok(failures)
    }

    fn refusal(self, call: Call, what: &'static str) -> SpecError {
        SpecError::NotByEngine {
            call,
            engine: self,
            what,
        }
    }

    fn failure(self, call: Call, rule: &patch::Rule) -> Result<failures::Rule, SpecError> {
        let refused = |what| Err(self.refusal(call, what));
        let errno = match rule.act {
            patch::Act::Fail(errno) => Errno::of(errno),
            patch::Act::BreakPipe(_) if self == Self::Cgroup => {
                return refused("EPIPE, which comes with a signal");
            }
            patch::Act::BreakPipe(_) => Errno::named("EPIPE"),
            patch::Act::FailAfter(_) => return refused("a failure once it was made (--fail exit)"),
            patch::Act::Delay(_) => return refused("a delay"),
            patch::Act::Short => return refused("half of what was asked for"),
            patch::Act::Skew(_) => return refused("a skew of clocks"),
        };
        let Some(errno) = errno else {
            return refused("such an error");
        };
        if rule.pick.is_of_objects() {
            return refused("a choice by what was hit before (--sticky, --once)");
        }
        let mut scope = failures::Scope::default();
        for only in &rule.only {
            match only {
                // All that it is asked about are sockets.
                Only::Kinds(kinds) if self == Self::Cgroup => {
                    if !kinds.contains(&Kind::Socket.bits()) {
                        return refused("descriptors of other kinds than sockets");
                    }
                }
                Only::Kinds(kinds) => scope.kinds.clone_from(kinds),
                Only::NonBlocking => scope.waiting = failures::Waiting::Never,
                Only::Device(device) => scope.device = Some(*device),
                // Security modules are asked about locks, and about nothing else of `fcntl`.
                Only::Operation { .. } => {}
                Only::Descriptors(..) => return refused("a choice by descriptor (--fd)"),
                Only::DescriptorPath(_) | Only::Path(..) => {
                    return refused("a choice by path (--path)");
                }
            }
        }
        Ok(failures::Rule {
            calls: [call].into(),
            errno,
            chance: rule.chance,
            pick: rule.pick,
            most: None,
            scope,
        })
    }
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Engine {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        let named = Self::ALL.into_iter().find(|engine| engine.name() == text);
        named.ok_or_else(|| SpecError::Engine(text.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        ratio::Ratio,
        span::Span,
        syscall::{Act, Pick, When, spec::errno},
    };
    use std::time::Duration;

    fn spec(calls: &str, error: &str) -> Spec {
        Spec {
            calls: vec![calls.parse().unwrap()],
            act: Act::Fail {
                errno: errno(error).unwrap(),
                when: None,
            },
            rate: Ratio::nearest(0.25),
            pick: Pick::Each,
            paths: None,
            kinds: Vec::new(),
            descriptors: None,
            force: false,
        }
    }

    fn told(engine: Engine, spec: Spec) -> Result<Failures, SpecError> {
        let rules = spec.rules().unwrap();
        engine.failures(&[spec], &rules)
    }

    fn names(failures: &Failures) -> Vec<String> {
        let calls = failures.rules.iter().map(|(call, _)| call.to_string());
        calls.collect()
    }

    #[test]
    fn rules_are_those_of_the_calls_that_the_kernel_asks_about() {
        let told_write = told(Engine::Lsm, spec("write", "ENOSPC")).unwrap();
        assert_eq!(names(&told_write).len(), 5);
        for (call, rule) in &told_write.rules {
            assert_eq!(rule.calls, [*call].into());
            assert_eq!(rule.chance, 1 << 30);
            assert!(rule.scope.kinds.contains(&Kind::File.bits()));
        }
        // Of a family some are left out; of one call that is an error.
        let files = told(Engine::FmodRet, spec("fsync", "EIO")).unwrap_err();
        assert!(
            files.to_string().contains("fsync by engine fmod_ret"),
            "{files}"
        );
        let mut two = spec("connect", "EINTR");
        two.calls.push("%network".parse().unwrap());
        let two = told(Engine::Cgroup, two).unwrap();
        assert!(names(&two).contains(&"connect".into()), "{two:?}");
        assert!(!two.left_out.is_empty(), "{two:?}");
        let waits_not = told(Engine::Lsm, spec("recvfrom", "EAGAIN")).unwrap();
        assert_eq!(waits_not.rules[0].1.scope.waiting, failures::Waiting::Never);
    }

    #[test]
    fn what_programs_of_the_kernel_cannot_do_is_refused_by_its_name() {
        let asked = || spec("openat", "EACCES");
        let by_path = Spec {
            paths: Some("/etc/*".parse().unwrap()),
            ..asked()
        };
        let by_descriptor = Spec {
            descriptors: Some("3".parse().unwrap()),
            ..spec("read", "EIO")
        };
        let later = Spec {
            act: Act::Delay(Span(Duration::from_millis(1))),
            ..asked()
        };
        let for_good = Spec {
            pick: Pick::Sticky,
            ..spec("read", "ECONNRESET")
        };
        let at_exit = Spec {
            act: Act::Fail {
                errno: errno("EACCES").unwrap(),
                when: Some(When::Exit),
            },
            ..spec("mkdir", "EACCES")
        };
        let no_socket = Spec {
            kinds: vec![Kind::File],
            ..spec("connect", "ECONNREFUSED")
        };
        for (engine, spec, said) in [
            (Engine::Lsm, by_path, "--path"),
            (Engine::Lsm, by_descriptor, "--fd"),
            (Engine::FmodRet, later, "a delay"),
            (Engine::Lsm, at_exit, "--fail exit"),
            (Engine::Lsm, for_good, "--sticky"),
            (Engine::Cgroup, no_socket, "other kinds than sockets"),
            (Engine::Cgroup, spec("sendto", "EPIPE"), "a signal"),
            (
                Engine::Cgroup,
                spec("sendto", "EAGAIN"),
                "whether a call waits",
            ),
        ] {
            let error = told(engine, spec).unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
        }
    }

    #[test]
    fn each_is_known_by_its_name() {
        for engine in Engine::ALL {
            assert_eq!(engine.name().parse(), Ok(engine));
        }
        let error = "strace".parse::<Engine>().unwrap_err().to_string();
        assert!(
            error.contains("patch, cgroup, lsm, fmod_ret or ptrace"),
            "{error}"
        );
        let half = Spec {
            act: Act::Short,
            ..spec("write", "EIO")
        };
        let error = Engine::Ptrace.check(&half).unwrap_err().to_string();
        assert!(error.contains("half of what was asked for"), "{error}");
        assert!(Engine::Patch.check(&half).is_ok());
    }
}
