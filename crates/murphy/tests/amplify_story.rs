//! The whole story, on programs that somebody else wrote: what their system calls fail with is recorded, models are made of it, a
//! campaign injects these, and a report says what each program survives.
//!
//! A few rows by default; with `MURPHY_SOAK=1` at least ten rows each, twice, with the same verdicts.
#![allow(
    clippy::print_stdout,
    reason = "the soak reads the figure that is printed"
)]

mod harness;

use std::{
    env, fs,
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
};

use harness::{Guard, Running, say_skipped, wait_until};
use serde_json::Value;

/// So many of a hundred rows have the same verdict when a campaign is made again.
const SAME_PERCENT: u64 = 90;

/// A program, what it does, and what is known of it.
struct Story {
    /// Its words; they begin in a folder of their own, which is there.
    command: Vec<String>,
    /// Where it listens.
    port: u16,
    /// What gives it work, words of a shell.
    workload: String,
    /// What tells that it is well.
    probe: String,
    /// What tells that it keeps what it should.
    validation: String,
    /// Errors that it meets by nature: each has a model that is on.
    natural: Vec<&'static str>,
    /// Models that are tried, with what comes of each where that is known for sure.
    short: Vec<(&'static str, Option<&'static str>)>,
    /// Models that the soak tries, too.
    long: Vec<&'static str>,
}

fn is_soak() -> bool {
    env::var_os("MURPHY_SOAK").is_some()
}

fn port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").port()
}

impl Story {
    fn etcd() -> Option<Self> {
        if !Path::new("/usr/bin/etcd").exists() {
            say_skipped("etcd is not installed");
            return None;
        }
        let (clients, peers) = (port(), port());
        let url = |port: u16| format!("http://127.0.0.1:{port}");
        let flags = [
            ("data-dir", "data".to_owned()),
            ("listen-client-urls", url(clients)),
            ("advertise-client-urls", url(clients)),
            ("listen-peer-urls", url(peers)),
            ("initial-advertise-peer-urls", url(peers)),
            ("initial-cluster", format!("default={}", url(peers))),
        ];
        let flags = flags.map(|(name, value)| format!("--{name}={value}"));
        let key = "-d '{\"key\":\"Zm9v\"}'";
        let both = "-d '{\"key\":\"Zm9v\",\"value\":\"YmFy\"}'";
        let kv = format!("{}/v3/kv", url(clients));
        Some(Self {
            command: [vec!["etcd".to_owned()], flags.to_vec()].concat(),
            port: clients,
            workload: format!(
                "for i in $(seq 50); do curl -s -m 2 {both} {kv}/put; curl -s -m 2 {key} {kv}/range; done >/dev/null"
            ),
            probe: format!("up={}/health", url(clients)),
            validation: format!(
                "sh:curl -s -m 5 {both} {kv}/put >/dev/null; curl -s -m 5 {key} {kv}/range | grep -q YmFy"
            ),
            natural: vec!["read-tcp-nowait-EAGAIN", "accept4-tcp-nowait-EAGAIN"],
            // What could not be written to the log of transactions ends it.
            short: vec![
                ("fdatasync-file-EIO", Some("crashed")),
                ("nanosleep-EINTR", None),
            ],
            long: vec![
                "read-tcp-nowait-EAGAIN",
                "accept4-tcp-nowait-EAGAIN",
                "epoll_pwait-epoll-EINTR",
                "read-tcp-nowait-ECONNRESET",
                "write-tcp-nowait-EPIPE",
                "accept4-tcp-nowait-EMFILE",
                "write-file-ENOSPC",
                "pwrite64-file-ENOSPC",
                "epoll_ctl:add-tcp-nowait-ENOMEM",
                "fdatasync-file-ENOSPC",
            ],
        })
    }

    fn python(dir: &Path) -> Self {
        let port = port();
        fs::write(dir.join("page"), "it is here\n").expect("a file");
        let url = format!("http://127.0.0.1:{port}");
        Self {
            command: [
                "python3",
                "-m",
                "http.server",
                "--bind",
                "127.0.0.1",
                &port.to_string(),
            ]
            .map(str::to_owned)
            .to_vec(),
            port,
            workload: format!(
                "for i in $(seq 50); do curl -s -m 2 {url}/page {url}/none; done >/dev/null"
            ),
            probe: format!("up={url}/page"),
            validation: format!("sh:curl -s -m 5 {url}/page | grep -q 'it is here'"),
            natural: vec!["openat:plain-ENOENT"],
            // Who cannot be given a page is told so; nobody else notices.
            short: vec![("openat:plain-EMFILE", None), ("openat:plain-ENOENT", None)],
            long: vec![
                "openat:plain-EIO",
                "openat:plain-EACCES",
                "read-file-EIO",
                "sendto-tcp-EPIPE",
                "sendto-tcp-ECONNRESET",
                "recvfrom-tcp-ECONNRESET",
                "recvfrom-tcp-EINTR",
                "accept4-tcp-EMFILE",
                "accept4-tcp-ECONNABORTED",
                "close-EIO",
                "clone3:thread-EAGAIN",
            ],
        }
    }

    /// Starts it, and what gives it work, until they are dropped.
    fn start(&self, guard: &Guard, dir: &Path) -> [Running; 2] {
        let command = self.command.iter().map(String::as_str);
        let program = guard
            .program(Path::new("sh"))
            .args(["-c", "exec \"$@\" >said 2>&1", "sh"])
            .args(command)
            .in_dir(dir)
            .start();
        wait_until("it listens", || {
            TcpStream::connect(("127.0.0.1", self.port)).is_ok()
        });
        let again = format!("while :; do {}; done", self.workload);
        let workload = guard
            .program(Path::new("sh"))
            .args(["-c", &again])
            .in_dir(dir)
            .start();
        [program, workload]
    }

    /// A recording of it, and the models that are made of that.
    fn models(&self, guard: &Guard, dir: &Path) -> PathBuf {
        let [program, workload] = self.start(guard, dir);
        let (errors, models) = (dir.join("errors.jsonl"), dir.join("models.yaml"));
        let recorded = guard
            .murphy(["amplify", "record", "--interval", "500ms", "--for"])
            .arg(if is_soak() { "60s" } else { "5s" })
            .args(["-t", &program.target(), "-o"])
            .arg(&errors)
            .run();
        assert_eq!(recorded.code, 0, "{recorded:?}");
        workload.signal("KILL");
        workload.wait();
        program.signal("TERM");
        program.wait();
        let modelled = guard
            .murphy(["amplify", "model", "--inject", "environmental", "-o"])
            .arg(&models)
            .arg(&errors)
            .run();
        assert_eq!(modelled.code, 0, "{modelled:?}");
        models
    }

    /// The rows of a campaign with these models.
    fn rows(
        &self,
        guard: &Guard,
        dir: &Path,
        models: &Path,
        names: &[&str],
        out: &str,
    ) -> Vec<Value> {
        let phases: &[&str] = if is_soak() {
            &[
                "--baseline",
                "8s",
                "--control",
                "4s",
                "--injection",
                "10s",
                "--recovery",
                "20s",
                "--replays",
                "2",
            ]
        } else {
            &[
                "--baseline",
                "2s",
                "--control",
                "1s",
                "--injection",
                "3s",
                "--recovery",
                "10s",
                "--replays",
                "1",
            ]
        };
        let mut murphy = guard
            .murphy([
                "amplify",
                "run",
                "--json",
                "--first",
                "5%",
                "--probe-every",
                "20ms",
                "--steady",
                "500ms",
            ])
            .args([
                "--tolerance",
                "15%",
                "--slower",
                "5",
                "--repeats",
                "2",
                "--probe",
                &self.probe,
            ])
            .args(["--validate", &self.validation, "--workload", &self.workload])
            .args(phases)
            .args(["--out", out]);
        for name in names {
            murphy = murphy.args(["--only", name]);
        }
        let ended = murphy
            .arg(models)
            .arg("--")
            .args(&self.command)
            .in_dir(dir)
            .run();
        assert!([0, 1, 4].contains(&ended.code), "{ended:?}");
        let rows = ended
            .lines()
            .into_iter()
            .filter(|line| line["event"] == "row");
        let rows: Vec<Value> = rows.map(|line| line["row"].clone()).collect();
        assert_eq!(rows.len(), names.len(), "{ended:?}");
        assert!(dir.join(out).join("report.html").exists());
        rows
    }

    /// All of it.
    fn is_told(&self, guard: &Guard, dir: &Path, name: &str) {
        let models = self.models(guard, dir);
        let text = fs::read_to_string(&models).expect("models");
        for error in &self.natural {
            let entry = text
                .split("  - name: ")
                .find(|entry| entry.starts_with(&format!("{error}\n")));
            let entry = entry.unwrap_or_else(|| panic!("no {error} in {text}"));
            assert!(entry.contains("realism: seen"), "{entry}");
        }
        let is_there = |model: &&str| text.contains(&format!("  - name: {model}\n"));
        let mut names: Vec<&str> = self.short.iter().map(|(model, _)| *model).collect();
        if is_soak() {
            names.extend(self.long.iter().copied().filter(is_there));
            assert!(names.len() >= 10, "{names:?} of {text}");
        }
        let rows = self.rows(guard, dir, &models, &names, "out");
        // In the order of the file: what tells most comes first.
        for (model, verdict) in &self.short {
            let row = rows.iter().find(|row| row["experiment"] == *model);
            let row = row.unwrap_or_else(|| panic!("no {model} in {rows:?}"));
            // Who ends at the first hit takes its count along.
            let mut trials = row["trials"].as_array().expect("trials").iter();
            let is_cut = trials.any(|one| one["seen"]["is_cut"] == true);
            assert!(is_cut || row["injections"].as_u64() > Some(0), "{row}");
            if let Some(verdict) = verdict {
                assert_eq!(row["verdict"], *verdict, "{row}");
            }
        }
        if !is_soak() {
            return;
        }
        let again = self.rows(guard, dir, &models, &names, "again");
        let compared = guard
            .murphy(["amplify", "report", "again", "--against", "out", "--json"])
            .in_dir(dir)
            .run();
        let line = &compared.lines()[0];
        for row in &again {
            println!(
                "figure: {name} {}: {} ({})",
                row["experiment"], row["verdict"], row["why"]
            );
        }
        let (same, of) = (&line["against"]["same_verdicts"], &line["against"]["of"]);
        println!("figure: {name}: {same} of {of} rows have the same verdict twice");
        let count = |value: &Value| value.as_u64().expect("a count");
        assert!(count(same) * 100 >= SAME_PERCENT * count(of), "{line}");
    }
}

#[test]
fn etcd_is_told_what_it_survives() {
    let Some(guard) = Guard::root_or_skip() else {
        return;
    };
    let dir = guard.dir().join("etcd");
    fs::create_dir(&dir).expect("a folder");
    if let Some(story) = Story::etcd() {
        story.is_told(&guard, &dir, "etcd");
    }
}

#[test]
fn a_service_in_python_is_told_what_it_survives() {
    let Some(guard) = Guard::root_or_skip() else {
        return;
    };
    let dir = guard.dir().join("python");
    fs::create_dir(&dir).expect("a folder");
    Story::python(&dir).is_told(&guard, &dir, "python");
}
