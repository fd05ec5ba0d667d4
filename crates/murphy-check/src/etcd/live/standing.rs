//! Standings are what a live judge has to say of each promise so far.

use crate::{
    etcd::{PROMISES, check::Examination, durable, linear, promises::SERIALIZABLE_READS},
    text::counted,
    verdict::{Judgement, Verdict, plain},
};

/// What is known of every promise.
#[derive(Debug, Default)]
pub(super) struct Standings {
    /// Promises that were judged in some window, and held.
    held: Vec<String>,
    /// Why a promise was undecided in a window that is settled.
    open: Option<Judgement>,
    /// Why more cannot be said of reads.
    reads: Option<String>,
    /// Why more cannot be said of watches.
    watches: Option<String>,
}

impl Standings {
    /// Some reads were not judged.
    pub fn doubt_reads(&mut self, why: String) {
        self.reads.get_or_insert(why);
    }

    /// Some watches owe revisions up to `floor`, which nobody knows any more.
    pub fn doubt_watches(&mut self, floor: i64) {
        self.watches.get_or_insert_with(|| {
            format!("a watch owes revisions up to {floor}, which were forgotten")
        });
    }

    /// Takes down what a window says.
    pub fn note(&mut self, window: &Examination) {
        for judgement in &window.judgements {
            if judgement.verdict == Verdict::Held && !self.held.contains(&judgement.promise) {
                self.held.push(judgement.promise.clone());
            }
            // What a watch owed in a quiet time that was too short is not looked at again.
            let is_silent = window.silent.contains(&judgement.promise);
            if judgement.promise == "watch.live"
                && judgement.verdict == Verdict::Undecided
                && !is_silent
            {
                self.open.get_or_insert_with(|| judgement.clone());
            }
        }
    }

    /// Every promise that anything was said of, with what `said` says of it.
    fn all(
        &self,
        window: Option<&Examination>,
        said: impl Fn(&str, Option<&Judgement>) -> Judgement,
    ) -> Vec<Judgement> {
        let of = |name: &str| {
            let judgements = window.map_or(&[][..], |window| &window.judgements);
            judgements
                .iter()
                .find(|judgement| judgement.promise == name)
        };
        PROMISES
            .iter()
            .filter(|name| self.held.iter().any(|held| held == *name) || of(name).is_some())
            .map(|name| said(name, of(name)))
            .collect()
    }

    /// The judgements when a window broke a promise; the others were judged up to there.
    pub fn with(&self, window: &Examination) -> Vec<Judgement> {
        self.all(Some(window), |name, judgement| match judgement {
            Some(judgement) if judgement.verdict == Verdict::Broken => judgement.clone(),
            _ => plain(
                name,
                Verdict::Undecided,
                "judged live, until another was broken",
            ),
        })
    }

    /// The judgements where the judge gave up.
    pub fn lost(&self, why: &str) -> Vec<Judgement> {
        let always = [linear::PROMISE, durable::PROMISE];
        let mut judgements = self.all(None, |name, _| plain(name, Verdict::Undecided, why));
        for name in always {
            if judgements.iter().all(|judgement| judgement.promise != name) {
                judgements.push(plain(name, Verdict::Undecided, why));
            }
        }
        judgements
    }

    /// The judgements at the end of the history, whose last window is `last`; whether copies of the members show
    /// what every settled write came to.
    pub fn end(&self, last: &Examination, operations: u64, is_covered: bool) -> Vec<Judgement> {
        let held_before = |name: &str| self.held.iter().any(|held| held == name);
        self.all(Some(last), |name, judgement| {
            if let Some(open) = self.open.as_ref().filter(|open| open.promise == name) {
                return open.clone();
            }
            let is_silent = last.silent.iter().any(|silent| silent == name);
            let held = match judgement {
                Some(judgement) if judgement.verdict == Verdict::Held => true,
                Some(_) if !is_silent => false,
                _ if name == durable::PROMISE => held_before(name) || is_covered,
                _ => held_before(name),
            };
            if held && name == durable::PROMISE && !is_covered {
                let why = "the final state is not known of every acknowledged write";
                return plain(name, Verdict::Undecided, why);
            }
            if let (false, Some(judgement)) = (held, judgement) {
                return judgement.clone();
            }
            if let Some(why) = self.doubt(name) {
                return plain(name, Verdict::Undecided, why);
            }
            let operations = counted(operations, "operation");
            plain(name, Verdict::Held, format!("{operations}, judged live"))
        })
    }

    fn doubt(&self, name: &str) -> Option<&str> {
        let is_watch = name.contains("watch") || name == "kubernetes.bookmark";
        let is_read = [linear::PROMISE, SERIALIZABLE_READS].contains(&name)
            || name.starts_with("kubernetes.") && !is_watch;
        match (is_watch, is_read) {
            (true, _) => self.watches.as_deref(),
            (_, true) => self.reads.as_deref(),
            _ => None,
        }
    }
}
