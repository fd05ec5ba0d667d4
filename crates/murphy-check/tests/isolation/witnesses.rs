//! What every witness must be: broken by itself, confirmed, and without anything to spare.

use murphy_check::{
    isolation::{Level, Options, Workload, brute},
    recording::Recording,
    verdict::Judgement,
};

/// The transactions of a history as they were answered.
pub fn print(recording: &Recording) -> String {
    let lines = recording.invocations.iter().map(|i| {
        format!(
            "{} {}-{} {:?} {} -> {}\n",
            recording.process(i.process),
            i.call,
            i.end,
            i.outcome,
            i.ask,
            i.answer
        )
    });
    lines.collect()
}

/// Checks the witness of a broken level.
pub fn prove(
    recording: &Recording,
    workload: Workload,
    judgement: &Judgement,
    level: Level,
    context: &dyn Fn() -> String,
) {
    let options = Options::default();
    let Some(witness) = &judgement.witness else {
        panic!("no witness: {}", context());
    };
    assert!(witness.confirmed, "not confirmed: {}", context());
    assert!(witness.sentence.contains("(line "), "{}", context());
    let numbers: Vec<u32> = witness
        .lines
        .iter()
        .map(|line| {
            let at = recording
                .invocations
                .iter()
                .position(|i| u64::from(i.end_line.max(i.line)) == line.line)
                .unwrap_or_else(|| panic!("no such line: {}", context()));
            u32::try_from(at).unwrap()
        })
        .collect();
    if witness.sentence.contains("garbage-read") {
        assert_eq!(numbers.len(), 1, "{}", context());
        return;
    }
    let allows = |numbers: &[u32]| brute::allows(recording, numbers, workload, &options, level);
    assert_eq!(allows(&numbers), Some(false), "{}", context());
    for spared in &numbers {
        let fewer: Vec<u32> = numbers.iter().copied().filter(|n| n != spared).collect();
        let context = context();
        assert_ne!(
            allows(&fewer),
            Some(false),
            "{spared} can be spared: {context}"
        );
    }
}
