//! A program of `victims/clock/` or `victims/calls/`, built when its source or its recipe has changed.

use std::{
    env,
    ffi::OsString,
    fs,
    hash::{DefaultHasher, Hash, Hasher},
    path::{Path, PathBuf},
    process::Command,
    sync::Mutex,
};

/// What stands for the source, and for what is built of it, in a recipe.
const SOURCE: &str = "SOURCE";
const BUILT: &str = "BUILT";
/// One build at a time: they are quick, and the machine is small.
static BUILDING: Mutex<()> = Mutex::new(());

/// Which program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// C with glibc, linked dynamically.
    C,
    /// C with glibc, linked statically.
    CStatic,
    /// C with musl, linked statically.
    CMusl,
    Rust,
    Go,
    /// By the Go of Debian bookworm, where that is beside another.
    Go119,
    Java,
    Python,
    Node,
    /// Asks for the time as fast as it can.
    Hammer,
    /// The same with musl, linked statically.
    HammerMusl,
    /// Runs a program as if the kernel lacked something.
    Without,
    /// Looks whether its registers are kept.
    Registers,
    /// Complains when the wall clock goes back.
    Monitor,
    /// Makes calls and counts what comes of them.
    Calls,
    /// The same, linked statically.
    CallsStatic,
    /// The same with musl, linked statically.
    CallsMusl,
    CallsRust,
    CallsGo,
    CallsGo119,
    CallsJava,
    CallsPython,
    CallsNode,
}

/// How a program is built, of what, and started.
struct Recipe {
    source: &'static str,
    /// No words where there is nothing to build.
    build: &'static str,
    run: &'static str,
}

impl Program {
    /// Those that a C compiler builds.
    pub const IN_C: [Self; 10] = [
        Self::C,
        Self::CStatic,
        Self::CMusl,
        Self::Hammer,
        Self::HammerMusl,
        Self::Without,
        Self::Registers,
        Self::Calls,
        Self::CallsStatic,
        Self::CallsMusl,
    ];

    /// Those that make calls.
    pub const CALLING: [Self; 9] = [
        Self::Calls,
        Self::CallsStatic,
        Self::CallsMusl,
        Self::CallsRust,
        Self::CallsGo,
        Self::CallsGo119,
        Self::CallsJava,
        Self::CallsPython,
        Self::CallsNode,
    ];

    fn recipe(self) -> Recipe {
        let recipe = |source, build, run| Recipe { source, build, run };
        let gcc = "gcc -O2 -pthread -o BUILT SOURCE";
        let gcc_static = "gcc -O2 -pthread -static -o BUILT SOURCE";
        let musl = "musl-gcc -O2 -pthread -static -o BUILT SOURCE";
        let rustc = "rustc --edition 2024 -O -o BUILT SOURCE";
        let go = "go build -buildvcs=false -o BUILT SOURCE";
        let go119 = "/usr/lib/go-1.19/bin/go build -buildvcs=false -o BUILT SOURCE";
        match self {
            Self::C => recipe("clock.c", gcc, BUILT),
            Self::CStatic => recipe("clock.c", gcc_static, BUILT),
            Self::CMusl => recipe("clock.c", musl, BUILT),
            Self::Rust => recipe("clock.rs", rustc, BUILT),
            Self::Go => recipe("clock.go", go, BUILT),
            Self::Go119 => recipe("clock.go", go119, BUILT),
            Self::Java => recipe(
                "Clock.java",
                "javac -d BUILT SOURCE",
                "java -cp BUILT Clock",
            ),
            Self::Python => recipe("clock.py", "", "python3 SOURCE"),
            Self::Node => recipe("clock.js", "", "node SOURCE"),
            Self::Hammer => recipe("hammer.c", gcc, BUILT),
            Self::HammerMusl => recipe("hammer.c", musl, BUILT),
            Self::Without => recipe("without.c", gcc, BUILT),
            Self::Registers => recipe("registers.c", gcc, BUILT),
            Self::Monitor => recipe("monitor.go", go, BUILT),
            Self::Calls => recipe("calls.c", gcc, BUILT),
            Self::CallsStatic => recipe("calls.c", gcc_static, BUILT),
            Self::CallsMusl => recipe("calls.c", musl, BUILT),
            Self::CallsRust => recipe("calls.rs", rustc, BUILT),
            Self::CallsGo => recipe("calls.go", go, BUILT),
            Self::CallsGo119 => recipe("calls.go", go119, BUILT),
            Self::CallsJava => recipe(
                "Calls.java",
                "javac -d BUILT SOURCE",
                "java -cp BUILT Calls",
            ),
            Self::CallsPython => recipe("calls.py", "", "python3 SOURCE"),
            Self::CallsNode => recipe("calls.js", "", "node SOURCE"),
        }
    }

    /// The words that start it; none, with the reason, where the tool is missing that it needs.
    pub fn words_or_skip(self) -> Option<Vec<OsString>> {
        let recipe = self.recipe();
        let tools = [recipe.build, recipe.run].map(|words| words.split(' ').next().unwrap_or(""));
        for tool in tools.into_iter().filter(|tool| !["", BUILT].contains(tool)) {
            tool_or_skip(tool)?;
        }
        let folder = if Self::CALLING.contains(&self) {
            "calls"
        } else {
            "clock"
        };
        let source = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../../victims")
            .join(folder)
            .join(recipe.source);
        let built = built(&recipe, &source);
        Some(words(recipe.run, &source, &built))
    }
}

/// Where a tool is; none, with the reason, where it is not.
pub fn tool_or_skip(tool: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let mut candidates = env::split_paths(&path).map(|directory| directory.join(tool));
    let found = candidates.find(|candidate| candidate.is_file());
    if found.is_none() {
        crate::harness::say_skipped(tool);
    }
    found
}

fn words(recipe: &str, source: &Path, built: &Path) -> Vec<OsString> {
    let filled = recipe.split(' ').map(|word| match word {
        SOURCE => source.into(),
        BUILT => built.into(),
        _ => word.into(),
    });
    filled.collect()
}

/// What a recipe makes of a source: there already, or made now.
fn built(recipe: &Recipe, source: &Path) -> PathBuf {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("victims");
    let mut content = DefaultHasher::new();
    fs::read(source)
        .expect("a victim's source")
        .hash(&mut content);
    recipe.build.hash(&mut content);
    let built = directory.join(format!("{}-{:016x}", recipe.source, content.finish()));
    let building = BUILDING.lock().expect("nobody panics with it");
    if recipe.build.is_empty() || built.exists() {
        return built;
    }
    fs::create_dir_all(&directory).expect("a directory for the victims");
    // Made beside and moved: another run of the tests never sees half of it.
    let draft = built.with_extension(std::process::id().to_string());
    let words = words(recipe.build, source, &draft);
    let made = Command::new(&words[0])
        .args(&words[1..])
        .env("CGO_ENABLED", "0")
        .output()
        .expect("the compiler starts");
    if made.status.success() {
        // A directory that somebody else has moved there meanwhile is as good.
        let _ = fs::rename(&draft, &built);
    }
    let complaints = String::from_utf8_lossy(&made.stderr).into_owned();
    drop(building);
    assert!(built.exists(), "{words:?} failed: {complaints}");
    built
}
