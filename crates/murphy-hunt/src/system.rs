//! A system is a clustered program that Murphy can start, hurt and talk to.
//!
//! Everything a hunt does is written against these two traits; one file in `systems/` is one system.

use std::{ffi::OsString, path::Path, sync::Arc};

use murphy_check::verdict::Report;
use tokio::sync::watch;

use crate::{
    lab::{Lab, Node},
    recorder::Recorder,
};

/// What a node says of itself when asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Look {
    /// It answers, and so does the cluster through it.
    pub serves: bool,
    /// It leads the cluster.
    pub leads: bool,
    /// How far its data is.
    pub revision: i64,
    /// How far its log is applied.
    pub applied: u64,
}

/// A script that shows one known bug without chance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scenario {
    /// Its name on the command line.
    pub name: &'static str,
    /// What it shows.
    pub about: &'static str,
}

/// Why a session could not go on.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// The members did not come to rest.
    #[error("the members did not come to rest within {seconds} s: {state}")]
    Unsettled {
        /// How long it was waited.
        seconds: u64,
        /// What each member said last.
        state: String,
    },
    /// A scripted step failed.
    #[error("step `{step}` on {node} failed: {error}")]
    Step {
        /// What was asked.
        step: String,
        /// Of which member.
        node: String,
        /// What came back.
        error: String,
    },
}

/// How to start, reach and judge one kind of cluster.
pub trait System: Send + Sync + 'static {
    /// The traffic and the watches of one run.
    type Session: Session;

    /// The system with its version, such as `etcd 3.5.0`.
    fn title(&self) -> String;

    /// The model that judges its histories.
    fn model(&self) -> &'static str;

    /// The command of one node.
    fn argv(&self, node: &Node, all: &[Node]) -> Vec<OsString>;

    /// Asks a node how it is; never waits long.
    fn look(&self, node: &Node) -> impl Future<Output = Look> + Send;

    /// Begins the traffic of a run; nothing is sent before [`Session::load`].
    fn session(&self, lab: &Lab, recorder: &Arc<Recorder>, seed: u64) -> Self::Session;

    /// The scripts it knows.
    fn scenarios(&self) -> &'static [Scenario];

    /// Plays the script `name`, one of [`Self::scenarios`].
    fn play(
        &self,
        name: &str,
        lab: &Lab,
        recorder: &Arc<Recorder>,
    ) -> impl Future<Output = Result<(), SessionError>> + Send;

    /// Judges the history so far.
    fn check(&self, history: &Path) -> Result<Report, String>;

    /// A judge that reads the history while it is written.
    fn live(&self) -> Box<dyn LiveJudge>;
}

/// Judges a history while it is written.
pub trait LiveJudge: Send {
    /// Reads the next bytes of the history.
    fn feed(&mut self, bytes: &[u8]) -> Result<(), String>;

    /// What is broken by now; `None` where nothing is.
    fn look(&mut self) -> Result<Option<Report>, String>;

    /// Why the judge gave up, where it did: then only the whole history tells.
    fn lost(&self) -> Option<String>;
}

/// The traffic and the watches of one run.
pub trait Session: Send {
    /// Sends traffic until `stop` is true and every open invocation has ended.
    fn load(&mut self, stop: watch::Receiver<bool>) -> impl Future<Output = ()> + Send;

    /// With no traffic, waits until the members have come to rest, then writes into the history what each
    /// of them holds.
    fn compare(&mut self) -> impl Future<Output = Result<(), SessionError>> + Send;

    /// Ends the watches.
    fn end(self) -> impl Future<Output = ()> + Send;
}
