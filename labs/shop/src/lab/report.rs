//! The report of a shop is what people are told of it: how every service is, and what to try.

use std::{
    fmt::Write as _,
    io::{self, Write as _},
    path::Path,
};

use super::{
    Form, LabError, directory, figures,
    member::{CATALOGS, FRONT_END, MEMBERS},
    state::State,
};

/// Says how every service is.
pub fn status() -> Result<(), LabError> {
    let directory = directory();
    let state = State::read(&directory)?.ok_or(LabError::Absent)?;
    let mut text = format!("the shop, in {} (id {})\n", state.form.word(), state.id);
    let mut unwell = Vec::new();
    for running in &state.services {
        let health = running.health();
        let said = health.as_ref().map_or_else(String::as_str, |()| "well");
        let (name, target, pid) = (&running.name, &running.target, running.process.pid);
        let _ = writeln!(text, "  {name:<10} {target:<28} pid {pid:<8} {said}");
        if health.is_err() {
            unwell.push(name.clone());
        }
    }
    let _ = writeln!(text, "  figures    {}", figures(&directory).display());
    say(&text);
    if unwell.is_empty() {
        Ok(())
    } else {
        Err(LabError::Unwell(unwell.join(", ")))
    }
}

/// Says that a shop is up, and what to try.
pub fn say_up(state: &State, directory: &Path) {
    let mut text = format!(
        "The shop is up in {} (id {}): an order went through.\n",
        state.form.word(),
        state.id
    );
    for (running, member) in state.services.iter().zip(MEMBERS) {
        let [four, six] = member.addresses();
        let (name, target) = (&running.name, &running.target);
        let _ = writeln!(text, "  {name:<10} {target:<28} {four:<11} {six}");
    }
    let _ = writeln!(
        text,
        "\nThe load generator says every second how it is served:\n  tail -f {}\n\nTry:",
        figures(directory).display()
    );
    for command in commands(state.form) {
        let _ = writeln!(text, "  {command}");
    }
    text.push_str("\nlabs/shop/shop down ends it and leaves nothing.\n");
    say(&text);
}

/// Faults between one catalog and the front end.
fn commands(form: Form) -> [String; 3] {
    let (catalog, front_end) = match form {
        Form::Namespaces => (
            format!("netns:{}", CATALOGS[0].namespace()),
            format!("netns:{}", FRONT_END.namespace()),
        ),
        Form::Containers => (
            format!("container:{}", CATALOGS[0].container()),
            format!("container:label=name={}", FRONT_END.label),
        ),
    };
    [
        "--partition --direction to",
        "--delay 50ms --jitter 10ms --direction both",
        "--loss 30% --direction to",
    ]
    .map(|fault| format!("murphy inject net -t {catalog} {fault} --peer {front_end} --for 30s"))
}

fn say(text: &str) {
    // A reader that has gone away needs no answer.
    let _ = io::stdout().write_all(text.as_bytes());
}
