//! Skews of programs in every language, and of servers as they are: the victim's own clocks show it.
//!
//! The experiment of the soak takes its figures in full with `MURPHY_SOAK=1`.
#![allow(
    clippy::print_stdout,
    reason = "the soak reads the figure that is printed"
)]

mod harness;
mod skewing;
mod victims;

use std::{
    env,
    ffi::OsString,
    thread::sleep,
    time::{Duration, Instant},
};

use harness::{Guard, wait_until};
use skewing::Skew;
use victims::{Heard, Nanos, Program, Reader, SECOND, etcd::Etcd, postgres::Postgres};

const HOUR: Nanos = 3600 * SECOND;

/// Whether a skew that lies between two bounds can be this.
fn assert_is(bounds: (Nanos, Nanos), expected: Nanos) {
    assert!(
        (bounds.0..=bounds.1).contains(&expected),
        "a skew between {} and {} ns is not {expected} ns",
        bounds.0,
        bounds.1
    );
}

/// A program is skewed, changed and let go; its monotonic clock is left alone; it ends as if nothing had been.
fn a_runtime_follows_its_skew(program: Program) {
    let Some(guard) = Guard::root_or_skip() else {
        return;
    };
    let Some(words) = program.words_or_skip() else {
        return;
    };
    let victim = Heard::start(&guard, words);
    let reader = Reader::unskewed(&victim, "");
    let skew = Skew::inject(
        &guard,
        &victim.target(),
        &["--offset", "-90s", "--for", "60s"],
    );
    is_wrong_by(&reader, program, -90 * SECOND);
    reader.is_monotonic();
    assert_eq!(skew.update(&["--offset", "+1h"]).code, 0);
    is_wrong_by(&reader, program, HOUR);
    reader.is_monotonic();
    skew.interrupt();
    is_wrong_by(&reader, program, 0);
    reader.is_monotonic();
    let lines = victim.terminate();
    assert_eq!(lines.last().expect("it says something").text, "BYE");
}

/// All clocks that the program reads: those of the day are skewed alike, the others not.
fn is_wrong_by(reader: &Reader, program: Program, skew: Nanos) {
    reader.is_skewed_by("R", skew);
    if ![Program::C, Program::CStatic, Program::CMusl].contains(&program) {
        return;
    }
    for letter in ["G", "A"] {
        reader.is_skewed_by(letter, skew);
    }
    for letter in ["B", "W"] {
        reader.is_skewed_by(letter, 0);
    }
    reader.is_coarsely_skewed_by("C", skew);
    reader.is_coarsely_skewed_by("T", skew);
    reader.is_coarsely_skewed_by("K", 0);
}

#[test]
fn a_program_in_c_follows_its_skew() {
    a_runtime_follows_its_skew(Program::C);
}

#[test]
fn a_static_program_in_c_follows_its_skew() {
    a_runtime_follows_its_skew(Program::CStatic);
}

#[test]
fn a_program_in_c_with_musl_follows_its_skew() {
    a_runtime_follows_its_skew(Program::CMusl);
}

#[test]
fn a_program_in_rust_follows_its_skew() {
    a_runtime_follows_its_skew(Program::Rust);
}

#[test]
fn a_program_in_go_follows_its_skew() {
    a_runtime_follows_its_skew(Program::Go);
}

#[test]
fn a_program_in_go_1_19_follows_its_skew() {
    a_runtime_follows_its_skew(Program::Go119);
}

#[test]
fn a_program_in_java_follows_its_skew() {
    a_runtime_follows_its_skew(Program::Java);
}

#[test]
fn a_program_in_python_follows_its_skew() {
    a_runtime_follows_its_skew(Program::Python);
}

#[test]
fn a_program_in_javascript_follows_its_skew() {
    a_runtime_follows_its_skew(Program::Node);
}

#[test]
fn postgresql_as_it_is_follows_its_skew_in_sessions_old_and_new() {
    let Some(guard) = Guard::root_or_skip() else {
        return;
    };
    let Some(postgres) = Postgres::start_or_skip(&guard) else {
        return;
    };
    let old_session = postgres.clock();
    let both_are = |skew| {
        assert_is(old_session.skew(), skew);
        assert_is(postgres.skew_of_new_session(), skew);
    };
    both_are(0);
    let skew = Skew::inject(
        &guard,
        &postgres.target(),
        &["--offset", "-90s", "--for", "60s"],
    );
    both_are(-90 * SECOND);
    assert_eq!(skew.update(&["--offset", "+1h"]).code, 0);
    both_are(HOUR);
    let younger_session = postgres.clock();
    assert_is(younger_session.skew(), HOUR);
    skew.interrupt();
    both_are(0);
    assert_is(younger_session.skew(), 0);
    old_session.close();
    younger_session.close();
    postgres.stop();
}

#[test]
fn etcd_as_it_is_follows_its_skew_in_its_log_and_in_its_answers() {
    let Some(guard) = Guard::root_or_skip() else {
        return;
    };
    let Some(untouched) = Etcd::start_or_skip(&guard) else {
        return;
    };
    let untouched = untouched.stop();
    let Some(other_guard) = Guard::root_or_skip() else {
        return;
    };
    let Some(etcd) = Etcd::start_or_skip(&other_guard) else {
        return;
    };
    let both_are = |skew| {
        assert_is(etcd.skew_of_log(), skew);
        assert_is(etcd.skew_of_answer(), skew);
    };
    both_are(0);
    let skew = Skew::inject(
        &other_guard,
        &etcd.target(),
        &["--offset", "-90s", "--for", "60s"],
    );
    both_are(-90 * SECOND);
    assert_eq!(skew.update(&["--offset", "+1h"]).code, 0);
    both_are(HOUR);
    skew.interrupt();
    both_are(0);
    assert_eq!(etcd.stop().code, untouched.code, "it ends another way");
}

/// The experiment: of three monitors one is skewed, again and again, and notices each time; the others never.
#[test]
fn exactly_the_monitor_that_is_skewed_sees_its_clock_go_back() {
    let Some(guard) = Guard::root_or_skip() else {
        return;
    };
    let Some(words) = Program::Monitor.words_or_skip() else {
        return;
    };
    let soak = env::var_os("MURPHY_SOAK").is_some();
    let (rounds, lasts, every_s) = if soak { (10, "10s", 60) } else { (3, "1s", 6) };
    let monitors = [(); 3].map(|()| Heard::start(&guard, &words));
    for monitor in &monitors {
        monitor.wait_for("it starts", 0, |line| {
            line.text.starts_with("start").then_some(())
        });
    }
    let [first, skewed, third] = &monitors;
    for round in 1..=rounds {
        let next = Instant::now() + Duration::from_secs(every_s);
        let words = ["--offset", "-600s", "--for", lasts];
        Skew::inject(&guard, &skewed.target(), &words).wait();
        assert_eq!(skewed.count_of("system time jump backward"), round);
        if round < rounds {
            sleep(next.saturating_duration_since(Instant::now()));
        }
    }
    let others = [first, third].map(|monitor| monitor.count_of("system time jump backward"));
    assert_eq!(others, [0, 0], "somebody else saw its clock go back");
    let ends = monitors.map(|monitor| monitor.terminate().pop().expect("it says something").text);
    println!("figure: {rounds} rounds of -600 s for {lasts}; the monitors ended with {ends:?}");
    assert!(ends[1].ends_with(&format!("jumps {rounds}")), "{ends:?}");
    for end in [&ends[0], &ends[2]] {
        assert!(end.ends_with("jumps 0"), "{ends:?}");
    }
}

/// What all accounts have together.
const WEALTH: &str = "100000";
const BANK: &str = "
    create table accounts (id int primary key, balance bigint not null);
    insert into accounts select id, 1000 from generate_series(1, 100) id;
    create table transfers (at timestamptz not null default clock_timestamp());";
/// In the order of their numbers, so that no two wait for each other.
const TRANSFER: &str = "
\\set payer random(1, 100)
\\set payee random(1, 100)
\\set amount random(-50, 50)
begin;
update accounts set balance = balance - :amount where id = least(:payer, :payee);
update accounts set balance = balance + :amount where id = greatest(:payer, :payee);
insert into transfers default values;
commit;
";

#[test]
fn a_bank_keeps_its_money_while_its_clock_jumps() {
    let Some(guard) = Guard::root_or_skip() else {
        return;
    };
    let Some(postgres) = Postgres::start_or_skip(&guard) else {
        return;
    };
    postgres.ask(BANK);
    let transfer = guard.dir().join("transfer.sql");
    std::fs::write(&transfer, TRANSFER).unwrap();
    let mut clients = postgres.client("pgbench");
    clients.extend(["-n", "-c", "4", "-T", "8", "-f"].map(OsString::from));
    clients.extend([transfer.into_os_string(), "postgres".into()]);
    let clients = Heard::start(&guard, clients);
    let auditor = postgres.session("audit.sql", "select sum(balance) from accounts");
    wait_until("the bank has business", || {
        postgres.ask("select count(*) > 100 from transfers") == "t"
    });
    let skew = Skew::inject(
        &guard,
        &postgres.target(),
        &["--offset", "-10m", "--for", "60s"],
    );
    for offset in ["+1h", "-10m", "+10ms", "-1h", "+10m"] {
        sleep(Duration::from_millis(700));
        assert_eq!(skew.update(&["--offset", offset]).code, 0);
    }
    sleep(Duration::from_millis(700));
    skew.interrupt();
    let (ended, said) = clients.wait();
    assert_eq!(ended.code, 0, "{ended:?}");
    let failed = |line: &&victims::Line| line.text.contains("failed transactions: 0 ");
    assert_eq!(said.iter().filter(failed).count(), 1, "{said:?}");
    let audits = auditor.since(0);
    let is_wrong = |line: &&victims::Line| !line.text.is_empty() && line.text != WEALTH;
    assert!(audits.len() > 20, "{audits:?}");
    assert_eq!(audits.iter().filter(is_wrong).count(), 0, "{audits:?}");
    assert_eq!(postgres.ask("select sum(balance) from accounts"), WEALTH);
    for elsewhere in ["< now() - interval '50 min'", "> now() + interval '50 min'"] {
        let statement = format!("select count(*) > 0 from transfers where at {elsewhere}");
        assert_eq!(postgres.ask(&statement), "t", "no transfer was {elsewhere}");
    }
    auditor.signal("TERM");
    let _ = auditor.wait();
    postgres.stop();
}
