//! Random small histories, in order and spoiled, are judged exactly as brute force judges them.

use murphy_check::{
    brute::{Precedence, Trust, has_legal_order},
    formats,
    judge::{Judged, Options},
    model::{OperationOf, Vocabulary, understand},
    models::{
        Bag, Bank, CasRegister, Counter, KeyValue, Log, MultiRegister, Mutex, PriorityQueue, Queue,
        Register, Set, Stack, UniqueIds,
    },
    search::Limits,
    verdict::Verdict,
};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{
    domains, judged, on,
    play::{Domain, play, spoil, text},
};

/// 10,000 in full, as in `make soak`; 5 % otherwise.
fn count() -> u64 {
    if std::env::var_os("MURPHY_SOAK").is_some() {
        10_000
    } else {
        500
    }
}

/// One at a time: the tests run side by side already.
fn options() -> Options {
    Options {
        limits: Limits {
            threads: 1,
            ..Limits::default()
        },
        ..Options::default()
    }
}

/// The operations of a history in the words of a model.
fn operations<M: Vocabulary + Default>(history: &str) -> (M, Vec<OperationOf<M>>) {
    let recording = formats::read(history.as_bytes(), &formats::Options::default())
        .unwrap_or_else(|error| panic!("{error}\n{history}"));
    let mut model = M::default();
    let understood = (0..)
        .zip(&recording.invocations)
        .filter_map(|(number, invocation)| {
            understand(&mut model, &recording, number, invocation).expect("words of the model")
        });
    let operations = understood.collect();
    (model, operations)
}

fn brute<M: Vocabulary>(model: &M, history: &[OperationOf<M>], precedence: Precedence) -> bool {
    let operations: Vec<_> = history.iter().collect();
    let initial = [model.initial()];
    has_legal_order(
        model,
        &initial,
        &operations,
        precedence,
        Trust::Steps,
        1 << 20,
    )
    .expect("a small history")
}

/// How often each verdict came; `sequential` is held where linearizable is broken.
#[derive(Debug, Default)]
struct Tally {
    held: u64,
    broken: u64,
    sequential: u64,
    vacuous: u64,
}

fn agree<M: Vocabulary + Default>(domain: &Domain) {
    let mut tally = Tally::default();
    for seed in 0..count() {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let size = rng.random_range(2..=9);
        let mut history = play::<M>(domain, size, &mut rng);
        if history.is_empty() {
            continue;
        }
        let name = format!("{} {seed}", M::NAME);
        let right = text(M::NAME, domain, &history);
        let (model, operations) = operations::<M>(&right);
        assert!(
            brute(&model, &operations, Precedence::RealTime),
            "{name}: {right}"
        );
        is_judged::<M>(&right, &name, &mut tally);
        // Every second one is spoiled as well, more and more.
        if seed % 2 == 0 {
            for _ in 0..rng.random_range(1..=3) {
                spoil(domain, &mut history, &mut rng);
            }
            let wrong = text(M::NAME, domain, &history);
            is_judged::<M>(&wrong, &format!("{name}, spoiled"), &mut tally);
        }
    }
    // Every kind, or nothing has been compared.
    assert!(
        tally.held > count() / 2 && tally.broken > count() / 50,
        "{}: {tally:?}",
        M::NAME
    );
}

/// The verdicts are those of brute force, and each contradiction is confirmed.
fn is_judged<M: Vocabulary + Default>(history: &str, name: &str, tally: &mut Tally) {
    let (model, operations) = operations::<M>(history);
    let judged = judged(history, &options());
    let mut said = [Verdict::Undecided; 2];
    for (at, (promise, precedence)) in [
        ("linearizable", Precedence::RealTime),
        ("sequential", Precedence::Session),
    ]
    .into_iter()
    .enumerate()
    {
        let is_legal = brute(&model, &operations, precedence);
        let judgement = on(&judged, promise);
        said[at] = judgement.verdict;
        let reason = &judgement.reason;
        match judgement.verdict {
            Verdict::Held => assert!(is_legal, "{name}: {promise} held, {reason}\n{history}"),
            Verdict::Broken => assert!(!is_legal, "{name}: {promise} broken, {reason}\n{history}"),
            Verdict::Undecided => {
                assert!(
                    reason.starts_with("no "),
                    "{name}: {promise} undecided, {reason}\n{history}"
                );
                assert!(is_legal, "{name}: {promise} vacuous, but broken\n{history}");
                tally.vacuous += 1;
            }
        }
    }
    let [linearizable, sequential] = said;
    tally.held += u64::from(linearizable == Verdict::Held);
    tally.broken += u64::from(linearizable == Verdict::Broken);
    tally.sequential += u64::from(sequential == Verdict::Held && linearizable == Verdict::Broken);
    assert!(sequential <= linearizable, "{name}: {said:?}\n{history}");
    are_told(&judged, sequential, name, history);
}

/// Witnesses have lines of the history and are confirmed; who is sequentially consistent keeps what sessions expect.
fn are_told(judged: &Judged, sequential: Verdict, name: &str, history: &str) {
    for judgement in &judged.report.judgements {
        let promise = &judgement.promise;
        if judgement.verdict != Verdict::Broken {
            assert!(judgement.witness.is_none(), "{name}: {promise}");
            continue;
        }
        assert!(
            sequential == Verdict::Broken || promise == "linearizable",
            "{name}: {promise} is broken, sequential is not\n{history}"
        );
        let witness = judgement
            .witness
            .as_ref()
            .unwrap_or_else(|| panic!("{name}: {promise}"));
        assert!(
            witness.confirmed,
            "{name}: {promise} {}\n{history}",
            witness.sentence
        );
        let clash: Vec<_> = witness.lines.iter().filter(|line| line.clashes).collect();
        assert!(!clash.is_empty(), "{name}: {promise}");
        for line in &witness.lines {
            let text = history
                .lines()
                .nth(usize::try_from(line.line).unwrap() - 1)
                .unwrap();
            assert!(
                text.contains(&format!("\"process\":\"{}\"", line.process)),
                "{name}: {text}"
            );
            assert_eq!(
                text.contains("\"type\":\"invoke\""),
                line.end_ns.is_none(),
                "{name}: {text}"
            );
        }
        for line in clash {
            let sentence = &witness.sentence;
            assert!(
                sentence.contains(&line.text),
                "{name}: {sentence} without {}",
                line.text
            );
        }
    }
}

macro_rules! models {
    ($($test:ident: $model:ty, $($domain:expr),+;)+) => {
        $(#[test]
        fn $test() {
            $(agree::<$model>(&$domain);)+
        })+
    };
}

models! {
    register: Register, domains::register(), domains::register_distinct();
    cas_register: CasRegister, domains::cas_register();
    multi_register: MultiRegister, domains::multi_register();
    key_value: KeyValue, domains::key_value(), domains::key_value_plain();
    mutex: Mutex, domains::mutex();
    queue: Queue, domains::container("enqueue", "dequeue"), domains::container_distinct("enqueue", "dequeue");
    unordered_queue: Bag, domains::container("enqueue", "dequeue"), domains::container_distinct("enqueue", "dequeue");
    stack: Stack, domains::container("push", "pop"), domains::container_distinct("push", "pop");
    priority_queue: PriorityQueue, domains::container("insert", "delete_min"), domains::container_distinct("insert", "delete_min");
    set: Set, domains::set(), domains::set_of_values();
    counter: Counter, domains::counter();
    bank: Bank, domains::bank();
    log: Log, domains::log();
    unique_ids: UniqueIds, domains::unique_ids();
}
