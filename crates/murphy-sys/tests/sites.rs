//! The system calls of real programs are found in their files, with what can be patched of them, and nothing else is.
//!
//! With `MURPHY_MODULES` (paths, with spaces between) the figures of other files are printed, too.
#![allow(clippy::print_stdout, reason = "figures are read by people")]

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs,
    fs::File,
    os::unix::fs::FileExt,
    path::Path,
};

use iced_x86::{Code, Decoder, DecoderOptions};
use murphy_sys::patch::{Module, ModuleError, Sites, Unfit};
use nix::libc;

/// Files that this process runs.
fn own() -> BTreeSet<String> {
    let maps = fs::read_to_string("/proc/self/maps").expect("a process has maps");
    let executable = maps.lines().filter(|line| line.contains(" r-xp "));
    let paths = executable.filter_map(|line| line.split_whitespace().nth(5));
    let paths = paths.filter(|path| path.starts_with('/'));
    paths.map(str::to_owned).collect()
}

fn read(path: &str) -> (Module, Sites) {
    let module = Module::read(&File::open(path).expect("it is there")).expect("it is a program");
    let sites = Sites::of(&module);
    let known = sites.fit.iter().filter(|site| site.number.is_some());
    let single = sites.fit.iter().filter(|site| site.moved.len() == 1);
    let mut why: BTreeMap<Unfit, usize> = BTreeMap::new();
    for refused in &sites.refused {
        *why.entry(refused.why).or_default() += 1;
    }
    let rooms = module.rooms().iter();
    let rooms: Vec<usize> = rooms.map(|room| room.pristine.len()).collect();
    println!(
        "figure: {path}: room {rooms:?} bytes; {} sites, of {} the number is known, of {} one instruction is moved; refused {why:?}",
        sites.fit.len(),
        known.count(),
        single.count(),
    );
    (module, sites)
}

/// Whatever is found is what it is said to be: the bytes are those of the file, whole instructions are moved, and no two sites
/// overlap.
fn assert_sound(module: &Module, sites: &Sites) {
    let mut last = 0;
    for site in &sites.fit {
        assert!(site.at >= last && site.length() >= 5, "{site:?}");
        last = site.syscall + 2;
        let mut code = module.code().iter();
        let bytes = code.find_map(|code| code.part(site.at..last));
        let bytes = bytes.expect("it is code");
        let mut reader = Decoder::with_ip(64, bytes, site.at, DecoderOptions::NONE);
        let decoded: Vec<_> = reader.iter().collect();
        let (syscall, moved) = decoded.split_last().expect("there are some");
        assert_eq!(
            (syscall.code(), syscall.ip()),
            (Code::Syscall, site.syscall)
        );
        assert_eq!(moved, &site.moved[..]);
    }
}

#[test]
fn of_the_libraries_of_this_process_nearly_every_call_can_be_patched() {
    let mut is_libc_seen = false;
    for path in own() {
        let (module, sites) = read(&path);
        assert_sound(&module, &sites);
        let name = Path::new(&path).file_name().and_then(|name| name.to_str());
        if name != Some("libc.so.6") {
            continue;
        }
        is_libc_seen = true;
        let calls = |number: i64| {
            let number = u32::try_from(number).expect("it is small");
            sites
                .fit
                .iter()
                .filter(move |site| site.number == Some(number))
                .count()
        };
        for number in [
            libc::SYS_write,
            libc::SYS_openat,
            libc::SYS_fsync,
            libc::SYS_connect,
        ] {
            assert!(calls(number) > 0, "{number}");
        }
        assert_eq!(calls(libc::SYS_rt_sigreturn), 0);
        assert!(sites.refused.iter().any(|one| one.why == Unfit::Restorer));
        assert!(
            sites.refused.iter().all(|one| one.why != Unfit::NoCode),
            "{:?}",
            sites.refused
        );
        // Of 526 glibc 2.36 has 520.
        assert!(
            sites.fit.len() >= 50 * sites.refused.len(),
            "{:?}",
            sites.refused
        );
        let rooms = module.rooms().iter();
        assert!(rooms.map(|room| room.pristine.len()).sum::<usize>() > 1000);
    }
    assert!(is_libc_seen, "this test runs on glibc");
    for path in env::var("MURPHY_MODULES")
        .unwrap_or_default()
        .split_whitespace()
    {
        let (module, sites) = read(path);
        assert_sound(&module, &sites);
    }
}

#[test]
fn the_room_behind_code_is_as_the_kernel_maps_it() {
    let maps = fs::read_to_string("/proc/self/maps").expect("a process has maps");
    let memory = File::open("/proc/self/mem").expect("its own");
    for path in own() {
        let module = Module::read(&File::open(&path).expect("it is there")).expect("a program");
        for code in module.code() {
            let offset = code.offset & !4095;
            let mapped = maps.lines().find_map(|line| {
                let words: Vec<&str> = line.split_whitespace().collect();
                let is_it = words.get(5) == Some(&path.as_str())
                    && words[1] == "r-xp"
                    && u64::from_str_radix(words[2], 16) == Ok(offset);
                let begins = words[0].split('-').next().expect("two addresses");
                is_it.then(|| u64::from_str_radix(begins, 16).expect("an address"))
            });
            let bias = mapped.expect("it is mapped").wrapping_sub(code.at & !4095);
            let read = |at: u64, length: usize| {
                let mut bytes = vec![0; length];
                let at = at.wrapping_add(bias);
                memory.read_exact_at(&mut bytes, at).expect("it is mapped");
                bytes
            };
            assert_eq!(read(code.at, code.bytes.len()), code.bytes, "{path}");
            for room in module.rooms() {
                assert_eq!(read(room.at, room.pristine.len()), room.pristine, "{path}");
            }
        }
    }
}

#[test]
fn what_is_no_program_of_this_machine_is_refused() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("file");
    let own = fs::read("/proc/self/exe").expect("its own");
    let read = |bytes: &[u8]| {
        fs::write(&path, bytes).expect("it can be written");
        Module::read(&File::open(&path).expect("it is there"))
    };
    for bytes in [&b""[..], b"#!/bin/sh\n", b"\x7fELF", &own[..40], &own[..64]] {
        assert!(matches!(read(bytes), Err(ModuleError::Elf(_))));
    }
    // Its headers say more than there is.
    assert!(read(&own[..own.len() / 100]).is_err());
    let mut foreign = own;
    // `e_machine`: 64-bit ARM.
    foreign[18] = 183;
    assert!(matches!(read(&foreign), Err(ModuleError::Machine)));
}
