//! What happens to the network of a target: observations of the kernel's, and pings, become tallies of each edge; detectors
//! claim what is wrong there, and findings say since when.
//!
//! An [`Edge`] is who talks with whom. A [`Book`] keeps a [`Tally`] of each, of what the kernel tells
//! ([`murphy_sys::tcp_events`]) and of what connections say when they are looked at; [`Pings`] has what came of those.
//! [`detect`] looks at both, and [`Findings`] keeps what it claims. An [`Observer`] does all that of a target, and changes
//! nothing but what it reports: its pings.

#![forbid(unsafe_code)]

mod book;
mod calls;
mod detect;
mod dns;
mod edge;
mod finding;
mod ground;
pub mod http;
mod lately;
mod listening;
mod lookups;
pub mod map;
pub mod metrics;
mod observer;
mod overhead;
mod peer;
mod pinging;
mod pings;
pub mod score;
mod share;
mod slice;
mod snapshot;
mod tally;
mod translations;
mod unseen;

pub use book::{Book, Whose};
pub use calls::{CallHistory, CallMoment, CallNow, CallsNow, TimesNow};
pub use detect::{
    CallSight, CallTroubles, GroundSight, Sight, detect, detect_calls, detect_ground,
};
pub use edge::Edge;
pub use finding::{Claim, Direction, Finding, Findings, Kind, Size};
pub use ground::{Counted, Ground, Lump, Moment, WrongClock};
pub use lately::{Beat, Lately};
pub use listening::Listening;
pub use lookups::{Lookup, Lookups};
pub use map::ServiceMap;
pub use observer::{Mode, News, ObserveError, Observer, Spec};
pub use overhead::Overhead;
pub use peer::PeerNow;
pub use pings::{Outcome, Ping, PingCount, Pings, median_us, nanos};
pub use share::Share;
pub use slice::{History, Rtt, Slice};
pub use snapshot::{EdgeNow, Snapshot};
pub use tally::Tally;
pub use translations::Made;
pub use unseen::Unseen;
