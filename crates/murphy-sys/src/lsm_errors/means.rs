//! The means are how programs come to be asked: as a security module, or in place of all of them. Which of them works is found
//! by trial, and never by what the kernel was configured with: hardened ones refuse what they have.

use std::{
    collections::BTreeSet,
    fmt, fs,
    io::{self, ErrorKind},
    os::fd::{FromRawFd, OwnedFd},
    path::Path,
    sync::OnceLock,
};

use libbpf_rs::btf::{Btf, types};

use super::{Hook, LsmEngineError, LsmErrors, hook::functions_of};
use crate::{
    bpf,
    failures::{Order, Pick, Programs, ProgramsError, Rule, Scope, Whose, is_first_pid_namespace},
    syscalls::{Call, Errno},
};

#[cfg(target_arch = "x86_64")]
const OBJECTS: Option<[&[u8]; 2]> = Some([
    include_bytes!(concat!(env!("OUT_DIR"), "/lsm_errors.bpf.o")),
    include_bytes!(concat!(env!("OUT_DIR"), "/fmod_errors.bpf.o")),
]);
#[cfg(not(target_arch = "x86_64"))]
const OBJECTS: Option<[&[u8]; 2]> = None;

/// How programs come to be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Means {
    /// As a security module, beside others: `lsm`.
    Lsm,
    /// Before the functions that ask all modules: `fmod_ret` on `security_*`.
    FmodRet,
}

impl fmt::Display for Means {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Lsm => "lsm",
            Self::FmodRet => "fmod_ret",
        })
    }
}

impl Means {
    /// Both, the better first.
    pub const ALL: [Self; 2] = [Self::Lsm, Self::FmodRet];

    /// The ones by which a program was asked on this kernel. Once found they are remembered.
    pub(super) fn find() -> Result<Self, LsmEngineError> {
        static FOUND: OnceLock<Means> = OnceLock::new();
        if let Some(means) = FOUND.get() {
            return Ok(*means);
        }
        may_try()?;
        let means = match Self::Lsm.trial() {
            Ok(()) => Self::Lsm,
            // The other way stands at functions as well, and needs the same privileges.
            Err(error) if error.is_of_both() => return Err(error),
            Err(lsm) => match Self::FmodRet.trial() {
                Ok(()) => Self::FmodRet,
                Err(fmod_ret) => {
                    return Err(LsmEngineError::Neither {
                        lsm: lsm.into(),
                        fmod_ret: fmod_ret.into(),
                    });
                }
            },
        };
        Ok(*FOUND.get_or_init(|| means))
    }

    /// Asks this kernel whether programs are asked by these means: one is, about a file that this process opens, and has
    /// nothing fail.
    pub fn trial(self) -> Result<(), LsmEngineError> {
        let calls = Hook::Open.calls().iter();
        let never = Rule {
            calls: calls.filter_map(|name| Call::named(name)).collect(),
            errno: Errno::named("EIO").ok_or(LsmEngineError::Architecture)?,
            chance: 0,
            pick: Pick::Each,
            most: Some(0),
            scope: Scope::default(),
        };
        let order = Order {
            active: true,
            ..Order::default()
        };
        let tried = LsmErrors::attach_by(self, &order, &[never])?;
        tried.watch(std::process::id())?;
        let opened = fs::File::open("/proc/self/status");
        opened.map_err(|source| LsmEngineError::Refused {
            what: "open /proc/self/status",
            source,
        })?;
        let seen = tried.counts()?.iter().any(|counts| counts.seen > 0);
        match self {
            _ if seen => Ok(()),
            Self::FmodRet => Err(LsmEngineError::NeverAsked { means: self }),
            Self::Lsm => Err(inactive()),
        }
    }

    /// The programs.
    pub(super) fn object(self) -> Result<&'static [u8], LsmEngineError> {
        let [lsm, fmod_ret] = OBJECTS.ok_or(LsmEngineError::Architecture)?;
        Ok(match self {
            Self::Lsm => lsm,
            Self::FmodRet => fmod_ret,
        })
    }

    /// What the kernel calls a function.
    fn name_of(self, function: &str) -> String {
        match self {
            Self::Lsm => format!("bpf_lsm_{function}"),
            Self::FmodRet => format!("security_{function}"),
        }
    }

    /// What is missing where a program is refused: whoever may load others may not load the smallest at a function.
    pub(super) fn explain(self, error: ProgramsError) -> LsmEngineError {
        let is_refused = matches!(error, ProgramsError::Refused { .. });
        match load_at_function() {
            Err(source) if is_refused && self.may_load_others() => LsmEngineError::Trampolines {
                means: self,
                source,
            },
            _ => error.into(),
        }
    }

    /// Whether those programs are allowed that stand at no function.
    fn may_load_others(self) -> bool {
        let order = Order::default();
        self.object().is_ok_and(|object| {
            let loaded = Programs::<Hook>::load(object, &[], Whose::Family, &order, &[]);
            loaded.is_ok()
        })
    }
}

/// Loads a program that does nothing, at a function that every kernel with BTF has.
fn load_at_function() -> io::Result<()> {
    let kernel = Btf::from_vmlinux().map_err(io::Error::other)?;
    let function = kernel.type_by_name::<types::Func<'_>>("security_file_open");
    let function = function.ok_or(ErrorKind::NotFound)?.type_id();
    // r0 = 0; exit
    let (zero, exit) = (instruction(0xb7), instruction(0x95));
    let mut asked = libbpf_sys::bpf_prog_load_opts {
        sz: size_of::<libbpf_sys::bpf_prog_load_opts>() as libbpf_sys::size_t,
        expected_attach_type: libbpf_sys::BPF_MODIFY_RETURN,
        attach_btf_id: function.into(),
        ..Default::default()
    };
    // SAFETY: the instructions, their licence and the options live until the call returns, and are as many as it is told.
    let loaded = unsafe {
        libbpf_sys::bpf_prog_load(
            libbpf_sys::BPF_PROG_TYPE_TRACING,
            c"murphy_trial".as_ptr(),
            c"GPL".as_ptr(),
            [zero, exit].as_ptr(),
            2,
            &raw mut asked,
        )
    };
    if loaded < 0 {
        return Err(io::Error::from_raw_os_error(-loaded));
    }
    // SAFETY: the kernel has just made this descriptor, and nobody else knows of it.
    drop(unsafe { OwnedFd::from_raw_fd(loaded) });
    Ok(())
}

/// One whose registers and numbers are 0.
fn instruction(code: u8) -> libbpf_sys::bpf_insn {
    libbpf_sys::bpf_insn {
        code,
        ..Default::default()
    }
}

/// What no program can do without.
fn may_try() -> Result<(), LsmEngineError> {
    OBJECTS.ok_or(LsmEngineError::Architecture)?;
    if !is_first_pid_namespace() {
        return Err(LsmEngineError::PidNamespace);
    }
    if !Path::new("/sys/kernel/btf/vmlinux").exists() {
        return Err(LsmEngineError::NoBtf);
    }
    Ok(())
}

/// Which modules are in use, to say how to boot with one more. The first of them all is always there, and never said.
fn inactive() -> LsmEngineError {
    let Ok(listed) = fs::read_to_string("/sys/kernel/security/lsm") else {
        return LsmEngineError::InactiveUnlisted;
    };
    let modules = listed.trim().split(',').filter(|one| *one != "capability");
    LsmEngineError::Inactive {
        active: modules.collect::<Vec<_>>().join(","),
    }
}

/// The functions of this kernel that ask security modules, by their names; read once.
fn functions_of_kernel() -> Result<&'static BTreeSet<String>, LsmEngineError> {
    static FOUND: OnceLock<BTreeSet<String>> = OnceLock::new();
    may_try()?;
    if let Some(found) = FOUND.get() {
        return Ok(found);
    }
    let kernel = Btf::from_vmlinux().map_err(|error| LsmEngineError::Refused {
        what: "read /sys/kernel/btf/vmlinux",
        source: io::Error::new(bpf::kind(&error), error),
    })?;
    let known = functions_of(Hook::ALL).into_iter().flat_map(|(name, _)| {
        let names = Means::ALL.map(|means| means.name_of(name));
        names.into_iter()
    });
    let is_there = |name: &String| kernel.type_by_name::<types::Func<'_>>(name).is_some();
    Ok(FOUND.get_or_init(|| known.filter(is_there).collect()))
}

/// The functions at which programs stand for some hooks, without those that the kernel may lack, and does.
pub(super) fn needed_by(
    means: Means,
    hooks: impl IntoIterator<Item = Hook>,
) -> Result<BTreeSet<&'static str>, LsmEngineError> {
    let kernel = functions_of_kernel()?;
    let has = |function| kernel.contains(&means.name_of(function));
    if means == Means::Lsm && !has("file_open") {
        return Err(LsmEngineError::NoLsm);
    }
    let mut needed = BTreeSet::new();
    for hook in hooks {
        for (function, is_optional) in functions_of([hook]) {
            if has(function) {
                needed.insert(function);
            } else if !is_optional {
                return Err(LsmEngineError::NoFunction {
                    means,
                    hook,
                    function: means.name_of(function),
                });
            }
        }
    }
    Ok(needed)
}

/// Asks this kernel whether calls can fail where it asks its security modules: none does. Says by which means they can.
pub fn trial() -> Result<Means, LsmEngineError> {
    Means::find()
}

/// Asks this kernel about one hook, by means that it has: its programs are attached, for nobody.
pub fn trial_at(means: Means, hook: Hook) -> Result<(), LsmEngineError> {
    LsmErrors::attach_at(means, [hook], &Order::default(), &[]).map(drop)
}
