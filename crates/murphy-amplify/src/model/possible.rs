//! What is possible: whether an error is met by calls of a kind in a correct program on a kernel, and whether Murphy injects it by
//! itself.
//!
//! What was seen here comes first, then what the environment does to others ([`realism`]), and what cannot be is off, with the reason.
//! That is decided for the call with all it is told apart by: `EAGAIN` is nothing to a descriptor that waits, `EPIPE` nothing to a
//! file.

use std::{collections::BTreeSet, fmt};

use murphy_fault::{
    ratio::Ratio,
    syscall::{
        self, Act, Calls, CallsError, Pick, Spec, SpecError,
        realism::{self, Rank},
    },
};
use murphy_sys::{
    census::{Kind, Operation},
    patch::Only,
    syscalls::{Call, Errno},
};

use super::Model;
use crate::recording::Key;

/// How near to what happens an error is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Realism {
    /// It was seen in the recording.
    Seen,
    /// It was not, and the environment may do it to calls of this kind.
    Environmental,
    /// No kernel does it to a correct program here.
    Impossible,
}

impl Realism {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Seen, Self::Environmental, Self::Impossible];

    /// What people call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Seen => "seen",
            Self::Environmental => "environmental",
            Self::Impossible => "impossible",
        }
    }
}

impl fmt::Display for Realism {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Why an error is not injected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It cannot be, or Murphy cannot make it: never, whoever asks.
    Never(String),
    /// No program lives on: a campaign does not begin what it knows the end of.
    Guarded(String),
    /// A correct program does not meet it: only where that is asked for.
    Unasked(String),
}

impl Refusal {
    /// The reason: a sentence.
    pub fn reason(&self) -> &str {
        let (Self::Never(reason) | Self::Guarded(reason) | Self::Unasked(reason)) = self;
        reason
    }
}

/// Calls, errors of theirs, the operations that alone meet them, and why.
type Operations = (
    &'static [&'static str],
    &'static [&'static str],
    &'static [Operation],
    &'static str,
);

/// Errors that only some operations of a call meet (`futex(2)`, `epoll_ctl(2)`, `open(2)`, `fcntl_locking(2)`).
const OPERATIONS: &[Operations] = &[
    (
        &["futex"],
        &["EAGAIN", "ETIMEDOUT", "EINTR"],
        &[Operation::Wait],
        "who wakes others never waits and meets none of it",
    ),
    (
        &["epoll_ctl"],
        &["EEXIST", "ENOSPC", "ENOMEM", "EPERM"],
        &[Operation::Add],
        "only a descriptor that is added meets it",
    ),
    (
        &["epoll_ctl"],
        &["ENOENT"],
        &[Operation::Modify, Operation::Delete],
        "only a descriptor that is there already could be missing",
    ),
    (
        &["open", "openat", "openat2"],
        &["EEXIST"],
        &[Operation::Exclusive],
        "without O_EXCL a file that is there is no error",
    ),
    (
        &["open", "openat", "openat2"],
        &["ENOSPC", "EDQUOT"],
        &[Operation::Create, Operation::Exclusive],
        "without O_CREAT nothing is made that needs room",
    ),
    (
        &["fcntl"],
        &["EAGAIN", "ENOLCK", "EDEADLK", "EINTR"],
        &[Operation::Lock],
        "only locks meet it",
    ),
];

/// Calls whose kind is not that of their first argument, by which alone injections choose.
const NOT_FIRST: [&str; 2] = ["epoll_ctl", "mmap"];

/// Why an error is not injected into calls of a key by itself; none where it is.
pub fn refusal(key: Key, errno: Errno) -> Option<Refusal> {
    let never = |reason: String| Some(Refusal::Never(reason));
    let Key { call, kind, .. } = key;
    if call == Call::FOREIGN {
        return never(
            "Calls of another ABI have other numbers; Murphy injects into none of them.".into(),
        );
    }
    if let Some(why) = realism::denied(call) {
        return never(format!("{call} is never made to fail, as {why}."));
    }
    let known = realism::errors(call);
    if known.is_empty() {
        return never(format!(
            "Murphy does not know how {call} can fail, and does not inject into it."
        ));
    }
    let Some(rank) = realism::rank(call, errno) else {
        let names: Vec<String> = known
            .iter()
            .filter(|(_, rank)| *rank != Rank::Mistake)
            .map(|(errno, _)| errno.to_string())
            .collect();
        return never(format!(
            "{call} is not known to fail with {errno}, but with {}.",
            names.join(", ")
        ));
    };
    if let Some(why) = not_its_operation(key, errno) {
        let operation = key.operation.map_or("", Operation::name);
        return never(format!(
            "{call}:{operation} cannot fail with {errno}: {why}."
        ));
    }
    let rule = rule(call, errno, Vec::new());
    if let Ok(rule) = &rule
        && rule.only.contains(&Only::NonBlocking)
        && key.nonblocking == Some(false)
    {
        return never(format!(
            "On a descriptor that waits {call} does not fail with {errno}; only calls that do not wait are hit."
        ));
    }
    if let (Some(kind), Ok(rule)) = (kind, &rule)
        && !meets(call, errno, kind, &rule.only)
    {
        return never(format!(
            "What {call} does to a descriptor of kind {kind} cannot fail with {errno}."
        ));
    }
    if let Err(error) = rule {
        return never(format!("It cannot be injected: {error}."));
    }
    if rank == Rank::Mistake {
        return Some(Refusal::Unasked(format!(
            "Only a program that is wrong itself has {call} fail with {errno}; no environment does."
        )));
    }
    realism::guarded(call).map(|why| {
        Refusal::Guarded(format!(
            "{call} is guarded, as {why}; `force: true` has it injected all the same."
        ))
    })
}

/// Which descriptors an injection chooses for a key; none for all, where that is not told apart.
///
/// Injections tell sockets no further apart: a model of TCP hits other sockets of the target, too.
pub fn descriptor_kinds(key: Key) -> Vec<syscall::Kind> {
    let is_first = key
        .call
        .name()
        .is_some_and(|name| !NOT_FIRST.contains(&name));
    let kinds = key.kind.filter(|_| is_first).map(injected);
    kinds.unwrap_or_default().to_vec()
}

/// A call as injections are told of it: the name of some is that of their family, too, and means all of that.
pub fn calls(call: Call) -> Result<Calls, CallsError> {
    call.to_string().parse()
}

/// What more than the calls of its key an injection hits: sentences, none where it is exactly those.
pub fn wider(key: Key) -> Vec<String> {
    family(key.call).into_iter().chain(choice(key)).collect()
}

/// Those that are of other calls than all before them, families included: injected together, each call has one answer at a time.
pub fn of_other_calls<'a>(models: impl Iterator<Item = &'a Model>) -> Vec<&'a Model> {
    let mut taken = BTreeSet::new();
    models
        .filter(|model| {
            let Ok(calls) = calls(model.key.call) else {
                return false;
            };
            let is_other = calls.iter().all(|call| !taken.contains(&call));
            if is_other {
                taken.extend(calls.iter());
            }
            is_other
        })
        .collect()
}

fn family(call: Call) -> Option<String> {
    let calls = calls(call).ok()?;
    let others: Vec<String> = calls
        .iter()
        .filter(|one| *one != call)
        .map(|one| one.to_string())
        .collect();
    (!others.is_empty()).then(|| {
        format!(
            "By the name of {call} its family is meant, and hit, too: {}.",
            others.join(", ")
        )
    })
}

fn choice(key: Key) -> Option<String> {
    let is_first = key
        .call
        .name()
        .is_some_and(|name| !NOT_FIRST.contains(&name));
    let kind = match key.kind {
        Some(kind) if !is_first || injected(kind).is_empty() => {
            Some(format!("whatever kind but {kind}"))
        }
        Some(kind @ (Kind::Tcp | Kind::Udp | Kind::Unix | Kind::Netlink)) => {
            Some(format!("sockets other than {kind}"))
        }
        Some(kind @ (Kind::Terminal | Kind::Device)) => Some(format!("devices other than {kind}")),
        _ => None,
    };
    let by_operation = |operation: Operation| {
        // Injections choose by these themselves.
        let is_chosen = matches!(operation, Operation::Wait | Operation::Lock);
        (!is_chosen).then(|| format!("operations other than {operation}"))
    };
    let operation = key.operation.and_then(by_operation);
    let all: Vec<String> = kind.into_iter().chain(operation).collect();
    (!all.is_empty()).then(|| {
        format!(
            "Murphy cannot choose so finely: {} of {} are hit, too.",
            all.join(" and "),
            key.call
        )
    })
}

fn not_its_operation(key: Key, errno: Errno) -> Option<&'static str> {
    let (call, errno) = (key.call.name()?, errno.name()?);
    // What is not told apart may be either.
    let operation = key.operation?;
    let mut rows = OPERATIONS.iter();
    let found = rows.find(|(calls, errnos, ..)| calls.contains(&call) && errnos.contains(&errno));
    let (.., operations, why) = found?;
    (!operations.contains(&operation)).then_some(*why)
}

/// Whether what a descriptor leads to can meet an error that only some can.
fn meets(call: Call, errno: Errno, kind: Kind, only: &[Only]) -> bool {
    if !only.iter().any(|one| matches!(one, Only::Kinds(_))) {
        return true;
    }
    let is_possible = |kind: &syscall::Kind| {
        let found = rule(call, errno, vec![*kind]);
        !matches!(found, Err(SpecError::OtherKind { .. }))
    };
    injected(kind).iter().any(is_possible)
}

/// A kind as injections know it; none where they know no such.
fn injected(kind: Kind) -> &'static [syscall::Kind] {
    match kind {
        Kind::File => &[syscall::Kind::File],
        Kind::Directory => &[syscall::Kind::Dir],
        Kind::Terminal => &[syscall::Kind::Char],
        Kind::Device => &[syscall::Kind::Char, syscall::Kind::Block],
        Kind::Pipe => &[syscall::Kind::Pipe],
        Kind::Tcp | Kind::Udp | Kind::Unix | Kind::Netlink | Kind::Socket => {
            &[syscall::Kind::Socket]
        }
        Kind::Eventfd | Kind::Epoll | Kind::Timerfd | Kind::Inotify | Kind::Other => &[],
    }
}

/// What an injection of an error into a call would do: what it cannot is told by whoever injects.
fn rule(
    call: Call,
    errno: Errno,
    kinds: Vec<syscall::Kind>,
) -> Result<murphy_sys::patch::Rule, SpecError> {
    let impossible = || SpecError::Impossible {
        calls: call.to_string(),
        errno,
        possible: String::new(),
    };
    let calls = calls(call).map_err(|_| impossible())?;
    let spec = Spec {
        calls: vec![calls],
        act: Act::Fail { errno, when: None },
        rate: Ratio::ONE,
        pick: Pick::Each,
        paths: None,
        kinds,
        descriptors: None,
        force: true,
    };
    let rules = spec.rules()?.rules;
    let found = rules.into_iter().find(|(one, _)| *one == call);
    found.map(|(_, rule)| rule).ok_or_else(impossible)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Again;

    fn key(
        call: &str,
        operation: Option<Operation>,
        kind: Option<Kind>,
        waits_not: Option<bool>,
    ) -> Key {
        Key {
            call: Call::named(call).unwrap(),
            operation,
            kind,
            nonblocking: waits_not,
        }
    }

    fn said(key: Key, errno: &str) -> Option<Refusal> {
        refusal(key, Errno::named(errno).unwrap())
    }

    #[test]
    fn names_in_the_table_are_some() {
        for (calls, errnos, ..) in OPERATIONS {
            for call in *calls {
                let call = Call::named(call).unwrap();
                for errno in *errnos {
                    let errno = Errno::named(errno).unwrap();
                    assert!(realism::rank(call, errno).is_some(), "{call} {errno}");
                }
            }
        }
        assert!(NOT_FIRST.iter().all(|name| Call::named(name).is_some()));
    }

    #[test]
    fn whoever_injects_takes_what_is_not_refused() {
        let mut wrong = Vec::new();
        for call in realism::calls() {
            let has_descriptor = murphy_sys::census::has_kind(call);
            let kinds = Kind::ALL.iter().copied().map(Some);
            let kinds = kinds.filter(|_| has_descriptor).chain([None]);
            for (kind, (errno, _)) in kinds.flat_map(|kind| {
                realism::errors(call)
                    .into_iter()
                    .map(move |one| (kind, one))
            }) {
                let key = Key {
                    call,
                    operation: None,
                    kind,
                    nonblocking: kind.map(|_| true),
                };
                let Ok(calls) = calls(call) else { continue };
                if refusal(key, errno).is_some() {
                    continue;
                }
                let spec = Spec {
                    pick: Again::of(&calls, errno).map_or(Pick::Each, Again::pick),
                    calls: vec![calls],
                    act: Act::Fail { errno, when: None },
                    rate: Ratio::nearest(0.1),
                    paths: None,
                    kinds: descriptor_kinds(key),
                    descriptors: None,
                    force: false,
                };
                if let Err(error) = syscall::Rules::of(&[spec]) {
                    wrong.push(format!("{key} {errno}: {error}"));
                }
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }

    #[test]
    fn what_can_be_is_injected() {
        use Kind::{Directory, File, Pipe, Tcp};
        for (call, kind, waits_not, errno) in [
            ("read", Some(Tcp), Some(true), "EAGAIN"),
            ("read", Some(Tcp), Some(false), "ECONNRESET"),
            ("write", Some(File), Some(false), "ENOSPC"),
            ("write", Some(Pipe), Some(false), "EPIPE"),
            ("fsync", Some(Directory), Some(false), "EIO"),
            ("accept4", Some(Tcp), Some(false), "EMFILE"),
            ("openat", None, None, "ENOENT"),
            ("epoll_wait", Some(Kind::Epoll), Some(false), "EINTR"),
        ] {
            let key = key(call, None, kind, waits_not);
            assert_eq!(said(key, errno), None, "{key} {errno}");
        }
        let adds = key("epoll_ctl", Some(Operation::Add), Some(Tcp), Some(true));
        assert_eq!(said(adds, "ENOSPC"), None);
    }

    #[test]
    fn what_cannot_be_has_its_reason() {
        use Kind::{Eventfd, File, Tcp};
        for (call, operation, kind, waits_not, errno, why) in [
            (
                "read",
                None,
                Some(Tcp),
                Some(false),
                "EAGAIN",
                "descriptor that waits",
            ),
            (
                "write",
                None,
                Some(File),
                Some(false),
                "ECONNRESET",
                "of kind file",
            ),
            (
                "write",
                None,
                Some(Eventfd),
                Some(false),
                "EPIPE",
                "of kind eventfd",
            ),
            ("read", None, Some(File), None, "ENOSPC", "but with EIO"),
            ("munmap", None, None, None, "ENOMEM", "allocators"),
            (
                "ioctl",
                None,
                None,
                None,
                "ENOTTY",
                "does not know how ioctl",
            ),
            (
                "futex",
                Some(Operation::Wake),
                None,
                None,
                "EAGAIN",
                "wakes others",
            ),
            (
                "futex",
                Some(Operation::Requeue),
                None,
                None,
                "EINTR",
                "wakes others",
            ),
            (
                "openat",
                Some(Operation::Plain),
                None,
                None,
                "EEXIST",
                "O_EXCL",
            ),
            (
                "epoll_ctl",
                Some(Operation::Add),
                Some(Tcp),
                None,
                "ENOENT",
                "missing",
            ),
            (
                "fcntl",
                Some(Operation::Duplicate),
                None,
                None,
                "EAGAIN",
                "only locks",
            ),
        ] {
            let key = key(call, operation, kind, waits_not);
            let refusal = said(key, errno);
            let Some(Refusal::Never(reason)) = &refusal else {
                panic!("{key} {errno}: {refusal:?}");
            };
            assert!(reason.contains(why) && reason.ends_with('.'), "{reason}");
        }
        for (call, operation, errno, why) in [
            ("read", None, "EBADF", "wrong itself"),
            ("openat", None, "EFAULT", "wrong itself"),
        ] {
            let refusal = said(key(call, operation, None, None), errno);
            let Some(Refusal::Unasked(reason)) = &refusal else {
                panic!("{call} {errno}: {refusal:?}");
            };
            assert!(reason.contains(why) && reason.ends_with('.'), "{reason}");
        }
        for (call, operation, errno) in [
            ("mmap", None, "ENOMEM"),
            ("futex", Some(Operation::Wait), "EAGAIN"),
        ] {
            let refusal = said(key(call, operation, None, None), errno);
            assert!(
                matches!(&refusal, Some(Refusal::Guarded(reason)) if reason.contains("guarded")),
                "{call} {errno}: {refusal:?}"
            );
        }
        let foreign = Key {
            call: Call::FOREIGN,
            ..key("read", None, None, None)
        };
        assert!(
            said(foreign, "EIO")
                .unwrap()
                .reason()
                .contains("another ABI")
        );
    }

    #[test]
    fn how_finely_injections_choose_is_said() {
        let said = |key: Key| wider(key).join(" ");
        let file = key("pread64", None, Some(Kind::File), Some(false));
        assert_eq!(
            (descriptor_kinds(file), said(file)),
            (vec![syscall::Kind::File], String::new())
        );
        let family = key("accept", None, None, None);
        assert_eq!(
            said(family),
            "By the name of accept its family is meant, and hit, too: accept4."
        );
        let tcp = key("read", None, Some(Kind::Tcp), Some(false));
        assert_eq!(descriptor_kinds(tcp), [syscall::Kind::Socket]);
        assert!(said(tcp).contains("sockets other than tcp"));
        let adds = key("epoll_ctl", Some(Operation::Add), Some(Kind::Tcp), None);
        assert!(descriptor_kinds(adds).is_empty());
        assert!(said(adds).contains("kind but tcp and operations other than add"));
        let waits = key("futex", Some(Operation::Wait), None, None);
        assert_eq!(
            (descriptor_kinds(waits), said(waits)),
            (Vec::new(), String::new())
        );
    }
}
