//! On a terminal `murphy observe` is a screen, and whatever ends it, the terminal is what it was before; what is observed
//! can be kept in a folder, with a report.

#[path = "../../murphy-sys/tests/wire/mod.rs"]
mod wire;

mod harness;
mod network;
mod victims;

use std::{
    fs::{self, File},
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    os::fd::OwnedFd,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use harness::{Guard, say_skipped, signal, wait_until};
use murphy_sys::{ping::Pinger, tcp_events};
use network::Named;
use rustix::{
    fs::{Mode, OFlags, open},
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{LocalModes, Termios, Winsize, tcgetattr, tcsetwinsize},
};
use serde_json::Value;
use wire::{Wire, address};

const ENTERED: &str = "\x1b[?1049h";
const LEFT: &str = "\x1b[?1049l";

/// A terminal, as those see it who sit before it.
struct Terminal {
    master: File,
    slave: OwnedFd,
    shown: Arc<Mutex<String>>,
}

impl Terminal {
    fn open(columns: u16, rows: u16) -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
        grantpt(&master).expect("a terminal");
        unlockpt(&master).expect("a terminal");
        let name = ptsname(&master, Vec::new()).expect("it has a name");
        let slave = open(name, OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).expect("its end");
        let size = Winsize {
            ws_row: rows,
            ws_col: columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        tcsetwinsize(&slave, size).expect("a size");
        let master = File::from(master);
        let shown = Arc::new(Mutex::new(String::new()));
        let (mut from, to) = (master.try_clone().expect("one more"), Arc::clone(&shown));
        // It ends with the terminal.
        thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = from.read(&mut bytes) {
                let text = String::from_utf8_lossy(&bytes[..count]).into_owned();
                to.lock().unwrap().push_str(&text);
            }
        });
        Self {
            master,
            slave,
            shown,
        }
    }

    fn start(&self, guard: &Guard, words: &[&str], colours: &str) -> Child {
        let end = || Stdio::from(self.slave.try_clone().expect("one more"));
        // It gets a session of its own, whose terminal this is.
        Command::new("setsid")
            .args(["--ctty", "--wait", env!("CARGO_BIN_EXE_murphy")])
            .args(words)
            .env("MURPHY_JOURNAL", guard.journal())
            .env("TERM", "xterm-256color")
            .env("NO_COLOR", colours)
            .stdin(end())
            .stdout(end())
            .stderr(end())
            .spawn()
            .expect("it starts")
    }

    fn has(&self, text: &str) -> bool {
        self.shown.lock().unwrap().contains(text)
    }

    fn shown(&self) -> String {
        self.shown.lock().unwrap().clone()
    }

    fn modes(&self) -> Termios {
        tcgetattr(&self.slave).expect("it has modes")
    }

    fn press(&self, keys: &[u8]) {
        (&self.master).write_all(keys).expect("a key");
    }
}

/// The screen is there, ends by what is done to it, and leaves the terminal as it was.
fn is_given_back(words: &[&str], end: impl FnOnce(&Terminal, u32)) -> String {
    let Some(guard) = Guard::root_or_skip() else {
        return String::new();
    };
    let (named, namespaces) = Named::make(&guard, ["c".to_owned()]);
    let terminal = Terminal::open(100, 30);
    let before = terminal.modes();
    let target = named.target(0);
    let mut all = vec!["observe", "-t", &target];
    all.extend(words);
    let mut child = terminal.start(&guard, &all, "");
    wait_until("the screen is there", || terminal.has("q quit"));
    assert!(terminal.has(ENTERED));
    let modes = terminal.modes();
    assert!(
        !modes
            .local_modes
            .intersects(LocalModes::ICANON | LocalModes::ECHO)
    );
    end(&terminal, child.id());
    let status = child.wait().expect("it can be waited for");
    wait_until("it has said all", || terminal.has("ended: "));
    let shown = terminal.shown();
    assert_eq!(status.code(), Some(0), "{shown}");
    let (_, after) = shown.rsplit_once(LEFT).expect("the terminal is given back");
    assert!(after.contains("\x1b[?25h"), "there is a cursor: {after:?}");
    assert!(after.contains("nothing was found"), "{after:?}");
    let after = terminal.modes();
    assert_eq!(after.local_modes, before.local_modes);
    assert_eq!(after.input_modes, before.input_modes);
    assert_eq!(after.output_modes, before.output_modes);
    drop(namespaces);
    shown
}

/// Murphy below the one who has started it.
fn murphy_of(parent: u32) -> u32 {
    let path = format!("/proc/{parent}/task/{parent}/children");
    let children = fs::read_to_string(path).unwrap_or_default();
    let first = children.split_whitespace().next();
    // Who has not forked has executed it.
    first.map_or(parent, |pid| pid.parse().expect("a pid"))
}

#[test]
fn the_key_q_ends_it() {
    is_given_back(&[], |terminal, _| {
        // Keys that do something else end nothing, nor does another size.
        terminal.press(b"?\x1b[Bp");
        wait_until("it stands still", || terminal.has("PAUSED"));
        let size = Winsize {
            ws_row: 10,
            ws_col: 40,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        tcsetwinsize(&terminal.slave, size).expect("a size");
        terminal.press(b"pq");
    });
}

#[test]
fn the_keys_of_an_interrupt_end_it() {
    is_given_back(&[], |terminal, _| terminal.press(b"\x03"));
}

#[test]
fn being_asked_to_end_ends_it() {
    is_given_back(&[], |_, pid| signal(murphy_of(pid), "TERM"));
}

#[test]
fn its_time_ends_it() {
    is_given_back(&["--for", "3s"], |_, _| {});
}

#[test]
fn whoever_wants_lines_has_lines() {
    let Some(guard) = Guard::root_or_skip() else {
        return;
    };
    let (named, namespaces) = Named::make(&guard, ["c".to_owned()]);
    let target = named.target(0);
    for words in [["--plain", "--for", "1s"], ["--json", "--for", "1s"]] {
        let terminal = Terminal::open(80, 24);
        let mut all = vec!["observe", "-t", &target];
        all.extend(words);
        let mut child = terminal.start(&guard, &all, "1");
        assert_eq!(child.wait().expect("it ends").code(), Some(0));
        wait_until("it has said all", || terminal.has("ended"));
        assert!(!terminal.has(ENTERED), "{}", terminal.shown());
    }
    drop(namespaces);
}

#[test]
fn a_folder_keeps_what_was_found_and_what_was_injected_and_a_report_shows_it() {
    let Some(guard) = Guard::root_or_skip() else {
        return;
    };
    if let Err(error) = tcp_events::trial() {
        return say_skipped(&error.to_string());
    }
    let (named, namespaces) = Named::make(&guard, ["c".to_owned(), "s".to_owned()]);
    let [a, b] = namespaces.try_into().expect("two were made");
    if let Err(error) = Pinger::new(&a, None) {
        return say_skipped(&error.to_string());
    }
    let wire = Wire::lay(a, b);
    let at: SocketAddr = (address(true, 2), 0).into();
    let listener = wire.b.run(|| TcpListener::bind(at));
    let listener = listener.expect("a namespace").expect("a socket");
    let to = listener.local_addr().expect("it is bound");
    let asked = wire.a.run(|| TcpStream::connect(to));
    let mut asked = asked.expect("a namespace").expect("a connection");
    let (mut answers, _) = listener.accept().expect("a connection");
    thread::spawn(move || {
        let mut bytes = [0; 64];
        while let Ok(1..) = answers.read(&mut bytes) {}
    });
    thread::spawn(move || {
        while asked.write_all(&[7; 64]).is_ok() {
            thread::sleep(Duration::from_millis(20));
        }
    });
    let out = guard.dir().join("out");
    let target = named.target(0);
    let words = ["observe", "-t", &target, "--json", "--out"];
    let observer = guard.murphy(words).arg(&out).start();
    thread::sleep(Duration::from_secs(4));
    let words = ["inject", "net", "-t", &target, "--partition", "--for", "6s"];
    let injected = guard.murphy(words).run();
    assert_eq!(injected.code, 0, "{injected:?}");
    thread::sleep(Duration::from_secs(2));
    observer.signal("INT");
    let ended = observer.wait();
    assert_eq!(ended.code, 0, "{ended:?}");
    let read = |name: &str| fs::read_to_string(out.join(name)).expect("it was written");
    let events: Vec<Value> = read("events.jsonl")
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    assert_eq!(events[0]["murphy"], "events");
    let of = |kind: &str, event: &str| {
        let is = |line: &&Value| line["kind"] == kind && line["event"] == event;
        events.iter().find(is).cloned().unwrap_or_default()
    };
    let found = of("finding", "found");
    assert_eq!(found["finding"], "partition", "{events:?}");
    assert_eq!(found["edge"]["peer"], to.ip().to_string());
    let fault = of("fault", "active");
    assert_eq!(fault["family"], "net", "{events:?}");
    assert_eq!(of("fault", "recovered")["id"], fault["id"], "{events:?}");
    assert!(
        fault["time"].as_u64() < found["time"].as_u64(),
        "{events:?}"
    );
    assert_eq!(of("run", "ended")["kind"], "run");
    let snapshot: Value = serde_json::from_str(&read("snapshot.json")).expect("JSON");
    assert_eq!(snapshot["findings"][0]["kind"], "partition", "{snapshot}");
    let report = read("report.html");
    for part in [
        "class=\"service-map\"",
        "PARTITION",
        "class=\"span band net\"",
    ] {
        assert!(report.contains(part), "{part} is not in {report}");
    }
    if let Some(directory) = std::env::var_os("MURPHY_PICTURES") {
        fs::write(
            std::path::Path::new(&directory).join("report.html"),
            &report,
        )
        .expect("a page");
    }
    // What is there is not written over.
    let words = ["observe", "-t", &target, "--once", "--out"];
    let again = guard.murphy(words).arg(&out).run();
    assert_eq!(again.code, 2, "{again:?}");
    assert!(again.stderr.contains("not empty"), "{again:?}");
}
