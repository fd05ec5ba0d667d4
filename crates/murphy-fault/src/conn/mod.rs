//! Family `conn`: a share of the connections of a target ends, idle ones too, once or again and again; the others see
//! nothing of it.
//!
//! Which ones they are is drawn from all that are there, so that exactly as many end as were asked for. No packet is
//! needed for that, and none is touched: the sockets are listed and ended in the kernel ([`murphy_sys::connections`]), or
//! closed in their owner's place. Those that are to stay half open are broken by programs at their devices, and those that
//! come new are refused where the kernel looks for who listens, or ended as soon as they are there. Ended connections cannot
//! be brought back, so that there is nothing to undo; programs go with this process, or with their time.

mod disconnection;
mod effect;
mod engine;
pub mod forecast;
mod means;
mod picture;
mod pool;
mod recovery;
mod refusing;
pub mod scope;
pub mod spec;
mod walk;
mod witness;

use std::io;

use murphy_sys::{
    connections::{self, ConnectionError},
    flows::{self, FlowsError},
    link::LinkError,
    refusal::RefusalError,
    socket_iterator::SocketIteratorError,
    tcp_events::{self, TcpEventsError},
    traffic::TrafficError,
};

pub use disconnection::{Asked, Disconnection};
pub use effect::{Cut, Disconnected, Draw, Evidence, Newcomers, Origin};
pub use engine::{BadEngine, Engine};
pub use forecast::{Forecast, Question, forecast};
pub use pool::{Connection, Owner, Pool};
pub use recovery::{Connects, Ends, Leaked, Recovery};
pub use scope::{BadState, Holder, Scope, Side};
pub use spec::{How, Share, Spec, SpecError};

use crate::{
    journal::JournalError,
    net::{Hit, Hold, NetError},
    plan::{EndsBy, Plan},
    span::{Span, Until},
};

/// Why connections cannot be ended.
#[derive(Debug, thiserror::Error)]
pub enum ConnError {
    /// What is asked makes no sense.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// The other ends, or the namespaces, cannot be found.
    #[error(transparent)]
    Net(#[from] NetError),
    /// The kernel.
    #[error(transparent)]
    Connections(#[from] ConnectionError),
    /// Programs at devices.
    #[error(transparent)]
    Flows(#[from] FlowsError),
    /// The same.
    #[error(transparent)]
    Traffic(#[from] TrafficError),
    /// Programs that refuse.
    #[error(transparent)]
    Refusal(#[from] RefusalError),
    /// Programs that tell.
    #[error(transparent)]
    Events(#[from] TcpEventsError),
    /// The program that walks over sockets.
    #[error(transparent)]
    Iterator(#[from] SocketIteratorError),
    /// Devices cannot be listed.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// No thread.
    #[error("start a thread that hears of connections: {0}")]
    Thread(#[source] io::Error),
    /// More listeners than programs can be told of.
    #[error(
        "refuse connections: the target listens on {0} ports, and at most 16 can be told apart from its neighbours'; name some with --local-port"
    )]
    Listeners(usize),
    /// Ports and sides that no new connection has.
    #[error(
        "refuse connections: no new one has such ports: one that the target accepts has its port on the target's side, one that it opens on the other; say --local-port or --remote-port, not both"
    )]
    NoSide,
    /// What only connections have that are there.
    #[error(
        "end new connections: --idle, --age and --state are for those that are there; leave out {0}, or --new"
    )]
    Fresh(&'static str),
    /// Whoever comes is nobody's yet.
    #[error(
        "refuse connections by --process: whoever holds them is not known before; name the process with -t"
    )]
    HolderOfNew,
    /// The journal.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// `/proc` cannot be read.
    #[error("read /proc: {0}")]
    Processes(#[source] io::Error),
    /// Nobody is there.
    #[error("end connections: no network namespace was found; the target is gone")]
    Nobody,
    /// All of the machine.
    #[error(
        "end connections of {0}: that is the network namespace of this machine, and everybody's would be drawn from; name processes, or say --allow-host"
    )]
    Host(String),
    /// Neither ports nor peers.
    #[error(
        "end connections: say which: --port 5432, --local-port, --remote-port, --peer or --cidr; --all-ports takes all that the target has"
    )]
    NoScope,
    /// Sockets cannot be taken from their owners.
    #[error("end connections by --how close: {0}; it needs Linux 5.6 and CAP_SYS_PTRACE")]
    Close(#[source] io::Error),
    /// A way to end connections that needs to know who holds them.
    #[error(
        "end connections by --how close: nobody who holds {0} was found; --how reset does not need to know"
    )]
    NoOwner(String),
}

impl ConnError {
    /// Whether somebody has asked for what makes no sense.
    pub fn is_bad_input(&self) -> bool {
        match self {
            Self::Spec(_)
            | Self::Host(_)
            | Self::NoScope
            | Self::HolderOfNew
            | Self::NoSide
            | Self::Fresh(_)
            | Self::Listeners(_) => true,
            Self::Net(error) => error.is_bad_input(),
            _ => false,
        }
    }
}

/// What makes a fault happen.
struct Engines {
    /// What ends sockets.
    destroyer: Engine,
    names: Vec<&'static str>,
}

impl Engines {
    /// For people: each once.
    fn text(&self) -> String {
        self.names.join(" + ")
    }

    fn add(&mut self, name: &'static str) {
        if !self.names.contains(&name) {
            self.names.push(name);
        }
    }
}

/// Whether it may be done, and what does it on this kernel; changes nothing.
fn check(asked: &Asked, hit: &Hit<'_>) -> Result<Engines, ConnError> {
    if hit.places.is_empty() {
        return Err(ConnError::Nobody);
    }
    let host = hit.places.iter().find(|place| place.is_hosts());
    if let Some(place) = host.filter(|_| hit.target.is_none() && !hit.allow_host) {
        return Err(ConnError::Host(place.name.clone()));
    }
    let spec = &asked.spec;
    let ends_sockets = spec.ways().any(How::ends_sockets);
    let mut engines = Engines {
        destroyer: match asked.engine {
            Some(engine) if !ends_sockets => engine,
            None if !ends_sockets => Engine::SockDestroy,
            engine => Engine::choose(engine, &hit.places)?,
        },
        names: Vec::new(),
    };
    for how in spec.ways() {
        if how.ends_sockets() {
            engines.add(engines.destroyer.name());
        }
        if how.holds_packets() {
            engines.add(match Hold::best() {
                Hold::Links => flows::trial().map(|()| "tcx")?,
                Hold::Filters => flows::trial_by_filters().map(|()| "cls_bpf")?,
            });
        }
        match how {
            How::Close => {
                connections::trial_of_close().map_err(ConnError::Close)?;
                engines.add("pidfd_getfd");
            }
            How::Refuse if !asked.scope.holders.is_empty() => return Err(ConnError::HolderOfNew),
            How::Refuse => {
                if refusing::sides_of(&asked.scope).is_empty() {
                    return Err(ConnError::NoSide);
                }
                for side in refusing::sides_of(&asked.scope) {
                    side.trial()?;
                    engines.add(side.engine());
                }
            }
            _ => {}
        }
    }
    if spec.how_of_new().is_some_and(|how| how != How::Refuse) {
        tcp_events::trial()?;
        engines.add("tcp_events");
    }
    Ok(engines)
}

/// The fault in words.
pub fn words(asked: &Asked) -> String {
    format!("{}{}", asked.spec, asked.scope.words())
}

/// What would happen to the connections that are there now, and what each way of drawing would come to. Changes nothing.
pub fn plan(
    asked: &Asked,
    hit: &Hit<'_>,
    until: Option<Until>,
) -> Result<(Plan, Option<Forecast>), ConnError> {
    asked.check(until)?;
    let engines = check(asked, hit)?;
    let mut pool = Pool::of(hit, &asked.scope)?;
    let mut all = pool.look()?;
    pool.own(&mut all)?;
    let mut changes = Vec::new();
    if let Some(share) = asked.spec.share {
        let k = share.of(all.len());
        changes.push(match all.len() {
            0 => "no connection matches now".into(),
            n => format!(
                "{} {k} of the {n} connections that are there now",
                asked.spec.how
            ),
        });
        let drawn = disconnection::order_of(asked.seed, 0, all.len());
        let chosen = drawn.into_iter().take(k).filter_map(|place| all.get(place));
        changes.extend(chosen.map(Connection::text));
    }
    if let Some((new, how)) = asked.spec.new.zip(asked.spec.how_of_new()) {
        changes.push(format!("{how} each one that comes with a chance of {new}"));
    }
    // Of none nothing is expected.
    let share = asked.spec.share.filter(|_| !all.is_empty());
    let forecast = share.map(|share| {
        forecast(&Question {
            n: all.len(),
            share,
            every: asked.spec.every,
            cap: asked.spec.cap,
            new: asked.spec.new,
            lasts: match until {
                Some(Until::After(time)) => Some(time),
                _ => None,
            },
            seed: asked.seed,
        })
    });
    let plan = Plan {
        family: "conn",
        fault: words(asked),
        engine: engines.text().into(),
        targets: hit.places.iter().map(|place| place.name.clone()).collect(),
        changes,
        undo: Vec::new(),
        ends: if asked.spec.needs_programs() {
            EndsBy::Kernel
        } else {
            EndsBy::Itself
        },
        until: until.unwrap_or(Until::After(Span(std::time::Duration::ZERO))),
    };
    Ok((plan, forecast))
}
