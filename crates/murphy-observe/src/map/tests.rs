use super::*;
use crate::{finding::Claim, share::Share, tally::Tally, unseen::Unseen};

const S: u64 = 1_000_000_000;

fn edge(side: Side, container: &str, peer: &str, port: u16) -> Edge {
    Edge {
        container: container.into(),
        side,
        peer: peer.parse().unwrap(),
        port,
    }
}

fn opened(container: &str, peer: &str, port: u16) -> Edge {
    edge(Side::Opened, container, peer, port)
}

fn now(edge: Edge, delivered: u64) -> EdgeNow {
    let tally = Tally {
        delivered,
        ..Tally::default()
    };
    EdgeNow {
        total: tally,
        recent: tally,
        recent_s: 5,
        active: 1,
        rtt_us: Some(200),
        ping_us: Some(200),
        unseen: Unseen {
            way: delivered == 0,
            ..Unseen::default()
        },
        ..EdgeNow::new(edge)
    }
}

fn snapshot(edges: Vec<EdgeNow>) -> Snapshot {
    Snapshot {
        at_ns: 60 * S,
        edges,
        ..Snapshot::default()
    }
}

fn loss(edge: Edge, direction: Direction, since_ns: u64) -> Finding {
    Finding {
        edge,
        claim: Claim {
            kind: Kind::Loss,
            direction,
            size: Size::of_share(Share { hit: 27, of: 100 }),
            since_ns,
            evidence: Vec::new(),
        },
        found_ns: since_ns,
        last_ns: since_ns,
        is_over: false,
        is_undecided: false,
    }
}

fn ago(since_ns: u64) -> String {
    format!("{:.1} s ago", (60 * S - since_ns) as f64 / 1e9)
}

/// A front end that is asked by two, and asks three, one of which is observed, too.
fn shop() -> (Snapshot, Vec<Finding>) {
    let mut all = snapshot(vec![
        now(edge(Side::Accepted, "front-end", "10.0.0.9", 80), 50),
        now(edge(Side::Accepted, "front-end", "10.0.0.8", 80), 50),
        now(opened("front-end", "10.0.0.2", 5432), 900),
        now(opened("front-end", "10.0.0.3", 6379), 0),
        now(opened("front-end", "10.0.1.4", 8080), 10),
        now(opened("front-end", "fd00::4", 8080), 10),
        now(edge(Side::Accepted, "catalog", "10.0.0.1", 8080), 10),
        now(opened("catalog", "10.0.0.2", 5432), 40),
        now(opened("front-end", "10.0.0.5", 53), 5),
    ]);
    let of = |names: &[&str]| names.iter().map(|name| name.parse().unwrap()).collect();
    all.addresses
        .insert("catalog".into(), of(&["10.0.1.4", "fd00::4"]));
    all.addresses.insert("front-end".into(), of(&["10.0.0.1"]));
    let findings = vec![
        loss(opened("front-end", "10.0.0.2", 5432), Direction::To, 48 * S),
        loss(
            edge(Side::Accepted, "front-end", "10.0.0.8", 80),
            Direction::To,
            55 * S,
        ),
        Finding {
            is_over: true,
            ..loss(
                opened("front-end", "fd00::4", 8080),
                Direction::Both,
                20 * S,
            )
        },
    ];
    (all, findings)
}

#[test]
fn several_addresses_of_a_target_are_one_node_and_both_ends_of_a_link_one_link() {
    let (snapshot, findings) = shop();
    let map = ServiceMap::of(&snapshot, &findings);
    let names: Vec<&str> = map.nodes.iter().map(|node| node.name.as_str()).collect();
    assert_eq!(
        names,
        [
            "catalog",
            "front-end",
            "10.0.0.2",
            "10.0.0.3",
            "10.0.0.5",
            "10.0.0.8",
            "10.0.0.9"
        ]
    );
    let ends = |link: &Link| (names[link.from], names[link.to], link.state);
    let links: Vec<_> = map.links.iter().map(ends).collect();
    assert_eq!(
        links,
        [
            ("front-end", "10.0.0.2", State::Wrong),
            ("10.0.0.8", "front-end", State::Wrong),
            ("front-end", "catalog", State::WasWrong),
            ("catalog", "10.0.0.2", State::Ok),
            ("front-end", "10.0.0.5", State::Ok),
            ("10.0.0.9", "front-end", State::Ok),
            ("front-end", "10.0.0.3", State::Silent),
        ]
    );
    // Whoever is asked loses what he answers: that is back to whoever asks.
    let asked = &map.links[1];
    assert_eq!(asked.wrongs[0].way, Way::Against);
    assert_eq!(map.way(asked, asked.wrongs[0].way), "to 10.0.0.8");
    assert_eq!(asked.wrongs[0].title(), "PACKET LOSS 27 %");
}

#[test]
fn whoever_asks_stands_left_of_whom_he_asks_and_always_at_the_same_place() {
    let (snapshot, findings) = shop();
    let map = ServiceMap::of(&snapshot, &findings);
    let layout = Layout::of(&map);
    for link in &map.links {
        assert!(layout.places[link.from].layer < layout.places[link.to].layer);
    }
    assert_eq!((layout.layers, layout.rows), (4, 3));
    // What happens meanwhile moves nobody.
    let (mut later, _) = shop();
    later.edges.reverse();
    later.edges[0].total.delivered = 1_000_000;
    let other = ServiceMap::of(&later, &[]);
    assert_eq!(other.nodes.len(), map.nodes.len());
    let places = |map: &ServiceMap| {
        let places = Layout::of(map).places;
        let named = map.nodes.iter().map(|node| node.name.clone()).zip(places);
        named
            .map(|(name, place)| (name, place.layer))
            .collect::<Vec<_>>()
    };
    assert_eq!(places(&other), places(&map));
}

#[test]
fn circles_and_whoever_talks_with_himself_have_a_layout() {
    let mut all = snapshot(vec![
        now(opened("a", "10.0.0.2", 1), 1),
        now(opened("b", "10.0.0.1", 1), 1),
        now(opened("b", "10.0.0.2", 2), 1),
        now(opened("b", "127.0.0.1", 3), 1),
    ]);
    for (name, address) in [("a", "10.0.0.1"), ("b", "10.0.0.2")] {
        let address = address.parse().unwrap();
        all.addresses.insert(name.into(), [address].into());
    }
    let bad = loss(opened("b", "10.0.0.1", 1), Direction::Both, S);
    let map = ServiceMap::of(&all, &[bad]);
    let layout = Layout::of(&map);
    assert_eq!((map.nodes.len(), layout.layers), (3, 3));
    let picture = svg(&map, &ago);
    assert!(picture.contains("✕ PACKET LOSS 27 %"), "{picture}");
    let empty = ServiceMap::of(&snapshot(Vec::new()), &[]);
    assert_eq!(Layout::of(&empty), Layout::default());
    assert!(svg(&empty, &ago).contains("No connection was seen"));
}

#[test]
fn beyond_forty_the_rest_is_one_node_and_nobody_is_left_out_with_whom_something_is_wrong() {
    let peers =
        (0..200_u64).map(|last| now(opened("web", &format!("10.0.0.{last}"), 80), 1000 - last));
    let all = snapshot(peers.collect());
    let bad = loss(opened("web", "10.0.0.199", 80), Direction::To, 50 * S);
    let map = ServiceMap::of(&all, &[bad]);
    assert_eq!(map.nodes.len(), NODES_MAX);
    // 38 peers have a place: 37 of the busiest, and the one with whom something is wrong.
    let has = |name: &str| map.nodes.iter().any(|node| node.name == name);
    assert!(has("10.0.0.199") && has("10.0.0.36") && !has("10.0.0.37"));
    assert!(has("162 others"), "{:?}", map.nodes.last());
    let layout = Layout::of(&map);
    assert_eq!((layout.layers, layout.rows), (2, NODES_MAX - 1));
    // Exactly forty need no others.
    let peers = (0..39).map(|last| now(opened("web", &format!("10.0.0.{last}"), 80), 1));
    let map = ServiceMap::of(&snapshot(peers.collect()), &[]);
    assert!(map.nodes.iter().all(|node| node.role != Role::Others));
}

#[test]
fn nothing_that_somebody_is_called_is_markup() {
    let name = "<script>alert('&\"')</script>\u{202e}\u{0}";
    let all = snapshot(vec![now(opened(name, "10.0.0.2", 80), 1)]);
    let picture = svg(&ServiceMap::of(&all, &[]), &ago);
    assert!(!picture.contains("<script"), "{picture}");
    assert!(!picture.contains('\u{202e}') && !picture.contains('\u{0}'));
    assert!(picture.contains("&lt;script&gt;alert(&#39;&amp;&quot;&#39;)"));
}

#[test]
fn the_picture_is_what_it_was() {
    let (all, findings) = shop();
    let picture = svg(&ServiceMap::of(&all, &findings), &ago);
    insta::assert_snapshot!(picture);
    // Whoever wants to look at it, and at a large one.
    if let Some(directory) = std::env::var_os("MURPHY_PICTURES") {
        let directory = std::path::PathBuf::from(directory);
        std::fs::write(directory.join("map.svg"), picture).unwrap();
        let peers = (0..80_u64).map(|last| {
            let side = if last % 3 == 0 {
                Side::Accepted
            } else {
                Side::Opened
            };
            let container = if last % 2 == 0 { "web" } else { "db" };
            let peer = format!("10.0.0.{last}");
            now(edge(side, container, &peer, 80), 1000 - last)
        });
        let all = snapshot(peers.collect());
        let bad: Vec<_> = (0..9)
            .map(|at| loss(all.edges[at * 3].edge.clone(), Direction::To, 50 * S))
            .collect();
        let picture = svg(&ServiceMap::of(&all, &bad), &ago);
        std::fs::write(directory.join("large.svg"), picture).unwrap();
    }
}

#[test]
fn a_link_says_whom_it_really_leads_to() {
    let mut front = now(opened("front-end", "10.96.0.1", 80), 10);
    front.actual = vec!["10.1.2.3:8080".parse().unwrap()];
    let mut also = now(opened("front-end", "10.96.0.1", 81), 10);
    also.actual = vec!["10.1.2.4:8081".parse().unwrap()];
    let map = ServiceMap::of(&snapshot(vec![front, also]), &[]);
    let picture = svg(&map, &ago);
    let title = "<title>front-end → 10.96.0.1 :80 :81 → 10.1.2.3:8080, 10.1.2.4:8081: ok</title>";
    assert!(picture.contains(title), "{picture}");
}
