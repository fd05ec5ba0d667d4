//! Writes a generated history to standard output: `generate mixed|leased|registry|compare OPERATIONS SEED`.

use std::io;

use murphy_check::etcd::generate::{self, Profile};

fn main() -> io::Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let number = |place: usize| words.get(place).and_then(|word| word.parse().ok());
    let operations = number(1).unwrap_or(100_000);
    let profile = match words.first().map(String::as_str) {
        Some("compare") => Profile::compare(operations),
        Some("leased") => Profile::leased(operations),
        Some("registry") => Profile {
            registry: true,
            ..Profile::mixed(operations)
        },
        _ => Profile::mixed(operations),
    };
    let seed = number(2).unwrap_or(1) as u64;
    generate::write(&profile, seed, io::BufWriter::new(io::stdout().lock())).map(drop)
}
