//! A rule hands the packets of one device, one way, to a queue.

use rtnetlink::packet_core::{DefaultNla, NLM_F_APPEND, NLM_F_CREATE};

use crate::{
    netlink::text,
    nfnetlink::{Message, NFTABLES, nest, word16, word32},
    traffic::Way,
};

/// `NFT_MSG_NEWRULE`.
pub(super) const NEW: u8 = 6;
/// `NFTA_RULE_*`: the table, the chain, what it does.
const TABLE: u16 = 1;
const CHAIN: u16 = 2;
const EXPRESSIONS: u16 = 4;
/// `NFTA_LIST_ELEM`, `NFTA_EXPR_*`: one of them, by its name, with its details.
const ELEMENT: u16 = 1;
const NAME: u16 = 1;
const DETAILS: u16 = 2;
/// `NFTA_META_*`, `NFT_META_IIF`, `NFT_META_OIF`: the number of the device goes into a register.
const META_REGISTER: u16 = 1;
const META_KEY: u16 = 2;
const IIF: u32 = 4;
const OIF: u32 = 5;
/// `NFT_REG_1`.
const REGISTER: u32 = 1;
/// `NFTA_CMP_*`, `NFT_CMP_EQ`, `NFTA_DATA_VALUE`: the rule goes on where the register has this value.
const CMP_REGISTER: u16 = 1;
const CMP_OPERATOR: u16 = 2;
const CMP_DATA: u16 = 3;
const EQUAL: u32 = 0;
const VALUE: u16 = 1;
/// `NFTA_QUEUE_*`: the first queue, how many there are, and how (`NFT_QUEUE_FLAG_BYPASS`).
const QUEUE_NUMBER: u16 = 1;
const QUEUE_COUNT: u16 = 2;
const QUEUE_FLAGS: u16 = 3;
/// `NFTA_TARGET_*`: a target of iptables, by its name, its revision, and its own struct.
const TARGET_NAME: u16 = 1;
const TARGET_REVISION: u16 = 2;
const TARGET_INFO: u16 = 3;
/// The third revision has flags.
const REVISION: u32 = 3;
/// Who has no reader lets packets pass.
const BYPASS: u16 = 1;

/// How a rule hands packets over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum How {
    /// By the expression `queue` of nftables.
    Native,
    /// By the target `NFQUEUE` of iptables.
    Compat,
}

/// Which packets go to which queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Which way they go, seen from the namespace.
    pub way: Way,
    /// The number of the device they leave by, or came by.
    pub device: u32,
    /// The number of the queue.
    pub queue: u16,
}

impl Rule {
    /// The message that makes it.
    pub(super) fn message(self, how: How, family: u8, table: &str, chain: &str) -> Message {
        let key = match self.way {
            Way::To => OIF,
            Way::From => IIF,
        };
        let device = [word32(META_REGISTER, REGISTER), word32(META_KEY, key)];
        // The device's number is a number of this machine's order.
        let number = DefaultNla::new(VALUE, self.device.to_ne_bytes().into());
        let is_it = [
            word32(CMP_REGISTER, REGISTER),
            word32(CMP_OPERATOR, EQUAL),
            nest(CMP_DATA, &[number]),
        ];
        let expressions = [
            expression("meta", &device),
            expression("cmp", &is_it),
            self.hand_over(how),
        ];
        Message {
            part: NFTABLES,
            kind: NEW,
            flags: NLM_F_CREATE | NLM_F_APPEND,
            family,
            resource: 0,
            attributes: vec![
                text(TABLE, table),
                text(CHAIN, chain),
                nest(EXPRESSIONS, &expressions),
            ],
        }
    }

    fn hand_over(self, how: How) -> DefaultNla {
        match how {
            How::Native => expression(
                "queue",
                &[
                    word16(QUEUE_NUMBER, self.queue),
                    word16(QUEUE_COUNT, 1),
                    word16(QUEUE_FLAGS, BYPASS),
                ],
            ),
            How::Compat => {
                // `struct xt_NFQ_info_v3`, filled up to a multiple of eight bytes.
                let info = [self.queue, 1, BYPASS, 0];
                let info = info.iter().flat_map(|word| word.to_ne_bytes()).collect();
                expression(
                    "target",
                    &[
                        text(TARGET_NAME, "NFQUEUE"),
                        word32(TARGET_REVISION, REVISION),
                        DefaultNla::new(TARGET_INFO, info),
                    ],
                )
            }
        }
    }
}

fn expression(name: &str, details: &[DefaultNla]) -> DefaultNla {
    nest(ELEMENT, &[text(NAME, name), nest(DETAILS, details)])
}
