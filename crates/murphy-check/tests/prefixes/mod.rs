//! The live judge on the histories of the other tests: it says what brute force says, and says `broken` when the first
//! contradiction can be known.

use murphy_check::{
    brute::{Precedence, Trust, has_legal_order},
    history::{Header, Kind},
    judge::ModelName,
    live::{self, LiveJudge},
    model::{OperationOf, Vocabulary},
    recording::Entry,
    verdict::{Judgement, Verdict},
};

use crate::playing::{Domain, Line};

/// What was compared.
#[derive(Default)]
pub struct Tally {
    held: u64,
    broken: u64,
    /// Broken before the end.
    early: u64,
}

impl Tally {
    /// Judges a history live, and compares.
    pub fn compare<M: Vocabulary>(
        &mut self,
        model: &mut M,
        domain: &Domain<'_>,
        history: &[OperationOf<M>],
        is_legal: bool,
    ) {
        let Some(lines) = domain.written(model, history) else {
            return;
        };
        let mut judge = begin(M::NAME);
        let mut found = None;
        for (number, line) in lines.iter().enumerate() {
            if let Some(judgement) = feed(judge.as_mut(), number, line) {
                is_told(&judgement, &lines);
                found.get_or_insert(number);
            }
        }
        let report = judge.finish();
        let judgement = &report.judgements[0];
        let at = || format!("{}: {lines:#?}\n{judgement:#?}", M::NAME);
        assert_eq!(judgement.promise, "linearizable");
        if is_legal {
            assert_ne!(judgement.verdict, Verdict::Broken, "{}", at());
            // Undecided only where nothing was to be decided: no limit is reached in so small a history.
            let reason = &judgement.reason;
            let is_vacuous = reason.starts_with("no operation") || reason.starts_with("no answer");
            assert!(judgement.verdict == Verdict::Held || is_vacuous, "{}", at());
            self.held += u64::from(!is_vacuous);
            return;
        }
        assert_eq!(judgement.verdict, Verdict::Broken, "{}", at());
        is_told(judgement, &lines);
        self.broken += 1;
        let (first, latest) = bounds(model, history, &lines);
        assert!(
            found.is_some() || latest == lines.len(),
            "{latest} {}",
            at()
        );
        if let Some(found) = found {
            // A line counts with the next one of a later moment.
            assert!(
                found > first && found <= latest,
                "{first} {found} {latest} {}",
                at()
            );
            self.early += 1;
        }
    }

    /// Both kinds, and many of them.
    pub fn is_enough(&self, name: &str, count: u64) {
        let Self {
            held,
            broken,
            early,
        } = self;
        assert!(
            *held > count / 2 && *broken > count / 8 && *early > count / 50,
            "{name}: {held} held, {broken} broken, {early} of them early"
        );
    }
}

/// The line that completes the first contradiction, and the line with which a live judge has to know: the first whose
/// moment is later than that of the last completion that it has to wait for; the number of lines where that is the end.
fn bounds<M: Vocabulary>(model: &M, history: &[OperationOf<M>], lines: &[Line]) -> (usize, usize) {
    let is_illegal = |number: usize| {
        let until = lines[number].moment;
        let mut begun: Vec<_> = (history.iter())
            .filter(|operation| operation.call <= until)
            .cloned()
            .collect();
        for operation in &mut begun {
            if operation.end > until {
                (operation.end, operation.answer) = (u64::MAX, None);
            }
        }
        let refs: Vec<_> = begun.iter().collect();
        let initial = [model.initial()];
        let (order, trust) = (Precedence::RealTime, Trust::Steps);
        has_legal_order(model, &initial, &refs, order, trust, 1 << 20) == Some(false)
    };
    let answers = (0..lines.len()).filter(|number| lines[*number].kind == Kind::Ok);
    let first = { answers }
        .find(|number| is_illegal(*number))
        .expect("an illegal history");
    let moment = lines[first].moment;
    let asked = (lines.iter()).filter(|line| line.kind == Kind::Invoke && line.moment <= moment);
    let mut known = first;
    for asked in asked {
        let is_end = |line: &Line| line.position == asked.position && line.kind != Kind::Invoke;
        match lines.iter().position(is_end) {
            Some(end) => known = known.max(end),
            None => return (first, lines.len()),
        }
    }
    let later = lines
        .iter()
        .position(|line| line.moment > lines[known].moment);
    (first, later.unwrap_or(lines.len()))
}

/// A judge of a history of a model.
pub fn begin(model: &str) -> Box<dyn LiveJudge> {
    let name: ModelName = model.parse().expect("a model");
    live::start(name, &Header::new(model), &live::Options::default()).expect("a live judge")
}

/// Hands a line over.
pub fn feed(judge: &mut dyn LiveJudge, number: usize, line: &Line) -> Option<Judgement> {
    let entry = Entry {
        line: number as u64 + 2,
        index: None,
        kind: line.kind,
        process: line.process.as_str().into(),
        f: line.f.as_str().into(),
        value: line.value.clone(),
        time: Some(line.moment),
        node: None,
        error: None,
    };
    judge.entry(entry).expect("words of the model")
}

/// A contradiction comes with a confirmed witness whose lines are those of the history.
fn is_told(judgement: &Judgement, lines: &[Line]) {
    assert_eq!(judgement.verdict, Verdict::Broken);
    let witness = judgement.witness.as_ref().expect("a witness");
    assert!(
        witness.confirmed && !witness.lines.is_empty(),
        "{witness:#?}"
    );
    for told in &witness.lines {
        let line = &lines[usize::try_from(told.line).unwrap() - 2];
        assert_eq!(told.process, line.process);
    }
}
