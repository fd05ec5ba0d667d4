//! Traffic control against the real kernel: numbered datagrams prove what each qdisc does. Skipped, with the reason,
//! where the kernel lacks something.
#![allow(
    clippy::print_stdout,
    reason = "a test that fails shows what it measured"
)]

mod fault;
mod identity;
mod lab;
mod loss;
mod program;
mod time;
