//! Each promise of the watch, of leases and of Kubernetes with the shortest histories that keep it and break it.
//!
//! A breaking history is judged with all promises: the one it is about is broken, with exactly the witness that is
//! marked in the story, confirmed by the second checker; and without any of the lines the violation rests on it is
//! not broken any more.

mod kubernetes;
mod late;
mod lease;
mod story;
mod watch;

use murphy_check::{
    etcd::{self, Options, Scope},
    verdict::{Judgement, Report, Verdict},
};
use story::{Mark, Story, Told};

/// What a story says of a promise.
pub enum Says {
    /// It holds.
    Holds,
    /// It is broken.
    Breaks,
    /// Nothing follows.
    Undecided,
}

/// Title, verdict, story.
pub type Case = (&'static str, Says, &'static str);

fn judge(told: &Told) -> Report {
    let options = Options {
        scope: Scope::All,
        ..Options::default()
    };
    etcd::check(told.history.as_bytes(), &options)
        .unwrap_or_else(|error| panic!("{error}\n{}", told.history))
}

fn of<'a>(report: &'a Report, promise: &str) -> &'a Judgement {
    let found = report
        .judgements
        .iter()
        .find(|judgement| judgement.promise == promise);
    found.unwrap_or_else(|| panic!("no promise {promise}"))
}

/// Judges the stories of one promise: at least two that keep it and three that break it.
pub fn cases(promise: &str, cases: &[Case]) {
    let (mut held, mut broken) = (0, 0);
    for (title, says, text) in cases {
        let story = Story::new(text);
        let told = story.told_without(None);
        let report = judge(&told);
        let judgement = of(&report, promise);
        let context = || format!("{promise}: {title}\n{}\n{report:#?}", told.history);
        match says {
            Says::Holds => {
                held += 1;
                assert_eq!(judgement.verdict, Verdict::Held, "{}", context());
                assert_ne!(report.verdict(&[]), Verdict::Broken, "{}", context());
            }
            Says::Undecided => assert_eq!(judgement.verdict, Verdict::Undecided, "{}", context()),
            Says::Breaks => {
                broken += 1;
                assert_eq!(judgement.verdict, Verdict::Broken, "{}", context());
                witness(promise, title, &story, &told, judgement);
            }
        }
    }
    assert!(
        held >= 2 && broken >= 3,
        "{promise} has {held} stories that keep it and {broken} that break it"
    );
}

fn witness(promise: &str, title: &str, story: &Story, told: &Told, judgement: &Judgement) {
    let witness = judgement
        .witness
        .as_ref()
        .expect("a broken promise has a witness");
    let mut shown: Vec<usize> = witness
        .lines
        .iter()
        .map(|line| told.origin[usize::try_from(line.line).unwrap()])
        .collect();
    shown.sort_unstable();
    shown.dedup();
    let marked = story.marked(&[Mark::Needed, Mark::Shown]);
    let text = |places: &[usize]| {
        places
            .iter()
            .map(|place| story.line(*place))
            .collect::<Vec<_>>()
    };
    assert_eq!(
        text(&shown),
        text(&marked),
        "{promise}: {title}: the witness\n{witness:#?}"
    );
    assert!(
        witness.confirmed,
        "{promise}: {title}: not confirmed\n{witness:#?}"
    );
    for place in story.marked(&[Mark::Needed]) {
        let told = story.told_without(Some(place));
        let judgement = judge(&told);
        let judgement = of(&judgement, promise);
        assert_ne!(
            judgement.verdict,
            Verdict::Broken,
            "{promise}: {title}: still broken without `{}`\n{judgement:#?}",
            story.line(place)
        );
    }
}
