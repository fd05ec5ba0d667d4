//! Whoever has a cgroup of its own among others in a network namespace, for tests.
//!
//! A test file that has it as `mod talker;` says `mod crew;`, `mod harness;` and `mod wire;` before it.
#![allow(dead_code, reason = "each test file uses its own part")]

use murphy_sys::namespace::NetNamespace;

use crate::{
    crew::{Cgroup, Pair, wait_for_sleep},
    harness::{Guard, Running, say_skipped},
    wire::{address, bind},
};

/// Sockets towards node 2, of both families.
pub const TO_PEER: &str = "3<>/dev/udp/10.78.0.2/9 4<>/dev/udp/fd78::2/9";

/// Somebody in a cgroup of its own, with a socket of each family, as descriptors 3 and 4.
pub struct Talker {
    pub running: Running,
    pub cgroup: Cgroup,
}

impl Talker {
    /// One in a namespace; none, with the reason, where there are no cgroups of its kind.
    pub fn start(
        guard: &Guard,
        namespace: &NetNamespace,
        ending: &str,
        sockets: &str,
    ) -> Option<Self> {
        let Some(cgroup) = Cgroup::make(&guard.name(ending)) else {
            say_skipped("no cgroups of version 2");
            return None;
        };
        let script = cgroup.with_sockets(sockets);
        let running = namespace
            .run(|| guard.victim(&script))
            .expect("a namespace");
        wait_for_sleep(running.pid());
        Some(Self { running, cgroup })
    }

    /// With a new socket at an address somewhere.
    pub fn pair(&self, is_v4: bool, (namespace, last): (&NetNamespace, Option<u8>)) -> Pair {
        let own = || {
            if is_v4 { "127.0.0.1" } else { "::1" }
                .parse()
                .expect("an address")
        };
        let at = last.map_or_else(own, |last| address(is_v4, last));
        let descriptor = if is_v4 { 3 } else { 4 };
        Pair::of(self.running.pid(), descriptor, bind((namespace, at)))
    }
}

impl Drop for Talker {
    fn drop(&mut self) {
        self.running.signal("KILL");
    }
}
