//! A weakening takes something away from a history that its clients need not have learned; what is left is as valid as
//! before, and says less.

use std::collections::BTreeSet;

use murphy_check::{
    etcd::generate::{Entry, Story, Value},
    history::{Kind, Limits},
};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Takes away what `seed` says.
pub fn weaken(story: &Story, seed: u64) -> Story {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut weak = story.clone();
    if rng.random_ratio(1, 4) {
        cut_off(&mut weak, &mut rng);
    }
    if rng.random_ratio(3, 4) {
        let share = [1, 4, 8][rng.random_range(0..3)];
        drop_streams(&mut weak, share, &mut rng);
    }
    if rng.random() {
        let share = [8, 30, 100][rng.random_range(0..3)];
        forget_answers(&mut weak, share, &mut rng);
    }
    if rng.random() {
        let share = [2, 10][rng.random_range(0..2)];
        drop_questions(&mut weak, share, &mut rng);
    }
    if rng.random_ratio(1, 4) {
        // A member is asked for its status when its watches have everything.
        weak.limits = Limits {
            watch_lag_ns: Some(1),
            ..weak.limits
        };
    }
    weak
}

/// The history ends earlier.
fn cut_off(story: &mut Story, rng: &mut ChaCha8Rng) {
    let length = story.entries.len();
    story
        .entries
        .truncate(rng.random_range(length / 4..=length));
}

/// One in `share` streams is not recorded, or breaks on the way.
fn drop_streams(story: &mut Story, share: u32, rng: &mut ChaCha8Rng) {
    let streams: BTreeSet<String> = story
        .entries
        .iter()
        .filter(|entry| entry.f.starts_with("watch"))
        .map(|entry| entry.process.clone())
        .collect();
    for process in streams {
        if !rng.random_ratio(1, share) {
            continue;
        }
        let lines: Vec<usize> = (0..story.entries.len())
            .filter(|line| story.entries[*line].process == process)
            .collect();
        let kept = rng.random_range(0..=lines.len());
        let mut line = 0;
        if kept > 1 && kept < lines.len() {
            let last = &mut story.entries[lines[kept]];
            (last.kind, last.f, last.value) = (Kind::Info, "watch", Value::None);
            last.error = Some("transport error".into());
        }
        let from = if kept > 1 { kept + 1 } else { 0 };
        story.entries.retain(|_| {
            line += 1;
            lines[from.min(lines.len())..]
                .binary_search(&(line - 1))
                .is_err()
        });
    }
}

/// One in `share` answers does not arrive.
fn forget_answers(story: &mut Story, share: u32, rng: &mut ChaCha8Rng) {
    for line in 0..story.entries.len() {
        let entry = &story.entries[line];
        if !is_answer(entry) || !rng.random_ratio(1, share) {
            continue;
        }
        let process = entry.process.clone();
        // Whoever does not know what became of a request asks under another name from then on.
        let other = format!("{process}'");
        let entry = &mut story.entries[line];
        (entry.kind, entry.value) = (Kind::Info, Value::None);
        entry.error = Some("etcdserver: request timed out".into());
        for entry in &mut story.entries[line + 1..] {
            if entry.process == process {
                entry.process.clone_from(&other);
            }
        }
    }
}

fn is_answer(entry: &Entry) -> bool {
    entry.kind == Kind::Ok && !entry.f.starts_with("watch")
}

/// One in `share` questions that change nothing is not recorded.
fn drop_questions(story: &mut Story, share: u32, rng: &mut ChaCha8Rng) {
    let asks = |entry: &Entry| {
        entry.kind == Kind::Invoke
            && matches!(
                entry.f,
                "range" | "status" | "hash_kv" | "lease_keep_alive" | "lease_time_to_live"
            )
    };
    let mut dropped = BTreeSet::new();
    for (line, entry) in story.entries.iter().enumerate() {
        if !asks(entry) || !rng.random_ratio(1, share) {
            continue;
        }
        dropped.insert(line);
        let rest = story.entries.iter().enumerate().skip(line + 1);
        let mut rest = rest.filter(|(_, other)| other.process == entry.process);
        dropped.extend(rest.next().map(|(line, _)| line));
    }
    let mut line = 0;
    story.entries.retain(|_| {
        line += 1;
        !dropped.contains(&(line - 1))
    });
}
