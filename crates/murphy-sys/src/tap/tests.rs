use super::*;
use crate::{
    clock::monotonic_ns,
    pump::{Bell, Wait, WaitError},
};
use std::{
    io::{Read, Write},
    net::{Ipv4Addr, Shutdown, TcpListener, TcpStream, UdpSocket},
    time::Duration,
};

/// Where the frame begins, and in it the destination, the protocol and the address that IPv4 sends to.
const ETHERNET: usize = HEADER_BYTES;
const IPV4: usize = ETHERNET + 14;

fn namespace() -> Option<NetNamespace> {
    match trial() {
        Ok(()) => Some(NetNamespace::create().unwrap()),
        Err(error) => {
            // Past the capture of the test runner, so that it is counted.
            let _ = writeln!(io::stderr(), "skipped: {error}");
            None
        }
    }
}

fn tap(namespace: &NetNamespace, frames: Frames) -> Tap {
    Tap::create(namespace, "mphy-00f00d-e", frames, 1500).unwrap()
}

/// Sends a request of the same kind as those of the module, within the namespace.
fn within(namespace: &NetNamespace, code: libc::Ioctl, request: libc::ifreq) -> libc::ifreq {
    struct Sent(libc::ifreq);
    // SAFETY: requests about addresses hold no pointer.
    unsafe impl Send for Sent {}
    let sent = Sent(request);
    let answer = namespace.run(move || {
        let mut sent = sent;
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
        control(&socket.into(), code, &mut sent.0).unwrap();
        sent
    });
    answer.unwrap().0
}

/// Gives a tap an address; all that begins with the same byte is behind it then.
fn give_address(namespace: &NetNamespace, tap: &Tap, address: Ipv4Addr) {
    let mut asked = request(tap.name());
    let mut data = [0; 14];
    for (to, octet) in data[2..6].iter_mut().zip(address.octets()) {
        *to = octet.cast_signed();
    }
    asked.ifr_ifru.ifru_addr = libc::sockaddr {
        sa_family: libc::AF_INET.try_into().unwrap(),
        sa_data: data,
    };
    within(namespace, libc::SIOCSIFADDR, asked);
}

fn hardware_address(namespace: &NetNamespace, tap: &Tap) -> [u8; 6] {
    let answer = within(namespace, libc::SIOCGIFHWADDR, request(tap.name()));
    // SAFETY: the kernel has just written this member of the union.
    let data = unsafe { answer.ifr_ifru.ifru_hwaddr.sa_data };
    std::array::from_fn(|at| data[at].cast_unsigned())
}

/// Waits for a frame, for some seconds at most.
fn next(tap: &Tap, buffer: &mut [u8]) -> Option<usize> {
    let bell = Bell::new().unwrap();
    let mut wait = Wait::new(&bell, [tap.as_fd()]).unwrap();
    let deadline_ns = monotonic_ns() + 5_000_000_000;
    while monotonic_ns() < deadline_ns {
        if let Some(length) = tap.read(buffer).unwrap() {
            return Some(length);
        }
        wait.until(Some(deadline_ns)).unwrap();
    }
    None
}

#[test]
fn what_is_sent_on_it_is_read_and_what_is_written_comes_in() {
    let Some(namespace) = namespace() else {
        return;
    };
    let tap = tap(&namespace, Frames::Large);
    let (own, peer) = (Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 2));
    give_address(&namespace, &tap, own);
    let socket = namespace.run(|| UdpSocket::bind((own, 5000)).unwrap());
    let socket = socket.unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(5)))
        .unwrap();
    socket.send_to(b"there", (peer, 5000)).unwrap();
    let mut frame = vec![0; FRAME_BYTES_MAX];
    let length = next(&tap, &mut frame).unwrap();
    // Ethernet, IPv4 and UDP without options.
    assert_eq!(length, IPV4 + 20 + 8 + 5);
    assert_eq!(&frame[IPV4 - 2..IPV4], [8, 0]);
    assert_eq!(&frame[IPV4 + 12..IPV4 + 20], [10, 0, 0, 1, 10, 0, 0, 2]);
    assert_eq!(&frame[IPV4 + 28..length], b"there");
    // Back it goes from the peer, to whoever has no neighbours to ask: the checksum is the same either way.
    frame[IPV4 + 12..IPV4 + 20].rotate_left(4);
    tap.write(&frame[..length]).unwrap();
    let mut heard = [0; 16];
    let (length, from) = socket.recv_from(&mut heard).unwrap();
    assert_eq!(
        (&heard[..length], from),
        (&b"there"[..], (peer, 5000).into())
    );
    assert_eq!(tap.drops().unwrap(), Drops::default());
}

#[test]
fn nothing_is_read_unasked() {
    let Some(namespace) = namespace() else {
        return;
    };
    let tap = tap(&namespace, Frames::Large);
    let bell = Bell::new().unwrap();
    let mut wait = Wait::new(&bell, [tap.as_fd()]).unwrap();
    let until_ns = monotonic_ns() + 1_100_000_000;
    while monotonic_ns() < until_ns {
        wait.until(Some(until_ns)).unwrap();
        assert_eq!(tap.read(&mut [0; 2048]).unwrap(), None);
    }
}

#[test]
fn it_goes_with_its_descriptor() {
    let Some(namespace) = namespace() else {
        return;
    };
    let names = || {
        let text = namespace.run(|| fs::read_to_string("/proc/thread-self/net/dev").unwrap());
        text.unwrap()
    };
    let tap = tap(&namespace, Frames::Wire);
    let (name, index) = (tap.name().to_owned(), tap.index());
    assert!(names().contains(&name));
    assert!(index > 1, "the loopback is the first");
    let error = Tap::create(&namespace, &name, Frames::Wire, 1500).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("there is an interface of that name"),
        "{error}"
    );
    drop(tap);
    assert!(!names().contains(&name));
}

#[test]
fn one_that_is_deleted_is_said_to_be_gone_and_not_waited_for() {
    let Some(namespace) = namespace() else {
        return;
    };
    let tap = tap(&namespace, Frames::Wire);
    let deleted = namespace.run(|| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        runtime.unwrap().block_on(async {
            let (connection, handle, _) = rtnetlink::new_connection().unwrap();
            tokio::spawn(connection);
            handle.link().del(tap.index()).execute().await
        })
    });
    deleted.unwrap().unwrap();
    let bell = Bell::new().unwrap();
    let mut wait = Wait::new(&bell, [tap.as_fd()]).unwrap();
    let error = wait.until(None).unwrap_err();
    assert!(matches!(error, WaitError::Gone { place: 0 }), "{error}");
    let error = tap.read(&mut [0; 2048]).unwrap_err();
    assert!(error.to_string().contains(tap.name()), "{error}");
    assert!(tap.write(&[0; 64]).is_err() && tap.drops().is_err());
}

#[test]
fn what_is_missing_is_said() {
    let open = |errno: Errno| {
        let source = errno.into();
        TapError::Open { source }.to_string()
    };
    assert!(open(Errno::NOENT).contains("mknod"));
    assert!(open(Errno::ACCESS).contains("permission"));
    assert!(open(Errno::NODEV).contains("CONFIG_TUN"));
    let (name, source) = ("mphy-1".into(), Errno::PERM.into());
    let error = TapError::Create { name, source }.to_string();
    assert!(
        error.contains("mphy-1") && error.contains("CAP_NET_ADMIN"),
        "{error}"
    );
}

#[test]
fn a_name_that_the_kernel_would_change_is_refused() {
    let Some(namespace) = namespace() else {
        return;
    };
    for name in ["", "mphy-%d", "../../all", "mphy 1", "mphy-00f00d-toolong"] {
        let error = Tap::create(&namespace, name, Frames::Wire, 1500).unwrap_err();
        assert!(matches!(error, TapError::Name(_)), "{error}");
    }
}

#[test]
fn the_overflow_of_its_ring_is_counted() {
    let Some(namespace) = namespace() else {
        return;
    };
    let tap = tap(&namespace, Frames::Large);
    give_address(&namespace, &tap, Ipv4Addr::new(10, 0, 0, 1));
    let socket = namespace
        .run(|| UdpSocket::bind("10.0.0.1:0").unwrap())
        .unwrap();
    socket.connect("10.0.0.2:9").unwrap();
    let sent = u64::try_from(RING_FRAMES).unwrap() + 1000;
    let told: u64 = (0..sent)
        .map(|_| u64::from(socket.send(&[0; 8]).is_err()))
        .sum();
    let mut read = 0;
    while tap.read(&mut [0; 2048]).unwrap().is_some() {
        read += 1;
    }
    let drops = tap.drops().unwrap();
    assert!(drops.tx_frames + told > 0, "{sent} were sent, {read} read");
    assert!(
        read + drops.tx_frames + told >= sent,
        "{read} read, {drops:?}, {told} told"
    );
    assert_eq!(drops.rx_frames, 0);
}

/// What two taps carried for a stream of TCP.
#[derive(Debug, Default)]
struct Carried {
    frames: u64,
    longest: usize,
    unfinished: u64,
}

/// Sends `bytes` bytes by TCP from one namespace to the other, over two taps whose frames are carried by hand.
fn carry(frames: Frames, bytes: usize) -> Option<Carried> {
    let namespaces = [namespace()?, NetNamespace::create().unwrap()];
    let taps = [tap(&namespaces[0], frames), tap(&namespaces[1], frames)];
    let address = |at: u8| Ipv4Addr::new(10, 0, 0, at);
    give_address(&namespaces[0], &taps[0], address(1));
    give_address(&namespaces[1], &taps[1], address(2));
    let hardware = [0, 1].map(|at| hardware_address(&namespaces[at], &taps[at]));
    let bell = Bell::new().unwrap();
    let data: Vec<u8> = (0_u8..251).cycle().take(bytes).collect();
    let listener = namespaces[1].run(|| TcpListener::bind((address(2), 5000)).unwrap());
    let listener = listener.unwrap();
    std::thread::scope(|scope| {
        let carrying = scope.spawn(|| carry_all(&taps, hardware, &bell));
        let receiver = scope.spawn(|| {
            let mut heard = Vec::new();
            listener
                .accept()
                .unwrap()
                .0
                .read_to_end(&mut heard)
                .unwrap();
            heard
        });
        let sender = namespaces[0].run(|| TcpStream::connect((address(2), 5000)).unwrap());
        let mut sender = sender.unwrap();
        sender.write_all(&data).unwrap();
        sender.shutdown(Shutdown::Write).unwrap();
        let heard = receiver.join().unwrap();
        bell.ring();
        let carried = carrying.join().unwrap();
        // They are too long to be shown.
        assert!(heard == data, "{} of {} bytes", heard.len(), data.len());
        Some(carried)
    })
}

/// Carries frames from each tap to the other until the bell rings.
fn carry_all(taps: &[Tap; 2], hardware: [[u8; 6]; 2], bell: &Bell) -> Carried {
    let mut wait = Wait::new(bell, taps.iter().map(AsFd::as_fd)).unwrap();
    let mut buffer = vec![0; FRAME_BYTES_MAX];
    let mut carried = Carried::default();
    while !wait.has_rung() {
        wait.until(None).unwrap();
        for (from, to) in [(0, 1), (1, 0)] {
            while let Some(length) = taps[from].read(&mut buffer).unwrap() {
                // There are no neighbours to ask, so each tap believes that it speaks to itself.
                buffer[ETHERNET..ETHERNET + 6].copy_from_slice(&hardware[to]);
                taps[to].write(&buffer[..length]).unwrap();
                carried.frames += 1;
                carried.longest = carried.longest.max(length);
                carried.unfinished += u64::from(buffer[0] != 0 || buffer[1] != 0);
            }
        }
    }
    carried
}

#[test]
fn large_frames_survive_being_read_and_written_back() {
    let Some(carried) = carry(Frames::Large, 64 << 20) else {
        return;
    };
    assert!(carried.longest > 60_000, "{carried:?}");
    assert!(carried.unfinished > 0, "{carried:?}");
}

#[test]
fn frames_of_a_wire_are_whole_and_short() {
    let Some(carried) = carry(Frames::Wire, 4 << 20) else {
        return;
    };
    assert_eq!(carried.longest, HEADER_BYTES + 14 + 1500);
    assert_eq!(carried.unfinished, 0, "{carried:?}");
}

#[test]
fn counters_are_found_by_name() {
    let text = "Inter-|   Receive                |  Transmit\n \
        face |bytes packets errs drop fifo frame compressed multicast|bytes packets errs drop fifo colls carrier compressed\n    \
        lo:     1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\n  \
        lo2:    1 2 3 40 5 6 7 8 9 10 11 120 13 14 15 16\n";
    let drops = |rx_frames, tx_frames| {
        Some(Drops {
            rx_frames,
            tx_frames,
        })
    };
    assert_eq!(drops_of(text, "lo"), drops(4, 12));
    assert_eq!(drops_of(text, "lo2"), drops(40, 120));
    assert_eq!(drops_of(text, "lo3"), None);
}
