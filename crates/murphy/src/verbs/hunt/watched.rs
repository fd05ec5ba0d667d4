//! The network of a hunt's nodes is observed while they are hunted, and what is found is held against what was done to them.

use std::{
    sync::mpsc::{self, Receiver, RecvTimeoutError, Sender},
    thread::{self, JoinHandle},
};

use murphy_fault::net::{Hit, Place};
use murphy_hunt::hunt::Watch;
use murphy_observe::{
    Observer, Spec,
    score::{Score, Seat},
};
use murphy_run::Folder;
use murphy_sys::namespace::NetNamespace;

use crate::{
    exit::Failure,
    output,
    verbs::observe::{
        injected::Injected,
        out::Out,
        score::{self, Watching},
        steps::{Failed, Steps},
    },
};

/// Where it comes how well it was found what was done.
#[derive(Debug)]
pub struct Scored(Receiver<Result<Score, Failure>>);

/// The thread of who observes; dropped, it ends.
struct Observing {
    /// It ends when nobody holds this any more.
    goes_on: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Observing {
    fn drop(&mut self) {
        self.goes_on = None;
        if let Some(thread) = self.thread.take() {
            // A panic has been said, and then nothing is scored.
            let _ = thread.join();
        }
    }
}

/// Who watches the nodes, and where the score comes.
pub fn begin() -> (Watch, Scored) {
    let (say, scored) = mpsc::channel();
    let watch = Watch::new(move |nodes, folder: &Folder| {
        let (goes_on, is_over) = mpsc::channel();
        let folder = folder.clone();
        let observe = move || {
            // Who ends early waits for no score.
            let _ = say.send(observe(nodes, &folder, &is_over));
        };
        let thread = thread::Builder::new()
            .name("observer".into())
            .spawn(observe);
        Box::new(Observing {
            goes_on: Some(goes_on),
            thread: thread.ok(),
        })
    });
    (watch, Scored(scored))
}

/// Until it is over.
fn observe(
    nodes: Vec<(String, NetNamespace)>,
    folder: &Folder,
    is_over: &Receiver<()>,
) -> Result<Score, Failure> {
    let places = nodes.into_iter().map(|(name, net)| Place::kept(&name, net));
    let places: Vec<Place> = places.collect::<Result<_, _>>().map_err(Failure::machine)?;
    let names: Vec<String> = places.iter().map(|place| place.name.clone()).collect();
    let mut watching = Watching::begin(places.iter().map(Seat::of).collect());
    let hit = Hit {
        places,
        target: None,
        allow_host: false,
    };
    let mut observer = Observer::begin(&hit, Spec::default()).map_err(Failure::machine)?;
    let out = Out::begin(&folder.observed_path(), &names)?;
    let mut injected = Injected::default();
    let (mut steps, mut broken) = (Steps::default(), None);
    loop {
        let next = steps.until_next(&observer);
        if is_over.recv_timeout(next) != Err(RecvTimeoutError::Timeout) {
            break;
        }
        match steps.take(&mut observer) {
            Ok(all) => {
                watching.hear(&all);
                all.iter().try_for_each(|news| out.say(news))?;
            }
            Err(Failed::Again(_)) => {}
            Err(Failed::ForGood(error)) => {
                broken = Some(Failure::machine(error));
                break;
            }
        }
        out.meant(&injected.look())?;
        watching.look(&observer);
    }
    watching.take(&observer);
    out.end(&observer, &injected)?;
    if let Some(failure) = broken {
        return Err(failure);
    }
    let score = score::of_run(&folder.events_path(), watching, observer.findings());
    let score = score.map_err(Failure::machine)?;
    let written = out.folder().write_score(&score);
    written.map_err(Failure::machine)?;
    Ok(score)
}

impl Scored {
    /// Says it. What went wrong by observing is said; the hunt is none the worse for it.
    pub fn say(self, json: bool) {
        match self.0.recv() {
            Ok(Ok(score)) => score::say("findings", "what was observed", &score, json),
            Ok(Err(failure)) => output::note(&format!(
                "murphy: warning: failed to {}; the hunt is not scored",
                failure.message
            )),
            Err(_) => output::note(
                "murphy: warning: failed to observe the nodes: who should could not begin, or ended early; the hunt is not scored",
            ),
        }
    }
}
