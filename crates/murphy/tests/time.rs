//! Skews of running processes: what they reach, what they leave alone, what is refused, and that nothing of
//! them stays. Each of the defects known of others in this trade (T1 to T20 of their trackers) has its test.

mod harness;
mod skewing;
mod victims;

use std::{fs, thread::sleep, time::Duration};

use harness::{Guard, signal, slack, wait_until};
use skewing::{A_MOMENT, Skew, becomes_pristine, child_of, is_pristine};
use victims::{
    Heard, MILLISECOND, Nanos, Program, Reader, Reading, SECOND, at_most, reader_in_c, says,
    tolerance,
};

const MINUTE: Nanos = 60 * SECOND;

/// `xtask vm-test` runs this one first, where compilers are quick.
#[test]
fn the_victims_are_built() {
    for program in Program::IN_C {
        program.words_or_skip();
    }
}

/// T1, T11: every way to ask for the time of day is skewed alike; no other clock is.
#[test]
fn every_way_to_ask_for_the_time_of_day_is_skewed_alike() {
    let Some(guard) = Guard::root_or_skip() else {
        return;
    };
    let Some(victim) = reader_in_c(&guard, &[]) else {
        return;
    };
    let reader = Reader::unskewed(&victim, "");
    let skew = Skew::inject(
        &guard,
        &victim.target(),
        &["--offset", "-10m", "--for", "1h"],
    );
    for letter in ["R", "G", "A"] {
        reader.is_skewed_by(letter, -10 * MINUTE);
    }
    reader.is_coarsely_skewed_by("T", -10 * MINUTE);
    reader.is_coarsely_skewed_by("C", -10 * MINUTE);
    for letter in ["B", "W"] {
        reader.is_skewed_by(letter, 0);
    }
    let last = skew.interrupt();
    let process = &last["effect"]["processes"][0];
    assert_eq!(process["how"], "hooked", "{process}");
    for clock in process["clocks"].as_array().unwrap() {
        let ns = |key: &str| clock[key].as_i64().unwrap();
        assert!(
            (ns("during_ns") + 10 * MINUTE).abs() < at_most(15 * MILLISECOND),
            "{clock}"
        );
        assert!(ns("before_ns").abs() < at_most(MILLISECOND), "{clock}");
        assert!(ns("after_ns").abs() < at_most(MILLISECOND), "{clock}");
    }
    reader.is_skewed_by("R", 0);
    assert!(is_pristine(victim.pid()));
    victim.terminate();
}

/// T11: a skew of another clock leaves the time of day alone, in gettimeofday and time, too.
#[test]
fn a_skew_of_another_clock_leaves_the_time_of_day_alone() {
    let Some(guard) = Guard::root_or_skip() else {
        return;
    };
    let Some(victim) = reader_in_c(&guard, &[]) else {
        return;
    };
    let reader = Reader::unskewed(&victim, "");
    let words = [
        "--offset",
        "+90s",
        "--clock",
        "boottime,CLOCK_REALTIME_COARSE",
        "--for",
        "1h",
    ];
    let skew = Skew::inject(&guard, &victim.target(), &words);
    reader.is_skewed_by("B", 90 * SECOND);
    reader.is_coarsely_skewed_by("C", 90 * SECOND);
    for letter in ["R", "G", "A", "W"] {
        reader.is_skewed_by(letter, 0);
    }
    reader.is_coarsely_skewed_by("T", 0);
    reader.is_monotonic();
    skew.interrupt();
    victim.terminate();
}

/// T2: programs that a target executes follow, and so do those they execute.
#[test]
fn an_executed_program_is_skewed_and_restored() {
    let Some(guard) = Guard::root_or_skip() else {
        return;
    };
    let Some(victim) = reader_in_c(&guard, &["execlater"]) else {
        return;
    };
    let reader = Reader::unskewed(&victim, "");
    let skew = Skew::inject(
        &guard,
        &victim.target(),
        &["--offset", "-1h", "--for", "1h"],
    );
    victim.signal("USR1");
    let child = reader.other("exec ");
    child.becomes_skewed_by("R", -60 * MINUTE);
    child.is_skewed_by("R", -60 * MINUTE);
    assert_eq!(skew.update(&["--offset", "+1h"]).code, 0);
    child.is_skewed_by("R", 60 * MINUTE);
    reader.is_skewed_by("R", 60 * MINUTE);
    let last = skew.interrupt();
    child.is_skewed_by("R", 0);
    reader.is_skewed_by("R", 0);
    assert_eq!(last["effect"]["living"], 2, "{last}");
    victim.terminate();
}

/// T3: a child forked while its parent is skewed is changed and restored with it.
#[test]
fn a_child_that_inherits_a_skew_is_changed_and_restored_with_its_parent() {
    let Some(guard) = Guard::root_or_skip() else {
        return;
    };
    let Some(victim) = reader_in_c(&guard, &["forklater"]) else {
        return;
    };
    let reader = Reader::unskewed(&victim, "");
    let skew = Skew::inject(
        &guard,
        &victim.target(),
        &["--offset", "-1h", "--for", "1h"],
    );
    victim.signal("USR1");
    victim.wait_for("the child reads", 0, |line| Reading::parse("child ", line));
    let child = reader.other("child ");
    child.is_skewed_by("R", -60 * MINUTE);
    assert_eq!(skew.update(&["--offset", "+5m"]).code, 0);
    child.is_skewed_by("R", 5 * MINUTE);
    skew.interrupt();
    child.is_skewed_by("R", 0);
    for pid in guard.marked_pids() {
        assert!(is_pristine(pid), "pid {pid}");
    }
    victim.terminate();
}

/// Reads its clocks, and at SIGUSR1 leaves a grandchild behind that does so, too, and is nobody's child.
const LEAVES_AN_ORPHAN: &str = "
import os, signal, time
prefix = ''
def leave(*_):
    global prefix
    if os.fork():
        os.wait()
    elif os.fork():
        os._exit(0)
    else:
        prefix = 'orphan '
        signal.alarm(60)
signal.signal(signal.SIGUSR1, leave)
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
while True:
    m = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
    os.write(1, f'{prefix}R {time.time_ns()} M {m}\\n'.encode())
    time.sleep(0.02)
";

/// T3, T4: an orphan that was born skewed is found and restored, and can be skewed again.
#[test]
fn an_orphan_born_skewed_is_restored_and_can_be_skewed_again() {
    let Some(guard) = Guard::root_or_skip() else {
        return;
    };
    let victim = Heard::start(&guard, ["python3", "-c", LEAVES_AN_ORPHAN]);
    let reader = Reader::unskewed(&victim, "");
    let words = ["--offset", "-1h", "--for", "1h"];
    let skew = Skew::inject(&guard, &victim.target(), &words);
    victim.signal("USR1");
    victim.wait_for("the orphan reads", 0, |line| {
        Reading::parse("orphan ", line)
    });
    let orphan = reader.other("orphan ");
    let pid = orphan_of(&guard);
    orphan.is_skewed_by("R", -60 * MINUTE);
    skew.interrupt();
    orphan.is_skewed_by("R", 0);
    reader.is_skewed_by("R", 0);
    assert!(is_pristine(pid));
    let words = ["--offset", "+2h", "--for", "1h"];
    let again = Skew::inject(&guard, &format!("pid:{pid}"), &words);
    orphan.is_skewed_by("R", 120 * MINUTE);
    reader.is_skewed_by("R", 0);
    again.interrupt();
    orphan.is_skewed_by("R", 0);
    assert!(is_pristine(pid));
    signal(pid, "TERM");
    victim.terminate();
}

/// What a test has started and whose parent is not of the test, as soon as its own has ended.
fn orphan_of(guard: &Guard) -> u32 {
    wait_until("there is an orphan", || find_orphan(guard).is_some());
    find_orphan(guard).expect("it was there")
}

fn find_orphan(guard: &Guard) -> Option<u32> {
    let ours = guard.marked_pids();
    let parent = |pid: &u32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let rest = stat.rsplit(')').next().unwrap_or_default().to_owned();
        rest.split_whitespace()
            .nth(1)
            .and_then(|word| word.parse::<u32>().ok())
    };
    let is_python = |pid: &&u32| {
        fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.contains("python"))
    };
    let is_alone = |pid: &&u32| {
        parent(pid).is_some_and(|parent| parent != std::process::id() && !ours.contains(&parent))
    };
    ours.iter().filter(is_python).find(is_alone).copied()
}

/// T5: a stranger restores what a Murphy that is gone has left, with nothing but the journal.
#[test]
fn a_later_murphy_restores_what_a_dead_one_has_left() {
    let Some(guard) = Guard::root_or_skip() else {
        return;
    };
    let Some(victim) = reader_in_c(&guard, &["child"]) else {
        return;
    };
    let reader = Reader::unskewed(&victim, "");
    let skew = Skew::inject(
        &guard,
        &victim.target(),
        &["--offset", "-1h", "--for", "1h"],
    );
    skew.kill(true);
    reader.is_skewed_by("R", -60 * MINUTE);
    let listed = guard.murphy(["ls"]).run();
    assert!(listed.stdout.contains("stale"), "{listed:?}");
    let recovered = guard.murphy(["recover"]).run();
    assert_eq!(recovered.code, 0, "{recovered:?}");
    reader.is_skewed_by("R", 0);
    reader.other("child ").is_skewed_by("R", 0);
    for pid in guard.marked_pids() {
        assert!(is_pristine(pid), "pid {pid}");
    }
    victim.terminate();
}

/// The keeper restores it when only its Murphy is killed.
#[test]
fn the_keeper_restores_what_its_murphy_has_left() {
    let Some(guard) = Guard::root_or_skip() else {
        return;
    };
    let Some(victim) = reader_in_c(&guard, &[]) else {
        return;
    };
    let reader = Reader::unskewed(&victim, "");
    let skew = Skew::inject(
        &guard,
        &victim.target(),
        &["--offset", "-1h", "--for", "1h"],
    );
    skew.kill(false);
    becomes_pristine(victim.pid());
    reader.is_skewed_by("R", 0);
    victim.terminate();
}

/// With everybody dead it ends inside the target, at its time.
#[test]
fn a_skew_ends_in_time_although_everybody_is_dead() {
    let Some(guard) = Guard::root_or_skip() else {
        return;
    };
    let Some(victim) = reader_in_c(&guard, &[]) else {
        return;
    };
    let life = slack() * Duration::from_secs(2);
    let reader = Reader::unskewed(&victim, "");
    let skew = Skew::inject(
        &guard,
        &victim.target(),
        &["--offset", "-1h", "--for", &format!("{}s", life.as_secs())],
    );
    skew.kill(true);
    reader.is_skewed_by("R", -60 * MINUTE);
    sleep(life);
    reader.is_skewed_by("R", 0);
    reader.is_coarsely_skewed_by("T", 0);
    assert_eq!(guard.murphy(["recover"]).run().code, 0);
    assert!(is_pristine(victim.pid()));
    victim.terminate();
}

/// T7: whatever was done, the page is what it was.
#[test]
fn skews_add_up_and_end_in_any_order_and_leave_the_page_as_it_was() {
    let Some(guard) = Guard::root_or_skip() else {
        return;
    };
    let Some(victim) = reader_in_c(&guard, &[]) else {
        return;
    };
    let reader = Reader::unskewed(&victim, "");
    let inject = |words: &[&str]| Skew::inject(&guard, &victim.target(), words);
    let first = inject(&["--offset", "-10m", "--for", "1h"]);
    let second = inject(&["--offset", "+1h", "--for", "1h"]);
    let third = inject(&["--offset", "+7s", "--clock", "boottime", "--for", "1h"]);
    reader.is_skewed_by("R", 50 * MINUTE);
    reader.is_skewed_by("B", 7 * SECOND);
    assert_eq!(first.update(&["--offset", "-20m"]).code, 0);
    reader.is_skewed_by("R", 40 * MINUTE);
    first.interrupt();
    reader.is_skewed_by("R", 60 * MINUTE);
    assert!(!is_pristine(victim.pid()));
    third.interrupt();
    reader.is_skewed_by("B", 0);
    reader.is_skewed_by("R", 60 * MINUTE);
    second.interrupt();
    reader.is_skewed_by("R", 0);
    assert!(is_pristine(victim.pid()));
    victim.terminate();
}

/// T8, T9, T10: unusual calls end as the kernel ends them.
#[test]
fn unusual_calls_end_as_they_do_without_a_skew() {
    let Some(guard) = Guard::root_or_skip() else {
        return;
    };
    let Some(victim) = reader_in_c(&guard, &["null"]) else {
        return;
    };
    let ask = || {
        let from = victim.count();
        victim.signal("USR1");
        victim.wait_for("it answers", from, |line| {
            (line.text == "end").then_some(())
        });
        let lines = victim.since(from);
        let answers = lines.iter().map(|line| line.text.clone());
        answers
            .filter(|text| !text.starts_with("R "))
            .collect::<Vec<_>>()
    };
    let reader = Reader::unskewed(&victim, "");
    let before = ask();
    let skew = Skew::inject(
        &guard,
        &victim.target(),
        &["--offset", "-1h", "--for", "1h"],
    );
    let during = ask();
    skew.interrupt();
    assert_eq!(before.len(), during.len(), "{during:?}");
    assert!(before.len() > 80, "{before:?}");
    for (before, during) in before.iter().zip(&during) {
        compare(before, during);
    }
    reader.is_skewed_by("R", 0);
    victim.terminate();
}

/// Answers are the same; values of clocks of the day differ by an hour, of others by nothing.
fn compare(before: &str, during: &str) {
    let value = |text: &str| {
        text.rsplit(' ')
            .next()
            .and_then(|word| word.parse::<Nanos>().ok())
    };
    let name = |text: &str| text.rsplit_once(' ').map(|(name, _)| name.to_owned());
    assert_eq!(name(before), name(during));
    let (Some(a), Some(b)) = (value(before), value(during)) else {
        assert_eq!(before, during);
        return;
    };
    if (b - a).abs() < 5 * MINUTE {
        return;
    }
    let is_of_the_day = ["gettimeofday", "time(", "(0)", "(5)", "(8)", "(11)"];
    let off = b - a + 60 * MINUTE;
    assert!(
        off.abs() < at_most(10 * SECOND) && is_of_the_day.iter().any(|part| before.contains(part)),
        "{before} became {during}"
    );
}

/// T14: no signal is lost, and a handler reads a skewed clock like anybody.
#[test]
fn signals_arrive_while_a_target_is_skewed_again_and_again() {
    let Some(guard) = Guard::root_or_skip() else {
        return;
    };
    let Some(victim) = reader_in_c(&guard, &["signals"]) else {
        return;
    };
    let handled = |letter: &str| {
        let from = victim.count();
        victim.wait_for("it reads", from, |line| {
            Reading::parse("", line)?.value(letter)
        })
    };
    let before = handled("S");
    for _ in 0..5 {
        let skew = Skew::inject(
            &guard,
            &victim.target(),
            &["--offset", "-1h", "--for", "1h"],
        );
        skew.interrupt();
    }
    wait_until("signals arrive as before", || handled("S") > before + 100);
    assert_eq!(handled("X"), 0, "a handler has read an impossible time");
    assert!(is_pristine(victim.pid()));
    victim.terminate();
}

/// T14: who was stopped stays stopped, and a signal that waits for him still does.
#[test]
fn a_stopped_target_stays_stopped_and_keeps_its_pending_signals() {
    let Some(guard) = Guard::root_or_skip() else {
        return;
    };
    let Some(victim) = reader_in_c(&guard, &["forklater"]) else {
        return;
    };
    let reader = Reader::unskewed(&victim, "");
    signal(victim.pid(), "STOP");
    wait_until("it is stopped", || harness::is_stopped(victim.pid()));
    signal(victim.pid(), "USR1");
    let skew = Skew::inject(
        &guard,
        &victim.target(),
        &["--offset", "-1h", "--for", "1h"],
    );
    assert!(harness::is_stopped(victim.pid()), "it was let go");
    signal(victim.pid(), "CONT");
    reader.is_skewed_by("R", -60 * MINUTE);
    victim.wait_for("the signal arrives", 0, |line| {
        Reading::parse("child ", line)
    });
    signal(victim.pid(), "STOP");
    wait_until("it is stopped", || harness::is_stopped(victim.pid()));
    skew.interrupt();
    assert!(harness::is_stopped(victim.pid()), "it was let go");
    signal(victim.pid(), "CONT");
    reader.is_skewed_by("R", 0);
    victim.terminate();
}

/// T15: a name with spaces and parentheses hides no child.
#[test]
fn a_name_like_a_listing_hides_no_child() {
    let Some(guard) = Guard::root_or_skip() else {
        return;
    };
    let Some(words) = Program::C.words_or_skip() else {
        return;
    };
    let parent = "import ctypes, subprocess, sys\n\
                  ctypes.CDLL(None).prctl(15, b'(tmux: 1) S 1')\n\
                  sys.exit(subprocess.run(sys.argv[1:]).returncode)";
    let all = ["python3".into(), "-c".into(), parent.into()];
    let victim = Heard::start(&guard, all.into_iter().chain(words));
    let reader = Reader::unskewed(&victim, "");
    let skew = Skew::inject(
        &guard,
        &victim.target(),
        &["--offset", "-1h", "--for", "1h"],
    );
    reader.is_skewed_by("R", -60 * MINUTE);
    assert_eq!(skew.active["effect"]["living"], 2, "{}", skew.active);
    skew.interrupt();
    reader.is_skewed_by("R", 0);
    signal(child_of(victim.pid()), "TERM");
    let (ended, _) = victim.wait();
    assert_eq!(ended.code, 0, "{ended:?}");
}

/// T18: clocks drift, stand still, step, strobe, and begin at a date.
#[test]
fn clocks_drift_stand_still_step_and_begin_at_a_date() {
    let Some(guard) = Guard::root_or_skip() else {
        return;
    };
    let Some(victim) = reader_in_c(&guard, &[]) else {
        return;
    };
    let reader = Reader::unskewed(&victim, "");
    let inject = |words: &[&str]| {
        let words = [words, &["--for", "1h"]].concat();
        Skew::inject(&guard, &victim.target(), &words)
    };
    let latest = || {
        let from = victim.count();
        victim.wait_for("it reads", from, |line| Reading::parse("", line))
    };

    let drift = inject(&["--drift", "10%"]);
    let one = latest();
    sleep(Duration::from_secs(1));
    let two = latest();
    let passed = (two.ns("R") - one.ns("R")) as f64 / (two.ns("M") - one.ns("M")) as f64;
    assert!((passed - 1.1).abs() < 0.001, "a second took {passed}");
    drift.interrupt();

    let freeze = inject(&["--freeze"]);
    let one = latest();
    sleep(A_MOMENT);
    let two = latest();
    assert_eq!(one.ns("R"), two.ns("R"), "it does not stand still");
    assert_eq!(one.ns("G"), two.ns("G"));
    assert!(two.ns("M") > one.ns("M"));
    freeze.interrupt();

    let jumps = inject(&["--jump", "+1h@500ms", "--jump", "-2h@1500ms"]);
    sleep(Duration::from_millis(600));
    assert!((reader.skew() - 60 * MINUTE).abs() < tolerance());
    sleep(Duration::from_millis(1200));
    assert!((reader.skew() + 60 * MINUTE).abs() < tolerance());
    jumps.interrupt();

    let date = inject(&["--at", "2038-01-19T03:14:00Z"]);
    let seen = latest().ns("R") / SECOND - 2_147_483_640;
    assert!(
        (0..10).contains(&seen),
        "{seen} s after 2038-01-19T03:14:00Z"
    );
    date.interrupt();

    let from = victim.count();
    let strobe = inject(&["--strobe", "10s", "every", "100ms"]);
    sleep(Duration::from_secs(1));
    strobe.interrupt();
    let base = Reading::parse("", &victim.since(from)[0])
        .unwrap()
        .ahead("R");
    let readings: Vec<_> = victim
        .since(from)
        .iter()
        .filter_map(|line| Reading::parse("", line))
        .collect();
    let away = readings
        .iter()
        .filter(|r| r.ahead("R") - base > 9 * SECOND)
        .count();
    assert!(
        away > 10 && away < readings.len() - 10,
        "{away} of {}",
        readings.len()
    );
    reader.is_skewed_by("R", 0);
    victim.terminate();
}

#[test]
fn a_draw_is_the_seeds() {
    let Some(guard) = Guard::root_or_skip() else {
        return;
    };
    let Some(victim) = reader_in_c(&guard, &[]) else {
        return;
    };
    let reader = Reader::unskewed(&victim, "");
    let draw = |seed: &str| {
        let words = ["--random", "10m", "--seed", seed, "--for", "1h"];
        let skew = Skew::inject(&guard, &victim.target(), &words);
        let seen = reader.skew();
        skew.interrupt();
        seen
    };
    let (one, other, again) = (draw("1"), draw("2"), draw("1"));
    assert!((one - again).abs() < tolerance(), "{one} {again}");
    assert!((one - other).abs() > MILLISECOND, "{one} {other}");
    assert!(one.abs() <= 10 * MINUTE);
    victim.terminate();
}

#[test]
fn a_launched_command_is_skewed_and_ends_with_the_skew() {
    let Some(guard) = Guard::root_or_skip() else {
        return;
    };
    let said = guard
        .murphy(["inject", "time", "--offset", "-1h", "--for", "2s", "--"])
        .args(["sh", "-c", "while :; do sleep 0.3; date +%s; done"])
        .run();
    assert_eq!(said.code, 0, "{said:?}");
    assert!(says(&said.stdout, "CLOCK_REALTIME", "-1h"), "{said:?}");
}

#[test]
fn a_detached_skew_goes_on_until_it_is_recovered() {
    let Some(guard) = Guard::root_or_skip() else {
        return;
    };
    let Some(victim) = reader_in_c(&guard, &[]) else {
        return;
    };
    let reader = Reader::unskewed(&victim, "");
    let said = guard
        .murphy([
            "inject", "time", "--offset", "-1h", "--for", "1h", "--detach", "-t",
        ])
        .arg(victim.target())
        .run();
    assert_eq!(said.code, 0, "{said:?}");
    assert!(said.stdout.contains("in the background"), "{said:?}");
    reader.is_skewed_by("R", -60 * MINUTE);
    let id = &guard.injections()[0];
    assert!(guard.murphy(["ls"]).run().stdout.contains(id.as_str()));
    assert_eq!(guard.murphy(["recover", id]).run().code, 0);
    reader.is_skewed_by("R", 0);
    let refused = guard
        .murphy([
            "inject",
            "time",
            "--offset",
            "-1h",
            "--for",
            "1h",
            "--detach",
            "-t",
            "pid:3999999",
        ])
        .run();
    assert_eq!(refused.code, 3, "{refused:?}");
    assert!(refused.stderr.contains("no such process"), "{refused:?}");
    victim.terminate();
}

/// T12: the calls keep every register that a caller may rely on, and the one that Go relies on.
#[test]
fn skewed_calls_keep_the_registers_of_their_callers() {
    let Some(guard) = Guard::root_or_skip() else {
        return;
    };
    let Some(words) = Program::Registers.words_or_skip() else {
        return;
    };
    let victim = Heard::start(&guard, words);
    let heard = |what| {
        let from = victim.count();
        victim.wait_for("it says so", from, |line: &victims::Line| {
            line.text.starts_with(what).then_some(())
        });
    };
    heard("kept");
    let words = ["--offset", "-1h", "--drift", "1%", "--for", "1h"];
    let skew = Skew::inject(&guard, &victim.target(), &words);
    heard("kept");
    heard("kept");
    skew.interrupt();
    heard("kept");
    assert_eq!(victim.count_of("changed"), 0);
    victim.terminate();
}
