//! What an injection takes of calls that it spares, and how long it stops its target.

use std::process::Command;

use serde_json::Value;

use crate::{Lab, MURPHY, Outcome, SETTLE, Tool, figure::Figure, takes};

const CALLS: u32 = 2_000_000;
/// Under ptrace each call takes some thousand times as long.
const TRACED_CALLS: u32 = 50_000;
const TRACED_RUNS: usize = 5;
/// So rarely that a loop of calls is not hit by chance more than a few times.
const RARE: &str = "0.0001%";
const THREADS: usize = 200;

/// An injection that selects a call of a process and lets nearly all pass.
fn injection(pid: u32) -> Outcome<Tool> {
    let mut command = Command::new(MURPHY);
    command.args([
        "inject", "syscall", "--json", "--call", "read", "--errno", "EINTR",
    ]);
    command.args(["--rate", RARE, "--for", "5m", "-t", &format!("pid:{pid}")]);
    Tool::start(&mut command, Some("\"active\""))
}

pub fn measure(lab: &Lab, runs: usize) -> Outcome<Vec<Figure>> {
    let mut target = lab.calls(0)?;
    let (mut selected, mut others, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..runs {
        let before = ["read", "getppid"].map(|call| takes(&mut target, call, CALLS));
        let tool = injection(target.pid())?;
        let during = ["read", "getppid"].map(|call| takes(&mut target, call, CALLS));
        drop(tool);
        let ([read, other], [read_then, other_then]) = (before, during);
        selected.push(read_then? - read?);
        let (other, other_then) = (other?, other_then?);
        others.push(other_then - other);
        ratios.push(other_then / other);
    }
    let ours = selected.iter().sum::<f64>() / selected.len() as f64;
    let mut figures = vec![
        Figure::mean(
            "inject: added to a selected call that passes",
            "<= 30 ns",
            &selected,
            "ns",
        ),
        Figure::mean(
            "inject: added to a call that is not selected",
            "0 ns",
            &others,
            "ns",
        ),
        Figure::ratio(
            "inject: a call that is not selected, of bare",
            "100 %",
            &ratios,
        ),
    ];
    let mut times = Vec::new();
    for _ in 0..runs.min(TRACED_RUNS) {
        let bare = takes(&mut target, "read", TRACED_CALLS)?;
        let mut command = Command::new("strace");
        command.args([
            "-f",
            "-e",
            "trace=read",
            "-e",
            "inject=read:error=EINTR:when=65535",
        ]);
        command.args(["-o", "/dev/null", "-p", &target.pid().to_string()]);
        let tool = Tool::start(&mut command, None)?;
        times.push((takes(&mut target, "read", TRACED_CALLS)? - bare) / ours);
        drop(tool);
    }
    figures.push(Figure::mean(
        "strace --inject: adds so many times what inject does to a selected call that passes",
        "",
        &times,
        "times",
    ));
    Ok(figures)
}

/// How long a target with many threads that sleep is stopped.
pub fn stop(lab: &Lab, runs: usize) -> Outcome<Vec<Figure>> {
    let target = lab.calls(THREADS)?;
    let mut stopped = Vec::new();
    for _ in 0..runs {
        let output = Command::new(MURPHY)
            .args([
                "inject", "syscall", "--json", "--call", "read", "--errno", "EINTR", "--rate", RARE,
            ])
            .args(["--for", "1s", "-t", &format!("pid:{}", target.pid())])
            .output()?;
        let said = String::from_utf8(output.stdout)?;
        let us = said
            .lines()
            .find_map(|line| stopped_us(&serde_json::from_str(line).ok()?));
        stopped.push(us.ok_or_else(|| format!("no time of the stop in {said}"))? / 1e3);
        std::thread::sleep(SETTLE);
    }
    Ok(vec![Figure::mean(
        "inject: stop of a target with 200 threads that sleep",
        "< 20 ms",
        &stopped,
        "ms",
    )])
}

/// How long a process was stopped, wherever a line says it.
fn stopped_us(line: &Value) -> Option<f64> {
    match line {
        Value::Object(fields) => fields
            .get("stopped_us")
            .and_then(Value::as_f64)
            .or_else(|| fields.values().find_map(stopped_us)),
        Value::Array(all) => all.iter().find_map(stopped_us),
        _ => None,
    }
}
