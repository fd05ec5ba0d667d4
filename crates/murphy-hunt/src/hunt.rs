//! A hunt starts a cluster, loads it, hurts it by a seeded schedule, compares its members after each round
//! and lets the judge read the history; the first broken promise ends it.
//!
//! A round is load, a fault in the middle of it, quiet, comparison, judgement. Everything that exists
//! because of a hunt is in its run folder or ends with its processes.

mod ending;
mod following;
mod rounds;
mod scout;

use std::{
    collections::BTreeMap,
    fmt,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use murphy_check::history;
use murphy_fault::{injector::Injector, journal::JournalError};
use murphy_run::{
    clock::Clock,
    events::{EventLog, EventsError, NodeState, RunEvent},
    folder::{Folder, FolderError},
    record::Finished,
    request::{Machine, Request},
    schedule::{Known, SKEW, Schedule},
    verdict::{Cleanup, Ending},
};
use murphy_sys::namespace::NetNamespace;
use serde_json::Value;
use tokio::sync::watch;

use crate::{
    lab::{Lab, LabError, Storage},
    nemesis::{
        NemesisError,
        skew::{self, Skews},
    },
    progress::{Listener, Progress},
    recorder::Recorder,
    system::{Scenario, SessionError, System},
};

/// How long the nodes may take to form a cluster.
const HEALTHY_WITHIN: Duration = Duration::from_secs(30);
/// Pause between two looks at nodes that are coming up.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// A round lasts at least this long, which bounds the number of rounds to draw.
const ROUND_MIN: Duration = Duration::from_millis(2_500);
/// Threads of the clients; the servers need the rest of the machine.
const CLIENT_THREADS: usize = 2;

/// What to hunt, resolved to the last default.
#[derive(Debug)]
pub struct Plan {
    /// Number of nodes, from 1 to [`crate::lab::NODES_MAX`].
    pub nodes: usize,
    /// The faults to draw from; none for load alone.
    pub faults: Vec<Known>,
    /// How long rounds go on beginning.
    pub duration: Duration,
    /// Where everything random comes from.
    pub seed: u64,
    /// The run folder; a new one below `murphy-runs` when absent.
    pub out: Option<PathBuf>,
    /// Where the nodes keep their data.
    pub storage: Storage,
    /// The promises that decide; all of the model's when empty.
    pub promises: Vec<String>,
    /// Goes on after a broken promise.
    pub keep_going: bool,
    /// Plays a script instead of rounds.
    pub scenario: Option<Scenario>,
    /// The system's name, such as `etcd`.
    pub system: &'static str,
    /// Its version.
    pub version: String,
    /// The command that repeats the hunt.
    pub command: Vec<String>,
    /// Every option by name, for `run.json`.
    pub options: BTreeMap<String, Value>,
    /// Version of Murphy.
    pub murphy: &'static str,
    /// Who watches the nodes, if anybody does.
    pub watch: Option<Watch>,
}

/// Somebody who watches the nodes while they are hunted: he is told of the name and the network namespace of each, and of
/// the run folder, before any node is started. What he gives is dropped when the load is over.
pub struct Watch(Box<Begin>);

type Begin = dyn FnOnce(Vec<(String, NetNamespace)>, &Folder) -> Watching + Send + Sync;

/// Ends when it is dropped, and waits for that.
pub type Watching = Box<dyn Send>;

impl Watch {
    /// One who begins so.
    pub fn new(
        begin: impl FnOnce(Vec<(String, NetNamespace)>, &Folder) -> Watching + Send + Sync + 'static,
    ) -> Self {
        Self(Box::new(begin))
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Watch")
    }
}

/// Why a hunt could not be carried out.
#[derive(Debug, thiserror::Error)]
pub enum HuntError {
    /// The run folder.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The event file.
    #[error(transparent)]
    Events(#[from] EventsError),
    /// The lab.
    #[error(transparent)]
    Lab(#[from] LabError),
    /// The faults.
    #[error(transparent)]
    Nemesis(#[from] NemesisError),
    /// The history could not be written.
    #[error("write {}: {source}", path.display())]
    History {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The runtime of the clients.
    #[error("start the client threads: {0}")]
    Runtime(#[source] std::io::Error),
    /// The journal.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// A bug in the checker's input: the history that was just written cannot be read.
    #[error("judge the history: {0}")]
    Judge(String),
}

/// What came of a hunt that was carried out.
#[derive(Debug)]
pub struct Hunted {
    /// Verdict, promises, paths.
    pub finished: Finished,
    /// Client invocations that ended.
    pub operations: u64,
    /// How long the run took.
    pub duration: Duration,
    /// The command that repeats the run, quoted for a shell.
    pub again: String,
}

/// Everything one hunt works with.
pub(crate) struct Ground<S: System> {
    pub system: S,
    pub plan: Plan,
    pub lab: Lab,
    pub clock: Clock,
    pub recorder: Arc<Recorder>,
    pub events: EventLog,
    pub folder: Folder,
    pub injector: Injector,
    pub listener: Listener,
    pub board: scout::Board,
    pub skews: Skews,
    pub interrupted: watch::Receiver<bool>,
    /// Turns true when the live judge finds a promise broken, and the hunt ends with it.
    pub alarm: watch::Sender<bool>,
    /// Until the load is over.
    watching: Mutex<Option<Watching>>,
}

impl<S: System> Ground<S> {
    pub fn tell(&self, progress: Progress) {
        (self.listener)(progress);
    }

    pub fn at_s(&self) -> f64 {
        self.clock.now_ns() as f64 / 1e9
    }

    pub fn is_interrupted(&self) -> bool {
        *self.interrupted.borrow()
    }

    /// Whether the round under way is to end early.
    pub fn is_ending(&self) -> bool {
        self.is_interrupted() || *self.alarm.borrow()
    }

    /// Waits for `time`, or until the round is to end early.
    pub async fn wait(&self, time: Duration) {
        let (mut interrupted, mut alarm) = (self.interrupted.clone(), self.alarm.subscribe());
        let early = async {
            tokio::select! {
                _ = interrupted.wait_for(|now| *now) => {}
                _ = alarm.wait_for(|now| *now) => {}
            }
        };
        let _ = tokio::time::timeout(time, early).await;
    }
}

/// Carries the hunt out. `interrupted` turns true when somebody wants it to end early; `injector` holds
/// the journal and the keeper.
pub fn run<S: System>(
    system: S,
    plan: Plan,
    injector: Injector,
    listener: Listener,
    interrupted: watch::Receiver<bool>,
) -> Result<Hunted, HuntError> {
    if plan.faults.contains(&SKEW) {
        skew::trial(&injector)?;
    }
    let clock = Clock::start();
    let folder = match &plan.out {
        Some(path) => Folder::create(path)?,
        None => Folder::create_named(&PathBuf::from("murphy-runs"), plan.system, &clock)?,
    };
    folder.write_request(&request(&system, &plan, &clock))?;
    let events = EventLog::create(&folder.events_path(), &clock)?;
    let data = folder.path().join("data");
    std::fs::create_dir(&data).map_err(|source| LabError::File {
        path: data.clone(),
        source,
    })?;
    let protection = injector.protect_lab(&system.title(), &data)?;
    let outcome = in_lab(
        system,
        plan,
        injector,
        listener,
        interrupted,
        Site {
            folder,
            data,
            clock,
            events,
        },
        protection.tag(),
    );
    // Whatever happened: the nodes are gone by now, or go here, and their data with them.
    let left = protection.end();
    let (ground, (report, ending, mut cleanup)) = outcome?;
    cleanup.left.extend(left);
    ending::finish(&ground, report, ending, cleanup)
}

/// Where a hunt takes place.
struct Site {
    folder: Folder,
    data: PathBuf,
    clock: Clock,
    events: EventLog,
}

/// Builds the lab, carries the hunt out in it, and ends it.
fn in_lab<S: System>(
    system: S,
    mut plan: Plan,
    injector: Injector,
    listener: Listener,
    interrupted: watch::Receiver<bool>,
    site: Site,
    tag: &str,
) -> Result<(Arc<Ground<S>>, Outcome), HuntError> {
    let Site {
        folder,
        data,
        clock,
        events,
    } = site;
    let lab = Lab::build(
        plan.nodes,
        &data,
        &folder.path().join("nodes"),
        plan.storage,
        tag,
    )?;
    let recorder = recorder(&system, &plan, &folder, clock)?;
    let watch = plan.watch.take();
    let watching = watch.map(|Watch(begin)| begin(lab.namespaces(), &folder));
    let runtime = runtime(&lab)?;
    let ground = Arc::new(Ground {
        board: scout::Board::new(&lab),
        skews: Skews::none(lab.nodes.len()),
        system,
        plan,
        lab,
        clock,
        recorder,
        events,
        folder,
        injector,
        listener,
        interrupted,
        alarm: watch::Sender::new(false),
        watching: Mutex::new(watching),
    });
    let work = Arc::clone(&ground);
    // On a worker thread, which is in the lab's namespace; this one is not.
    let hunted = runtime.block_on(async move { tokio::spawn(carry_out(work)).await });
    // Client tasks end before the namespace they speak from.
    runtime.shutdown_timeout(Duration::from_secs(5));
    ground.lab.end();
    match hunted {
        Ok(outcome) => Ok((ground, outcome?)),
        Err(panic) => std::panic::resume_unwind(panic.into_panic()),
    }
}

type Outcome = (murphy_check::verdict::Report, Ending, Cleanup);

/// Starts the nodes and plays the rounds, or the script.
async fn carry_out<S: System>(ground: Arc<Ground<S>>) -> Result<Outcome, HuntError> {
    ground.tell(Progress::Starting);
    let mut cleanup = Cleanup::default();
    let ending = match start(&ground).await? {
        Some(reason) => Ending::Stopped { reason },
        None if ground.is_interrupted() => Ending::Interrupted,
        None => match ground.plan.scenario {
            Some(scenario) => play(&ground, scenario).await,
            None => rounds::play(&ground, &mut cleanup).await?,
        },
    };
    ground.events.run(RunEvent::Ended)?;
    let watching = ground.watching.lock();
    drop(watching.unwrap_or_else(PoisonError::into_inner).take());
    let report = ending::judge(&ground, &ending).await?;
    Ok((report, ending, cleanup))
}

async fn play<S: System>(ground: &Ground<S>, scenario: Scenario) -> Ending {
    match ground
        .system
        .play(scenario.name, &ground.lab, &ground.recorder)
        .await
    {
        Ok(()) => Ending::Completed,
        Err(error) => stopped(&error),
    }
}

pub(crate) use scout::Meant;

pub(crate) fn stopped(error: &SessionError) -> Ending {
    Ending::Stopped {
        reason: error.to_string(),
    }
}

/// Starts every node and waits until all of them serve; says why they do not.
async fn start<S: System>(ground: &Ground<S>) -> Result<Option<String>, HuntError> {
    let began = Instant::now();
    let lab = &ground.lab;
    for node in &lab.nodes {
        ground.events.node(&node.name, NodeState::Starting)?;
        lab.start(node, ground.system.argv(node, &lab.nodes))?;
    }
    for node in &lab.nodes {
        loop {
            if ground.system.look(node).await.serves {
                break;
            }
            if let Some(status) = node.reap().ok().flatten() {
                ground.events.node(&node.name, NodeState::Down)?;
                return Ok(Some(format!(
                    "{} did not start: {status}: {}",
                    node.name,
                    node.last_words()
                )));
            }
            if began.elapsed() > HEALTHY_WITHIN {
                return Ok(Some(format!(
                    "{} never became healthy within {} s; it says last: {}",
                    node.name,
                    HEALTHY_WITHIN.as_secs(),
                    node.last_words()
                )));
            }
            if ground.is_interrupted() {
                return Ok(None);
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        ground.events.node(&node.name, NodeState::Healthy)?;
    }
    ground.events.run(RunEvent::Started)?;
    ground.tell(Progress::Ready {
        after_s: began.elapsed().as_secs_f64(),
    });
    Ok(None)
}

/// The runtime of the clients: its threads live in the namespace of the lab's bridge.
fn runtime(lab: &Lab) -> Result<tokio::runtime::Runtime, HuntError> {
    let middle = lab.middle().clone();
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(CLIENT_THREADS)
        .thread_name("client")
        .on_thread_start(move || {
            // The namespace was entered before, to build the lab. Should it fail now, no connection from
            // this thread reaches a node, and the hunt says that the nodes never became healthy.
            let _ = middle.enter();
        })
        .enable_all()
        .build()
        .map_err(HuntError::Runtime)
}

fn recorder<S: System>(
    system: &S,
    plan: &Plan,
    folder: &Folder,
    clock: Clock,
) -> Result<Arc<Recorder>, HuntError> {
    let mut header = history::Header::new(system.model());
    header.system = Some(system.title());
    header.nodes = node_names(plan.nodes);
    header.seed = Some(plan.seed);
    header.started = Some(clock.started_rfc3339());
    let path = folder.history_path();
    let recorder = Recorder::create(&path, &header, clock);
    Ok(Arc::new(
        recorder.map_err(|source| HuntError::History { path, source })?,
    ))
}

fn node_names(count: usize) -> Vec<String> {
    (0..count).map(|i| format!("n{i}")).collect()
}

fn request<S: System>(system: &S, plan: &Plan, clock: &Clock) -> Request {
    Request {
        murphy: "run".into(),
        version: murphy_run::request::VERSION,
        verb: "hunt".into(),
        system: plan.system.into(),
        system_version: Some(plan.version.clone()),
        nodes: node_names(plan.nodes),
        model: system.model().into(),
        promises: plan.promises.clone(),
        options: plan.options.clone(),
        schedule: plan.scenario.is_none().then(|| schedule(plan)),
        seed: plan.seed,
        command: plan.command.clone(),
        started: clock.started_rfc3339(),
        machine: Machine::this(plan.murphy),
    }
}

/// The rounds of the plan, one more than can begin in its time.
pub(crate) fn schedule(plan: &Plan) -> Schedule {
    let rounds = plan.duration.as_secs_f64() / ROUND_MIN.as_secs_f64();
    // A duration is bounded by the command line to days: the count fits.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "bounded, not negative"
    )]
    let rounds = rounds.ceil() as u32 + 1;
    Schedule::draw(plan.seed, &plan.faults, plan.nodes, rounds)
}
