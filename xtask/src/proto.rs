//! The etcd client, written from the interface files that etcd publishes.
//!
//! Two steps, both mechanical. The published files carry options for Go's gogoproto and for the HTTP gateway, whose
//! definitions they import from elsewhere; [`strip`] removes those and nothing else. Then `protoc` and
//! `tonic-prost-build` turn the stripped files into Rust. Both results are committed, so that building Murphy needs
//! neither Go nor protoc.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The Go module that publishes the files, and its version: the one whose servers Murphy hunts first. Later versions
/// only add fields, which older and newer servers ignore.
const MODULE: &str = "go.etcd.io/etcd/api/v3";
const VERSION: &str = "v3.5.0";

/// The interface files that the client needs, by their path in the module.
const FILES: [&str; 3] = [
    "authpb/auth.proto",
    "mvccpb/kv.proto",
    "etcdserverpb/rpc.proto",
];

/// The path under which the published files import each other.
const IMPORT_PREFIX: &str = "etcd/api";

/// Where the stripped files and the generated code live.
const STRIPPED: &str = "crates/murphy-hunt/proto";
const GENERATED: &str = "crates/murphy-hunt/src/pb";

/// Why the client could not be written.
#[derive(Debug, thiserror::Error)]
pub enum ProtoError {
    /// A file could not be read or written.
    #[error("failed to access {path}: {source}")]
    File { path: PathBuf, source: io::Error },
    /// A program that this task needs is missing.
    #[error("failed to start {program}: {source}; install {package}")]
    Missing {
        program: &'static str,
        package: &'static str,
        source: io::Error,
    },
    /// A program that this task needs failed.
    #[error("{program} failed: {stderr}")]
    Failed {
        program: &'static str,
        stderr: String,
    },
    /// The published file has something that [`strip`] does not know.
    #[error("{file}:{line}: does not know how to strip {text:?}")]
    Unknown {
        file: String,
        line: usize,
        text: String,
    },
    /// protoc or the generator refused the stripped files.
    #[error("failed to generate code from {STRIPPED}: {0}")]
    Generate(io::Error),
    /// The committed files are not what would be written.
    #[error(
        "{0} differs from what would be written; run `cargo run -p xtask -- proto` and commit the result"
    )]
    Stale(PathBuf),
}

/// Whether to write the files or to compare them.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Write what differs.
    Write,
    /// Fail on what differs.
    Check,
}

impl Mode {
    /// The mode that the `--check` option asks for.
    pub fn from_check(check: bool) -> Self {
        if check { Self::Check } else { Self::Write }
    }
}

/// Writes the stripped interface files and the client, or compares them with what is committed.
///
/// In [`Mode::Check`] the published files are only compared if Go has them already: a check reaches for no network.
pub fn run(root: &Path, mode: Mode) -> Result<(), ProtoError> {
    let stripped = root.join(STRIPPED);
    match module_directory(mode)? {
        Some(module) => {
            for file in FILES {
                let text = strip(file, &read(&module.join(file))?)?;
                put(&stripped.join(IMPORT_PREFIX).join(file), &text, mode)?;
            }
            put(
                &stripped.join("LICENSE"),
                &read(&module.join("LICENSE"))?,
                mode,
            )?;
        }
        None => println!(
            "{MODULE}@{VERSION} is not in Go's module cache: the stripped files are taken as committed"
        ),
    }
    for (name, text) in generate(&stripped)? {
        put(&root.join(GENERATED).join(name), &text, mode)?;
    }
    Ok(())
}

/// Where Go keeps the module, downloaded if the mode allows it.
fn module_directory(mode: Mode) -> Result<Option<PathBuf>, ProtoError> {
    let missing = |source| ProtoError::Missing {
        program: "go",
        package: "the Go toolchain",
        source,
    };
    if mode == Mode::Check {
        let Ok(cache) = Command::new("go").args(["env", "GOMODCACHE"]).output() else {
            return Ok(None);
        };
        let cache = String::from_utf8_lossy(&cache.stdout).trim().to_owned();
        let directory = Path::new(&cache).join(format!("{MODULE}@{VERSION}"));
        return Ok(directory.is_dir().then_some(directory));
    }
    let download = Command::new("go")
        .args(["mod", "download", "-json", &format!("{MODULE}@{VERSION}")])
        .output()
        .map_err(missing)?;
    let described: serde_json::Value = serde_json::from_slice(&download.stdout).unwrap_or_default();
    match described["Dir"].as_str() {
        Some(directory) if download.status.success() => Ok(Some(PathBuf::from(directory))),
        _ => Err(ProtoError::Failed {
            program: "go mod download",
            stderr: described["Error"].as_str().map_or_else(
                || String::from_utf8_lossy(&download.stderr).trim().to_owned(),
                str::to_owned,
            ),
        }),
    }
}

/// A published interface file without the options and imports of gogoproto and of the HTTP gateway.
///
/// Works line by line on the shapes that etcd's files have: an import and the comment above it, an option on one line,
/// and an option whose braces span lines. Anything else that names those two extensions is an error, never passed on.
fn strip(file: &str, published: &str) -> Result<String, ProtoError> {
    let mut kept = String::with_capacity(published.len());
    let mut lines = published.lines().enumerate();
    while let Some((index, line)) = lines.next() {
        let code = line.trim();
        if !names_an_extension(code) {
            kept.push_str(line);
            kept.push('\n');
            continue;
        }
        let whole = code.starts_with("import ")
            || code.starts_with("// for ")
            || code.starts_with("option (") && code.ends_with(';');
        let opening = code.starts_with("option (") && code.ends_with('{');
        if opening {
            let mut depth = braces(code);
            while depth > 0 {
                let Some((_, inner)) = lines.next() else {
                    break;
                };
                depth += braces(inner);
            }
        } else if !whole {
            return Err(ProtoError::Unknown {
                file: file.to_owned(),
                line: index + 1,
                text: line.to_owned(),
            });
        }
    }
    Ok(kept)
}

/// Whether a line refers to gogoproto or to the HTTP gateway, or only introduces the gateway's import.
fn names_an_extension(code: &str) -> bool {
    [
        "gogoproto",
        "google.api",
        "google/api",
        "// for grpc-gateway",
    ]
    .iter()
    .any(|name| code.contains(name))
}

/// Braces opened less braces closed.
fn braces(line: &str) -> i32 {
    line.chars()
        .map(|c| i32::from(c == '{') - i32::from(c == '}'))
        .sum()
}

/// The client's files by name, formatted as rustfmt would.
fn generate(stripped: &Path) -> Result<Vec<(String, String)>, ProtoError> {
    let missing = |source| ProtoError::Missing {
        program: "protoc",
        package: "protobuf-compiler",
        source,
    };
    Command::new("protoc")
        .arg("--version")
        .output()
        .map_err(missing)?;

    let directory = tempfile::tempdir().map_err(|source| ProtoError::File {
        path: std::env::temp_dir(),
        source,
    })?;
    let files = FILES.map(|file| stripped.join(IMPORT_PREFIX).join(file));
    tonic_prost_build::configure()
        .build_server(false)
        .emit_rerun_if_changed(false)
        .out_dir(directory.path())
        .compile_protos(&files, &[stripped.to_path_buf()])
        .map_err(ProtoError::Generate)?;

    let listing = |source| ProtoError::File {
        path: directory.path().to_owned(),
        source,
    };
    let mut generated = Vec::new();
    for entry in fs::read_dir(directory.path()).map_err(listing)? {
        let path = entry.map_err(listing)?.path();
        format(&path)?;
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        generated.push((name, read(&path)?));
    }
    generated.sort();
    Ok(generated)
}

fn format(path: &Path) -> Result<(), ProtoError> {
    let missing = |source| ProtoError::Missing {
        program: "rustfmt",
        package: "the rustfmt component",
        source,
    };
    let output = Command::new("rustfmt")
        .args(["--edition", "2024"])
        .arg(path)
        .output()
        .map_err(missing)?;
    if output.status.success() {
        return Ok(());
    }
    Err(ProtoError::Failed {
        program: "rustfmt",
        stderr: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
    })
}

fn read(path: &Path) -> Result<String, ProtoError> {
    fs::read_to_string(path).map_err(|source| ProtoError::File {
        path: path.to_owned(),
        source,
    })
}

/// Writes or compares one file.
fn put(path: &Path, text: &str, mode: Mode) -> Result<(), ProtoError> {
    if fs::read_to_string(path).is_ok_and(|present| present == text) {
        return Ok(());
    }
    if mode == Mode::Check {
        return Err(ProtoError::Stale(path.to_owned()));
    }
    let file = |source| ProtoError::File {
        path: path.to_owned(),
        source,
    };
    fs::create_dir_all(path.parent().unwrap_or(path)).map_err(file)?;
    fs::write(path, text).map_err(file)?;
    println!("wrote {}", path.display());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strips_imports_and_options_of_the_two_extensions_only() {
        let published = "syntax = \"proto3\";\nimport \"gogoproto/gogo.proto\";\nimport \"etcd/api/mvccpb/kv.proto\";\n\
            option (gogoproto.sizer_all) = true;\nservice KV {\n  rpc Put(A) returns (B) {\n      option (google.api.http) = {\n\
            \x20       post: \"/v3/kv/put\"\n        body: \"*\"\n    };\n  }\n}\n";
        let stripped = strip("rpc.proto", published).expect("every shape in it is known");
        assert_eq!(
            stripped,
            "syntax = \"proto3\";\nimport \"etcd/api/mvccpb/kv.proto\";\nservice KV {\n  rpc Put(A) returns (B) {\n  }\n}\n"
        );
    }

    #[test]
    fn an_option_on_a_field_is_refused_with_its_place() {
        let refused = strip(
            "x.proto",
            "message M {\n  bytes id = 1 [(gogoproto.nullable) = false];\n}\n",
        );
        assert!(
            matches!(refused, Err(ProtoError::Unknown { line: 2, .. })),
            "{refused:?}"
        );
    }
}
