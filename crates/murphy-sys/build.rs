//! Compiles the BPF programs of `bpf/`, where there is an architecture they are written for.

use std::{
    env,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

/// One program: the engine that needs it is loaded or refused as a whole.
const PROGRAMS: [&str; 15] = [
    "family",
    "traffic",
    "group",
    "flows",
    "accepted",
    "opened",
    "tcp_events",
    "socket_iterator",
    "dns",
    "drops",
    "syscalls",
    "census",
    "cgroup_errors",
    "lsm_errors",
    "fmod_errors",
];

fn main() -> ExitCode {
    println!("cargo:rerun-if-changed=bpf");
    let arch = match env::var("CARGO_CFG_TARGET_ARCH").as_deref() {
        Ok("x86_64") => "x86",
        // `murphy-sys` refuses there what needs them.
        _ => return ExitCode::SUCCESS,
    };
    let path = |name: &str| PathBuf::from(env::var_os(name).unwrap_or_default());
    for program in PROGRAMS {
        let source = format!("bpf/{program}.bpf.c");
        let object = path("OUT_DIR").join(format!("{program}.bpf.o"));
        if let Err(why) = compile(arch, &path("DEP_BPF_INCLUDE"), &source, &object) {
            println!("cargo:error=failed to compile {source}: {why}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

fn compile(arch: &str, include: &Path, source: &str, object: &Path) -> Result<(), String> {
    run(Command::new("clang")
        .args([
            "-target", "bpf", "-mcpu=v3", "-O2", "-g", "-Wall", "-Werror", "-c",
        ])
        .arg(format!("-D__TARGET_ARCH_{arch}"))
        .arg("-I")
        .arg(include)
        .arg("-o")
        .arg(object)
        .arg(source))?;
    // What is for debuggers is most of it; what the kernel reads stays.
    run(Command::new("llvm-strip").arg("-g").arg(object))
}

fn run(command: &mut Command) -> Result<(), String> {
    let name = command.get_program().to_string_lossy().into_owned();
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("{name}: {status}")),
        Err(error) => Err(format!("{name}: {error}; install clang and llvm")),
    }
}
