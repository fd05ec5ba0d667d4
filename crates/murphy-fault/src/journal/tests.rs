use super::*;

fn entry(journal: &Journal) -> Entry {
    let until = Until::After("10s".parse().unwrap());
    journal
        .begin("process", "pause", &["pid 1".into()], until, None)
        .unwrap()
}

#[test]
fn what_is_begun_is_listed_undone_and_forgotten() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::at(dir.path().join("journal"));
    assert!(journal.list().unwrap().0.is_empty());
    let mut entry = entry(&journal);
    let undo = Undo::EndTagged {
        tag: entry.id().into(),
    };
    entry.protect(std::slice::from_ref(&undo)).unwrap();
    let effect = serde_json::json!({"stopped": 1});
    entry.say(&effect, "one stopped").unwrap();
    let (records, damaged) = journal.list().unwrap();
    assert!(damaged.is_empty());
    assert_eq!(records[0].undos, [undo]);
    assert!(!records[0].is_stale(), "its owner is this very process");
    assert_eq!(journal.find(&entry.id()[..3]).unwrap(), records[0]);
    assert_eq!(journal.effect(entry.id()).unwrap()["stopped"], 1);
    assert!(matches!(journal.find("zzz"), Err(JournalError::Unknown(_))));
    assert_eq!(entry.end().unwrap().len(), 1);
    assert!(entry.is_over());
    assert!(entry.end().unwrap().is_empty());
    assert_eq!(fs::read_dir(journal.directory()).unwrap().count(), 0);
}

#[test]
fn time_that_began_later_ends_later() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::at(dir.path().into());
    let entry = entry(&journal);
    let deadline = |record: &Record| record.header.deadline_boottime_ns().unwrap();
    let first = deadline(&journal.find(entry.id()).unwrap());
    entry.began(boottime_ns() + 5_000_000_000).unwrap();
    let record = journal.find(entry.id()).unwrap();
    assert!(deadline(&record) - first >= 5_000_000_000);
    entry.end().unwrap();
    assert!(matches!(entry.began(0), Err(JournalError::Ended(_))));
}

#[test]
fn who_is_paused_is_so_until_somebody_says_otherwise() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::at(dir.path().into());
    let entry = entry(&journal);
    for paused in [true, true, false, true, false] {
        journal.pause(entry.id(), paused).unwrap();
        assert_eq!(entry.is_paused().unwrap(), paused);
    }
    entry.end().unwrap();
    assert!(journal.pause(entry.id(), true).is_err());
}

#[test]
fn a_torn_last_line_is_ignored_wherever_it_is_torn() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::at(dir.path().into());
    let mut entry = entry(&journal);
    let undo = |n: u32| Undo::EndTagged { tag: n.to_string() };
    entry.protect(&[undo(1)]).unwrap();
    let whole = fs::read(&entry.path).unwrap();
    entry.protect(&[undo(2)]).unwrap();
    let longer = fs::read(&entry.path).unwrap();
    for cut in whole.len()..longer.len() {
        let record = parse(&entry.path, &longer[..cut]).unwrap();
        assert_eq!(record.undos, [undo(1)], "cut at {cut}");
    }
}

#[test]
fn any_other_damage_is_reported_by_line() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::at(dir.path().into());
    let mut entry = entry(&journal);
    entry
        .protect(&[Undo::EndTagged { tag: "1".into() }])
        .unwrap();
    entry
        .protect(&[Undo::EndTagged { tag: "2".into() }])
        .unwrap();
    let whole = fs::read(&entry.path).unwrap();
    let mut flipped = 0;
    for at in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x01;
        if let Ok(record) = parse(&entry.path, &bytes) {
            // Only a last line that lost its end goes unnoticed: it cannot be told from a torn one.
            assert_eq!(record.undos.len(), 1, "byte {at}");
        } else {
            flipped += 1;
        }
    }
    assert!(flipped > whole.len() / 2);
    fs::write(&entry.path, "rubbish\n").unwrap();
    let (records, damaged) = journal.list().unwrap();
    assert!(records.is_empty());
    assert!(damaged[0].to_string().contains(":1: "), "{}", damaged[0]);
}

#[test]
fn an_id_and_its_number_are_one() {
    assert_eq!(id_of(number_of("00a1f3")), "00a1f3");
}
