//! The table of lines: which tests run in which kernel, and why there.
//!
//! A line is worth its time when its kernel, or what it is told at boot, takes another path through Murphy than the
//! machine does on which the suite runs.

/// One kernel, as it is booted once, and the tests that run in it.
pub struct Line {
    pub name: &'static str,
    /// As `labs/vm/run --kernel` takes it.
    pub kernel: &'static str,
    /// More words for the kernel's command line.
    pub append: &'static str,
    pub tests: &'static [Tests],
    pub why: &'static str,
}

/// Tests of one binary.
pub struct Tests {
    pub package: &'static str,
    /// The name of cargo's target.
    pub target: &'static str,
    /// Parts of the names of tests; all tests if there is none.
    pub filters: &'static [&'static str],
    /// Parts of the names of tests that are left out.
    pub without: &'static [&'static str],
}

impl Tests {
    /// The words that make a test binary run these.
    pub fn words(&self) -> impl Iterator<Item = &'static str> {
        let without = self.without.iter().flat_map(|name| ["--skip", name]);
        self.filters.iter().copied().chain(without)
    }
}

const SYS: Tests = Tests {
    package: "murphy-sys",
    target: "murphy_sys",
    filters: &[
        "vdso::",
        "tracee::",
        "memory::",
        "durable::",
        "family::",
        "tap::",
        "pump::",
        "nfqueue::",
    ],
    without: &["dns_tap::"],
};

/// Delay, loss and the like by qdiscs, which are modules of these kernels.
const QDISC: Tests = Tests {
    package: "murphy-sys",
    target: "qdisc",
    filters: &[],
    without: &[],
};

/// Disturbed packets: the programs, and what the binary does with them: by tcx, or by filters where there is none.
const TRAFFIC: Tests = Tests {
    package: "murphy-sys",
    target: "traffic",
    filters: &[],
    without: &[],
};
/// Of what works as it does on this machine, by the same hooks, what could differ by the kernel.
const NET: Tests = Tests {
    package: "murphy",
    target: "net",
    filters: &[
        "a_device_that_comes_later",
        "a_namespace_that_goes",
        "a_stopped_murphy",
        "anybody_recovers",
        "only_the_peer",
        "traffic_is_normal",
        "who_is_refused",
    ],
    without: &[],
};
const CABLE: Tests = Tests {
    package: "murphy",
    target: "net_cable",
    filters: &["a_stream", "two_delays", "traffic_is_normal"],
    without: &[],
};
/// Losses by cgroup, with sinks held by links or by filters.
const GROUP: Tests = Tests {
    package: "murphy-sys",
    target: "group",
    filters: &[],
    without: &[],
};
const NET_GROUP: Tests = Tests {
    package: "murphy",
    target: "net_group",
    filters: &[],
    without: &[],
};
/// What is another matter where filters hold the sinks, and the main of it where links do.
const NET_GROUP_IN_SHORT: Tests = Tests {
    filters: &[
        "a_third_is_lost",
        "when_murphy_is_killed",
        "it_is_paused_recovered",
        "a_launched_command_is_hit",
    ],
    ..NET_GROUP
};

/// The same by filters in place of tcx, but for what the tests of filters themselves show.
const NET_BY_FILTERS: Tests = Tests {
    package: "murphy",
    target: "net",
    filters: &[
        "a_device_that_comes_later",
        "only_the_peer",
        "who_is_refused",
    ],
    without: &[],
};
/// All that filters do in place of tcx; of netem, which has a line of its own, that its packets wait behind filters, too.
const FILTERS: Tests = Tests {
    package: "murphy",
    target: "net_filters",
    filters: &[
        "cls_bpf_loses_a_share",
        "cls_bpf_duplicates",
        "cls_bpf_delays",
        "cls_bpf_leaves_nothing",
        "by_a_tap_that_has_vanished",
        "a_filter_that_nobody_removes",
        "injections_by_filters",
        "a_clsact_and_filters",
        "netem_delays",
        "netem_and_its_programs_lose_a_share",
    ],
    without: &[],
};
/// Packets that wait in netem, which this machine may not have.
const NETEM: Tests = Tests {
    package: "murphy",
    target: "net_filters",
    filters: &["netem", "a_root_of_somebody_else"],
    without: &[],
};

/// The main of the same through queues of netfilter's, whose rules are in nftables' own words in these kernels.
const QUEUED: Tests = Tests {
    package: "murphy",
    target: "net_queue",
    filters: &["nothing_passes", "only_peers", "traffic_is_normal"],
    without: &[],
};

/// Single connections that are broken by programs at devices.
const FLOWS: Tests = Tests {
    package: "murphy-sys",
    target: "flows",
    filters: &[],
    without: &["stalls_a_connection_as_long_as"],
};
/// The same by filters: programs that a process holds need tcx.
const FLOWS_BY_FILTERS: Tests = Tests {
    without: &[
        "stalls_a_connection_as_long_as",
        "anybody_takes_the_programs",
        "nothing_is_left_of_whoever",
    ],
    ..FLOWS
};
/// New connections that are refused: that they are, and that nothing is left.
const REFUSAL: Tests = Tests {
    package: "murphy-sys",
    target: "refusal",
    filters: &["a_syn_that_is_sent_again", "an_ipv4_address", "life::"],
    without: &[],
};
const TCP_EVENTS: Tests = Tests {
    package: "murphy-sys",
    target: "tcp_events",
    filters: &[],
    without: &[],
};
const RETRANSMITS: Tests = Tests {
    package: "murphy-sys",
    target: "retransmits",
    filters: &[],
    without: &[],
};
/// DNS at sockets, whose namespace these kernels do not say.
const DNS_AT_SOCKETS: Tests = Tests {
    package: "murphy-sys",
    target: "dns_tap",
    filters: &["at_sockets"],
    without: &[],
};
/// Dropped packets with their reasons, which each kernel tells in its own way.
const DROPS: Tests = Tests {
    package: "murphy-sys",
    target: "drops",
    filters: &[],
    without: &[],
};
/// System calls, of which each kernel tells with its own types.
const SYSCALLS: Tests = Tests {
    package: "murphy-sys",
    target: "syscalls",
    filters: &[],
    without: &[],
};
/// The same with what is asked of what, by the kernel's own structures.
const CENSUS: Tests = Tests {
    package: "murphy-sys",
    target: "census",
    filters: &[],
    without: &["ten_million"],
};
/// Calls that fail at sockets of a cgroup, by helpers that each kernel gives to other programs.
const CGROUP_ERRORS: Tests = Tests {
    package: "murphy-sys",
    target: "cgroup_errors",
    filters: &[
        "are_told_apart",
        "as_many_fail",
        "only_a_family",
        "leaves_nothing",
    ],
    without: &[],
};
/// Calls that fail where the kernel asks its security modules, which the machine of the suite may let nobody do: the main of it.
const LSM_ERRORS: Tests = Tests {
    package: "murphy-sys",
    target: "lsm_errors",
    filters: &["each_call", "a_quarter", "children_fail", "is_killed"],
    without: &[],
};
/// The same where BPF is none of those.
const FMOD_ERRORS: Tests = Tests {
    filters: &["without_bpf_among_its_modules", "an_open_that_fails"],
    without: &[],
    ..LSM_ERRORS
};
/// Calls that fail by the code of running programs: written, kept and taken back.
const PATCH: Tests = Tests {
    package: "murphy-sys",
    target: "patch",
    filters: &["as_many_calls", "behind_its_deadline"],
    without: &[],
};
/// The main of it by the binary.
const SYSCALL: Tests = Tests {
    package: "murphy",
    target: "syscall",
    filters: &["children_carry"],
    without: &[],
};
/// Clocks that are asked of the kernel past the vDSO, which is one of another shape in each kernel.
const TIME_RAW: Tests = Tests {
    package: "murphy",
    target: "time_raw",
    filters: &["a_static_program"],
    without: &[],
};
/// The same by the binary, into programs that run.
const SYSCALL_ENGINES: Tests = Tests {
    package: "murphy",
    target: "syscall_engines",
    filters: &["as_often_as_asked", "children_fail", "errors_stop"],
    without: &[],
};
/// Where there is little time for it.
const SYSCALL_ENGINES_IN_SHORT: Tests = Tests {
    filters: &["as_often_as_asked"],
    ..SYSCALL_ENGINES
};
const SOCKET_ITERATOR: Tests = Tests {
    package: "murphy-sys",
    target: "socket_iterator",
    filters: &[],
    without: &[],
};
/// Where there is none: it comes with Linux 6.5.
const NO_SOCKET_ITERATOR: Tests = Tests {
    filters: &["a_kernel_that_has_it_not"],
    ..SOCKET_ITERATOR
};
/// What the binary does with all that. Hundreds of new connections each take minutes here; that all are refused is seen
/// where its Murphy is stopped.
const CONN: Tests = Tests {
    package: "murphy",
    target: "conn",
    filters: &["closed_ones", "only_what_a_process"],
    without: &[],
};
const CONN_WAYS: Tests = Tests {
    package: "murphy",
    target: "conn_ways",
    filters: &["the_iterator", "nothing_passes"],
    without: &[],
};
const CONN_WAYS_BY_FILTERS: Tests = Tests {
    filters: &[
        "reset_of_the_remote",
        "nothing_passes",
        "after_so_many_bytes",
    ],
    ..CONN_WAYS
};
const CONN_STOPPED: Tests = Tests {
    package: "murphy",
    target: "conn_killed",
    filters: &["stopped_murphy"],
    without: &[],
};

/// Asserts what a clock shows half a second after something, which an emulated machine may sleep through.
const SCHEDULED: &[&str] = &["clocks_drift_stand_still_step"];

const fn time(filters: &'static [&'static str]) -> Tests {
    Tests {
        package: "murphy",
        target: "time",
        filters,
        without: SCHEDULED,
    }
}

const LAUNCHED: Tests = Tests {
    package: "murphy",
    target: "time_launched",
    filters: &[],
    without: &[],
};

/// Executed programs, followed by BPF programs.
const FOLLOWED: Tests = Tests {
    package: "murphy",
    target: "time_followed",
    filters: &["a_later_murphy_lets_go", "the_keeper_lets_go_whom_its"],
    without: &[],
};

/// The way of a skew from its beginning to its end, through exec, fork, threads and the death of its Murphy.
const MAIN_OF_TIME: &[&str] = &[
    "every_way_to_ask",
    "an_executed_program",
    "a_child_that_inherits",
    "a_later_murphy_restores",
    "a_skew_ends_in_time",
    "skews_add_up",
    "unusual_calls",
    "skewed_calls_keep",
];

/// The same without the tests about what happens inside the hook, which all ways to write put there alike.
const WRITES_OF_TIME: &[&str] = &[
    "every_way_to_ask",
    "an_executed_program",
    "a_later_murphy_restores",
    "a_stopped_target",
];
/// What a clock that the vDSO cannot read changes: every call is made of the kernel.
const CALLS_OF_TIME: &[&str] = &["every_way_to_ask", "unusual_calls", "skewed_calls_keep"];

/// Of the kernel's interfaces those that write into others' memory.
const WRITES: Tests = Tests {
    filters: &["vdso::", "tracee::", "memory::"],
    without: &[],
    ..SYS
};
/// The one that reads clocks.
const VDSO: Tests = Tests {
    filters: &["vdso::"],
    without: &[],
    ..SYS
};

/// The longest first, so that the machines end together.
pub const LINES: &[Line] = &[
    Line {
        name: "6.1",
        kernel: "6.1-cloud",
        append: "",
        tests: &[SYS, time(&[]), LAUNCHED, FOLLOWED, QDISC, PATCH, SYSCALL],
        why: "the oldest kernel that Murphy supports",
    },
    Line {
        name: "6.1-net",
        kernel: "6.1-cloud",
        append: "",
        tests: &[TRAFFIC, NET_BY_FILTERS, FILTERS, NET_GROUP_IN_SHORT, QUEUED],
        why: "packets, without tcx",
    },
    Line {
        name: "6.12-queues",
        kernel: "6.12-cloud",
        append: "",
        tests: &[NETEM, QUEUED],
        why: "packets that wait in the kernel",
    },
    Line {
        name: "6.12-net",
        kernel: "6.12-cloud",
        append: "",
        tests: &[TRAFFIC, NET, CABLE, GROUP, NET_GROUP_IN_SHORT],
        why: "packets, with tcx",
    },
    Line {
        name: "6.1-conn",
        kernel: "6.1-cloud",
        append: "",
        tests: &[
            FLOWS_BY_FILTERS,
            REFUSAL,
            TCP_EVENTS,
            RETRANSMITS,
            DNS_AT_SOCKETS,
            DROPS,
            SYSCALLS,
            CENSUS,
            CGROUP_ERRORS,
            LSM_ERRORS,
            NO_SOCKET_ITERATOR,
            CONN,
            CONN_WAYS_BY_FILTERS,
            CONN_STOPPED,
        ],
        why: "connections, without tcx and the iterator",
    },
    Line {
        name: "6.12-conn",
        kernel: "6.12-cloud",
        append: "",
        tests: &[
            FLOWS,
            REFUSAL,
            TCP_EVENTS,
            RETRANSMITS,
            DNS_AT_SOCKETS,
            DROPS,
            SYSCALLS,
            CENSUS,
            CGROUP_ERRORS,
            LSM_ERRORS,
            SOCKET_ITERATOR,
            CONN,
            CONN_WAYS,
        ],
        why: "connections, with tcx and the iterator",
    },
    Line {
        name: "6.12",
        kernel: "6.12-cloud",
        append: "",
        tests: &[SYS, time(MAIN_OF_TIME), LAUNCHED, FOLLOWED, QDISC],
        why: "the kernel of Debian 13",
    },
    Line {
        name: "6.12-poke",
        kernel: "6.12-cloud",
        append: "proc_mem.force_override=never",
        tests: &[
            WRITES,
            time(WRITES_OF_TIME),
            PATCH,
            SYSCALL,
            TIME_RAW,
            SYSCALL_ENGINES_IN_SHORT,
        ],
        why: "nobody writes code through /proc/PID/mem: PTRACE_POKEDATA does; calls fail by LSM",
    },
    Line {
        name: "6.1-hpet",
        kernel: "6.1-cloud",
        append: "clocksource=hpet lsm=landlock,lockdown,yama",
        tests: &[VDSO, time(CALLS_OF_TIME), FMOD_ERRORS, SYSCALL_ENGINES],
        why: "the vDSO cannot read this clock source, and makes system calls; BPF is no security module",
    },
];
