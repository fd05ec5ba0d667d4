//! Findings are the anomalies of a history with one example each: the transactions that show it.

use std::collections::BTreeMap;

use super::levels::Anomaly;

/// An anomaly that was found.
#[derive(Clone, Debug)]
pub(super) struct Finding {
    /// How often.
    pub count: u64,
    /// The transactions of the shortest example; a cycle in its order.
    pub transactions: Vec<u32>,
    /// Those that prove it without taking part: the read that shows an order.
    pub evidence: Vec<u32>,
    /// Whether the transactions are a cycle.
    pub is_cycle: bool,
}

/// The anomalies of a history.
#[derive(Clone, Debug, Default)]
pub(super) struct Findings {
    pub by_anomaly: BTreeMap<Anomaly, Finding>,
    /// Searches that were given up: shapes of cycles that may be there as well.
    pub given_up: u64,
}

impl Findings {
    /// Notes an example; the shortest is kept.
    pub fn note(&mut self, anomaly: Anomaly, transactions: &[u32], evidence: &[u32]) {
        self.add(anomaly, transactions, evidence, false);
    }

    /// Notes a cycle.
    pub fn note_cycle(&mut self, anomaly: Anomaly, cycle: &[u32], evidence: &[u32]) {
        self.add(anomaly, cycle, evidence, true);
    }

    fn add(&mut self, anomaly: Anomaly, transactions: &[u32], evidence: &[u32], is_cycle: bool) {
        let finding = self.by_anomaly.entry(anomaly).or_insert_with(|| Finding {
            count: 0,
            transactions: Vec::new(),
            evidence: Vec::new(),
            is_cycle,
        });
        finding.count += 1;
        if finding.count == 1 || transactions.len() < finding.transactions.len() {
            finding.transactions = transactions.to_vec();
            finding.evidence = evidence.to_vec();
        }
    }
}
