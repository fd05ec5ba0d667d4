//! `--detach` lets a fault go on in the background: the same Murphy again, in a session of its own.

use std::{
    env,
    ffi::OsString,
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    thread,
};

use serde_json::Value;

use crate::{
    exit::{Exit, Failure},
    output,
};

/// Starts the background, says what it says until the fault is in force, and leaves it alone.
pub fn run(json: bool) -> Result<Exit, Failure> {
    let failed = |error: std::io::Error| Failure::machine(format!("go to the background: {error}"));
    let mut child = Command::new("/proc/self/exe")
        .args(background(env::args_os().skip(1)))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        // Whoever waits for the end of this process's output must not wait for the background's.
        .stderr(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    let said = child.stderr.take().map(|stderr| {
        thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                output::note(&line);
            }
        })
    });
    let active = until_active(&mut child, json);
    if let Some(active) = active {
        if !json {
            say_active(&active, child.id());
        }
        return Ok(Exit::Held);
    }
    if let Some(said) = said {
        // It ends with the process whose words it passes on.
        let _ = said.join();
    }
    let status = child.wait().map_err(failed)?;
    Ok(exit_of(status.code()))
}

/// The words of the background: as typed, but for the machine, and without a terminal.
fn background(words: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut ours = true;
    let mut all = vec!["--json".into()];
    for word in words {
        ours &= word != "--";
        if ours && word == "--detach" {
            all.push("--detached".into());
        } else if !(ours && word == "--json") {
            all.push(word);
        }
    }
    all
}

/// Reads what the background says; `None` when it ends before the fault is in force.
fn until_active(child: &mut Child, json: bool) -> Option<Value> {
    let stdout = child.stdout.take()?;
    for line in BufReader::new(stdout).lines().map_while(Result::ok) {
        if json {
            output::line(&line);
        }
        let event: Value = serde_json::from_str(&line).unwrap_or_default();
        if event["event"] == "active" {
            return Some(event);
        }
    }
    None
}

fn say_active(active: &Value, pid: u32) {
    let id = active["id"].as_str().unwrap_or_default();
    output::line(&format!(
        "{} {} is in force, in the background (pid {pid})   id {id}",
        active["family"].as_str().unwrap_or_default(),
        active["fault"].as_str().unwrap_or_default(),
    ));
    output::line(&format!(
        "`murphy ls` shows it, `murphy recover {id}` ends it"
    ));
}

/// The background's exit code is this one's.
fn exit_of(code: Option<i32>) -> Exit {
    let known = [
        Exit::Held,
        Exit::Broken,
        Exit::Input,
        Exit::Machine,
        Exit::Undecided,
        Exit::Cleanup,
    ];
    known
        .into_iter()
        .find(|exit| code == Some(*exit as i32))
        .unwrap_or(Exit::Bug)
}

/// In the background: nothing typed at the terminal concerns it any more.
pub fn leave() -> Result<(), Failure> {
    murphy_sys::session::begin()
        .map_err(|error| Failure::machine(format!("leave the terminal: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_background_is_told_what_was_typed() {
        let words = [
            "inject", "--detach", "--json", "--", "cmd", "--detach", "--json",
        ];
        let told = background(words.into_iter().map(OsString::from));
        let wanted = [
            "--json",
            "inject",
            "--detached",
            "--",
            "cmd",
            "--detach",
            "--json",
        ];
        assert_eq!(told, wanted);
    }
}
