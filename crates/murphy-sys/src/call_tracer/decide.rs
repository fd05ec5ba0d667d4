//! What becomes of a call at which a traced thread stands: by the same rules, in the same order, as the code of a patch decides.

use std::{
    collections::{HashMap, HashSet, hash_map::Entry},
    fs,
    os::unix::{ffi::OsStrExt, fs::MetadataExt},
    time::{Duration, Instant},
};

use nix::libc::{self, c_int, pid_t};

use crate::{
    memory::Memory,
    patch::{Act, Counts, Only, Pick, Rule},
    process::ProcessId,
};

/// The bits of a mode that say a kind.
const KIND: u32 = 0o170_000;
/// How large a page is: what is mapped at its beginning is at its end.
const PAGE: u64 = 4096;

/// What a broken pipe is, in the numbers of rules.
const EPIPE: u16 = 32;

/// Whether a rule has calls come later.
pub fn delays(rule: &Rule) -> bool {
    matches!(rule.act, Act::Delay(_))
}

/// What is done to a call that is hit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It fails, and is not made; its thread gets a signal.
    Fail(u16, Option<c_int>),
    /// What comes of it is lost.
    Lose(u16),
    /// It is made later.
    Delay(Duration),
}

/// What decides.
#[derive(Debug)]
pub struct Decisions {
    rules: Vec<Rule>,
    until: Option<Instant>,
    dice: u64,
    /// What [`Pick`] remembers of each process and rule.
    remembered: HashMap<(u32, usize), u64>,
    /// Connections and files that were hit, by their device and inode.
    objects: HashSet<(u64, u64)>,
    /// The memory of processes, where paths are read.
    memories: HashMap<u32, Memory>,
}

impl Decisions {
    pub fn new(rules: Vec<Rule>, seed: u64, until: Option<Instant>) -> Self {
        Self {
            rules,
            until,
            dice: seed,
            remembered: HashMap::new(),
            objects: HashSet::new(),
            memories: HashMap::new(),
        }
    }

    /// A process has ended.
    pub fn forget(&mut self, process: u32) {
        self.remembered.retain(|(one, _), _| *one != process);
        self.memories.remove(&process);
    }

    /// A process runs another program.
    pub fn executed(&mut self, process: u32) {
        self.forget(process);
    }

    /// Decides about a call; by which rule it is hit, and what is done to it. All but the hit itself is counted.
    pub fn decide(
        &mut self,
        process: u32,
        thread: pid_t,
        number: u32,
        arguments: [u64; 6],
        counts: &mut [Counts],
    ) -> Option<(usize, Decision)> {
        let place = self.rules.iter().position(|rule| rule.call == number)?;
        let rule = self.rules[place].clone();
        let descriptor = low(arguments[0]);
        if !rule.only.iter().all(|only| is_known(only, arguments)) {
            return None;
        }
        if self.until.is_some_and(|until| Instant::now() > until) {
            return None;
        }
        counts[place].made += 1;
        let object = || {
            let file = fs::metadata(format!("/proc/{thread}/fd/{descriptor}")).ok()?;
            Some((file.dev(), file.ino()))
        };
        let object = rule.pick.is_of_objects().then(object).flatten();
        let was_hit = object.is_some_and(|object| self.objects.contains(&object));
        match (rule.pick, object) {
            (Pick::Sticky, _) if was_hit => return Some((place, act(&rule, arguments))),
            (Pick::Once, Some(object)) if was_hit => {
                self.objects.remove(&object);
                return None;
            }
            _ => {}
        }
        if self.roll() >= rule.chance {
            if let Pick::AtMost(_) = rule.pick {
                self.remembered.insert((process, place), 0);
            }
            return None;
        }
        let is_meant = |only: &Only| self.is_meant(process, thread, only, arguments);
        if !rule.only.iter().all(is_meant) {
            counts[place].unmeant += 1;
            return None;
        }
        if !self.is_picked(process, place, rule.pick) {
            return None;
        }
        self.objects.extend(object);
        Some((place, act(&rule, arguments)))
    }

    /// A number of 32 bits that looks random: splitmix64's (Steele, Lea and Flood, 2014), its upper half.
    fn roll(&mut self) -> u64 {
        self.dice = self.dice.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.dice;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) >> 32
    }

    fn is_picked(&mut self, process: u32, place: usize, pick: Pick) -> bool {
        let rolled = match pick {
            Pick::Bursts { .. } => self.roll(),
            _ => 0,
        };
        let kept = self.remembered.entry((process, place)).or_insert(0);
        match pick {
            Pick::Each | Pick::Sticky | Pick::Once => true,
            Pick::Turns { first, last, step } => {
                *kept += 1;
                (first..=last).contains(kept) && (*kept - first).is_multiple_of(step.max(1))
            }
            Pick::Bursts { begin, end } => {
                let is_hit = if *kept == 0 {
                    rolled < begin
                } else {
                    rolled >= end
                };
                *kept = u64::from(is_hit);
                is_hit
            }
            Pick::AtMost(most) => {
                let is_hit = *kept < most;
                *kept = if is_hit { *kept + 1 } else { 0 };
                is_hit
            }
        }
    }

    /// Whether a call is one that is meant, as far as that takes a look.
    fn is_meant(&mut self, process: u32, thread: pid_t, only: &Only, arguments: [u64; 6]) -> bool {
        let descriptor = low(arguments[0]);
        let path = || format!("/proc/{thread}/fd/{descriptor}");
        match only {
            Only::Descriptors(..) | Only::Operation { .. } => true,
            Only::Kinds(kinds) => {
                fs::metadata(path()).is_ok_and(|file| kinds.contains(&(file.mode() & KIND)))
            }
            Only::Device(device) => fs::metadata(path()).is_ok_and(|file| file.dev() == *device),
            Only::NonBlocking => {
                let said = fs::read_to_string(format!("/proc/{thread}/fdinfo/{descriptor}"));
                let flags = said.ok().and_then(|said| {
                    let line = said.lines().find_map(|line| line.strip_prefix("flags:"))?;
                    c_int::from_str_radix(line.trim(), 8).ok()
                });
                flags.is_some_and(|flags| flags & libc::O_NONBLOCK != 0)
            }
            Only::DescriptorPath(prefix) => {
                fs::read_link(path()).is_ok_and(|path| begins(path.as_os_str().as_bytes(), prefix))
            }
            Only::Path(argument, prefix) => {
                let at = arguments[usize::from(*argument)];
                self.text_at(process, at, prefix.len())
                    .is_some_and(|text| text.starts_with(prefix))
            }
        }
    }

    /// What stands at an address, as far as it can be read.
    fn text_at(&mut self, process: u32, at: u64, length: usize) -> Option<Vec<u8>> {
        let memory = match self.memories.entry(process) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => new.insert(Memory::open(ProcessId::of(process).ok()?).ok()?),
        };
        memory.read(at, length).ok().or_else(|| {
            // Behind its end there may be nothing.
            let rest = usize::try_from(PAGE - at % PAGE).ok()?;
            memory.read(at, rest.min(length)).ok()
        })
    }
}

/// An argument of 32 bits: a kernel looks at no more of its register.
fn low(argument: u64) -> u32 {
    u32::try_from(argument & u64::from(u32::MAX)).unwrap_or(0)
}

/// Whether a path begins so, or is so where a NUL is at the end of that.
fn begins(path: &[u8], prefix: &[u8]) -> bool {
    match prefix.strip_suffix(&[0]) {
        Some(whole) => path == whole,
        None => path.starts_with(prefix),
    }
}

/// Whether a call may be meant, by what is known without a look.
fn is_known(only: &Only, arguments: [u64; 6]) -> bool {
    match only {
        Only::Descriptors(least, most) => (*least..=*most).contains(&low(arguments[0])),
        Only::Operation { mask, any } => any.contains(&(low(arguments[1]) & mask)),
        _ => true,
    }
}

/// What a rule does to a call; no rule here makes it for half of it.
fn act(rule: &Rule, arguments: [u64; 6]) -> Decision {
    match rule.act {
        Act::Fail(errno) => Decision::Fail(errno, None),
        Act::BreakPipe(flags) => {
            let quiet = libc::MSG_NOSIGNAL.cast_unsigned();
            let is_quiet = flags.is_some_and(|at| low(arguments[usize::from(at)]) & quiet != 0);
            let signal = (!is_quiet).then_some(libc::SIGPIPE);
            Decision::Fail(EPIPE, signal)
        }
        Act::FailAfter(errno) => Decision::Lose(errno),
        Act::Delay(ns) => Decision::Delay(Duration::from_nanos(ns)),
        Act::Short | Act::Skew(_) => Decision::Delay(Duration::ZERO),
    }
}

#[cfg(test)]
mod tests {
    use std::{ffi::CString, io::Write, os::fd::AsRawFd};

    use super::*;

    const SURE: u64 = 1 << 32;

    fn rule(chance: u64, pick: Pick, only: Vec<Only>) -> Rule {
        Rule {
            call: 1,
            chance,
            only,
            pick,
            act: Act::Fail(5),
        }
    }

    /// How calls of this process with some arguments fare, one after the other.
    fn fare(rule: &Rule, calls: &[[u64; 6]]) -> (Vec<bool>, Counts) {
        let mut decisions = Decisions::new(vec![rule.clone()], 7, None);
        let mut counts = [Counts::default()];
        let own = std::process::id();
        let thread = pid_t::try_from(own).unwrap();
        let mut decide = |arguments: &[u64; 6]| {
            decisions
                .decide(own, thread, rule.call, *arguments, &mut counts)
                .is_some()
        };
        let fared = calls.iter().map(&mut decide).collect();
        (fared, counts[0])
    }

    fn of(file: &impl AsRawFd) -> [u64; 6] {
        [u64::from(file.as_raw_fd().cast_unsigned()), 0, 0, 0, 0, 0]
    }

    #[test]
    fn picks_are_those_of_patches() {
        let times = [[0; 6]; 12];
        let hit = |pick, chance| fare(&rule(chance, pick, Vec::new()), &times).0;
        let turns = Pick::Turns {
            first: 2,
            last: 8,
            step: 3,
        };
        let at: Vec<usize> = (0..12).filter(|at| hit(turns, SURE)[*at]).collect();
        assert_eq!(at, [1, 4, 7]);
        let capped = hit(Pick::AtMost(2), SURE);
        assert_eq!(capped[..6], [true, true, false, true, true, false]);
        assert_eq!(hit(Pick::Each, 0), [false; 12]);
        let many = vec![[0; 6]; 10_000];
        let (fared, counts) = fare(&rule(SURE / 4, Pick::Each, Vec::new()), &many);
        let hits = fared.iter().filter(|hit| **hit).count();
        // Four standard deviations are 173.
        assert!((2327..2673).contains(&hits), "{hits}");
        assert_eq!((counts.made, counts.unmeant), (10_000, 0));
        let bursts = Pick::Bursts {
            begin: SURE / 64,
            end: SURE / 8,
        };
        let (fared, _) = fare(&rule(SURE, bursts, Vec::new()), &many);
        let lengths = fared.chunk_by(|a, b| a == b).filter(|run| run[0]);
        let (hits, runs) = lengths.fold((0, 0), |(hits, runs), run| (hits + run.len(), runs + 1));
        assert!((5..12).contains(&(hits / runs)), "{hits} of {runs}");
    }

    #[test]
    fn connections_and_files_are_remembered() {
        let files: [_; 2] = std::array::from_fn(|_| tempfile::tempfile().unwrap());
        let [one, other] = files.each_ref().map(of);
        let hit = |pick, chance, calls: &[_]| fare(&rule(chance, pick, Vec::new()), calls).0;
        let again = hit(Pick::Once, SURE, &[one, one, other, one, other]);
        assert_eq!(again, [true, false, true, true, false]);
        let sticky = hit(Pick::Sticky, SURE / 8, &[one; 200]);
        let begun = sticky.iter().position(|hit| *hit).unwrap();
        assert!(sticky[begun..].iter().all(|hit| *hit));
    }

    #[test]
    fn only_what_is_meant_is_hit() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(b"x").unwrap();
        let (reads, _writes) = std::os::unix::net::UnixStream::pair().unwrap();
        let (file_call, socket_call) = (of(file.as_file()), of(&reads));
        let hit = |only| {
            fare(
                &rule(SURE, Pick::Each, vec![only]),
                &[file_call, socket_call],
            )
            .0
        };
        assert_eq!(hit(Only::Kinds(vec![0o100_000])), [true, false]);
        assert_eq!(hit(Only::NonBlocking), [false, false]);
        reads.set_nonblocking(true).unwrap();
        assert_eq!(hit(Only::NonBlocking), [false, true]);
        let device = file.as_file().metadata().unwrap().dev();
        assert_eq!(hit(Only::Device(device)), [true, false]);
        let path = file.path().as_os_str().as_bytes();
        assert_eq!(hit(Only::DescriptorPath(path[..4].into())), [true, false]);
        assert_eq!(
            hit(Only::DescriptorPath([path, b"\0"].concat())),
            [true, false]
        );
        assert_eq!(hit(Only::DescriptorPath(b"/tm\0".into())), [false, false]);
        let fd = low(file_call[0]);
        assert_eq!(hit(Only::Descriptors(fd, fd)), [true, false]);
        let given = CString::new("/etc/hosts").unwrap();
        let call = [0, given.as_ptr().addr() as u64, 0, 0, 0, 0];
        for (prefix, is_meant) in [
            (&b"/etc/"[..], true),
            (b"/etc/hosts\0", true),
            (b"/etc/host\0", false),
            (b"/var/", false),
        ] {
            let only = Only::Path(1, prefix.into());
            assert_eq!(
                fare(&rule(SURE, Pick::Each, vec![only]), &[call]).0,
                [is_meant]
            );
        }
        let operation = Only::Operation {
            mask: 0x7f,
            any: vec![3],
        };
        let calls = [[0, 0x83, 0, 0, 0, 0], [0, 4, 0, 0, 0, 0]];
        assert_eq!(
            fare(&rule(SURE, Pick::Each, vec![operation]), &calls).0,
            [true, false]
        );
    }
}
