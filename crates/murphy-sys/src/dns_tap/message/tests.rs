//! Messages that somebody else has written, and such as nobody would.

use std::str::FromStr;

use hickory_proto::{
    op::{self, Edns, ResponseCode},
    rr::{
        Name, RData, Record,
        rdata::{A, AAAA, CNAME, TXT},
    },
};
use proptest::prelude::*;

use super::*;

/// A query for the address of a name.
pub fn query(id: u16, name: &str) -> Message {
    Message {
        id,
        is_answer: false,
        name: name.into(),
        kind: RecordKind::A,
        code: Code::NoError,
        is_truncated: false,
        addresses: Vec::new(),
    }
}

/// An answer to it, without an address.
pub fn answer(id: u16, name: &str) -> Message {
    Message {
        is_answer: true,
        ..query(id, name)
    }
}

fn name(text: &str) -> Name {
    Name::from_str(text).unwrap()
}

fn question(id: u16, asked: &str, kind: RecordType) -> op::Message {
    let mut message = op::Message::new();
    message.set_id(id).set_recursion_desired(true);
    message.add_query(Query::query(name(asked), kind));
    message
}

fn response(
    id: u16,
    asked: &str,
    kind: RecordType,
    records: Vec<(&str, u32, RData)>,
) -> op::Message {
    let mut message = question(id, asked, kind);
    message.set_message_type(MessageType::Response);
    for (owner, ttl, data) in records {
        message.add_answer(Record::from_rdata(name(owner), ttl, data));
    }
    message
}

fn a(last: u8) -> RData {
    RData::A(A::new(192, 0, 2, last))
}

fn aaaa(last: u16) -> RData {
    RData::AAAA(AAAA::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last))
}

/// An answer with all that one may have: aliases, both kinds of addresses, other records, who is responsible, and more.
fn rich() -> op::Message {
    let alias = |to| RData::CNAME(CNAME(name(to)));
    let records = vec![
        ("www.example.com.", 60, alias("a.cdn.example.net.")),
        ("a.cdn.example.net.", 300, alias("b.cdn.example.net.")),
        ("b.cdn.example.net.", 30, a(1)),
        ("b.cdn.example.net.", 31, a(2)),
        (
            "b.cdn.example.net.",
            32,
            RData::TXT(TXT::new(vec!["x".into()])),
        ),
        ("b.cdn.example.net.", u32::MAX, aaaa(3)),
    ];
    let mut message = response(7, "WWW.Example.COM.", RecordType::A, records);
    message.add_name_server(Record::from_rdata(name("example.com."), 5, a(8)));
    message.add_additional(Record::from_rdata(name("ns.example.com."), 5, a(9)));
    let mut extension = Edns::new();
    extension.set_max_payload(1232);
    message.set_edns(extension);
    message
}

#[test]
fn a_query_says_what_is_asked_for() {
    for (kind, number, text) in [
        (RecordType::A, RecordKind::A, "A"),
        (RecordType::AAAA, RecordKind::Aaaa, "AAAA"),
        (RecordType::HTTPS, RecordKind::Other(65), "HTTPS"),
        (
            RecordType::Unknown(6000),
            RecordKind::Other(6000),
            "TYPE6000",
        ),
    ] {
        let bytes = question(0xbeef, "Db.Internal.", kind).to_vec().unwrap();
        let said = read(&bytes).unwrap();
        let expected = Message {
            kind: number,
            ..query(0xbeef, "db.internal")
        };
        assert_eq!(said, expected);
        assert_eq!(said.kind.to_string(), text);
    }
    let bytes = question(1, ".", RecordType::NS).to_vec().unwrap();
    assert_eq!(read(&bytes).unwrap().name, "");
}

#[test]
fn an_answer_says_the_addresses_behind_aliases_and_no_others() {
    let said = read(&rich().to_vec().unwrap()).unwrap();
    let seconds = Duration::from_secs;
    let addresses = [
        ("192.0.2.1", 30),
        ("192.0.2.2", 31),
        // A time to live of the past.
        ("2001:db8::3", 0),
    ];
    let expected = Message {
        addresses: addresses
            .map(|(address, ttl)| (address.parse().unwrap(), seconds(ttl)))
            .into(),
        ..answer(7, "www.example.com")
    };
    assert_eq!(said, expected);
}

#[test]
fn an_answer_says_how_it_went() {
    for (given, code, text) in [
        (ResponseCode::NoError, Code::NoError, "NOERROR"),
        (ResponseCode::ServFail, Code::ServFail, "SERVFAIL"),
        (ResponseCode::NXDomain, Code::NxDomain, "NXDOMAIN"),
        (ResponseCode::Refused, Code::Refused, "REFUSED"),
        (ResponseCode::NotImp, Code::Other(4), "RCODE4"),
    ] {
        let mut message = response(1, "a.", RecordType::A, vec![]);
        message.set_response_code(given).set_truncated(true);
        let said = read(&message.to_vec().unwrap()).unwrap();
        assert_eq!((said.code, said.is_truncated), (code, true));
        assert_eq!(said.code.to_string(), text);
    }
    // What has no room in the header is said in an extension.
    let mut message = rich();
    message.set_response_code(ResponseCode::BADVERS);
    let said = read(&message.to_vec().unwrap()).unwrap();
    assert_eq!(said.code, Code::Other(16));
}

#[test]
fn an_answer_need_not_repeat_the_question() {
    let mut message = response(9, "a.", RecordType::A, vec![]);
    message.set_response_code(ResponseCode::Refused);
    message.take_queries();
    let said = read(&message.to_vec().unwrap()).unwrap();
    let expected = Message {
        kind: RecordKind::Other(0),
        code: Code::Refused,
        ..answer(9, "")
    };
    assert_eq!(said, expected);
    message.set_message_type(MessageType::Query);
    assert_eq!(read(&message.to_vec().unwrap()), None);
}

#[test]
fn what_is_no_query_for_names_is_nothing() {
    for code in [OpCode::Update, OpCode::Notify, OpCode::Status] {
        let mut message = question(1, "a.", RecordType::A);
        message.set_op_code(code);
        assert_eq!(read(&message.to_vec().unwrap()), None);
    }
    let bytes = question(1, "a.", RecordType::A).to_vec().unwrap();
    for length in 0..bytes.len() {
        assert_eq!(read(&bytes[..length]), None, "{length}");
    }
}

#[test]
fn no_more_addresses_are_told_of_than_the_limit() {
    let records: Vec<_> = (0..=255).map(|last| ("a.", 1, a(last))).collect();
    let bytes = response(1, "a.", RecordType::A, records).to_vec().unwrap();
    assert_eq!(read(&bytes).unwrap().addresses.len(), ADDRESSES_MAX);
}

/// A header with this many questions and records that answer.
fn header(questions: u16, answers: u16) -> Vec<u8> {
    let numbers = [1, 0x8180, questions, answers, 0, 0];
    numbers.map(u16::to_be_bytes).concat()
}

#[test]
fn names_that_lead_in_circles_or_are_too_long_are_not_followed() {
    // To itself, behind itself, and into the header, which can be read as labels.
    for pointer in [12_u16, 14, 13, 0x3fff] {
        let bytes = [
            header(1, 0),
            (0xc000 | pointer).to_be_bytes().into(),
            vec![0; 8],
        ]
        .concat();
        assert_eq!(read(&bytes), None, "{pointer}");
    }
    let label = [&[63][..], &[b'x'; 63]].concat();
    for (count, is_read) in [(3, true), (4, false), (100, false)] {
        let bytes = [header(1, 0), label.repeat(count), vec![0, 0, 1, 0, 1]].concat();
        assert_eq!(read(&bytes).is_some(), is_read, "{count}");
    }
}

#[test]
fn the_longest_message_of_pointers_is_soon_read_on_a_small_stack() {
    // Each points to the one before, as far as pointers reach.
    let mut bytes = [header(u16::MAX, u16::MAX), vec![0, 0, 1, 0, 1]].concat();
    while bytes.len() < 65_000 {
        let before = u16::try_from(bytes.len() - 2).unwrap().min(0x3fff);
        bytes.extend((0xc000 | before).to_be_bytes());
    }
    let reader = std::thread::Builder::new().stack_size(64 << 10);
    let read = reader.spawn(move || read(&bytes)).unwrap();
    assert_eq!(read.join().unwrap().unwrap().name, "");
}

#[test]
fn what_is_not_of_letters_is_behind_a_stroke() {
    let bytes = [header(1, 0), b"\x05A.\0\xff_\x01-\0\0\x01\0\x01".into()].concat();
    let name = read(&bytes).unwrap().name;
    assert_eq!(name, "a\\.\\000\\377_.\\-");
}

proptest! {
    #[test]
    fn no_bytes_are_too_strange(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        let _ = read(&bytes);
    }

    #[test]
    fn no_records_are_too_strange(
        (questions, answers) in any::<(u16, u16)>(),
        bytes in proptest::collection::vec(prop_oneof![0_u8..4, 0xc0_u8..0xc4, any::<u8>()], 0..600),
    ) {
        if let Some(said) = read(&[header(questions, answers), bytes].concat()) {
            prop_assert!(said.addresses.len() <= ADDRESSES_MAX);
            prop_assert!(said.name.len() <= 4 * 255);
        }
    }

    #[test]
    fn no_damage_is_too_strange(
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..20),
        length in any::<prop::sample::Index>(),
    ) {
        let mut bytes = rich().to_vec().unwrap();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        bytes.truncate(length.index(bytes.len() + 1));
        if let Some(said) = read(&bytes) {
            prop_assert!(said.addresses.len() <= ADDRESSES_MAX);
            prop_assert!(said.name.len() <= 4 * 255);
        }
    }
}
