//! What the pages of `docs/faults/` show is what happens: every command in them is run, and says what stands below it.
//!
//! A block fenced as `console` is a session. Its lines that begin with `$ ` are run one after another against a victim of
//! the page's own; the lines below one are what it says. What differs from one run to the next may differ. A command ends
//! with exit code 0, unless `$ echo $?` follows it and says otherwise. The block fenced as `json` is the last line of a
//! fault: its fields, no more and no less, are those of a real one.

#[path = "../../murphy-sys/tests/wire/mod.rs"]
mod wire;

mod harness;
mod network;
mod victims;

use std::{
    collections::HashMap,
    env,
    ffi::OsString,
    fs,
    net::{TcpListener, TcpStream},
    os::unix::fs::symlink,
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use harness::{Guard, Running, say_skipped, wait_until};
use murphy_sys::{
    connections,
    family::{AtExec, Family},
    trial::Namespace,
    vdso::Clock,
};
use network::{Named, Nodes, ip};
use serde_json::Value;
use victims::{Heard, Program};

/// The pid of every victim of a skew or of failing calls, as the page writes it.
const PID: &str = "4711";
/// The namespaces of disturbed packets, as the page writes them.
const NAMESPACES: [&str; 2] = ["netns:web", "netns:db"];
/// Lengths of time end with one of these.
const UNITS: [&str; 8] = ["ns", "us", "µs", "ms", "s", "m", "h", "d"];

/// A part of the page between two fences.
struct Block {
    /// Its first line on the page.
    line: usize,
    language: String,
    lines: Vec<String>,
}

fn blocks(page: &str) -> Vec<Block> {
    let pages = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/faults");
    let page = pages.join(page);
    let page = fs::read_to_string(page).expect("the page is there");
    let mut blocks: Vec<Block> = Vec::new();
    let mut is_inside = false;
    for (number, line) in (1..).zip(page.lines()) {
        match (line.strip_prefix("```"), is_inside) {
            (Some(language), false) => blocks.push(Block {
                line: number + 1,
                language: language.into(),
                lines: Vec::new(),
            }),
            (None, true) => blocks.last_mut().expect("begun").lines.push(line.into()),
            _ => {}
        }
        is_inside ^= line.starts_with("```");
    }
    blocks
}

/// A process that sleeps, once it is called so.
fn victim(guard: &Guard) -> Running {
    let victim = guard.victim("exec sleep 300");
    let name = format!("/proc/{}/comm", victim.pid());
    wait_until("it sleeps", || {
        fs::read_to_string(&name).is_ok_and(|name| name.trim() == "sleep")
    });
    victim
}

/// Runs a line as a shell does, with the built binary in its path; what it says on both outputs, and its exit code.
fn run(guard: &Guard, line: &str) -> (String, i32) {
    let binary = Path::new(env!("CARGO_BIN_EXE_murphy"));
    let mut path = binary.parent().expect("a directory").as_os_str().to_owned();
    path.push(":");
    path.push(env::var_os("PATH").unwrap_or_default());
    let shell = guard
        .program("sh".as_ref())
        .args(["-c", &format!("exec 2>&1\n{line}")])
        .env("PATH", path)
        .env("MURPHY_JOURNAL", guard.journal());
    let ended = shell.run();
    (ended.stdout, ended.code)
}

/// A line without the numbers that were counted; those that `command` says itself stay as they are.
fn settled_counts(line: &str, command: &str) -> String {
    let mut settled = Vec::new();
    let mut before = "";
    for word in line.split_whitespace() {
        let core = word.trim_matches(|c| "(),;".contains(c));
        let is_told = command.split_whitespace().any(|told| told == core);
        let is_count = core.parse::<f64>().is_ok() && !is_told;
        settled.push(match before {
            "id" => "ID",
            _ if is_count => "N",
            _ => word,
        });
        before = word;
    }
    settled.join(" ")
}

/// A line without what differs from one run to the next. What `command` says itself stays as it is, but for what was
/// read.
fn settled(line: &str, command: &str) -> String {
    let words: Vec<&str> = line.split_whitespace().collect();
    let is_number = |word: &str| !word.is_empty() && word.bytes().all(|b| b.is_ascii_digit());
    let mut settled = Vec::new();
    for (i, word) in words.iter().enumerate() {
        let before = if i == 0 { "" } else { words[i - 1] };
        let after = words
            .get(i + 1)
            .map_or("", |word| word.trim_end_matches(','));
        let core = word.trim_matches(|c| "(),;".contains(c));
        let is_told = before != "reads" && command.split_whitespace().any(|told| told == core);
        let is_pid = is_number(core) && (i == 0 || before.ends_with("pid"));
        settled.push(if is_pid {
            "PID"
        } else if is_told {
            word
        } else if is_time(core) || (is_number(core) && UNITS.contains(&after)) {
            "TIME"
        } else if before == "id" {
            "ID"
        } else {
            word
        });
    }
    settled.join(" ")
}

/// Whether it is a length of time, such as `-1h30m`.
fn is_time(word: &str) -> bool {
    let digits = |c: char| c.is_ascii_digit() || c == '.';
    let mut rest = word.trim_start_matches(['+', '-']);
    while !rest.is_empty() {
        let number = rest.trim_start_matches(digits);
        let end = number.find(digits).unwrap_or(number.len());
        if number.len() == rest.len() || !UNITS.contains(&&number[..end]) {
            return false;
        }
        rest = &number[end..];
    }
    word.len() > 1
}

/// The ids that lines name.
fn ids<'a>(lines: impl Iterator<Item = &'a str>) -> Vec<String> {
    let words: Vec<&str> = lines.flat_map(str::split_whitespace).collect();
    let named = words.windows(2).filter(|pair| pair[0] == "id");
    named.map(|pair| pair[1].to_owned()).collect()
}

/// A text of the page with the pid and the ids that are real here.
fn translated(text: &str, real: &HashMap<String, String>) -> String {
    let mut text = text.to_owned();
    for (page, real) in real {
        text = text.replace(page, real);
    }
    text
}

/// Whether this machine can do what a block shows; says what it lacks.
fn is_possible(block: &Block) -> bool {
    let text = block.lines.join("\n");
    let lacks = if text.contains("--follow stop") {
        let family = Family::load(AtExec::Stop, [Clock::REALTIME]);
        family.err().map(|error| error.to_string())
    } else if text.contains("engine timens") {
        let trial = Namespace::Time.trial();
        trial.err().map(|error| format!("time namespace: {error}"))
    } else {
        None
    };
    if let Some(lacks) = &lacks {
        say_skipped(lacks);
    }
    lacks.is_none()
}

/// Runs the commands of a block, and compares what they say, without what may differ. `real` has what the page calls
/// otherwise.
fn hold(
    guard: &Guard,
    block: &Block,
    mut real: HashMap<String, String>,
    settled: impl Fn(&str, &str) -> String,
) {
    let mut code = 0;
    let mut lines = block.lines.iter().zip(block.line..).peekable();
    while let Some((line, number)) = lines.next() {
        let command = line.strip_prefix("$ ").expect("a command");
        let mut shown = Vec::new();
        while let Some((line, _)) = lines.next_if(|(line, _)| !line.starts_with("$ ")) {
            shown.push(line.as_str());
        }
        if command == "echo $?" {
            assert_eq!(shown, [code.to_string()], "line {number}");
            code = 0;
            continue;
        }
        assert_eq!(code, 0, "the exit code before line {number}");
        let command = translated(command, &real);
        let said;
        (said, code) = run(guard, &command);
        real.extend(
            ids(shown.iter().copied())
                .into_iter()
                .zip(ids(said.lines())),
        );
        let shown = shown.iter().map(|line| translated(line, &real));
        let wanted: Vec<_> = shown.map(|line| settled(&line, &command)).collect();
        let seen: Vec<_> = said.lines().map(|line| settled(line, &command)).collect();
        // Where lines end is no matter: the page wraps long ones.
        let (wanted, seen) = (wanted.join(" "), seen.join(" "));
        assert_eq!(seen, wanted, "line {number}: {command}\n{said}");
    }
    assert_eq!(code, 0, "the exit code at the end of line {}", block.line);
}

/// The sessions of a page, which has no command outside of them.
fn sessions(page: &str) -> Vec<Block> {
    let blocks = blocks(page);
    for block in &blocks {
        let is_shown = block.lines.iter().any(|line| line.starts_with("murphy "));
        assert!(!is_shown, "line {}: nothing runs it", block.line);
    }
    let is_session = |block: &Block| block.language == "console";
    let sessions: Vec<_> = blocks.into_iter().filter(is_session).collect();
    assert!(!sessions.is_empty());
    sessions
}

#[test]
fn every_command_of_the_page_about_clocks_says_what_the_page_shows() {
    if Guard::root_or_skip().is_none() {
        return;
    }
    for session in sessions("time.md")
        .iter()
        .filter(|block| is_possible(block))
    {
        let guard = Guard::new();
        let victim = victim(&guard);
        let real = HashMap::from([(PID.to_owned(), victim.pid().to_string())]);
        hold(&guard, session, real, settled);
        victim.signal("TERM");
    }
}

/// A program that makes calls, once it does, which is called so.
fn caller(guard: &Guard) -> Option<Heard> {
    let program = Program::Calls.words_or_skip()?;
    let named = guard.dir().join("calls");
    symlink(&program[0], &named).expect("a name for it");
    let directory = guard.dir().join("files");
    fs::create_dir(&directory).expect("a directory");
    let calls = ["pwrite64", "read", "fsync"].map(OsString::from);
    let words = [named.into(), directory.into()].into_iter().chain(calls);
    let caller = Heard::start(guard, words);
    caller.wait_for("it makes calls", 0, |line| {
        line.text.starts_with("ready").then_some(())
    });
    Some(caller)
}

/// Has it end.
fn end_caller(guard: &Guard, caller: Heard) {
    fs::write(guard.dir().join("files/end"), "").expect("it can be written");
    assert_eq!(caller.wait().0.code, 0);
}

#[test]
fn every_command_of_the_page_about_system_calls_says_what_the_page_shows() {
    let Some(guard) = Guard::root_or_skip() else {
        return;
    };
    let Some(caller) = caller(&guard) else {
        return;
    };
    for session in sessions("syscall.md") {
        let real = HashMap::from([(PID.to_owned(), caller.pid().to_string())]);
        hold(&guard, &session, real, settled_counts);
    }
    end_caller(&guard, caller);
}

#[test]
fn the_effect_on_system_calls_has_the_fields_that_the_page_shows() {
    let Some(guard) = Guard::root_or_skip() else {
        return;
    };
    let Some(caller) = caller(&guard) else {
        return;
    };
    let words = [
        "inject", "syscall", "--json", "--call", "pwrite64", "--errno", "ENOSPC",
    ];
    let murphy = guard.murphy(words).args(["--rate", "25%", "--for", "1s"]);
    let ended = murphy.args(["-t", &caller.target()]).run();
    assert_eq!(ended.code, 0, "{ended:?}");
    let last = ended.lines().pop().expect("it says something");
    compare_fields("syscall.md", &last);
    end_caller(&guard, caller);
}

/// What is done while the nodes of a wire send each other datagrams.
fn with_traffic(act: impl FnOnce(&Guard, HashMap<String, String>)) {
    let Some(guard) = Guard::root_or_skip() else {
        return;
    };
    let Some(nodes) = Nodes::lay_or_skip(&guard) else {
        return;
    };
    let names = [nodes.target(), nodes.peer()];
    let real = NAMESPACES.into_iter().map(str::to_owned).zip(names);
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                nodes.wire.send(true, 200);
                nodes.come_back(10);
            }
        });
        // Whoever fails must not leave the other one sending for ever.
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            act(&guard, real.collect());
        }));
        is_over.store(true, Ordering::Relaxed);
        if let Err(panic) = outcome {
            std::panic::resume_unwind(panic);
        }
    });
}

#[test]
fn every_command_of_the_page_about_packets_says_what_the_page_shows() {
    with_traffic(|guard, real| {
        for session in sessions("net.md") {
            hold(guard, &session, real.clone(), settled_counts);
        }
    });
}

#[test]
fn the_effect_on_packets_has_the_fields_that_the_page_shows() {
    with_traffic(|guard, real| {
        let words = [
            "inject", "net", "--json", "--loss", "30%", "--for", "1s", "-t",
        ];
        let ended = guard.murphy(words).arg(&real["netns:web"]).run();
        assert_eq!(ended.code, 0, "{ended:?}");
        compare_fields("net.md", &ended.lines().pop().expect("it says something"));
    });
}

/// A server on port 5432 of a namespace with ten clients there, all of this process, as the page calls them.
fn with_connections(act: impl FnOnce(&Guard, HashMap<String, String>)) {
    let Some(guard) = Guard::root_or_skip() else {
        return;
    };
    let (named, namespaces) = Named::make(&guard, ["w".to_owned()]);
    assert!(ip(&["-n", named.name(0), "link", "set", "lo", "up"]));
    if let Err(error) = connections::trial(&namespaces[0]) {
        return say_skipped(&error.to_string());
    }
    let made = namespaces[0].run(|| {
        let listener = TcpListener::bind("127.0.0.1:5432").expect("nobody else is there");
        let connect = || {
            let opened = TcpStream::connect("127.0.0.1:5432").expect("somebody listens");
            (opened, listener.accept().expect("somebody has come"))
        };
        let all: Vec<_> = (0..10).map(|_| connect()).collect();
        (listener, all)
    });
    let _kept = made.expect("a namespace");
    let name = fs::read_to_string("/proc/self/comm").expect("a name");
    let name = format!("{} {}", std::process::id(), name.trim());
    let real = [("netns:web", named.target(0)), ("4711 server", name)];
    act(
        &guard,
        real.map(|(page, real)| (page.to_owned(), real)).into(),
    );
}

/// A line about connections without what differs from one run to the next.
fn settled_connections(line: &str, command: &str) -> String {
    let mut before = "";
    let words = line.split_whitespace().map(|word| {
        let is_seed = before == "seed";
        before = word;
        if is_seed {
            "SEED"
        } else if word.starts_with("127.0.0.1:") && word != "127.0.0.1:5432" {
            "CLIENT"
        } else {
            word
        }
    });
    settled(&words.collect::<Vec<_>>().join(" "), command)
}

#[test]
fn every_command_of_the_page_about_connections_says_what_the_page_shows() {
    for session in sessions("conn.md") {
        with_connections(|guard, real| hold(guard, &session, real, settled_connections));
    }
}

#[test]
fn the_effect_on_connections_has_the_fields_that_the_page_shows() {
    with_connections(|guard, real| {
        let words = ["inject", "conn", "--json", "--rate", "20%", "-t"];
        let ended = guard.murphy(words).arg(&real["netns:web"]);
        let ended = ended.args(["--local-port", "5432"]).run();
        assert_eq!(ended.code, 0, "{ended:?}");
        compare_fields("conn.md", &ended.lines().pop().expect("it says something"));
    });
}

/// The names of all fields, by their path.
fn fields(value: &Value, path: &str, all: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            for (name, value) in map {
                all.push(format!("{path}.{name}"));
                fields(value, &format!("{path}.{name}"), all);
            }
        }
        Value::Array(list) => list.iter().for_each(|value| fields(value, path, all)),
        _ => {}
    }
    all.sort_unstable();
    all.dedup();
}

#[test]
fn the_effect_on_clocks_has_the_fields_that_the_page_shows() {
    let Some(guard) = Guard::root_or_skip() else {
        return;
    };
    let victim = victim(&guard);
    let words = [
        "inject", "time", "--json", "--offset", "-10m", "--for", "1s",
    ];
    let ended = guard.murphy(words).args(["-t", &victim.target()]).run();
    assert_eq!(ended.code, 0, "{ended:?}");
    compare_fields("time.md", &ended.lines().pop().expect("it says something"));
    victim.signal("TERM");
}

/// Expects that what was said has the fields that a page shows.
fn compare_fields(page: &str, real: &Value) {
    let shown = blocks(page)
        .into_iter()
        .find(|block| block.language == "json");
    let shown = shown.expect("the page shows one").lines.join("\n");
    let shown: Value = serde_json::from_str(&shown).expect("it is JSON");
    let (mut wanted, mut seen) = (Vec::new(), Vec::new());
    fields(&shown, "", &mut wanted);
    fields(real, "", &mut seen);
    assert_eq!(seen, wanted);
}
