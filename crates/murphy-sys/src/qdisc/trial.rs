//! A trial makes a piece of traffic control in a network namespace that vanishes with it, and so finds out whether this
//! kernel has that piece.
//!
//! Nothing is changed, but that the kernel may load the module that it finds: what then works is what Murphy would use.

use std::{
    fmt,
    num::{NonZeroU16, NonZeroU64},
    os::fd::{AsFd, FromRawFd, OwnedFd},
    ptr,
};

use libbpf_sys::{BPF_PROG_TYPE_SCHED_CLS, bpf_prog_load};
use nix::errno::Errno;

use super::{
    Discipline, Handle, Netem, Place, Prio, QdiscError, Tbf, add,
    filter::{self, Classifier, FilterPlace, Program, Verdict},
    ifb, list, netem,
};
use crate::{namespace::NetNamespace, netlink::attribute};

/// A piece of the kernel's traffic control.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Feature {
    /// The qdisc netem.
    Netem,
    /// Repeatable draws of netem.
    NetemSeed,
    /// The qdisc tbf.
    Tbf,
    /// The qdisc prio.
    Prio,
    /// The qdisc clsact.
    Clsact,
    /// The filter that asks a BPF program.
    ClsBpf,
    /// The filter that takes every packet.
    Matchall,
    /// The action that sends a packet to another device.
    Mirred,
    /// Devices that lend their qdisc.
    Ifb,
}

/// Why a piece cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TrialError {
    /// The kernel does not have it.
    #[error(
        "find {feature} in this kernel: {why}; it comes with {}, as the module {}", .feature.config(), .feature.module()
    )]
    Missing {
        /// What.
        feature: Feature,
        /// The kernel's answer.
        #[source]
        why: Box<QdiscError>,
    },
    /// The kernel takes it and does nothing with it.
    #[error("find {0} in this kernel: it comes with Linux 6.6")]
    Ignored(Feature),
    /// The kernel may have it.
    #[error("try {feature}: {why}")]
    Failed {
        /// What.
        feature: Feature,
        /// The kernel's answer.
        #[source]
        why: Box<QdiscError>,
    },
    /// No BPF program may be loaded.
    #[error(
        "load a BPF program for {feature}: {errno} (needs CAP_BPF and CAP_NET_ADMIN, and CONFIG_BPF_SYSCALL)"
    )]
    Program {
        /// What.
        feature: Feature,
        /// The kernel's answer.
        errno: Errno,
    },
}

/// The loopback of a namespace: it is there from the beginning, and down.
const LOOPBACK: u32 = 1;
/// The name of an ifb that is tried.
const IFB: &str = "mphy-trial";

impl Feature {
    /// Every one.
    pub const ALL: [Self; 9] = [
        Self::Netem,
        Self::NetemSeed,
        Self::Tbf,
        Self::Prio,
        Self::Clsact,
        Self::ClsBpf,
        Self::Matchall,
        Self::Mirred,
        Self::Ifb,
    ];

    /// The option with which the kernel must be built.
    pub fn config(self) -> &'static str {
        match self {
            Self::Netem | Self::NetemSeed => "CONFIG_NET_SCH_NETEM",
            Self::Tbf => "CONFIG_NET_SCH_TBF",
            Self::Prio => "CONFIG_NET_SCH_PRIO",
            Self::Clsact => "CONFIG_NET_SCH_INGRESS",
            Self::ClsBpf => "CONFIG_NET_CLS_BPF",
            Self::Matchall => "CONFIG_NET_CLS_MATCHALL",
            Self::Mirred => "CONFIG_NET_ACT_MIRRED",
            Self::Ifb => "CONFIG_IFB",
        }
    }

    /// The module in which it may be.
    pub fn module(self) -> &'static str {
        match self {
            Self::Netem | Self::NetemSeed => "sch_netem",
            Self::Tbf => "sch_tbf",
            Self::Prio => "sch_prio",
            Self::Clsact => "sch_ingress",
            Self::ClsBpf => "cls_bpf",
            Self::Matchall => "cls_matchall",
            Self::Mirred => "act_mirred",
            Self::Ifb => "ifb",
        }
    }

    /// Asks this kernel.
    pub fn trial(self) -> Result<(), TrialError> {
        let scratch = NetNamespace::create().map_err(|error| self.failed(error.into()))?;
        let tried = match self {
            Self::Netem => root(&scratch, &Discipline::Netem(Netem::default())),
            Self::NetemSeed => return seed(&scratch),
            Self::Tbf => root(
                &scratch,
                &Discipline::Tbf(Tbf {
                    bytes_per_second: NonZeroU64::MIN,
                    burst_bytes: 1 << 17,
                    limit_bytes: 1,
                }),
            ),
            Self::Prio => root(&scratch, &Discipline::Prio(Prio::first_but_for_filters(2))),
            Self::Clsact => clsact(&scratch),
            Self::ClsBpf => return self.bpf(&scratch, None),
            Self::Matchall => {
                let verdict = Verdict::Class(Handle::CLSACT.class(1));
                return self.filter(&scratch, &Classifier::Matchall(verdict));
            }
            Self::Mirred => {
                Self::ClsBpf.trial()?;
                let ifindex = LOOPBACK;
                return self.bpf(&scratch, Some(Verdict::Redirect { ifindex }));
            }
            Self::Ifb => ifb::add(&scratch, IFB).map(|_| ()),
        };
        tried.map_err(|why| self.failed(why))
    }

    /// A program that decides, or says whether the verdict is meant.
    fn bpf(self, scratch: &NetNamespace, verdict: Option<Verdict>) -> Result<(), TrialError> {
        let loaded = program()?;
        let program = Program {
            fd: loaded.as_fd(),
            name: "trial",
        };
        let classifier = match verdict {
            None => Classifier::BpfDirect(program),
            Some(verdict) => Classifier::Bpf(program, verdict),
        };
        self.filter(scratch, &classifier)
    }

    fn filter(self, scratch: &NetNamespace, classifier: &Classifier<'_>) -> Result<(), TrialError> {
        clsact(scratch).map_err(|why| Self::Clsact.failed(why))?;
        let place = FilterPlace {
            ifindex: LOOPBACK,
            parent: Handle::EGRESS,
            priority: NonZeroU16::MIN,
        };
        filter::add(scratch, place, classifier).map_err(|why| self.failed(why))?;
        Ok(())
    }

    fn failed(self, why: QdiscError) -> TrialError {
        let (feature, why) = (self, Box::new(why));
        match why.errno() {
            Some(Errno::ENOENT | Errno::EOPNOTSUPP) => TrialError::Missing { feature, why },
            _ => TrialError::Failed { feature, why },
        }
    }
}

impl fmt::Display for Feature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Netem => "the qdisc netem",
            Self::NetemSeed => "the seed of the qdisc netem",
            Self::Tbf => "the qdisc tbf",
            Self::Prio => "the qdisc prio",
            Self::Clsact => "the qdisc clsact",
            Self::ClsBpf => "the classifier bpf",
            Self::Matchall => "the classifier matchall",
            Self::Mirred => "the action mirred",
            Self::Ifb => "links of the kind ifb",
        })
    }
}

fn place() -> Place {
    Place {
        ifindex: LOOPBACK,
        parent: Handle::ROOT,
        handle: Handle::qdisc(1),
    }
}

fn root(scratch: &NetNamespace, discipline: &Discipline) -> Result<(), QdiscError> {
    add(scratch, place(), discipline).map(|_| ())
}

fn clsact(scratch: &NetNamespace) -> Result<(), QdiscError> {
    add(scratch, Place::clsact(LOOPBACK), &Discipline::Clsact).map(|_| ())
}

/// A kernel that does not know the seed takes it without a word, and does not say it back.
fn seed(scratch: &NetNamespace) -> Result<(), TrialError> {
    let seeded = Netem {
        seed: Some(1),
        ..Netem::default()
    };
    let made = root(scratch, &Discipline::Netem(seeded));
    made.map_err(|why| Feature::Netem.failed(why))?;
    let there = list(scratch, LOOPBACK).map_err(|why| Feature::NetemSeed.failed(why))?;
    let says_it = |options: &[u8]| attribute(options, netem::SEED).is_some();
    let options = |qdisc: &super::Qdisc| qdisc.options.get(netem::OPTIONS..).is_some_and(says_it);
    if there.iter().any(options) {
        Ok(())
    } else {
        Err(TrialError::Ignored(Feature::NetemSeed))
    }
}

/// A program that lets every packet through: `r0 = TC_ACT_OK; exit`.
fn program() -> Result<OwnedFd, TrialError> {
    const INSTRUCTIONS: [[u8; 8]; 2] = [[0xb7, 0, 0, 0, 0, 0, 0, 0], [0x95, 0, 0, 0, 0, 0, 0, 0]];
    let instructions = INSTRUCTIONS.map(u64::from_ne_bytes);
    // SAFETY: an instruction is of eight bytes, aligned to four; there are as many as said, which live longer than the
    // call; both texts end with a zero; no options are a null pointer.
    let fd = unsafe {
        bpf_prog_load(
            BPF_PROG_TYPE_SCHED_CLS,
            c"trial".as_ptr(),
            c"Dual BSD/GPL".as_ptr(),
            instructions.as_ptr().cast(),
            instructions.len() as u64,
            ptr::null_mut(),
        )
    };
    if fd < 0 {
        return Err(TrialError::Program {
            feature: Feature::ClsBpf,
            errno: Errno::from_raw(fd.saturating_neg()),
        });
    }
    // SAFETY: the kernel has just given it to us, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
