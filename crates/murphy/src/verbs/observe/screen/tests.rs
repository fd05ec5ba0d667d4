use std::{env, fs, path::Path};

use murphy_fault::conn::Side;
use murphy_observe::{
    Beat, Claim, Direction, Edge, EdgeNow, Finding, Kind, Lately, Mode, Share, Size, Snapshot,
    Tally, Unseen,
};
use ratatui::{Terminal, backend::TestBackend, buffer::Buffer, style::Color};

use super::*;
use crate::verbs::observe::injected::InForce;

const S: u64 = 1_000_000_000;
const MS: u64 = 1_000_000;
/// So long the machine runs, and it is 14:02:31.
const NOW: u64 = 1000 * S;
const AHEAD: u64 = (14 * 3600 + 2 * 60 + 31) * S - NOW;

fn edge(side: Side, peer: &str, port: u16) -> Edge {
    Edge {
        container: "front-end".into(),
        side,
        peer: peer.parse().unwrap(),
        port,
    }
}

/// An edge of half a minute, whose round trips and retransmits are known of each slice, counted from the last one.
fn now(
    edge: Edge,
    tally: Tally,
    rtt_us: impl Fn(u64) -> u64,
    resent: impl Fn(u64) -> u64,
) -> EdgeNow {
    let beat = |ago: u64| Beat {
        at_ns: NOW - ago * 500 * MS,
        rtt_us: Some(rtt_us(ago)),
        resent: resent(ago),
        pings_lost: 0,
    };
    let beats: Vec<Beat> = (0..60).rev().map(beat).collect();
    EdgeNow {
        total: tally,
        recent: tally,
        recent_s: 5,
        active: 10,
        rtt_us: Some(rtt_us(0)),
        ping_us: Some(rtt_us(0)),
        pings_lost: 0,
        pings: 25,
        lately: Lately {
            p99_us: beats.iter().filter_map(|beat| beat.rtt_us).max(),
            beats,
        },
        unseen: Unseen {
            way: tally == Tally::default(),
            ..Unseen::default()
        },
        ..EdgeNow::new(edge)
    }
}

fn traffic(connected: u64, resent: u64) -> Tally {
    Tally {
        connected,
        delivered: 640 - resent,
        resent,
        ..Tally::default()
    }
}

/// A front end that asks three and is asked by one; one of those whom it asks loses a third of what it is sent.
fn shop() -> (Snapshot, Vec<Finding>, Vec<InForce>) {
    let bad = edge(Side::Opened, "10.0.0.3", 8080);
    let loss = Finding {
        edge: bad.clone(),
        claim: Claim {
            kind: Kind::Loss,
            direction: Direction::To,
            size: Size::of_share(Share { hit: 190, of: 640 }),
            since_ns: NOW - 6 * S,
            evidence: vec![
                "190 segments were sent again, of which 0 had come already; 450 were acknowledged"
                    .into(),
                "7 pings were not answered, of which 0 have arrived at the peer".into(),
            ],
        },
        found_ns: NOW - 5 * S,
        last_ns: NOW,
        is_over: false,
        is_undecided: false,
    };
    let latency = Finding {
        edge: bad.clone(),
        claim: Claim {
            kind: Kind::Latency,
            direction: Direction::To,
            size: Size::Time {
                us: 50_100,
                before_us: Some(400),
            },
            since_ns: NOW - 25 * S,
            evidence: vec!["half of the pings took 50.1 ms".into()],
        },
        found_ns: NOW - 24 * S,
        last_ns: NOW - 18 * S,
        is_over: true,
        is_undecided: false,
    };
    let slow = |ago: u64| (36..=50).contains(&ago);
    let mut hurt = now(
        bad,
        traffic(195, 190),
        |ago| {
            if slow(ago) {
                50_000 + 97 * ago
            } else {
                300 + 20 * (ago % 5)
            }
        },
        |ago| if ago < 12 { 10 + 7 * (ago % 3) } else { 0 },
    );
    hurt.findings = vec![loss.clone()];
    hurt.recent.timed_out = 2;
    let steady = |ago: u64| 250 + 30 * (ago % 4);
    let snapshot = Snapshot {
        at_ns: NOW,
        mode: Mode {
            is_told: true,
            is_pinging: true,
            without: Vec::new(),
        },
        edges: vec![
            now(
                edge(Side::Accepted, "10.0.0.9", 80),
                traffic(80, 0),
                steady,
                |_| 0,
            ),
            now(
                edge(Side::Opened, "10.0.0.2", 8080),
                traffic(205, 0),
                steady,
                |_| 0,
            ),
            hurt,
            now(
                edge(Side::Opened, "10.0.0.4", 5432),
                traffic(0, 0),
                steady,
                |_| 0,
            ),
        ],
        ..Snapshot::default()
    };
    let injected = InForce {
        id: "4f09a2".into(),
        family: "net".into(),
        fault: "loss".into(),
        targets: vec!["front-end".into()],
        from_ns: NOW - 7 * S,
        until_ns: None,
    };
    (snapshot, vec![latency, loss], vec![injected])
}

fn view(has_colours: bool) -> View {
    let mut view = View::new(&["front-end".into()], Ink::new(has_colours), AHEAD);
    let (mut first, ..) = shop();
    first.at_ns -= 31 * S;
    view.take(first, &[], &[]);
    let (snapshot, findings, injected) = shop();
    view.take(snapshot, &findings, &injected);
    view
}

fn drawn(view: &View, width: u16, height: u16) -> Terminal<TestBackend> {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| view.draw(frame)).unwrap();
    terminal
}

fn text(buffer: &Buffer) -> String {
    let area = buffer.area;
    let row = |y: u16| -> String { (0..area.width).map(|x| buffer[(x, y)].symbol()).collect() };
    let rows: Vec<String> = (0..area.height).map(row).collect();
    rows.join("\n")
}

#[test]
fn a_screen_of_a_hundred_columns_has_all_of_it() {
    insta::assert_snapshot!(drawn(&view(true), 100, 30).backend());
}

#[test]
fn a_screen_of_eighty_columns_has_all_that_matters() {
    insta::assert_snapshot!(drawn(&view(true), 80, 24).backend());
}

#[test]
fn a_screen_of_forty_columns_says_who_and_what() {
    insta::assert_snapshot!(drawn(&view(true), 40, 10).backend());
}

#[test]
fn what_is_wrong_is_red_and_said_in_words() {
    for (width, height) in [(100, 30), (80, 24), (40, 10)] {
        let terminal = drawn(&view(true), width, height);
        let buffer = terminal.backend().buffer();
        let rows = text(buffer);
        assert!(rows.contains("PACKET LOSS"), "{rows}");
        let (y, _) = (0..)
            .zip(rows.lines())
            .find(|(_, row)| row.contains('▸'))
            .expect("the edge is shown");
        let is_red = |x: u16| buffer[(x, y)].fg == Color::Red;
        assert!((0..width).any(is_red), "{rows}");
    }
    // Who wants no colours has none, and reads the same.
    let terminal = drawn(&view(false), 100, 30);
    let buffer = terminal.backend().buffer();
    assert!(buffer.content.iter().all(|cell| cell.fg == Color::Reset));
    let coloured = drawn(&view(true), 100, 30);
    assert_eq!(text(buffer), text(coloured.backend().buffer()));
}

#[test]
fn no_screen_is_too_small_and_none_too_large() {
    let mut all = view(true);
    for round in 0..3 {
        for width in [1, 2, 7, 20, 39, 60, 99, 240] {
            for height in [1, 2, 3, 5, 9, 19, 33, 80] {
                drawn(&all, width, height);
            }
        }
        match round {
            0 => all.press(Key::Help),
            _ => all = View::new(&[], Ink::new(true), 0),
        }
    }
    // Many edges, of one of which somebody's name is long and wild.
    let (mut snapshot, findings, injected) = shop();
    for last in 0..500_u32 {
        let mut more = snapshot.edges[1].clone();
        more.edge.peer = std::net::Ipv4Addr::from(0x0a01_0000 + last).into();
        if last == 250 {
            more.edge.container = "\u{1b}[31m日本語\u{0}".repeat(30).into();
            more.lately.beats.clear();
        }
        snapshot.edges.push(more);
    }
    let mut many = View::new(&["front-end".into()], Ink::new(true), u64::MAX);
    many.take(snapshot, &findings, &injected);
    for _ in 0..600 {
        many.press(Key::Down);
    }
    for (width, height) in [(1, 1), (12, 4), (40, 10), (80, 24), (200, 60)] {
        let terminal = drawn(&many, width, height);
        assert!(!text(terminal.backend().buffer()).contains('\u{1b}'));
    }
}

#[test]
fn keys_choose_an_edge_and_hold_the_view() {
    let mut view = view(true);
    let chosen = |view: &View| {
        let rows = text(drawn(view, 100, 30).backend().buffer());
        let row = rows
            .lines()
            .find(|row| row.contains('▸'))
            .unwrap()
            .to_owned();
        row.split_whitespace()
            .skip(1)
            .take(2)
            .collect::<Vec<_>>()
            .join(" ")
    };
    // What is wrong is chosen while nobody has chosen.
    assert_eq!(chosen(&view), "→ 10.0.0.3:8080");
    view.press(Key::Up);
    assert_eq!(chosen(&view), "→ 10.0.0.2:8080");
    for _ in 0..9 {
        view.press(Key::Down);
    }
    assert_eq!(chosen(&view), "→ 10.0.0.4:5432");
    view.press(Key::Pause);
    assert!(view.is_paused());
    let rows = text(drawn(&view, 100, 30).backend().buffer());
    assert!(rows.contains("PAUSED"), "{rows}");
    view.press(Key::Help);
    let rows = text(drawn(&view, 100, 30).backend().buffer());
    assert!(rows.contains("stands still"), "{rows}");
}

#[test]
fn the_picture_in_the_docs_is_what_the_screen_shows() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/observe-screen.svg");
    let picture = picture::svg(drawn(&view(true), 100, 30).backend().buffer());
    if env::var_os("MURPHY_UPDATE").is_some() {
        fs::write(&path, &picture).expect("the docs can be written");
    }
    let committed = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == picture,
        "docs/observe-screen.svg is not what the screen shows: MURPHY_UPDATE=1 draws it again"
    );
}

#[test]
fn a_map_that_cannot_be_drawn_is_a_list_of_all_links() {
    let (mut snapshot, ..) = shop();
    // Whoever asks is asked, too: there is no left and no right.
    snapshot.edges[0].edge.peer = snapshot.edges[2].edge.peer;
    let mut view = View::new(&["front-end".into()], Ink::new(true), AHEAD);
    view.take(snapshot, &[], &[]);
    let rows = text(drawn(&view, 100, 30).backend().buffer());
    for link in [
        "✕ front-end ━━▶ 10.0.0.3  PACKET LOSS 30 %, to 10.0.0.3, since 14:02:25",
        "  10.0.0.3 ──▶ front-end",
        "  front-end ──▶ 10.0.0.2",
    ] {
        assert!(rows.contains(link), "{link} is not in {rows}");
    }
}
