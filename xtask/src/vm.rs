//! Tests in other kernels: each [`Line`] of a table names a kernel, and tests that run in it under emulation.
//!
//! The test binaries are those of this machine, built here; `labs/vm/run` starts the kernel, on top of this machine's
//! own files. A line fails when a test does, and as well when fewer tests ran than it names: green because empty is red.
//! The few tests that fail beside others are run again alone, as in the suite.

mod binaries;
mod line;
mod rig;

use std::collections::BTreeSet;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::{Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use crate::suite::{self, Count, PASSES, Reading, SKIPPED, left_behind};
use crate::traces::Traces;
use binaries::Binaries;
use line::{Line, Tests};

/// The program that runs a command in a kernel.
const RIG: &str = "labs/vm/run";

/// Machines at a time. Each computes most of the time, on one processor: with twice as many as there are processors, what
/// is late in one is late by what another does.
const MACHINES: usize = 3;

/// A line that takes longer hangs.
const LINE_AT_MOST: Duration = Duration::from_mins(15);

/// How many times slower an emulated machine is, for the tests' limits on time.
const SLACK: &str = "MURPHY_TEST_SLACK=10";

/// Which lines to run.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Run only the lines whose name begins with this; may be given more than once.
    #[arg(long = "line", value_name = "NAME")]
    lines: Vec<String>,
    /// Run nothing: list the lines and what each is for.
    #[arg(long)]
    list: bool,
}

/// Why the lines are not green.
#[derive(Debug, thiserror::Error)]
pub enum VmError {
    /// No line has such a name.
    #[error("no line begins with {name:?}; there are {known}")]
    Unknown { name: String, known: String },
    /// A program could not be run, or what it said could not be read.
    #[error("failed to run {program}: {source}")]
    Run { program: String, source: io::Error },
    /// The test binaries could not be built.
    #[error("failed to build the tests")]
    Build,
    /// The table names a binary that cargo did not build.
    #[error(
        "the table of lines names the test binary {target} of {package}, and cargo built none such"
    )]
    NoBinary {
        package: &'static str,
        target: &'static str,
    },
    /// The table names tests that are not there.
    #[error("line {line} names tests {filter:?} of {target}, and there are none")]
    NoTests {
        line: &'static str,
        target: &'static str,
        filter: &'static str,
    },
    /// A kernel could not be had.
    #[error("failed to fetch kernel {0}")]
    Kernel(&'static str),
    /// The programs that tests start could not be built.
    #[error("failed to build the programs of victims/")]
    Victims,
    /// At least one line failed; why has been printed.
    #[error("failed in emulated kernels: {}", .0.join(", "))]
    Failed(Vec<String>),
    /// A machine left something behind.
    #[error("the emulated machines left behind:\n{0}")]
    LeftBehind(Traces),
}

/// What there is to run.
#[derive(Clone, Copy)]
enum Job {
    Rig,
    Line(&'static Line),
}

impl Job {
    fn all() -> impl Iterator<Item = Self> {
        line::LINES.iter().map(Self::Line).chain([Self::Rig])
    }

    fn name(self) -> &'static str {
        match self {
            Self::Rig => rig::NAME,
            Self::Line(line) => line.name,
        }
    }

    fn kernel(self) -> &'static str {
        match self {
            Self::Rig => rig::KERNEL,
            Self::Line(line) => line.kernel,
        }
    }
}

/// What became of a job.
struct Outcome {
    name: &'static str,
    release: String,
    count: Count,
    seconds: u64,
    /// Why it failed, if it did.
    failure: Option<String>,
    /// What to run again, if that is all that failed.
    again: Option<(&'static Line, Vec<String>)>,
    /// Why tests were skipped, and what was said if it failed.
    said: Vec<String>,
}

/// Runs the chosen lines.
pub fn run(root: &Path, options: &Options) -> Result<(), VmError> {
    let jobs = choose(&options.lines)?;
    if options.list {
        list(&jobs);
        return Ok(());
    }
    let before = Traces::of_this_machine();
    let started = Instant::now();
    let binaries = Binaries::build(root)?;
    for job in &jobs {
        if let Job::Line(line) = job {
            binaries.check(line)?;
        }
    }
    let kernels: BTreeSet<_> = jobs.iter().map(|job| job.kernel()).collect();
    for kernel in kernels {
        fetch(root, kernel)?;
    }
    println!("built in {} s", started.elapsed().as_secs());

    println!(
        "\n{:12} {:32} {:>6} {:>6} {:>7} {:>7}",
        "line", "kernel", "passed", "failed", "skipped", "seconds"
    );
    let started = Instant::now();
    let failed = run_all(root, &binaries, jobs);
    println!("\nin {} s", started.elapsed().as_secs());
    if !failed.is_empty() {
        return Err(VmError::Failed(failed));
    }
    let left = left_behind(&before);
    if left.is_empty() {
        return Ok(());
    }
    Err(VmError::LeftBehind(left))
}

fn choose(names: &[String]) -> Result<Vec<Job>, VmError> {
    let begins = |job: Job, name: &String| job.name().starts_with(name.as_str());
    if let Some(name) = names
        .iter()
        .find(|name| !Job::all().any(|job| begins(job, name)))
    {
        let known: Vec<_> = Job::all().map(Job::name).collect();
        return Err(VmError::Unknown {
            name: name.clone(),
            known: known.join(", "),
        });
    }
    let is_chosen = |job: &Job| names.is_empty() || names.iter().any(|name| begins(*job, name));
    Ok(Job::all().filter(is_chosen).collect())
}

fn list(jobs: &[Job]) {
    for job in jobs {
        match job {
            Job::Rig => println!("{:12} {:11} {}", rig::NAME, rig::KERNEL, rig::WHY),
            Job::Line(line) => {
                let append = [" ", line.append].concat();
                let append = append.trim_end();
                println!("{:12} {:11} {}{append}", line.name, line.kernel, line.why);
            }
        }
    }
}

fn fetch(root: &Path, kernel: &'static str) -> Result<(), VmError> {
    let status = Command::new(root.join(RIG))
        .args(["--fetch", "--kernel", kernel])
        .status();
    match status.map_err(cannot_run(RIG))? {
        status if status.success() => Ok(()),
        _ => Err(VmError::Kernel(kernel)),
    }
}

fn cannot_run(program: impl Into<String>) -> impl FnOnce(io::Error) -> VmError {
    let program = program.into();
    move |source| VmError::Run { program, source }
}

/// Runs all jobs, some at a time, and prints what became of each; returns the names of those that failed.
fn run_all(root: &Path, binaries: &Binaries, jobs: Vec<Job>) -> Vec<String> {
    let waiting = Mutex::new(jobs.into_iter());
    let (ended, outcomes) = mpsc::channel();
    let failed: Vec<Outcome> = thread::scope(|scope| {
        for _ in 0..MACHINES {
            let (ended, waiting) = (ended.clone(), &waiting);
            scope.spawn(move || {
                loop {
                    let job = waiting.lock().expect("nobody panics with it").next();
                    let Some(job) = job else { return };
                    let outcome = match job {
                        Job::Rig => rig::run(root),
                        Job::Line(line) => run_line(root, binaries, line),
                    };
                    if ended.send(outcome).is_err() {
                        return;
                    }
                }
            });
        }
        drop(ended);
        let failed = outcomes.into_iter().inspect(show);
        failed.filter(|outcome| outcome.failure.is_some()).collect()
    });
    let is_red = |outcome: &Outcome| {
        let again = outcome.again.as_ref();
        !again.is_some_and(|(line, failures)| is_forgiven(root, binaries, line, failures))
    };
    let red = failed.into_iter().filter(is_red);
    red.map(|outcome| outcome.name.to_owned()).collect()
}

/// Whether few tests of a line have failed, and all of them pass alone.
fn is_forgiven(root: &Path, binaries: &Binaries, line: &Line, failures: &[String]) -> bool {
    if !suite::are_few(failures) {
        return false;
    }
    println!("\n{}: once more, alone: {}", line.name, failures.join(", "));
    let once = script(line, binaries, |_| suite::alone(failures).collect());
    let heard = match boot(root, line, &once.repeat(PASSES)) {
        Ok(heard) => heard,
        Err(error) => {
            println!("failed to run {RIG}: {error}");
            return false;
        }
    };
    let mut reading = Reading::default();
    let said: Vec<String> = (heard.out.iter())
        .filter_map(|text| reading.line(text))
        .collect();
    let is_forgiven = heard.status.success() && reading.passed >= PASSES * failures.len();
    if is_forgiven {
        failures.iter().for_each(suite::say_flaky);
    } else {
        said.iter()
            .chain(&heard.err)
            .for_each(|line| println!("  {line}"));
    }
    is_forgiven
}

fn show(outcome: &Outcome) {
    let count = &outcome.count;
    println!(
        "{:12} {:32} {:>6} {:>6} {:>7} {:>7}",
        outcome.name, outcome.release, count.passed, count.failed, count.skipped, outcome.seconds
    );
    for line in &outcome.said {
        println!("  {line}");
    }
    if let Some(failure) = &outcome.failure {
        println!("  {}: {failure}", outcome.name);
    }
}

/// Boots a line's kernel and runs its tests there.
fn run_line(root: &Path, binaries: &Binaries, line: &'static Line) -> Outcome {
    let started = Instant::now();
    let mut outcome = Outcome {
        name: line.name,
        release: format!("{}, not booted", line.kernel),
        count: Count::default(),
        seconds: 0,
        failure: None,
        again: None,
        said: Vec::new(),
    };
    let all = script(line, binaries, |tests| {
        let words = ["--test-threads=2"].into_iter().chain(tests.words());
        words.collect()
    });
    match boot(root, line, &all) {
        Err(error) => outcome.failure = Some(format!("failed to run {RIG}: {error}")),
        Ok(heard) => {
            let mut reading = Reading::default();
            for text in &heard.out {
                if let Some(release) = text.strip_prefix(RELEASE) {
                    release.clone_into(&mut outcome.release);
                } else {
                    outcome.said.extend(reading.line(text));
                }
            }
            let skips = |text: &&String| text.starts_with(SKIPPED);
            reading.skipped += heard.err.iter().filter(skips).count();
            outcome.said.extend(heard.err);
            outcome.count = reading.count();
            let expected = binaries.expected(line);
            outcome.failure = failure(heard.status, &outcome.count, expected);
            if outcome.count.ran() == expected && !reading.failures.is_empty() {
                outcome.again = Some((line, reading.failures));
            }
        }
    }
    if outcome.failure.is_none() {
        outcome.said.retain(|text| text.starts_with(SKIPPED));
    }
    outcome.seconds = started.elapsed().as_secs();
    outcome
}

/// Before the release of the kernel in which the tests run.
const RELEASE: &str = "kernel release: ";

/// Runs a script in the kernel of a line.
fn boot(root: &Path, line: &Line, script: &str) -> io::Result<Heard> {
    let mut rig = rig_command(root, line.kernel, LINE_AT_MOST);
    rig.args(["--append", line.append, "--env", SLACK])
        // A file system as /tmp is one in general; the root is an overlay there.
        .args(["--env", "TMPDIR=/dev/shm", "--", "sh", "-c"])
        .arg(format!(
            "echo \"{RELEASE}$(uname -r)\"; code=0\n{script}exit $code"
        ));
    listen(rig)
}

/// What the guest's shell does: all tests of each binary with these words, whatever becomes of the first of them.
fn script<'a>(line: &Line, binaries: &Binaries, words: impl Fn(&Tests) -> Vec<&'a str>) -> String {
    let mut script = String::new();
    for tests in line.tests {
        let mut line = vec![quoted(&binaries.of(tests).display().to_string())];
        line.extend(words(tests).into_iter().map(quoted));
        line.extend(["--show-output", "|| code=1\n"].map(str::to_owned));
        script += &line.join(" ");
    }
    script
}

/// A word of a shell script.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// Why a line failed, if it did.
fn failure(status: ExitStatus, count: &Count, expected: usize) -> Option<String> {
    let ran = count.ran();
    if count.failed > 0 {
        return Some("tests failed".to_owned());
    }
    if !status.success() {
        return Some(format!("no test failed, and yet: {status}"));
    }
    if ran != expected {
        return Some(format!("{ran} tests ran, of {expected}"));
    }
    (count.passed == 0).then(|| "every test was skipped".to_owned())
}

/// The rig with a kernel, marked as this task's.
fn rig_command(root: &Path, kernel: &str, at_most: Duration) -> Command {
    let mut rig = Command::new(root.join(RIG));
    rig.args(["--kernel", kernel, "--timeout"])
        .arg(at_most.as_secs().to_string())
        .env(Traces::MARK, Traces::mark())
        .current_dir(root);
    rig
}

/// What a program has said, and how it ended.
struct Heard {
    out: Vec<String>,
    err: Vec<String>,
    status: ExitStatus,
}

fn listen(mut command: Command) -> io::Result<Heard> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let err = child.stderr.take().map(|err| thread::spawn(|| lines(err)));
    let out = child.stdout.take().map(lines).unwrap_or_default();
    let err = err.and_then(|err| err.join().ok()).unwrap_or_default();
    let status = child.wait()?;
    Ok(Heard { out, err, status })
}

fn lines(from: impl Read) -> Vec<String> {
    let lines = BufReader::new(from).split(b'\n').map_while(Result::ok);
    lines
        .map(|line| String::from_utf8_lossy(&line).into_owned())
        .collect()
}

/// Where a test binary is.
type Executable = PathBuf;

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt;

    #[test]
    fn a_line_is_green_only_if_all_its_tests_ran_and_passed() {
        let count = |passed, failed, skipped| Count {
            passed,
            failed,
            skipped,
        };
        let code = |code: i32| ExitStatus::from_raw(code << 8);
        for (status, count, expected, reason) in [
            (code(0), count(3, 0, 0), 3, None),
            (code(0), count(2, 0, 1), 3, None),
            (code(1), count(2, 1, 0), 3, Some("tests failed")),
            (code(123), count(3, 0, 0), 3, Some("exit status: 123")),
            (code(0), count(2, 0, 0), 3, Some("2 tests ran, of 3")),
            (code(0), count(0, 0, 3), 3, Some("every test was skipped")),
            (code(0), count(0, 0, 0), 0, Some("every test was skipped")),
        ] {
            let failure = failure(status, &count, expected);
            match reason {
                None => assert_eq!(failure, None),
                Some(reason) => assert!(failure.clone().unwrap().contains(reason), "{failure:?}"),
            }
        }
    }

    #[test]
    fn names_of_lines_are_unique_and_chosen_by_their_beginning() {
        let names: BTreeSet<_> = Job::all().map(Job::name).collect();
        assert_eq!(names.len(), Job::all().count());
        assert_eq!(choose(&[]).map(|jobs| jobs.len()).unwrap(), names.len());
        assert_eq!(
            choose(&["rig".to_owned()]).map(|jobs| jobs.len()).unwrap(),
            1
        );
        let error = choose(&["none".to_owned()]).err().unwrap().to_string();
        assert!(error.contains("rig"), "{error}");
    }

    #[test]
    fn words_survive_the_shell() {
        assert_eq!(quoted("it's"), r"'it'\''s'");
    }
}
