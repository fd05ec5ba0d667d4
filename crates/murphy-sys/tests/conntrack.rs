//! Where a connection really goes is known to conntrack of the namespace that translates it, and to no other.

mod pool;
mod wire;

use std::{
    fs,
    net::{IpAddr, SocketAddr, TcpListener, TcpStream},
};

use murphy_sys::{
    conntrack::{self, Conntrack, Ends},
    namespace::NetNamespace,
};
use pool::{rule_or_skip, say_skipped};
use wire::{Wire, address};

const BOTH: [bool; 2] = [true, false];
/// Where nobody is, and what is dialled there.
const NOBODY: u8 = 77;
const DIALLED: u16 = 80;

fn wire_or_skip() -> Option<Wire> {
    let made = [(); 2].map(|()| NetNamespace::create());
    let [a, b] = match made {
        [Ok(a), Ok(b)] => [a, b],
        [a, b] => {
            let error = a.err().or(b.err()).expect("one was not made");
            say_skipped(&error);
            return None;
        }
    };
    if let Err(error) = conntrack::trial(&a) {
        say_skipped(&error);
        return None;
    }
    Some(Wire::lay(a, b))
}

/// Has connections to nobody go to somewhere else; not, where there is no iptables.
fn translate_or_skip(namespace: &NetNamespace, dialled: SocketAddr, to: SocketAddr) -> Option<()> {
    let program = if to.is_ipv4() {
        "iptables"
    } else {
        "ip6tables"
    };
    let rule = format!(
        "-t nat -A OUTPUT -p tcp -d {} --dport {} -j DNAT --to-destination {to}",
        dialled.ip(),
        dialled.port()
    );
    rule_or_skip(namespace, program, &rule)
}

fn listen(namespace: &NetNamespace, at: IpAddr) -> (TcpListener, SocketAddr) {
    let bound = namespace.run(|| TcpListener::bind((at, 0)));
    let listener = bound.expect("it is there").expect("a socket");
    let at = listener.local_addr().expect("it is bound");
    (listener, at)
}

fn connect(namespace: &NetNamespace, to: SocketAddr) -> TcpStream {
    let made = namespace.run(|| TcpStream::connect(to));
    made.expect("it is there").expect("somebody listens")
}

fn ends(stream: &TcpStream) -> Ends {
    Ends::new(
        stream.local_addr().expect("it is bound"),
        stream.peer_addr().expect("it is connected"),
    )
}

fn tracked(namespace: &NetNamespace) -> String {
    let read = || fs::read_to_string("/proc/sys/net/netfilter/nf_conntrack_count");
    let count = namespace.run(read).expect("it is there");
    count.expect("it is tracked there").trim().to_owned()
}

#[test]
fn a_connection_goes_where_its_namespace_translates_it_to() {
    let Some(wire) = wire_or_skip() else {
        return;
    };
    for is_v4 in BOTH {
        let dialled = SocketAddr::new(address(is_v4, NOBODY), DIALLED);
        let (listener, really) = listen(&wire.b, address(is_v4, 2));
        if translate_or_skip(&wire.a, dialled, really).is_none() {
            return;
        }
        let asking = connect(&wire.a, dialled);
        let (_answering, from) = listener.accept().expect("it was asked");
        let ends = ends(&asking);
        assert_eq!(ends.to, dialled, "its socket knows of nothing");
        let mut here = Conntrack::within(&wire.a).expect("the trial could");
        let expected = Ends {
            from,
            to: SocketAddr::new(really.ip(), really.port()),
        };
        assert_eq!(here.translated(ends).expect("it answers"), Some(expected));
        // What goes straight there is tracked, too, and is what it is.
        let straight = connect(&wire.a, really);
        let straight = self::ends(&straight);
        assert_eq!(here.translated(straight).unwrap(), Some(straight));
        // Nobody has such a connection, nor does it exist from the other side.
        let nobody = Ends {
            from: SocketAddr::new(ends.from.ip(), 1),
            ..ends
        };
        assert_eq!(here.translated(nobody).unwrap(), None);
        let back = Ends {
            from: expected.to,
            to: expected.from,
        };
        assert_eq!(here.translated(back).unwrap(), None, "who answers");
        let mut there = Conntrack::within(&wire.b).expect("the trial could");
        assert_eq!(there.translated(ends).unwrap(), None, "elsewhere");
        // What has ended is known a while longer.
        drop(asking);
        assert_eq!(here.translated(ends).unwrap(), Some(expected));
    }
}

#[test]
fn where_nothing_is_tracked_nothing_is_known_and_asking_does_not_change_that() {
    let Some(wire) = wire_or_skip() else {
        return;
    };
    let mut conntrack = Conntrack::within(&wire.a).expect("the trial could");
    for is_v4 in BOTH {
        let (_listener, at) = listen(&wire.b, address(is_v4, 2));
        let asking = connect(&wire.a, at);
        assert_eq!(conntrack.translated(ends(&asking)).unwrap(), None);
    }
    conntrack::trial(&wire.a).expect("it answered before");
    // A connection after all that is not tracked, either.
    let (_listener, at) = listen(&wire.b, address(true, 2));
    let _asking = connect(&wire.a, at);
    assert_eq!(tracked(&wire.a), "0");
}
