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
    /// Where the transactions are a cycle: why each comes before the next.
    pub kinds: Vec<u8>,
}

/// The anomalies of a history.
#[derive(Clone, Debug, Default)]
pub(super) struct Findings {
    pub by_anomaly: BTreeMap<Anomaly, Finding>,
}

impl Findings {
    /// Notes an example; the shortest is kept.
    pub fn note(&mut self, anomaly: Anomaly, transactions: &[u32], evidence: &[u32]) {
        self.add(anomaly, transactions, evidence, &[]);
    }

    /// Notes a cycle, with the kind of each of its edges.
    pub fn note_cycle(&mut self, anomaly: Anomaly, cycle: &[u32], kinds: &[u8], evidence: &[u32]) {
        self.add(anomaly, cycle, evidence, kinds);
    }

    fn add(&mut self, anomaly: Anomaly, transactions: &[u32], evidence: &[u32], kinds: &[u8]) {
        let finding = self.by_anomaly.entry(anomaly).or_insert_with(|| Finding {
            count: 0,
            transactions: Vec::new(),
            evidence: Vec::new(),
            kinds: Vec::new(),
        });
        finding.count += 1;
        if finding.count == 1 || transactions.len() < finding.transactions.len() {
            finding.transactions = transactions.to_vec();
            finding.evidence = evidence.to_vec();
            finding.kinds = kinds.to_vec();
        }
    }
}
