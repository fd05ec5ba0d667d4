//! What a user asks of family `syscall`.

use std::{fmt, ops::RangeInclusive, str::FromStr, time::Duration};

use murphy_sys::{
    failures::RuleError,
    syscalls::{Call, Errno},
};
use serde::{Serialize, Serializer};

use super::{engine::Engine, names::Calls};
use crate::{ratio::Ratio, span::Span};

/// The longest that a call is delayed: whoever undoes the injection waits for threads that are delayed.
pub const DELAY_MAX: Duration = Duration::from_secs(5);

/// Why calls cannot be made to fail as they were asked to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    /// Nothing is asked.
    #[error("inject syscall: name a call with --call, such as `--call write`")]
    NoCall,
    /// Nothing happens to them.
    #[error("inject syscall: say how: --errno, --delay or --short")]
    Nothing,
    /// Two answers to one question.
    #[error("inject syscall: {0} and {1} exclude each other")]
    Both(&'static str, &'static str),
    /// Two answers for one call.
    #[error(
        "inject syscall: two of the errors that are injected together are of {0}, and each call has one answer at a time; leave one out"
    )]
    Twice(Call),
    /// A rate of nothing.
    #[error("inject syscall: a rate of 0 would do nothing; say one such as `--rate 25%`")]
    Never,
    /// Not an errno.
    #[error("read the errno {0:?}: expected a name of errno(3), such as ENOSPC")]
    Errno(String),
    /// No kernel says that.
    #[error("inject syscall: {calls} cannot fail with {errno}, but with {possible}")]
    Impossible {
        /// Of what.
        calls: String,
        /// What was asked for.
        errno: Errno,
        /// What it can be.
        possible: String,
    },
    /// A program does not survive it.
    #[error("inject syscall: {call} is guarded, as {why}; --force does it all the same")]
    Guarded {
        /// The call.
        call: Call,
        /// Why.
        why: &'static str,
    },
    /// What it makes would stay, or it may wait in Murphy's code.
    #[error(
        "inject syscall: {call} cannot fail after it was made: {why}; --fail entry has it fail before"
    )]
    NotAtExit {
        /// The call.
        call: Call,
        /// Why.
        why: &'static str,
    },
    /// The descriptor would stay open.
    #[error(
        "inject syscall: close cannot fail before it was made: no kernel leaves the descriptor open; --fail exit is how it fails"
    )]
    NotAtEntry,
    /// A choice that no call has.
    #[error("inject syscall: {calls}: {option} chooses by {what}, which it does not take")]
    NotItsArgument {
        /// Of what.
        calls: String,
        /// The option.
        option: &'static str,
        /// What it chooses by.
        what: &'static str,
    },
    /// A choice that leaves nothing.
    #[error("inject syscall: {call} can come to that of {kinds} only")]
    OtherKind {
        /// The call.
        call: Call,
        /// Of what.
        kinds: String,
    },
    /// No length to be halved.
    #[error(
        "inject syscall: {calls}: only what reads or writes one buffer of a file can do half of it: read, pread64, write, pwrite64"
    )]
    NotShort {
        /// Of what.
        calls: String,
    },
    /// Too long, or nothing.
    #[error("inject syscall: delay by {0}: from 1ns to {most}", most = Span(DELAY_MAX))]
    Delay(Span),
    /// Not a path.
    #[error(
        "read the path {0:?}: expected an absolute one, or the beginning of some and `*`, such as /var/lib/*; at most {most} bytes",
        most = murphy_sys::patch::PREFIX_MAX - 1
    )]
    Path(String),
    /// Not a kind.
    #[error("read the kind {0:?}: expected file, dir, socket, pipe, char or block")]
    Kind(String),
    /// Not descriptors.
    #[error("read the descriptors {0:?}: expected a number, or a range such as 3.. or 3..9")]
    Descriptors(String),
    /// Not turns.
    #[error(
        "read the turns {0:?}: expected such as 3 (the third), 3+ (and all after it), 3..9, 3+5 (every fifth from the third on), 3..30+5"
    )]
    Turns(String),
    /// Bursts of nothing, or of all.
    #[error("inject syscall: bursts of {mean} calls that are {rate} of all: from 1 call on, and at most {mean} of {} of all", u64::from(*mean) + 1)]
    Bursts {
        /// How long.
        mean: u32,
        /// How many calls.
        rate: Ratio,
    },
    /// No call at all.
    #[error("inject syscall: at most 0 in a row would do nothing; say one such as `--cap 3`")]
    Cap,
    /// Not an engine.
    #[error("read the engine {0:?}: there are patch, cgroup, lsm, fmod_ret or ptrace")]
    Engine(String),
    /// Another engine would.
    #[error("inject syscall: {call} by engine {engine}: it cannot do {what}; --engine patch may")]
    NotByEngine {
        /// Of what.
        call: Call,
        /// By which.
        engine: Engine,
        /// What is asked.
        what: &'static str,
    },
    /// Programs in the kernel cannot.
    #[error(transparent)]
    Rule(#[from] RuleError),
    /// Not a time of a call.
    #[error(
        "read when calls fail {0:?}: write `entry` (they are not made) or `exit` (what came of them is lost)"
    )]
    When(String),
}

/// When in a call it fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum When {
    /// Before: it is not made.
    Entry,
    /// Behind: it is made, and what came of it is lost.
    Exit,
}

impl FromStr for When {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        match text {
            "entry" => Ok(Self::Entry),
            "exit" => Ok(Self::Exit),
            _ => Err(SpecError::When(text.into())),
        }
    }
}

/// What happens to a call that is hit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Act {
    /// It fails.
    Fail {
        /// With what.
        #[serde(serialize_with = "in_words")]
        errno: Errno,
        /// When; where that is not said at its entry, but for `close`.
        when: Option<When>,
    },
    /// It comes later.
    Delay(Span),
    /// It does half of what was asked for.
    Short,
}

fn in_words<S: Serializer>(value: &impl fmt::Display, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(value)
}

/// Reads an errno by its name, in any case.
pub fn errno(text: &str) -> Result<Errno, SpecError> {
    Errno::named(&text.trim().to_uppercase()).ok_or_else(|| SpecError::Errno(text.into()))
}

/// What a descriptor is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Dir,
    /// A socket.
    Socket,
    /// A pipe, with a name or without.
    Pipe,
    /// A character device: a terminal, `/dev/null`.
    Char,
    /// A block device.
    Block,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::File,
        Self::Dir,
        Self::Socket,
        Self::Pipe,
        Self::Char,
        Self::Block,
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Dir => "dir",
            Self::Socket => "socket",
            Self::Pipe => "pipe",
            Self::Char => "char",
            Self::Block => "block",
        }
    }

    /// The same in the bits of `S_IFMT` (`inode(7)`).
    pub(super) fn bits(self) -> u32 {
        match self {
            Self::Socket => 0o140_000,
            Self::File => 0o100_000,
            Self::Block => 0o060_000,
            Self::Dir => 0o040_000,
            Self::Char => 0o020_000,
            Self::Pipe => 0o010_000,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Kind {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        let found = Self::ALL.into_iter().find(|kind| kind.name() == text);
        found.ok_or_else(|| SpecError::Kind(text.into()))
    }
}

/// Descriptors by their numbers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(into = "String")]
pub struct Descriptors(RangeInclusive<u32>);

impl Descriptors {
    /// The least and the most of them.
    pub(super) fn ends(&self) -> (u32, u32) {
        (*self.0.start(), *self.0.end())
    }
}

impl FromStr for Descriptors {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        // No kernel gives more.
        let most = i32::MAX.unsigned_abs();
        let number = |text: &str| text.trim().parse().ok().filter(|one| *one <= most);
        let range = match text.split_once("..") {
            None => number(text).map(|one| one..=one),
            Some((from, to)) if to.trim().is_empty() => number(from).map(|from| from..=most),
            Some((from, to)) => number(from).zip(number(to)).map(|(from, to)| from..=to),
        };
        let range = range.filter(|range| !range.is_empty());
        range
            .map(Self)
            .ok_or_else(|| SpecError::Descriptors(text.into()))
    }
}

impl fmt::Display for Descriptors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.ends() {
            (from, to) if from == to => write!(f, "{from}"),
            (from, to) if to == i32::MAX.unsigned_abs() => write!(f, "{from}.."),
            (from, to) => write!(f, "{from}..{to}"),
        }
    }
}

impl From<Descriptors> for String {
    fn from(descriptors: Descriptors) -> Self {
        descriptors.to_string()
    }
}

/// Paths: one, or all that begin alike.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Paths(String);

impl Paths {
    /// What they begin with; one that is meant whole ends with a NUL.
    pub(super) fn prefix(&self) -> Vec<u8> {
        match self.0.strip_suffix('*') {
            Some(prefix) => prefix.into(),
            None => format!("{}\0", self.0).into(),
        }
    }
}

impl FromStr for Paths {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        let prefix = text.strip_suffix('*').unwrap_or(text);
        let is_one = prefix.starts_with('/')
            && !prefix.contains(['*', '\0'])
            && text.len() < murphy_sys::patch::PREFIX_MAX;
        let paths = Self(text.into());
        is_one
            .then_some(paths)
            .ok_or_else(|| SpecError::Path(text.into()))
    }
}

impl fmt::Display for Paths {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Calls by their turns, counted from 1 in each process, as strace has them in `when=`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(into = "String")]
pub struct Turns {
    /// The first.
    pub first: u64,
    /// The last; none for all that come.
    pub last: Option<u64>,
    /// From one to the next.
    pub step: u64,
}

impl FromStr for Turns {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        let number = |text: &str| text.parse::<u64>().ok().filter(|one| *one > 0);
        let (range, step) = match text.trim().split_once('+') {
            None => (text.trim(), None),
            Some((range, "")) => (range, Some(Some(1))),
            Some((range, step)) => (range, Some(number(step))),
        };
        let (first, last) = match range.split_once("..") {
            Some((first, last)) => (number(first), Some(number(last))),
            None => (number(range), None),
        };
        let read = || {
            let (first, step) = (first?, step.unwrap_or(Some(1))?);
            let last = match last {
                Some(last) => Some(last?),
                // That and all that come, or it alone.
                None if text.contains('+') => None,
                None => Some(first),
            };
            last.is_none_or(|last| last >= first)
                .then_some(Self { first, last, step })
        };
        read().ok_or_else(|| SpecError::Turns(text.into()))
    }
}

impl fmt::Display for Turns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { first, last, step } = *self;
        match last {
            None => write!(f, "{first}+")?,
            Some(last) if last == first => write!(f, "{first}")?,
            Some(last) => write!(f, "{first}..{last}")?,
        }
        match (last, step) {
            (_, 1) => Ok(()),
            (None, step) => write!(f, "{step}"),
            (Some(_), step) => write!(f, "+{step}"),
        }
    }
}

impl From<Turns> for String {
    fn from(turns: Turns) -> Self {
        turns.to_string()
    }
}

/// Which of the calls that are meant are hit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Pick {
    /// Each with a chance.
    Each,
    /// Those of some turns.
    Turns(Turns),
    /// As many as with a chance, in bursts of so many calls on average.
    Bursts(u32),
    /// Each with a chance, no more than so many in a row.
    AtMost(u32),
    /// Each with a chance, and from then on all of that connection or file, as a connection that was reset stays so.
    Sticky,
    /// Each with a chance, but never two in a row of a connection or file: what is tried again passes, as after a failed write
    /// back of which `fsync(2)` tells once.
    Once,
}

/// What is done to which calls.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Spec {
    /// Which.
    pub calls: Vec<Calls>,
    /// What.
    pub act: Act,
    /// How likely, each time that one is made that is meant.
    pub rate: Ratio,
    /// Which of those.
    pub pick: Pick,
    /// Only with such a path, or a descriptor of one.
    pub paths: Option<Paths>,
    /// Only with a descriptor of these.
    pub kinds: Vec<Kind>,
    /// Only with these descriptors.
    pub descriptors: Option<Descriptors>,
    /// Does what is refused otherwise.
    pub force: bool,
}

impl fmt::Display for Spec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let calls: Vec<String> = self.calls.iter().map(ToString::to_string).collect();
        let calls = calls.join(",");
        let some = match self.pick {
            Pick::Turns(turns) => format!("turn {turns}"),
            _ => self.rate.to_string(),
        };
        match &self.act {
            Act::Fail { errno, .. } => write!(f, "{errno} for {some} of {calls}")?,
            Act::Delay(span) => write!(f, "delay {span} for {some} of {calls}")?,
            Act::Short => write!(f, "half of {some} of {calls}")?,
        }
        match self.pick {
            Pick::Each | Pick::Turns(_) => {}
            Pick::Bursts(mean) => write!(f, " in bursts of {mean}")?,
            Pick::AtMost(most) => write!(f, ", at most {most} in a row")?,
            Pick::Sticky => f.write_str(", and for good")?,
            Pick::Once => f.write_str(", once and not again")?,
        }
        if let Act::Fail {
            when: Some(When::Exit),
            ..
        } = self.act
        {
            f.write_str(", once made")?;
        }
        if let Some(paths) = &self.paths {
            write!(f, ", path {paths}")?;
        }
        if !self.kinds.is_empty() {
            let kinds: Vec<&str> = self.kinds.iter().map(|kind| kind.name()).collect();
            write!(f, ", kind {}", kinds.join(","))?;
        }
        if let Some(descriptors) = &self.descriptors {
            write!(f, ", descriptor {descriptors}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_an_injection_are_read() {
        for (text, ends) in [("3", (3, 3)), ("3..", (3, 2_147_483_647)), ("3..9", (3, 9))] {
            let read: Descriptors = text.parse().unwrap();
            assert_eq!((read.ends(), read.to_string()), (ends, text.to_owned()));
        }
        for text in ["", "..", "..3", "9..3", "-1", "4294967295", "a..b"] {
            assert!(text.parse::<Descriptors>().is_err(), "{text}");
        }
        let prefix = |text: &str| text.parse::<Paths>().map(|paths| paths.prefix());
        assert_eq!(prefix("/var/lib/*").unwrap(), b"/var/lib/");
        assert_eq!(prefix("/var/lib").unwrap(), b"/var/lib\0");
        assert_eq!(prefix("/*").unwrap(), b"/");
        for text in ["", "*", "lib/*", "/var/*/lib", "/a\0b", &"/a".repeat(70)] {
            assert!(prefix(text).is_err(), "{text}");
        }
        for (text, turns) in [
            ("3", (3, Some(3), 1)),
            ("3+", (3, None, 1)),
            ("3..9", (3, Some(9), 1)),
            ("3+5", (3, None, 5)),
            ("3..30+5", (3, Some(30), 5)),
        ] {
            let read: Turns = text.parse().unwrap();
            assert_eq!((read.first, read.last, read.step), turns, "{text}");
            assert_eq!(read.to_string(), text);
        }
        for text in ["", "0", "+", "9..3", "3..", "3+0", "3..9+x", "-1", "..9"] {
            assert!(text.parse::<Turns>().is_err(), "{text}");
        }
        assert_eq!(errno("enospc").unwrap().to_string(), "ENOSPC");
        assert!(errno("ENOSPACE").is_err() && errno("28").is_err());
        assert_eq!("pipe".parse(), Ok(Kind::Pipe));
        assert!("fifo".parse::<Kind>().is_err());
    }

    #[test]
    fn an_injection_is_said_as_it_was_asked_for() {
        let spec = Spec {
            calls: vec!["write".parse().unwrap(), "fsync".parse().unwrap()],
            act: Act::Fail {
                errno: errno("EIO").unwrap(),
                when: Some(When::Exit),
            },
            rate: "25%".parse().unwrap(),
            pick: Pick::Bursts(8),
            paths: Some("/var/lib/*".parse().unwrap()),
            kinds: vec![Kind::File, Kind::Dir],
            descriptors: Some("3..".parse().unwrap()),
            force: false,
        };
        assert_eq!(
            spec.to_string(),
            "EIO for 25% of write,fsync in bursts of 8, once made, path /var/lib/*, kind file,dir, descriptor 3.."
        );
        let value = serde_json::to_value(&spec).unwrap();
        assert_eq!(value["act"]["fail"]["errno"], "EIO");
        assert_eq!(value["descriptors"], "3..");
    }
}
