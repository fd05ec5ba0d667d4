//! What the kernel tells of retransmits is what its counters say, segment by segment, and the figures at the end of a
//! connection are those that it had.

mod pool;
mod wire;

use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    thread,
    time::{Duration, Instant},
};

use murphy_sys::{
    connections::State,
    counters::Counters,
    link,
    namespace::NetNamespace,
    tcp_events::{self, Filter, Kind, TcpEvent, TcpEvents},
    traffic::{
        ALWAYS, Attachment, Chain, Filters, Match, Order, Role, Traffic, Treatment, Way, trial,
        trial_by_filters,
    },
};
use pool::{patience, say_skipped};
use wire::{Wire, address};

const TCP: u8 = 6;

/// A wire on which a share of what node 1 sends over TCP does not come, and who hears of node 1's connections.
struct Stage {
    wire: Wire,
    _traffic: Traffic,
    filters: Option<Filters>,
    events: TcpEvents,
    heard: Vec<TcpEvent>,
}

impl Drop for Stage {
    fn drop(&mut self) {
        if let Some(filters) = &self.filters {
            filters.remove().unwrap();
        }
    }
}

impl Stage {
    fn losing_or_skip(percent: u64) -> Option<Self> {
        if let Err(error) = trial().or_else(|_| trial_by_filters()) {
            say_skipped(&error);
            return None;
        }
        if let Err(error) = tcp_events::trial() {
            say_skipped(&error);
            return None;
        }
        let make = || NetNamespace::create().unwrap();
        let wire = Wire::lay(make(), make());
        let enter = ALWAYS * percent / 100;
        let order = Order {
            id: 7,
            until_ns: None,
            seed: 7,
            active: true,
            matched: Match {
                protocol: Some((TCP, TCP)),
                ..Match::default()
            },
            // Where it arrives: what this machine itself does not send is none that was sent.
            to: Treatment::default(),
            from: Treatment {
                loss: Chain {
                    enter,
                    leave: ALWAYS - enter,
                    hit_inside: ALWAYS,
                    hit_outside: 0,
                },
                ..Treatment::default()
            },
        };
        let mut traffic = Traffic::load(order).unwrap();
        let device = link::index(&wire.b, "eth0").unwrap();
        let filters = trial().is_err().then(|| {
            Filters::choose(&wire.b, device, &Way::ALL, "mphy-000007", Role::Looks).unwrap()
        });
        let by = filters
            .as_ref()
            .map_or(Attachment::Links, Attachment::Filters);
        for way in Way::ALL {
            traffic.attach(&wire.b, device, way, by).unwrap();
        }
        let events = TcpEvents::watch(&Filter {
            namespaces: vec![wire.a.inode().unwrap()],
            is_measured: true,
            ..Filter::default()
        });
        Some(Self {
            wire,
            _traffic: traffic,
            filters,
            events: events.unwrap(),
            heard: Vec::new(),
        })
    }

    /// Hears all until a connection of node 1 is closed.
    fn hear_its_end(&mut self) -> TcpEvent {
        let until = Instant::now() + patience();
        loop {
            self.heard.extend(self.events.take());
            let ended = |event: &&TcpEvent| {
                matches!(
                    event.kind,
                    Kind::State {
                        to: State::Close,
                        ..
                    }
                )
            };
            if let Some(ended) = self.heard.iter().find(ended) {
                return *ended;
            }
            assert!(Instant::now() < until, "{:?}", self.heard.last());
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// How many segments were sent again, by what was told, of those that this is so of.
    fn segments(&self, is_so: impl Fn(State, bool) -> bool) -> u64 {
        let segments = self.heard.iter().map(|event| match event.kind {
            Kind::Retransmitted {
                segments,
                state,
                is_probe,
                is_sent: true,
            } if is_so(state, is_probe) => u64::from(segments),
            _ => 0,
        });
        segments.sum()
    }

    /// How many were not told of, by the count of the only connection.
    fn untold(&self) -> u64 {
        let mut again = 0;
        let untold = self.heard.iter().map(|event| {
            let before = event.retransmitted_before().unwrap_or(again);
            let untold = before - again;
            again = event.figures.map_or(again, |figures| figures.retransmitted);
            u64::from(untold)
        });
        untold.sum()
    }
}

/// Reads so many bytes, and says so.
fn serve(listener: &TcpListener, bytes: usize) {
    let (mut stream, _) = listener.accept().unwrap();
    stream.read_exact(&mut vec![0; bytes]).unwrap();
    stream.write_all(b"!").unwrap();
    // Whoever asked ends it, and waits for late packets.
    assert_eq!(stream.read(&mut [0]).unwrap(), 0);
}

#[test]
fn segments_that_are_sent_again_are_as_many_as_the_kernel_counts() {
    for is_v4 in [true, false] {
        let Some(mut stage) = Stage::losing_or_skip(20) else {
            return;
        };
        let bytes = 1 << 20;
        let at: SocketAddr = (address(is_v4, 2), 0).into();
        let listener = stage.wire.b.run(|| TcpListener::bind(at)).unwrap().unwrap();
        let to = listener.local_addr().unwrap();
        let served = thread::spawn(move || serve(&listener, bytes));
        let before = Counters::of(&stage.wire.a).unwrap();
        let connect = || TcpStream::connect_timeout(&to, patience());
        let mut stream = stage.wire.a.run(connect).unwrap().unwrap();
        stream.write_all(&vec![7; bytes]).unwrap();
        stream.read_exact(&mut [0]).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        served.join().unwrap();
        drop(stream);
        let ended = stage.hear_its_end();
        let counted = Counters::of(&stage.wire.a)
            .unwrap()
            .since(&before, "Tcp.RetransSegs");
        assert_eq!(stage.events.lost(), 0);
        let told = stage.segments(|_, _| true);
        let untold = stage.untold();
        assert_eq!(told + untold, counted, "{untold} were not told of");
        assert!(told > 0, "a fifth of some dozens of packets");
        let figures = ended.figures.unwrap();
        assert!(figures.bytes_acked >= bytes as u64, "{figures:?}");
        assert!(u64::from(figures.retransmitted) >= told);
        // The end of the stream counts as a byte.
        assert_eq!((figures.bytes_received, figures.error), (2, None));
        assert!(figures.data_segments_out > 0 && figures.rtt_us > 0);
        let own = |event: &&TcpEvent| event.local.ip() == address(is_v4, 1);
        assert!(stage.heard.iter().all(|event| own(&event)));
    }
}

#[test]
fn who_is_not_answered_asks_again_and_is_told_why_it_ends() {
    for is_v4 in [true, false] {
        let Some(mut stage) = Stage::losing_or_skip(100) else {
            return;
        };
        let to: SocketAddr = (address(is_v4, 2), 9).into();
        let short = Duration::from_millis(2500);
        let connect = || TcpStream::connect_timeout(&to, short);
        stage.wire.a.run(connect).unwrap().unwrap_err();
        let ended = stage.hear_its_end();
        // One second after the first, and two more after that.
        let asked_again = stage.segments(|state, is_probe| state == State::SynSent && !is_probe);
        assert!((1..=2).contains(&asked_again), "{asked_again}");
        let asked = stage.heard.iter().find(|event| event.figures.is_some());
        let pid = asked.unwrap().figures.unwrap().pid;
        assert_eq!(pid, Some(std::process::id()));
        // Its owner has given up, and the kernel had not yet.
        assert_eq!(ended.figures.unwrap().error, None);
        assert!(asked.unwrap().figures.unwrap().cgroup > 0);
    }
}

#[test]
fn who_listens_answers_again_where_the_answer_is_lost() {
    for is_v4 in [true, false] {
        // What node 1 answers is lost.
        let Some(mut stage) = Stage::losing_or_skip(100) else {
            return;
        };
        let at: SocketAddr = (address(is_v4, 1), 0).into();
        let listener = stage.wire.a.run(|| TcpListener::bind(at)).unwrap().unwrap();
        let to = listener.local_addr().unwrap();
        let before = Counters::of(&stage.wire.a).unwrap();
        let connect = || TcpStream::connect_timeout(&to, Duration::from_millis(2500));
        stage.wire.b.run(connect).unwrap().unwrap_err();
        let counted = Counters::of(&stage.wire.a)
            .unwrap()
            .since(&before, "Tcp.RetransSegs");
        stage.heard.extend(stage.events.take());
        let told = stage.segments(|state, _| state == State::SynRecv);
        assert!(told > 0 && told <= counted, "{told} of {counted}");
        let answered = stage.heard.iter().find(|event| {
            matches!(
                event.kind,
                Kind::Retransmitted {
                    state: State::SynRecv,
                    ..
                }
            )
        });
        let answered = answered.unwrap();
        assert_eq!(answered.local, to);
        assert_eq!(answered.remote.ip(), address(is_v4, 2));
    }
}
