//! The rig's own tests: what `labs/vm/run` promises, seen from outside.

use std::fs;
use std::io;
use std::path::Path;
use std::process::Stdio;
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::{Outcome, listen, rig_command};
use crate::suite::{Count, target_directory};

pub const NAME: &str = "rig";
pub const KERNEL: &str = "6.1-cloud";
pub const WHY: &str = "what labs/vm/run promises about exit codes, outputs, files, and what stays";

/// One that takes longer hangs.
const AT_MOST: Duration = Duration::from_mins(1);
/// For the time-out itself: the machine needs not even be up.
const TOO_SHORT: Duration = Duration::from_secs(3);
/// How long the dead may take to vanish.
const VANISH_WITHIN: Duration = Duration::from_secs(5);

/// A promise, and how to see it kept: with the reason if it is not.
type Check = (&'static str, fn(&Path) -> Result<(), String>);

const CHECKS: [Check; 4] = [
    ("a command's code, outputs and files", passes_on),
    ("a panic is 123", panics),
    ("a time-out is 124", times_out),
    ("a killed rig leaves nothing", leaves_nothing),
];

/// Runs every check.
pub fn run(root: &Path) -> Outcome {
    let started = Instant::now();
    let mut count = Count::default();
    let mut said = Vec::new();
    for (promise, check) in CHECKS {
        match check(root) {
            Ok(()) => count.passed += 1,
            Err(reason) => {
                count.failed += 1;
                said.push(format!("{promise}: {reason}"));
            }
        }
    }
    Outcome {
        name: NAME,
        release: KERNEL.to_owned(),
        failure: (count.failed > 0).then(|| "promises were broken".to_owned()),
        count,
        seconds: started.elapsed().as_secs(),
        again: None,
        said,
    }
}

/// What the rig gives for a command of the guest's shell.
fn heard(root: &Path, at_most: Duration, prepare: &[&str], script: &str) -> Result<Heard, String> {
    let mut rig = rig_command(root, KERNEL, at_most);
    rig.args(prepare).args(["--", "sh", "-c", script]);
    let heard = listen(rig).map_err(|error| error.to_string())?;
    Ok(Heard {
        code: heard.status.code(),
        out: heard.out.join("\n"),
        err: heard.err.join("\n"),
    })
}

#[derive(Debug)]
struct Heard {
    code: Option<i32>,
    out: String,
    err: String,
}

fn expect(holds: bool, otherwise: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(otherwise()) }
}

fn passes_on(root: &Path) -> Result<(), String> {
    let folder = target_directory(root).join("vm").join("rig");
    let said = |error: io::Error| format!("{}: {error}", folder.display());
    let (shared, private) = (folder.join("shared"), folder.join("private"));
    fs::create_dir_all(&folder).map_err(said)?;
    let words = ["--rw", path(&shared)?, "--env", "SAID=by the host"];
    let script = format!(
        "echo \"$SAID\"; echo apart >&2; echo kept >'{}'; echo lost >'{}'; exit 7",
        path(&shared.join("file"))?,
        path(&private)?
    );
    let heard = heard(root, AT_MOST, &words, &script)?;
    let kept = fs::read_to_string(shared.join("file")).unwrap_or_default();
    let is_private = !private.exists();
    fs::remove_dir_all(&folder).map_err(said)?;
    expect(heard.code == Some(7), || format!("{heard:?}"))?;
    expect(
        heard.out == "by the host" && heard.err.ends_with("apart"),
        || format!("{heard:?}"),
    )?;
    expect(kept == "kept\n", || {
        "what was written below --rw is lost".to_owned()
    })?;
    expect(is_private, || {
        "what was written elsewhere reached this machine".to_owned()
    })
}

fn path(path: &Path) -> Result<&str, String> {
    path.to_str()
        .ok_or_else(|| format!("{} is not UTF-8", path.display()))
}

fn panics(root: &Path) -> Result<(), String> {
    let heard = heard(root, AT_MOST, &[], "echo c >/proc/sysrq-trigger; sleep 60")?;
    let is_named = heard.err.contains("Kernel panic");
    expect(heard.code == Some(123) && is_named, || format!("{heard:?}"))
}

fn times_out(root: &Path) -> Result<(), String> {
    let heard = heard(root, TOO_SHORT, &[], "sleep 60")?;
    expect(heard.code == Some(124), || format!("{heard:?}"))
}

fn leaves_nothing(root: &Path) -> Result<(), String> {
    let mut rig = rig_command(root, KERNEL, AT_MOST);
    let mut rig = rig
        .args(["--", "sleep", "60"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| error.to_string())?;
    let started = wait(AT_MOST, || {
        children(rig.id()).iter().any(|pid| is_emulator(*pid))
    });
    let children = children(rig.id());
    let killed = rig.kill().and_then(|()| rig.wait());
    killed.map_err(|error| error.to_string())?;
    expect(started, || "it never started the emulator".to_owned())?;
    let living = || children.iter().copied().filter(|pid| is_alive(*pid));
    wait(VANISH_WITHIN, || living().next().is_none());
    let left: Vec<_> = living().map(|pid| format!("{pid} {}", name(pid))).collect();
    expect(left.is_empty(), || format!("left behind: {left:?}"))
}

fn wait(at_most: Duration, is_so: impl Fn() -> bool) -> bool {
    let until = Instant::now() + at_most;
    while Instant::now() < until {
        if is_so() {
            return true;
        }
        sleep(Duration::from_millis(50));
    }
    is_so()
}

fn children(pid: u32) -> Vec<u32> {
    let file = format!("/proc/{pid}/task/{pid}/children");
    let pids = fs::read_to_string(file).unwrap_or_default();
    pids.split(' ').filter_map(|pid| pid.parse().ok()).collect()
}

fn name(pid: u32) -> String {
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    name.trim().to_owned()
}

fn is_emulator(pid: u32) -> bool {
    name(pid).starts_with("qemu-system")
}

/// Whether it is there, and not just a name that its new parent has not yet collected.
fn is_alive(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(") ")
        .next()
        .is_some_and(|rest| !rest.is_empty() && !rest.starts_with('Z'))
}
