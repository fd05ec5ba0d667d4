//! Who reaches whom among five nodes, before, during and after each form of a partition.

#[path = "../../murphy-sys/tests/wire/mod.rs"]
mod wire;

mod harness;
mod network;
mod victims;

use harness::{Guard, wait_until};
use network::{Disturbance, Named};
use wire::Star;

const NODES: usize = 5;

/// Five nodes with names; they go with the test, before its guard.
struct Cluster {
    named: Named,
    star: Star,
}

impl Cluster {
    fn lay_or_skip(guard: &Guard) -> Option<Self> {
        let endings = (0..NODES).map(|node| node.to_string());
        let (named, namespaces) = Named::make_or_skip(guard, endings)?;
        let star = Star::lay(namespaces);
        let cluster = Self { named, star };
        wait_until("all nodes reach each other", || cluster.is_as(|_, _| true));
        Some(cluster)
    }

    /// Whether exactly those reach each other that should, by both families alike.
    fn is_as(&self, reaches: impl Fn(usize, usize) -> bool) -> bool {
        let matrix = self.star.matrix();
        let wanted = |from: usize, to: usize| from == to || reaches(from, to);
        let cells = (0..NODES).flat_map(|from| (0..NODES).map(move |to| (from, to)));
        cells
            .into_iter()
            .all(|(from, to)| matrix[from][to] == (wanted(from, to), wanted(from, to)))
    }

    /// Cuts some nodes off from others: node by node, those that it does not reach any more.
    fn cut<'a>(
        &self,
        guard: &'a Guard,
        direction: &str,
        cuts: &[(usize, Vec<usize>)],
    ) -> Vec<Disturbance<'a>> {
        let peers = |peers: &[usize]| -> Vec<String> {
            let words = peers
                .iter()
                .map(|peer| format!("--peer={}", self.named.target(*peer)));
            words.collect()
        };
        let cut = |(node, others): &(usize, Vec<usize>)| {
            let target = self.named.target(*node);
            let peers = peers(others);
            let mut words = vec!["--partition", "--direction", direction, "--for", "60s"];
            words.extend(peers.iter().map(String::as_str));
            Disturbance::inject(guard, &target, &words)
        };
        cuts.iter().map(cut).collect()
    }
}

/// A partition form: who is cut off from whom, which way, and who reaches whom then.
type Form = (
    &'static str,
    &'static str,
    Vec<(usize, Vec<usize>)>,
    fn(usize, usize) -> bool,
);

fn forms() -> Vec<Form> {
    vec![
        ("one", "both", vec![(0, vec![1, 2, 3, 4])], |from, to| {
            from != 0 && to != 0
        }),
        (
            "halves",
            "both",
            vec![(0, vec![2, 3, 4]), (1, vec![2, 3, 4])],
            |from, to| (from < 2) == (to < 2),
        ),
        (
            "bridge",
            "both",
            vec![(0, vec![3, 4]), (1, vec![3, 4])],
            |from, to| from == 2 || to == 2 || (from < 2) == (to < 2),
        ),
        (
            "majorities ring",
            "both",
            (0..NODES)
                .map(|node| (node, vec![(node + 2) % NODES, (node + 3) % NODES]))
                .collect(),
            |from, to| [1, NODES - 1].contains(&((from + NODES - to) % NODES)),
        ),
        ("one way", "to", vec![(0, vec![1])], |from, to| {
            (from, to) != (0, 1)
        }),
    ]
}

#[test]
fn every_form_of_a_partition_cuts_exactly_whom_it_should() {
    let Some(guard) = Guard::root_or_skip() else {
        return;
    };
    let Some(cluster) = Cluster::lay_or_skip(&guard) else {
        return;
    };
    for (name, direction, cuts, reaches) in forms() {
        assert!(cluster.is_as(|_, _| true), "before {name}");
        let partition = cluster.cut(&guard, direction, &cuts);
        assert!(
            cluster.is_as(reaches),
            "{name}: {:?}",
            cluster.star.matrix()
        );
        for disturbance in partition {
            disturbance.interrupt();
        }
        assert!(cluster.is_as(|_, _| true), "after {name}");
    }
}
