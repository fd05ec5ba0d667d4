use std::{
    fs,
    process::{Child, Command},
};

use super::*;

fn find(text: &str) -> Result<Target, TargetError> {
    Target::find(&[text.parse().unwrap()], MAX_TARGETS, [])
}

/// A shell that has started a `sleep` of its own; both end with it.
struct Family(Child);

impl Family {
    fn start() -> Self {
        let shell = Command::new("sh")
            .args(["-c", "sleep 600; :"])
            .spawn()
            .unwrap();
        let family = Self(shell);
        while ProcessTable::read()
            .unwrap()
            .descendants(&[family.pid()])
            .is_empty()
        {
            std::thread::yield_now();
        }
        family
    }

    fn pid(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Family {
    fn drop(&mut self) {
        for stat in ProcessTable::read().unwrap().descendants(&[self.pid()]) {
            let child = murphy_sys::pidfd::Pidfd::open(stat.id()).unwrap();
            child.send(murphy_sys::signal::Signal::KILL).unwrap();
        }
        let _ = self.0.kill();
        self.0.wait().unwrap();
    }
}

#[test]
fn a_pid_brings_its_descendants() {
    let family = Family::start();
    let target = find(&format!("pid:{}", family.pid())).unwrap();
    assert_eq!(target.members.len(), 2);
    assert_eq!(target.members[0].process.pid, family.pid());
    assert!(!target.members[0].descendant);
    assert!(target.members[1].descendant);
}

#[test]
fn selectors_that_overlap_name_a_process_once() {
    let family = Family::start();
    let pid = Selector::Pid(family.pid());
    let target = Target::find(&[pid.clone(), pid], MAX_TARGETS, []).unwrap();
    assert_eq!(target.members.len(), 2);
}

#[test]
fn the_first_process_murphy_and_its_ancestors_are_refused() {
    let parent = Stat::read(std::process::id()).unwrap().parent;
    for (pid, why) in [
        (1, Protection::First),
        (std::process::id(), Protection::Murphy),
        (parent, Protection::Ancestor),
    ] {
        match find(&format!("pid:{pid}")) {
            Err(TargetError::Refused { why: said, .. }) => assert_eq!(said, why),
            other => panic!("pid {pid} was not refused: {other:?}"),
        }
    }
}

#[test]
fn a_keeper_is_refused() {
    let family = Family::start();
    let keeper = ProcessId::of(family.pid()).unwrap();
    let found = Target::find(&[Selector::Pid(keeper.pid)], MAX_TARGETS, [keeper]);
    assert!(matches!(
        found,
        Err(TargetError::Refused {
            why: Protection::Keeper,
            ..
        })
    ));
}

#[test]
fn more_than_allowed_is_refused() {
    let family = Family::start();
    let found = Target::find(&[Selector::Pid(family.pid())], 1, []);
    assert!(matches!(
        found,
        Err(TargetError::TooMany {
            found: 2,
            max: 1,
            ..
        })
    ));
}

#[test]
fn nobody_is_an_error_that_says_who() {
    let gone = find("pid:2147483000").unwrap_err();
    assert_eq!(gone.to_string(), "find pid:2147483000: no such process");
    assert!(!gone.is_bad_input());
    assert!(matches!(
        find("name:no-such-name"),
        Err(TargetError::NoMatch { .. })
    ));
    assert!(matches!(
        find("netns:mphy-none"),
        Err(TargetError::NoNetns { .. })
    ));
    assert!(matches!(
        find("netns:/proc/self/ns/net"),
        Err(TargetError::OwnNetns { .. })
    ));
}

#[test]
fn a_zombie_is_no_target() {
    let mut child = Command::new("true").spawn().unwrap();
    while ProcessTable::read().unwrap().get(child.id()).is_some() {
        std::thread::yield_now();
    }
    let found = find(&format!("pid:{}", child.id()));
    child.wait().unwrap();
    assert!(matches!(found, Err(TargetError::Zombie { .. })));
}

#[test]
fn a_thread_is_pointed_to_its_process() {
    let (send, receive) = std::sync::mpsc::channel();
    let (stop, wait) = std::sync::mpsc::channel::<()>();
    let thread = std::thread::spawn(move || {
        let link = fs::read_link("/proc/thread-self").unwrap();
        send.send(link.file_name().unwrap().to_str().unwrap().to_owned())
            .unwrap();
        let _ = wait.recv();
    });
    let tid = receive.recv().unwrap();
    let found = find(&format!("pid:{tid}"));
    drop(stop);
    thread.join().unwrap();
    assert!(
        matches!(found, Err(TargetError::Thread { process, .. }) if process == std::process::id())
    );
}

#[test]
fn a_chosen_process_brings_its_descendants_and_the_rest_is_told() {
    let families: Vec<Family> = (0..3).map(|_| Family::start()).collect();
    let selectors: Vec<Selector> = families
        .iter()
        .map(|family| Selector::Pid(family.pid()))
        .collect();
    let all = Target::find(&selectors, MAX_TARGETS, []).unwrap();
    assert_eq!((all.parts(), all.members.len()), (3, 6));
    let one = all.clone().choose(Mode::One, 3);
    assert_eq!(
        (one.parts(), one.members.len(), one.not_chosen.len()),
        (1, 2, 4)
    );
    assert!(!one.members[0].descendant && one.members[1].descendant);
    let of_one = |pid: u32| one.processes().any(|process| process.pid == pid);
    assert_eq!(
        families
            .iter()
            .filter(|family| of_one(family.pid()))
            .count(),
        1
    );
    assert_eq!(one.members, all.clone().choose(Mode::One, 3).members);
    assert_eq!(all.clone().choose(Mode::All, 3).members, all.members);
    // The limit counts what the mode leaves.
    assert!(all.clone().within(2).is_err());
    assert!(one.within(2).is_ok());
}

#[test]
fn a_named_child_of_a_chosen_parent_comes_along_as_its_descendant() {
    let family = Family::start();
    let child = ProcessTable::read().unwrap().descendants(&[family.pid()])[0].pid;
    let both = [Selector::Pid(family.pid()), Selector::Pid(child)];
    let both = Target::find(&both, MAX_TARGETS, []).unwrap();
    assert_eq!((both.parts(), both.members.len()), (2, 2));
    let sizes: Vec<usize> = (0..32)
        .map(|seed| both.clone().choose(Mode::One, seed).members.len())
        .collect();
    // The parent with the child, or the child alone.
    assert!(sizes.contains(&2) && sizes.contains(&1));
}
