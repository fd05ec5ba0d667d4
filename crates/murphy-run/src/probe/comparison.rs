//! A comparison says on which side of a bound a value must lie.

/// How a sample compares with a bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// `==`
    Equal,
    /// `!=`
    NotEqual,
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterOrEqual,
}

impl Comparison {
    /// All of them; where one begins another, the longer comes first.
    pub const ALL: [Self; 6] = [
        Self::Equal,
        Self::NotEqual,
        Self::LessOrEqual,
        Self::GreaterOrEqual,
        Self::Less,
        Self::Greater,
    ];

    /// As it is written.
    pub fn sign(self) -> &'static str {
        match self {
            Self::Equal => "==",
            Self::NotEqual => "!=",
            Self::Less => "<",
            Self::LessOrEqual => "<=",
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
        }
    }

    /// Whether a value compares so with a bound. What is not a number compares with nothing.
    pub fn holds(self, value: f64, bound: f64) -> bool {
        // Samples are compared exactly, as PromQL does it.
        #[expect(clippy::float_cmp)]
        match self {
            Self::Equal => value == bound,
            Self::NotEqual => value != bound && !value.is_nan(),
            Self::Less => value < bound,
            Self::LessOrEqual => value <= bound,
            Self::Greater => value > bound,
            Self::GreaterOrEqual => value >= bound,
        }
    }

    /// Of two samples the one that is nearer to its bound, or further beyond it.
    pub(super) fn worse(self, one: f64, other: f64) -> f64 {
        match self {
            Self::Less | Self::LessOrEqual => one.max(other),
            Self::Greater | Self::GreaterOrEqual => one.min(other),
            Self::Equal | Self::NotEqual => one,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_lies_on_its_side_of_a_bound() {
        use Comparison::{Equal, Greater, GreaterOrEqual, Less, LessOrEqual, NotEqual};
        for (value, holding) in [
            (0.5, [NotEqual, LessOrEqual, Less].as_slice()),
            (1.0, &[Equal, LessOrEqual, GreaterOrEqual]),
            (f64::INFINITY, &[NotEqual, GreaterOrEqual, Greater]),
            (f64::NAN, &[]),
        ] {
            let all = Comparison::ALL.into_iter();
            let holds: Vec<_> = all.filter(|one| one.holds(value, 1.0)).collect();
            assert_eq!(holds, holding, "{value}");
        }
    }
}
