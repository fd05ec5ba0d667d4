use nix::errno::Errno;

use super::*;
use crate::netlink;

#[test]
fn handles_are_written_as_tc_writes_them() {
    let handle = Handle::qdisc(0x4d);
    for (handle, text) in [
        (handle, "4d:"),
        (handle.class(0x1f), "4d:1f"),
        (Handle::ROOT, "root"),
        (Handle::CLSACT, "ffff:"),
        (Handle::INGRESS, "ingress"),
        (Handle::EGRESS, "egress"),
    ] {
        assert_eq!(handle.to_string(), text);
    }
    assert_eq!(u32::from(TcHandle::from(handle.class(2))), 0x4d_0002);
}

#[test]
fn packets_are_counted_in_64_bits_where_the_kernel_does() {
    let long = |kind, value: u64| DefaultNla::new(kind, value.to_ne_bytes().into());
    let basic = [&7_u64.to_ne_bytes()[..], &5_u32.to_ne_bytes(), &[0; 4]].concat();
    let queue = exchange::numbers(&[1, 2, 3, 4, 5]);
    let parts = [DefaultNla::new(1, basic), DefaultNla::new(3, queue)];
    let with = |parts: &[DefaultNla]| {
        Statistics::read(&netlink::emitted(&[DefaultNla::new(
            STATS2,
            netlink::emitted(parts),
        )]))
    };
    let wanted = Statistics {
        bytes: 7,
        packets: 5,
        queued: 1,
        backlog_bytes: 2,
        drops: 3,
        requeues: 4,
        overlimits: 5,
    };
    assert_eq!(with(&parts), wanted);
    let [basic, queue] = parts;
    let packets = (1 << 32) + 5;
    assert_eq!(
        with(&[basic, long(8, packets), queue]),
        Statistics { packets, ..wanted }
    );
    assert_eq!(Statistics::read(&[]), Statistics::default());
}

#[test]
fn an_identity_says_where() {
    let id = QdiscId {
        place: Place {
            ifindex: 3,
            parent: Handle::qdisc(1).class(2),
            handle: Handle::qdisc(2),
        },
        kind: "netem".into(),
    };
    assert_eq!(id.to_string(), "the qdisc netem 2: below 1:2 of link 3");
}

#[test]
fn a_refusal_reads_on_after_failed_to() {
    let refused = |said: Option<&str>| QdiscError::Refused {
        action: "add",
        object: "the qdisc netem 1: as the root of link 3".into(),
        errno: Errno::ENOENT,
        said: said.map(str::to_owned),
    };
    assert_eq!(
        refused(Some("Specified qdisc kind is unknown.")).to_string(),
        "add the qdisc netem 1: as the root of link 3: ENOENT: No such file or directory (Specified qdisc kind is \
         unknown)"
    );
    assert!(refused(None).to_string().ends_with("directory"));
}
