//! A rule is what is done to some calls of a program: to which, to how many of them, and what.

use std::collections::BTreeSet;

use nix::libc;

use crate::syscalls::Call;

/// What is done to some of a program's calls.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// To which calls, by their number.
    pub call: u32,
    /// How many of them are hit, in 2^-32: all with 2^32.
    pub chance: u64,
    /// Which of those that are hit are meant.
    pub only: Vec<Only>,
    /// Which of those it is done to.
    pub pick: Pick,
    /// What is done.
    pub act: Act,
}

/// Which calls are meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Only {
    /// Those whose descriptor, the first argument, is neither below nor above these.
    Descriptors(u32, u32),
    /// Those whose descriptor is of one of these kinds, in the bits of `S_IFMT`.
    Kinds(Vec<u32>),
    /// Those whose descriptor does not wait: `O_NONBLOCK` is set.
    NonBlocking,
    /// Those whose descriptor is a file of this device, `st_dev`.
    Device(u64),
    /// Those whose descriptor is a file whose path begins so, by `/proc/self/fd`; with a NUL behind it, is so.
    DescriptorPath(Vec<u8>),
    /// Those that are given a path that begins so, as it is given, in this argument (0 or 1); with a NUL behind it, that is so.
    Path(u8, Vec<u8>),
    /// Those whose second argument, masked, is one of these: the operation of a `futex(2)`.
    Operation {
        /// Its bits that count.
        mask: u32,
        /// What they may be.
        any: Vec<u32>,
    },
}

/// Which of the calls that are meant are hit, beside the chance of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pick {
    /// All that the chance hits.
    Each,
    /// Those of some turns, from 1 on: the first, the last, and how many on from one to the next.
    Turns {
        /// The first.
        first: u64,
        /// The last.
        last: u64,
        /// 1 for all of them.
        step: u64,
    },
    /// Those of bursts, by a chain of two states: how likely a burst begins with a call, and ends before the next one, in 2^-32
    /// each.
    Bursts {
        /// Of a call outside a burst, to begin one.
        begin: u64,
        /// Of a call in a burst, to be behind it.
        end: u64,
    },
    /// No more than so many in a row.
    AtMost(u64),
    /// Those that the chance hits, and from then on all of that connection or file: what is broken stays so. The last of
    /// [`REMEMBERED_MOST`] at most are remembered.
    Sticky,
    /// Those that the chance hits, but never two in a row of a connection or file: what is tried again passes.
    Once,
}

impl Pick {
    /// Whether it is remembered which connections and files were hit.
    pub fn is_of_objects(self) -> bool {
        matches!(self, Self::Sticky | Self::Once)
    }
}

/// How many connections and files are remembered that were hit.
pub const REMEMBERED_MOST: u64 = 64;

/// What is done to a call that is hit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// It fails, and is not made.
    Fail(u16),
    /// It fails with `EPIPE`, and its thread gets a `SIGPIPE`, unless its flags say that it wants none (`MSG_NOSIGNAL`): of those
    /// calls that have some, in this argument (2 or 3).
    BreakPipe(Option<u8>),
    /// It is made, and what came of it is lost: it fails, unless it has failed itself.
    FailAfter(u16),
    /// It is made for half as many bytes, one at least: of calls whose third argument is a length.
    Short,
    /// It is made so many nanoseconds later.
    Delay(u64),
    /// It is made, and the time that it tells is skewed by what stands at this address: the data of a hook in the program's vDSO. Of
    /// `clock_gettime`, `gettimeofday` and `time`, and without dice: all are skewed whose clock is.
    Skew(u64),
}

impl Rule {
    /// The calls that a stub makes for it on its own account: what filters system calls must let them pass.
    pub fn makes(&self) -> BTreeSet<Call> {
        let looks = self.only.iter().filter_map(|only| match only {
            Only::Descriptors(..) | Only::Operation { .. } => None,
            Only::Kinds(_) | Only::Device(_) => Some(libc::SYS_fstat),
            Only::NonBlocking => Some(libc::SYS_fcntl),
            Only::DescriptorPath(_) => Some(libc::SYS_readlink),
            Only::Path(..) => Some(libc::SYS_access),
        });
        let acts: &[libc::c_long] = match self.act {
            Act::Fail(_) | Act::FailAfter(_) | Act::Short => &[],
            Act::BreakPipe(_) => &[libc::SYS_gettid, libc::SYS_getpid, libc::SYS_tgkill],
            Act::Delay(_) => &[libc::SYS_nanosleep],
            Act::Skew(_) => &[libc::SYS_clock_gettime],
        };
        let remembers = self.pick.is_of_objects().then_some(libc::SYS_fstat);
        let all = looks.chain(acts.iter().copied()).chain(remembers);
        let all = all.filter_map(|call| u16::try_from(call).ok());
        all.map(Call::of).collect()
    }
}
