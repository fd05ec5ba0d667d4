//! A series is one claim about Murphy and the repetitions that measure it.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

use super::outcome::Ledger;

/// One claim, and how it is measured.
pub struct Series {
    /// What a developer types to choose it.
    pub name: String,
    /// What is claimed, for the table.
    pub claim: String,
    pub repetitions: u32,
    /// How many repetitions must come out as expected.
    pub required: u32,
    /// The most a repetition may take, where the claim names a time.
    pub seconds_max: Option<f64>,
    work: Work,
}

/// What one repetition does.
enum Work {
    /// A hunt with the repetition's number as its seed, or a scenario, that must end in this verdict, and must be
    /// judged the same again from its history alone.
    Hunt {
        arguments: Vec<String>,
        expected: &'static str,
        /// The most events that each witness may have.
        witness_max: Option<usize>,
    },
    /// The demonstration, which must succeed.
    Demo,
    /// A file of tests that takes its counts in full when it is told to; a line `figure: …` that it prints is shown.
    Test {
        package: &'static str,
        file: &'static str,
    },
}

/// Every series, in the order in which they are measured and shown.
pub fn all() -> Vec<Series> {
    let mut all = vec![
        rate("hunt-3.5.0", "3.5.0", "broken", 16),
        rate("hunt-3.4.23", "system", "held", 20),
    ];
    for issue in ["18089", "18667"] {
        all.extend(
            [("3.4.23", "system"), ("3.5.0", "3.5.0"), ("3.5.1", "3.5.1")]
                .map(|(version, etcd)| scenario(issue, version, etcd)),
        );
    }
    all.extend([
        test(
            "kills",
            "kill -9 of injector and keeper leaves nothing stopped",
            "murphy",
            "killed",
        ),
        test(
            "time-cycles",
            "1,000 skews on and off of 8 hammering threads, and of threads and children that come and go",
            "murphy",
            "time_cycles",
        ),
        test(
            "time-kills",
            "kill -9 of a skew's injector and keeper at 500 instants leaves a pristine target",
            "murphy",
            "time_killed",
        ),
        test(
            "net-kills",
            "kill -9 of injector and keeper at 300 instants of disturbed packets leaves nobody disturbed",
            "murphy",
            "net_killed",
        ),
        test(
            "net-effects",
            "every fault by every engine, each way and both: the receiver sees what Murphy counts",
            "murphy",
            "net_effects",
        ),
        test(
            "conn-kills",
            "kill -9 of injector and keeper at 300 instants of ended connections leaves nobody refused or stalled",
            "murphy",
            "conn_killed",
        ),
        test(
            "conn-matrix",
            "of 1 to 10,000 connections exactly the planned share ends, rounded up, and the others answer",
            "murphy",
            "conn_matrix",
        ),
        test(
            "conn-pool",
            "in five minutes of 20 % a second no connection of ten gets older than chance allows; once, exactly two end",
            "murphy",
            "conn_pool",
        ),
        test(
            "observe-matrix",
            "each fault is found at both ends with its kind, edge and way, or said to be unseen: precision and recall of 160 cells at least 0.98",
            "murphy",
            "observe_matrix",
        ),
        test(
            "syscall-matrix",
            "every error that a call meets, at 25 % and 100 %, in programs of eight kinds: as often as asked, no other call, code as before",
            "murphy",
            "syscall",
        ),
        test(
            "amplify-verdicts",
            "a server known to crash, hang, forget, do worse and survive gets these verdicts, and the breaking rates within 1.5",
            "murphy",
            "amplify_run",
        ),
        test(
            "amplify-stories",
            "etcd, a web server in Python, TTorrent and Dovecot, ten rows each, twice: the same verdicts on 90 % of the rows",
            "murphy",
            "amplify_story",
        ),
        test(
            "observe-healthy",
            "an hour of healthy traffic on the shop, every service observed: nothing is found",
            "murphy",
            "observe_healthy",
        ),
        test(
            "observe-retransmits",
            "in 20 runs the retransmits of containers and upstreams are those of their namespaces (RetransSegs)",
            "murphy",
            "observe_traps",
        ),
        test(
            "time-monitors",
            "of three monitors exactly the skewed one sees its clock go back; runtimes, PostgreSQL and etcd are skewed",
            "murphy",
            "time_runtimes",
        ),
        test(
            "mutations",
            "every invalid mutation is caught, no valid history raises an alarm",
            "murphy-check",
            "soundness",
        ),
        test(
            "oracle",
            "small histories are judged as brute force judges them",
            "murphy-check",
            "oracle",
        ),
        Series {
            name: "demo".to_owned(),
            claim: "`make demo` finds the bug, build excluded".to_owned(),
            repetitions: 10,
            required: 10,
            seconds_max: None,
            work: Work::Demo,
        },
    ]);
    all.extend(JUDGE.map(|(file, claim)| test(file, claim, "murphy-check", file)));
    all
}

/// The other large counts of the judge, by the file of tests that takes them.
const JUDGE: [(&str, &str); 9] = [
    (
        "models",
        "every model is judged as brute force judges it, also live, every witness small and confirmed",
    ),
    (
        "judge",
        "random histories of every model are judged whole as brute force judges them",
    ),
    (
        "monitors",
        "the monitors and the search agree with brute force",
    ),
    (
        "sequential",
        "sequential consistency is judged as brute force judges it",
    ),
    (
        "sessions",
        "the guarantees of sessions are judged as brute force judges them",
    ),
    (
        "isolation",
        "levels of isolation are judged as brute force judges them",
    ),
    (
        "live",
        "a live judge of models says what the judge of whole histories says, in bounded memory",
    ),
    (
        "etcd_live",
        "a live judge of etcd says what the judge of whole histories says, and raises no alarm",
    ),
    (
        "formats_mutated",
        "ten minutes of spoiled input for each reader end in an error or a history, never in a crash",
    ),
];

/// The rate at which a hunt of one version, over twenty seeds, ends as it should.
fn rate(name: &str, etcd: &str, expected: &'static str, required: u32) -> Series {
    let arguments = [
        "--etcd",
        etcd,
        "--nodes",
        "3",
        "--profile",
        "compare",
        "--faults",
        "kill",
        "--for",
        "60s",
    ]
    .into_iter()
    .chain(["--promise", "members-agree,durable,linearizable"])
    .map(str::to_owned)
    .collect();
    Series {
        name: name.to_owned(),
        claim: format!(
            "60 s of kills on etcd {}: {expected}",
            name.trim_start_matches("hunt-")
        ),
        repetitions: 20,
        required,
        seconds_max: None,
        work: Work::Hunt {
            arguments,
            expected,
            witness_max: None,
        },
    }
}

/// A scripted bug, which every version here has.
fn scenario(issue: &str, version: &str, etcd: &str) -> Series {
    let arguments = ["--etcd", etcd, "--scenario", &format!("issue-{issue}")]
        .map(str::to_owned)
        .to_vec();
    Series {
        name: format!("{issue}-{version}"),
        claim: format!(
            "scenario issue-{issue} on etcd {version}: broken, witness of 2 or 3, under 10 s"
        ),
        repetitions: 20,
        required: 20,
        seconds_max: Some(10.0),
        work: Work::Hunt {
            arguments,
            expected: "broken",
            witness_max: Some(3),
        },
    }
}

fn test(name: &str, claim: &str, package: &'static str, file: &'static str) -> Series {
    Series {
        name: name.to_owned(),
        claim: claim.to_owned(),
        repetitions: 1,
        required: 1,
        seconds_max: None,
        work: Work::Test { package, file },
    }
}

impl Series {
    /// The command of one repetition.
    pub fn command(&self, root: &Path, out: &Path, repetition: u32) -> Command {
        match &self.work {
            Work::Hunt { arguments, .. } => {
                let mut command = murphy(root);
                command
                    .args(["hunt", "etcd", "--json"])
                    .args(arguments)
                    .arg("--out")
                    .arg(out);
                command.args(["--seed", &repetition.to_string()]);
                command
            }
            Work::Demo => Command::new(root.join("labs").join("demo")),
            Work::Test { package, file } => {
                let mut command = Command::new("cargo");
                command.args(["test", "--locked", "--release", "--package", package]);
                command
                    .args(["--test", file, "--", "--nocapture", "--include-ignored"])
                    .env("MURPHY_SOAK", "1");
                command
            }
        }
    }

    /// The command that judges a hunt again from what it saved.
    pub fn second_command(&self, root: &Path, out: &Path) -> Option<Command> {
        let Work::Hunt { arguments, .. } = &self.work else {
            return None;
        };
        let mut command = murphy(root);
        command.args(["check", "--json"]).arg(out);
        if let Some(at) = arguments.iter().position(|word| word == "--promise") {
            command.args(&arguments[at..]);
        }
        Some(command)
    }

    /// What a repetition came to, and what it reported of itself.
    pub fn read(&self, output: &Output) -> (String, Option<String>) {
        let printed = String::from_utf8_lossy(&output.stdout);
        let code = || {
            output
                .status
                .code()
                .map_or_else(|| "killed".to_owned(), |code| format!("exit code {code}"))
        };
        match &self.work {
            Work::Hunt { witness_max, .. } => {
                let result = match last_line(&printed) {
                    Some(said) => judged(&said, *witness_max),
                    None => code(),
                };
                (result, None)
            }
            Work::Demo if output.status.success() => ("found".to_owned(), None),
            Work::Demo => (code(), None),
            Work::Test { .. } => {
                let errors = String::from_utf8_lossy(&output.stderr);
                let figures: Vec<&str> = printed
                    .lines()
                    .chain(errors.lines())
                    .filter_map(|line| line.split_once("figure: ").map(|(_, figure)| figure))
                    .collect();
                let ran = printed.lines().any(|line| {
                    line.starts_with("test result: ok. ")
                        && !line.starts_with("test result: ok. 0 ")
                });
                let result = match (output.status.success(), ran) {
                    (true, true) => "passed".to_owned(),
                    (true, false) => "no test ran".to_owned(),
                    (false, _) => "failed".to_owned(),
                };
                (result, (!figures.is_empty()).then(|| figures.join("; ")))
            }
        }
    }

    /// Whether a repetition came out as claimed.
    pub fn expects(&self, result: &str) -> bool {
        let expected = match &self.work {
            Work::Hunt { expected, .. } => expected,
            Work::Demo => "found",
            Work::Test { .. } => "passed",
        };
        result == expected
    }

    /// Why the claim does not stand, once every repetition is there.
    pub fn shortfall(&self, ledger: &Ledger) -> Option<String> {
        let outcomes = ledger.of(&self.name);
        if outcomes.len() < self.repetitions as usize {
            return None;
        }
        let good = outcomes
            .iter()
            .filter(|outcome| self.expects(&outcome.result))
            .count();
        let slow = outcomes
            .iter()
            .filter(|outcome| self.seconds_max.is_some_and(|max| outcome.seconds > max))
            .count();
        if good < self.required as usize {
            return Some(format!(
                "{}: {good} of {}, at least {} required",
                self.name,
                outcomes.len(),
                self.required
            ));
        }
        (slow > 0).then(|| {
            format!(
                "{}: {slow} of {} took longer than it may",
                self.name,
                outcomes.len()
            )
        })
    }
}

/// The binary under measurement.
fn murphy(root: &Path) -> Command {
    Command::new(crate::suite::target_directory(root).join("release/murphy"))
}

/// The verdict line that ends a JSON Lines output.
fn last_line(printed: &str) -> Option<Value> {
    let last: Value = serde_json::from_str(printed.trim_end().lines().next_back()?).ok()?;
    (last["event"] == "verdict").then_some(last)
}

/// The verdict; with the length of the longest witness where that is more than it may be, or none at all.
fn judged(said: &Value, witness_max: Option<usize>) -> String {
    let verdict = said["verdict"].as_str().unwrap_or_default();
    let promises = said["promises"].as_object().into_iter().flatten();
    let lengths = promises
        .filter(|(_, promise)| promise["verdict"] == "broken")
        .map(|(_, promise)| promise["witness"].as_array().map_or(0, Vec::len));
    match witness_max {
        Some(max) => match lengths.clone().find(|length| !(2..=max).contains(length)) {
            Some(length) => format!("{verdict} with a witness of {length}"),
            None => verdict.to_owned(),
        },
        None => verdict.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_verdict_is_in_the_last_line() {
        let printed = "{\"event\":\"round\"}\n{\"event\":\"verdict\",\"verdict\":\"broken\"}\n";
        assert_eq!(
            last_line(printed)
                .map(|said| judged(&said, None))
                .as_deref(),
            Some("broken")
        );
        assert_eq!(
            last_line("{\"event\":\"round\",\"verdict\":\"held\"}\n"),
            None
        );
        assert_eq!(last_line(""), None);
    }

    #[test]
    fn a_witness_that_is_too_long_is_not_as_claimed() {
        let said = json!({"verdict": "broken", "promises": {
            "durable": {"verdict": "held", "witness": null},
            "watch.reliable": {"verdict": "broken", "witness": [1, 2, 3, 4]},
        }});
        assert_eq!(judged(&said, Some(4)), "broken");
        assert_eq!(judged(&said, Some(3)), "broken with a witness of 4");
        assert_eq!(judged(&said, None), "broken");
    }

    #[test]
    fn names_are_unique() {
        let mut names: Vec<String> = all().into_iter().map(|series| series.name).collect();
        let count = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
