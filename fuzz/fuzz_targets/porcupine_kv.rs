//! Any bytes as a history of format `porcupine-kv`.
#![no_main]

#[path = "../../crates/murphy-check/tests/anything/mod.rs"]
#[allow(dead_code, reason = "one target uses one of its functions")]
mod anything;

use libfuzzer_sys::fuzz_target;
use murphy_check::formats::Format;

fuzz_target!(|bytes: &[u8]| anything::read_as(Format::PorcupineKv, bytes));
