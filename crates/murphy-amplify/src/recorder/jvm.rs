//! A JVM's own figures, as the JDK's `jstat` tells them: pools, collections, and how long they took.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, PoisonError},
    thread::{self, JoinHandle},
    time::Duration,
};

/// The columns of `jstat -gc`, by their names: sizes in KiB, times in seconds.
pub type Columns = BTreeMap<String, f64>;

/// A `jstat` that looks at one JVM, until it is dropped.
#[derive(Debug)]
pub struct Jvm {
    jstat: Child,
    reader: Option<JoinHandle<()>>,
    latest: Arc<Mutex<Option<Columns>>>,
}

impl Jvm {
    /// Begins to look at a JVM so often; none where there is no `jstat`, or none that may.
    pub fn watch(pid: u32, every: Duration) -> Option<Self> {
        let every_ms = every.as_millis().max(1).to_string();
        let mut jstat = Command::new("jstat")
            .args(["-gc", &pid.to_string(), &every_ms])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        let latest = Arc::new(Mutex::new(None));
        let into = Arc::clone(&latest);
        let said = jstat.stdout.take()?;
        let reader = thread::Builder::new().name("jstat".into()).spawn(move || {
            let mut lines = BufReader::new(said).lines().map_while(Result::ok);
            let Some(head) = lines.next() else { return };
            for line in lines {
                *into.lock().unwrap_or_else(PoisonError::into_inner) = columns(&head, &line);
            }
        });
        let mut jvm = Self {
            jstat,
            reader: None,
            latest,
        };
        // Without a thread nobody reads: it is ended as it is dropped.
        jvm.reader = Some(reader.ok()?);
        Some(jvm)
    }

    /// What it has said last; none if it has said nothing since this was asked.
    pub fn take(&self) -> Option<Columns> {
        self.latest
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }
}

impl Drop for Jvm {
    fn drop(&mut self) {
        // It may have ended with its JVM.
        let _ = self.jstat.kill();
        let _ = self.jstat.wait();
        if let Some(reader) = self.reader.take() {
            // It ends with what it reads from.
            let _ = reader.join();
        }
    }
}

/// A line of figures below its names; `-` is none.
fn columns(head: &str, line: &str) -> Option<Columns> {
    let names: Vec<&str> = head.split_whitespace().collect();
    let values: Vec<&str> = line.split_whitespace().collect();
    if names.len() != values.len() {
        return None;
    }
    let all = names.iter().zip(values);
    // Some locales write a comma.
    let all = all.filter_map(|(name, value)| {
        Some(((*name).to_owned(), value.replace(',', ".").parse().ok()?))
    });
    Some(all.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_jstat_is_figures_by_their_names() {
        let head = "    S0C         S1C         EU       YGC     YGCT     CGC    CGCT ";
        let line = "     0.0         8.5       36864.0     7     0.015     -     -";
        let said = columns(head, line).expect("they are as many");
        let expected = [
            ("S0C", 0.0),
            ("S1C", 8.5),
            ("EU", 36_864.0),
            ("YGC", 7.0),
            ("YGCT", 0.015),
        ];
        let expected = expected.map(|(name, value)| (name.to_owned(), value));
        assert_eq!(said, Columns::from(expected));
        assert_eq!(columns(head, "1 2"), None);
    }
}
