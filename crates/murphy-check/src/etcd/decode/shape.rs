//! A shape is which parts an answer has; it must be that of its request.

use super::{Answer, Ask, Record, TxnAsk};

/// Which fields an answer has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::etcd) enum Shape {
    Put,
    Range,
    Delete,
    Txn,
}

impl Record {
    /// Whether some part of `ask` wants keys without values.
    pub(in crate::etcd) fn wants_keys_only(&self, ask: Ask) -> bool {
        match ask {
            Ask::Range { options, .. } => self.options[options as usize].keys_only,
            Ask::Txn(txn) => {
                let TxnAsk {
                    success, failure, ..
                } = self.txns[txn as usize];
                [success, failure].iter().any(|run| {
                    self.asks[run.range()]
                        .iter()
                        .any(|ask| self.wants_keys_only(*ask))
                })
            }
            _ => false,
        }
    }

    /// An answer must have the parts its request has.
    pub(in crate::etcd) fn check_shape(&self, ask: Ask, answer: Answer) -> Result<(), Box<str>> {
        match (ask, answer) {
            (Ask::Put { .. }, Answer::Put { .. })
            | (Ask::Range { .. }, Answer::Range { .. })
            | (Ask::Delete { .. }, Answer::Delete { .. })
            | (Ask::Compact { .. }, Answer::Compact)
            | (Ask::HashKv { .. }, Answer::HashKv { .. })
            | (Ask::Status { .. }, Answer::Status { .. })
            | (Ask::LeaseGrant { .. }, Answer::LeaseGrant { .. })
            | (Ask::LeaseRevoke { .. }, Answer::LeaseRevoke)
            | (Ask::LeaseKeepAlive { .. }, Answer::LeaseKeepAlive { .. })
            | (Ask::LeaseTimeToLive { .. }, Answer::LeaseTimeToLive { .. })
            | (Ask::LeaseLeases, Answer::LeaseLeases) => Ok(()),
            (Ask::Txn(txn), Answer::Txn { succeeded, answers }) => {
                let TxnAsk {
                    success, failure, ..
                } = self.txns[txn as usize];
                let branch = if succeeded { success } else { failure };
                if branch.len != answers.len {
                    let text = format!(
                        "{} responses to the {} requests of the branch taken",
                        answers.len, branch.len
                    );
                    return Err(text.into());
                }
                let asks = &self.asks[branch.range()];
                asks.iter()
                    .zip(&self.answers[answers.range()])
                    .try_for_each(|(ask, answer)| self.check_shape(*ask, *answer))
            }
            _ => Err("it is of another kind".into()),
        }
    }
}
