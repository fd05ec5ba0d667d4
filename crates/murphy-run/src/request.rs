//! A request is what a run was asked to do, resolved to the last default, with the machine it ran on.
//!
//! It is written as `run.json` before anything else happens, so that every run can be repeated.

use std::collections::BTreeMap;
use std::thread::available_parallelism;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::schedule::Schedule;

/// Version of `run.json` this crate writes, and the newest it reads.
pub const VERSION: u32 = 1;

/// What a run was asked to do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Request {
    /// Always `run`.
    #[serde(default = "kind")]
    pub murphy: String,
    /// Version of the format.
    pub version: u32,
    /// The verb of the command line, such as `hunt`.
    pub verb: String,
    /// The system, such as `etcd`.
    pub system: String,
    /// Its version, such as `3.5.0`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system_version: Option<String>,
    /// The members of the system.
    pub nodes: Vec<String>,
    /// The model that judges the history.
    pub model: String,
    /// The promises that decide the verdict; all of the model's when empty.
    pub promises: Vec<String>,
    /// Every other option by its name on the command line, defaults included.
    pub options: BTreeMap<String, Value>,
    /// The faults over time, where they were drawn beforehand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<Schedule>,
    /// Where everything random comes from.
    pub seed: u64,
    /// The command that repeats the run, argument by argument.
    pub command: Vec<String>,
    /// Wall-clock time of time 0, RFC 3339.
    pub started: String,
    /// Where it ran.
    pub machine: Machine,
}

fn kind() -> String {
    "run".into()
}

impl Request {
    /// Verb, system and version: `hunt etcd 3.5.0`.
    pub fn title(&self) -> String {
        match &self.system_version {
            Some(version) => format!("{} {} {version}", self.verb, self.system),
            None => format!("{} {}", self.verb, self.system),
        }
    }

    /// The command that repeats the run, quoted for a shell.
    pub fn command_line(&self) -> String {
        let quoted: Vec<_> = self.command.iter().map(|a| shell_quoted(a)).collect();
        quoted.join(" ")
    }
}

/// The machine of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// Such as `Linux 6.18.5 x86_64`.
    pub kernel: String,
    /// Cores this process may use.
    pub cores: u64,
    /// Memory in bytes.
    pub memory_bytes: u64,
    /// Version of Murphy.
    pub murphy: String,
}

impl Machine {
    /// The machine this process runs on, with the given version of Murphy.
    pub fn this(murphy_version: &str) -> Self {
        let uname = rustix::system::uname();
        let part = |text: &std::ffi::CStr| text.to_string_lossy().into_owned();
        let info = rustix::system::sysinfo();
        Self {
            kernel: format!(
                "{} {} {}",
                part(uname.sysname()),
                part(uname.release()),
                part(uname.machine())
            ),
            cores: available_parallelism().map_or(1, |n| n.get() as u64),
            memory_bytes: info.totalram * u64::from(info.mem_unit),
            murphy: murphy_version.into(),
        }
    }
}

/// One argument as a POSIX shell reads it back: bare where it can be, else in single quotes.
pub fn shell_quoted(argument: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@%+".contains(c);
    if !argument.is_empty() && argument.chars().all(bare) {
        argument.to_owned()
    } else {
        format!("'{}'", argument.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_quoted_only_where_a_shell_needs_it() {
        for (argument, quoted) in [
            ("--seed=7", "--seed=7"),
            ("kill,pause", "kill,pause"),
            ("", "''"),
            ("two words", "'two words'"),
            ("it's", r"'it'\''s'"),
            ("$HOME", "'$HOME'"),
            ("a;b", "'a;b'"),
            ("ünï", "'ünï'"),
        ] {
            assert_eq!(shell_quoted(argument), quoted);
        }
    }

    #[test]
    fn this_machine_has_a_kernel_cores_and_memory() {
        let machine = Machine::this("0.1.0");
        assert!(machine.kernel.starts_with("Linux "), "{}", machine.kernel);
        assert!(machine.cores >= 1);
        assert!(machine.memory_bytes > 1 << 24, "{}", machine.memory_bytes);
    }
}
