//! A Prometheus probe asks for a figure: `prometheus:URL EXPRESSION == NUMBER`, with any comparison of `PromQL`.
//!
//! It passes when every sample that the expression gives now is as the comparison says (`GET /api/v1/query`). The
//! comparison is Murphy's: Prometheus would leave out the samples for which it does not hold, and they could not be told
//! from those that are not there. No sample at all is a failure of its own, and so is one that is not a number. A sample
//! is as old as the last scrape.

use std::{
    collections::BTreeMap,
    fmt::{self, Write},
    time::Duration,
};

use murphy_observe::http::{Method, StatusCode, Url, Waiter, ask};
use serde::{Deserialize, de::IgnoredAny};

use super::{
    comparison::Comparison,
    grammar::{Misread, word},
    look::{Outcome, Reason, one_line},
};

/// No longer answer is read.
const ANSWER_BYTES_MAX: usize = 8 << 20;
const FORM: &str =
    "expected an expression compared with a number, such as up == 1 or rate(errors_total[1m]) < 5";

/// A figure, and what it must be.
#[derive(Clone, Debug, PartialEq)]
pub struct Prometheus {
    /// Where it is asked.
    pub url: Url,
    /// What, in `PromQL`.
    pub expression: String,
    /// How every sample must compare …
    pub comparison: Comparison,
    /// … with this.
    pub bound: f64,
}

impl Prometheus {
    pub(super) fn read(text: &str) -> Result<Self, Misread> {
        let (whole, rest) = word(text);
        let url = whole.parse().map_err(|bad| Misread::url(text, bad))?;
        let rest = rest.trim_start();
        // The last of these signs belongs to the comparison: labels end with a quote behind theirs.
        let signs = |c: char| "=!<>".contains(c);
        let form = || Misread::at(rest, FORM);
        let last = rest.rfind(signs).ok_or_else(form)?;
        let (left, number) = rest.split_at(last + 1);
        let number = number.trim_start();
        let bound = number.parse().ok().filter(|bound: &f64| bound.is_finite());
        let bound = bound.ok_or_else(|| Misread::at(number, FORM))?;
        let begin = left.trim_end_matches(signs).len();
        let comparison = Comparison::ALL
            .into_iter()
            .find(|comparison| comparison.sign() == &left[begin..])
            .ok_or_else(|| Misread::at(&rest[begin..], "expected ==, !=, <, <=, > or >="))?;
        let expression = left[..begin].trim_end();
        if expression.is_empty() {
            return Err(form());
        }
        Ok(Self {
            url,
            expression: expression.to_owned(),
            comparison,
            bound,
        })
    }

    /// Asks once.
    pub(super) fn look(&self, waiter: &Waiter, limit: Duration) -> Outcome {
        let path = format!(
            "{}/api/v1/query?query={}",
            self.url.prefix(),
            escaped(&self.expression)
        );
        match waiter.within(limit, ask(&self.url, Method::GET, &path, ANSWER_BYTES_MAX)) {
            None => Outcome::failed(
                Reason::TimedOut,
                format!("no whole answer within {limit:?}"),
            ),
            Some(Err(error)) => Outcome::unanswered(&error),
            Some(Ok(answer)) if !answer.is_whole => Outcome::failed(
                Reason::BadAnswer,
                format!("more than {ANSWER_BYTES_MAX} bytes"),
            ),
            Some(Ok(answer)) => self.judge(answer.status, &answer.body),
        }
    }

    fn judge(&self, status: StatusCode, body: &[u8]) -> Outcome {
        let answer: Result<Answer, _> = serde_json::from_slice(body);
        if let (StatusCode::BAD_REQUEST | StatusCode::UNPROCESSABLE_ENTITY, Ok(answer)) =
            (status, &answer)
        {
            return Outcome::failed(
                Reason::BadQuery,
                answer.error.as_deref().unwrap_or_default(),
            );
        }
        if !status.is_success() {
            return Outcome::failed(Reason::BadStatus, format!("{status}: {}", one_line(body)));
        }
        let data = match answer {
            Ok(answer) => answer.data,
            Err(error) => {
                return Outcome::failed(Reason::BadAnswer, format!("not of a Prometheus: {error}"));
            }
        };
        match data {
            Some(Data::Scalar(point)) => self.judge_samples(&[Sample::of_scalar(point)]),
            Some(Data::Vector(samples)) => self.judge_samples(&samples),
            Some(Data::Matrix(_) | Data::String(_)) => Outcome::failed(
                Reason::BadQuery,
                "it gives no number for now; take one of it, such as rate(…)",
            ),
            None => Outcome::failed(Reason::BadAnswer, "a success without data"),
        }
    }

    fn judge_samples(&self, samples: &[Sample]) -> Outcome {
        let mut worst: Option<f64> = None;
        for sample in samples {
            let Some((_, text)) = &sample.value else {
                return Outcome::failed(Reason::BadAnswer, "a histogram is no number");
            };
            let Ok(value) = text.parse() else {
                return Outcome::failed(Reason::BadAnswer, format!("{text:?} is no number"));
            };
            if !self.comparison.holds(value, self.bound) {
                let detail = format!(
                    "{} is {text}, not {} {}",
                    sample.name(&self.expression),
                    self.comparison.sign(),
                    self.bound
                );
                return Outcome::failed(Reason::OutOfBounds, detail);
            }
            worst = Some(worst.map_or(value, |worst| self.comparison.worse(worst, value)));
        }
        match worst {
            Some(value) => Outcome::passed_with(value),
            None => Outcome::failed(
                Reason::NoSample,
                format!("nothing is known of {}", self.expression),
            ),
        }
    }
}

/// What stays as it is in a URL (RFC 3986, 2.3); everything else is escaped.
fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            // A string takes everything.
            let _ = write!(escaped, "%{byte:02X}");
        }
    }
    escaped
}

/// What Prometheus answers. See "HTTP API", "Instant queries".
#[derive(Deserialize)]
struct Answer {
    error: Option<String>,
    data: Option<Data>,
}

#[derive(Deserialize)]
#[serde(tag = "resultType", content = "result", rename_all = "lowercase")]
enum Data {
    Scalar(Point),
    Vector(Vec<Sample>),
    Matrix(IgnoredAny),
    String(IgnoredAny),
}

/// Seconds since 1970, and a value as Prometheus writes it: `1`, `NaN`, `+Inf`.
type Point = (f64, String);

#[derive(Deserialize)]
struct Sample {
    #[serde(default)]
    metric: BTreeMap<String, String>,
    /// None of a native histogram.
    value: Option<Point>,
}

impl Sample {
    fn of_scalar(point: Point) -> Self {
        Self {
            metric: BTreeMap::new(),
            value: Some(point),
        }
    }

    /// Which of the samples of an expression it is.
    fn name(&self, expression: &str) -> String {
        let labels = self.metric.iter().filter(|(name, _)| *name != "__name__");
        let labels: Vec<_> = labels
            .map(|(name, value)| format!("{name}={value:?}"))
            .collect();
        let name = self
            .metric
            .get("__name__")
            .map_or(expression, String::as_str);
        if labels.is_empty() {
            name.to_owned()
        } else {
            format!("{name}{{{}}}", labels.join(","))
        }
    }
}

impl fmt::Display for Prometheus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "prometheus:{} {} {} {}",
            self.url,
            self.expression,
            self.comparison.sign(),
            self.bound
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn probe(text: &str) -> Prometheus {
        Prometheus::read(text).unwrap()
    }

    #[test]
    fn the_last_comparison_is_the_probes_own() {
        for (text, expression, comparison, bound) in [
            ("http://a up == 1", "up", Comparison::Equal, 1.0),
            ("http://a up==1", "up", Comparison::Equal, 1.0),
            ("http://a  x < -0.5", "x", Comparison::Less, -0.5),
            (
                r#"http://a/p rate(e{job=~"a.*",code!="200"}[1m]) <= 5e3"#,
                r#"rate(e{job=~"a.*",code!="200"}[1m])"#,
                Comparison::LessOrEqual,
                5000.0,
            ),
            (
                "http://a count(up > 0) != 0",
                "count(up > 0)",
                Comparison::NotEqual,
                0.0,
            ),
        ] {
            let probe = probe(text);
            assert_eq!(probe.expression, expression);
            assert_eq!((probe.comparison, probe.bound), (comparison, bound));
        }
    }

    #[test]
    fn every_sample_must_hold_and_the_worst_is_told() {
        let vector = |values: &[&str]| {
            let samples: Vec<_> = values
                .iter()
                .enumerate()
                .map(|(i, v)| {
                    format!(r#"{{"metric":{{"__name__":"m","i":"{i}"}},"value":[1.5,"{v}"]}}"#)
                })
                .collect();
            format!(
                r#"{{"status":"success","data":{{"resultType":"vector","result":[{}]}}}}"#,
                samples.join(",")
            )
        };
        let judge = |text: &str, values: &[&str]| {
            probe(&format!("http://a m {text}")).judge(StatusCode::OK, vector(values).as_bytes())
        };
        assert_eq!(judge("< 5", &["1", "4", "2"]), Outcome::passed_with(4.0));
        assert_eq!(judge(">= 1", &["3", "1"]), Outcome::passed_with(1.0));
        assert_eq!(judge("> 1", &["+Inf"]), Outcome::PASSED);
        assert_eq!(
            judge("< 5", &["1", "5"]),
            Outcome::failed(Reason::OutOfBounds, r#"m{i="1"} is 5, not < 5"#)
        );
        for comparison in ["== 0", "!= 0", "< 1", "> 1"] {
            assert_eq!(
                judge(comparison, &["NaN"]),
                Outcome::failed(
                    Reason::OutOfBounds,
                    format!(r#"m{{i="0"}} is NaN, not {comparison}"#)
                )
            );
        }
    }

    #[test]
    fn what_is_answered_otherwise_has_its_reason() {
        let up = probe("http://a up == 1");
        let ok = StatusCode::OK;
        for (status, body, reason) in [
            (
                ok,
                r#"{"status":"success","data":{"resultType":"vector","result":[]}}"#,
                Reason::NoSample,
            ),
            (
                ok,
                r#"{"status":"success","data":{"resultType":"scalar","result":[1435781451.781,"2"]}}"#,
                Reason::OutOfBounds,
            ),
            (
                ok,
                r#"{"status":"success","data":{"resultType":"matrix","result":[{"metric":{},"values":[]}]}}"#,
                Reason::BadQuery,
            ),
            (
                ok,
                r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"histogram":[1,{}]}]}}"#,
                Reason::BadAnswer,
            ),
            (ok, "<html>", Reason::BadAnswer),
            (ok, r#"{"status":"success"}"#, Reason::BadAnswer),
            (
                StatusCode::BAD_REQUEST,
                r#"{"status":"error","errorType":"bad_data","error":"parse error"}"#,
                Reason::BadQuery,
            ),
            (StatusCode::BAD_REQUEST, "<html>", Reason::BadStatus),
            (StatusCode::UNAUTHORIZED, "who?", Reason::BadStatus),
        ] {
            let Outcome::Failed {
                reason: said,
                detail,
            } = up.judge(status, body.as_bytes())
            else {
                panic!("{body} passes");
            };
            assert_eq!(said, reason, "{body}: {detail}");
        }
    }
}
