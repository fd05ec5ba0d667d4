//! One stripped, static release binary, as it would be handed to somebody.

use std::fs;
use std::io;
use std::path::Path;
use std::process::Command;

use crate::suite::target_directory;

/// Static, so that it runs on any Linux of this architecture; stripped, because reports of bugs name the version.
const FLAGS: &str = "-C target-feature=+crt-static -C strip=symbols";

/// Why there is no binary to hand out.
#[derive(Debug, thiserror::Error)]
pub enum DistError {
    /// A program could not be started.
    #[error("failed to start {program}: {source}")]
    Start {
        program: &'static str,
        source: io::Error,
    },
    /// A program failed, and has said why.
    #[error("{0} failed")]
    Failed(&'static str),
    /// The binary could not be copied.
    #[error("failed to write dist/murphy: {0}")]
    Write(io::Error),
}

/// Builds `dist/murphy` and says how large it is.
pub fn run(root: &Path) -> Result<(), DistError> {
    let host = host()?;
    // Naming the target keeps the flags away from build scripts and procedural macros, which cannot be static.
    let status = Command::new("cargo")
        .args([
            "build",
            "--locked",
            "--release",
            "--package",
            "murphy",
            "--target",
            &host,
        ])
        .env("RUSTFLAGS", FLAGS)
        .current_dir(root)
        .status()
        .map_err(|source| DistError::Start {
            program: "cargo",
            source,
        })?;
    if !status.success() {
        return Err(DistError::Failed("cargo build"));
    }
    let built = target_directory(root)
        .join(host)
        .join("release")
        .join("murphy");
    let distributed = root.join("dist").join("murphy");
    fs::create_dir_all(root.join("dist")).map_err(DistError::Write)?;
    let bytes = fs::copy(built, distributed).map_err(DistError::Write)?;
    println!("dist/murphy, {:.1} MiB", bytes as f64 / f64::from(1 << 20));
    Ok(())
}

/// The target for which this toolchain builds by itself.
fn host() -> Result<String, DistError> {
    let output = Command::new("rustc")
        .arg("--version")
        .arg("--verbose")
        .output()
        .map_err(|source| DistError::Start {
            program: "rustc",
            source,
        })?;
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .find_map(|line| line.strip_prefix("host: ").map(str::to_owned))
        .ok_or(DistError::Failed("rustc --version --verbose"))
}
