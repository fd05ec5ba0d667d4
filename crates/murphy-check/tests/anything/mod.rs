//! What must be so of any bytes in any format; the tests and the fuzz targets share it.

use std::io::Cursor;

use murphy_check::{
    etcd::{self, ReadError},
    formats::{self, Format, Options, Written, etcd_report},
    recording::{Recording, Strictness},
};

/// Reads bytes as a history of this format, strictly and leniently.
///
/// # Panics
/// Where one of these does not hold: an error names a line of the bytes; what can be read strictly can be read
/// leniently, without anything left out; no more comes out than went in; what was read can be written, and what was
/// written read.
pub fn read_as(format: Format, bytes: &[u8]) {
    if format == Format::EtcdReport {
        return read_report(bytes);
    }
    let guessed = Options {
        format: Some(format),
        ..Options::default()
    };
    if let Err(error) = formats::read(bytes, &guessed) {
        check_place(&error, bytes);
    }
    let strict = Options {
        // A header says its own.
        model: (format != Format::Murphy).then_some("anything"),
        ..guessed
    };
    let strictly = formats::read(bytes, &strict);
    let lenient = Options {
        strictness: Strictness::Lenient,
        ..strict
    };
    let leniently = formats::read(bytes, &lenient);
    match (&strictly, &leniently) {
        (Err(error), Err(_)) => check_place(error, bytes),
        (Err(error), Ok(recording)) => {
            check_place(error, bytes);
            assert!(recording.left_out > 0, "{error}, and nothing was left out");
        }
        (Ok(_), Ok(recording)) => assert_eq!(recording.left_out, 0, "but strictly it is right"),
        (Ok(_), Err(error)) => panic!("strictly right, and leniently {error}"),
    }
    for recording in [strictly, leniently].into_iter().flatten() {
        check_recording(&recording, bytes);
    }
}

/// Reads bytes as a history of model `etcd`.
pub fn read_etcd(bytes: &[u8]) {
    if let Err(error) = etcd::Record::read(bytes) {
        check_place(&error, bytes);
    }
}

/// Tells the format of bytes and reads them so.
pub fn read_detected(bytes: &[u8]) {
    if let Some(format) = Format::detect(bytes) {
        read_as(format, bytes);
    }
}

fn read_report(bytes: &[u8]) {
    for strictness in [Strictness::Strict, Strictness::Lenient] {
        let files = [("client-1/operations.json".to_owned(), Cursor::new(bytes))];
        let mut history = Vec::new();
        match etcd_report::convert(files, strictness, &mut history) {
            // What the report says may still be nonsense, such as a revision of 0; it must have a place.
            Ok(_) => read_etcd(&history),
            Err(etcd_report::ReportError::Read { error, .. }) => {
                assert_eq!(strictness, Strictness::Strict, "{error}");
                check_place(&error, bytes);
            }
            Err(_) => {}
        }
    }
}

fn check_place(error: &ReadError, bytes: &[u8]) {
    let ReadError::Malformed { line, column, .. } = error else {
        panic!("memory can be read: {error}");
    };
    let lines: Vec<&[u8]> = bytes.split(|byte| *byte == b'\n').collect();
    let at = usize::try_from(*line).unwrap_or(usize::MAX);
    assert!((1..=lines.len()).contains(&at), "{error}: no such line");
    let length = lines[at - 1].len() as u64;
    assert!((1..=length + 1).contains(column), "{error}: no such column");
}

fn check_recording(recording: &Recording, bytes: &[u8]) {
    assert!(recording.invocations.len() <= bytes.len());
    assert!(recording.warnings.len() <= 100);
    let told = Options {
        model: Some(&recording.header.model),
        ..Options::default()
    };
    for format in [Written::Murphy, Written::Edn, Written::JepsenJson] {
        if recording.invocations.is_empty() && format != Written::Murphy {
            continue;
        }
        let mut written = Vec::new();
        formats::write(recording, format, &mut written).expect("memory can be written");
        let as_written = Options {
            format: Some(match format {
                Written::Murphy => Format::Murphy,
                Written::Edn => Format::Edn,
                Written::JepsenJson => Format::JepsenJson,
            }),
            ..told
        };
        match formats::read(written.as_slice(), &as_written) {
            Ok(again) => assert_eq!(again.invocations.len(), recording.invocations.len()),
            Err(error) => panic!("{error}\n{}", String::from_utf8_lossy(&written)),
        }
    }
}
