//! A program that somebody else wrote, what it does, and what is known of it; one file for each.

pub mod etcd;
pub mod mail;
pub mod python;
pub mod torrent;

use std::{
    env, fs,
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

use crate::harness::{Guard, Running, wait_until};

/// So many of a hundred rows have the same verdict when a campaign is made again.
const SAME_PERCENT: u64 = 90;

/// How long the phases of a trial are, in seconds: baseline, control, injection, recovery.
type Seconds = [u64; 4];

/// A program, what it does, and what is known of it.
pub struct Story {
    /// What it is called.
    pub name: &'static str,
    /// Its words; they begin in a folder of their own, which is there.
    pub command: Vec<String>,
    /// Where it listens.
    pub port: u16,
    /// What it needs beside it, for as long as there is a story.
    #[expect(dead_code, reason = "it runs")]
    pub beside: Vec<Running>,
    /// What is done once, when it listens for the first time: words of a shell.
    pub once: Option<String>,
    /// What gives it work, words of a shell.
    pub workload: String,
    /// What tells that it is well.
    pub probe: String,
    /// What tells that it keeps what it should.
    pub validation: String,
    /// The phases of a trial, and those of the soak.
    pub phases: [Seconds; 2],
    /// What is rare by nature, or was not seen, is injected at this.
    pub rate: &'static str,
    /// What is steady by nature is injected at so many times that.
    pub factor: &'static str,
    /// So many more looks may fail.
    pub tolerance: &'static str,
    /// Errors that it meets by nature: each has a model.
    pub natural: Vec<&'static str>,
    /// Models that are tried, with what comes of each where that is known for sure.
    pub short: Vec<(&'static str, Option<&'static str>)>,
    /// Models that the soak tries, too.
    pub long: Vec<&'static str>,
}

/// Phases of a program that does its work many times a second.
pub const QUICK: [Seconds; 2] = [[2, 1, 3, 10], [6, 3, 8, 40]];

pub fn is_soak() -> bool {
    env::var_os("MURPHY_SOAK").is_some()
}

/// A port that nobody listens at.
pub fn port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").port()
}

pub fn listens(port: u16) -> bool {
    TcpStream::connect(("127.0.0.1", port)).is_ok()
}

/// What is told in docs/amplify.md stays in `target/tmp/stories`.
fn keep(name: &str, dir: &Path) {
    let to = Path::new(env!("CARGO_TARGET_TMPDIR"))
        .join("stories")
        .join(name);
    let _ = fs::remove_dir_all(&to);
    fs::create_dir_all(&to).expect("a folder");
    let copied = Command::new("cp")
        .args(["-r", "errors.jsonl", "models.yaml", "out", "again"])
        .arg(&to)
        .current_dir(dir)
        .status();
    assert!(copied.expect("cp starts").success());
}

/// Words as a command has them.
pub fn words(line: &str) -> Vec<String> {
    line.split(' ').map(str::to_owned).collect()
}

impl Story {
    /// Starts it, and what gives it work, until they are dropped.
    fn start(&self, guard: &Guard, dir: &Path) -> [Running; 2] {
        let command = self.command.iter().map(String::as_str);
        let program = guard
            .program(Path::new("sh"))
            .args(["-c", "exec \"$@\" >said 2>&1", "sh"])
            .args(command)
            .in_dir(dir)
            .start();
        wait_until("it listens", || listens(self.port));
        if let Some(once) = &self.once {
            let done = guard
                .program(Path::new("sh"))
                .args(["-c", once])
                .in_dir(dir)
                .run();
            assert_eq!(done.code, 0, "{done:?}");
        }
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
            .murphy(["amplify", "model", "--inject", "environmental"])
            .args(["--fixed", self.rate, "--factor", self.factor, "-o"])
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
        let [baseline, control, injection, recovery] = self.phases[usize::from(is_soak())];
        let mut murphy = guard
            .murphy([
                "amplify",
                "run",
                "--json",
                "--probe-every",
                "20ms",
                "--steady",
                "500ms",
            ])
            .args(["--no-search"])
            .args([
                "--tolerance",
                self.tolerance,
                "--slower",
                "5",
                "--repeats",
                if is_soak() { "4" } else { "2" },
                "--probe",
                &self.probe,
            ])
            .args(["--validate", &self.validation, "--workload", &self.workload])
            .args(["--baseline", &format!("{baseline}s")])
            .args(["--control", &format!("{control}s")])
            .args(["--injection", &format!("{injection}s")])
            .args(["--recovery", &format!("{recovery}s")])
            .args(["--replays", "1", "--out", out]);
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
    pub fn is_told(&self, guard: &Guard, dir: &Path) {
        let name = self.name;
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
            let trials = row["trials"].as_array().expect("trials");
            assert!(
                trials.iter().all(|one| one["rate"] == trials[0]["rate"]),
                "{row}"
            );
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
        for (row, other) in rows.iter().zip(&again) {
            println!(
                "figure: {name} {}: {} and {} ({})",
                row["experiment"], row["verdict"], other["verdict"], other["why"]
            );
        }
        keep(name, dir);
        let (same, of) = (&line["against"]["same_verdicts"], &line["against"]["of"]);
        println!("figure: {name}: {same} of {of} rows have the same verdict twice");
        let count = |value: &Value| value.as_u64().expect("a count");
        assert!(count(same) * 100 >= SAME_PERCENT * count(of), "{line}");
    }
}
