//! Faults: what goes wrong, how it is injected, measured and undone.
//!
//! Nothing is changed on a system before the way back is on disk. An [`injector::Injector`] is one Murphy
//! at work: it holds the [`journal::Journal`] and a [`keeper::Keeper`] that goes the way back should Murphy
//! die. A family of faults is a folder: [`process`], [`time`], [`net`], [`conn`].
//!
//! ```no_run
//! use murphy_fault::{injector::Injector, journal::Journal, process::Pause, span::Until};
//! use murphy_target::{MAX_TARGETS, Target};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let injector = Injector::start(Journal::of_user()?, &std::env::current_exe()?)?;
//! let target = Target::find(&["pid:42".parse()?], MAX_TARGETS, [])?;
//! let until = Until::After("10s".parse()?);
//! let pause = Pause::inject(&injector, &target, &["pid:42".into()], until)?;
//! let effect = pause.end();
//! assert!(effect.left.is_empty());
//! # Ok(())
//! # }
//! ```

#![forbid(unsafe_code)]

pub mod conn;
pub mod doctor;
pub mod injector;
pub mod journal;
pub mod keeper;
pub mod net;
pub mod plan;
pub mod podman;
pub mod process;
pub mod rate;
pub mod ratio;
pub mod span;
pub mod syscall;
pub mod time;
pub mod undo;
