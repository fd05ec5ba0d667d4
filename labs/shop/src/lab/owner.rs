//! The owner of a shop is a process in the background that started it, watches over it, and ends it: when it is told
//! to, when somebody has undone it, and by its keeper's hand when it is killed.

use std::{
    fs, io,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use murphy_fault::{
    injector::{Injector, failures},
    journal::{Entry, Journal},
};
use murphy_sys::{session, signal::Interrupts};
use serde_json::Value;

use super::{
    Form, LabError, OWNER_VERB,
    containers::Containers,
    directory, figures,
    ground::Ground,
    member::CATALOGS,
    namespaces::Namespaces,
    needs::{self, Server},
    report,
    state::State,
};

/// What the owner says when the shop is up.
const READY: &str = "ready";
/// How long the first order may take.
const READY_WITHIN: Duration = Duration::from_mins(1);
/// How often the owner looks at its shop.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Starts an owner, waits until its shop is up, and says what to try.
pub fn up(form: Form) -> Result<(), LabError> {
    needs::check(form)?;
    let failed = |source| LabError::Process {
        action: "start the owner of the shop",
        source,
    };
    let mut owner = Command::new(program()?)
        .args([OWNER_VERB, "--in", form.word()])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    if !is_ready(&mut owner) {
        // It ends by itself.
        let _ = owner.wait();
        return Err(LabError::Owner);
    }
    let directory = directory();
    let state = State::read(&directory)?.ok_or(LabError::Absent)?;
    report::say_up(&state, &directory);
    Ok(())
}

fn is_ready(owner: &mut Child) -> bool {
    let Some(said) = owner.stdout.take() else {
        return false;
    };
    let mut lines = BufReader::new(said).lines().map_while(Result::ok);
    lines.next().is_some_and(|line| line == READY)
}

/// The program that runs, by its name: containers mount it.
fn program() -> Result<PathBuf, LabError> {
    std::env::current_exe().map_err(|source| LabError::Process {
        action: "find the program that runs",
        source,
    })
}

/// Owns a shop until it is to end.
pub fn own(form: Form) -> Result<(), LabError> {
    let failed = |action| move |source| LabError::Process { action, source };
    session::begin().map_err(failed("leave the terminal"))?;
    let interrupts = Interrupts::catch().map_err(failed("listen for signals"))?;
    let server = needs::check(form)?;
    // In the child that becomes the keeper, this still is the program that runs now.
    let injector = Injector::start(Journal::of_user()?, Path::new("/proc/self/exe"))?;
    let entry = Ground::begin(&injector)?;
    let id = entry.id().to_owned();
    let owned = live(&injector, &interrupts, entry, server, form);
    let left = failures(&injector.journal().undo(&id));
    if left.is_empty() {
        owned
    } else {
        Err(LabError::Left(left.join("; ")))
    }
}

/// Brings the shop up and stays until it is to end; whoever called goes the way back.
fn live(
    injector: &Injector,
    interrupts: &Interrupts,
    entry: Entry,
    server: Server,
    form: Form,
) -> Result<(), LabError> {
    let mut ground = Ground::lay_out(entry, server)?;
    let mut services = Services::start(form, &mut ground)?;
    let state = services.state(form, ground.entry.id())?;
    wait_for_an_order(interrupts, &ground, &state)?;
    state.write(&ground.directory)?;
    let said = writeln!(io::stdout(), "{READY}").and_then(|()| io::stdout().flush());
    if said.is_err() {
        // Whoever asked for the shop is gone.
        return Err(LabError::Interrupted);
    }
    session::silence().map_err(|source| LabError::Process {
        action: "leave the terminal",
        source,
    })?;
    while !interrupted(interrupts)? && !ground.entry.is_over() {
        services.reap();
        injector.mind_keeper()?;
    }
    Ok(())
}

fn interrupted(interrupts: &Interrupts) -> Result<bool, LabError> {
    interrupts
        .wait(LOOK_EVERY)
        .map_err(|source| LabError::Process {
            action: "listen for signals",
            source,
        })
}

/// Waits until an order went through and both catalogs serve.
fn wait_for_an_order(
    interrupts: &Interrupts,
    ground: &Ground,
    state: &State,
) -> Result<(), LabError> {
    let until = Instant::now() + READY_WITHIN;
    loop {
        let said = last_line(&figures(&ground.directory));
        if serde_json::from_str(&said).is_ok_and(|line| is_well(&line)) {
            return Ok(());
        }
        let dead = state
            .services
            .iter()
            .find(|running| !running.process.is_alive());
        if let Some(dead) = dead {
            let words = last_line(&ground.log(&dead.name));
            return Err(LabError::Ended {
                name: dead.name.clone(),
                said: words,
            });
        }
        if interrupted(interrupts)? || ground.entry.is_over() {
            return Err(LabError::Interrupted);
        }
        if Instant::now() > until {
            return Err(LabError::Late {
                limit: READY_WITHIN,
                said,
            });
        }
        thread::sleep(LOOK_EVERY);
    }
}

/// The last whole line of a file that may not be there yet.
fn last_line(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
    whole.lines().last().unwrap_or_default().to_owned()
}

/// Whether a second of load was one of a shop that is up.
fn is_well(line: &Value) -> bool {
    let serves = |name: &str| {
        let part = &line["upstreams"][name];
        part["requests"].as_u64() > Some(0) && part["failures"] == 0
    };
    line["orders"].as_u64() > Some(0)
        && line["failures"] == 0
        && CATALOGS.iter().all(|catalog| serves(catalog.name))
}

/// The services that run, in either form.
#[derive(Debug)]
enum Services {
    Namespaces(Namespaces),
    Containers(Containers),
}

impl Services {
    fn start(form: Form, ground: &mut Ground) -> Result<Self, LabError> {
        let program = program()?;
        Ok(match form {
            Form::Namespaces => Self::Namespaces(Namespaces::start(ground, &program)?),
            Form::Containers => Self::Containers(Containers::start(ground, &program)?),
        })
    }

    fn state(&self, form: Form, id: &str) -> Result<State, LabError> {
        let services = match self {
            Self::Namespaces(namespaces) => namespaces.running()?,
            Self::Containers(containers) => containers.running(),
        };
        Ok(State {
            id: id.to_owned(),
            form,
            services,
        })
    }

    fn reap(&mut self) {
        match self {
            Self::Namespaces(namespaces) => namespaces.reap(),
            // Their parents, the conmons, do.
            Self::Containers(_) => {}
        }
    }
}
