//! A podman of a lab keeps everything that it knows in one directory: no daemon runs, no registry is asked, and
//! the containers that people run with theirs are none of its business.

use std::{
    ffi::OsString,
    io,
    path::{Path, PathBuf},
    process::Stdio,
};

use murphy_sys::{
    mount::unmount_below,
    spawn::{Launch, SpawnError},
};

/// Ends a podman that hangs: nobody who goes the way back may wait for ever.
const LIMIT: [&str; 3] = ["timeout", "--kill-after=5", "60"];

/// Why podman did not do what it was told.
#[derive(Debug, thiserror::Error)]
pub enum PodmanError {
    /// It did not start.
    #[error(transparent)]
    Start(#[from] SpawnError),
    /// It was started, and what it said could not be read.
    #[error("listen to podman {verb}: {source}")]
    Listen {
        /// The first word that it was given.
        verb: String,
        /// Why not.
        source: io::Error,
    },
    /// What it has mounted stays.
    #[error("unmount what podman has mounted in {}: {source}", state.display())]
    Mounted {
        /// Where its state is.
        state: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It refused.
    #[error("run podman {verb}: {said}")]
    Refused {
        /// The first word that it was given.
        verb: String,
        /// Its last words.
        said: String,
    },
}

/// A podman.
#[derive(Clone, Debug)]
pub struct Podman {
    state: PathBuf,
}

impl Podman {
    /// The one whose state is, or will be, in a directory that exists.
    pub fn at(state: PathBuf) -> Self {
        Self { state }
    }

    /// Where its state is.
    pub fn state(&self) -> &Path {
        &self.state
    }

    /// The words that make the podman command this one, with `words` after them.
    pub fn words<W: Into<OsString>>(&self, words: impl IntoIterator<Item = W>) -> Vec<OsString> {
        let mut all = vec!["podman".into(), "--remote=false".into()];
        for (option, name) in [
            ("--root", "root"),
            ("--runroot", "run"),
            ("--tmpdir", "tmp"),
            ("--network-config-dir", "network"),
        ] {
            all.push(option.into());
            all.push(self.state.join(name).into_os_string());
        }
        // Where the runtime keeps its own state, so that it goes with the directory.
        let mut runtime = OsString::from("--runtime-flag=root=");
        runtime.push(self.state.join("runtime"));
        all.push(runtime);
        all.extend(
            [
                "--storage-driver=vfs",
                "--cgroup-manager=cgroupfs",
                "--events-backend=none",
                "--runtime=runc",
            ]
            .map(OsString::from),
        );
        all.extend(words.into_iter().map(Into::into));
        all
    }

    /// Runs it to its end, with variables added to its environment; what it says, without the last newline.
    pub fn run<W: Into<OsString>>(
        &self,
        words: impl IntoIterator<Item = W>,
        env: &[(OsString, OsString)],
    ) -> Result<String, PodmanError> {
        let words: Vec<OsString> = words.into_iter().map(Into::into).collect();
        let verb = words
            .first()
            .map(|word| word.to_string_lossy().into_owned())
            .unwrap_or_default();
        let limited = LIMIT.into_iter().map(OsString::from);
        let mut launch = Launch::new(limited.chain(self.words(words)).collect());
        launch.env = env.to_vec();
        launch.stdout = Stdio::piped();
        launch.stderr = Stdio::piped();
        let ended = launch.spawn()?.wait_with_output();
        let ended = ended.map_err(|source| PodmanError::Listen {
            verb: verb.clone(),
            source,
        })?;
        if ended.status.success() {
            let said = String::from_utf8_lossy(&ended.stdout);
            return Ok(said.trim_end().to_owned());
        }
        let said = String::from_utf8_lossy(&ended.stderr);
        let last = said.lines().rev().find(|line| !line.trim().is_empty());
        Err(PodmanError::Refused {
            verb,
            said: last.unwrap_or("it says nothing").to_owned(),
        })
    }

    /// Removes all of its containers, running or not, and what it has mounted for any. False when there is nothing.
    pub fn remove_all(&self) -> Result<bool, PodmanError> {
        // One that has never run has no state, and looking would make it.
        if !self.state.join("root").exists() {
            return Ok(false);
        }
        // A container that somebody has killed is refused once, and is gone the next time.
        let listed = self.remove_listed().or_else(|_| self.remove_listed())?;
        let mounted = unmount_below(&self.state).map_err(|source| PodmanError::Mounted {
            state: self.state.clone(),
            source,
        })?;
        Ok(listed || mounted)
    }

    fn remove_listed(&self) -> Result<bool, PodmanError> {
        let listed = self.run(["ps", "--all", "--quiet"], &[])?;
        if listed.is_empty() {
            return Ok(false);
        }
        self.run(["rm", "--all", "--force", "--time=0"], &[])?;
        Ok(true)
    }
}
