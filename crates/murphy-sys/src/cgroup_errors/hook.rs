//! A hook is where the kernel asks the programs of a cgroup about a call.

use crate::{
    failures::{Cover, Hooks, Sight},
    syscalls::Call,
};

/// One of them, the same as in `bpf/cgroup_errors.bpf.c`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Hook {
    /// Before a connection is asked for, or an address remembered.
    Connect = 1,
    /// Before a port is taken.
    Bind,
    /// When a socket is made: it goes again.
    Socket,
    /// Before a datagram is sent to an address that the call names.
    Send,
}

impl Hook {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Connect, Self::Bind, Self::Socket, Self::Send];

    /// The calls that it decides about.
    pub fn calls(self) -> &'static [&'static str] {
        match self {
            Self::Connect => &["connect"],
            Self::Bind => &["bind"],
            Self::Socket => &["socket"],
            Self::Send => &["sendto", "sendmsg", "sendmmsg"],
        }
    }

    /// Which part of the uses of those comes there.
    pub fn part(self) -> &'static str {
        match self {
            Self::Connect => "of TCP and UDP, once for each connection",
            Self::Bind => "of IPv4 and IPv6",
            Self::Socket => "IPv4 and IPv6",
            Self::Send => "datagrams of UDP to an address that the call names",
        }
    }

    /// The programs, and where each of them is attached.
    pub(super) fn programs(self) -> &'static [(&'static str, libbpf_sys::bpf_attach_type)] {
        match self {
            Self::Connect => &[
                ("murphy_connect4", libbpf_sys::BPF_CGROUP_INET4_CONNECT),
                ("murphy_connect6", libbpf_sys::BPF_CGROUP_INET6_CONNECT),
            ],
            Self::Bind => &[
                ("murphy_bind4", libbpf_sys::BPF_CGROUP_INET4_BIND),
                ("murphy_bind6", libbpf_sys::BPF_CGROUP_INET6_BIND),
            ],
            Self::Socket => &[(
                "murphy_sock_create",
                libbpf_sys::BPF_CGROUP_INET_SOCK_CREATE,
            )],
            Self::Send => &[
                ("murphy_sendmsg4", libbpf_sys::BPF_CGROUP_UDP4_SENDMSG),
                ("murphy_sendmsg6", libbpf_sys::BPF_CGROUP_UDP6_SENDMSG),
            ],
        }
    }
}

impl Hooks for Hook {
    const ENGINE: &'static str = super::ENGINE;

    fn of(call: Call) -> Option<Self> {
        let name = call.name()?;
        Self::ALL
            .into_iter()
            .find(|hook| hook.calls().contains(&name))
    }

    fn number(self) -> u8 {
        self as u8
    }

    fn sees(self) -> &'static [Sight] {
        match self {
            Self::Socket => &[],
            Self::Connect | Self::Bind | Self::Send => &[Sight::Address],
        }
    }
}

/// Which hook decides about a call, and how much of it; none where no program of a cgroup is asked. Any errno will do.
pub fn covers(call: Call) -> Option<Cover<Hook>> {
    let hook = Hook::of(call)?;
    Some(Cover {
        hook,
        part: Some(hook.part()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_call_has_one_hook_and_a_name_that_is_known() {
        for hook in Hook::ALL {
            for name in hook.calls() {
                let call = Call::named(name).unwrap();
                assert_eq!(covers(call).map(|cover| cover.hook), Some(hook), "{name}");
            }
        }
        for name in ["listen", "accept4", "recvfrom", "write"] {
            assert_eq!(covers(Call::named(name).unwrap()), None, "{name}");
        }
    }
}
