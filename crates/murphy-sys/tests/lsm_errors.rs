//! Calls fail where the kernel asks its security modules: exactly those that were asked for, of nobody but a family, and no
//! longer than somebody holds that. By every means that the kernel has.

mod caller;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{BufRead, BufReader, Write},
    os::unix::fs::MetadataExt,
    process::{Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use caller::{A_QUARTER, Caller, assert_a_quarter, order, patience, rule, say_skipped};
use murphy_sys::{
    clock::boottime_ns,
    failures::{self, Counts, Ended, Order, Rule, Waiting},
    lsm_errors::{Hook, LsmEngineError, LsmErrors, Means, trial, trial_at},
    syscalls::Errno,
};
use nix::libc;

/// So many calls show a statistical effect.
const SAMPLE: u64 = 2000;
/// What no call of a tour fails with by itself.
const UNHEARD_OF: &str = "EHWPOISON";
/// What calls to descriptors a caller does not need to hear what it is to do, and to say what it has done.
const NO_PIPES: [u32; 3] = [libc::S_IFREG, libc::S_IFDIR, libc::S_IFSOCK];
/// Those that no tour makes: births, and executed programs.
const NOT_TOURED: [Hook; 2] = [Hook::Clone, Hook::Execute];
/// Says to a process of these tests whose calls it is to have fail.
const HELD: &str = "MURPHY_TEST_HELD";

/// The means that work here.
fn means_or_skip() -> Option<Means> {
    trial().map_err(|error| say_skipped(&error)).ok()
}

fn number(errno: &str) -> i32 {
    Errno::named(errno).unwrap().number().into()
}

/// A rule about a call that does not hit how a caller is talked to.
fn alone(call: &str) -> Rule {
    let mut rule = rule(&[call], UNHEARD_OF);
    let hooks = [Hook::Read, Hook::Write, Hook::Map];
    if hooks.iter().any(|hook| hook.calls().contains(&call)) {
        rule.scope.kinds = NO_PIPES.to_vec();
    }
    rule
}

/// Those of the only rule.
fn counts(errors: &LsmErrors) -> Counts {
    let [counts] = errors.counts().unwrap()[..] else {
        panic!("there is one rule");
    };
    counts
}

/// Attached for a caller.
fn attach(caller: &Caller, order: &Order, rules: &[Rule]) -> LsmErrors {
    let errors = LsmErrors::attach(order, rules).unwrap();
    errors.watch(caller.id()).unwrap();
    errors
}

/// What a caller's tour comes to while a rule is in force.
fn tour(caller: &mut Caller, errors: &mut LsmErrors, rule: Rule) -> BTreeMap<String, u16> {
    errors.update(0, rule).unwrap();
    caller.says("prepare 1");
    errors.set_active(true).unwrap();
    let outcome = caller.tours();
    errors.set_active(false).unwrap();
    outcome
}

/// Of each call that a hook decides about, in a tour past all of them, only that one fails, once, and nothing of it is done.
#[test]
fn each_call_fails_alone_by_all_means() {
    let Some(first) = means_or_skip() else { return };
    let (Some(mut caller), Some(mut stranger)) = (Caller::start_or_skip(), Caller::start_or_skip())
    else {
        return;
    };
    let toured = Hook::ALL.iter().filter(|hook| !NOT_TOURED.contains(hook));
    let names: BTreeSet<&str> = toured
        .flat_map(|hook| hook.calls().iter().copied())
        .collect();
    let all: Vec<&str> = names.iter().copied().collect();
    let begins_with = Means::ALL.iter().position(|means| *means == first);
    for means in &Means::ALL[begins_with.unwrap()..] {
        let idle = Order {
            active: false,
            ..order(0xf1)
        };
        let mut unasked = rule(&all, UNHEARD_OF);
        unasked.chance = 0;
        let mut errors = LsmErrors::attach_by(*means, &idle, &[unasked]).unwrap();
        errors.watch(caller.id()).unwrap();
        caller.says("prepare 1");
        let calm = caller.tours();
        for name in &names {
            let before = counts(&errors);
            let mut expected = calm.clone();
            let errno = expected
                .get_mut(*name)
                .unwrap_or_else(|| panic!("no tour past {name}"));
            *errno = Errno::named(UNHEARD_OF).unwrap().number();
            let outcome = tour(&mut caller, &mut errors, alone(name));
            assert_eq!(
                differences(&outcome, &expected),
                [] as [String; 0],
                "{name} by {means}"
            );
            let after = counts(&errors);
            let counted = (after.seen - before.seen, after.failed - before.failed);
            assert_eq!(counted, (1, 1), "{name} by {means}");
        }
        stranger.says("prepare 1");
        errors.update(0, alone("openat")).unwrap();
        errors.set_active(true).unwrap();
        assert_eq!(differences(&stranger.tours(), &calm), [] as [String; 0]);
    }
}

fn differences(one: &BTreeMap<String, u16>, other: &BTreeMap<String, u16>) -> Vec<String> {
    assert_eq!(one.len(), other.len());
    let pairs = one.iter().zip(other).filter(|(one, other)| one != other);
    pairs
        .map(|(one, other)| format!("{one:?}, not {other:?}"))
        .collect()
}

#[test]
fn a_quarter_fails_and_is_counted_and_strangers_never() {
    if means_or_skip().is_none() {
        return;
    }
    let (Some(mut caller), Some(mut stranger)) = (Caller::start_or_skip(), Caller::start_or_skip())
    else {
        return;
    };
    let mut open = rule(&["openat"], "EMFILE");
    open.chance = A_QUARTER;
    let mut errors = attach(&caller, &order(0xf2), &[open.clone()]);
    let outcome = caller.does("open", SAMPLE, "/dev/null");
    let failed = assert_a_quarter(&outcome, number("EMFILE"));
    let seen = SAMPLE;
    assert_eq!(counts(&errors), Counts { seen, failed });
    let unharmed = stranger.does("open", 500, "/dev/null");
    assert_eq!(unharmed, [(0, 500)].into());
    // What fails by itself does so before anybody is asked.
    assert_eq!(caller.does("open", 20, "/no/such/file"), [(2, 20)].into());
    assert_eq!(counts(&errors), Counts { seen, failed });
    // Any number will do.
    (open.errno, open.chance) = (Errno::of(4095).unwrap(), 1 << 32);
    errors.update(0, open).unwrap();
    assert_eq!(caller.once("open", "/dev/null"), 4095);
    errors.forget(caller.id()).unwrap();
    assert_eq!(caller.does("open", 100, "/dev/null"), [(0, 100)].into());
}

#[test]
fn children_fail_from_their_first_call_on_and_births_and_programs_do() {
    if means_or_skip().is_none() {
        return;
    }
    let Some(mut caller) = Caller::start_or_skip() else {
        return;
    };
    let rules = [
        rule(&["openat"], "EACCES"),
        rule(&["clone", "fork", "vfork", "clone3"], "EAGAIN"),
        rule(&["execve"], "ENOMEM"),
    ];
    let mut errors = attach(&caller, &order(0xf3), &rules);
    let births = |chance| Rule {
        chance,
        ..rules[1].clone()
    };
    assert_eq!(caller.does("fork", 3, ""), [(number("EAGAIN"), 3)].into());
    errors.update(1, births(0)).unwrap();
    let outcome = caller.does("open-in-child", 3, "/dev/null");
    assert_eq!(outcome, [(number("EACCES"), 3)].into());
    let outcome = caller.does("execute", 3, "");
    assert_eq!(outcome, [(number("ENOMEM"), 3)].into());
    // What the kernel opens, reads and maps to execute a program is none of the program's calls.
    let mut quiet = rules[2].clone();
    quiet.chance = 0;
    errors.update(2, quiet).unwrap();
    errors.set_chance(0, 0).unwrap();
    assert_eq!(caller.does("execute", 3, ""), [(0, 3)].into());
    let begun = Instant::now();
    while errors.members().unwrap() != [caller.id()] {
        assert!(begun.elapsed() < patience());
        sleep(Duration::from_millis(5));
    }
    assert_eq!(errors.lost(), 0);
}

#[test]
fn an_open_that_fails_makes_no_file() {
    if means_or_skip().is_none() {
        return;
    }
    let Some(mut caller) = Caller::start_or_skip() else {
        return;
    };
    let mut open = rule(&["openat"], "ENOSPC");
    let mut errors = attach(&caller, &order(0xf4), &[open.clone()]);
    assert_eq!(caller.does("create", 5, ""), [(number("ENOSPC"), 5)].into());
    open.chance = 0;
    errors.update(0, open).unwrap();
    assert_eq!(caller.does("create", 5, ""), [(0, 5)].into());
    // It is asked about once, though the kernel asks twice.
    let expected = Counts {
        seen: 10,
        failed: 5,
    };
    assert_eq!(counts(&errors), expected);
    // One that has no name is asked about as well.
    errors.set_chance(0, 1 << 32).unwrap();
    assert_eq!(caller.once("create-unnamed", "/dev/shm"), number("ENOSPC"));
}

#[test]
fn a_scope_is_of_kinds_file_systems_and_calls_that_do_not_wait() {
    if means_or_skip().is_none() {
        return;
    }
    let Some(mut caller) = Caller::start_or_skip() else {
        return;
    };
    let mut open = rule(&["openat"], "EROFS");
    open.scope.device = Some(fs::metadata("/proc").unwrap().dev());
    let errors = attach(&caller, &order(0xf5), &[open]);
    assert_eq!(caller.once("open", "/proc/self/status"), number("EROFS"));
    assert_eq!(caller.once("open", "/dev/null"), 0);
    assert_eq!(counts(&errors).seen, 1);
    drop(errors);

    let mut write = rule(&["write"], "EPIPE");
    write.scope.kinds = vec![libc::S_IFSOCK];
    let mut errors = attach(&caller, &order(0xf5), &[write, rule(&["sendto"], "EPIPE")]);
    // The shell of its reports is a pipe.
    assert_eq!(caller.once("create", ""), 0);
    assert_eq!(caller.once("write-to-pair", ""), -libc::SIGPIPE);
    assert_eq!(caller.once("send-to-pair", ""), -libc::SIGPIPE);
    assert_eq!(caller.once("send-to-pair-quietly", ""), libc::EPIPE);
    let mut reset = rule(&["sendto"], "ECONNRESET");
    reset.scope.waiting = Waiting::Never;
    errors.update(1, reset).unwrap();
    assert_eq!(caller.once("send-to-pair", ""), 0);
    drop(errors);

    let mut receive = rule(&["recvfrom"], "ECONNRESET");
    receive.scope.waiting = Waiting::Never;
    let _errors = attach(&caller, &order(0xf5), &[receive]);
    assert_eq!(caller.once("receive", ""), libc::ECONNRESET);
}

#[test]
fn it_ends_when_it_is_dropped_paused_over_or_ended_by_anybody() {
    if means_or_skip().is_none() {
        return;
    }
    let Some(mut caller) = Caller::start_or_skip() else {
        return;
    };
    let rules = [rule(&["openat"], "EACCES")];
    let mut order = order(0xf6_0001);
    let mut errors = attach(&caller, &order, &rules);
    let fails = |caller: &mut Caller| caller.once("open", "/dev/null") == libc::EACCES;
    assert!(fails(&mut caller));
    errors.set_active(false).unwrap();
    assert!(!fails(&mut caller));
    errors.set_active(true).unwrap();
    assert!(fails(&mut caller));
    assert_eq!(counts(&errors).seen, 2, "a pause counts nothing");
    assert_eq!(failures::end(order.id).unwrap(), Ended::Now(1));
    assert!(!fails(&mut caller));
    drop(errors);

    order.until_ns = Some(boottime_ns() + 1_000_000_000);
    let errors = attach(&caller, &order, &rules);
    sleep(Duration::from_secs(1));
    assert!(!fails(&mut caller));
    drop(errors);

    order.until_ns = None;
    let errors = attach(&caller, &order, &rules);
    assert!(fails(&mut caller));
    drop(errors);
    assert!(!fails(&mut caller));
}

#[test]
fn whoever_is_killed_leaves_nothing() {
    if let Some(held) = std::env::var_os(HELD) {
        return hold(held.to_str().unwrap().parse().unwrap());
    }
    if means_or_skip().is_none() {
        return;
    }
    let Some(mut caller) = Caller::start_or_skip() else {
        return;
    };
    let mut holder = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "whoever_is_killed_leaves_nothing", "--nocapture"])
        .env(HELD, caller.id().to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(holder.stdout.take().unwrap()).lines();
    let holds = said.any(|line| line.unwrap().contains("it holds"));
    assert!(holds);
    assert_eq!(caller.once("open", "/dev/null"), libc::EACCES);
    holder.kill().unwrap();
    holder.wait().unwrap();
    let begun = Instant::now();
    while caller.once("open", "/dev/null") != 0 {
        assert!(begun.elapsed() < Duration::from_secs(2).max(patience() / 15));
    }
}

/// Has calls of a process fail until it is killed.
fn hold(pid: u32) {
    let errors = LsmErrors::attach(&order(0xf7), &[rule(&["openat"], "EACCES")]).unwrap();
    errors.watch(pid).unwrap();
    let mut said = std::io::stdout();
    writeln!(said, "it holds").unwrap();
    sleep(patience());
    drop(errors);
}

/// A kernel that refuses says what it is that it refuses.
#[test]
fn what_is_missing_is_named() {
    let said = LsmErrors::attach(&order(1), &[rule(&["fsync"], "EIO")]).unwrap_err();
    assert!(
        said.to_string().contains("have fsync fail by lsm:"),
        "{said}"
    );
    match trial() {
        Ok(means) => {
            // One that not every kernel asks at all of its functions.
            trial_at(means, Hook::Truncate).unwrap();
        }
        Err(error @ LsmEngineError::Trampolines { .. }) => {
            let said = error.to_string();
            assert!(
                said.contains("refuses every BPF program at a function of its own"),
                "{said}"
            );
            say_skipped(&said);
        }
        Err(error) => say_skipped(&error),
    }
}

/// Where BPF is none of the security modules in use, that is said, and programs stand before those that are.
#[test]
fn a_kernel_without_bpf_among_its_modules_is_served_before_them() {
    if means_or_skip().is_none() {
        return;
    }
    let modules = fs::read_to_string("/sys/kernel/security/lsm").unwrap_or_default();
    if modules.trim().split(',').any(|module| module == "bpf") {
        return say_skipped(&"BPF is among the security modules of this kernel");
    }
    assert_eq!(trial().unwrap(), Means::FmodRet);
    let said = Means::Lsm.trial().unwrap_err().to_string();
    assert!(said.contains(",bpf`"), "{said}");
    let Some(mut caller) = Caller::start_or_skip() else {
        return;
    };
    let errors = attach(&caller, &order(0xf8), &[rule(&["openat"], "EACCES")]);
    assert_eq!(errors.means(), Means::FmodRet);
    assert_eq!(caller.once("open", "/dev/null"), libc::EACCES);
}
