//! A forecast says how a pool of connections fares by each way to end a share of it, before anything is done.
//!
//! The ways are Murphy's own, and beside them the two by which a program sees connections that has only their packets: a
//! hash of the tuple that picks the same connections for ever, and one that picks others after a while. Those are shown
//! for comparison only. They reach a share on average instead of exactly, and never a connection that is idle, which is
//! not even counted against them here.

use std::time::Duration;

use serde::Serialize;

use super::{
    disconnection::millis,
    picture,
    spec::{EVERY_MIN, Share},
    walk::{Clients, Counted, Walk},
};
use crate::{ratio::Ratio, span::Span};

pub use super::walk::{Curve, Point};

/// How long it is assumed to last where nobody says.
const LASTS: Duration = Duration::from_mins(1);
/// How many draws are assumed where nobody says how often.
const DRAWS: u32 = 10;
/// No forecast looks further ahead than so many draws.
const DRAWS_MAX: u32 = 240;
/// The most moments that a table shows.
const COLUMNS_MAX: usize = 5;

/// What is to be forecast.
#[derive(Clone, Copy, Debug)]
pub struct Question {
    /// How many connections there are now.
    pub n: usize,
    /// How many of them end at a draw.
    pub share: Share,
    /// How long after each other the draws are; a tenth of the whole where nothing is said.
    pub every: Option<Span>,
    /// The most of all that were ever there.
    pub cap: Option<Ratio>,
    /// The chance that a new connection fails; the share where nothing is said, as the founding document has it.
    pub new: Option<Ratio>,
    /// How long; ten draws where nothing is said, or a minute where nothing is said of those, either.
    pub lasts: Option<Span>,
    /// What chance is drawn by.
    pub seed: u64,
}

/// What is expected.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Forecast {
    /// Of how many connections.
    pub n: usize,
    /// How many of them a draw ends at first.
    pub k: usize,
    /// Between two draws.
    pub every: Span,
    /// Whether that was assumed, because nothing was said of it.
    pub is_every_assumed: bool,
    /// The chance that a new connection fails, in the ways that have it.
    pub new: Ratio,
    /// The most of all that were ever there, in the way that has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cap: Option<Ratio>,
    /// The ways.
    pub rows: Vec<Row>,
}

/// One way to end a share of the connections.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    /// In words.
    pub name: String,
    /// Who could do it.
    pub by: By,
    /// How it is known where clients connect again: `exact`, or `simulated` where there is no formula.
    pub how: &'static str,
    /// Where clients connect again.
    pub with_reconnect: Curve,
    /// Where they do not.
    pub without: Curve,
}

/// Who could do it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum By {
    /// Murphy, which draws from the connections that are there.
    Draw,
    /// A filter that sees packets only.
    Packets,
}

/// Forecasts each way.
pub fn forecast(question: &Question) -> Forecast {
    let (every, lasts) = times(question);
    let k = question.share.of(question.n);
    let rate = match question.share {
        Share::Rate(ratio) => ratio.get(),
        Share::Count(_) => k as f64 / question.n.max(1) as f64,
    };
    let new = question.new.unwrap_or(match question.share {
        Share::Rate(ratio) => ratio,
        Share::Count(_) => Ratio::nearest(rate),
    });
    let draws = lasts.as_nanos().div_ceil(every.0.as_nanos().max(1));
    let draws = u32::try_from(draws).unwrap_or(u32::MAX).clamp(1, DRAWS_MAX);
    let walk = Walk {
        n: question.n,
        times_ms: (0..draws).map(|draw| millis(every.0 * draw)).collect(),
    };
    let ways = Ways {
        walk,
        k,
        share: question.share,
        rate,
        seed: question.seed,
    };
    let mut rows = vec![
        ways.once("once".into(), 0.0),
        ways.once("once, and new ones".into(), new.get()),
        ways.again(format!("every {every}"), 0.0, None),
        ways.again(format!("every {every}, and new ones"), new.get(), None),
    ];
    if let Some(cap) = question.cap {
        rows.push(ways.again(format!("every {every}, up to {cap}"), 0.0, Some(cap)));
    }
    rows.push(ways.by_hash("by a hash of addresses and ports", false));
    rows.push(ways.by_hash("by a hash and the time", true));
    Forecast {
        n: question.n,
        k,
        every,
        is_every_assumed: question.every.is_none(),
        new,
        cap: question.cap,
        rows,
    }
}

/// Between two draws, and altogether.
fn times(question: &Question) -> (Span, Duration) {
    match (question.every, question.lasts) {
        (Some(every), Some(lasts)) => (every, lasts.0),
        (Some(every), None) => (every, every.0 * DRAWS),
        (None, lasts) => {
            let lasts = lasts.map_or(LASTS, |lasts| lasts.0);
            // Whole milliseconds read better.
            let tenth = millis(lasts / DRAWS);
            (Span(Duration::from_millis(tenth).max(EVERY_MIN)), lasts)
        }
    }
}

struct Ways {
    walk: Walk,
    k: usize,
    share: Share,
    rate: f64,
    seed: u64,
}

impl Ways {
    fn once(&self, name: String, new: f64) -> Row {
        let share = self.k as f64 / self.walk.n.max(1) as f64;
        let chance = |draw| if draw == 0 { share } else { 0.0 };
        Row {
            name,
            by: By::Draw,
            how: EXACT,
            with_reconnect: self.walk.by_chance(Clients::Return(new), chance),
            without: self.walk.by_chance(Clients::Stay, chance),
        }
    }

    fn again(&self, name: String, new: f64, cap: Option<Ratio>) -> Row {
        let counted = Counted {
            share: self.share,
            cap,
        };
        let clients = Clients::Return(new);
        let (with_reconnect, is_exact) = self.walk.by_count(clients, counted, self.seed);
        let (without, _) = self.walk.by_count(Clients::Stay, counted, self.seed);
        Row {
            name,
            by: By::Draw,
            how: if is_exact { EXACT } else { SIMULATED },
            with_reconnect,
            without,
        }
    }

    /// Whoever sees packets only cannot tell a new connection from one that was there: the chance is the same.
    fn by_hash(&self, name: &str, changes: bool) -> Row {
        let chance = |draw| {
            if draw == 0 || changes { self.rate } else { 0.0 }
        };
        let clients = Clients::Return(self.rate);
        Row {
            name: name.into(),
            by: By::Packets,
            how: EXACT,
            with_reconnect: self.walk.by_chance(clients, chance),
            without: self.walk.by_chance(Clients::Stay, chance),
        }
    }
}

const EXACT: &str = "exact";
const SIMULATED: &str = "simulated";

impl Forecast {
    /// For people: which share of the connections is hit, over time.
    pub fn table(&self) -> Vec<String> {
        let columns = self.columns();
        let span = |place: &usize| {
            let at = self.rows[0].without[*place].at_ms;
            Span(Duration::from_millis(at)).to_string()
        };
        let times: Vec<_> = columns.iter().map(span).collect();
        let names = self.rows.iter().map(|row| row.label(true).chars().count());
        let name_width = names.max().unwrap_or(0);
        let width = times.iter().map(String::len).max().unwrap_or(0).max(4) + 1;
        let line = |name: &str, cells: &[String], ended: &str, down: &str| {
            let cells: Vec<_> = cells.iter().map(|cell| format!("{cell:>width$}")).collect();
            let cells = cells.concat();
            format!("{name:<name_width$}{cells}{ended:>7}{down:>6}")
        };
        let connections = match self.n {
            1 => "the connection".to_owned(),
            n => format!("the {n} connections"),
        };
        let mut lines = vec![format!(
            "expected share of {connections} hit; new ones fail with {}",
            self.new
        )];
        if self.is_every_assumed {
            lines.push(format!(
                "every {} is assumed for this; --every says another",
                self.every
            ));
        }
        for returns in [true, false] {
            let panel = if returns {
                "clients connect again"
            } else {
                "clients do not connect again"
            };
            lines.push(line(panel, &times, "ended", "down"));
            for row in &self.rows {
                let curve = if returns {
                    &row.with_reconnect
                } else {
                    &row.without
                };
                let cell = |place: &usize| percentage(curve[*place].hit);
                let cells: Vec<_> = columns.iter().map(cell).collect();
                let last = curve.last().copied().unwrap_or_default();
                let ended = format!("{:.0}", last.ended);
                let name = row.label(returns);
                lines.push(line(&name, &cells, &ended, &percentage(last.down)));
            }
        }
        if self.cap.is_some() {
            lines
                .push("a cap is of all that were ever there, those that came back included".into());
        }
        lines.push("* by packets, for comparison: on average only, and never idle ones".into());
        if self.rows.iter().any(|row| row.how == SIMULATED) {
            lines.push("~ simulated; all else is exact".into());
        }
        lines
    }

    /// The places of the draws that a table has room for: the first, the last, and some between.
    fn columns(&self) -> Vec<usize> {
        let draws = self.rows[0].without.len();
        let columns = draws.min(COLUMNS_MAX);
        let place = |column: usize| column * (draws - 1) / (columns - 1).max(1);
        (0..columns).map(place).collect()
    }

    /// The same as a picture.
    pub fn svg(&self) -> String {
        picture::svg(self)
    }
}

impl Row {
    /// Its name, with marks for what is to be known of it. Who does not connect again leaves nothing to chance.
    fn label(&self, returns: bool) -> String {
        let mark = match (self.by, self.how) {
            (By::Packets, _) => " *",
            (By::Draw, SIMULATED) if returns => " ~",
            _ => "",
        };
        format!("  {}{mark}", self.name)
    }
}

/// A share in at most five letters, never rounded up to all nor down to nothing.
fn percentage(share: f64) -> String {
    let percent = 100.0 * share;
    match percent {
        _ if percent > 100.0 - 1e-9 => "100%".into(),
        _ if percent >= 99.5 => ">99%".into(),
        _ if percent >= 9.95 => format!("{percent:.0}%"),
        _ if percent >= 0.05 => format!("{}%", format!("{percent:.1}").trim_end_matches(".0")),
        _ if percent > 1e-9 => "<0.1%".into(),
        _ => "0%".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(n: usize, rate: &str) -> Question {
        Question {
            n,
            share: Share::Rate(rate.parse().unwrap()),
            every: Some("10s".parse().unwrap()),
            cap: Some("50%".parse().unwrap()),
            new: None,
            lasts: Some("2m".parse().unwrap()),
            seed: 7,
        }
    }

    fn row<'a>(forecast: &'a Forecast, name: &str) -> &'a Row {
        let mut rows = forecast.rows.iter();
        rows.find(|row| row.name == name).expect("it is compared")
    }

    fn is_near(found: f64, expected: f64) -> bool {
        (found - expected).abs() < 1e-9
    }

    #[test]
    fn the_documents_pool_of_ten_fares_as_the_document_says() {
        let forecast = forecast(&question(10, "20%"));
        assert_eq!(forecast.k, 2);
        for name in ["once", "once, and new ones"] {
            let once = row(&forecast, name);
            for point in once.with_reconnect.iter().chain(&once.without) {
                assert!(
                    is_near(point.hit, 0.2) && is_near(point.ended, 2.0),
                    "{point:?}"
                );
            }
        }
        // Eight survive the hash for ever, however long it lasts.
        let hash = &row(&forecast, "by a hash of addresses and ports").with_reconnect;
        assert!(hash.iter().all(|point| is_near(point.hit, 0.2)), "{hash:?}");
        // Of those that came back, a fifth fails at first: 4 % of the pool are down, and soon nearly none.
        assert!(
            is_near(hash[0].down, 0.04) && hash[11].down < 1e-9,
            "{hash:?}"
        );
        // Nobody is immune where it is drawn again: 0.8 to the power of twelve are left.
        for name in ["every 10s", "by a hash and the time"] {
            let again = &row(&forecast, name).with_reconnect;
            assert_eq!(again.len(), 12);
            assert!(is_near(again[11].hit, 1.0 - 0.8_f64.powi(12)), "{again:?}");
        }
        let both = &row(&forecast, "every 10s, and new ones").with_reconnect;
        assert!((both[11].hit - 0.93).abs() < 0.01, "{both:?}");
        // Two draws of two, and a last one of one, until five have gone.
        let capped = row(&forecast, "every 10s, up to 50%");
        let ended: Vec<_> = capped.without.iter().map(|point| point.ended).collect();
        assert_eq!(ended[..4], [2.0, 4.0, 5.0, 5.0]);
        assert!(is_near(capped.without[11].down, 0.5));
    }

    #[test]
    fn what_is_drawn_again_tends_to_all() {
        let long = Question {
            lasts: Some("20m".parse().unwrap()),
            cap: None,
            ..question(10, "20%")
        };
        let forecast = forecast(&long);
        assert_eq!(forecast.rows.len(), 6);
        for row in &forecast.rows {
            let last = row.with_reconnect.last().unwrap().hit;
            let tends_to_all = row.name.starts_with("every") || row.name.ends_with("time");
            assert_eq!(last > 0.999_999, tends_to_all, "{}: {last}", row.name);
        }
    }

    #[test]
    fn shares_are_of_whole_connections_by_murphy_and_averages_by_packets() {
        for (n, rate, k) in [
            (0, "20%", 0),
            (1, "0.5%", 1),
            (1, "100%", 1),
            (10, "0.5%", 1),
            (10, "100%", 10),
        ] {
            let forecast = forecast(&question(n, rate));
            let share = if n == 0 { 0.0 } else { k as f64 / n as f64 };
            let packets = if n == 0 {
                0.0
            } else {
                rate.parse::<Ratio>().unwrap().get()
            };
            assert_eq!(forecast.k, k);
            for row in &forecast.rows {
                let of = match row.by {
                    // Of one, no half may end.
                    By::Draw if row.name.ends_with("up to 50%") => {
                        share.min((n / 2) as f64 / n.max(1) as f64)
                    }
                    By::Draw => share,
                    By::Packets => packets,
                };
                for point in [row.with_reconnect[0], row.without[0]] {
                    assert!(is_near(point.hit, of), "{n} {rate} {}: {point:?}", row.name);
                }
                for point in row.with_reconnect.iter().chain(&row.without) {
                    let shares = [point.hit, point.down];
                    assert!(
                        shares
                            .iter()
                            .all(|share| (-1e-9..=1.0 + 1e-9).contains(share))
                    );
                    assert!(point.ended.is_finite() && point.refused.is_finite());
                }
            }
            assert!(!forecast.table().is_empty() && forecast.svg().ends_with("</svg>\n"));
        }
    }

    #[test]
    fn what_is_not_said_is_assumed() {
        let none = Question {
            every: None,
            lasts: None,
            share: Share::Count(3.try_into().unwrap()),
            ..question(10, "20%")
        };
        let assumed = forecast(&none);
        assert_eq!(assumed.every.to_string(), "6s");
        assert_eq!(assumed.rows[0].without.len(), 10);
        assert_eq!(assumed.new, "30%".parse().unwrap());
        assert!(assumed.table()[1].contains("every 6s is assumed"));
        let long = Question {
            every: Some("100ms".parse().unwrap()),
            lasts: Some("30d".parse().unwrap()),
            ..question(10, "20%")
        };
        let forecast = forecast(&long);
        assert_eq!(forecast.rows[0].without.len(), DRAWS_MAX as usize);
        assert!(
            forecast
                .table()
                .iter()
                .all(|line| !line.contains("assumed"))
        );
    }

    #[test]
    fn a_table_fits_a_terminal() {
        let lines = forecast(&question(10, "20%")).table();
        assert!(
            lines.iter().all(|line| line.chars().count() <= 80),
            "{lines:#?}"
        );
        let told = [
            "expected share of the 10 connections hit; new ones fail with 20%",
            "clients connect again                   0s   20s   50s 1m20s 1m50s  ended  down",
            "  once                                 20%   20%   20%   20%   20%      2    0%",
            "  once, and new ones                   20%   20%   20%   20%   20%      2    0%",
            "  every 10s                            20%   49%   74%   87%   93%     24    0%",
        ];
        assert_eq!(lines[..told.len()], told, "{lines:#?}");
    }

    #[test]
    fn percentages_say_neither_all_nor_nothing_where_it_is_not_so() {
        for (share, text) in [
            (0.0, "0%"),
            (1e-6, "<0.1%"),
            (0.005, "0.5%"),
            (0.05, "5%"),
            (0.2, "20%"),
            (0.333, "33%"),
            (0.9999, ">99%"),
            (1.0, "100%"),
        ] {
            assert_eq!(percentage(share), text);
        }
    }
}
