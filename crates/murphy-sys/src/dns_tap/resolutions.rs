//! Resolutions pair queries with answers: what was asked of whom, how it went, and how long that took.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use super::{Code, Dns, RecordKind, recent::Recent};

/// How long an answer may take, unless somebody wants it otherwise: what resolvers wait before they ask again.
pub const TIMEOUT: Duration = Duration::from_secs(5);

/// A question that one server was asked, and what came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolution {
    /// What was asked for, as in [`super::Message::name`].
    pub name: String,
    /// Which of its records.
    pub kind: RecordKind,
    /// Who asked.
    pub local: SocketAddr,
    /// Who was asked.
    pub server: SocketAddr,
    /// When it was asked first, as in [`Dns::at_ns`].
    pub asked_at_ns: u64,
    /// How long it took from then to the answer; none where that is missing.
    pub took: Option<Duration>,
    /// What came of it.
    pub outcome: Outcome,
    /// How often it was asked, from 1 on.
    pub tries: u32,
}

/// What came of a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// An answer, in time. It may be truncated: what was then said over TCP is not heard.
    Answered(Code),
    /// None, or too late.
    Missing,
}

/// What makes two queries tries of one resolution, and what its answer repeats.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Question {
    id: u16,
    local: SocketAddr,
    server: SocketAddr,
    name: Arc<str>,
    kind: RecordKind,
}

/// When a question was asked, in nanoseconds, and how often.
#[derive(Clone, Copy, Debug)]
struct Asked {
    first_ns: u64,
    last_ns: u64,
    tries: u32,
}

impl Asked {
    /// Of the last try on.
    fn age(self, now_ns: u64) -> Duration {
        Duration::from_nanos(now_ns.saturating_sub(self.last_ns))
    }
}

/// The queries that wait for their answers, so many at most.
///
/// One that is asked again is a try of the same resolution when its id, its addresses and ports, its name and its kind are
/// all equal, and the last try was no longer ago than the time-out. Whoever asks again from another port, with another id or
/// another server, begins another resolution; so does one that waits as long as the time-out before it asks again, as those
/// of glibc do after 5 s. An answer that nobody has asked for is nothing.
#[derive(Clone, Debug)]
pub struct Resolutions {
    timeout: Duration,
    waiting: Recent<Question, Asked>,
}

impl Resolutions {
    /// None yet. An answer is missing so long after the last try; when more questions wait than this (one at least), the
    /// one that was asked the longest time ago is given up as missing.
    pub fn new(timeout: Duration, waiting_max: usize) -> Self {
        Self {
            timeout,
            waiting: Recent::new(waiting_max),
        }
    }

    /// Takes what was heard, in its order; what came to its end by that, if anything did.
    pub fn hear(&mut self, dns: &Dns) -> Option<Resolution> {
        if dns.message.is_answer {
            self.answered(dns)
        } else {
            self.asked(dns)
        }
    }

    /// Those whose answers are missing now, so many nanoseconds of `CLOCK_REALTIME`, in the order in which they were last
    /// asked for. To be asked now and then: none is given up without, but for want of room.
    pub fn missing(&mut self, now_ns: u64) -> Vec<Resolution> {
        let mut missing = Vec::new();
        let is_missing = |asked: &Asked| asked.age(now_ns) >= self.timeout;
        while self.waiting.oldest().is_some_and(is_missing) {
            let given_up = self.waiting.take_oldest();
            missing.extend(given_up.map(|(question, asked)| ended(&question, asked, None)));
        }
        missing
    }

    /// How many questions wait for their answers.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    fn asked(&mut self, dns: &Dns) -> Option<Resolution> {
        let question = question(dns);
        let mut asked = Asked {
            first_ns: dns.at_ns,
            last_ns: dns.at_ns,
            tries: 1,
        };
        let mut overdue = None;
        if let Some(before) = self.waiting.take(&question) {
            if before.age(dns.at_ns) < self.timeout {
                asked.first_ns = before.first_ns;
                asked.tries = before.tries.saturating_add(1);
            } else {
                overdue = Some(ended(&question, before, None));
            }
        }
        let given_up = self.waiting.put(question, asked);
        // Where one was taken out there is room, so that never both are.
        overdue.or_else(|| given_up.map(|(question, asked)| ended(&question, asked, None)))
    }

    fn answered(&mut self, dns: &Dns) -> Option<Resolution> {
        let mut question = question(dns);
        if question.name.is_empty() && question.kind == RecordKind::Other(0) {
            // It does not repeat the question: the first one of its number and addresses is what it answers.
            let is_asked = |asked: &&Question| {
                (asked.id, asked.local, asked.server)
                    == (question.id, question.local, question.server)
            };
            question = self.waiting.keys().find(is_asked)?.clone();
        }
        let asked = self.waiting.take(&question)?;
        let in_time = asked.age(dns.at_ns) < self.timeout;
        let took = Duration::from_nanos(dns.at_ns.saturating_sub(asked.first_ns));
        let answer = in_time.then_some((took, dns.message.code));
        Some(ended(&question, asked, answer))
    }
}

fn question(dns: &Dns) -> Question {
    Question {
        id: dns.message.id,
        local: dns.local,
        server: dns.server,
        name: dns.message.name.as_str().into(),
        kind: dns.message.kind,
    }
}

fn ended(question: &Question, asked: Asked, answer: Option<(Duration, Code)>) -> Resolution {
    Resolution {
        name: question.name.as_ref().into(),
        kind: question.kind,
        local: question.local,
        server: question.server,
        asked_at_ns: asked.first_ns,
        took: answer.map(|(took, _)| took),
        outcome: answer.map_or(Outcome::Missing, |(_, code)| Outcome::Answered(code)),
        tries: asked.tries,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns_tap::{Message, message::tests};

    const MS: u64 = 1_000_000;

    fn heard(at_ms: u64, port: u16, message: Message) -> Dns {
        Dns {
            at_ns: at_ms * MS,
            local: ([10, 0, 0, 1], port).into(),
            server: "10.0.0.2:53".parse().unwrap(),
            message,
        }
    }

    fn query(at_ms: u64, id: u16, name: &str) -> Dns {
        heard(at_ms, 40_000, tests::query(id, name))
    }

    fn answer(at_ms: u64, id: u16, name: &str) -> Dns {
        heard(at_ms, 40_000, tests::answer(id, name))
    }

    fn resolutions() -> Resolutions {
        Resolutions::new(TIMEOUT, 3)
    }

    /// Name, milliseconds from when on and how long, outcome, tries.
    fn told(ended: &Resolution) -> (&str, u64, Option<u128>, Outcome, u32) {
        let took = ended.took.map(|took| took.as_millis());
        let asked_at = ended.asked_at_ns / MS;
        (&ended.name, asked_at, took, ended.outcome, ended.tries)
    }

    #[test]
    fn an_answer_ends_what_it_answers_and_nothing_else() {
        let mut all = resolutions();
        assert_eq!(all.hear(&query(0, 1, "a")), None);
        assert_eq!(all.hear(&query(1, 2, "b")), None);
        for other in [
            answer(10, 3, "a"),
            answer(10, 1, "b"),
            heard(10, 40_001, tests::answer(1, "a")),
        ] {
            assert_eq!(all.hear(&other), None, "{other:?}");
        }
        let mut failed = answer(20, 1, "a");
        failed.message.code = Code::ServFail;
        let ended = all.hear(&failed).unwrap();
        let outcome = Outcome::Answered(Code::ServFail);
        assert_eq!(told(&ended), ("a", 0, Some(20), outcome, 1));
        assert_eq!((ended.kind, ended.server), (RecordKind::A, failed.server));
        assert_eq!(all.hear(&failed), None, "it came twice");
        assert_eq!(all.waiting(), 1);
    }

    #[test]
    fn asked_again_it_is_the_same_resolution_until_it_is_too_late() {
        let mut all = resolutions();
        for at in [0, 2000, 4500] {
            assert_eq!(all.hear(&query(at, 1, "a")), None);
        }
        assert!(all.missing(5000 * MS).is_empty(), "the last try is younger");
        let ended = all.hear(&answer(9000, 1, "a")).unwrap();
        let outcome = Outcome::Answered(Code::NoError);
        assert_eq!(told(&ended), ("a", 0, Some(9000), outcome, 3));
        assert_eq!(all.hear(&query(10_000, 1, "a")), None);
        let ended = all.hear(&query(15_000, 1, "a")).unwrap();
        assert_eq!(told(&ended), ("a", 10_000, None, Outcome::Missing, 1));
        let ended = all.hear(&answer(20_000, 1, "a")).unwrap();
        assert_eq!(told(&ended), ("a", 15_000, None, Outcome::Missing, 1));
        assert_eq!(all.waiting(), 0);
    }

    #[test]
    fn what_is_not_answered_is_missing() {
        let mut all = resolutions();
        all.hear(&query(0, 1, "a"));
        all.hear(&query(100, 2, "b"));
        all.hear(&query(200, 1, "a"));
        assert!(all.missing(5099 * MS).is_empty());
        let missing = all.missing(5100 * MS);
        let missing: Vec<_> = missing.iter().map(told).collect();
        assert_eq!(missing, [("b", 100, None, Outcome::Missing, 1)]);
        let missing = all.missing(9000 * MS);
        let missing: Vec<_> = missing.iter().map(told).collect();
        assert_eq!(missing, [("a", 0, None, Outcome::Missing, 2)]);
    }

    #[test]
    fn what_has_no_room_is_given_up() {
        let mut all = resolutions();
        let names = ["a", "b", "c", "d", "e"];
        let ended: Vec<_> = (0..)
            .zip(names)
            .map(|(id, name)| all.hear(&query(id.into(), id, name)))
            .collect();
        assert_eq!(ended[..3], [None, None, None]);
        let given_up: Vec<_> = ended.iter().flatten().map(told).collect();
        let missing = |name, at| (name, at, None, Outcome::Missing, 1);
        assert_eq!(given_up, [missing("a", 0), missing("b", 1)]);
        assert_eq!(all.waiting(), 3);
    }

    #[test]
    fn an_answer_that_does_not_repeat_the_question_is_known_by_its_number() {
        let mut all = resolutions();
        all.hear(&query(0, 1, "a"));
        let mut refused = answer(5, 2, "");
        refused.message.kind = RecordKind::Other(0);
        refused.message.code = Code::Refused;
        assert_eq!(all.hear(&refused), None);
        refused.message.id = 1;
        let ended = all.hear(&refused).unwrap();
        let outcome = Outcome::Answered(Code::Refused);
        assert_eq!(told(&ended), ("a", 0, Some(5), outcome, 1));
    }

    #[test]
    fn a_clock_that_was_set_back_makes_no_time_negative() {
        let mut all = resolutions();
        all.hear(&query(1000, 1, "a"));
        let ended = all.hear(&answer(10, 1, "a")).unwrap();
        assert_eq!(ended.took, Some(Duration::ZERO));
    }
}
