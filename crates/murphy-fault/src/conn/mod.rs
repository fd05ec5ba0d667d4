//! Family `conn`: a share of the connections of a target ends, idle ones too, once or again and again; the others see
//! nothing of it.
//!
//! Which ones they are is drawn from all that are there, so that exactly as many end as were asked for. No packet is
//! needed for that, and none is touched: the sockets are listed and ended in the kernel ([`murphy_sys::connections`]), or
//! closed in their owner's place. Ended connections cannot be brought back, so that there is nothing to undo.

mod disconnection;
mod pool;
pub mod scope;
pub mod spec;

use std::io;

use murphy_sys::connections::{self, ConnectionError};

pub use disconnection::{Asked, Cut, Disconnected, Disconnection, Draw};
pub use pool::{Connection, Owner};
pub use scope::{Scope, Side};
pub use spec::{How, Share, Spec, SpecError};

use crate::{
    journal::JournalError,
    net::{Hit, NetError},
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
            Self::Spec(_) | Self::Host(_) | Self::NoScope => true,
            Self::Net(error) => error.is_bad_input(),
            _ => false,
        }
    }
}

/// Whether it may be done, and whether this kernel does it; changes nothing.
fn check(asked: &Asked, hit: &Hit<'_>) -> Result<(), ConnError> {
    if hit.places.is_empty() {
        return Err(ConnError::Nobody);
    }
    for place in &hit.places {
        if hit.target.is_none() && !hit.allow_host && place.is_hosts() {
            return Err(ConnError::Host(place.name.clone()));
        }
        if asked.spec.how == How::Reset {
            connections::trial(&place.namespace)?;
        }
    }
    Ok(())
}

/// The fault in words.
pub fn words(asked: &Asked) -> String {
    format!("{}{}", asked.spec, asked.scope.words())
}

/// What would happen to the connections that are there now. Changes nothing.
pub fn plan(asked: &Asked, hit: &Hit<'_>, until: Option<Until>) -> Result<Plan, ConnError> {
    asked.check(until)?;
    check(asked, hit)?;
    let mut pool = pool::Pool::of(&hit.places, hit.target, &asked.scope)?;
    let all = pool.look(true)?;
    let k = asked.spec.share.of(all.len());
    let drawn = disconnection::order_of(asked.seed, 0, all.len());
    let mut changes = vec![format!(
        "{} {k} of the {} connections that are there now",
        asked.spec.how,
        all.len()
    )];
    let chosen = drawn.into_iter().take(k).filter_map(|place| all.get(place));
    changes.extend(chosen.map(Connection::text));
    Ok(Plan {
        family: "conn",
        fault: words(asked),
        engine: asked.spec.how.engine(),
        targets: hit.places.iter().map(|place| place.name.clone()).collect(),
        changes,
        undo: Vec::new(),
        ends: EndsBy::Itself,
        until: until.unwrap_or(Until::After(Span(std::time::Duration::ZERO))),
    })
}
