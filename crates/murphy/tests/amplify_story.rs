//! The whole story, on programs that somebody else wrote: what their system calls fail with is recorded, models are made of it, a
//! campaign injects these, and a report says what each program survives.
//!
//! A few rows by default; with `MURPHY_SOAK=1` at least ten rows each, twice, with the same verdicts.
#![allow(
    clippy::print_stdout,
    reason = "the soak reads the figure that is printed"
)]

mod harness;
mod stories;
mod victims;

use std::{fs, path::Path};

use harness::Guard;
use stories::{Story, etcd, mail, python, torrent};

fn tell(name: &str, story: impl FnOnce(&Guard, &Path) -> Option<Story>) {
    let Some(guard) = Guard::root_or_skip() else {
        return;
    };
    let dir = guard.dir().join(name);
    fs::create_dir(&dir).expect("a folder");
    if let Some(story) = story(&guard, &dir) {
        story.is_told(&guard, &dir);
    }
}

#[test]
fn etcd_is_told_what_it_survives() {
    tell("etcd", |_, _| etcd::story());
}

#[test]
fn a_service_in_python_is_told_what_it_survives() {
    tell("python", |_, dir| Some(python::story(dir)));
}

#[test]
fn a_client_of_torrents_is_told_what_it_survives() {
    tell("torrent", torrent::story);
}

#[test]
fn a_mail_server_is_told_what_it_survives() {
    tell("mail", mail::story);
}
