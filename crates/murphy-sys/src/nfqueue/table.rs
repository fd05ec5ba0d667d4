//! A table of nftables that holds Murphy's rules and nothing else.

use std::io;

use nix::libc;
use rtnetlink::{
    packet_core::{NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL},
    sys::Socket,
};

use super::{
    NfqueueError,
    rule::{How, NEW as NEW_RULE, Rule},
    socket,
};
use crate::{
    namespace::NetNamespace,
    netlink::{attribute, text},
    nfnetlink::{Message, NFTABLES, Refused, ask, attributes, change, nest, word32, word32_of},
    traffic::Way,
};

/// `NFPROTO_INET`, `_IPV4`, `_IPV6`, and all of them.
const INET: u8 = 1;
const IPV4: u8 = 2;
const IPV6: u8 = 10;
const ANY: u8 = 0;
/// `NFT_MSG_*`.
const NEW_TABLE: u8 = 0;
const DELETE_TABLE: u8 = 2;
const NEW_CHAIN: u8 = 3;
const GET_CHAIN: u8 = 4;
const DELETE_RULE: u8 = 8;
/// `NFTA_TABLE_NAME`; the same in a rule.
const TABLE: u16 = 1;
/// `NFTA_RULE_CHAIN`.
const RULE_CHAIN: u16 = 2;
/// `NFTA_CHAIN_*`.
const CHAIN_TABLE: u16 = 1;
const CHAIN_NAME: u16 = 3;
const CHAIN_HOOK: u16 = 4;
const CHAIN_TYPE: u16 = 7;
/// `NFTA_HOOK_*`.
const HOOK_NUMBER: u16 = 1;
const HOOK_PRIORITY: u16 = 2;
/// `NF_INET_PRE_ROUTING`, `NF_INET_POST_ROUTING`.
const PREROUTING: u32 = 0;
const POSTROUTING: u32 = 4;
/// `NF_IP_PRI_MANGLE`: behind the tracking of connections, before addresses are changed on their way in.
const FIRST_PRIORITY: i32 = -150;
/// One more would be among those that change addresses (`NF_IP_PRI_NAT_DST`).
const LAST_PRIORITY: i32 = -101;
/// The beginning of the names of Murphy's tables.
const OURS: &str = "mphy-";

/// A table that is there, and stays until it is removed.
#[derive(Debug)]
pub struct Table {
    namespace: NetNamespace,
    name: String,
    how: How,
    rules: Vec<Rule>,
}

impl Table {
    /// Makes one with some rules, at most one for each way: from now on packets go to their queues. Several of Murphy's
    /// see each packet in the order in which they were made.
    pub fn make(
        namespace: &NetNamespace,
        name: &str,
        rules: &[Rule],
    ) -> Result<Self, NfqueueError> {
        let socket = socket(namespace)?;
        let refused = |refused: Refused| NfqueueError::Table {
            action: "make",
            name: name.into(),
            source: refused.source,
        };
        let priority = next_priority(&socket).map_err(refused)?;
        let native = try_native(&socket, rules).map_err(refused)?;
        let table = Self {
            namespace: namespace.clone(),
            name: name.into(),
            how: if native.is_ok() {
                How::Native
            } else {
                How::Compat
            },
            rules: rules.into(),
        };
        let messages = table.messages(priority);
        match (change(&socket, messages.clone()), native) {
            (Ok(()), _) => Ok(table),
            (Err(refusal), Err(native)) if is_rule(&messages, &refusal) => {
                Err(NfqueueError::Rule {
                    name: name.into(),
                    native,
                    compat: refusal.source,
                })
            }
            (Err(refusal), _) => Err(refused(refusal)),
        }
    }

    fn messages(&self, priority: i32) -> Vec<Message> {
        let mut messages = Vec::new();
        for family in families(self.how) {
            messages.push(Message {
                flags: NLM_F_CREATE | NLM_F_EXCL,
                ..of_table(NEW_TABLE, *family, &self.name)
            });
            for rule in &self.rules {
                messages.push(self.hooked(*family, rule.way, priority));
                messages.push(rule.message(self.how, *family, &self.name, chain_name(rule.way)));
            }
        }
        messages
    }

    fn hooked(&self, family: u8, way: Way, priority: i32) -> Message {
        let number = match way {
            Way::To => POSTROUTING,
            Way::From => PREROUTING,
        };
        let hook = [
            word32(HOOK_NUMBER, number),
            word32(HOOK_PRIORITY, priority.cast_unsigned()),
        ];
        let mut message = of_chain(family, &self.name, chain_name(way));
        message.attributes.push(nest(CHAIN_HOOK, &hook));
        message.attributes.push(text(CHAIN_TYPE, "filter"));
        message
    }

    /// Takes its rules away: nothing goes to their queues any more, and what waits there is not dropped. It is no error
    /// when the table is gone.
    pub fn clear(&self) -> Result<(), NfqueueError> {
        let socket = socket(&self.namespace)?;
        for family in families(self.how) {
            let removals = self.rules.iter().map(|rule| {
                let mut message = of_table(DELETE_RULE, *family, &self.name);
                let chain = text(RULE_CHAIN, chain_name(rule.way));
                message.attributes.push(chain);
                message
            });
            is_there(change(&socket, removals.collect())).map_err(|source| {
                NfqueueError::Table {
                    action: "clear",
                    name: self.name.clone(),
                    source,
                }
            })?;
        }
        Ok(())
    }

    /// Removes it, where it still is there.
    pub fn remove(&self) -> Result<bool, NfqueueError> {
        remove(&self.namespace, &self.name)
    }
}

/// Removes a table of that name with all in it; whether there was one. What waits in queues of that namespace is
/// dropped.
pub fn remove(namespace: &NetNamespace, name: &str) -> Result<bool, NfqueueError> {
    let socket = socket(namespace)?;
    let mut was_there = false;
    for family in [INET, IPV4, IPV6] {
        let removal = of_table(DELETE_TABLE, family, name);
        let removed = is_there(change(&socket, vec![removal]));
        was_there |= removed.map_err(|source| NfqueueError::Table {
            action: "remove",
            name: name.into(),
            source,
        })?;
    }
    Ok(was_there)
}

/// Whether a change found what it was about.
fn is_there(changed: Result<(), Refused>) -> io::Result<bool> {
    match changed {
        Ok(()) => Ok(true),
        Err(refused) => match refused.source.raw_os_error() {
            // The last two: a kernel without nftables, or without this family.
            Some(libc::ENOENT | libc::EOPNOTSUPP | libc::EAFNOSUPPORT) => Ok(false),
            _ => Err(refused.source),
        },
    }
}

/// The families whose tables see packets of both versions of IP: targets of iptables are for one of them at a time.
fn families(how: How) -> &'static [u8] {
    match how {
        How::Native => &[INET],
        How::Compat => &[IPV4, IPV6],
    }
}

fn of_table(kind: u8, family: u8, name: &str) -> Message {
    Message {
        part: NFTABLES,
        kind,
        family,
        attributes: vec![text(TABLE, name)],
        ..Message::default()
    }
}

fn chain_name(way: Way) -> &'static str {
    match way {
        Way::To => "to",
        Way::From => "from",
    }
}

fn of_chain(family: u8, table: &str, chain: &str) -> Message {
    Message {
        part: NFTABLES,
        kind: NEW_CHAIN,
        flags: NLM_F_CREATE | NLM_F_EXCL,
        family,
        resource: 0,
        attributes: vec![text(CHAIN_TABLE, table), text(CHAIN_NAME, chain)],
    }
}

/// Whether what was refused of a change is a rule.
fn is_rule(messages: &[Message], refused: &Refused) -> bool {
    // The bracket of a change comes first.
    let place = refused.place.checked_sub(1);
    let message = place.and_then(|place| messages.get(place));
    message.is_some_and(|message| message.kind == NEW_RULE)
}

/// Asks whether this kernel takes rules in nftables' own words: by a change that is refused in any case, so that it
/// leaves nothing, and that is about a chain at no hook, since even a chain of a refused change that had been at one
/// would have what waits in queues dropped.
fn try_native(socket: &Socket, rules: &[Rule]) -> Result<io::Result<()>, Refused> {
    let (tried, never) = ("mphy-trial", "mphy-never");
    let mut messages = vec![
        Message {
            flags: NLM_F_CREATE,
            ..of_table(NEW_TABLE, INET, tried)
        },
        of_chain(INET, tried, "trial"),
    ];
    messages.extend(
        rules
            .iter()
            .map(|rule| rule.message(How::Native, INET, tried, "trial")),
    );
    messages.push(of_table(DELETE_TABLE, INET, never));
    match change(socket, messages.clone()) {
        Err(refused) if is_rule(&messages, &refused) => Ok(Err(refused.source)),
        Err(refused) if refused.place == messages.len() => Ok(Ok(())),
        Err(refused) => Err(refused),
        Ok(()) => Ok(Ok(())),
    }
}

/// The priority of chains that come behind all of Murphy's that are there. One that came before them would have the
/// kernel show their waiting packets to them again.
fn next_priority(socket: &Socket) -> Result<i32, Refused> {
    let list = Message {
        part: NFTABLES,
        kind: GET_CHAIN,
        flags: NLM_F_DUMP,
        family: ANY,
        ..Message::default()
    };
    let chains = ask(socket, &[list])?;
    let priorities = chains.iter().filter_map(|chain| {
        let chain = attributes(chain);
        let table = attribute(chain, CHAIN_TABLE)?;
        let hook = attribute(chain, CHAIN_HOOK)?;
        let priority = word32_of(hook, HOOK_PRIORITY)?.cast_signed();
        table.starts_with(OURS.as_bytes()).then_some(priority)
    });
    let behind = |last: i32| (last + 1).min(LAST_PRIORITY);
    Ok(priorities.max().map_or(FIRST_PRIORITY, behind))
}
