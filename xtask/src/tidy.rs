//! The house rules that no compiler and no linter checks, as a test.
//!
//! Each rule is a pure function from a file's path and text to the lines that break it. Rules are few and cheap;
//! whatever clippy can say is left to clippy.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A file longer than this no longer fits in a head.
const LINES_MAX: usize = 800;

/// The one crate that may have `unsafe`.
const UNSAFE_CRATE: &str = "crates/murphy-sys/";

/// Written by a program, so no rule about how people write applies.
const GENERATED: [&str; 2] = ["crates/murphy-hunt/src/pb/", "Cargo.lock"];

/// This file must name what it forbids.
const ITSELF: &str = "xtask/src/tidy.rs";

/// Module names that say nothing, and so collect everything.
const NAMELESS: [&str; 8] = [
    "utils", "util", "common", "helpers", "helper", "manager", "imp", "misc",
];

/// What is left over from writing.
const LEFTOVERS: [&str; 5] = ["todo!", "FIXME", "TODO", "XXX", "dbg!("];

/// Where somebody's checkout or home happened to be.
const MACHINE_PATHS: [&str; 4] = ["/work/", "/root/", "/home/", "/Users/"];

/// One line that breaks one rule.
#[derive(Debug, PartialEq, Eq)]
struct Violation {
    path: String,
    line: usize,
    rule: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.rule)
    }
}

/// Why the checkout is not tidy, or could not be looked at.
#[derive(Debug, thiserror::Error)]
pub enum TidyError {
    /// The files of the checkout could not be listed.
    #[error("failed to list the files of the checkout with git: {0}")]
    List(io::Error),
    /// A file could not be read.
    #[error("failed to read {path}: {source}")]
    Read { path: PathBuf, source: io::Error },
    /// Rules are broken; each has been printed.
    #[error("{0}")]
    Untidy(String),
}

/// Checks every file of the checkout, ignored ones excepted, and prints what breaks a rule.
pub fn run(root: &Path) -> Result<(), TidyError> {
    let mut violations = Vec::new();
    let mut pages = Vec::new();
    let mut index = String::new();
    let files = files(root)?;
    for path in &files {
        let Some(text) = text(root, path)? else {
            continue;
        };
        violations.extend(check(path, &text));
        match path.as_str() {
            "docs/README.md" => index = text,
            page if page.starts_with("docs/") && extension(page) == "md" => {
                pages.push(page.to_owned());
            }
            _ => {}
        }
    }
    violations.extend(unlinked(&pages, &index));
    if violations.is_empty() {
        println!("{} files are tidy", files.len());
        return Ok(());
    }
    let lines: Vec<String> = violations.iter().map(Violation::to_string).collect();
    Err(TidyError::Untidy(format!(
        "the house rules are broken\n{}",
        lines.join("\n")
    )))
}

/// The files that are, or are about to be, in the repository.
fn files(root: &Path) -> Result<Vec<String>, TidyError> {
    let output = Command::new("git")
        .args([
            "ls-files",
            "-z",
            "--cached",
            "--others",
            "--exclude-standard",
        ])
        .current_dir(root)
        .output()
        .map_err(TidyError::List)?;
    if !output.status.success() {
        let reason = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(TidyError::List(io::Error::other(reason)));
    }
    let mut files: Vec<String> = String::from_utf8_lossy(&output.stdout)
        .split_terminator('\0')
        .filter(|path| {
            !GENERATED
                .iter()
                .any(|generated| path.starts_with(generated))
        })
        .map(str::to_owned)
        .collect();
    files.sort();
    files.dedup();
    Ok(files)
}

/// A file's text; nothing for what is not text, or was deleted and not yet committed so.
fn text(root: &Path, path: &str) -> Result<Option<String>, TidyError> {
    match fs::read(root.join(path)) {
        Ok(bytes) => Ok(String::from_utf8(bytes).ok()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(TidyError::Read {
            path: root.join(path),
            source,
        }),
    }
}

/// Every rule about a single file.
fn check(path: &str, text: &str) -> Vec<Violation> {
    let mut violations = Vec::new();
    let mut broken = |line: usize, rule: String| {
        violations.push(Violation {
            path: path.to_owned(),
            line,
            rule,
        });
    };
    if path == ITSELF {
        return violations;
    }
    let rust = extension(path) == "rs";
    for (index, line) in text.lines().enumerate() {
        let line_number = index + 1;
        if let Some(found) = LEFTOVERS
            .iter()
            .find(|leftover| rust && line.contains(**leftover))
        {
            broken(line_number, format!("{found} is left over"));
        }
        if let Some(found) = MACHINE_PATHS.iter().find(|prefix| has_path(line, prefix)) {
            broken(
                line_number,
                format!("a path under {found} exists on one machine only"),
            );
        }
        if rust && !path.starts_with(UNSAFE_CRATE) && has_unsafe(line) {
            broken(line_number, format!("unsafe belongs in {UNSAFE_CRATE}"));
        }
    }
    if rust {
        let lines = text.lines().count();
        if lines > LINES_MAX {
            broken(
                LINES_MAX + 1,
                format!("{lines} lines; split it at {LINES_MAX}"),
            );
        }
        if let Some(name) = Path::new(path)
            .components()
            .find_map(|part| nameless(part.as_os_str().to_str()?))
        {
            broken(
                1,
                format!("the module name {name} says nothing; name the noun it is about"),
            );
        }
        let root_file = path.ends_with("/src/lib.rs") || path.ends_with("/src/main.rs");
        if root_file && !path.starts_with(UNSAFE_CRATE) && !text.contains("#![forbid(unsafe_code)]")
        {
            broken(
                1,
                "the crate does not say #![forbid(unsafe_code)]".to_owned(),
            );
        }
        if path.contains("/src/") && !path.ends_with("/tests.rs") && !text.starts_with("//!") {
            broken(
                1,
                "the first line is not a module doc that defines the noun".to_owned(),
            );
        }
    }
    violations
}

fn extension(path: &str) -> &str {
    Path::new(path)
        .extension()
        .and_then(|extension| extension.to_str())
        .unwrap_or_default()
}

/// The forbidden name, if a folder or a file's stem is one.
fn nameless(part: &str) -> Option<&'static str> {
    let stem = part.strip_suffix(".rs").unwrap_or(part);
    NAMELESS.into_iter().find(|name| *name == stem)
}

/// Whether a line has an absolute path under the prefix: not the middle of a longer path or of a URL.
fn has_path(line: &str, prefix: &str) -> bool {
    line.match_indices(prefix).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        before.is_none_or(|c| !c.is_alphanumeric() && !"./-_~}".contains(c))
    })
}

/// Whether a line has unsafe code, comments aside.
fn has_unsafe(line: &str) -> bool {
    let code = line.split("//").next().unwrap_or_default();
    [
        "unsafe {",
        "unsafe fn",
        "unsafe impl",
        "unsafe extern",
        "unsafe trait",
        "#[unsafe(",
    ]
    .iter()
    .any(|form| code.contains(form))
}

/// Pages of the documentation that its index does not link.
fn unlinked(pages: &[String], index: &str) -> Vec<Violation> {
    pages
        .iter()
        .filter(|page| !index.contains(&format!("({})", page.trim_start_matches("docs/"))))
        .map(|page| Violation {
            path: page.clone(),
            line: 1,
            rule: "docs/README.md does not link it".to_owned(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(path: &str, text: &str) -> Vec<String> {
        check(path, text)
            .into_iter()
            .map(|violation| violation.rule)
            .collect()
    }

    #[test]
    fn each_rule_is_broken_by_its_example() {
        for (path, text, rule) in [
            (
                "crates/a/src/b.rs",
                "//! B.\nfn f() { todo!() }\n",
                "todo! is left over",
            ),
            (
                "crates/a/src/b.rs",
                "//! B.\nfn f() { unsafe { g() } }\n",
                "unsafe belongs in crates/murphy-sys/",
            ),
            (
                "crates/a/src/utils.rs",
                "//! U.\n",
                "the module name utils says nothing; name the noun it is about",
            ),
            (
                "crates/a/src/common/x.rs",
                "//! X.\n",
                "the module name common says nothing; name the noun it is about",
            ),
            (
                "crates/a/src/b.rs",
                "fn f() {}\n",
                "the first line is not a module doc that defines the noun",
            ),
            (
                "crates/a/src/lib.rs",
                "//! A.\n",
                "the crate does not say #![forbid(unsafe_code)]",
            ),
            (
                "README.md",
                "see `/root/x`\n",
                "a path under /root/ exists on one machine only",
            ),
            (
                "Makefile",
                "cd /work/main\n",
                "a path under /work/ exists on one machine only",
            ),
        ] {
            assert_eq!(rules(path, text), [rule], "{path}: {text:?}");
        }
        let long = format!("//! Long.\n{}", "\n".repeat(LINES_MAX));
        assert_eq!(
            rules("crates/a/src/b.rs", &long),
            [format!("{} lines; split it at {LINES_MAX}", LINES_MAX + 1)]
        );
    }

    #[test]
    fn what_only_looks_like_a_violation_passes() {
        for (path, text) in [
            (
                "crates/murphy-sys/src/a.rs",
                "//! A.\nfn f() { unsafe { g() } }\n",
            ),
            (
                "crates/a/src/b.rs",
                "//! B, which needs no unsafe { } block.\n",
            ),
            ("crates/a/src/utility.rs", "//! U.\n"),
            (
                "README.md",
                "see docs/work/x, example.org/root/x and ${x}/home/y\n",
            ),
        ] {
            assert_eq!(rules(path, text), [] as [&str; 0], "{path}: {text:?}");
        }
    }

    #[test]
    fn a_page_must_be_linked_from_the_index() {
        let pages = ["docs/hunt.md".to_owned(), "docs/lost.md".to_owned()];
        let unlinked = unlinked(&pages, "[Hunt](hunt.md)");
        assert_eq!(unlinked.len(), 1);
        assert_eq!(unlinked[0].path, "docs/lost.md");
    }

    #[test]
    fn this_checkout_is_tidy() {
        let outcome = run(&crate::root());
        assert!(
            outcome.is_ok(),
            "{}",
            outcome
                .err()
                .map(|error| error.to_string())
                .unwrap_or_default()
        );
    }
}
