//! Figures are what a second of load came to, in all and for each catalog, as one line of JSON.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Write},
    path::PathBuf,
    time::Duration,
};

use serde_json::{Value, json};

/// A file of figures that is longer is kept as the one before, and a new one begun.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// How one request was served.
#[derive(Debug)]
pub struct Served {
    /// The catalog that the front end asked, if it said so.
    pub catalog: Option<String>,
    /// Whether it was an order.
    pub is_order: bool,
    /// Whether it was answered as asked.
    pub is_well: bool,
    /// How long it took.
    pub took: Duration,
}

/// What ended within one second.
#[derive(Debug, Default)]
pub struct Figures {
    all: Part,
    catalogs: BTreeMap<String, Part>,
    orders: u64,
    /// Requests that were not sent because too many were under way.
    pub unsent: u64,
}

/// The figures of some requests.
#[derive(Debug, Default)]
struct Part {
    took_ms: Vec<f64>,
    failures: u64,
}

impl Figures {
    /// Counts one.
    pub fn add(&mut self, served: Served) {
        let took_ms = served.took.as_secs_f64() * 1000.0;
        self.orders += u64::from(served.is_order && served.is_well);
        self.all.add(took_ms, served.is_well);
        if let Some(catalog) = served.catalog {
            let part = self.catalogs.entry(catalog).or_default();
            part.add(took_ms, served.is_well);
        }
    }

    /// The line for a second.
    pub fn line(mut self, second: u64) -> Value {
        let mut line = self.all.value();
        let upstreams: BTreeMap<String, Value> = self
            .catalogs
            .into_iter()
            .map(|(name, mut part)| (name, part.value()))
            .collect();
        line["second"] = json!(second);
        line["orders"] = json!(self.orders);
        line["unsent"] = json!(self.unsent);
        line["upstreams"] = json!(upstreams);
        line
    }
}

impl Part {
    fn add(&mut self, took_ms: f64, is_well: bool) {
        self.took_ms.push(took_ms);
        self.failures += u64::from(!is_well);
    }

    fn value(&mut self) -> Value {
        self.took_ms.sort_by(f64::total_cmp);
        json!({
            "requests": self.took_ms.len(),
            "failures": self.failures,
            "p50_ms": self.quantile(50),
            "p99_ms": self.quantile(99),
        })
    }

    /// The value that so many of a hundred do not exceed, to a microsecond; nothing where there is none.
    fn quantile(&self, percent: usize) -> Option<f64> {
        let rank = (self.took_ms.len() * percent).div_ceil(100);
        let value = self.took_ms.get(rank.checked_sub(1)?)?;
        Some((value * 1000.0).round() / 1000.0)
    }
}

/// Where the figures go.
#[derive(Debug)]
pub enum Out {
    /// To whoever reads standard output.
    Standard,
    /// To a file, of which one predecessor is kept.
    File(PathBuf, File),
}

impl Out {
    /// Opens the file, or standard output where there is none.
    pub fn open(path: Option<PathBuf>) -> io::Result<Self> {
        Ok(match path {
            None => Self::Standard,
            Some(path) => {
                let file = File::options().create(true).append(true).open(&path)?;
                Self::File(path, file)
            }
        })
    }

    /// Writes a line, whole.
    pub fn write(&mut self, line: &Value) -> io::Result<()> {
        let line = format!("{line}\n");
        match self {
            Self::Standard => {
                let mut out = io::stdout().lock();
                out.write_all(line.as_bytes()).and_then(|()| out.flush())
            }
            Self::File(path, file) => {
                if file.metadata()?.len() > FILE_BYTES_MAX {
                    fs::rename(&*path, path.with_extension("before"))?;
                    *file = File::options().create(true).append(true).open(&*path)?;
                }
                file.write_all(line.as_bytes())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_is_counted_in_all_and_by_catalog() {
        let mut figures = Figures::default();
        for ms in 1..=100 {
            figures.add(Served {
                catalog: Some(format!("catalog-{}", ms % 2 + 1)),
                is_order: ms % 10 == 0,
                is_well: ms != 99,
                took: Duration::from_millis(ms),
            });
        }
        figures.add(Served {
            catalog: None,
            is_order: true,
            is_well: false,
            took: Duration::from_secs(3),
        });
        let line = figures.line(7);
        assert_eq!(line["second"], 7);
        assert_eq!(line["orders"], 10);
        assert_eq!(
            (&line["requests"], &line["failures"]),
            (&json!(101), &json!(2))
        );
        assert_eq!(
            (&line["p50_ms"], &line["p99_ms"]),
            (&json!(51.0), &json!(100.0))
        );
        let second = &line["upstreams"]["catalog-2"];
        assert_eq!(
            (&second["requests"], &second["failures"]),
            (&json!(50), &json!(1))
        );
        assert_eq!(second["p50_ms"], json!(49.0));
        assert_eq!(line["upstreams"]["catalog-1"]["failures"], 0);
        assert!(Figures::default().line(0)["p50_ms"].is_null());
    }
}
