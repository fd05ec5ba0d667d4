//! Prometheus is asked over HTTP which alerts fired when.
//!
//! See "HTTP API", `GET /api/v1/query_range`: it answers with at most 11,000 points a series.

use std::{collections::BTreeMap, fmt, io, thread, time::Duration};

use hyper::{Method, StatusCode, body::Bytes};
use serde::Deserialize;

use super::alarm::{Alarm, What};
use crate::http::{Answer as Answered, AskError, Waiter, ask};

pub use crate::http::{BadUrl, Url};

/// Which alerts fired, as a range of time is asked for.
const QUERY: &str = "ALERTS%7Balertstate%3D%22firing%22%7D";
/// No more points of a series are asked for than Prometheus gives.
const POINTS_MAX: u64 = 10_000;
/// How long Prometheus may take for everything.
pub const ANSWER_LIMIT: Duration = Duration::from_secs(10);
/// No longer answer is read.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// Why it is not known which alerts fired.
#[derive(Debug, thiserror::Error)]
pub enum PrometheusError {
    /// Nobody is there.
    #[error("ask Prometheus at {url}: {source}; is it running, and is this where it listens?")]
    Connect {
        /// Where.
        url: String,
        /// Why not.
        source: io::Error,
    },
    /// It does not answer.
    #[error(
        "ask Prometheus at {url}: no answer within {limit} s; is it a Prometheus, and has it time? ask again when it answers {url}/api/v1/query?query=ALERTS"
    )]
    Silent {
        /// Where.
        url: String,
        /// So long it was waited for.
        limit: u64,
    },
    /// It answers something else.
    #[error("ask Prometheus at {url}: {detail}")]
    Answer {
        /// Where.
        url: String,
        /// What is wrong with it.
        detail: String,
    },
}

/// The clocks of Prometheus and of everything else here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clocks {
    /// The time of day at the start of the machine, in nanoseconds since 1970.
    pub booted_ns: u64,
}

/// A range of time with the distance of its points.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Range {
    from_ns: u64,
    until_ns: u64,
    step_ms: u64,
}

impl Range {
    /// A point a second, or as many as Prometheus gives, the last of them at the very end: it counts them from the
    /// beginning, and what fires in the end alone would lie behind the last of those.
    fn of(from_ns: u64, until_ns: u64) -> Self {
        let length_ns = until_ns.saturating_sub(from_ns);
        let step_ms = (length_ns / 1_000_000).div_ceil(POINTS_MAX).max(1000);
        Self {
            from_ns: until_ns - length_ns / (step_ms * 1_000_000) * (step_ms * 1_000_000),
            until_ns,
            step_ms,
        }
    }
}

impl Url {
    /// The question of a range of time.
    fn question(&self, range: &Range, clocks: Clocks) -> String {
        let seconds = |at_ns: u64| {
            let ms = (clocks.booted_ns + at_ns) / 1_000_000;
            format!("{}.{:03}", ms / 1000, ms % 1000)
        };
        format!(
            "{}/api/v1/query_range?query={QUERY}&start={}&end={}&step={}.{:03}",
            self.prefix(),
            seconds(range.from_ns),
            seconds(range.until_ns),
            range.step_ms / 1000,
            range.step_ms % 1000,
        )
    }
}

/// Asks which alerts fired from one time to another, both in nanoseconds since boot. Waits no longer than `limit`.
///
/// It runs on a thread of its own, so that it can be called from within an asynchronous runtime too.
pub fn alerts(
    url: &Url,
    (from_ns, until_ns): (u64, u64),
    clocks: Clocks,
    limit: Duration,
) -> Result<Vec<Alarm>, PrometheusError> {
    let range = Range::of(from_ns, until_ns);
    let wrong = |detail: String| PrometheusError::Answer {
        url: url.to_string(),
        detail,
    };
    let asked = thread::scope(|scope| {
        let asking = scope.spawn(|| ask_within(url, &url.question(&range, clocks), limit));
        asking.join()
    });
    let body = asked.map_err(|_| wrong("a bug: asking has panicked".into()))??;
    parse(&body, &range, clocks).map_err(wrong)
}

fn ask_within(url: &Url, question: &str, limit: Duration) -> Result<Bytes, PrometheusError> {
    let connect = |source| PrometheusError::Connect {
        url: url.to_string(),
        source,
    };
    let wrong = |error: &dyn fmt::Display| PrometheusError::Answer {
        url: url.to_string(),
        detail: error.to_string(),
    };
    let waiter = Waiter::new().map_err(connect)?;
    let asked = waiter.within(limit, ask(url, Method::GET, question, ANSWER_BYTES_MAX));
    match asked {
        None => Err(PrometheusError::Silent {
            url: url.to_string(),
            limit: limit.as_secs(),
        }),
        Some(Err(AskError::Connect(source))) => Err(connect(source)),
        Some(Err(error)) => Err(wrong(&error)),
        Some(Ok(answer)) => body_of(answer).map_err(|detail| wrong(&detail)),
    }
}

/// What it answers, if it answers well.
fn body_of(answer: Answered) -> Result<Bytes, String> {
    if !answer.is_whole {
        return Err(format!("it answers more than {ANSWER_BYTES_MAX} bytes"));
    }
    let status = answer.status;
    if status.is_success() {
        return Ok(answer.body);
    }
    let said = String::from_utf8_lossy(&answer.body);
    let said: String = said.trim().chars().take(200).collect();
    let advice = match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            "; say who asks: http://user:password@…"
        }
        StatusCode::NOT_FOUND => {
            "; has it a path before /api, such as http://host:9090/prometheus?"
        }
        _ => "",
    };
    Err(format!("it answers {status}: {said}{advice}"))
}

#[derive(Deserialize)]
struct Answer {
    status: String,
    error: Option<String>,
    data: Option<Data>,
}

#[derive(Deserialize)]
struct Data {
    result: Vec<Series>,
}

#[derive(Deserialize)]
struct Series {
    metric: BTreeMap<String, String>,
    /// Each with its time in seconds since 1970.
    values: Vec<(f64, String)>,
}

/// Reads an answer: each time without a gap in which an alert fired is an alarm.
fn parse(body: &[u8], range: &Range, clocks: Clocks) -> Result<Vec<Alarm>, String> {
    let answer: Answer = serde_json::from_slice(body)
        .map_err(|error| format!("it answers what no Prometheus does: {error}"))?;
    let Some(data) = answer.data.filter(|_| answer.status == "success") else {
        let why = answer.error.unwrap_or_default();
        return Err(format!("it answers {}: {why}", answer.status));
    };
    let series = data.result.into_iter();
    Ok(series
        .flat_map(|series| alarms_of(series, range, clocks))
        .collect())
}

fn alarms_of(series: Series, range: &Range, clocks: Clocks) -> Vec<Alarm> {
    let mut labels = series.metric;
    labels.remove("__name__");
    labels.remove("alertstate");
    let name = labels.remove("alertname").unwrap_or_default();
    let step_ns = range.step_ms * 1_000_000;
    let mut times: Vec<u64> = series
        .values
        .iter()
        .map(|(seconds, _)| since_boot(*seconds, clocks))
        .collect();
    times.sort_unstable();
    let mut spans: Vec<(u64, u64)> = Vec::new();
    for at_ns in times {
        match spans.last_mut() {
            // A point is missed where nothing is for a step and a half.
            Some(last) if at_ns - last.1 <= step_ns * 3 / 2 => last.1 = at_ns,
            _ => spans.push((at_ns, at_ns)),
        }
    }
    let alarm = |(begin_ns, end_ns): (u64, u64)| Alarm {
        what: What::Alert {
            name: name.clone(),
            labels: labels.clone(),
        },
        begin_ns,
        end_ns: (end_ns + step_ns < range.until_ns).then_some(end_ns),
    };
    spans.into_iter().map(alarm).collect()
}

/// To the millisecond, as Prometheus has it.
fn since_boot(seconds: f64, clocks: Clocks) -> u64 {
    // Times of day are positive, and in milliseconds far below 2^53.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let ms = (seconds * 1000.0).round() as u64;
    (ms * 1_000_000).saturating_sub(clocks.booted_ns)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLOCKS: Clocks = Clocks {
        booted_ns: 1_700_000_000_000_000_000,
    };

    #[test]
    fn a_long_time_is_asked_for_with_fewer_points() {
        let second = 1_000_000_000;
        assert_eq!(Range::of(0, 60 * second).step_ms, 1000);
        let day = Range::of(0, 86_400 * second);
        assert!(86_400_000 / day.step_ms < 11_000, "{day:?}");
        let url: Url = "http://a:1/p".parse().unwrap();
        let range = Range::of(500_000_000, 60 * second);
        assert_eq!(
            url.question(&range, CLOCKS),
            "/p/api/v1/query_range?query=ALERTS%7Balertstate%3D%22firing%22%7D&start=1700000001.000&end=1700000060.000&step=1.000"
        );
    }

    #[test]
    fn a_series_is_an_alarm_for_each_time_without_a_gap() {
        let range = Range::of(0, 60_000_000_000);
        let body = br#"{"status":"success","data":{"resultType":"matrix","result":[{"metric":
            {"__name__":"ALERTS","alertname":"Slow","alertstate":"firing","destination_ip":"10.0.0.2"},
            "values":[[1700000010,"1"],[1700000011,"1"],[1700000020.5,"1"],[1700000059.5,"1"]]}]}}"#;
        let alarms = parse(body, &range, CLOCKS).unwrap();
        let spans: Vec<_> = alarms
            .iter()
            .map(|one| (one.begin_ns / 1_000_000, one.end_ns))
            .collect();
        let ended = |ms: u64| Some(ms * 1_000_000);
        assert_eq!(
            spans,
            [
                (10_000, ended(11_000)),
                (20_500, ended(20_500)),
                (59_500, None)
            ]
        );
        assert_eq!(alarms[0].text(), "Slow  destination_ip=10.0.0.2");
        let error = parse(br#"{"status":"error","error":"bad step"}"#, &range, CLOCKS);
        assert_eq!(error, Err("it answers error: bad step".into()));
        assert!(
            parse(b"<html>", &range, CLOCKS)
                .unwrap_err()
                .contains("no Prometheus")
        );
    }
}
