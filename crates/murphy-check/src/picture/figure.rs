//! A figure is the few invocations that show why a promise is broken, laid out to be drawn.

use rustc_hash::FxHashMap;

use super::{
    Explanation,
    scene::{Bar, Scene},
    text::{Clock, cut},
};
use crate::{
    recording::Outcome,
    verdict::{Judgement, Report, Verdict, WitnessLine},
};

/// The last steps of the longest legal order that are drawn.
const STEPS_SHOWN: usize = 12;
/// The invocations that cannot come next that are drawn.
const BLOCKED_SHOWN: usize = 8;
/// A history of at most this many invocations is drawn in full where there is no witness to draw.
const SMALL: usize = 24;
/// More parts of one promise than this are only counted.
const FIGURES_MOST: usize = 12;
/// Characters of a bar's words; a pointer shows them all.
const LONGEST_WORDS: usize = 30;

/// What a figure shows.
#[derive(Clone, Debug)]
pub struct Figure<'a> {
    /// The promise; `None` for a small history drawn in full.
    pub judgement: Option<&'a Judgement>,
    /// Why nothing more was legal.
    pub explanation: Option<&'a Explanation>,
    /// Its bars by the moment they begin.
    pub bars: Vec<FigureBar>,
    /// The steps drawn, in their order, as places in `bars`, with the state after each.
    pub steps: Vec<Step>,
    /// How its moments are written.
    pub clock: Clock,
    /// Its first and its last moment.
    pub span: (u64, u64),
}

/// One step of the longest legal order.
#[derive(Clone, Debug)]
pub struct Step {
    /// Which of all steps, from 1.
    pub number: usize,
    /// The bar it is a step of.
    pub bar: usize,
    /// The state after it.
    pub state: String,
}

/// One bar of a figure.
#[derive(Clone, Debug)]
pub struct FigureBar {
    /// The bar of the scene, where it is one.
    pub scene: Option<u32>,
    /// The client.
    pub lane: String,
    /// What was asked.
    pub label: String,
    /// What was answered.
    pub answer: String,
    /// What became of it.
    pub outcome: Outcome,
    /// From.
    pub from: u64,
    /// To; `None` for never.
    pub to: Option<u64>,
    /// Line of the history that carries the fact.
    pub line: u64,
    /// The member asked.
    pub node: Option<String>,
    /// The fact as a sentence, where the witness says it.
    pub sentence: Option<String>,
    /// Whether the witness says that it clashes; `None` where it is no line of the witness.
    pub clashes: Option<bool>,
    /// Why it cannot come next.
    pub blocked: Option<String>,
    /// What else there is to say: the error.
    pub error: Option<String>,
}

impl FigureBar {
    /// Its words, as they stand on it.
    pub fn words(&self) -> (String, String) {
        let label = cut(&self.label, LONGEST_WORDS);
        let room = LONGEST_WORDS.saturating_sub(label.chars().count()).max(10);
        (label, cut(&self.answer, room))
    }

    /// Whether it may still take effect behind its end.
    pub fn is_open(&self) -> bool {
        self.outcome == Outcome::Unknown || self.to.is_none()
    }
}

/// The figures of a page: for each broken promise its witness, for each further part that was explained one of its own,
/// and a small history in full where nothing else is drawn.
pub fn figures<'a>(
    scene: &Scene,
    report: &'a Report,
    explanations: &'a [Explanation],
) -> Vec<Figure<'a>> {
    let by_line = ByLine::new(scene);
    let mut figures = Vec::new();
    for judgement in &report.judgements {
        if judgement.verdict == Verdict::Held {
            continue;
        }
        let mut explained = explanations.iter().filter(|e| {
            e.promise == judgement.promise && !(e.longest.is_empty() && e.blocked.is_empty())
        });
        let first = explained.next();
        if judgement.witness.is_some() || first.is_some() {
            figures.push(figure(scene, &by_line, Some(judgement), true, first));
        }
        for further in explained.take(FIGURES_MOST) {
            figures.push(figure(
                scene,
                &by_line,
                Some(judgement),
                false,
                Some(further),
            ));
        }
    }
    if figures.is_empty() && (1..=SMALL).contains(&scene.bars.len()) {
        figures.push(figure(scene, &by_line, None, false, None));
    }
    figures
}

fn figure<'a>(
    scene: &Scene,
    by_line: &ByLine<'_>,
    judgement: Option<&'a Judgement>,
    has_witness: bool,
    explanation: Option<&'a Explanation>,
) -> Figure<'a> {
    let mut bars: Vec<FigureBar> = Vec::new();
    let witness = judgement
        .filter(|_| has_witness)
        .and_then(|j| j.witness.as_ref());
    for line in witness.iter().flat_map(|witness| &witness.lines) {
        bars.push(of_line(scene, by_line, line));
    }
    if judgement.is_none() {
        let all = 0..u32::try_from(scene.bars.len()).unwrap_or(u32::MAX);
        bars.extend(all.map(|number| of_bar(scene, number)));
    }
    let known = |number: &u32| (*number as usize) < scene.bars.len();
    let mut steps = Vec::new();
    if let Some(explanation) = explanation {
        let first = explanation.longest.len().saturating_sub(STEPS_SHOWN);
        for (at, number) in explanation.longest.iter().enumerate().skip(first) {
            if known(number) {
                let state = explanation.states.get(at).cloned().unwrap_or_default();
                steps.push((at + 1, place_of(&mut bars, scene, *number), state));
            }
        }
        for (number, reason) in explanation.blocked.iter().take(BLOCKED_SHOWN) {
            if known(number) {
                let place = place_of(&mut bars, scene, *number);
                bars[place].blocked = Some(reason.clone());
            }
        }
    }

    let mut order: Vec<usize> = (0..bars.len()).collect();
    order.sort_by_key(|place| (bars[*place].from, bars[*place].line));
    let mut moved = vec![0; bars.len()];
    for (to, from) in order.iter().enumerate() {
        moved[*from] = to;
    }
    let steps = steps.into_iter().map(|(number, bar, state)| Step {
        number,
        bar: moved[bar],
        state,
    });
    let bars: Vec<FigureBar> = order.iter().map(|place| bars[*place].clone()).collect();

    let first = bars.iter().map(|bar| bar.from).min().unwrap_or_default();
    let mut moments: Vec<u64> = bars
        .iter()
        .flat_map(|bar| [Some(bar.from), bar.to])
        .flatten()
        .collect();
    moments.sort_unstable();
    let last = moments.last().copied().unwrap_or_default();
    Figure {
        judgement,
        explanation,
        steps: steps.collect(),
        bars,
        clock: Clock::new(last, usual_step(&moments), scene.is_timed),
        span: (first, last),
    }
}

/// A distance that most moments have from each other, or more.
fn usual_step(moments: &[u64]) -> u64 {
    let mut steps: Vec<u64> = moments.windows(2).map(|two| two[1] - two[0]).collect();
    steps.retain(|step| *step > 0);
    steps.sort_unstable();
    steps.get(steps.len() / 4).copied().unwrap_or(1)
}

/// The bar of each line of the history. Lines are a client's own: a history of several files has each number
/// several times.
struct ByLine<'s> {
    bars: FxHashMap<(&'s str, u64), u32>,
}

impl<'s> ByLine<'s> {
    fn new(scene: &'s Scene) -> Self {
        let mut bars = FxHashMap::default();
        for (number, bar) in (0..).zip(&scene.bars) {
            for line in [bar.line, bar.end_line] {
                if line > 0 {
                    bars.insert((scene.lane_of(bar), u64::from(line)), number);
                }
            }
        }
        Self { bars }
    }

    fn find(&self, line: &WitnessLine) -> Option<u32> {
        self.bars.get(&(line.process.as_str(), line.line)).copied()
    }
}

/// The numbers of the bars of a witness, with whether they clash.
pub fn witness_bars(scene: &Scene, report: &Report) -> Vec<(u32, bool)> {
    let by_line = ByLine::new(scene);
    let witnesses = report.judgements.iter().filter_map(|j| j.witness.as_ref());
    let lines = witnesses.flat_map(|witness| &witness.lines);
    let mut bars: Vec<(u32, bool)> = lines
        .filter_map(|line| Some((by_line.find(line)?, line.clashes)))
        .collect();
    bars.sort_unstable();
    bars.dedup_by_key(|(number, _)| *number);
    bars
}

/// Where the bar of an invocation is, which is added where it is not.
fn place_of(bars: &mut Vec<FigureBar>, scene: &Scene, number: u32) -> usize {
    let is_it = |bar: &FigureBar| bar.scene == Some(number);
    bars.iter().position(is_it).unwrap_or_else(|| {
        bars.push(of_bar(scene, number));
        bars.len() - 1
    })
}

fn of_bar(scene: &Scene, number: u32) -> FigureBar {
    let bar: &Bar = &scene.bars[number as usize];
    FigureBar {
        scene: Some(number),
        lane: scene.lane_of(bar).to_owned(),
        label: scene.text(bar.label).to_owned(),
        answer: scene.text(bar.answer).to_owned(),
        outcome: bar.outcome,
        from: bar.call,
        to: (bar.end < u64::MAX).then_some(bar.end),
        line: u64::from(if bar.end_line > 0 {
            bar.end_line
        } else {
            bar.line
        }),
        node: bar.node.map(|node| scene.text(node).to_owned()),
        sentence: None,
        clashes: None,
        blocked: None,
        error: bar.error.map(|error| scene.text(error).to_owned()),
    }
}

/// A line of the witness, in the witness's own words, with what the history knows besides.
fn of_line(scene: &Scene, by_line: &ByLine<'_>, line: &WitnessLine) -> FigureBar {
    let number = by_line.find(line);
    let bar = number.map(|number| of_bar(scene, number));
    let outcome = match &bar {
        Some(bar) => bar.outcome,
        None if line.end_ns.is_none() => Outcome::Unknown,
        None => Outcome::Ok,
    };
    let (from, to) = match &bar {
        Some(bar) => (bar.from, bar.to),
        None => (line.start_ns, line.end_ns),
    };
    FigureBar {
        scene: number,
        lane: line.process.clone(),
        label: line.label.clone(),
        answer: line.answer.clone(),
        outcome,
        from,
        to,
        line: line.line,
        node: line.node.clone(),
        sentence: Some(line.text.clone()),
        clashes: Some(line.clashes),
        blocked: None,
        error: bar.and_then(|bar| bar.error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::picture::sample;

    #[test]
    fn of_a_long_order_the_last_steps_are_drawn_under_their_own_numbers() {
        let (recording, report, mut explanations) = sample::register();
        // Longer than any real one of four invocations, and with numbers nobody has.
        explanations[0].longest = (0..20).map(|step| [0, 1, 2, 99][step % 4]).collect();
        explanations[0].states = (0..20).map(|step| step.to_string()).collect();
        let scene = Scene::of_recording(&recording);
        let figures = figures(&scene, &report, &explanations);
        let steps: Vec<(usize, &str)> = figures[0]
            .steps
            .iter()
            .map(|step| (step.number, step.state.as_str()))
            .collect();
        assert_eq!(
            steps,
            [
                (9, "8"),
                (10, "9"),
                (11, "10"),
                (13, "12"),
                (14, "13"),
                (15, "14"),
                (17, "16"),
                (18, "17"),
                (19, "18")
            ]
        );
        let lanes: Vec<&str> = figures[0]
            .bars
            .iter()
            .map(|bar| bar.lane.as_str())
            .collect();
        assert_eq!(lanes, ["p1", "p4", "p1", "p2"]);
        assert!(
            figures[0]
                .steps
                .iter()
                .all(|step| figures[0].bars[step.bar].lane != "p2")
        );
    }

    #[test]
    fn a_line_that_is_no_invocation_is_drawn_as_the_witness_tells_it() {
        let (recording, mut report, _) = sample::register();
        let witness = report.judgements[0].witness.as_mut().unwrap();
        witness.lines[1].process = "watch".into();
        witness.lines[1].end_ns = None;
        let scene = Scene::of_recording(&recording);
        let figures = figures(&scene, &report, &[]);
        let bar = figures[0]
            .bars
            .iter()
            .find(|bar| bar.lane == "watch")
            .unwrap();
        assert_eq!(
            (bar.scene, bar.to, bar.outcome),
            (None, None, Outcome::Unknown)
        );
        assert_eq!(witness_bars(&scene, &report), [(1, false), (3, true)]);
    }

    #[test]
    fn each_explained_part_has_a_figure_and_held_promises_have_none() {
        let (recording, mut report, explanations) = sample::register();
        let scene = Scene::of_recording(&recording);
        let twice = [explanations[0].clone(), explanations[0].clone()];
        let both = figures(&scene, &report, &twice);
        assert_eq!(both.len(), 2);
        assert!(both[1].bars.iter().all(|bar| bar.sentence.is_none()));
        report.judgements[0].verdict = Verdict::Held;
        let whole = figures(&scene, &report, &twice);
        assert!(whole.len() == 1 && whole[0].judgement.is_none());
        assert_eq!(whole[0].bars.len(), 4);
    }
}
