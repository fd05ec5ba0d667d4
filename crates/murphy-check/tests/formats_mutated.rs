//! Whatever stands in a file: reading it ends, in a recording or in an error with a place, and soon.
//!
//! Histories of each format are damaged at random: bits flipped, parts cut out, doubled, cut off, spliced with those of
//! other formats, words of every format put in. By default five thousand for each format, seeded; with `MURPHY_SOAK=1` ten
//! minutes each. `fuzz/` has the same targets for libFuzzer, which sees what the reader does.

#![allow(clippy::print_stderr, reason = "a soak run prints its figures")]

mod anything;

use std::{
    fs, panic,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use murphy_check::{
    etcd::generate::{Profile, Story},
    formats::{self, Format, Options, Written},
};
use rand::{RngExt as _, SeedableRng};
use rand_chacha::ChaCha8Rng;

const EDN: &str = include_str!("corpus/transfers.edn");
const JSON: &str = include_str!("corpus/transactions.json");
const LOG: &str = include_str!("corpus/register.log");
const KV: &str = include_str!("corpus/kv.txt");
const MURPHY: &str = include_str!("corpus/queue.jsonl");
const REPORT: &str = include_str!("corpus/operations.json");
const ETCD: &str = include_str!("corpus/etcd.jsonl");

/// Words that mean something in some format.
const WORDS: [&str; 40] = [
    "{",
    "}",
    "[",
    "]",
    "(",
    ")",
    "\"",
    "\\",
    ":",
    ",",
    ";",
    "#",
    "#_",
    "^",
    "\n",
    "\t",
    "nil",
    "null",
    "true",
    ":invoke",
    ":ok",
    ":info",
    "\"type\":\"ok\"",
    "\"time\":0",
    ":time -1",
    ":index 0",
    ":process :nemesis",
    ":f :txn",
    "-9223372036854775808",
    "18446744073709551616",
    "1e400",
    "\\u0000",
    "\\ud800",
    "\u{feff}",
    "##NaN",
    "{\"let\":\"x\"",
    "{\"murphy\":\"history\"",
    "\"Events\":[{}]",
    "INFO  jepsen.util - ",
    "\0",
];

/// So long may one input take on a machine that does much else besides.
const PATIENCE: Duration = Duration::from_mins(1);

/// So much memory may all inputs take together.
const MEMORY_KIB: u64 = 2 << 20;

fn damage(rng: &mut ChaCha8Rng, own: &[u8], others: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = own.to_vec();
    for _ in 0..rng.random_range(1..6) {
        let at = rng.random_range(0..=bytes.len());
        let end = (at + rng.random_range(0..64)).min(bytes.len());
        match rng.random_range(0..8) {
            0 if at < bytes.len() => bytes[at] ^= 1 << rng.random_range(0..8),
            1 if at < bytes.len() => bytes[at] = rng.random(),
            2 => drop(bytes.drain(at..end)),
            3 => bytes.truncate(at),
            4 => {
                let part = bytes[at..end].to_vec();
                let times = rng.random_range(1..20);
                bytes.splice(at..at, part.repeat(times));
            }
            5 => {
                let other = &others[rng.random_range(0..others.len())];
                let from = rng.random_range(0..=other.len());
                let to = (from + rng.random_range(0..200)).min(other.len());
                bytes.splice(at..end, other[from..to].iter().copied());
            }
            6 => {
                // Two lines change places, or one comes twice.
                let lines: Vec<&[u8]> = bytes.split_inclusive(|byte| *byte == b'\n').collect();
                if lines.len() > 1 {
                    let mut order: Vec<usize> = (0..lines.len()).collect();
                    let (a, b) = (
                        rng.random_range(0..lines.len()),
                        rng.random_range(0..lines.len()),
                    );
                    if rng.random() {
                        order.swap(a, b);
                    } else {
                        order.insert(a, b);
                    }
                    bytes = order
                        .into_iter()
                        .flat_map(|line| lines[line])
                        .copied()
                        .collect();
                }
            }
            _ => {
                let word = WORDS[rng.random_range(0..WORDS.len())];
                let times = if rng.random_range(0..20) == 0 { 200 } else { 1 };
                bytes.splice(at..at, word.repeat(times).into_bytes());
            }
        }
    }
    bytes
}

fn others() -> Vec<Vec<u8>> {
    [EDN, JSON, LOG, KV, MURPHY, REPORT, ETCD]
        .map(|text| text.as_bytes().to_vec())
        .to_vec()
}

/// Ends the program with the input's number where an input takes too long.
struct Watchdog {
    input: Arc<AtomicU64>,
    is_over: Arc<AtomicBool>,
}

impl Watchdog {
    fn new(name: &'static str) -> Self {
        let (input, is_over) = (
            Arc::new(AtomicU64::new(0)),
            Arc::new(AtomicBool::new(false)),
        );
        let (watched, ended) = (input.clone(), is_over.clone());
        thread::spawn(move || {
            let (mut last, mut since) = (0, Instant::now());
            while !ended.load(Ordering::Relaxed) {
                thread::sleep(Duration::from_millis(100));
                let now = watched.load(Ordering::Relaxed);
                if now != last {
                    (last, since) = (now, Instant::now());
                } else if since.elapsed() > PATIENCE {
                    eprintln!("{name}: input {now} takes longer than {PATIENCE:?}");
                    std::process::abort();
                }
            }
        });
        Self { input, is_over }
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
    }
}

/// Reads damaged histories with `read`, for a while.
fn try_out(name: &'static str, own: &[Vec<u8>], read: impl Fn(&[u8]) + panic::RefUnwindSafe) {
    let is_soak = std::env::var_os("MURPHY_SOAK").is_some();
    let until = Instant::now() + Duration::from_mins(10);
    let others = others();
    let watchdog = Watchdog::new(name);
    let mut number = 0;
    for history in own {
        read(history);
    }
    while if is_soak {
        Instant::now() < until
    } else {
        number < 5_000
    } {
        number += 1;
        watchdog.input.store(number, Ordering::Relaxed);
        let mut rng = ChaCha8Rng::seed_from_u64(number);
        let chosen = &own[rng.random_range(0..own.len())];
        let bytes = damage(&mut rng, chosen, &others);
        if let Err(panic) = panic::catch_unwind(|| read(&bytes)) {
            eprintln!(
                "{name}: input {number}:\n{}",
                String::from_utf8_lossy(&bytes)
            );
            panic::resume_unwind(panic);
        }
    }
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let peak = peak.and_then(|words| words.trim().trim_end_matches(" kB").parse::<u64>().ok());
    assert!(peak.is_none_or(|kib| kib < MEMORY_KIB), "{peak:?} KiB");
    eprintln!(
        "{name}: {number} damaged histories, at most {} KiB of memory",
        peak.unwrap_or_default()
    );
}

/// The history of the corpus, and what the writer makes of it.
fn with_written(text: &str, format: Written) -> Vec<Vec<u8>> {
    let options = Options {
        model: Some("anything"),
        ..Options::default()
    };
    let mut written = Vec::new();
    for text in [EDN, JSON, LOG, KV] {
        let recording = formats::read(text.as_bytes(), &options).expect("the corpus is right");
        let mut bytes = Vec::new();
        formats::write(&recording, format, &mut bytes).expect("memory can be written");
        written.push(bytes);
    }
    written.push(text.as_bytes().to_vec());
    written
}

#[test]
fn murphy() {
    let own = with_written(MURPHY, Written::Murphy);
    try_out("murphy", &own, |bytes| {
        anything::read_as(Format::Murphy, bytes);
    });
}

#[test]
fn edn() {
    let own = with_written(EDN, Written::Edn);
    try_out("edn", &own, |bytes| anything::read_as(Format::Edn, bytes));
}

#[test]
fn jepsen_json() {
    let own = with_written(JSON, Written::JepsenJson);
    try_out("jepsen-json", &own, |bytes| {
        anything::read_as(Format::JepsenJson, bytes);
    });
}

#[test]
fn jepsen_log() {
    let own = [LOG.as_bytes().to_vec()];
    try_out("jepsen-log", &own, |bytes| {
        anything::read_as(Format::JepsenLog, bytes);
    });
}

#[test]
fn porcupine_kv() {
    let own = [KV.as_bytes().to_vec()];
    try_out("porcupine-kv", &own, |bytes| {
        anything::read_as(Format::PorcupineKv, bytes);
    });
}

#[test]
fn etcd_report() {
    let own = [REPORT.as_bytes().to_vec()];
    try_out("etcd-report", &own, |bytes| {
        anything::read_as(Format::EtcdReport, bytes);
    });
}

#[test]
fn detected() {
    let own = others();
    try_out("auto", &own, anything::read_detected);
}

#[test]
fn etcd() {
    let story = |profile| Story::generate(&profile, 3).bytes();
    let record = murphy_check::etcd::Record::read(ETCD.as_bytes());
    assert_eq!(record.expect("the corpus is right").operations(), 4);
    let own = [
        ETCD.as_bytes().to_vec(),
        story(Profile {
            clients: 4,
            keys: 5,
            ..Profile::mixed(30)
        }),
        story(Profile {
            clients: 3,
            keys: 4,
            conditions: 3,
            ..Profile::compare(20)
        }),
    ];
    try_out("etcd", &own, anything::read_etcd);
}
