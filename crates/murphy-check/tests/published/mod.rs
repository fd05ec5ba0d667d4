//! Corpora that come in published packages, fetched with the ordinary client of their language.

use std::{io::Write, path::PathBuf, process::Command};

/// The version whose data is judged.
const PORCUPINE: &str = "github.com/anishathalye/porcupine@v1.3.1";

/// The folder of porcupine's test data; `None`, and said so, where there is no Go.
pub fn porcupine() -> Option<PathBuf> {
    let fetched = Command::new("go")
        .args(["mod", "download", "-json", PORCUPINE])
        .current_dir(std::env::temp_dir())
        .output();
    let Ok(fetched) = fetched else {
        // Past the capture of the test runner, so that it is counted.
        let _ = std::io::stderr().write_all(b"skipped: go\n");
        return None;
    };
    let said: serde_json::Value = serde_json::from_slice(&fetched.stdout).unwrap_or_else(|error| {
        panic!(
            "go mod download: {error}: {}",
            String::from_utf8_lossy(&fetched.stderr)
        )
    });
    let folder = said["Dir"].as_str();
    let folder = folder.unwrap_or_else(|| panic!("go mod download {PORCUPINE}: {}", said["Error"]));
    Some(PathBuf::from(folder).join("test_data"))
}
