//! Programs of somebody else's at the same hooks: what they refuse stays refused, and what they choose is chosen.

use std::{
    ffi::CString,
    net::TcpListener,
    os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd},
    ptr,
};

use murphy_sys::{
    refusal::{Counts, Refusal, Who},
    traffic::ALWAYS,
};

use crate::{
    ends::{
        Client, PORT, counted, itself, lay_to_accept, lay_to_open, order, order_to_server, serve,
        serve_at,
    },
    opened::{ask_from, cgroup},
};

/// One instruction of BPF: its code, destination, source, offset and number.
fn instruction(code: u8, destination: u8, source: u8, offset: i16, number: i32) -> u64 {
    let registers = u64::from(source << 4 | destination);
    u64::from(code)
        | registers << 8
        | u64::from(offset.cast_unsigned()) << 16
        | u64::from(number.cast_unsigned()) << 32
}

/// Loads a program and attaches it as long as the result is held.
fn attach(
    kind: libbpf_sys::bpf_prog_type,
    hook: libbpf_sys::bpf_attach_type,
    instructions: &[u64],
    to: impl AsFd,
) -> OwnedFd {
    let license = CString::new("GPL").unwrap();
    // SAFETY: a description of zeros asks for nothing; the instructions and the names live until the call returns.
    let program = unsafe {
        let mut options: libbpf_sys::bpf_prog_load_opts = std::mem::zeroed();
        options.sz = size_of_val(&options) as u64;
        options.expected_attach_type = hook;
        libbpf_sys::bpf_prog_load(
            kind,
            ptr::null(),
            license.as_ptr(),
            instructions.as_ptr().cast(),
            instructions.len() as u64,
            &raw mut options,
        )
    };
    let program = owned(program);
    let to = to.as_fd().as_raw_fd();
    // SAFETY: both descriptors are open, and no options are given.
    let link = unsafe { libbpf_sys::bpf_link_create(program.as_raw_fd(), to, hook, ptr::null()) };
    owned(link)
}

fn owned(descriptor: i32) -> OwnedFd {
    assert!(descriptor >= 0, "the kernel says {descriptor}");
    // SAFETY: the descriptor was just made and is nobody else's.
    unsafe { OwnedFd::from_raw_fd(descriptor) }
}

/// Has every call of `connect()` in a cgroup fail.
fn deny(cgroup: impl AsFd) -> OwnedFd {
    attach(
        libbpf_sys::BPF_PROG_TYPE_CGROUP_SOCK_ADDR,
        libbpf_sys::BPF_CGROUP_INET4_CONNECT,
        // r0 = 0; exit
        &[instruction(0xb7, 0, 0, 0, 0), instruction(0x95, 0, 0, 0, 0)],
        cgroup,
    )
}

/// Hands every connection that a namespace is asked for to one listener.
fn steer(namespace: impl AsFd, listener: &TcpListener) -> (OwnedFd, OwnedFd) {
    // SAFETY: there are no options, and no name.
    let map = owned(unsafe {
        libbpf_sys::bpf_map_create(
            libbpf_sys::BPF_MAP_TYPE_SOCKMAP,
            ptr::null(),
            4,
            8,
            1,
            ptr::null(),
        )
    });
    let (key, value) = (0_u32, u64::try_from(listener.as_raw_fd()).unwrap());
    // SAFETY: key and value are as long as the map was made for, and live until the call returns.
    let put = unsafe {
        let (key, value) = ((&raw const key).cast(), (&raw const value).cast());
        libbpf_sys::bpf_map_update_elem(map.as_raw_fd(), key, value, 0)
    };
    assert_eq!(put, 0);
    let link = attach(
        libbpf_sys::BPF_PROG_TYPE_SK_LOOKUP,
        libbpf_sys::BPF_SK_LOOKUP,
        &[
            // r6 = the context; a key of zeros on the stack
            instruction(0xbf, 6, 1, 0, 0),
            instruction(0x62, 10, 0, -4, 0),
            instruction(0xbf, 2, 10, 0, 0),
            instruction(0x07, 2, 0, 0, -4),
            instruction(0x18, 1, 1, 0, map.as_raw_fd()),
            instruction(0, 0, 0, 0, 0),
            // r7 = bpf_map_lookup_elem(map, key), or leave
            instruction(0x85, 0, 0, 0, 1),
            instruction(0x15, 0, 0, 7, 0),
            instruction(0xbf, 7, 0, 0, 0),
            // bpf_sk_assign(context, r7, 0)
            instruction(0xbf, 1, 6, 0, 0),
            instruction(0xbf, 2, 7, 0, 0),
            instruction(0xb7, 3, 0, 0, 0),
            instruction(0x85, 0, 0, 0, 124),
            // bpf_sk_release(r7)
            instruction(0xbf, 1, 7, 0, 0),
            instruction(0x85, 0, 0, 0, 86),
            // return SK_PASS
            instruction(0xb7, 0, 0, 0, 1),
            instruction(0x95, 0, 0, 0, 0),
        ],
        namespace,
    );
    (map, link)
}

#[test]
fn what_somebody_else_refuses_stays_refused_and_is_not_counted() {
    let Some(wire) = lay_to_open() else { return };
    serve(&wire.b, PORT);
    let group = cgroup();
    let directory = std::fs::File::open(&group.directory).unwrap();
    let theirs = deny(&directory);
    for chance in [0, ALWAYS] {
        let ours = Refusal::opened(Who::Group(&group.directory), &order(chance)).unwrap();
        assert_eq!(ask_from(&group, &wire.a, 3), ["not permitted"; 3]);
        assert_eq!(counted(&ours), (0, 0));
    }
    drop(theirs);
    let ours = Refusal::opened(Who::Group(&group.directory), &order(ALWAYS)).unwrap();
    let _theirs = deny(&directory);
    assert_eq!(ask_from(&group, &wire.a, 3), ["refused"; 3]);
    assert_eq!(counted(&ours), (3, 3));
}

#[test]
fn two_refusals_add_up_and_each_counts_its_own() {
    let Some(wire) = lay_to_open() else { return };
    serve(&wire.b, PORT);
    let seeds = [7, 8].map(|seed| {
        let mut order = order(ALWAYS / 2);
        order.seed = seed;
        Refusal::opened(Who::Namespace(&wire.a), &order).unwrap()
    });
    let refused = Client::afar(&wire, true).refused_of(400);
    let [first, second] = seeds.each_ref().map(counted);
    assert_eq!(first.0, 400);
    assert_eq!(second.0, 400 - first.1, "those that were left");
    assert_eq!(refused, first.1 + second.1);
    assert!((250..350).contains(&refused), "{refused}");
}

#[test]
fn who_has_a_socket_chosen_for_him_is_not_refused_but_counted() {
    let Some(wire) = lay_to_accept() else { return };
    let listen = || TcpListener::bind((itself(true), PORT)).unwrap();
    let listener = wire.b.run(listen).unwrap();
    serve_at(listener.try_clone().unwrap());
    let near = Client::near(&wire, true);
    let theirs = steer(&wire.b, &listener);
    let ours = Refusal::accepted(&wire.b, &order_to_server(ALWAYS)).unwrap();
    assert_eq!(near.refused_of(20), 0);
    let expected = Counts {
        seen: 20,
        refused: 0,
        steered: 20,
    };
    assert_eq!(ours.counts().unwrap(), expected);
    drop(theirs);
    assert_eq!(near.refused_from(21_000..21_020).len(), 20);
}
