//! A cable is a device's packets taken out of the kernel, held for a while and brought back: two taps, one for each way,
//! and a thread that passes frames on when they are due.
//!
//! It ends with Murphy: the kernel takes taps and programs away together. Should Murphy hang, the programs let packets
//! pass after a second without a sign of life.

use std::{
    os::fd::AsFd,
    sync::{Arc, Mutex, PoisonError},
    thread::{self, JoinHandle},
};

use murphy_sys::{
    clock::monotonic_ns,
    link::Device,
    namespace::NetNamespace,
    pump::{Bell, Wait, WaitError},
    tap::{FRAME_BYTES_MAX, Frames, Tap, TapError},
    traffic::{Attachment, Heart, Traffic, TrafficError, Way},
};

use super::{
    line::{Delaying, Limits, Line, LineError, Order, Table, Tally, frames_for},
    spec::{Loss, LossUnit, Spec},
};

/// How often the programs are told that the taps are served, and others what was done.
const BEAT_NS: u64 = 100_000_000;
/// How many frames are read from one tap before others have their turn.
const BATCH: usize = 64;

/// Why packets cannot be held.
#[derive(Debug, thiserror::Error)]
pub enum CableError {
    /// No tap.
    #[error(transparent)]
    Tap(#[from] TapError),
    /// No thread that waits.
    #[error(transparent)]
    Wait(#[from] WaitError),
    /// No line.
    #[error(transparent)]
    Line(#[from] LineError),
    /// The kernel's part.
    #[error(transparent)]
    Traffic(#[from] TrafficError),
    /// Its frames cannot be handed to a tap.
    #[error(
        "hold the packets of device {0}: engine cable is for Ethernet devices, and it is none; --device chooses others"
    )]
    NoEthernet(String),
    /// No thread.
    #[error("start a thread: {0}")]
    Thread(#[source] std::io::Error),
}

/// What became of the frames of one way.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Held {
    /// What the line did.
    pub tally: Tally,
    /// How long it held them.
    pub delaying: Delaying,
    /// Frames that came faster than they were read: the tap dropped them.
    pub overflowed: u64,
}

/// A device's packets on their detour.
#[derive(Debug)]
pub(super) struct Cable {
    bell: Bell,
    thread: Option<JoinHandle<Result<(), CableError>>>,
    held: Arc<Mutex<Vec<(Way, Held)>>>,
}

/// What lines are made from.
#[derive(Clone, Debug, Default)]
pub(super) struct Recipe {
    /// What is asked.
    pub spec: Spec,
    /// The table of its distribution, where it has one.
    pub table: Option<Table>,
    /// Where chance comes from.
    pub seed: u64,
}

impl Recipe {
    /// What is left for a line to do: whole packets are lost in the kernel.
    fn for_line(&self) -> Spec {
        let by_segment = |_: &Loss| self.spec.loss_unit == LossUnit::Segment;
        Spec {
            loss: self.spec.loss.filter(by_segment),
            ..self.spec.clone()
        }
    }

    fn line(&self, way: Way) -> Result<Line, LineError> {
        // The two ways are not each other's echo.
        let seed = self.seed.wrapping_add(way as u64);
        let table = self.table.as_ref();
        let limits = Limits::default();
        Line::new(&self.for_line(), table, Order::Free, limits, seed)
    }

    fn frames(&self) -> Frames {
        frames_for(&self.for_line())
    }
}

impl Cable {
    /// Lays one for some ways of a device, to whose programs it belongs. `name` is the beginning of its taps' names, of
    /// at most 14 bytes.
    pub(super) fn lay(
        namespace: &NetNamespace,
        device: &Device,
        name: &str,
        ways: impl Iterator<Item = Way>,
        recipe: &Recipe,
        traffic: &mut Traffic,
        by: Attachment<'_>,
    ) -> Result<Self, CableError> {
        if !device.is_ethernet {
            return Err(CableError::NoEthernet(device.name.clone()));
        }
        let (mut taps, mut lines, mut held) = (Vec::new(), Vec::new(), Vec::new());
        for way in ways {
            let ending = match way {
                Way::To => "e",
                Way::From => "i",
            };
            let name = format!("{name}{ending}");
            let tap = Tap::create(namespace, &name, recipe.frames(), device.mtu)?;
            traffic.hand_to(namespace, device.index, way, tap.index(), by)?;
            taps.push(tap);
            lines.push(recipe.line(way)?);
            held.push((way, Held::default()));
        }
        let (bell, heart) = (Bell::new()?, traffic.heart()?);
        let held = Arc::new(Mutex::new(held));
        let (theirs, summons) = (Arc::clone(&held), bell.clone());
        // The taps are served before anything is handed to them.
        heart.beat()?;
        let thread = thread::Builder::new()
            .name("cable".into())
            .spawn(move || pump(&taps, &mut lines, &heart, &summons, &theirs))
            .map_err(CableError::Thread)?;
        Ok(Self {
            bell,
            thread: Some(thread),
            held,
        })
    }

    /// What became of the frames so far.
    pub(super) fn held(&self) -> Vec<(Way, Held)> {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.clone()
    }

    /// Whether its thread has ended by itself: packets pass, and nothing is done to them.
    pub(super) fn is_broken(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Ends it: what it holds is passed on at once. Nothing may be handed to it any more.
    pub(super) fn end(&mut self) -> Result<(), CableError> {
        self.bell.ring();
        match self.thread.take().map(JoinHandle::join) {
            None => Ok(()),
            Some(Ok(outcome)) => outcome,
            Some(Err(panic)) => std::panic::resume_unwind(panic),
        }
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        // Whoever wanted to know how it ended has asked.
        let _ = self.end();
    }
}

/// Passes frames on when they are due, until the bell rings.
fn pump(
    taps: &[Tap],
    lines: &mut [Line],
    heart: &Heart,
    bell: &Bell,
    held: &Mutex<Vec<(Way, Held)>>,
) -> Result<(), CableError> {
    let mut wait = Wait::new(bell, taps.iter().map(AsFd::as_fd))?;
    // Without the privilege frames leave a little later; how much, is measured.
    let _ = wait.hurry();
    let mut buffer = vec![0; FRAME_BYTES_MAX];
    let mut beat_ns = monotonic_ns();
    loop {
        let now_ns = monotonic_ns();
        if now_ns >= beat_ns {
            beat_ns = now_ns + BEAT_NS;
            heart.beat()?;
            publish(taps, lines, held)?;
        }
        for (tap, line) in taps.iter().zip(lines.iter_mut()) {
            while let Some(frame) = line.release(monotonic_ns()) {
                tap.write(frame)?;
            }
            for _ in 0..BATCH {
                let Some(length) = tap.read(&mut buffer)? else {
                    break;
                };
                line.take(monotonic_ns(), &buffer[..length]);
            }
        }
        let due = lines.iter().filter_map(Line::due).min();
        wait.until(Some(due.map_or(beat_ns, |due| due.min(beat_ns))))?;
        if wait.has_rung() {
            break;
        }
    }
    for (tap, line) in taps.iter().zip(lines.iter_mut()) {
        // What is still in the tap was handed over before it ended.
        while let Some(length) = tap.read(&mut buffer)? {
            line.take(monotonic_ns(), &buffer[..length]);
        }
        while let Some(frame) = line.flush() {
            tap.write(frame)?;
        }
    }
    publish(taps, lines, held)
}

/// Says what was done so far.
fn publish(taps: &[Tap], lines: &[Line], held: &Mutex<Vec<(Way, Held)>>) -> Result<(), CableError> {
    let mut fresh = Vec::new();
    for (tap, line) in taps.iter().zip(lines) {
        fresh.push(Held {
            tally: line.tally(),
            delaying: line.delaying(),
            overflowed: tap.drops()?.tx_frames,
        });
    }
    let mut held = held.lock().unwrap_or_else(PoisonError::into_inner);
    for ((_, held), fresh) in held.iter_mut().zip(fresh) {
        *held = fresh;
    }
    Ok(())
}
