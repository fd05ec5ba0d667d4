use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use murphy_fault::conn::Connection;
use murphy_sys::connections::{Activity, Socket};

use super::*;

/// One target that is all of namespace 7, and listens on port 80.
struct Web;

impl Whose for Web {
    fn container(&self, namespace: u64, _: &SocketId, _: Option<u32>) -> Option<Arc<str>> {
        (namespace == 7).then(|| "web".into())
    }

    fn side(&self, _: u64, id: &SocketId) -> Side {
        if id.local.port() == 80 {
            Side::Accepted
        } else {
            Side::Opened
        }
    }
}

const OPENED: (&str, &str) = ("10.0.0.1:40000", "10.0.0.2:5432");
const ACCEPTED: (&str, &str) = ("10.0.0.1:80", "10.0.0.3:50000");

fn event(cookie: u64, at_ns: u64, ends: (&str, &str), kind: Kind) -> TcpEvent {
    TcpEvent {
        at_ns,
        cookie,
        namespace: 7,
        local: ends.0.parse().unwrap(),
        remote: ends.1.parse().unwrap(),
        kind,
        figures: Some(Figures::default()),
    }
}

fn state(from: State, to: State) -> Kind {
    Kind::State { from, to }
}

fn book() -> Book {
    Book::new(100, true)
}

/// The tally of the only edge, by its name.
fn only(book: &Book) -> (String, Tally) {
    let edges: Vec<_> = book.edges().collect();
    let [(edge, tally)] = edges[..] else {
        panic!("{edges:?}");
    };
    (edge.to_string(), *tally)
}

fn opens(book: &mut Book, cookie: u64, at_ns: u64) {
    let asked = event(cookie, at_ns, OPENED, state(State::Close, State::SynSent));
    book.tell(&asked, &Web);
}

#[test]
fn a_connection_that_is_asked_for_comes_to_be_and_ends_with_its_figures() {
    let mut book = book();
    opens(&mut book, 1, 1_000_000);
    let kind = state(State::SynSent, State::Established);
    book.tell(&event(1, 10_000_000, OPENED, kind), &Web);
    let mut ended = event(1, 20_000_000, OPENED, state(State::FinWait2, State::Close));
    ended.figures = Some(Figures {
        bytes_acked: 100,
        retransmitted: 3,
        duplicated: 1,
        delivered: 9,
        ..Figures::default()
    });
    book.tell(&ended, &Web);
    let (edge, tally) = only(&book);
    assert_eq!(edge, "web → 10.0.0.2:5432");
    assert_eq!(
        (tally.connected, tally.connecting_us, tally.closed),
        (1, 9000, 1)
    );
    assert_eq!(
        (tally.bytes_sent, tally.lost(), tally.delivered),
        (100, 2, 9)
    );
    assert_eq!(tally.failed() + tally.given_up + tally.broken, 0);
}

#[test]
fn why_a_connection_did_not_come_to_be_is_what_its_owner_is_told() {
    for (error, what) in [
        (Some(111), [1, 0, 0, 0]),
        (Some(110), [0, 1, 0, 0]),
        (Some(113), [0, 0, 1, 0]),
        (Some(101), [0, 0, 1, 0]),
        (None, [0, 0, 0, 1]),
    ] {
        let mut book = book();
        opens(&mut book, 1, 1);
        book.tell(&event(1, 2, OPENED, Kind::ResetReceived), &Web);
        let mut ended = event(1, 3, OPENED, state(State::SynSent, State::Close));
        ended.figures = Some(Figures {
            error,
            ..Figures::default()
        });
        book.tell(&ended, &Web);
        let (_, tally) = only(&book);
        let seen = [
            tally.refused,
            tally.timed_out,
            tally.unreachable,
            tally.given_up,
        ];
        assert_eq!(seen, what, "{error:?}");
        assert_eq!(
            (tally.connected, tally.closed, tally.resets_received),
            (0, 0, 0)
        );
    }
}

#[test]
fn a_connection_is_reset_once_however_often_that_is_said() {
    let mut book = book();
    let kind = state(State::SynRecv, State::Established);
    book.tell(&event(1, 1, ACCEPTED, kind), &Web);
    for kind in [Kind::ResetReceived, Kind::ResetReceived] {
        book.tell(&event(1, 2, ACCEPTED, kind), &Web);
    }
    let kind = state(State::Established, State::Close);
    book.tell(&event(1, 3, ACCEPTED, kind), &Web);
    let (edge, tally) = only(&book);
    assert_eq!(edge, "10.0.0.3 → web:80");
    assert_eq!(
        (tally.accepted, tally.resets_received, tally.closed),
        (1, 1, 1)
    );
    assert_eq!(tally.resets_sent, 0);
}

#[test]
fn a_reset_says_on_which_side_it_began_and_a_refusal_is_none_of_a_connection() {
    let mut book = book();
    let sent = |is_refusal| Kind::ResetSent {
        reason: None,
        is_refusal,
    };
    book.tell(&event(0, 1, ACCEPTED, sent(true)), &Web);
    let kind = state(State::SynRecv, State::Established);
    book.tell(&event(2, 1, ACCEPTED, kind), &Web);
    book.tell(&event(2, 2, ACCEPTED, sent(false)), &Web);
    // Nobody knows whose connection that was.
    book.tell(&event(0, 3, ACCEPTED, sent(false)), &Web);
    let (_, tally) = only(&book);
    assert_eq!((tally.refusals_sent, tally.resets_sent), (1, 1));
}

#[test]
fn retransmits_are_told_apart() {
    let mut book = book();
    opens(&mut book, 1, 1);
    let again = |segments, state, is_probe, is_sent| Kind::Retransmitted {
        segments,
        state,
        is_probe,
        is_sent,
    };
    for (cookie, kind) in [
        (1, again(1, State::SynSent, false, true)),
        (1, again(3, State::Established, false, true)),
        (1, again(1, State::Established, true, true)),
        (1, again(2, State::Established, false, false)),
    ] {
        book.tell(&event(cookie, 2, OPENED, kind), &Web);
    }
    book.tell(
        &event(0, 2, ACCEPTED, again(1, State::SynRecv, false, true)),
        &Web,
    );
    let tallies: BTreeMap<String, Tally> = book
        .edges()
        .map(|(edge, tally)| (edge.to_string(), *tally))
        .collect();
    let opened = tallies["web → 10.0.0.2:5432"];
    assert_eq!(
        [
            opened.syn_retransmits,
            opened.retransmits,
            opened.probes,
            opened.unsent
        ],
        [1, 3, 1, 2]
    );
    assert_eq!(tallies["10.0.0.3 → web:80"].synack_retransmits, 1);
}

#[test]
fn what_was_sent_again_and_not_told_of_is_seen_by_the_count_of_its_connection() {
    let mut book = book();
    opens(&mut book, 1, 1);
    let again = |all: u32, segments| {
        let kind = Kind::Retransmitted {
            segments,
            state: State::Established,
            is_probe: false,
            is_sent: true,
        };
        let mut again = event(1, 2, OPENED, kind);
        again.figures.as_mut().unwrap().retransmitted = all;
        again
    };
    let counted = |book: &Book| {
        let (_, tally) = only(book);
        (tally.retransmits, tally.untold)
    };
    book.tell(&again(1, 1), &Web);
    assert_eq!(counted(&book), (1, 0));
    // Two and three were not told of.
    book.tell(&again(5, 2), &Web);
    assert_eq!(counted(&book), (3, 2));
    // Nor was the sixth: somebody may still tell of it when it is seen first, and not any more at the next look.
    let seen = |book: &mut Book, at_ns| {
        let mut activity = carried(10, 0);
        activity.figures.retransmitted = 6;
        book.look(at_ns, &[connection(1, OPENED, activity)]);
    };
    seen(&mut book, 3);
    assert_eq!(counted(&book), (3, 2));
    seen(&mut book, 4);
    seen(&mut book, 5);
    assert_eq!(counted(&book), (3, 3));
    // The last one was not, either, before it is over.
    let mut ended = event(1, 6, OPENED, state(State::Established, State::Close));
    ended.figures.as_mut().unwrap().retransmitted = 7;
    book.tell(&ended, &Web);
    assert_eq!(counted(&book), (3, 4));
}

#[test]
fn what_was_sent_again_before_it_is_observed_is_not_its_matter() {
    let mut book = book();
    let mut activity = carried(10, 0);
    activity.figures.retransmitted = 6;
    for at_ns in 1..4 {
        book.look(at_ns, &[connection(1, OPENED, activity)]);
    }
    let mut accepted = event(2, 4, ACCEPTED, state(State::SynRecv, State::Established));
    // It was answered again, which was told of as that.
    accepted.figures.as_mut().unwrap().retransmitted = 2;
    book.tell(&accepted, &Web);
    assert!(book.edges().all(|(_, tally)| tally.untold == 0));
}

#[test]
fn whoever_is_not_observed_is_not_in_it() {
    let mut book = book();
    let mut other = event(1, 1, OPENED, state(State::Close, State::SynSent));
    other.namespace = 8;
    book.tell(&other, &Web);
    assert_eq!(book.edges().count(), 0);
}

fn connection(cookie: u64, ends: (&str, &str), activity: Activity) -> (Arc<str>, Connection) {
    let at = |text: &str| text.parse::<SocketAddr>().unwrap();
    let id = SocketId {
        local: at(ends.0),
        remote: at(ends.1),
        device: 0,
        cookie,
    };
    let connection = Connection {
        place: 7,
        socket: Socket {
            id,
            state: State::Established,
            inode: 1,
            activity: Some(Box::new(activity)),
        },
        side: Web.side(7, &id),
        owner: None,
        age: Duration::ZERO,
    };
    ("web".into(), connection)
}

fn carried(delivered: u32, timeouts: u8) -> Activity {
    Activity {
        timeouts,
        figures: Figures {
            delivered,
            rtt_us: 300,
            unacknowledged: u32::from(timeouts > 0),
            ..Figures::default()
        },
        ..Activity::default()
    }
}

#[test]
fn what_was_carried_before_it_was_looked_at_does_not_count() {
    let mut book = book();
    book.look(1, &[connection(1, OPENED, carried(1000, 0))]);
    book.look(2, &[connection(1, OPENED, carried(1010, 0))]);
    let (_, tally) = only(&book);
    assert_eq!((tally.delivered, tally.connected), (10, 0));
    let slice = &book.slice(3)[&Edge::of(
        &"web".into(),
        Side::Opened,
        &connection(1, OPENED, carried(0, 0)).1.socket.id,
    )];
    assert_eq!(
        (slice.active, slice.rtt.map(|rtt| rtt.median_us)),
        (1, Some(300))
    );
    assert_eq!(slice.stalled, 0);
}

#[test]
fn what_is_sent_again_counts_once_something_has_passed_after_it() {
    let mut book = book();
    let sent = |delivered, retransmitted| {
        let mut activity = carried(delivered, 0);
        activity.figures.retransmitted = retransmitted;
        [connection(1, OPENED, activity)]
    };
    for (there, resent) in [
        (sent(5, 0), 0),
        (sent(5, 2), 0),
        (sent(5, 3), 0),
        (sent(6, 3), 3),
        (sent(9, 4), 3),
        (sent(10, 4), 4),
    ] {
        book.look(1, &there);
        assert_eq!(only(&book).1.resent, resent);
    }
}

#[test]
fn a_connection_on_which_nothing_is_acknowledged_is_stalled() {
    let mut book = book();
    for (timeouts, expected) in [(0, 0), (1, 0), (2, 1), (0, 0)] {
        book.look(1, &[connection(1, OPENED, carried(5, timeouts))]);
        let slices = book.slice(2);
        let slice = slices.values().next().unwrap();
        assert_eq!(slice.stalled, expected, "{timeouts}");
    }
}

#[test]
fn without_the_kernel_telling_those_that_are_found_have_come_and_those_that_are_not_have_gone() {
    let mut book = Book::new(100, false);
    book.look(1, &[connection(1, OPENED, carried(5, 0))]);
    let both = [
        connection(1, OPENED, carried(5, 0)),
        connection(2, OPENED, carried(3, 0)),
    ];
    book.look(2, &both);
    let (_, tally) = only(&book);
    assert_eq!((tally.connected, tally.delivered), (1, 3));
    for at_ns in 3..7 {
        book.look(at_ns, &both[..1]);
    }
    assert_eq!(only(&book).1.closed, 1);
}

#[test]
fn a_request_that_waits_for_long_is_asking() {
    let mut book = book();
    opens(&mut book, 1, 0);
    let asking = |book: &mut Book, at_ns| book.slice(at_ns).values().next().unwrap().asking;
    assert_eq!(asking(&mut book, ASKING_NS / 2), 0);
    assert_eq!(asking(&mut book, 2 * ASKING_NS), 1);
}

#[test]
fn edges_beyond_the_limit_are_one_other() {
    let mut book = Book::new(2, true);
    for port in 1..=9 {
        let remote = format!("10.0.0.2:{port}");
        let asked = state(State::Close, State::SynSent);
        book.tell(&event(port, 1, (OPENED.0, &remote), asked), &Web);
        let made = state(State::SynSent, State::Established);
        book.tell(&event(port, 1, (OPENED.0, &remote), made), &Web);
    }
    let connected: Vec<_> = book
        .edges()
        .map(|(edge, tally)| (edge.port, tally.connected))
        .collect();
    assert_eq!(connected, [(0, 7), (1, 1), (2, 1)]);
}

#[test]
fn what_the_kernel_has_told_before_a_look_and_is_heard_after_it_counts_once() {
    let mut book = book();
    // It has come and carried before it is looked at, and is heard of only then.
    book.look(1, &[connection(1, OPENED, carried(7, 0))]);
    opens(&mut book, 1, 0);
    let kind = state(State::SynSent, State::Established);
    book.tell(&event(1, 1, OPENED, kind), &Web);
    book.look(2, &[connection(1, OPENED, carried(9, 0))]);
    let (_, tally) = only(&book);
    assert_eq!((tally.delivered, tally.connected, tally.resent), (2, 1, 0));
}

#[test]
fn a_connection_that_one_end_has_closed_ends_once_however_long_that_takes() {
    let mut book = book();
    let kind = state(State::SynRecv, State::Established);
    book.tell(&event(1, 1, ACCEPTED, kind), &Web);
    let kind = state(State::Established, State::CloseWait);
    book.tell(&event(1, 2, ACCEPTED, kind), &Web);
    for at_ns in 3..9 {
        book.look(at_ns, &[]);
    }
    assert_eq!(only(&book).1.closed, 0);
    let kind = state(State::LastAck, State::Close);
    book.tell(&event(1, 9, ACCEPTED, kind), &Web);
    assert_eq!(only(&book).1.closed, 1);
}

#[test]
fn a_request_is_asking_until_somebody_says_what_became_of_it() {
    let mut book = book();
    opens(&mut book, 1, 0);
    for at_ns in 1..6 {
        book.look(at_ns, &[]);
    }
    let slices = book.slice(3 * ASKING_NS);
    assert_eq!(slices.values().next().unwrap().asking, 1);
}

#[test]
fn a_reset_that_is_sent_right_after_the_end_is_one_of_the_connection() {
    let mut book = book();
    let kind = state(State::SynRecv, State::Established);
    book.tell(&event(1, 1, ACCEPTED, kind), &Web);
    let kind = state(State::Established, State::Close);
    book.tell(&event(1, 2, ACCEPTED, kind), &Web);
    let sent = Kind::ResetSent {
        reason: None,
        is_refusal: false,
    };
    for _ in 0..2 {
        book.tell(&event(1, 3, ACCEPTED, sent), &Web);
    }
    let (_, tally) = only(&book);
    assert_eq!((tally.closed, tally.resets_sent), (1, 1));
}

#[test]
fn what_a_connection_has_sent_again_that_nothing_passed_for_long_is_no_loss() {
    const SECOND_NS: u64 = 1_000_000_000;
    for (seconds, resent) in [(1, 4), (4, 0)] {
        let mut book = book();
        let looked = |delivered, timeouts, retransmitted| {
            let mut activity = carried(delivered, timeouts);
            activity.figures.retransmitted = retransmitted;
            [connection(1, OPENED, activity)]
        };
        book.look(SECOND_NS, &looked(5, 0, 0));
        book.look(2 * SECOND_NS, &looked(5, 3, 4));
        book.look((2 + seconds) * SECOND_NS, &looked(6, 0, 4));
        assert_eq!(only(&book).1.resent, resent, "{seconds} s");
    }
}

#[test]
fn a_window_that_stays_closed_is_no_stall() {
    let mut book = book();
    let mut waiting = carried(5, 7);
    waiting.figures.unacknowledged = 0;
    book.look(1, &[connection(1, OPENED, waiting)]);
    let slices = book.slice(2);
    assert_eq!(slices.values().next().unwrap().stalled, 0);
}

#[test]
fn whoever_begins_to_listen_has_no_peer() {
    let mut book = book();
    for kind in [
        state(State::Close, State::Listen),
        state(State::Listen, State::Close),
    ] {
        book.tell(&event(1, 1, ("0.0.0.0:80", "0.0.0.0:0"), kind), &Web);
    }
    assert_eq!(book.edges().count(), 0);
}

#[test]
fn an_edge_on_which_nothing_happens_is_forgotten() {
    let mut book = book();
    opens(&mut book, 1, 0);
    book.tell(
        &event(1, 1, OPENED, state(State::SynSent, State::Close)),
        &Web,
    );
    book.slice(1);
    book.slice(IDLE_NS / 2);
    assert_eq!(book.edges().count(), 1);
    book.slice(2 * IDLE_NS);
    assert_eq!(book.edges().count(), 0);
}

#[test]
fn every_figure_counts_by_how_much_it_has_grown_between_two_looks() {
    let mut book = book();
    let look = |book: &mut Book, at_ns: u64, times: u32| {
        let long = u64::from(times);
        let figures = Figures {
            bytes_acked: 100 * long,
            bytes_received: 200 * long,
            bytes_out: 300 * long,
            bytes_resent: 400 * long,
            data_segments_out: 5 * times,
            data_segments_in: 6 * times,
            retransmitted: 7 * times,
            delivered: 8 * times,
            duplicated: 9 * times,
            out_of_order: 10 * times,
            ..Figures::default()
        };
        let activity = Activity {
            figures,
            ..carried(0, 0)
        };
        book.look(at_ns, &[connection(1, OPENED, activity)]);
    };
    for times in [100, 101, 103] {
        look(&mut book, u64::from(times) * 1_000_000, times);
    }
    let (_, total) = only(&book);
    let seen = [
        total.bytes_sent,
        total.bytes_received,
        total.bytes_out,
        total.bytes_resent,
        total.segments_sent,
        total.segments_received,
        total.sent_again,
        total.delivered,
        total.duplicated,
        total.out_of_order,
    ];
    assert_eq!(seen, [300, 600, 900, 1200, 15, 18, 21, 24, 27, 30]);
}

#[test]
fn no_more_sockets_are_followed_than_there_is_room_for_and_that_is_counted() {
    let mut book = book();
    book.sockets_max = 2;
    for cookie in 1..=3 {
        opens(&mut book, cookie, 1);
    }
    assert_eq!((book.sockets.len(), book.left_out()), (2, 1));
    let mut ended = event(1, 2, OPENED, state(State::SynSent, State::Close));
    ended.figures = Some(Figures::default());
    book.tell(&ended, &Web);
    opens(&mut book, 4, 3);
    assert_eq!((book.sockets.len(), book.left_out()), (2, 1));
}

#[test]
fn connections_that_were_opened_are_given_once_and_a_few_of_each_edge() {
    let mut book = book();
    let taken = |book: &mut Book| {
        let all = book.take_made();
        let of = |(edge, all): (Edge, Vec<Made>)| (edge.to_string(), all);
        all.map(of).collect::<Vec<_>>()
    };
    let made = state(State::SynSent, State::Established);
    opens(&mut book, 1, 1);
    assert_eq!(taken(&mut book), [], "it is only asked for");
    book.tell(&event(1, 2, OPENED, made), &Web);
    let accepted = state(State::SynRecv, State::Established);
    book.tell(&event(2, 3, ACCEPTED, accepted), &Web);
    let [from, to] = [OPENED.0, OPENED.1].map(|end| end.parse().unwrap());
    let expected = Made {
        namespace: 7,
        ends: Ends::new(from, to),
    };
    let edge = "web → 10.0.0.2:5432".to_owned();
    assert_eq!(taken(&mut book), [(edge.clone(), vec![expected])]);
    // One that is told of is not given again when it is found, and one that nobody has told of is.
    book.look(4, &[connection(1, OPENED, carried(1, 0))]);
    assert_eq!(taken(&mut book), []);
    let there = [1, 9].map(|cookie| connection(cookie, OPENED, carried(1, 0)));
    book.look(5, &there);
    assert_eq!(taken(&mut book), [(edge.clone(), vec![expected])]);
    book.look(6, &there);
    assert_eq!(taken(&mut book), []);
    for cookie in 100..200 {
        opens(&mut book, cookie, 7);
        book.tell(&event(cookie, 8, OPENED, made), &Web);
    }
    assert_eq!(taken(&mut book), [(edge, vec![expected; MADE_MAX])]);
}

#[test]
fn whom_all_others_are_that_are_one_edge_is_not_asked() {
    let mut book = Book::new(0, true);
    opens(&mut book, 1, 1);
    let made = state(State::SynSent, State::Established);
    book.tell(&event(1, 2, OPENED, made), &Web);
    assert_eq!(only(&book).0, "web → 0.0.0.0:0");
    assert_eq!(book.take_made().count(), 0);
}
