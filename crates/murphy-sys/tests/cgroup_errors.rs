//! Calls about the sockets of a cgroup fail: those that were asked for, as often as was asked, nobody else's, and no longer
//! than somebody holds that.

mod caller;
mod crew;
mod wire;

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    net::TcpListener,
    os::unix::fs::MetadataExt,
    path::Path,
    process::{Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    thread::{self, sleep},
    time::{Duration, Instant},
};

use caller::{A_QUARTER, Caller, Outcome, assert_a_quarter, order, patience, rule, say_skipped};
use crew::Cgroup;
use libbpf_rs::query::{LinkInfo, LinkInfoIter, LinkTypeInfo};
use murphy_sys::{
    cgroup_errors::{CgroupEngineError, CgroupErrors, Who, trial},
    clock::boottime_ns,
    failures::{self, Counts, Ended, Order, Pick, Rule, RuleError, Scope},
    syscalls::Errno,
    traffic::ALWAYS,
};

/// So many calls show a statistical effect.
const SAMPLE: u64 = 2000;
/// How many cgroups the tests here have made.
static COUNT: AtomicU32 = AtomicU32::new(0);
/// Says to a process of these tests of which cgroup it is to have calls fail.
const HELD: &str = "MURPHY_TEST_HELD";

/// Somebody in a cgroup of his own, and somebody who is not.
struct Stage {
    inside: Caller,
    outside: Caller,
    cgroup: Cgroup,
}

impl Stage {
    fn set_or_skip() -> Option<Self> {
        if let Err(error) = trial() {
            say_skipped(&error);
            return None;
        }
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("mphy-errors-{}-{count}", std::process::id());
        let cgroup = Cgroup::make(&name)?;
        Some(Self {
            inside: Caller::start_in_or_skip(Some(&cgroup.directory))?,
            outside: Caller::start_or_skip()?,
            cgroup,
        })
    }

    fn attach(&self, order: &Order, rules: &[Rule]) -> CgroupErrors {
        CgroupErrors::attach(Who::Group(&self.cgroup.directory), order, rules).unwrap()
    }
}

/// Somebody who takes every connection to a port of this machine, in IPv4 and IPv6.
fn listen() -> u16 {
    let listener = TcpListener::bind("[::]:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || listener.incoming().for_each(drop));
    port
}

fn number(errno: &str) -> i32 {
    Errno::named(errno).unwrap().number().into()
}

fn all_good(times: u64) -> Outcome {
    [(0, times)].into()
}

/// Has a quarter of somebody's calls fail, then all, beside somebody who is not meant; each count is what callers say.
fn assert_as_often_as_asked(
    stage: &mut Stage,
    errors: &mut CgroupErrors,
    what: &str,
    argument: &str,
) {
    let errno = errors.rules()[0].errno.number().into();
    errors.set_chance(0, ALWAYS).unwrap();
    let outcome = stage.inside.does(what, 200, argument);
    assert_eq!(outcome, [(errno, 200)].into(), "{what} {argument}");
    errors.set_chance(0, A_QUARTER).unwrap();
    let before = counts(errors);
    let outcome = stage.inside.does(what, SAMPLE, argument);
    let failed = assert_a_quarter(&outcome, errno);
    let after = counts(errors);
    assert_eq!(after.seen - before.seen, SAMPLE, "{what} {argument}");
    assert_eq!(after.failed - before.failed, failed, "{what} {argument}");
    let outside = stage.outside.does(what, 100, argument);
    assert_eq!(outside, all_good(100), "{what} {argument}");
}

/// How many links of anybody's hold programs at a cgroup.
fn links_at(cgroup: &Cgroup) -> usize {
    let group = fs::metadata(&cgroup.directory).unwrap().ino();
    let is_there = |link: &LinkInfo| match &link.info {
        LinkTypeInfo::Cgroup(at) => at.cgroup_id == group,
        _ => false,
    };
    LinkInfoIter::default().filter(is_there).count()
}

/// Waits until nobody holds any: the kernel ends links soon after their holder.
fn wait_for_no_links(cgroup: &Cgroup) {
    let begun = Instant::now();
    while links_at(cgroup) > 0 {
        assert!(begun.elapsed() < Duration::from_secs(2).max(patience() / 15));
        sleep(Duration::from_millis(5));
    }
}

/// Those of the only rule.
fn counts(errors: &CgroupErrors) -> Counts {
    let [counts] = errors.counts().unwrap()[..] else {
        panic!("there is one rule");
    };
    counts
}

#[test]
fn as_many_fail_as_asked_in_both_families_and_are_counted() {
    let Some(mut stage) = Stage::set_or_skip() else {
        return;
    };
    let port = listen();
    let hosts = ["127.0.0.1", "::1"];
    let ports = hosts.map(|host| format!("{host} {port}"));
    let domains = ["AF_INET", "AF_INET6"].map(str::to_owned);
    for (call, errno, what, arguments) in [
        ("connect", "ECONNREFUSED", "tcp", &ports),
        ("connect", "ECONNREFUSED", "udp", &ports),
        ("bind", "EADDRINUSE", "bind", &hosts.map(str::to_owned)),
        ("sendto", "ENOBUFS", "send", &ports),
        ("socket", "EMFILE", "socket", &domains),
    ] {
        let mut errors = stage.attach(&order(0xe1), &[rule(&[call], errno)]);
        for argument in arguments {
            assert_as_often_as_asked(&mut stage, &mut errors, what, argument);
        }
        // The kernel asks about no others.
        assert_eq!(stage.inside.does("socket", 100, "AF_UNIX"), all_good(100));
    }
}

/// What one has refused is not asked of the other, and both are served.
#[test]
fn two_injections_of_one_cgroup_add_up() {
    let Some(mut stage) = Stage::set_or_skip() else {
        return;
    };
    let mut half = rule(&["bind"], "EACCES");
    half.pick = Pick::AtMost(1);
    let first = stage.attach(&order(0xe9), &[half]);
    let second = stage.attach(&order(0xea), &[rule(&["bind"], "EADDRINUSE")]);
    let both = [(number("EACCES"), 5), (number("EADDRINUSE"), 5)];
    assert_eq!(stage.inside.does("bind", 10, "::1"), both.into());
    let counted = [&first, &second].map(|errors| (counts(errors).seen, counts(errors).failed));
    assert_eq!(counted, [(10, 5), (5, 5)]);
    drop(first);
    let left = [(number("EADDRINUSE"), 10)];
    assert_eq!(stage.inside.does("bind", 10, "::1"), left.into());
}

#[test]
fn calls_are_told_apart_by_their_numbers_ports_and_addresses() {
    let Some(mut stage) = Stage::set_or_skip() else {
        return;
    };
    let (port, other) = (listen(), listen());
    // By the same hook.
    let mut errors = stage.attach(&order(0xe2), &[rule(&["sendmsg", "sendmmsg"], "ENOBUFS")]);
    assert_eq!(stage.inside.once("send", "::1 9"), 0);
    assert_eq!(counts(&errors).seen, 0);
    errors.update(0, rule(&["sendto"], "EPERM")).unwrap();
    assert_eq!(stage.inside.once("send", "::1 9"), number("EPERM"));
    // Nobody is asked about a socket that is connected.
    assert_eq!(stage.inside.once("send-connected", "127.0.0.1 9"), 0);
    drop(errors);

    let mut errors = stage.attach(&order(0xe2), &[rule(&["connect"], "ENETUNREACH")]);
    let fails = number("ENETUNREACH");
    for (ports, network, v4, v6, mapped, elsewhere) in [
        (Some((port, port)), None, fails, fails, fails, 0),
        (None, Some(("127.0.0.0", 8)), fails, 0, fails, fails),
        (None, Some(("127.0.0.1", 32)), fails, 0, fails, fails),
        (None, Some(("127.0.0.2", 32)), 0, 0, 0, 0),
        (None, Some(("0.0.0.0", 0)), fails, 0, fails, fails),
        (None, Some(("::1", 128)), 0, fails, 0, 0),
        (None, Some(("::", 0)), 0, fails, 0, 0),
        (Some((0, port.min(other) - 1)), None, 0, 0, 0, 0),
    ] {
        let mut changed = rule(&["connect"], "ENETUNREACH");
        changed.scope = Scope {
            ports,
            network: network.map(|(address, length)| (address.parse().unwrap(), length)),
            ..Scope::default()
        };
        errors.update(0, changed).unwrap();
        let mut to = |host, port| stage.inside.once("tcp", &format!("{host} {port}"));
        let found = (
            to("127.0.0.1", port),
            to("::1", port),
            to("::ffff:127.0.0.1", port),
            to("127.0.0.1", other),
        );
        assert_eq!(found, (v4, v6, mapped, elsewhere), "{ports:?} {network:?}");
    }
}

#[test]
fn rules_pick_by_turns_in_bursts_and_up_to_a_number() {
    let Some(mut stage) = Stage::set_or_skip() else {
        return;
    };
    let bind = rule(&["bind"], "EADDRINUSE");
    let mut errors = stage.attach(&order(0xe3), std::slice::from_ref(&bind));
    let mut fail = |errors: &mut CgroupErrors, changed: Rule, times| {
        errors.update(0, changed).unwrap();
        let outcome = stage.inside.does("bind", times, "::1");
        outcome.get(&number("EADDRINUSE")).copied().unwrap_or(0)
    };
    let with = |pick| Rule {
        pick,
        ..bind.clone()
    };
    // The turns are those of all calls of the rule so far.
    let turns = |first, last, step| with(Pick::Turns { first, last, step });
    assert_eq!(fail(&mut errors, turns(1, 1, 1), 10), 1);
    assert_eq!(fail(&mut errors, turns(11, u64::MAX, 3), 30), 10);
    assert_eq!(fail(&mut errors, turns(1, 40, 1), 20), 0);
    assert_eq!(fail(&mut errors, with(Pick::AtMost(3)), 20), 15);
    let most = Rule {
        most: Some(1 + 10 + 15 + 4),
        ..bind.clone()
    };
    assert_eq!(fail(&mut errors, most, 20), 4);
    // Bursts of five, a sixth of all.
    let bursts = with(Pick::Bursts {
        begin: ALWAYS / 25,
        end: ALWAYS / 5,
    });
    let failed = fail(&mut errors, bursts, 6000);
    // The variance of a chain is that of independent draws times (1 + c) / (1 - c), where c is what stays of a state.
    let correlation: f64 = 1.0 - 1.0 / 25.0 - 1.0 / 5.0;
    let sigma = (6000.0 / 36.0 * 5.0 * (1.0 + correlation) / (1.0 - correlation)).sqrt();
    assert!((failed as f64 - 1000.0).abs() < 4.0 * sigma, "{failed}");
    errors.set_chance(0, 0).unwrap();
    assert_eq!(stage.inside.does("bind", 100, "::1"), all_good(100));
}

#[test]
fn the_first_rule_that_hits_decides_and_any_errno_will_do() {
    let Some(mut stage) = Stage::set_or_skip() else {
        return;
    };
    let mut rules = [
        rule(&["bind"], "EACCES"),
        rule(&["bind", "connect"], "EADDRNOTAVAIL"),
    ];
    rules[0].pick = Pick::AtMost(1);
    let mut errors = stage.attach(&order(0xe4), &rules);
    let outcome = stage.inside.does("bind", 10, "::1");
    let both = [(number("EACCES"), 5), (number("EADDRNOTAVAIL"), 5)];
    assert_eq!(outcome, both.into());
    let expected = [(10, 5), (5, 5)].map(|(seen, failed)| Counts { seen, failed });
    assert_eq!(errors.counts().unwrap(), expected);
    for errno in [1, 133, 511, 4095] {
        rules[0].errno = Errno::of(errno).unwrap();
        rules[0].pick = Pick::Each;
        errors.update(0, rules[0].clone()).unwrap();
        assert_eq!(stage.inside.once("bind", "::1"), i32::from(errno));
    }
}

#[test]
fn only_a_family_fails_that_shares_its_cgroup() {
    let Some(mut stage) = Stage::set_or_skip() else {
        return;
    };
    let errors = CgroupErrors::attach(Who::Family, &order(0xe5), &[rule(&["bind"], "EACCES")]);
    let errors = match errors {
        Err(error @ (CgroupEngineError::Top(_) | CgroupEngineError::PidNamespace)) => {
            return say_skipped(&error);
        }
        errors => errors.unwrap(),
    };
    assert_eq!(stage.inside.once("bind", "::1"), 0);
    errors.watch(stage.outside.id()).unwrap();
    assert_eq!(errors.members().unwrap(), [stage.outside.id()]);
    assert_eq!(stage.outside.once("bind", "::1"), number("EACCES"));
    assert_eq!(stage.outside.once("bind-in-child", "::1"), number("EACCES"));
    assert_eq!(stage.inside.once("bind", "::1"), 0);
    errors.forget(stage.outside.id()).unwrap();
    assert_eq!(stage.outside.once("bind", "::1"), 0);
    assert_eq!((counts(&errors).failed, errors.lost()), (2, 0));
    let begun = Instant::now();
    while !errors.members().unwrap().is_empty() {
        assert!(begun.elapsed() < patience(), "its child has ended");
        sleep(Duration::from_millis(5));
    }
}

#[test]
fn it_ends_when_it_is_dropped_paused_over_or_ended_by_anybody() {
    let Some(mut stage) = Stage::set_or_skip() else {
        return;
    };
    let rules = [rule(&["bind"], "EACCES")];
    let mut errors = stage.attach(&order(0xe6_0001), &rules);
    let mut fails = || stage.inside.once("bind", "::1") == number("EACCES");
    assert!(fails());
    errors.set_active(false).unwrap();
    assert!(!fails());
    errors.set_active(true).unwrap();
    assert!(fails());
    assert_eq!(counts(&errors).seen, 2, "a pause counts nothing");
    assert_eq!(links_at(&stage.cgroup), 2);
    drop(errors);
    assert!(!fails());
    wait_for_no_links(&stage.cgroup);

    let mut order = order(0xe6_0002);
    let until_ns = boottime_ns() + 1_000_000_000;
    order.until_ns = Some(until_ns);
    let attach = |order: &Order| {
        let who = Who::Group(&stage.cgroup.directory);
        CgroupErrors::attach(who, order, &rules).unwrap()
    };
    let errors = attach(&order);
    sleep(Duration::from_nanos(until_ns.saturating_sub(boottime_ns())));
    assert!(!fails() && !errors.is_off());
    drop(errors);

    order.until_ns = None;
    let errors = attach(&order);
    assert!(fails());
    assert_eq!(failures::end(0xe6_0003).unwrap(), Ended::Nowhere);
    assert_eq!(failures::end(order.id).unwrap(), Ended::Now(1));
    assert!(!fails());
    assert_eq!(failures::end(order.id).unwrap(), Ended::Nowhere);
    assert_eq!(counts(&errors).failed, 1, "what it has counted stays");
}

#[test]
fn whoever_is_killed_leaves_nothing() {
    if let Some(held) = std::env::var_os(HELD) {
        return hold(Path::new(&held));
    }
    let Some(mut stage) = Stage::set_or_skip() else {
        return;
    };
    let mut holder = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "whoever_is_killed_leaves_nothing", "--nocapture"])
        .env(HELD, &stage.cgroup.directory)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(holder.stdout.take().unwrap()).lines();
    let holds = said.any(|line| line.unwrap().contains("it holds"));
    assert!(holds);
    assert_eq!(stage.inside.once("bind", "::1"), number("EACCES"));
    holder.kill().unwrap();
    holder.wait().unwrap();
    wait_for_no_links(&stage.cgroup);
    assert_eq!(stage.inside.once("bind", "::1"), 0);
}

/// Has calls fail until it is killed.
fn hold(directory: &Path) {
    let rules = [rule(&["bind"], "EACCES")];
    let errors = CgroupErrors::attach(Who::Group(directory), &order(0xe7), &rules).unwrap();
    let mut said = std::io::stdout();
    writeln!(said, "it holds").unwrap();
    sleep(patience());
    drop(errors);
}

#[test]
fn what_is_impossible_is_said() {
    let attach = |rule: Rule| {
        let who = Who::Group(Path::new("/nowhere"));
        match CgroupErrors::attach(who, &order(1), &[rule]) {
            Err(error) => error.to_string(),
            Ok(_) => panic!("there is no such group"),
        }
    };
    let engine = "cgroup";
    let said = attach(rule(&["connect", "fsync"], "EIO"));
    assert!(said.contains("have fsync fail by cgroup:"), "{said}");
    let mut asked = rule(&["socket"], "EMFILE");
    asked.scope.ports = Some((1, 2));
    let said = attach(asked);
    assert!(said.contains("a port is not known"), "{said}");
    let mut restarts = rule(&["connect"], "EINTR");
    restarts.errno = Errno::of(512).unwrap();
    let said = attach(restarts);
    assert!(said.contains("ERESTARTSYS"), "{said}");
    if let Err(error) = trial() {
        return say_skipped(&error);
    }
    let said = attach(rule(&["connect"], "EINTR"));
    assert!(
        said.contains("attach to the cgroup /nowhere: No such"),
        "{said}"
    );
    let group = Who::Group(Path::new("/proc"));
    let said = CgroupErrors::attach(group, &order(1), &[rule(&["bind"], "EACCES")]).unwrap_err();
    assert!(
        said.to_string().contains("it is no cgroup of version 2"),
        "{said}"
    );
    let Some(stage) = Stage::set_or_skip() else {
        return;
    };
    let mut errors = stage.attach(&order(0xe8), &[rule(&["connect"], "EINTR")]);
    let bind = rule(&["bind"], "EACCES");
    let call = *bind.calls.first().unwrap();
    let refused = errors.update(0, bind.clone()).unwrap_err();
    let CgroupEngineError::Rule(refused) = refused else {
        panic!("{refused}");
    };
    assert_eq!(refused, RuleError::NotLoaded { call, engine });
    let refused = errors.update(1, bind).unwrap_err();
    assert!(refused.to_string().contains("there are 1"), "{refused}");
}
