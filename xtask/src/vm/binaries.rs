//! The test binaries of the lines: built once, where cargo says that they are.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};

use serde::Deserialize;

use super::line::{LINES, Line, Tests};
use super::{Executable, VmError, cannot_run, listen};

/// The test that builds the programs which tests start.
const VICTIMS: (&str, &str) = ("time", "the_victims_are_built");

/// Where each test binary is, and the tests that each line runs of it.
pub struct Binaries(BTreeMap<&'static str, Executable>);

/// What cargo says about a thing that it has built.
#[derive(Deserialize)]
struct Artifact {
    #[serde(default)]
    package_id: String,
    target: Option<Target>,
    profile: Option<Profile>,
    executable: Option<Executable>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
}

#[derive(Deserialize)]
struct Profile {
    test: bool,
}

impl Binaries {
    /// Builds what the lines name, and the programs that tests start.
    pub fn build(root: &Path) -> Result<Self, VmError> {
        let mut cargo = Command::new("cargo");
        // Exactly what the suite builds: with fewer targets, dependencies get other features and all is built again.
        cargo
            .args(["test", "--locked", "--workspace", "--no-run"])
            .arg("--message-format=json-render-diagnostics")
            .current_dir(root)
            .stderr(Stdio::inherit());
        let output = cargo.output().map_err(cannot_run("cargo"))?;
        if !output.status.success() {
            return Err(VmError::Build);
        }
        let binaries = Self::from_messages(&String::from_utf8_lossy(&output.stdout))?;
        binaries.build_victims()?;
        Ok(binaries)
    }

    fn from_messages(messages: &str) -> Result<Self, VmError> {
        let artifacts = messages
            .lines()
            .filter_map(|line| serde_json::from_str::<Artifact>(line).ok())
            .filter(|artifact| {
                artifact
                    .profile
                    .as_ref()
                    .is_some_and(|profile| profile.test)
            });
        let artifacts: Vec<_> = artifacts.collect();
        let mut found = BTreeMap::new();
        for tests in LINES.iter().flat_map(|line| line.tests) {
            let is_it = |artifact: &&Artifact| {
                let target = artifact.target.as_ref();
                target.is_some_and(|target| target.name == tests.target)
                    && is_of(&artifact.package_id, tests.package)
            };
            let artifact = artifacts.iter().find(is_it);
            let executable = artifact.and_then(|artifact| artifact.executable.clone());
            let executable = executable.ok_or(VmError::NoBinary {
                package: tests.package,
                target: tests.target,
            })?;
            found.insert(tests.target, executable);
        }
        Ok(Self(found))
    }

    fn build_victims(&self) -> Result<(), VmError> {
        let (target, test) = VICTIMS;
        let executable = &self.0[target];
        let status = Command::new(executable)
            .args(["--exact", test, "--quiet"])
            .stdout(Stdio::null())
            .status()
            .map_err(cannot_run(executable.display().to_string()))?;
        if status.success() && !self.names(target, [test]).is_empty() {
            Ok(())
        } else {
            Err(VmError::Victims)
        }
    }

    /// The binary of some tests.
    pub fn of(&self, tests: &Tests) -> &Path {
        &self.0[tests.target]
    }

    /// Sees that each filter of a line has tests.
    pub fn check(&self, line: &'static Line) -> Result<(), VmError> {
        for tests in line.tests {
            let empty = tests
                .filters
                .iter()
                .find(|filter| self.names(tests.target, [**filter]).is_empty());
            if let Some(filter) = empty {
                return Err(VmError::NoTests {
                    line: line.name,
                    target: tests.target,
                    filter,
                });
            }
        }
        Ok(())
    }

    /// How many tests a line has.
    pub fn expected(&self, line: &Line) -> usize {
        let tests = line.tests.iter();
        tests
            .map(|tests| self.names(tests.target, tests.words()).len())
            .sum()
    }

    /// The tests of a binary that match a filter, as it lists them.
    fn names(&self, target: &str, words: impl IntoIterator<Item = &'static str>) -> Vec<String> {
        let mut command = Command::new(&self.0[target]);
        command.args(words).arg("--list");
        let said = listen(command).map(|heard| heard.out).unwrap_or_default();
        let names = said.iter().filter_map(|line| line.strip_suffix(": test"));
        names.map(str::to_owned).collect()
    }
}

/// Whether a package id is of a package: `path+file:///…/murphy-sys#0.1.0`, or `…/sys#murphy-sys@0.1.0`.
fn is_of(id: &str, package: &str) -> bool {
    let (path, fragment) = id.rsplit_once('#').unwrap_or((id, ""));
    match fragment.split_once('@') {
        Some((name, _)) => name == package,
        None => path.rsplit('/').next() == Some(package),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_is_known_by_its_id() {
        assert!(is_of(
            "path+file:///src/crates/murphy-sys#0.1.0",
            "murphy-sys"
        ));
        assert!(is_of("path+file:///src/sys#murphy-sys@0.1.0", "murphy-sys"));
        assert!(!is_of("path+file:///src/crates/murphy-sys#0.1.0", "murphy"));
    }

    #[test]
    fn a_binary_that_was_not_built_is_missed() {
        let message = r#"{"package_id":"path+file:///x/murphy-sys#0.1.0","target":{"name":"murphy_sys"},
            "profile":{"test":true},"executable":"/x/murphy_sys-1"}"#;
        let error = Binaries::from_messages(&message.replace('\n', ""));
        let error = error.err().expect("most are missing").to_string();
        assert!(error.contains("time"), "{error}");
    }
}
