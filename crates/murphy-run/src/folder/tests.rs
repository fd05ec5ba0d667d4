use super::*;

fn in_temp() -> (tempfile::TempDir, PathBuf) {
    let temp = tempfile::tempdir().expect("a temporary folder");
    let path = temp.path().join("run");
    (temp, path)
}

/// The message with the temporary folder replaced by `TMP`.
fn said(temp: &tempfile::TempDir, error: &impl ToString) -> String {
    let root = temp.path().display().to_string();
    error.to_string().replace(&root, "TMP")
}

#[test]
fn a_new_and_an_empty_folder_will_do() {
    let (_temp, path) = in_temp();
    Folder::create(&path.join("deep/down")).expect("new, with parents");
    fs::create_dir(path.join("empty")).expect("empty");
    let folder = Folder::create(&path.join("empty")).expect("empty");
    assert!(folder.node_log_path("n0").parent().expect("nodes").is_dir());
}

#[test]
fn what_is_in_the_way_is_named() {
    let (temp, path) = in_temp();
    Folder::create(&path).expect("new");
    let again = Folder::create(&path).expect_err("not empty");
    assert_eq!(
        said(&temp, &again),
        "create run folder TMP/run: it is not empty; name a new or an empty folder"
    );
    let file = temp.path().join("file");
    fs::write(&file, "").expect("a file");
    let on_file = Folder::create(&file).expect_err("a file");
    assert_eq!(
        said(&temp, &on_file),
        "create run folder TMP/file: it is a file; name a new or an empty folder"
    );
    let under_file = Folder::create(&file.join("run")).expect_err("below a file");
    assert!(said(&temp, &under_file).starts_with("create run folder TMP/file/run: it is a file"));
}

#[test]
fn named_folders_never_share() {
    let (_temp, path) = in_temp();
    let clock = Clock::start();
    let names: Vec<String> = (0..3)
        .map(|_| Folder::create_named(&path, "etcd", &clock).expect("new"))
        .map(|f| {
            f.path()
                .file_name()
                .expect("a name")
                .to_string_lossy()
                .into()
        })
        .collect();
    let stem = format!("etcd-{}", clock.started_compact());
    assert_eq!(
        names,
        [stem.clone(), format!("{stem}-2"), format!("{stem}-3")]
    );
}

#[test]
fn nodes_cannot_escape_with_their_names() {
    let (_temp, path) = in_temp();
    let folder = Folder::create(&path).expect("new");
    for (node, log) in [
        ("n0", "n0.log"),
        ("../../etc/passwd", "%2E.%2F..%2Fetc%2Fpasswd.log"),
        (".hidden", "%2Ehidden.log"),
        ("a b", "a%20b.log"),
    ] {
        assert_eq!(folder.node_log_path(node), path.join("nodes").join(log));
    }
}

#[test]
fn a_part_that_is_missing_is_named_with_what_it_means() {
    let (temp, path) = in_temp();
    let folder = Folder::create(&path).expect("new");
    let request = folder.read_request().expect_err("nothing there");
    assert_eq!(
        said(&temp, &request),
        "read TMP/run/run.json: no such file; is this the folder of a run?"
    );
    let verdicts = folder.read_verdicts().expect_err("nothing there");
    assert_eq!(
        said(&temp, &verdicts),
        "read TMP/run/verdict.json: no such file; the run did not come to its end, but `murphy check` can \
         judge its history"
    );
    for error in [
        said(&temp, &folder.read_events().expect_err("nothing there")),
        said(&temp, &folder.open_history().expect_err("nothing there")),
        said(&temp, &Folder::open(&path).expect_err("no request")),
        said(
            &temp,
            &Folder::open(&path.join("no")).expect_err("no folder"),
        ),
    ] {
        assert!(error.starts_with("read TMP/run/"), "{error}");
    }
}

#[test]
fn a_part_that_is_damaged_is_named_with_line_and_column() {
    let (temp, path) = in_temp();
    let folder = Folder::create(&path).expect("new");
    fs::write(path.join(REQUEST), "{\n  \"verb\": 7\n").expect("written");
    let error = said(&temp, &folder.read_request().expect_err("damaged"));
    assert_eq!(
        error,
        "read TMP/run/run.json:2:11: invalid type: integer `7`, expected a string"
    );
    fs::write(path.join(SERIES), "").expect("written");
    let error = said(&temp, &folder.read_series().expect_err("empty"));
    assert_eq!(
        error,
        "read TMP/run/series.json:1:1: EOF while parsing a value"
    );
}

#[test]
fn what_cannot_be_written_is_an_error_and_leaves_nothing() {
    let (temp, path) = in_temp();
    let folder = Folder::create(&path).expect("new");
    // A folder in the place of the file: the rename fails for every user, root included.
    fs::create_dir(folder.report_path()).expect("in the way");
    let error = folder.write_report("<p>").expect_err("in the way");
    assert!(
        said(&temp, &error).starts_with("write TMP/run/report.html: "),
        "{error}"
    );
    let names: Vec<_> = fs::read_dir(&path).expect("there").flatten().collect();
    assert_eq!(names.len(), 2, "nodes and report.html: {names:?}");
}

#[test]
fn errors_of_the_file_system_say_what_to_do() {
    for (kind, hint) in [
        (io::ErrorKind::StorageFull, "free some space"),
        (
            io::ErrorKind::PermissionDenied,
            "that this user may write to",
        ),
    ] {
        let error = FolderError::io("write", Path::new("run.json"), kind.into());
        assert!(error.to_string().contains(hint), "{error}");
    }
}
