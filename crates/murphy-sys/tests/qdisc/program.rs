//! A BPF program without a compiler.

use std::{
    os::fd::{FromRawFd, OwnedFd},
    ptr,
};

use nix::errno::Errno;

/// A BPF program that returns one number for packets of more bytes than some, and another for the rest.
pub fn longer_than(bytes: i32, then: i32, otherwise: i32) -> OwnedFd {
    let instruction = |code: u8, registers: u8, jump: i16, value: i32| {
        let [jump0, jump1] = jump.to_ne_bytes();
        let [value0, value1, value2, value3] = value.to_ne_bytes();
        let bytes = [
            code, registers, jump0, jump1, value0, value1, value2, value3,
        ];
        u64::from_ne_bytes(bytes)
    };
    let program = [
        // r2 = skb->len; if r2 > bytes goto +2; r0 = otherwise; exit; r0 = then; exit
        instruction(0x61, 0x12, 0, 0),
        instruction(0x25, 0x02, 2, bytes),
        instruction(0xb7, 0x00, 0, otherwise),
        instruction(0x95, 0x00, 0, 0),
        instruction(0xb7, 0x00, 0, then),
        instruction(0x95, 0x00, 0, 0),
    ];
    // SAFETY: an instruction is of eight bytes, aligned to four; there are as many as said, which live longer than the
    // call; both texts end with a zero; no options are a null pointer.
    let fd = unsafe {
        libbpf_sys::bpf_prog_load(
            libbpf_sys::BPF_PROG_TYPE_SCHED_CLS,
            c"longer".as_ptr(),
            c"Dual BSD/GPL".as_ptr(),
            program.as_ptr().cast(),
            program.len() as u64,
            ptr::null_mut(),
        )
    };
    assert!(fd >= 0, "{}", Errno::from_raw(-fd));
    // SAFETY: the kernel has just given it to us, and nobody else knows it.
    unsafe { OwnedFd::from_raw_fd(fd) }
}
