//! A cause is one thing that was done to a target; the table here says by which findings it is seen.
//!
//! It is the one place that knows what is right: whoever adds a kind of finding is asked here by the compiler.

use murphy_fault::{conn, net, process};
use serde::Serialize;

use crate::finding::Kind;

/// One thing that was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// Packets are lost by chance.
    Loss,
    /// Packets take longer.
    Delay,
    /// Packets take now longer and now shorter.
    Jitter,
    /// Nothing passes.
    Partition,
    /// Nothing passes of some ports or of one protocol; everything else does, pings among it.
    Blocked,
    /// Nothing passes, and who sends is told.
    Reject,
    /// Packets come twice.
    Duplicate,
    /// A bit of packets is another.
    Corrupt,
    /// Packets overtake others.
    Reorder,
    /// Only so much passes.
    Rate,
    /// Connections are reset at both ends.
    Reset,
    /// Connections are reset at one end, and the other is not told.
    HalfReset,
    /// Connections end as if whoever holds them had closed them.
    Close,
    /// New connections are refused.
    Refuse,
    /// Nothing passes single connections, and nobody is told.
    Stall,
    /// Clocks are wrong.
    Skew,
    /// Processes end, by SIGKILL or SIGTERM, and may be started again.
    Kill,
    /// Processes stand still; the kernel goes on answering for them.
    Pause,
    /// Anything else: what comes of it is not known.
    Other,
}

impl Cause {
    /// All of them.
    pub const ALL: [Self; 19] = [
        Self::Loss,
        Self::Delay,
        Self::Jitter,
        Self::Partition,
        Self::Blocked,
        Self::Reject,
        Self::Duplicate,
        Self::Corrupt,
        Self::Reorder,
        Self::Rate,
        Self::Reset,
        Self::HalfReset,
        Self::Close,
        Self::Refuse,
        Self::Stall,
        Self::Skew,
        Self::Kill,
        Self::Pause,
        Self::Other,
    ];

    /// Its name, for people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Loss => "loss",
            Self::Delay => "delay",
            Self::Jitter => "jitter",
            Self::Partition => "partition",
            Self::Blocked => "partition of some ports",
            Self::Reject => "partition (reject)",
            Self::Duplicate => "duplicates",
            Self::Corrupt => "corruption",
            Self::Reorder => "reordering",
            Self::Rate => "rate",
            Self::Reset => "reset",
            Self::HalfReset => "reset of one end",
            Self::Close => "close",
            Self::Refuse => "refuse",
            Self::Stall => "stall",
            Self::Skew => "skew",
            Self::Kill => "kill",
            Self::Pause => "pause",
            Self::Other => "something else",
        }
    }

    /// Whether the way in which packets go matters to it.
    pub fn has_way(self) -> bool {
        matches!(
            self,
            Self::Loss
                | Self::Delay
                | Self::Jitter
                | Self::Partition
                | Self::Blocked
                | Self::Corrupt
                | Self::Duplicate
                | Self::Reorder
                | Self::Rate
        )
    }

    /// Whether some kind of finding is right for it.
    pub fn has_detector(self) -> bool {
        KINDS
            .iter()
            .any(|kind| answer(*kind, self) == Answer::Right)
    }

    /// What is done to packets.
    pub fn of_net(spec: &net::Spec, scope: &net::Scope) -> Vec<Self> {
        /// Who loses so much is as good as cut off.
        const CUT: f64 = 0.9;
        let is_narrow = scope.protocol.is_some()
            || [&scope.ports, &scope.local_ports, &scope.remote_ports]
                .iter()
                .any(|ports| !ports.is_empty());
        let cut = if is_narrow {
            Self::Blocked
        } else {
            Self::Partition
        };
        let jitter = spec.delay.as_ref().map(|delay| !delay.jitter.0.is_zero());
        let all = [
            (spec.loss.is_some(), Self::Loss),
            (spec.loss.is_some_and(|loss| loss.ratio() >= CUT), cut),
            (spec.partition == Some(net::spec::Partition::Drop), cut),
            (
                spec.partition == Some(net::spec::Partition::Reject),
                Self::Reject,
            ),
            (spec.duplicate.is_some(), Self::Duplicate),
            (spec.corrupt.is_some(), Self::Corrupt),
            (spec.rate.is_some(), Self::Rate),
            (spec.delay.is_some(), Self::Delay),
            (jitter == Some(true), Self::Jitter),
            (spec.reorder.is_some(), Self::Reorder),
        ];
        let asked = all.into_iter().filter(|(is_asked, _)| *is_asked);
        asked.map(|(_, cause)| cause).collect()
    }

    /// What is done to connections.
    pub fn of_conn(spec: &conn::Spec) -> Vec<Self> {
        let ways = spec.ways().map(|how| match how {
            conn::How::Reset | conn::How::AfterBytes(_) | conn::How::MaxAge(_) => Self::Reset,
            conn::How::ResetLocal | conn::How::ResetRemote => Self::HalfReset,
            conn::How::Close => Self::Close,
            conn::How::Refuse => Self::Refuse,
            conn::How::Stall => Self::Stall,
        });
        ways.collect()
    }

    /// What is done to processes.
    pub fn of_process(spec: &process::Spec) -> Self {
        match spec {
            process::Spec::Kill | process::Spec::Term | process::Spec::Restart { .. } => Self::Kill,
            process::Spec::Pause => Self::Pause,
            process::Spec::Signal(_) => Self::Other,
        }
    }

    /// What a line that does not say what was asked is about, by its family and its fault.
    pub fn of_words(family: &str, fault: &str) -> Option<Self> {
        match (family, fault) {
            ("process", "kill" | "term" | "restart") => Some(Self::Kill),
            ("process", "pause") => Some(Self::Pause),
            ("process", _) => Some(Self::Other),
            ("time", _) => Some(Self::Skew),
            _ => None,
        }
    }
}

/// What a finding says of a cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Answer {
    /// It has nothing to do with it.
    Wrong,
    /// It follows from it, and does not name it.
    Follows,
    /// It names it.
    Right,
}

/// All kinds: a new one belongs here, too.
const KINDS: [Kind; 19] = [
    Kind::Partition,
    Kind::Loss,
    Kind::Latency,
    Kind::Jitter,
    Kind::Resets,
    Kind::Refusals,
    Kind::Timeouts,
    Kind::HalfOpen,
    Kind::SlowDns,
    Kind::FailingDns,
    Kind::Duplication,
    Kind::Reordering,
    Kind::Corruption,
    Kind::ListenOverflow,
    Kind::RetryStorm,
    Kind::Drops,
    Kind::ClockJump,
    Kind::FailingSyscalls,
    Kind::SlowSyscalls,
];

/// What a finding of a kind says of a cause.
pub fn answer(kind: Kind, cause: Cause) -> Answer {
    let (right, follows) = seen_by(kind);
    match cause {
        _ if right.contains(&cause) => Answer::Right,
        // What comes of it is not known, so that nothing is wrong.
        Cause::Other => Answer::Follows,
        _ if follows.contains(&cause) => Answer::Follows,
        _ => Answer::Wrong,
    }
}

/// Of which causes a finding of a kind is the right one, and from which it may follow besides.
fn seen_by(kind: Kind) -> (&'static [Cause], &'static [Cause]) {
    use Cause::{
        Blocked, Close, Corrupt, Delay, Duplicate, HalfReset, Jitter, Kill, Loss, Partition, Pause,
        Rate, Refuse, Reject, Reorder, Reset, Skew, Stall,
    };
    match kind {
        // Whose last process ends may lose its namespace with it: nobody is there any more.
        Kind::Partition => (
            &[Partition, Blocked, Reject, Kill],
            &[Loss, Corrupt, Rate, Stall],
        ),
        // What is corrupted is dropped by its checksum; what does not fit in a queue is dropped, too.
        Kind::Loss => (
            &[Loss, Corrupt, Rate],
            &[Partition, Blocked, Reject, Reorder, Stall, HalfReset],
        ),
        // What waits to be sent again, or for a turn, is late.
        Kind::Latency => (
            &[Delay, Rate],
            &[
                Loss, Corrupt, Jitter, Reorder, Partition, Blocked, Stall, Pause,
            ],
        ),
        Kind::Jitter => (&[Jitter, Reorder], &[Delay, Rate, Loss, Corrupt, Pause]),
        // Who has waited in vain for too long resets.
        Kind::Resets => (
            &[Reset, HalfReset, Kill, Reject],
            &[Loss, Corrupt, Partition, Blocked, Stall, Pause, Close],
        ),
        Kind::Refusals => (&[Refuse, Kill, Reject], &[Reset, HalfReset, Close]),
        Kind::Timeouts => (
            &[Blocked, Kill],
            &[Loss, Corrupt, Rate, Partition, Stall, Pause],
        ),
        Kind::HalfOpen => (
            &[Stall, Blocked, HalfReset],
            &[Loss, Corrupt, Rate, Partition, Kill, Pause],
        ),
        // Who asks again does so after seconds.
        Kind::SlowDns => (&[Delay], &[Jitter, Loss, Corrupt, Rate, Reorder, Pause]),
        Kind::FailingDns => (
            &[Blocked, Kill],
            &[Delay, Loss, Corrupt, Rate, Partition, Reject, Pause],
        ),
        // Who waits too little, or in vain for what acknowledges it, sends again what had come.
        Kind::Duplication => (
            &[Duplicate],
            &[
                Loss, Corrupt, Delay, Jitter, Reorder, Rate, Partition, Blocked, Stall, Pause,
            ],
        ),
        // What waits longer is overtaken.
        Kind::Reordering => (&[Reorder], &[Delay, Jitter, Loss, Duplicate]),
        Kind::Corruption => (&[Corrupt], &[]),
        // Who stands still accepts nobody.
        Kind::ListenOverflow => (&[], &[Pause, Loss, Corrupt, Delay]),
        Kind::RetryStorm => (
            &[],
            &[
                Refuse, Kill, Reject, Reset, HalfReset, Close, Partition, Blocked, Loss, Corrupt,
                Rate, Stall, Pause,
            ],
        ),
        // The kernel drops what Murphy tells it to; what is held back may find no room.
        Kind::Drops => (
            &[Loss, Partition, Blocked, Rate],
            &[
                Reject, Stall, HalfReset, Refuse, Delay, Jitter, Duplicate, Reorder, Corrupt, Pause,
            ],
        ),
        Kind::ClockJump => (&[Skew], &[]),
        // Connections that pile up keep descriptors and memory; what errors of the network say is no failure here. Who is
        // killed leaves files behind that who comes after him does not expect.
        Kind::FailingSyscalls => (
            &[],
            &[
                Partition, Blocked, Reject, Loss, Corrupt, Rate, Delay, Stall, HalfReset, Refuse,
                Reset, Kill, Pause,
            ],
        ),
        // Who stands still in the midst of a call ends it late.
        Kind::SlowSyscalls => (&[], &[Pause]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_detector_is_known() {
        let without = [Cause::Close, Cause::Pause, Cause::Other];
        for cause in without {
            assert!(!cause.has_detector(), "{cause:?}");
        }
        for cause in [Cause::Loss, Cause::Delay, Cause::Kill, Cause::Stall] {
            assert!(cause.has_detector(), "{cause:?}");
        }
    }

    /// The page has the table, which is made from what stands here.
    #[test]
    fn the_table_of_the_page_is_the_one_that_holds() {
        const PAGE: &str = include_str!("../../../../docs/score.md");
        let head = "| injected | right | may follow |\n|---|---|---|\n";
        let rows = Cause::ALL.map(|cause| {
            let kinds = |wanted: Answer| {
                let all = KINDS.iter().filter(|kind| answer(**kind, cause) == wanted);
                all.map(|kind| kind.name()).collect::<Vec<_>>().join(", ")
            };
            let right = match kinds(Answer::Right) {
                none if none.is_empty() => "nothing yet".to_owned(),
                kinds => kinds,
            };
            let follows = match kinds(Answer::Follows) {
                none if none.is_empty() => "–".to_owned(),
                kinds => kinds,
            };
            format!("| {} | {right} | {follows} |\n", cause.name())
        });
        let table = format!("{head}{}", rows.concat());
        assert!(
            PAGE.contains(&table),
            "docs/score.md needs this table:\n{table}"
        );
    }

    #[test]
    fn a_fault_on_packets_is_all_that_is_asked() {
        let spec = net::Spec {
            loss: Some(net::spec::Loss::Random(net::spec::Chance::independent(
                "95%".parse().unwrap(),
            ))),
            ..net::Spec::default()
        };
        let causes = Cause::of_net(&spec, &net::Scope::default());
        assert_eq!(causes, [Cause::Loss, Cause::Partition]);
        let scope = net::Scope {
            ports: vec!["5432".parse().unwrap()],
            ..net::Scope::default()
        };
        let causes = Cause::of_net(&spec, &scope);
        assert_eq!(causes, [Cause::Loss, Cause::Blocked]);
    }
}
