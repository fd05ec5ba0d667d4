//! The doctor says what this machine can do, by trial, and for each "no" why not.
//!
//! Each family adds its rows by one line in [`ROWS`].

use murphy_sys::{
    cgroup::Hierarchies,
    connections,
    family::{AtExec, Family},
    flows,
    namespace::NetNamespace,
    pidfd,
    privilege::Privileges,
    refusal, tcp_events,
    trial::Namespace,
    vdso::{self, Clock},
};
use serde::Serialize;

use crate::{conn, journal::Journal, net::Engine, syscall, time};

/// What one thing on this machine is good for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Row {
    /// The family or part of the machine.
    pub family: &'static str,
    /// The engine or feature.
    pub name: String,
    /// Whether it works.
    pub works: bool,
    /// Why not, or a detail.
    pub detail: String,
}

impl Row {
    fn yes(family: &'static str, name: impl Into<String>, detail: impl Into<String>) -> Self {
        Self {
            family,
            name: name.into(),
            works: true,
            detail: detail.into(),
        }
    }

    fn no(family: &'static str, name: impl Into<String>, why: impl Into<String>) -> Self {
        Self {
            family,
            name: name.into(),
            works: false,
            detail: why.into(),
        }
    }
}

/// Who adds rows.
const ROWS: [fn() -> Vec<Row>; 8] = [
    privileges, namespaces, cgroups, process, time, net, conn, syscall,
];

/// Every row, asked of the machine now.
pub fn examine() -> Vec<Row> {
    ROWS.iter().flat_map(|rows| rows()).collect()
}

/// What the journal says for the doctor.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Standing {
    /// Injections in force, by id.
    pub in_force: Vec<String>,
    /// Those whose Murphy and keeper are gone.
    pub stale: Vec<String>,
    /// Files that cannot be read.
    pub damaged: Vec<String>,
}

/// Looks into the journal.
pub fn standing(journal: &Journal) -> Result<Standing, crate::journal::JournalError> {
    let (records, damaged) = journal.list()?;
    let (stale, in_force): (Vec<_>, Vec<_>) = records
        .into_iter()
        .partition(crate::journal::Record::is_stale);
    let ids =
        |records: Vec<crate::journal::Record>| records.into_iter().map(|r| r.header.id).collect();
    Ok(Standing {
        in_force: ids(in_force),
        stale: ids(stale),
        damaged: damaged.iter().map(ToString::to_string).collect(),
    })
}

fn privileges() -> Vec<Row> {
    let family = "privileges";
    match Privileges::current() {
        Err(error) => vec![Row::no(family, "capabilities", error.to_string())],
        Ok(privileges) => {
            let missing = privileges.missing();
            let root = if privileges.is_root() {
                Row::yes(family, "root", "")
            } else {
                let why = format!(
                    "user {}; hunts need root for their namespaces",
                    privileges.user
                );
                Row::no(family, "root", why)
            };
            let capabilities = if missing.is_empty() {
                Row::yes(family, "capabilities", "")
            } else {
                Row::no(
                    family,
                    "capabilities",
                    format!("{} missing", missing.join(", ")),
                )
            };
            vec![root, capabilities]
        }
    }
}

fn namespaces() -> Vec<Row> {
    let row = |family, name: String, outcome: std::io::Result<()>| match outcome {
        Ok(()) => Row::yes(family, name, ""),
        Err(error) => Row::no(family, name, error.to_string()),
    };
    let mut rows: Vec<_> = Namespace::ALL
        .iter()
        .map(|kind| row("namespaces", kind.name().into(), kind.trial()))
        .collect();
    for kind in [Namespace::Net, Namespace::Mount] {
        rows.push(row(
            "user namespaces",
            format!("{} inside", kind.name()),
            kind.trial_as_user(),
        ));
    }
    rows
}

fn cgroups() -> Vec<Row> {
    let family = "cgroups";
    let found = match Hierarchies::find() {
        Ok(found) => found,
        Err(error) => {
            return vec![Row::no(
                family,
                "v2",
                format!("read /proc/self/mounts: {error}"),
            )];
        }
    };
    let v2 = match &found.unified {
        Some(path) => Row::yes(family, "v2", path.display().to_string()),
        None => Row::no(family, "v2", "no cgroup2 file system is mounted"),
    };
    let names: Vec<_> = found
        .legacy
        .iter()
        .flat_map(|(names, _)| names.iter().cloned())
        .collect();
    let v1 = if names.is_empty() {
        Row::no(family, "v1", "no version 1 hierarchy is mounted")
    } else {
        Row::yes(family, "v1", names.join(" "))
    };
    vec![v2, v1]
}

fn process() -> Vec<Row> {
    vec![match pidfd::trial() {
        Ok(()) => Row::yes(
            "process",
            "signal",
            "kill term signal pause restart, by pidfd",
        ),
        Err(error) => Row::no(
            "process",
            "signal",
            format!("pidfd_open: {error}; needs Linux 5.3"),
        ),
    }]
}

fn time() -> Vec<Row> {
    let family = "time";
    let vdso = match vdso::trial() {
        Ok((takes, free)) => {
            let detail = format!("running processes; the hook takes {takes} of {free} free bytes");
            Row::yes(family, time::ENGINE, detail)
        }
        Err(error) => Row::no(family, time::ENGINE, error.to_string()),
    };
    let namespace = match Namespace::Time.trial() {
        Ok(()) => Row::yes(
            family,
            time::namespace::ENGINE,
            "launched commands, monotonic and boottime",
        ),
        Err(error) => {
            let why = format!("unshare: {error}; needs Linux 5.6 with CONFIG_TIME_NS");
            Row::no(family, time::namespace::ENGINE, why)
        }
    };
    let followed = Family::load(AtExec::Stop, [Clock::REALTIME]);
    let follow = match followed.and_then(|mut family| family.follow()) {
        Ok(()) => Row::yes(
            family,
            "follow stop",
            "programs that a target executes, by BPF",
        ),
        Err(error) => Row::no(family, "follow stop", error.to_string()),
    };
    let raw = match syscall::trial() {
        Ok(()) if vdso.works => Row::yes(family, "raw", "system calls past the vDSO"),
        Ok(()) => Row::no(family, "raw", "it adds what the hook in the vDSO adds"),
        Err(error) => Row::no(family, "raw", error.to_string()),
    };
    vec![vdso, namespace, follow, raw]
}

fn net() -> Vec<Row> {
    let row = |engine: Engine| match engine.trial() {
        Ok(()) => Row::yes("net", engine.name(), engine.does()),
        Err(error) => Row::no("net", engine.name(), error.to_string()),
    };
    Engine::ALL.map(row).into()
}

fn conn() -> Vec<Row> {
    let row = |name: &str, does: &str, outcome: Result<(), String>| match outcome {
        Ok(()) => Row::yes("conn", name, does),
        Err(error) => Row::no("conn", name, error),
    };
    let said = |error: &dyn std::fmt::Display| error.to_string();
    let nowhere = NetNamespace::create().map_err(|error| said(&error));
    let works = |engine: conn::Engine| {
        let namespace = nowhere.as_ref().map_err(Clone::clone)?;
        engine.trial(namespace).map_err(|error| said(&error))
    };
    let mut rows: Vec<_> = conn::Engine::ALL
        .into_iter()
        .map(|engine| row(engine.name(), engine.does(), works(engine)))
        .collect();
    rows.extend([
        row(
            "pidfd_getfd",
            "connections are closed in their owner's place",
            connections::trial_of_close().map_err(|error| format!("{error}; it needs Linux 5.6")),
        ),
        row(
            "flows",
            "connections stay half open, are cut after so much, or one end is told",
            flows::trial()
                .or_else(|_| flows::trial_by_filters())
                .map_err(|error| said(&error)),
        ),
        row(
            "sk_lookup",
            "new connections that the target is asked for are refused",
            refusal::trial_accepted().map_err(|error| said(&error)),
        ),
        row(
            "cgroup_connect",
            "new connections that the target opens are refused",
            refusal::trial_opened().map_err(|error| said(&error)),
        ),
        row(
            "tcp_events",
            "what the kernel does to connections is seen, and new ones end as soon as they are there",
            tcp_events::trial().map_err(|error| said(&error)),
        ),
    ]);
    rows
}

fn syscall() -> Vec<Row> {
    let family = "syscall";
    let row = |engine: syscall::Engine| match engine.trial() {
        Ok(()) => Row::yes(family, engine.name(), engine.does()),
        Err(error) => Row::no(family, engine.name(), error.to_string()),
    };
    syscall::Engine::ALL.map(row).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_no_has_a_reason() {
        let rows = examine();
        assert!(rows.iter().any(|row| row.family == "process"));
        for row in rows {
            assert!(row.works || !row.detail.is_empty(), "{row:?}");
        }
    }
}
