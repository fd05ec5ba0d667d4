//! From what is asked to rules: for each call what is done, and which of its calls are meant. An error that only a file can meet
//! is met by files only; one of calls that do not wait only where they do not.

use std::collections::BTreeSet;

use murphy_sys::{
    patch::{self, Only, Rule},
    syscalls::{Call, Errno},
};

use super::{
    names::Calls,
    realism::{self, Rank},
    spec::{Act, DELAY_MAX, Kind, Paths, Pick, Spec, SpecError, When},
};
use crate::ratio::Ratio;

/// Calls whose first argument is a descriptor.
const DESCRIPTOR: &[&str] = &[
    "read",
    "readv",
    "pread64",
    "preadv",
    "preadv2",
    "write",
    "writev",
    "pwrite64",
    "pwritev",
    "pwritev2",
    "close",
    "fsync",
    "fdatasync",
    "sync_file_range",
    "fallocate",
    "ftruncate",
    "fstat",
    "getdents64",
    "flock",
    "fcntl",
    "connect",
    "bind",
    "listen",
    "accept",
    "accept4",
    "sendto",
    "sendmsg",
    "sendmmsg",
    "recvfrom",
    "recvmsg",
    "recvmmsg",
    "sendfile",
    "splice",
    "copy_file_range",
    "shutdown",
    "epoll_ctl",
    "epoll_wait",
    "epoll_pwait",
    "epoll_pwait2",
    "inotify_add_watch",
    "dup",
    "dup2",
    "dup3",
    "fstatfs",
    "fchmod",
    "fchown",
];

/// Which argument of calls is a path: the first or the second.
const PATH: [&[&str]; 2] = [
    &[
        "open", "stat", "lstat", "access", "mkdir", "unlink", "rmdir", "rename", "link",
        "readlink", "truncate", "execve", "statfs", "chmod", "chown",
    ],
    &[
        "openat",
        "openat2",
        "newfstatat",
        "statx",
        "faccessat",
        "faccessat2",
        "mkdirat",
        "unlinkat",
        "renameat",
        "renameat2",
        "linkat",
        "symlink",
        "readlinkat",
        "execveat",
        "inotify_add_watch",
        "fchmodat",
        "fchownat",
    ],
];

const READS: &[&str] = &["read", "readv", "pread64", "preadv", "preadv2"];
const WRITES: &[&str] = &["write", "writev", "pwrite64", "pwritev", "pwritev2"];
/// Calls that read or write one buffer, whose length is their third argument.
const BUFFERS: &[&str] = &["read", "pread64", "write", "pwrite64"];

/// Errors of calls that only descriptors of some kinds meet: read(2), write(2) and fsync(2), with inode(7).
const KINDS: &[(&[&str], &[&str], &[Kind])] = &[
    (READS, &["EIO"], &[Kind::File, Kind::Block]),
    (READS, &["EISDIR"], &[Kind::Dir]),
    (READS, &["ECONNRESET", "ETIMEDOUT"], &[Kind::Socket]),
    (WRITES, &["EIO"], &[Kind::File, Kind::Block]),
    (WRITES, &["ENOSPC"], &[Kind::File, Kind::Block]),
    (WRITES, &["EDQUOT", "EFBIG"], &[Kind::File]),
    (WRITES, &["EPIPE"], &[Kind::Socket, Kind::Pipe]),
    (WRITES, &["ECONNRESET"], &[Kind::Socket]),
    (READS, &["EINTR"], &[Kind::Socket, Kind::Pipe, Kind::Char]),
    (WRITES, &["EINTR"], &[Kind::Socket, Kind::Pipe, Kind::Char]),
    (
        &["fsync", "fdatasync", "sync_file_range"],
        &["EIO", "ENOSPC", "EDQUOT", "EROFS"],
        &[Kind::File, Kind::Dir, Kind::Block],
    ),
];

/// Errors of calls that only descriptors meet that do not wait.
const NOT_WAITING: &[(&[&str], &[&str])] = &[
    (READS, &["EAGAIN"]),
    (WRITES, &["EAGAIN"]),
    (
        &[
            "accept", "accept4", "sendto", "sendmsg", "sendmmsg", "recvfrom", "recvmsg", "recvmmsg",
        ],
        &["EAGAIN"],
    ),
    (&["connect"], &["EAGAIN", "EINPROGRESS"]),
];

/// Why calls cannot fail once they were made.
const NOT_AT_EXIT: &[(&[&str], &str)] = &[
    (
        &[
            "open",
            "openat",
            "openat2",
            "socket",
            "socketpair",
            "accept",
            "accept4",
            "epoll_create1",
            "eventfd2",
            "timerfd_create",
            "inotify_init1",
            "pipe",
            "pipe2",
            "dup",
            "dup2",
            "dup3",
            "mmap",
            "clone",
            "clone3",
            "fork",
            "vfork",
            "io_uring_setup",
            "io_setup",
        ],
        "what it has made would stay, and nobody would know of it",
    ),
    (
        &[
            "connect",
            "sendto",
            "sendmsg",
            "sendmmsg",
            "recvfrom",
            "recvmsg",
            "recvmmsg",
            "sendfile",
            "splice",
            "copy_file_range",
            "epoll_wait",
            "epoll_pwait",
            "epoll_pwait2",
            "poll",
            "ppoll",
            "select",
            "pselect6",
            "wait4",
            "waitid",
            "futex",
            "nanosleep",
            "clock_nanosleep",
            "flock",
            "fcntl",
            "getrandom",
            "io_uring_enter",
            "io_submit",
        ],
        "it may wait for ever, and Murphy's code would stay for as long",
    ),
    (
        &["execve", "execveat"],
        "there is nobody left to be told of it",
    ),
];

/// `FUTEX_WAIT` and `FUTEX_WAIT_BITSET`, and the bits beside an operation (`futex(2)`).
const FUTEX_WAITS: [u32; 2] = [0, 9];
const FUTEX_FLAGS: u32 = 128 | 256;
/// `F_SETLK`, `F_SETLKW`, `F_OFD_SETLK` and `F_OFD_SETLKW` of `fcntl(2)`.
const FCNTL_LOCKS: [u32; 4] = [6, 7, 37, 38];

/// What is done, and what the user should know before.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rules {
    /// In the order of the calls' numbers.
    pub rules: Vec<(Call, Rule)>,
    /// Of what an injection of some calls leaves out or may come to.
    pub warnings: Vec<String>,
}

fn is(call: Call, names: &[&str]) -> bool {
    call.name().is_some_and(|name| names.contains(&name))
}

/// What only some descriptors meet; none for what all do.
fn kinds_of(call: Call, errno: Errno) -> Option<&'static [Kind]> {
    let name = errno.name()?;
    let mut rows = KINDS.iter();
    let found = rows.find(|(calls, errnos, _)| is(call, calls) && errnos.contains(&name));
    found.map(|(_, _, kinds)| *kinds)
}

fn waits_not(call: Call, errno: Errno) -> bool {
    let name = errno.name();
    let mut rows = NOT_WAITING.iter();
    rows.any(|(calls, errnos)| is(call, calls) && name.is_some_and(|name| errnos.contains(&name)))
}

impl Rules {
    /// Those of several that are injected together. Each call may be meant by one of them.
    pub fn of(specs: &[Spec]) -> Result<Self, SpecError> {
        let mut all = Self::default();
        for spec in specs {
            let rules = spec.rules()?;
            for (call, rule) in rules.rules {
                match all.rules.binary_search_by_key(&call, |(call, _)| *call) {
                    Ok(_) => return Err(SpecError::Twice(call)),
                    Err(place) => all.rules.insert(place, (call, rule)),
                }
            }
            all.warnings.extend(rules.warnings);
        }
        if all.rules.is_empty() {
            return Err(SpecError::NoCall);
        }
        Ok(all)
    }
}

impl Spec {
    /// The rules of it. Of a family or a class those are left out that cannot be meant.
    pub fn rules(&self) -> Result<Rules, SpecError> {
        if self.calls.is_empty() {
            return Err(SpecError::NoCall);
        }
        if self.rate.is_zero() {
            return Err(SpecError::Never);
        }
        if let Act::Delay(span) = self.act
            && (span.0 > DELAY_MAX || span.0.is_zero())
        {
            return Err(SpecError::Delay(span));
        }
        let mut all = BTreeSet::new();
        for calls in &self.calls {
            // Each that was asked for does something, or says why not.
            let mut rules = Vec::new();
            let mut refused = None;
            for call in calls.iter() {
                match self.rule(call) {
                    Ok(rule) => rules.push((call, rule)),
                    // That one is guarded says nothing of the others.
                    Err(error) => {
                        let is_guarded = matches!(refused, Some(SpecError::Guarded { .. }));
                        refused = refused.filter(|_| !is_guarded).or(Some(error));
                    }
                }
            }
            match refused {
                Some(error) if rules.is_empty() => return Err(of_all(error, calls)),
                _ => {}
            }
            all.extend(rules.iter().map(|(call, _)| *call));
        }
        let mut rules = Rules::default();
        for call in all {
            rules.rules.push((call, self.rule(call)?));
            rules.warnings.extend(self.warning(call));
        }
        Ok(rules)
    }

    fn rule(&self, call: Call) -> Result<Rule, SpecError> {
        if let Some(why) = realism::guarded(call)
            && !self.force
        {
            return Err(SpecError::Guarded { call, why });
        }
        let act = self.act(call)?;
        Ok(Rule {
            call: call.number().into(),
            chance: match self.pick {
                // Those decide themselves.
                Pick::Turns(_) | Pick::Bursts(_) => Ratio::ONE.threshold(),
                Pick::Each | Pick::AtMost(_) | Pick::Sticky | Pick::Once => self.rate.threshold(),
            },
            only: self.only(call, act)?,
            pick: self.pick(call)?,
            act,
        })
    }

    /// Which of the calls that are meant are hit.
    fn pick(&self, call: Call) -> Result<patch::Pick, SpecError> {
        let of_objects = |option, pick| {
            is(call, DESCRIPTOR)
                .then_some(pick)
                .ok_or_else(|| SpecError::NotItsArgument {
                    calls: call.to_string(),
                    option,
                    what: "the connection or file of a descriptor",
                })
        };
        match self.pick {
            Pick::Each => Ok(patch::Pick::Each),
            Pick::Sticky => of_objects("--sticky", patch::Pick::Sticky),
            Pick::Once => of_objects("--once", patch::Pick::Once),
            Pick::Turns(turns) => Ok(patch::Pick::Turns {
                first: turns.first,
                last: turns.last.unwrap_or(u64::MAX),
                step: turns.step,
            }),
            Pick::AtMost(0) => Err(SpecError::Cap),
            Pick::AtMost(most) => Ok(patch::Pick::AtMost(most.into())),
            Pick::Bursts(mean) => {
                let (length, share) = (f64::from(mean), self.rate.get());
                // Between bursts are 1 / begin calls on average.
                let begin = share / (length * (1.0 - share));
                if mean == 0 || !(0.0..=1.0 + f64::from(f32::EPSILON)).contains(&begin) {
                    let rate = self.rate;
                    return Err(SpecError::Bursts { mean, rate });
                }
                Ok(patch::Pick::Bursts {
                    begin: Ratio::nearest(begin).threshold(),
                    end: Ratio::nearest(1.0 / length).threshold(),
                })
            }
        }
    }

    /// What is done to a call.
    fn act(&self, call: Call) -> Result<patch::Act, SpecError> {
        match self.act {
            Act::Delay(span) => {
                // It is bounded.
                let ns = u64::try_from(span.0.as_nanos()).unwrap_or(u64::MAX);
                Ok(patch::Act::Delay(ns))
            }
            Act::Short if is(call, BUFFERS) => Ok(patch::Act::Short),
            Act::Short => Err(SpecError::NotShort {
                calls: call.to_string(),
            }),
            Act::Fail { errno, when } => {
                if realism::rank(call, errno).is_none() {
                    return Err(SpecError::Impossible {
                        calls: call.to_string(),
                        errno,
                        possible: String::new(),
                    });
                }
                let is_close = is(call, &["close"]);
                match when {
                    Some(When::Entry) if is_close => Err(SpecError::NotAtEntry),
                    Some(When::Exit) => {
                        let mut rows = NOT_AT_EXIT.iter();
                        match rows.find(|(calls, _)| is(call, calls)) {
                            Some((_, why)) => Err(SpecError::NotAtExit { call, why }),
                            None => Ok(patch::Act::FailAfter(errno.number())),
                        }
                    }
                    None if is_close => Ok(patch::Act::FailAfter(errno.number())),
                    Some(When::Entry) | None if errno.name() == Some("EPIPE") => {
                        Ok(patch::Act::BreakPipe(flags_of(call)))
                    }
                    Some(When::Entry) | None => Ok(patch::Act::Fail(errno.number())),
                }
            }
        }
    }

    /// Which calls are meant.
    fn only(&self, call: Call, act: patch::Act) -> Result<Vec<Only>, SpecError> {
        let has_descriptor = is(call, DESCRIPTOR);
        let not_its = |option, what| {
            Err(SpecError::NotItsArgument {
                calls: call.to_string(),
                option,
                what,
            })
        };
        let mut only = Vec::new();
        if is(call, &["futex"]) {
            only.push(Only::Operation {
                mask: !FUTEX_FLAGS,
                any: FUTEX_WAITS.into(),
            });
        } else if is(call, &["fcntl"]) {
            only.push(Only::Operation {
                mask: u32::MAX,
                any: FCNTL_LOCKS.into(),
            });
        }
        if let Some(descriptors) = &self.descriptors {
            if !has_descriptor {
                return not_its("--fd", "a descriptor");
            }
            let (least, most) = descriptors.ends();
            only.push(Only::Descriptors(least, most));
        }
        if !self.kinds.is_empty() && !has_descriptor {
            return not_its("--kind", "a descriptor");
        }
        if let Some(kinds) = self.kinds(call, act)? {
            only.push(Only::Kinds(kinds.into_iter().map(Kind::bits).collect()));
        }
        if let Act::Fail { errno, .. } = self.act
            && waits_not(call, errno)
        {
            only.push(Only::NonBlocking);
        }
        if let Some(paths) = &self.paths {
            match path_of(call, has_descriptor, paths) {
                Some(path) => only.push(path),
                None => return not_its("--path", "a path or a descriptor"),
            }
        }
        Ok(only)
    }

    /// What its descriptor is to be of; none for anything.
    fn kinds(&self, call: Call, act: patch::Act) -> Result<Option<BTreeSet<Kind>>, SpecError> {
        let mut kinds: BTreeSet<Kind> = self.kinds.iter().copied().collect();
        let mut possible: Vec<&[Kind]> = Vec::new();
        if let Act::Fail { errno, .. } = self.act {
            possible.extend(kinds_of(call, errno));
        }
        // Others may wait in Murphy's code, which stays for as long.
        let is_made = matches!(act, patch::Act::FailAfter(_) | patch::Act::Short);
        if is_made && (is(call, READS) || is(call, WRITES)) {
            possible.push(&[Kind::File]);
        }
        for possible in possible {
            let both = |kind: &Kind| kinds.is_empty() || kinds.contains(kind);
            let left: BTreeSet<Kind> = possible.iter().copied().filter(both).collect();
            if left.is_empty() {
                let names: Vec<&str> = possible.iter().map(|kind| kind.name()).collect();
                let kinds = names.join(" or ");
                return Err(SpecError::OtherKind { call, kinds });
            }
            kinds = left;
        }
        Ok((!kinds.is_empty()).then_some(kinds))
    }

    fn warning(&self, call: Call) -> Option<String> {
        if let Some(why) = realism::guarded(call) {
            return Some(format!("{call} is guarded: {why}"));
        }
        let Act::Fail { errno, .. } = self.act else {
            return None;
        };
        (realism::rank(call, errno) == Some(Rank::Mistake)).then(|| {
            format!("{call} fails with {errno} only in a program that is wrong itself; no environment does that")
        })
    }
}

/// An error of one call as one of all that were asked for by a name.
fn of_all(error: SpecError, calls: &Calls) -> SpecError {
    let named = calls.to_string();
    match error {
        SpecError::Impossible { errno, .. } => {
            let mut possible: Vec<String> = Vec::new();
            for (one, rank) in calls.iter().flat_map(realism::errors) {
                if rank != Rank::Mistake && !possible.contains(&one.to_string()) {
                    possible.push(one.to_string());
                }
            }
            SpecError::Impossible {
                calls: named,
                errno,
                possible: possible.join(", "),
            }
        }
        SpecError::NotItsArgument { option, what, .. } => SpecError::NotItsArgument {
            calls: named,
            option,
            what,
        },
        SpecError::NotShort { .. } => SpecError::NotShort { calls: named },
        other => other,
    }
}

/// Which argument of a call holds flags that may say `MSG_NOSIGNAL`.
fn flags_of(call: Call) -> Option<u8> {
    match call.name()? {
        "sendmsg" => Some(2),
        "sendto" | "sendmmsg" => Some(3),
        _ => None,
    }
}

/// How a call is chosen by a path: by the one it is given, or by that of its descriptor.
fn path_of(call: Call, has_descriptor: bool, paths: &Paths) -> Option<Only> {
    let argument = (0..).zip(PATH).find(|(_, calls)| is(call, calls));
    match argument {
        Some((argument, _)) => Some(Only::Path(argument, paths.prefix())),
        None if has_descriptor => Some(Only::DescriptorPath(paths.prefix())),
        None => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::syscall::spec::errno;

    fn failing(calls: &str, name: &str) -> Spec {
        Spec {
            calls: calls.split(',').map(|call| call.parse().unwrap()).collect(),
            act: Act::Fail {
                errno: errno(name).unwrap(),
                when: None,
            },
            rate: "100%".parse().unwrap(),
            pick: Pick::Each,
            paths: None,
            kinds: Vec::new(),
            descriptors: None,
            force: false,
        }
    }

    fn at(when: When, spec: Spec) -> Spec {
        let Act::Fail { errno, .. } = spec.act else {
            panic!("it fails");
        };
        let when = Some(when);
        Spec {
            act: Act::Fail { errno, when },
            ..spec
        }
    }

    fn one(spec: &Spec) -> Rule {
        let rules = spec.rules().unwrap().rules;
        let [(_, rule)] = &rules[..] else {
            panic!("{rules:?}");
        };
        rule.clone()
    }

    fn kinds(kinds: &[Kind]) -> Only {
        Only::Kinds(kinds.iter().map(|kind| kind.bits()).collect())
    }

    #[test]
    fn every_name_in_the_tables_is_one() {
        let calls = [DESCRIPTOR, PATH[0], PATH[1], READS, WRITES, BUFFERS];
        let of_kinds = KINDS.iter().map(|(calls, ..)| *calls);
        let not_waiting = NOT_WAITING.iter().map(|(calls, _)| *calls);
        let at_exit = NOT_AT_EXIT.iter().map(|(calls, _)| *calls);
        let all = calls.into_iter().chain(of_kinds);
        for name in all.chain(not_waiting).chain(at_exit).flatten() {
            let call = Call::named(name).unwrap();
            assert!(!realism::errors(call).is_empty(), "{name} can fail");
        }
        let of_kinds = KINDS.iter().map(|(calls, errnos, _)| (*calls, *errnos));
        for (calls, errnos) in of_kinds.chain(NOT_WAITING.iter().copied()) {
            for name in calls {
                assert!(DESCRIPTOR.contains(name), "{name} takes a descriptor");
            }
            for errno in errnos {
                assert!(Errno::named(errno).is_some(), "{errno}");
            }
        }
    }

    #[test]
    fn an_error_hits_those_who_can_meet_it() {
        let rule = one(&failing("pwrite64", "ENOSPC"));
        assert_eq!(rule.only, [kinds(&[Kind::File, Kind::Block])]);
        assert_eq!(rule.act, patch::Act::Fail(28));
        assert_eq!(one(&failing("connect", "ECONNREFUSED")).only, []);
        assert_eq!(
            one(&failing("recvfrom", "EAGAIN")).only,
            [Only::NonBlocking]
        );
        assert_eq!(
            one(&failing("sendmsg", "EPIPE")).act,
            patch::Act::BreakPipe(Some(2))
        );
        assert_eq!(
            one(&failing("writev", "EPIPE")).act,
            patch::Act::BreakPipe(None)
        );
        assert_eq!(one(&failing("close", "EIO")).act, patch::Act::FailAfter(5));
        let locks = one(&failing("fcntl", "EAGAIN")).only;
        assert!(matches!(&locks[..], [Only::Operation { any, .. }] if any.contains(&6)));
        let forced = Spec {
            force: true,
            ..failing("futex", "EINTR")
        };
        assert!(matches!(one(&forced).only[..], [Only::Operation { .. }]));
        assert_eq!(forced.rules().unwrap().warnings.len(), 1);
        let rules = failing("open", "ENOENT").rules().unwrap();
        assert_eq!((rules.rules.len(), rules.warnings.len()), (3, 0));
        assert_eq!(failing("read", "EBADF").rules().unwrap().warnings.len(), 5);
    }

    #[test]
    fn calls_are_chosen_by_what_they_take() {
        let chosen = |spec: Spec| Spec {
            paths: Some("/var/*".parse().unwrap()),
            kinds: vec![Kind::File],
            descriptors: Some("3..".parse().unwrap()),
            ..spec
        };
        assert_eq!(
            one(&chosen(failing("fsync", "EIO"))).only,
            [
                Only::Descriptors(3, i32::MAX.unsigned_abs()),
                kinds(&[Kind::File]),
                Only::DescriptorPath(b"/var/".to_vec()),
            ]
        );
        let by_path = |spec: Spec| Spec {
            paths: Some("/var/lib".parse().unwrap()),
            ..spec
        };
        let path = |argument| Only::Path(argument, b"/var/lib\0".to_vec());
        assert_eq!(one(&by_path(failing("openat", "EIO"))).only, [path(1)]);
        assert_eq!(
            one(&by_path(failing("rmdir,rmdir", "EBUSY"))).only,
            [path(0)]
        );
    }

    #[test]
    fn calls_are_picked_by_turns_bursts_and_a_cap() {
        let picked = |pick, rate: &str| {
            let rate = rate.parse().unwrap();
            let rules = Spec {
                rate,
                pick,
                ..failing("fsync", "EIO")
            };
            rules.rules().map(|rules| {
                let rule = &rules.rules[0].1;
                (rule.pick, rule.chance)
            })
        };
        let turns = patch::Pick::Turns {
            first: 3,
            last: u64::MAX,
            step: 5,
        };
        let asked = Pick::Turns("3+5".parse().unwrap());
        assert_eq!(picked(asked, "10%"), Ok((turns, 1 << 32)));
        assert_eq!(
            picked(Pick::AtMost(2), "50%"),
            Ok((patch::Pick::AtMost(2), 1 << 31))
        );
        // In bursts of 4 with 4 on average between them: half of all.
        let bursts = patch::Pick::Bursts {
            begin: 1 << 30,
            end: 1 << 30,
        };
        assert_eq!(picked(Pick::Bursts(4), "50%"), Ok((bursts, 1 << 32)));
        for (pick, rate) in [
            (Pick::Bursts(4), "81%"),
            (Pick::Bursts(4), "100%"),
            (Pick::Bursts(0), "10%"),
            (Pick::AtMost(0), "10%"),
        ] {
            assert!(picked(pick, rate).is_err(), "{pick:?}");
        }
        assert!(picked(Pick::Bursts(4), "80%").is_ok());
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let said = |spec: Spec| spec.rules().unwrap_err().to_string();
        assert!(
            said(failing("read", "ENOSPC")).contains("but with EIO, ECONNRESET"),
            "{}",
            said(failing("read", "ENOSPC"))
        );
        assert!(said(failing("mmap", "ENOMEM")).contains("--force"));
        assert!(said(at(When::Entry, failing("close", "EIO"))).contains("--fail exit"));
        assert!(said(at(When::Exit, failing("openat", "EMFILE"))).contains("would stay"));
        assert!(said(at(When::Exit, failing("accept", "EMFILE"))).contains("--fail entry"));
        let on_socket = Spec {
            kinds: vec![Kind::Socket],
            ..failing("pwrite64", "ENOSPC")
        };
        assert!(said(on_socket).contains("file or block"));
        let of_descriptor = Spec {
            descriptors: Some("3".parse().unwrap()),
            ..failing("openat", "EIO")
        };
        assert!(said(of_descriptor).contains("--fd"));
        let of_path = Spec {
            paths: Some("/*".parse().unwrap()),
            ..failing("socket", "EMFILE")
        };
        assert!(said(of_path).contains("--path"));
        let never = Spec {
            rate: "0%".parse().unwrap(),
            ..failing("write", "EIO")
        };
        assert!(said(never).contains("rate of 0"));
        for (act, says) in [
            (Act::Short, "half"),
            (Act::Delay("6s".parse().unwrap()), "to 5s"),
            (Act::Delay("0s".parse().unwrap()), "from 1ns"),
        ] {
            let spec = Spec {
                act,
                ..failing("connect", "EINTR")
            };
            assert!(said(spec).contains(says));
        }
        // Of a class those are hit that can be.
        let class = failing("%process", "EAGAIN").rules().unwrap();
        let names: Vec<_> = class
            .rules
            .iter()
            .filter_map(|(call, _)| call.name())
            .collect();
        assert_eq!(names, ["fork", "vfork", "kill", "tgkill"]);
        assert!(said(failing("%memory", "EEXIST")).contains("cannot fail"));
    }
}
