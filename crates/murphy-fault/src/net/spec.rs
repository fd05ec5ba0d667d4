//! What a user asks of family `net`: what happens to the packets that match.

use std::{fmt, num::NonZeroU32, path::PathBuf, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{
    rate::{BitRate, Bytes},
    ratio::{BadRatio, Ratio},
    span::Span,
};

/// How much may be sent at once at a limited rate, unless somebody says otherwise.
const BURST: Bytes = Bytes(32 << 10);
/// How much may wait at a limited rate, unless somebody says otherwise.
const QUEUE: Bytes = Bytes(1 << 20);

/// Why packets cannot be treated so.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    /// Nothing is asked.
    #[error(
        "disturb the network: say how: --delay, --loss, --gilbert-elliott, --loss-every, --duplicate, --corrupt, --reorder, --rate or --partition"
    )]
    Nothing,
    /// An addition to something that is not asked.
    #[error("disturb the network: {field} needs {needs}")]
    Needs {
        /// The option.
        field: &'static str,
        /// What it adds to.
        needs: &'static str,
    },
    /// Draws that are all as the first one.
    #[error(
        "disturb the network: {0} 100% leaves nothing to chance: all would be as the first one; ask for less than 100%"
    )]
    Frozen(&'static str),
    /// Two answers to one question.
    #[error("disturb the network: {0} and {1} exclude each other")]
    Both(&'static str, &'static str),
    /// Time would run backwards.
    #[error(
        "disturb the network: --jitter {jitter} is more than --delay {delay}: a packet cannot leave before it came"
    )]
    Jitter {
        /// What was asked.
        jitter: Span,
        /// What it would have to be within.
        delay: Span,
    },
    /// It would do nothing.
    #[error("disturb the network: {0} would do nothing; leave it out")]
    Zero(&'static str),
    /// A chain that never changes its state.
    #[error(
        "read the model of loss {0:?}: p and r must be above 0%, or it never enters or never leaves the bad state"
    )]
    Stuck(String),
    /// Not the parameters of a model.
    #[error(
        "read the model of loss {0:?}: expected p=RATIO,r=RATIO and, where they differ, bad=RATIO (100%) and good=RATIO (0%), such as p=1%,r=10%"
    )]
    Model(String),
    /// One of them is no ratio.
    #[error("read the model of loss {model:?}: {error}")]
    Parameter {
        /// The whole.
        model: String,
        /// What is wrong with the part.
        error: BadRatio,
    },
    /// Not a distribution.
    #[error(
        "read the distribution {0:?}: expected uniform, normal, pareto, paretonormal, or the path of a table (one with a slash)"
    )]
    Distribution(String),
}

/// How likely something is, and how much one packet's fate is that of the one before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chance {
    /// The share of packets in the long run.
    pub ratio: Ratio,
    /// The correlation of one packet with the next: 0 for none, and never 1.
    #[serde(default)]
    pub correlation: Ratio,
}

/// How long packets take longer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delay {
    /// The mean.
    pub base: Span,
    /// How far from it: half the width of a uniform distribution, the standard deviation of a normal one.
    pub jitter: Span,
    /// The correlation of one packet's delay with the next one's.
    pub correlation: Ratio,
    /// How delays lie around the mean.
    pub distribution: Distribution,
}

/// How delays lie around their mean.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Distribution {
    /// Evenly, from the mean less the jitter to the mean and the jitter.
    #[default]
    Uniform,
    /// By Gauss, with the jitter as the standard deviation.
    Normal,
    /// By Pareto: few packets are very late.
    Pareto,
    /// A quarter normal, three quarters Pareto.
    ParetoNormal,
    /// By the inverse distribution in a file, of the form that tc(8) reads.
    Table(PathBuf),
}

/// Which packets are lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Loss {
    /// Each by chance.
    Random(Chance),
    /// In bursts.
    GilbertElliott(GilbertElliott),
    /// Every nth: the nth, the 2nth, and so on.
    Every(NonZeroU32),
}

/// A chain of two states, each with a loss of its own. After Gilbert (1960) and Elliott (1963).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GilbertElliott {
    /// The chance at each packet to go from the good state to the bad one; netem's `p`.
    pub p: Ratio,
    /// The chance at each packet to go back; netem's `r`.
    pub r: Ratio,
    /// The share that is lost in the bad state; netem's `1-h`.
    pub bad: Ratio,
    /// The share that is lost in the good state; netem's `1-k`.
    pub good: Ratio,
}

/// Which packets overtake delayed ones: they are not delayed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reorder {
    /// Which of those whose turn it is.
    pub chance: Chance,
    /// Whose turn it is: every nth packet after the last that overtook; 1 is every packet.
    pub gap: NonZeroU32,
}

/// How much passes in a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shaper {
    /// In the long run.
    pub rate: BitRate,
    /// So much may pass at once after a pause.
    pub burst: Bytes,
    /// So much may wait; what comes then is dropped, and counted as overflow.
    pub limit: Bytes,
}

/// What becomes of packets that may not pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Partition {
    /// They vanish.
    Drop,
    /// They vanish, and their sender is told: TCP by a reset, everything else by an ICMP error.
    Reject,
}

/// Which way, seen from the target.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// What it sends.
    #[default]
    To,
    /// What it is sent.
    From,
    /// Both.
    Both,
}

/// What is lost as one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LossUnit {
    /// What the kernel handles as one packet: up to 64 KiB of a TCP stream, as with netem.
    #[default]
    Packet,
    /// What would be one packet on a wire: at most an MTU.
    Segment,
}

/// What happens to packets. What does not exclude each other happens to the same packet, in this order: partition,
/// loss, duplication, corruption, rate, delay and reordering.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Spec {
    /// They take longer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delay: Option<Delay>,
    /// Some are lost.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loss: Option<Loss>,
    /// What is lost as one.
    pub loss_unit: LossUnit,
    /// Some come twice.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duplicate: Option<Chance>,
    /// One bit of some is another.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub corrupt: Option<Chance>,
    /// Some overtake.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reorder: Option<Reorder>,
    /// Only so much passes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate: Option<Shaper>,
    /// None pass.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub partition: Option<Partition>,
    /// Which way.
    pub direction: Direction,
}

impl Chance {
    /// Each for itself.
    pub fn independent(ratio: Ratio) -> Self {
        Self {
            ratio,
            correlation: Ratio::ZERO,
        }
    }

    /// The chance of a packet after one that was hit, and after one that was not: a chain of two states with the
    /// ratio as its share in the long run and the correlation as that of neighbours. (netem's correlated numbers
    /// keep neither.)
    pub fn after(self) -> (f64, f64) {
        let (ratio, correlation) = (self.ratio.get(), self.correlation.get());
        (
            correlation + ratio * (1.0 - correlation),
            ratio * (1.0 - correlation),
        )
    }
}

impl GilbertElliott {
    /// The share that is lost in the long run.
    pub fn ratio(self) -> f64 {
        let (p, r) = (self.p.get(), self.r.get());
        let in_bad = p / (p + r);
        in_bad * self.bad.get() + (1.0 - in_bad) * self.good.get()
    }
}

impl Loss {
    /// The share that is lost in the long run.
    pub fn ratio(self) -> f64 {
        match self {
            Self::Random(chance) => chance.ratio.get(),
            Self::GilbertElliott(model) => model.ratio(),
            Self::Every(nth) => 1.0 / f64::from(nth.get()),
        }
    }
}

impl Shaper {
    /// The burst and the limit that suit most.
    pub fn at(rate: BitRate) -> Self {
        Self {
            rate,
            burst: BURST,
            limit: QUEUE,
        }
    }
}

impl Direction {
    /// Whether it includes what the target sends.
    pub fn is_to(self) -> bool {
        self != Self::From
    }

    /// Whether it includes what the target is sent.
    pub fn is_from(self) -> bool {
        self != Self::To
    }
}

impl Spec {
    /// Whether packets are made that go back to where they came from: answers, or copies of what comes.
    pub fn turns_round(&self) -> bool {
        self.partition == Some(Partition::Reject)
            || (self.duplicate.is_some() && self.direction.is_from())
    }

    /// Whether packets must wait somewhere, or be taken apart: more than one look at each can do.
    pub fn needs_queue(&self) -> bool {
        self.delay.is_some()
            || self.reorder.is_some()
            || self.rate.is_some()
            || self.corrupt.is_some()
            || (self.loss.is_some() && self.loss_unit == LossUnit::Segment)
    }

    /// Whether it makes sense, without asking the machine.
    pub fn check(&self) -> Result<(), SpecError> {
        let asked = [
            (self.delay.is_some(), "--delay"),
            (self.loss.is_some(), "--loss"),
            (self.duplicate.is_some(), "--duplicate"),
            (self.corrupt.is_some(), "--corrupt"),
            (self.reorder.is_some(), "--reorder"),
            (self.rate.is_some(), "--rate"),
        ];
        let first = asked.iter().find(|(is_asked, _)| *is_asked);
        match (self.partition, first) {
            (None, None) => return Err(SpecError::Nothing),
            (Some(_), Some((_, field))) => return Err(SpecError::Both("--partition", field)),
            _ => {}
        }
        for (chance, field, correlation) in self.chances() {
            if chance.ratio.is_zero() {
                return Err(SpecError::Zero(field));
            }
            if chance.correlation == Ratio::ONE {
                return Err(SpecError::Frozen(correlation));
            }
        }
        if let Some(Loss::GilbertElliott(model)) = self.loss {
            model.check()?;
        }
        if self.loss_unit == LossUnit::Segment && self.loss.is_none() {
            return Err(SpecError::Needs {
                field: "--loss-unit segment",
                needs: "a loss, such as --loss 1%",
            });
        }
        if self.reorder.is_some() && self.delay.is_none() {
            return Err(SpecError::Needs {
                field: "--reorder",
                needs: "--delay: packets overtake those that wait",
            });
        }
        match &self.delay {
            Some(delay) => delay.check(),
            None => Ok(()),
        }
    }

    /// Every chance, with the names of its options.
    fn chances(&self) -> impl Iterator<Item = (Chance, &'static str, &'static str)> {
        let loss = match self.loss {
            Some(Loss::Random(chance)) => Some(chance),
            _ => None,
        };
        let reorder = self.reorder.map(|reorder| reorder.chance);
        [
            (loss, "--loss 0%", "--loss-correlation"),
            (self.duplicate, "--duplicate 0%", "--duplicate-correlation"),
            (self.corrupt, "--corrupt 0%", "--corrupt-correlation"),
            (reorder, "--reorder 0%", "--reorder-correlation"),
        ]
        .into_iter()
        .filter_map(|(chance, field, correlation)| Some((chance?, field, correlation)))
    }
}

impl Delay {
    fn check(&self) -> Result<(), SpecError> {
        if self.base.0.is_zero() {
            return Err(SpecError::Zero("--delay 0s"));
        }
        if self.jitter > self.base {
            return Err(SpecError::Jitter {
                jitter: self.jitter,
                delay: self.base,
            });
        }
        let needs = |field| {
            Err(SpecError::Needs {
                field,
                needs: "--jitter",
            })
        };
        if self.jitter.0.is_zero() && !self.correlation.is_zero() {
            return needs("--correlation");
        }
        if self.jitter.0.is_zero() && self.distribution != Distribution::Uniform {
            return needs("--distribution");
        }
        if self.correlation == Ratio::ONE {
            return Err(SpecError::Frozen("--correlation"));
        }
        Ok(())
    }
}

impl GilbertElliott {
    fn check(self) -> Result<(), SpecError> {
        if self.p.is_zero() || self.r.is_zero() {
            return Err(SpecError::Stuck(self.to_string()));
        }
        if self.bad.is_zero() && self.good.is_zero() {
            return Err(SpecError::Zero("--gilbert-elliott without a loss"));
        }
        Ok(())
    }
}

impl FromStr for GilbertElliott {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        let form = || SpecError::Model(text.to_owned());
        let [mut p, mut r, mut bad, mut good] = [None; 4];
        for part in text.split(',') {
            let (name, value) = part.split_once('=').ok_or_else(form)?;
            let place = match name.trim() {
                "p" => &mut p,
                "r" => &mut r,
                "bad" => &mut bad,
                "good" => &mut good,
                _ => return Err(form()),
            };
            let value = value.parse().map_err(|error| SpecError::Parameter {
                model: text.to_owned(),
                error,
            })?;
            if place.replace(value).is_some() {
                return Err(form());
            }
        }
        Ok(Self {
            p: p.ok_or_else(form)?,
            r: r.ok_or_else(form)?,
            bad: bad.unwrap_or(Ratio::ONE),
            good: good.unwrap_or(Ratio::ZERO),
        })
    }
}

impl FromStr for Distribution {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        match text {
            "uniform" => Ok(Self::Uniform),
            "normal" => Ok(Self::Normal),
            "pareto" => Ok(Self::Pareto),
            "paretonormal" => Ok(Self::ParetoNormal),
            path if path.contains('/') => Ok(Self::Table(path.into())),
            other => Err(SpecError::Distribution(other.to_owned())),
        }
    }
}

impl TryFrom<String> for Distribution {
    type Error = SpecError;

    fn try_from(text: String) -> Result<Self, SpecError> {
        text.parse()
    }
}

impl From<Distribution> for String {
    fn from(distribution: Distribution) -> Self {
        distribution.to_string()
    }
}

impl fmt::Display for Distribution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Uniform => f.write_str("uniform"),
            Self::Normal => f.write_str("normal"),
            Self::Pareto => f.write_str("pareto"),
            Self::ParetoNormal => f.write_str("paretonormal"),
            Self::Table(path) => path.display().fmt(f),
        }
    }
}

impl fmt::Display for GilbertElliott {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { p, r, bad, good } = self;
        write!(f, "p={p},r={r},bad={bad},good={good}")
    }
}

impl fmt::Display for Chance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.ratio.fmt(f)?;
        if self.correlation.is_zero() {
            Ok(())
        } else {
            write!(f, " (correlation {})", self.correlation)
        }
    }
}

impl fmt::Display for Delay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "delay {}", self.base)?;
        if !self.jitter.0.is_zero() {
            write!(f, " ± {}", self.jitter)?;
        }
        if self.distribution != Distribution::Uniform {
            write!(f, " {}", self.distribution)?;
        }
        if !self.correlation.is_zero() {
            write!(f, " (correlation {})", self.correlation)?;
        }
        Ok(())
    }
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::To => "to",
            Self::From => "from",
            Self::Both => "both",
        })
    }
}

impl fmt::Display for Spec {
    /// The fault in words: `delay 50ms ± 10ms, loss 30%`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        parts.extend(self.partition.map(|how| match how {
            Partition::Drop => "partition".to_owned(),
            Partition::Reject => "partition (reject)".to_owned(),
        }));
        match self.loss {
            Some(Loss::Random(chance)) => parts.push(format!("loss {chance}")),
            Some(Loss::GilbertElliott(model)) => parts.push(format!("loss {model}")),
            Some(Loss::Every(nth)) => parts.push(format!("loss of every {}", ordinal(nth.get()))),
            None => {}
        }
        if self.loss_unit == LossUnit::Segment {
            parts.push("by segment".to_owned());
        }
        parts.extend(self.duplicate.map(|chance| format!("duplicate {chance}")));
        parts.extend(self.corrupt.map(|chance| format!("corrupt {chance}")));
        parts.extend(self.rate.map(|shaper| format!("rate {}", shaper.rate)));
        parts.extend(self.delay.as_ref().map(ToString::to_string));
        parts.extend(self.reorder.map(|reorder| match reorder.gap.get() {
            1 => format!("reorder {}", reorder.chance),
            gap => format!("reorder {} of every {}", reorder.chance, ordinal(gap)),
        }));
        f.write_str(&parts.join(", "))
    }
}

/// `1st`, `2nd`, `11th`.
fn ordinal(number: u32) -> String {
    let ending = match (number % 10, number % 100) {
        (_, 11..=13) => "th",
        (1, _) => "st",
        (2, _) => "nd",
        (3, _) => "rd",
        _ => "th",
    };
    format!("{number}{ending}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ratio(text: &str) -> Ratio {
        text.parse().unwrap()
    }

    fn chance(text: &str) -> Chance {
        Chance::independent(ratio(text))
    }

    fn delay(base: &str, jitter: &str) -> Delay {
        Delay {
            base: base.parse().unwrap(),
            jitter: jitter.parse().unwrap(),
            correlation: Ratio::ZERO,
            distribution: Distribution::Uniform,
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused_by_its_field() {
        let none = Spec::default;
        let with_delay = |delay| Spec {
            delay: Some(delay),
            ..none()
        };
        let cases = [
            (none(), "say how"),
            (with_delay(delay("10ms", "20ms")), "--jitter 20ms"),
            (with_delay(delay("0s", "0s")), "--delay 0s"),
            (
                with_delay(Delay {
                    correlation: ratio("10%"),
                    ..delay("10ms", "0s")
                }),
                "--correlation needs --jitter",
            ),
            (
                with_delay(Delay {
                    distribution: Distribution::Normal,
                    ..delay("10ms", "0s")
                }),
                "--distribution needs --jitter",
            ),
            (
                Spec {
                    loss: Some(Loss::Random(chance("0%"))),
                    ..none()
                },
                "--loss 0%",
            ),
            (
                Spec {
                    loss: Some(Loss::Random(Chance {
                        ratio: ratio("10%"),
                        correlation: Ratio::ONE,
                    })),
                    ..none()
                },
                "--loss-correlation",
            ),
            (
                Spec {
                    reorder: Some(Reorder {
                        chance: chance("10%"),
                        gap: NonZeroU32::MIN,
                    }),
                    ..none()
                },
                "--reorder needs --delay",
            ),
            (
                Spec {
                    loss_unit: LossUnit::Segment,
                    duplicate: Some(chance("1%")),
                    ..none()
                },
                "--loss-unit segment needs",
            ),
            (
                Spec {
                    partition: Some(Partition::Drop),
                    duplicate: Some(chance("1%")),
                    ..none()
                },
                "--partition and --duplicate",
            ),
            (
                Spec {
                    loss: Some(Loss::GilbertElliott("p=0%,r=10%".parse().unwrap())),
                    ..none()
                },
                "p and r",
            ),
        ];
        for (spec, wanted) in cases {
            let error = spec.check().unwrap_err().to_string();
            assert!(error.contains(wanted), "{error} has no {wanted}");
        }
        assert_eq!(with_delay(delay("10ms", "10ms")).check(), Ok(()));
    }

    #[test]
    fn a_model_of_loss_has_two_to_four_parameters() {
        let model: GilbertElliott = "p=1%,r=10%".parse().unwrap();
        assert_eq!(model.to_string(), "p=1%,r=10%,bad=100%,good=0%");
        assert_eq!(model.to_string().parse(), Ok(model));
        assert!((model.ratio() - 1.0 / 11.0).abs() < 1e-9);
        for text in ["", "p=1%", "p=1%,r=1%,q=1%", "p=1%,p=1%,r=1%", "1%,2%"] {
            let error = text.parse::<GilbertElliott>().unwrap_err();
            assert_eq!(error, SpecError::Model(text.into()));
        }
        let error = "p=1,r=1%".parse::<GilbertElliott>().unwrap_err();
        assert!(matches!(error, SpecError::Parameter { .. }));
    }

    #[test]
    fn a_correlated_chance_keeps_its_share() {
        let chance = Chance {
            ratio: ratio("30%"),
            correlation: ratio("25%"),
        };
        let (after_hit, after_miss) = chance.after();
        let share = after_miss / (1.0 - after_hit + after_miss);
        assert!((share - 0.3).abs() < 1e-12);
        assert!((after_hit - after_miss - 0.25).abs() < 1e-12);
    }

    #[test]
    fn a_fault_is_said_in_words_and_read_back_as_data() {
        let spec = Spec {
            delay: Some(Delay {
                correlation: ratio("25%"),
                distribution: Distribution::Normal,
                ..delay("50ms", "10ms")
            }),
            loss: Some(Loss::Every(NonZeroU32::new(12).unwrap())),
            rate: Some(Shaper::at("1mbit".parse().unwrap())),
            reorder: Some(Reorder {
                chance: chance("25%"),
                gap: NonZeroU32::new(3).unwrap(),
            }),
            direction: Direction::Both,
            ..Spec::default()
        };
        assert_eq!(
            spec.to_string(),
            "loss of every 12th, rate 1mbit, delay 50ms ± 10ms normal (correlation 25%), reorder 25% of every 3rd"
        );
        let json = serde_json::to_string(&spec).unwrap();
        assert_eq!(serde_json::from_str::<Spec>(&json).unwrap(), spec);
    }
}
