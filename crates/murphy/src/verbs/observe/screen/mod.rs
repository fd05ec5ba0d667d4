//! A screen shows what is observed on a whole terminal: a service map, each edge, how the chosen one has been lately, and
//! what was found.
//!
//! What is shown is a [`View`], which knows no terminal. This is the terminal: it is taken as a whole and given back as it
//! was, however Murphy ends. Nobody waits for it: it is drawn at most four times a second, between two looks.

mod found;
mod ink;
mod map;
#[cfg(test)]
mod picture;
mod plan;
mod sparks;
mod table;
#[cfg(test)]
mod tests;
mod view;

use std::{
    env,
    io::{self, IsTerminal, Stdout, stdin, stdout},
    os::fd::AsFd,
    panic,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use murphy_observe::Observer;
use murphy_sys::{clock::boottime_ns, clock::realtime_ns, signal::Interrupts};
use ratatui::{
    Terminal,
    backend::CrosstermBackend,
    crossterm::{
        cursor::Show,
        event::{self, Event, KeyCode, KeyEventKind, KeyModifiers},
        execute,
        terminal::{EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode},
    },
};

use super::injected::Injected;
use crate::output::Paint;
use ink::Ink;
use view::View;

/// How often it is drawn at most.
const DRAW_EVERY: Duration = Duration::from_millis(250);
/// A terminal that has something to say so often in a row, and says nothing, is gone.
const MUTE_MAX: u32 = 50;

/// Whether the terminal is taken.
static IS_TAKEN: AtomicBool = AtomicBool::new(false);

/// A whole terminal.
pub struct Screen {
    terminal: Terminal<CrosstermBackend<Stdout>>,
    view: View,
    drawn_at: Option<Instant>,
    mute: u32,
}

/// What somebody wants who has pressed a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Key {
    Quit,
    Up,
    Down,
    Pause,
    Help,
    Escape,
}

impl Screen {
    /// Whether there is a terminal that can be taken: both ends of it are one, and it can do more than lines.
    pub fn is_possible() -> bool {
        let is_dumb = env::var_os("TERM").is_none_or(|term| term == "dumb" || term.is_empty());
        stdout().is_terminal() && stdin().is_terminal() && !is_dumb
    }

    /// Takes the terminal.
    pub fn open(names: &[String]) -> io::Result<Self> {
        give_back_on_panic();
        enable_raw_mode()?;
        IS_TAKEN.store(true, Ordering::SeqCst);
        // From here on whoever fails gives it back.
        let guard = Taken;
        execute!(stdout(), EnterAlternateScreen)?;
        let terminal = Terminal::new(CrosstermBackend::new(stdout()))?;
        std::mem::forget(guard);
        let ink = Ink::new(Paint::for_results().is_on());
        Ok(Self {
            terminal,
            view: View::new(names, ink, realtime_ns().saturating_sub(boottime_ns())),
            drawn_at: None,
            mute: 0,
        })
    }

    /// Waits for a while, or until a key or a signal comes. True when it is to end.
    pub fn wait(&mut self, interrupts: &Interrupts, limit: Duration) -> io::Result<bool> {
        let limit = match self.drawn_at {
            Some(at) => limit.min(
                DRAW_EVERY
                    .saturating_sub(at.elapsed())
                    .max(Duration::from_millis(1)),
            ),
            None => limit,
        };
        let began = Instant::now();
        if interrupts.wait_beside(stdin().as_fd(), limit)? {
            return Ok(true);
        }
        let mut has_heard = false;
        while event::poll(Duration::ZERO)? {
            has_heard = true;
            match event::read()? {
                Event::Resize(..) => self.drawn_at = None,
                other => match key_of(&other) {
                    Some(Key::Quit) => return Ok(true),
                    Some(key) => {
                        self.view.press(key);
                        self.drawn_at = None;
                    }
                    None => {}
                },
            }
        }
        let is_mute = !has_heard && limit > Duration::ZERO && began.elapsed() < limit / 2;
        self.mute = if is_mute { self.mute + 1 } else { 0 };
        Ok(self.mute > MUTE_MAX)
    }

    /// Says something that is neither a finding nor a figure, where warnings stand.
    pub fn note(&mut self, text: &str) {
        self.view.note(text);
    }

    /// Draws what is observed, if it is time to.
    pub fn show(&mut self, observer: &Observer, injected: &Injected) -> io::Result<()> {
        if self.drawn_at.is_some_and(|at| at.elapsed() < DRAW_EVERY) {
            return Ok(());
        }
        self.drawn_at = Some(Instant::now());
        if !self.view.is_paused() {
            self.view
                .take(observer.snapshot(), observer.findings(), injected.all());
        }
        self.terminal.draw(|frame| self.view.draw(frame))?;
        Ok(())
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        give_back();
    }
}

/// A terminal that is taken until this is dropped.
struct Taken;

impl Drop for Taken {
    fn drop(&mut self) {
        give_back();
    }
}

/// Gives the terminal back as it was. A terminal that is gone needs nothing.
fn give_back() {
    if IS_TAKEN.swap(false, Ordering::SeqCst) {
        let _ = execute!(stdout(), LeaveAlternateScreen, Show);
        let _ = disable_raw_mode();
    }
}

/// A panic is said on a terminal that can be read: it ends Murphy before anything is dropped.
fn give_back_on_panic() {
    let say = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        give_back();
        say(info);
    }));
}

fn key_of(event: &Event) -> Option<Key> {
    let Event::Key(key) = event else { return None };
    if key.kind == KeyEventKind::Release {
        return None;
    }
    let is_control = key.modifiers.contains(KeyModifiers::CONTROL);
    match key.code {
        KeyCode::Char('c' | 'd') if is_control => Some(Key::Quit),
        _ if is_control => None,
        KeyCode::Char('q' | 'Q') => Some(Key::Quit),
        KeyCode::Up | KeyCode::Char('k') => Some(Key::Up),
        KeyCode::Down | KeyCode::Char('j') => Some(Key::Down),
        KeyCode::Char('p') => Some(Key::Pause),
        KeyCode::Char('?' | 'h') => Some(Key::Help),
        KeyCode::Esc => Some(Key::Escape),
        _ => None,
    }
}
