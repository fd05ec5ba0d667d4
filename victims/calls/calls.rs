//! Makes system calls as Rust's standard library does, and counts what came of each: see calls.c.
//!
//!     calls DIRECTORY CALL...

use std::{
    env,
    fs::{self, File, OpenOptions, Permissions},
    io::{self, Read, Write},
    net::UdpSocket,
    os::unix::fs::{symlink, FileExt, PermissionsExt},
    process,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

const PLACES: usize = 256;
const NOT_A_DIRECTORY: i32 = 20;

/// A call that fails in the way that is expected where nothing is done to it.
fn made(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.raw_os_error() == Some(NOT_A_DIRECTORY) => Ok(()),
        other => other,
    }
}

fn main() -> io::Result<()> {
    let words: Vec<String> = env::args().collect();
    env::set_current_dir(&words[1])?;
    let names = &words[2..];
    let open = |name| OpenOptions::new().read(true).write(true).create(true).truncate(false).open(name);
    // Whoever reads them does so in the memory of this process.
    let counts: Vec<AtomicU64> = (0..PLACES * names.len()).map(|_| AtomicU64::new(0)).collect();
    let mut file = open("file")?;
    file.write_all_at(b"murphy", 0)?;
    symlink("file", "link")?;
    let taken = UdpSocket::bind("127.0.0.1:0")?;
    let out = UdpSocket::bind("127.0.0.1:0")?;
    out.connect(taken.local_addr()?)?;
    println!("ready {} {}", process::id(), counts.as_ptr() as usize);
    let mut buffer = [0; 8];
    for turn in 0_u64.. {
        if turn % 16 == 0 && fs::set_permissions("end", Permissions::from_mode(0o600)).is_ok() {
            break;
        }
        for (place, name) in names.iter().enumerate() {
            let result = match name.as_str() {
                "read" => file.read(&mut buffer).map(|_| ()),
                "pread64" => file.read_at(&mut buffer, 0).map(|_| ()),
                "write" => file.write(b"x").map(|_| ()),
                "pwrite64" => file.write_at(b"x", 0).map(|_| ()),
                "fsync" => file.sync_all(),
                "fdatasync" => file.sync_data(),
                "ftruncate" => file.set_len(64),
                "openat" => File::open("file").map(|_| ()),
                "statx" => fs::metadata("file").map(|_| ()),
                "mkdir" => made(fs::create_dir("file/no")),
                "unlink" => made(fs::remove_file("file/no")),
                "rename" => made(fs::rename("file/no", "no")),
                "readlink" => fs::read_link("link").map(|_| ()),
                "sendto" => out.send(b"x").map(|_| ()),
                "getppid" => {
                    let _ = std::os::unix::process::parent_id();
                    Ok(())
                }
                _ => Err(io::Error::from_raw_os_error(38)),
            };
            if let Err(error) = result {
                let errno = error.raw_os_error().unwrap_or(1);
                counts[PLACES * place + errno as usize].fetch_add(1, Relaxed);
            }
            counts[PLACES * place].fetch_add(1, Relaxed);
        }
    }
    Ok(())
}
