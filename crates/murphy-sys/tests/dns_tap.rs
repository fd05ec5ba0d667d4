//! What is asked for in a namespace and what is answered is heard: all of it, once, with its times, and nothing else.

mod wire;

use std::{
    collections::BTreeSet,
    io::{Read, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    os::fd::AsRawFd,
    str::FromStr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use hickory_proto::{
    op::{Message, MessageType, Query, ResponseCode},
    rr::{
        Name, RData, Record, RecordType,
        rdata::{A, AAAA, CNAME},
    },
};
use murphy_sys::{
    clock::boottime_ns,
    dns_tap::{
        self, Code, Dns, DnsTap, Names, Outcome, RecordKind, Resolution, Resolutions, sockets,
    },
    link::{Prefixed, add_bridge, join_bridge},
    namespace::NetNamespace,
};
use nix::libc;
use wire::{Wire, address};

const PORT: u16 = 53;
/// What the server takes its time for.
const LATENCY: Duration = Duration::from_millis(50);
/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);
/// When nothing was heard for so long, nothing will be.
const QUIET: Duration = Duration::from_millis(200);

const ANSWER_4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 7);
const ANSWER_6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 7);

/// Whether DNS can be heard here.
fn is_heard() -> bool {
    let trial = dns_tap::trial();
    if let Err(error) = &trial {
        let _ = writeln!(std::io::stderr(), "skipped: {error}");
    }
    trial.is_ok()
}

/// Listens; the kernel may need a moment until it has times for packets.
fn listen(namespace: &NetNamespace) -> DnsTap {
    let tap = DnsTap::listen(namespace).expect("the trial could");
    thread::sleep(QUIET);
    tap
}

fn namespace(last: u8) -> NetNamespace {
    let made = NetNamespace::create().expect("the trial could");
    let address = Ipv4Addr::new(10, 79, 0, last).into();
    let length = 24;
    add_bridge(&made, "br0", Prefixed { address, length }).expect("a bridge");
    made
}

fn wire() -> Wire {
    let made = || NetNamespace::create().expect("the trial could");
    Wire::lay(made(), made())
}

fn bind(namespace: &NetNamespace, at: SocketAddr) -> UdpSocket {
    let socket = namespace.run(|| UdpSocket::bind(at).expect("a free port"));
    socket.expect("a namespace")
}

/// Any address of a host's family, and any port.
fn anywhere(host: IpAddr) -> SocketAddr {
    match host {
        IpAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        IpAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    }
}

/// A small server of DNS, which ends with this.
struct Server {
    at: SocketAddr,
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    fn start(namespace: &NetNamespace, host: IpAddr) -> Self {
        let at = SocketAddr::new(host, PORT);
        let socket = bind(namespace, at);
        let is_over = Arc::new(AtomicBool::new(false));
        let over = Arc::clone(&is_over);
        let thread = thread::spawn(move || serve(&socket, &over));
        Self {
            at,
            is_over,
            thread: Some(thread),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        let served = self.thread.take().expect("it is dropped once").join();
        assert!(served.is_ok() || thread::panicking());
    }
}

fn serve(socket: &UdpSocket, is_over: &AtomicBool) {
    socket.set_read_timeout(Some(QUIET / 10)).expect("a time");
    let mut buffer = [0; 4096];
    while !is_over.load(Ordering::Relaxed) {
        let Ok((length, from)) = socket.recv_from(&mut buffer) else {
            continue;
        };
        let answer = Message::from_vec(&buffer[..length]).ok().and_then(answer);
        if let Some(answer) = answer {
            thread::sleep(LATENCY);
            let answer = answer.to_vec().expect("it is well formed");
            let _ = socket.send_to(&answer, from);
        }
    }
}

/// What the server has to say, if anything.
fn answer(mut query: Message) -> Option<Message> {
    let question = query.queries().first()?.clone();
    query.set_message_type(MessageType::Response);
    match question.name().to_ascii().to_lowercase().as_str() {
        "gone.test." => drop(query.set_response_code(ResponseCode::NXDomain)),
        "broken.test." => drop(query.set_response_code(ResponseCode::ServFail)),
        "silent.test." => return None,
        _ => {
            let alias = Name::from_str("alias.test.").expect("a name");
            let data = match question.query_type() {
                RecordType::A => RData::A(A(ANSWER_4)),
                _ => RData::AAAA(AAAA(ANSWER_6)),
            };
            let name = question.name().clone();
            let is_called = RData::CNAME(CNAME(alias.clone()));
            query.add_answer(Record::from_rdata(name, 60, is_called));
            query.add_answer(Record::from_rdata(alias, 30, data));
        }
    }
    Some(query)
}

fn query(id: u16, name: &str, kind: RecordType) -> Vec<u8> {
    let name = Name::from_str(name).expect("a name");
    let mut message = Message::new();
    message.set_id(id).add_query(Query::query(name, kind));
    message.to_vec().expect("it is well formed")
}

/// Asks and waits for an answer, if one is to come; how long that took.
fn ask(socket: &UdpSocket, server: SocketAddr, query: &[u8], is_answered: bool) -> Duration {
    let began = Instant::now();
    socket.send_to(query, server).expect("there is a way");
    if is_answered {
        socket.set_read_timeout(Some(PATIENCE)).expect("a time");
        let mut buffer = [0; 4096];
        let (length, _) = socket.recv_from(&mut buffer).expect("an answer");
        assert_eq!(buffer[..2], query[..2]);
        assert!(length > 12);
    }
    began.elapsed()
}

/// Everything that is heard until nothing more is.
fn hear(tap: &mut DnsTap) -> Vec<Dns> {
    let mut heard = Vec::new();
    while tap.wait(QUIET).expect("it can be waited for") {
        heard.extend(tap.hear());
    }
    heard
}

fn now_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    u64::try_from(since.expect("it is later").as_nanos()).expect("not centuries")
}

/// Whether each is an answer, and its id, in the order in which they were heard.
fn ids(heard: &[Dns]) -> Vec<(bool, u16)> {
    let told = heard.iter().map(|dns| &dns.message);
    told.map(|message| (message.is_answer, message.id))
        .collect()
}

/// Asks all that there is to ask, from one namespace of another one or of itself.
fn converses(from: &NetNamespace, to: &NetNamespace, host: IpAddr) {
    let server = Server::start(to, host);
    let mut tap = listen(from);
    let socket = bind(from, anywhere(host));
    let port = socket.local_addr().expect("it is bound").port();
    let questions = [
        ("DB.test.", RecordType::A, Some(Code::NoError)),
        ("db.test.", RecordType::AAAA, Some(Code::NoError)),
        ("gone.test.", RecordType::A, Some(Code::NxDomain)),
        ("broken.test.", RecordType::A, Some(Code::ServFail)),
        ("silent.test.", RecordType::TXT, None),
    ];
    let began_ns = now_ns();
    let mut took = Vec::new();
    for (id, (name, kind, code)) in (100..).zip(&questions) {
        let query = query(id, name, *kind);
        took.push(ask(&socket, server.at, &query, code.is_some()));
    }
    let ended_ns = now_ns();
    let heard = hear(&mut tap);
    let pairs = (100..104).flat_map(|id| [(false, id), (true, id)]);
    let expected: Vec<_> = pairs.chain([(false, 104)]).collect();
    assert_eq!(ids(&heard), expected, "{heard:?}");
    assert!(heard.is_sorted_by_key(|dns| dns.at_ns), "{heard:?}");
    for dns in &heard {
        assert!((began_ns..=ended_ns).contains(&dns.at_ns), "{dns:?}");
        assert_eq!((dns.server, dns.local.port()), (server.at, port));
        assert!(!dns.local.ip().is_unspecified());
        assert!(!dns.message.is_truncated);
    }
    assert_eq!(heard[0].message.name, "db.test");
    let addresses = |place: usize| heard[place].message.addresses.clone();
    let valid = Duration::from_secs(30);
    assert_eq!(addresses(1), [(ANSWER_4.into(), valid)]);
    assert_eq!(addresses(3), [(ANSWER_6.into(), valid)]);
    assert_eq!(heard[8].message.kind, RecordKind::Other(16));

    let (mut resolutions, mut names) = (Resolutions::new(dns_tap::TIMEOUT, 100), Names::new(100));
    for dns in &heard {
        names.learn(dns);
    }
    let mut ended: Vec<Resolution> = heard
        .iter()
        .filter_map(|dns| resolutions.hear(dns))
        .collect();
    let late_ns = u64::try_from(dns_tap::TIMEOUT.as_nanos()).expect("not centuries");
    ended.extend(resolutions.missing(ended_ns + late_ns));
    for ((resolution, (_, _, code)), took) in ended.iter().zip(&questions).zip(&took) {
        let outcome = code.map_or(Outcome::Missing, Outcome::Answered);
        assert_eq!((resolution.outcome, resolution.tries), (outcome, 1));
        assert_eq!(resolution.took.is_some(), code.is_some());
        // From the one end on it is no less than the server slept, and no more than its asker waited.
        assert!(
            resolution.took.is_none_or(|took| took >= LATENCY * 9 / 10),
            "{resolution:?}"
        );
        assert!(
            resolution.took.is_none_or(|heard| heard < *took * 3),
            "{resolution:?}, and the asker waited {took:?}"
        );
    }
    assert_eq!(ended.len(), questions.len());
    for address in [IpAddr::from(ANSWER_4), ANSWER_6.into()] {
        assert_eq!(names.of(address).collect::<Vec<_>>(), ["db.test"]);
    }
    assert_eq!(tap.dropped(), 0);
}

#[test]
fn over_the_loopback_all_is_heard_once() {
    if !is_heard() {
        return;
    }
    let here = namespace(1);
    for host in [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()] {
        converses(&here, &here, host);
    }
}

#[test]
fn over_a_link_all_is_heard_once() {
    if !is_heard() {
        return;
    }
    let wire = wire();
    for is_v4 in [true, false] {
        converses(&wire.a, &wire.b, address(is_v4, 2));
    }
}

#[test]
fn who_listens_for_answers_hears_nothing_else() {
    if !is_heard() {
        return;
    }
    let wire = wire();
    for (to, host) in [
        (&wire.a, Ipv4Addr::LOCALHOST.into()),
        (&wire.b, address(true, 2)),
        (&wire.b, address(false, 2)),
    ] {
        let server = Server::start(to, host);
        let mut tap = DnsTap::listen_for_answers(&wire.a).expect("the trial could");
        let socket = bind(&wire.a, anywhere(host));
        let began_ns = now_ns();
        for id in [300, 301] {
            let query = query(id, "db.test.", RecordType::A);
            ask(&socket, server.at, &query, true);
        }
        let heard = hear(&mut tap);
        // Linux before 4.20 would tell of the queries, too; none is that old here.
        assert_eq!(ids(&heard), [(true, 300), (true, 301)], "{heard:?}");
        for dns in &heard {
            assert!((began_ns..=now_ns()).contains(&dns.at_ns), "{dns:?}");
            assert_eq!(dns.message.addresses.len(), 1);
        }
        assert_eq!(tap.dropped(), 0);
    }
}

#[test]
fn at_sockets_a_question_and_its_answer_are_heard_once() {
    if let Err(error) = sockets::trial() {
        let _ = writeln!(std::io::stderr(), "skipped: {error}");
        return;
    }
    let wire = wire();
    let mut all = sockets::DnsSockets::listen().expect("the trial could");
    // Other tests say much.
    let servers = [true, false].map(|is_v4| address(is_v4, 2));
    all.narrow(&BTreeSet::new(), &servers.into())
        .expect("there is room");
    for (is_v4, id) in [(true, 500), (false, 501)] {
        let server = Server::start(&wire.b, address(is_v4, 2));
        let socket = bind(&wire.a, (address(is_v4, 1), 0).into());
        let local = socket.local_addr().expect("it is bound");
        let took = ask(
            &socket,
            server.at,
            &query(id, "db.test.", RecordType::A),
            true,
        );
        // Who asks the same address elsewhere is heard as well.
        let heard = all.hear().into_iter();
        let heard: Vec<_> = heard.filter(|one| one.dns.local == local).collect();
        let here = wire.a.cookie().expect("a namespace").expect("a cookie");
        for one in &heard {
            assert!(one.namespace.is_none_or(|cookie| cookie == here), "{one:?}");
        }
        let heard: Vec<Dns> = heard.into_iter().map(|one| one.dns).collect();
        assert_eq!(ids(&heard), [(false, id), (true, id)], "{heard:?}");
        assert!(heard.iter().all(|dns| dns.server == server.at));
        let passed = Duration::from_nanos(heard[1].at_ns - heard[0].at_ns);
        assert!(
            passed >= LATENCY * 9 / 10 && passed <= took,
            "{passed:?} of {took:?}"
        );
    }
    assert_eq!(all.dropped(), 0);
}

#[test]
fn at_sockets_only_those_are_heard_who_are_meant() {
    if let Err(error) = sockets::trial() {
        let _ = writeln!(std::io::stderr(), "skipped: {error}");
        return;
    }
    let (near, far) = (wire(), wire());
    let mut all = sockets::DnsSockets::listen().expect("the trial could");
    let cookie = near.a.cookie().expect("a namespace").expect("a cookie");
    for is_v4 in [true, false] {
        let servers = [&near.b, &far.b].map(|to| Server::start(to, address(is_v4, 2)));
        let [of_near, of_far] =
            [&near.a, &far.a].map(|from| bind(from, anywhere(servers[0].at.ip())));
        let port = |socket: &UdpSocket| socket.local_addr().expect("it is bound").port();
        // Both pairs have the same addresses: by those both are meant, by the cookie only the one.
        let both = BTreeSet::from([port(&of_near), port(&of_far)]);
        let one: BTreeSet<u16> = all
            .says_namespace()
            .then(|| port(&of_near))
            .into_iter()
            .collect();
        let addresses = |last| BTreeSet::from([address(is_v4, last)]);
        let by_asker = if all.says_namespace() { &one } else { &both };
        for (cookies, addresses, expected) in [
            (BTreeSet::from([cookie]), BTreeSet::new(), &one),
            (BTreeSet::new(), addresses(2), &both),
            (BTreeSet::from([cookie]), addresses(1), by_asker),
            (BTreeSet::new(), addresses(9), &BTreeSet::new()),
            ((1..=1025).collect(), BTreeSet::new(), &both),
        ] {
            all.narrow(&cookies, &addresses).expect("there is room");
            let _ = all.hear();
            let dropped = all.dropped();
            for (socket, server) in [(&of_near, &servers[0]), (&of_far, &servers[1])] {
                ask(
                    socket,
                    server.at,
                    &query(700, "db.test.", RecordType::A),
                    true,
                );
            }
            if cookies.len() > 1 && all.dropped() > dropped {
                // Another test has said much just then: everybody's was heard.
                continue;
            }
            assert_eq!(all.dropped(), dropped);
            let heard = all.hear().into_iter().map(|heard| heard.dns);
            let heard: Vec<Dns> = heard
                .filter(|dns| both.contains(&dns.local.port()))
                .collect();
            let ports: BTreeSet<u16> = heard.iter().map(|dns| dns.local.port()).collect();
            assert_eq!(
                (&ports, heard.len()),
                (expected, 2 * expected.len()),
                "{addresses:?}"
            );
        }
    }
}

/// Everybody who is about to ask a server that is meant is known of, whatever the way, and is heard from when that is wanted;
/// nobody else is.
#[test]
fn who_is_about_to_ask_is_known_before_he_is_heard() {
    if let Err(error) = sockets::trial() {
        let _ = writeln!(std::io::stderr(), "skipped: {error}");
        return;
    }
    let wire = wire();
    let cookie = wire.a.cookie().expect("a namespace").expect("a cookie");
    for is_v4 in [true, false] {
        let mut all = sockets::DnsSockets::stand_by().expect("the trial could");
        let host = address(is_v4, 2);
        let server = Server::start(&wire.b, host);
        let query = query(900, "db.test.", RecordType::A);
        let (socket, stranger) = (bind(&wire.a, anywhere(host)), bind(&wire.b, anywhere(host)));
        // Until it is told whom it means, nobody is.
        ask(&socket, server.at, &query, true);
        assert_eq!(all.last_asked_ns(), 0);
        all.narrow(&BTreeSet::from([cookie]), &BTreeSet::new())
            .expect("there is room");
        ask(&stranger, server.at, &query, true);
        let elsewhere = SocketAddr::new(host, 54);
        socket.send_to(&query, elsewhere).expect("there is a way");
        socket.connect(elsewhere).expect("it sends nothing");
        drop(wire.a.run(|| TcpStream::connect(server.at)).expect("it is"));
        assert_eq!(all.last_asked_ns(), 0);
        assert!(!sockets::is_connected(&wire.a).expect("a namespace"));

        let mut last_ns = 0;
        let mut is_told = |all: &sockets::DnsSockets| {
            let asked_ns = all.last_asked_ns();
            let is_later = asked_ns > last_ns && asked_ns <= boottime_ns();
            last_ns = asked_ns;
            is_later
        };
        let socket = bind(&wire.a, anywhere(host));
        ask(&socket, server.at, &query, true);
        assert!(is_told(&all), "sent without being connected");
        socket.connect(server.at).expect("it sends nothing");
        assert!(is_told(&all), "connected");
        assert!(sockets::is_connected(&wire.a).expect("a namespace"));
        assert!(!sockets::is_connected(&wire.b).expect("a namespace"));
        // What is sent then nobody tells of.
        socket.send(&query).expect("it is connected");
        assert!(!is_told(&all));
        assert_eq!(all.hear(), []);

        // By where the server is, everybody is meant.
        all.narrow(&BTreeSet::new(), &BTreeSet::from([host]))
            .expect("there is room");
        ask(&stranger, server.at, &query, true);
        assert!(is_told(&all), "asked by a stranger");

        for hears in [true, true, false, false, true] {
            all.set_hearing(hears).expect("it could");
            let _ = all.hear();
            ask(&stranger, server.at, &query, true);
            let port = stranger.local_addr().expect("it is bound").port();
            let heard = all.hear().into_iter().map(|one| one.dns);
            let heard: Vec<Dns> = heard.filter(|dns| dns.local.port() == port).collect();
            assert_eq!(heard.len(), if hears { 2 } else { 0 }, "{heard:?}");
        }
    }
}

#[test]
fn nothing_else_is_heard() {
    if !is_heard() {
        return;
    }
    let wire = wire();
    let (mut tap, mut other_end) = (listen(&wire.a), listen(&wire.b));
    let hosts = [address(true, 2), address(false, 2)];
    let servers = hosts.map(|host| Server::start(&wire.b, host));
    let asked = query(7, "db.test.", RecordType::A);
    let unheard = query(8, "silent.test.", RecordType::A);
    for server in &servers {
        let host = server.at.ip();
        let socket = bind(&wire.a, anywhere(host));
        // Another port; what is no DNS; what comes in fragments; TCP.
        for (port, said) in [
            (54, &asked[..]),
            (PORT, b"hello"),
            (PORT, &[0; 3000]),
            (PORT, &[&unheard[..], &[0; 3000]].concat()),
        ] {
            let sent = socket.send_to(said, (host, port));
            assert_eq!(sent.expect("there is a way"), said.len());
        }
        let listener = wire.b.run(|| TcpListener::bind(server.at)).expect("it is");
        let listener = listener.expect("a free port");
        let stream = wire.a.run(|| TcpStream::connect(server.at)).expect("it is");
        let mut stream = stream.expect("somebody listens");
        stream.write_all(&asked).expect("it is connected");
        let (mut accepted, _) = listener.accept().expect("it is connected");
        accepted.write_all(&asked).expect("it is connected");
        let mut buffer = vec![0; asked.len()];
        stream.read_exact(&mut buffer).expect("it was written");
        ask(&socket, server.at, &asked, true);
    }
    let heard = hear(&mut tap);
    let expected = [(false, 7), (true, 7)].repeat(2);
    assert_eq!(ids(&heard), expected, "{heard:?}");
    // The other end has answered, and asked for nothing.
    assert_eq!(hear(&mut other_end), []);
    assert!(!other_end.wait(Duration::ZERO).expect("it can"));
    assert_eq!((tap.dropped(), other_end.dropped()), (0, 0));
}

#[test]
fn behind_options_of_ip_it_is_heard() {
    if !is_heard() {
        return;
    }
    let here = namespace(1);
    let server = Server::start(&here, Ipv4Addr::LOCALHOST.into());
    let mut tap = listen(&here);
    let socket = bind(&here, (Ipv4Addr::UNSPECIFIED, 0).into());
    // Nothing, and that eight times.
    let options = [1_u8; 8];
    // SAFETY: the kernel reads so many bytes of `options`, which lives until the call returns.
    let set = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_IP,
            libc::IP_OPTIONS,
            options.as_ptr().cast(),
            libc::socklen_t::try_from(options.len()).expect("eight"),
        )
    };
    assert_eq!(set, 0);
    ask(
        &socket,
        server.at,
        &query(9, "db.test.", RecordType::A),
        true,
    );
    let heard = hear(&mut tap);
    assert_eq!(ids(&heard), [(false, 9), (true, 9)], "{heard:?}");
}

#[test]
fn over_a_bridge_and_its_port_all_is_heard_once_and_what_only_passes_too() {
    if !is_heard() {
        return;
    }
    let middle = namespace(254);
    let nodes: Vec<_> = (1..=2)
        .map(|last| {
            let node = NetNamespace::create().expect("the trial could");
            let address = Ipv4Addr::new(10, 79, 0, last).into();
            let length = 24;
            let name = format!("n{last}");
            join_bridge(&middle, "br0", &name, &node, Prefixed { address, length })
                .expect("a link");
            node
        })
        .collect();
    let server = Server::start(&nodes[0], Ipv4Addr::new(10, 79, 0, 1).into());
    let mut tap = listen(&middle);
    for (id, from) in [(1, &middle), (2, &nodes[1])] {
        let socket = bind(from, (Ipv4Addr::UNSPECIFIED, 0).into());
        let asked = query(id, "db.test.", RecordType::A);
        // Neighbours may have to be found first, and what waits for that comes, too.
        for _ in 0..2 {
            ask(&socket, server.at, &asked, true);
        }
        let heard = hear(&mut tap);
        let expected = [(false, id), (true, id)].repeat(2);
        assert_eq!(ids(&heard), expected, "{heard:?}");
        let last = if id == 1 { 254 } else { 2 };
        let local = IpAddr::from([10, 79, 0, last]);
        assert!(heard.iter().all(|dns| dns.local.ip() == local), "{heard:?}");
    }
    assert_eq!(tap.dropped(), 0);
}

#[test]
fn what_was_not_taken_in_time_is_counted() {
    if !is_heard() {
        return;
    }
    let here = namespace(1);
    let mut tap = listen(&here);
    let socket = bind(&here, (Ipv4Addr::UNSPECIFIED, 0).into());
    let sent = 40_000;
    for id in 0..sent {
        let asked = query(id, "silent.test.", RecordType::A);
        let there = (Ipv4Addr::LOCALHOST, PORT);
        socket.send_to(&asked, there).expect("there is a way");
    }
    let heard = hear(&mut tap).len();
    let dropped = tap.dropped();
    assert!(heard > 1000, "{heard}");
    assert_eq!(heard as u64 + dropped, u64::from(sent));
    assert_eq!(tap.dropped(), dropped, "it is the same when asked again");
    ask(
        &socket,
        (Ipv4Addr::LOCALHOST, PORT).into(),
        &query(1, "silent.test.", RecordType::A),
        false,
    );
    assert_eq!(ids(&hear(&mut tap)), [(false, 1)], "there is room again");
}
