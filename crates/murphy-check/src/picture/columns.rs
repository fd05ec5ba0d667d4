//! The whole history as columns of numbers, for `page.js` to draw.
//!
//! A column is a run of variable-length whole numbers (seven bits a byte, the lowest first, as in protocol buffers) in
//! base64; texts are written once, and bars refer to them by number. 100,000 invocations take a few megabytes and are
//! read in some ten milliseconds.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Map, Value, json};

use super::{
    Explanation,
    figure::witness_bars,
    scene::{Bar, Scene},
    text::{self, plain},
};
use crate::{recording::Outcome, verdict::Report};

/// A page that shows more than this would be too big to open. The bars around the witness are kept.
const BARS_MOST: usize = 400_000;
/// The last steps of the longest legal order that the page knows.
const STEPS_MOST: usize = 1_000;
/// The invocations that cannot come next that the page knows.
const BLOCKED_MOST: usize = 200;

/// The data of a page.
#[derive(Clone, Debug)]
pub struct Columns {
    /// As the content of a script element.
    pub json: String,
    /// How many bars are in it.
    pub bars: usize,
}

/// Writes the columns of a scene.
pub fn of(scene: &Scene, report: &Report, explanations: &[Explanation]) -> Columns {
    within(scene, report, explanations, BARS_MOST)
}

fn within(scene: &Scene, report: &Report, explanations: &[Explanation], most: usize) -> Columns {
    let witness = witness_bars(scene, report);
    let rows = Rows::around(scene.bars.len(), &witness, most);
    let bars = &scene.bars[rows.first..rows.first + rows.count];
    let mut used = Used::new(scene);
    let columns = columns(scene, bars, &mut used);
    let lanes: Vec<u64> = scene.lanes.iter().map(|lane| used.id(lane.name)).collect();
    let row = |number: u32| rows.row(number);
    let witness: Vec<Value> = witness
        .iter()
        .filter_map(|(number, clashes)| Some(json!([row(*number)?, u8::from(*clashes)])))
        .collect();
    let explanations: Vec<Value> = explanations.iter().map(|e| explained(e, row)).collect();
    let bands: Vec<Value> = scene
        .bands
        .iter()
        .map(|band| {
            json!({
                "name": plain(&band.name),
                "family": band.family,
                "from": band.begin,
                "to": (band.end < u64::MAX).then_some(band.end),
            })
        })
        .collect();
    let data = json!({
        "timed": scene.is_timed,
        "count": bars.len(),
        "total": scene.bars.len(),
        "lanes": lanes,
        "bands": bands,
        "columns": columns,
        "witness": witness,
        "explanations": explanations,
        "texts": used.texts(),
    });
    Columns {
        json: text::json(&data),
        bars: bars.len(),
    }
}

fn explained(explanation: &Explanation, row: impl Fn(u32) -> Option<usize>) -> Value {
    let first = explanation.longest.len().saturating_sub(STEPS_MOST);
    let steps: Vec<Value> = explanation
        .longest
        .iter()
        .enumerate()
        .skip(first)
        .filter_map(|(at, number)| {
            let state = explanation.states.get(at).map_or("", String::as_str);
            Some(json!([
                row(*number)?,
                at + 1,
                plain(&text::cut(state, 240))
            ]))
        })
        .collect();
    let blocked: Vec<Value> = explanation
        .blocked
        .iter()
        .take(BLOCKED_MOST)
        .filter_map(|(number, reason)| Some(json!([row(*number)?, plain(reason)])))
        .collect();
    json!({ "steps": steps, "blocked": blocked })
}

/// Which bars are in the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Rows {
    first: usize,
    count: usize,
}

impl Rows {
    /// All bars, or as many as there may be with the witness in their middle.
    fn around(bars: usize, witness: &[(u32, bool)], most: usize) -> Self {
        let count = bars.min(most);
        let numbers = || witness.iter().map(|(number, _)| *number as usize);
        let middle = match (numbers().min(), numbers().max()) {
            // Where the witness is wider than the page, what clashes last.
            (Some(first), Some(last)) if last - first < count => usize::midpoint(first, last),
            (_, last) => last.unwrap_or_default(),
        };
        Self {
            first: middle.saturating_sub(count / 2).min(bars - count),
            count,
        }
    }

    /// The place of a bar in the page, where it is there.
    fn row(self, number: u32) -> Option<usize> {
        let row = (number as usize).checked_sub(self.first)?;
        (row < self.count).then_some(row)
    }
}

/// The texts that are used, renumbered.
struct Used<'s> {
    scene: &'s Scene,
    number_of: Vec<u32>,
    ids: Vec<u32>,
}

impl<'s> Used<'s> {
    fn new(scene: &'s Scene) -> Self {
        Self {
            scene,
            number_of: vec![u32::MAX; scene.text_count()],
            ids: Vec::new(),
        }
    }

    fn id(&mut self, id: u32) -> u64 {
        let number = &mut self.number_of[id as usize];
        if *number == u32::MAX {
            *number = u32::try_from(self.ids.len()).unwrap_or(u32::MAX);
            self.ids.push(id);
        }
        u64::from(*number)
    }

    /// One more than the number; 0 for none.
    fn maybe(&mut self, id: Option<u32>) -> u64 {
        id.map_or(0, |id| self.id(id) + 1)
    }

    fn texts(&self) -> Vec<std::borrow::Cow<'s, str>> {
        let text = |id: &u32| plain(self.scene.text(*id));
        self.ids.iter().map(text).collect()
    }
}

fn columns(scene: &Scene, bars: &[Bar], used: &mut Used<'_>) -> Value {
    let mut columns = Map::new();
    let mut add = |name: &str, numbers: &mut dyn Iterator<Item = u64>| {
        columns.insert(name.into(), Value::String(packed(numbers)));
    };
    add("call", &mut steps(bars.iter().map(|bar| bar.call)));
    // One more than how long it took; 0 for what never ended.
    add(
        "took",
        &mut bars.iter().map(|bar| match bar.end {
            u64::MAX => 0,
            end => end.saturating_sub(bar.call) + 1,
        }),
    );
    add("line", &mut steps(bars.iter().map(|bar| bar.line.into())));
    // One more than the step from the line of the request to that of its answer; 0 for none.
    add(
        "end_line",
        &mut bars.iter().map(|bar| match bar.end_line {
            0 => 0,
            end_line => step(bar.line.into(), end_line.into()) + 1,
        }),
    );
    add("index", &mut steps(bars.iter().map(|bar| bar.index)));
    add(
        "end_index",
        &mut bars.iter().map(|bar| step(bar.index, bar.end_index)),
    );
    add("lane", &mut bars.iter().map(|bar| bar.lane.into()));
    add(
        "outcome",
        &mut bars.iter().map(|bar| match bar.outcome {
            Outcome::Ok => 0,
            Outcome::Fail => 1,
            Outcome::Unknown => 2,
        }),
    );
    add("f", &mut bars.iter().map(|bar| used.id(bar.f)));
    add("label", &mut bars.iter().map(|bar| used.id(bar.label)));
    add("answer", &mut bars.iter().map(|bar| used.id(bar.answer)));
    add("node", &mut bars.iter().map(|bar| used.maybe(bar.node)));
    add("error", &mut bars.iter().map(|bar| used.maybe(bar.error)));
    add(
        "key_count",
        &mut bars.iter().map(|bar| (bar.keys.1 - bar.keys.0).into()),
    );
    let keys = bars
        .iter()
        .flat_map(|bar| &scene.keys[bar.keys.0 as usize..bar.keys.1 as usize]);
    add("key", &mut keys.map(|key| used.id(*key)));
    Value::Object(columns)
}

/// Each number as the step from the one before. Moments rise; lines and indexes of several files need not.
fn steps(numbers: impl Iterator<Item = u64>) -> impl Iterator<Item = u64> {
    let mut last = 0;
    numbers.map(move |number| step(std::mem::replace(&mut last, number), number))
}

/// The way from one number to another, twice as long as it is, and one less where it goes back.
fn step(from: u64, to: u64) -> u64 {
    let way = to.wrapping_sub(from).cast_signed();
    ((way << 1) ^ (way >> 63)).cast_unsigned()
}

fn packed(numbers: &mut dyn Iterator<Item = u64>) -> String {
    let mut bytes = Vec::new();
    for mut number in numbers {
        while number > 0x7f {
            bytes.push(u8::try_from(number & 0x7f).unwrap_or_default() | 0x80);
            number >>= 7;
        }
        bytes.push(u8::try_from(number).unwrap_or_default());
    }
    STANDARD.encode(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unpacked(text: &str) -> Vec<u64> {
        let mut numbers = Vec::new();
        let (mut number, mut shift) = (0, 0);
        for byte in STANDARD.decode(text).unwrap() {
            number |= u64::from(byte & 0x7f) << shift;
            shift += 7;
            if byte < 0x80 {
                numbers.push(number);
                (number, shift) = (0, 0);
            }
        }
        numbers
    }

    #[test]
    fn numbers_come_back() {
        let numbers = [0, 1, 127, 128, 300, 1 << 32, u64::MAX];
        assert_eq!(unpacked(&packed(&mut numbers.into_iter())), numbers);
        let there_and_back: Vec<u64> = steps([5, 5, 9, 8].into_iter()).collect();
        assert_eq!(there_and_back, [10, 0, 8, 1]);
    }

    #[test]
    fn a_page_that_is_too_big_keeps_the_witness() {
        for (bars, witness, first, count) in [
            (10, vec![], 0, 10),
            (1_000, vec![], 0, 100),
            (1_000, vec![(500, true), (510, true)], 455, 100),
            (1_000, vec![(999, true)], 900, 100),
            (1_000, vec![(3, false), (800, true)], 750, 100),
        ] {
            let rows = Rows::around(bars, &witness, 100);
            assert_eq!(rows, Rows { first, count }, "{witness:?}");
        }
        let rows = Rows { first: 5, count: 2 };
        assert_eq!(
            [4, 5, 6, 7].map(|n| rows.row(n)),
            [None, Some(0), Some(1), None]
        );
    }
}
