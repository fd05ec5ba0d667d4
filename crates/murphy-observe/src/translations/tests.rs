use std::{
    io::{Write, stderr},
    net::{TcpListener, TcpStream},
    process::Command,
    sync::Arc,
    time::Duration,
};

use murphy_fault::conn::Side;
use murphy_sys::{
    conntrack,
    link::{Prefixed, add_bridge, join_bridge},
};

use super::{
    actual::ENDS_MAX,
    asking::{AGAIN_AFTER, ASKED_MAX},
    *,
};

fn edge(container: &str, port: u16) -> Edge {
    Edge {
        container: Arc::from(container),
        side: Side::Opened,
        peer: [10, 96, 0, 1].into(),
        port,
    }
}

fn end(port: u16) -> SocketAddr {
    SocketAddr::from(([10, 1, 2, 3], port))
}

fn made(port: u16) -> Made {
    Made {
        namespace: 1,
        ends: Ends::new(end(port), SocketAddr::from(([10, 96, 0, 1], 80))),
    }
}

#[test]
fn the_last_eight_ends_are_kept_and_that_there_were_more() {
    let (mut actual, edge) = (Actual::default(), edge("web", 80));
    assert_eq!(actual.ends(&edge), []);
    for port in [1, 2, 1] {
        actual.see(end(port));
    }
    assert_eq!(actual.ends(&edge), [end(1), end(2)]);
    for port in 3..=8 {
        actual.see(end(port));
    }
    assert_eq!(actual.ends(&edge).len(), ENDS_MAX);
    assert!(!actual.has_others());
    for port in 9..1000 {
        actual.see(end(port));
    }
    let last: Vec<SocketAddr> = (992..1000).rev().map(end).collect();
    assert_eq!(actual.ends(&edge), last);
    assert!(actual.has_others());
}

#[test]
fn where_nothing_is_translated_there_is_no_other_end() {
    let (mut actual, edge) = (Actual::default(), edge("web", 80));
    let dialled = SocketAddr::new(edge.peer, edge.port);
    actual.see(dialled);
    assert_eq!(actual.ends(&edge), []);
    actual.see(end(8080));
    assert_eq!(actual.ends(&edge), [end(8080), dialled], "some are");
}

#[test]
fn each_is_asked_for_as_long_as_there_is_room_and_then_one_of_each_edge_in_turn() {
    let (mut asking, began) = (Asking::default(), Instant::now());
    let (busy, quiet) = (edge("busy", 80), edge("quiet", 80));
    let some = |edge: &Edge, count: u32| (edge.clone(), vec![made(7); count as usize]);
    let count = |chosen: &[(Edge, Made)], edge: &Edge| {
        let all = chosen.iter().filter(|(of, _)| of == edge);
        u32::try_from(all.count()).unwrap()
    };
    let chosen = asking.choose([some(&busy, ASKED_MAX - 1)].into_iter(), began);
    assert_eq!(count(&chosen, &busy), ASKED_MAX - 1);
    // There is room for one more; those of whom some were asked for just now wait for nothing.
    let both = [some(&busy, 1000), some(&quiet, 2)];
    let chosen = asking.choose(both.into_iter(), began);
    assert_eq!((count(&chosen, &busy), count(&chosen, &quiet)), (1, 0));
    // Who waits comes first, however many others have come.
    let later = began + Duration::from_secs(1) / ASKED_MAX;
    let chosen = asking.choose([some(&busy, 1000)].into_iter(), later);
    assert_eq!((count(&chosen, &busy), count(&chosen, &quiet)), (0, 1));
    // In a minute no more than as many as there is room for are asked for, and each edge has its turn.
    let edges: Vec<Edge> = (0..1000).map(|port| edge("many", port)).collect();
    let (mut asked, mut all) = (BTreeMap::<Edge, u32>::new(), 0);
    for step in 0..1200 {
        let now = later + Duration::from_millis(50) * step;
        let flood = edges.iter().map(|edge| some(edge, 4));
        for (edge, _) in asking.choose(flood, now) {
            *asked.entry(edge).or_default() += 1;
            all += 1;
        }
    }
    assert!(all <= 61 * ASKED_MAX, "{all}");
    assert_eq!(asked.len(), edges.len());
    let most = asked.values().max().unwrap();
    let seconds = 60 / u32::try_from(AGAIN_AFTER.as_secs()).unwrap();
    assert!(*most <= seconds + 4, "{most}");
}

#[test]
fn what_is_gone_is_forgotten() {
    let (mut asking, now) = (Asking::default(), Instant::now());
    let (gone, there) = (edge("gone", 80), edge("there", 80));
    let flood = |edge: &Edge| (edge.clone(), vec![made(7); 2 * ASKED_MAX as usize]);
    asking.choose([flood(&there)].into_iter(), now);
    asking.choose([flood(&gone)].into_iter(), now);
    asking.keep(|edge| *edge == there);
    let later = now + Duration::from_secs(1);
    assert_eq!(asking.choose([].into_iter(), later), []);
}

/// Runs a command in a namespace; whether it has done what it was to.
fn run(namespace: &NetNamespace, words: &str) -> bool {
    let (program, words) = words.split_once(' ').unwrap();
    let ran = namespace.run(|| Command::new(program).args(words.split(' ')).output());
    let output = ran.unwrap();
    output.is_ok_and(|output| output.status.success())
}

/// Whoever asks, whoever forwards that, and whoever answers.
fn lay_or_skip() -> Option<[NetNamespace; 3]> {
    let skipped = |what: &str| {
        let _ = writeln!(stderr(), "skipped: {what}");
        None
    };
    let [Ok(client), Ok(host), Ok(server)] = [(); 3].map(|()| NetNamespace::create()) else {
        return skipped("network namespaces");
    };
    if let Err(error) = conntrack::trial(&host) {
        return skipped(&error.to_string());
    }
    for (node, subnet) in [(&client, 1), (&server, 2)] {
        let bridge = format!("br{subnet}");
        let prefixed = |last| Prefixed {
            address: [10, 78, subnet, last].into(),
            length: 24,
        };
        add_bridge(&host, &bridge, prefixed(1)).unwrap();
        join_bridge(&host, &bridge, &format!("n{subnet}"), node, prefixed(2)).unwrap();
        if !run(node, &format!("ip route add default via 10.78.{subnet}.1")) {
            return skipped("ip route add");
        }
    }
    let forwarded = host.run(|| std::fs::write("/proc/sys/net/ipv4/ip_forward", "1"));
    forwarded.unwrap().unwrap();
    let rule =
        "iptables -w -t nat -A PREROUTING -p tcp -d 10.96.0.1 --dport 80 -j DNAT --to-destination";
    if !run(&host, &format!("{rule} 10.78.2.2:8080")) {
        return skipped("iptables -t nat");
    }
    Some([client, host, server])
}

#[test]
fn what_is_translated_where_a_connection_goes_through_is_known_of_it() {
    let Some([client, host, server]) = lay_or_skip() else {
        return;
    };
    let listener = server.run(|| TcpListener::bind("10.78.2.2:8080"));
    let listener = listener.unwrap().unwrap();
    let dialled: SocketAddr = "10.96.0.1:80".parse().unwrap();
    let asking = client.run(|| TcpStream::connect(dialled)).unwrap().unwrap();
    let _answering = listener.accept().unwrap();
    let (mut translations, why_not) = Translations::through(&host);
    assert_eq!(why_not, None);
    let inode = client.inode().unwrap();
    assert!(
        translations
            .sit_at(&BTreeMap::from([(inode, &client)]))
            .is_empty()
    );
    let edge = edge("web", 80);
    let made = Made {
        namespace: inode,
        ends: Ends::new(asking.local_addr().unwrap(), dialled),
    };
    let all = [(edge.clone(), vec![made])];
    let refused = translations.take(all.into_iter(), Instant::now());
    assert_eq!(refused, [] as [String; 0]);
    let really: SocketAddr = "10.78.2.2:8080".parse().unwrap();
    assert_eq!(translations.of(&edge).unwrap().ends(&edge), [really]);
    // What the client's own namespace translates comes before that, and both are followed.
    let rule =
        "iptables -w -t nat -A OUTPUT -p tcp -d 10.97.0.1 --dport 81 -j DNAT --to-destination";
    assert!(run(&client, &format!("{rule} {dialled}")));
    let first: SocketAddr = "10.97.0.1:81".parse().unwrap();
    let asking = client.run(|| TcpStream::connect(first)).unwrap().unwrap();
    let twice = Edge {
        peer: first.ip(),
        port: first.port(),
        ..edge.clone()
    };
    let made = Made {
        namespace: inode,
        ends: Ends::new(asking.local_addr().unwrap(), first),
    };
    translations.take([(twice.clone(), vec![made])].into_iter(), Instant::now());
    assert_eq!(translations.of(&twice).unwrap().ends(&twice), [really]);
    translations.keep(|there| *there == twice);
    assert!(translations.of(&edge).is_none());
}
