//! The folder of an etcd report: which files of it are read, and what becomes of them.

use std::{
    fs::{self, File},
    io::{Cursor, Read},
    path::{Path, PathBuf},
};

use murphy_check::{
    formats::etcd_report::{self, Converted, ReportError},
    recording::Strictness,
};

use super::{History, compression, say_warnings};
use crate::{
    exit::Failure,
    output::{self, plural},
};

/// The files a client leaves.
const FILES: [&str; 2] = ["operations.json", "watch.json"];

/// A file of a report, and its name within the report.
pub type Part = (String, PathBuf);

/// The files of the clients in a folder, by the number of the client; `None` where there are none.
pub fn files(folder: &Path) -> Result<Option<Vec<Part>>, Failure> {
    let unreadable =
        |error| Failure::input(format!("read the folder {}: {error}", folder.display()));
    let mut clients = Vec::new();
    for entry in fs::read_dir(folder).map_err(unreadable)? {
        let name = entry.map_err(unreadable)?.file_name();
        if let Some(number) = name.to_str().and_then(|name| name.strip_prefix("client-")) {
            clients.push((number.parse::<u64>().unwrap_or(u64::MAX), name));
        }
    }
    clients.sort();
    let mut files = Vec::new();
    for (_, client) in clients {
        for file in FILES {
            let path = folder.join(&client).join(file);
            if path.is_file() {
                files.push((path.display().to_string(), path));
            }
        }
    }
    Ok((!files.is_empty()).then_some(files))
}

/// Whether a path is that of a file of a report, such as `client-3/watch.json`.
pub fn is_part(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str());
    name.is_some_and(|name| FILES.contains(&name))
}

/// Converts the files of a report into one history of model `etcd`.
pub fn convert(files: &[Part], strictness: Strictness) -> Result<History, Failure> {
    let mut sources = Vec::new();
    for (name, path) in files {
        let cannot = |error| Failure::input(format!("open {name}: {error}"));
        let file = File::open(path).map_err(cannot)?;
        sources.push((
            name.clone(),
            compression::plain(Box::new(file)).map_err(cannot)?,
        ));
    }
    whole(sources, strictness)
}

/// Converts one file of a report.
pub fn convert_one(
    name: &str,
    source: impl Read,
    strictness: Strictness,
) -> Result<History, Failure> {
    whole([(name.to_owned(), source)], strictness)
}

fn whole<R: Read>(
    sources: impl IntoIterator<Item = (String, R)>,
    strictness: Strictness,
) -> Result<History, Failure> {
    let mut history = Vec::new();
    let converted = etcd_report::convert(sources, strictness, &mut history);
    let converted = converted.map_err(|error| match error {
        ReportError::Write(_) => Failure::machine(format!("write the history: {error}")),
        _ => Failure::input(format!("read {error}")),
    })?;
    say(&converted);
    Ok(History::Etcd(Box::new(Cursor::new(history))))
}

fn say(converted: &Converted) {
    let said = converted
        .warnings
        .iter()
        .map(|(name, warning)| format!("{name}:{}: {}", warning.line, warning.problem));
    say_warnings(said, converted.left_out);
    if converted.without_words > 0 {
        output::note(&format!(
            "murphy: {} of leases and defragmentation left out: model etcd has no words for them",
            plural(converted.without_words, "operation")
        ));
    }
}
