//! What is asked, as the programs for packets are told it.

use murphy_sys::traffic::{ALWAYS, Chain, Match, Order, Passage, Treatment};

use super::{
    Engine,
    scope::{Ports, Scope},
    spec::{Chance, GilbertElliott, Loss, LossUnit, Partition, Spec},
};

/// The order of an injection that has no id yet, and is not in force.
pub(super) fn order(spec: &Spec, scope: &Scope, engine: Engine, seed: u64) -> Order {
    let treatment = treatment(spec, engine);
    let if_asked = |is_asked: bool| {
        if is_asked {
            treatment
        } else {
            Treatment::default()
        }
    };
    Order {
        id: 0,
        until_ns: None,
        seed,
        active: false,
        matched: matched(scope),
        to: if_asked(spec.direction.is_to()),
        from: if_asked(spec.direction.is_from()),
    }
}

fn matched(scope: &Scope) -> Match {
    let bounds = |ports: &[Ports]| ports.iter().map(|ports| ports.bounds()).collect();
    Match {
        by_peer: !scope.peers.is_empty(),
        arp: scope.arp,
        protocol: scope.protocol.map(super::scope::Protocol::numbers),
        either_ports: bounds(&scope.ports),
        local_ports: bounds(&scope.local_ports),
        remote_ports: bounds(&scope.remote_ports),
    }
}

/// What is left to the programs: behind them, the line of a cable duplicates, and loses what is lost by segment.
fn treatment(spec: &Spec, engine: Engine) -> Treatment {
    let duplicate = spec.duplicate.filter(|_| !engine.lays_cable(spec));
    let loss = spec.loss.filter(|_| spec.loss_unit == LossUnit::Packet);
    let mut treatment = Treatment {
        passage: match spec.partition {
            None => Passage::Pass,
            Some(Partition::Drop) => Passage::Drop,
            Some(Partition::Reject) => Passage::Reject,
        },
        duplicate: duplicate.map(of_chance).unwrap_or_default(),
        ..Treatment::default()
    };
    match loss {
        None => {}
        Some(Loss::Random(chance)) => treatment.loss = of_chance(chance),
        Some(Loss::GilbertElliott(model)) => treatment.loss = of_model(model),
        Some(Loss::Every(nth)) => treatment.every = nth.get(),
    }
    treatment
}

/// A packet is hit when the chain is in its second state.
fn of_chance(chance: Chance) -> Chain {
    if chance.correlation.is_zero() {
        let enter = chance.ratio.threshold();
        return Chain {
            enter,
            leave: ALWAYS - enter,
            hit_inside: ALWAYS,
            hit_outside: 0,
        };
    }
    let (after_hit, after_miss) = chance.after();
    Chain {
        enter: threshold(after_miss),
        leave: threshold(1.0 - after_hit),
        hit_inside: ALWAYS,
        hit_outside: 0,
    }
}

fn of_model(model: GilbertElliott) -> Chain {
    Chain {
        enter: model.p.threshold(),
        leave: model.r.threshold(),
        hit_inside: model.bad.threshold(),
        hit_outside: model.good.threshold(),
    }
}

/// A chance as one in 2³².
fn threshold(chance: f64) -> u64 {
    crate::ratio::Ratio::nearest(chance).threshold()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ratio::Ratio;

    #[test]
    fn a_chance_without_memory_is_exact_and_one_with_keeps_its_share() {
        let ratio: Ratio = "30%".parse().unwrap();
        let plain = of_chance(Chance::independent(ratio));
        assert_eq!((plain.enter, plain.leave), (1_288_490_189, 3_006_477_107));
        let correlation: Ratio = "25%".parse().unwrap();
        let chain = of_chance(Chance { ratio, correlation });
        let (enter, leave) = (chain.enter as f64, chain.leave as f64);
        assert!((enter / (enter + leave) - 0.3).abs() < 1e-6);
        assert!((1.0 - (enter + leave) / ALWAYS as f64 - 0.25).abs() < 1e-6);
    }

    #[test]
    fn only_the_way_that_was_asked_is_treated() {
        let spec = Spec {
            partition: Some(Partition::Drop),
            direction: super::super::spec::Direction::From,
            ..Spec::default()
        };
        let order = order(&spec, &Scope::default(), Engine::Tcx, 7);
        assert_eq!(order.to, Treatment::default());
        assert_eq!(order.from.passage, Passage::Drop);
        assert!(!order.matched.by_peer);
    }
}
