//! Probes of real files: appended to, rotated, written anew, missing, and too long.

use std::{
    fs::{self, File, OpenOptions},
    io::Write,
    path::PathBuf,
    time::Duration,
};

use tempfile::TempDir;

use super::{PATIENCE, failure, passed_with, prober};
use crate::probe::{Outcome, Prober, Reason};

/// A file, and somebody who writes to it.
struct Logged {
    _folder: TempDir,
    path: PathBuf,
    file: File,
}

impl Logged {
    fn new(text: &str) -> Self {
        let folder = tempfile::tempdir().expect("a directory");
        let path = folder.path().join("app.log");
        fs::write(&path, text).expect("a new file");
        let file = OpenOptions::new().append(true).open(&path);
        Self {
            _folder: folder,
            file: file.expect("the new file"),
            path,
        }
    }

    fn must_not(&self) -> Prober {
        prober(&format!("log:{}!~ERROR", self.path.display()), PATIENCE)
    }

    fn must(&self) -> Prober {
        prober(&format!("log:{}~beat", self.path.display()), PATIENCE)
    }

    fn says(&mut self, text: &str) {
        self.file.write_all(text.as_bytes()).expect("an open file");
    }

    /// Moves the file away and makes a new one, which is not written to yet.
    fn rotate(&self) -> File {
        fs::rename(&self.path, self.path.with_extension("1")).expect("the same directory");
        File::create(&self.path).expect("the same directory")
    }
}

#[track_caller]
fn unwanted(prober: &mut Prober) -> String {
    let (reason, detail) = failure(prober.look());
    assert_eq!(reason, Reason::Unwanted, "{detail}");
    detail
}

#[test]
fn what_came_since_the_last_look_counts_once() {
    let mut log = Logged::new("ERROR long ago\n");
    let (mut must_not, mut must) = (log.must_not(), log.must());
    assert_eq!(must_not.look().outcome, passed_with(0.0));
    assert_eq!(failure(must.look()).0, Reason::Absent);
    log.says("beat 1\nbeat 2\r\nERROR one\nERROR two\n");
    assert_eq!(unwanted(&mut must_not), "2 × ERROR one");
    assert_eq!(must.look().outcome, passed_with(2.0));
    assert_eq!(must_not.look().outcome, passed_with(0.0));
    assert_eq!(failure(must.look()).0, Reason::Absent);
}

#[test]
fn a_line_is_searched_when_it_has_ended() {
    let mut log = Logged::new("");
    let mut must_not = log.must_not();
    log.says("ERR");
    assert_eq!(must_not.look().outcome, passed_with(0.0));
    log.says("OR");
    assert_eq!(must_not.look().outcome, passed_with(0.0));
    log.says(" at last\nbeat\n");
    assert_eq!(unwanted(&mut must_not), "1 × ERROR at last");
}

#[test]
fn a_line_without_end_is_searched_in_parts_and_takes_no_more_memory() {
    let mut log = Logged::new("");
    let mut must_not = log.must_not();
    log.says(&"x".repeat(1 << 20));
    assert_eq!(must_not.look().outcome, passed_with(0.0));
    log.says("ERROR");
    log.says(&"y".repeat(1 << 20));
    assert!(unwanted(&mut must_not).starts_with("1 × "));
}

#[test]
fn a_rotated_log_is_read_to_its_end_and_so_is_the_new_one() {
    let mut log = Logged::new("beat\n");
    let mut must_not = log.must_not();
    log.says("ERROR one\n");
    let mut new = log.rotate();
    new.write_all(b"ERROR two\n").expect("a new file");
    assert_eq!(unwanted(&mut must_not), "2 × ERROR one");
    // Whoever writes has not noticed yet.
    log.says("ERROR three\n");
    assert_eq!(unwanted(&mut must_not), "1 × ERROR three");
    log.says("ERROR nobody looks for\n");
    assert_eq!(must_not.look().outcome, passed_with(0.0));
    new.write_all(b"ERROR four\n").expect("a new file");
    assert_eq!(unwanted(&mut must_not), "1 × ERROR four");
}

#[test]
fn a_log_that_is_written_anew_is_read_from_its_beginning() {
    let log = Logged::new("beat\n");
    let mut must_not = log.must_not();
    // Shorter, longer, and of the same length.
    for text in [
        "ERROR\n",
        "ERROR is longer than before\n",
        "ERROR is LONGER than before\n",
    ] {
        fs::write(&log.path, text).expect("the same file");
        assert_eq!(unwanted(&mut must_not), format!("1 × {}", text.trim()));
    }
    fs::write(&log.path, "").expect("the same file");
    assert_eq!(must_not.look().outcome, passed_with(0.0));
}

#[test]
fn a_log_that_is_missing_fails_and_is_all_new_when_it_comes() {
    let log = Logged::new("ERROR\n");
    fs::remove_file(&log.path).expect("a file");
    let mut must_not = log.must_not();
    assert_eq!(failure(must_not.look()).0, Reason::NoFile);
    fs::write(&log.path, "ERROR\n").expect("a new file");
    assert_eq!(unwanted(&mut must_not), "1 × ERROR");
}

#[test]
fn a_log_that_goes_is_read_to_its_end_first() {
    let mut log = Logged::new("");
    let mut must_not = log.must_not();
    log.says("ERROR\n");
    fs::remove_file(&log.path).expect("a file");
    assert_eq!(unwanted(&mut must_not), "1 × ERROR");
    assert_eq!(failure(must_not.look()).0, Reason::NoFile);
}

#[test]
fn a_log_that_outgrows_its_time_is_gone_on_with() {
    let mut log = Logged::new("");
    let text = format!("log:{}!~ERROR", log.path.display());
    let mut hurried = prober(&text, Duration::ZERO);
    log.says(&"beat\n".repeat(20_000));
    log.says("ERROR\n");
    assert_eq!(failure(hurried.look()).0, Reason::TimedOut);
    assert_eq!(unwanted(&mut hurried), "1 × ERROR");
}

#[test]
fn what_is_no_file_is_not_waited_for() {
    let folder = tempfile::tempdir().expect("a directory");
    let path = folder.path().join("pipe");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &path,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR,
        0,
    )
    .expect("a named pipe");
    let (reason, _) = failure(prober(&format!("log:{}!~x", path.display()), PATIENCE).look());
    assert_eq!(reason, Reason::Unreadable);
}

#[test]
fn a_log_need_not_be_text() {
    let mut log = Logged::new("");
    let mut must_not = log.must_not();
    log.file
        .write_all(b"\xff\x00 ERROR \xfe\n")
        .expect("an open file");
    let look = must_not.look();
    assert!(matches!(look.outcome, Outcome::Failed { .. }), "{look:?}");
}
