//! What a process has mapped: its executable files, each read once for all processes that map it.

use std::{
    collections::HashMap, fs, fs::File, io, ops::Range, os::unix::fs::MetadataExt, sync::Arc,
};

use super::{Code, Module, ModuleError, Room, Sites};

/// What the kernel maps at least.
pub(super) const PAGE: u64 = 4096;

/// Modules that were read once: many processes map the same files.
#[derive(Debug, Default)]
pub struct Library(HashMap<FileId, Arc<Known>>);

/// A file, and of which time: device, inode, length, and when its content and itself changed.
type FileId = (u64, u64, u64, i64, i64);

/// A file that was read.
#[derive(Debug)]
pub(super) struct Known {
    pub module: Module,
    pub sites: Sites,
}

impl Library {
    /// Reads the shared libraries that this process runs itself: a program that starts may map the same, and is patched sooner
    /// then.
    pub fn learn_own(&mut self) {
        let maps = fs::read_to_string("/proc/self/maps").unwrap_or_default();
        let libraries = maps.lines().filter_map(Mapping::read);
        for library in libraries.filter(|mapping| mapping.path.contains(".so")) {
            // What cannot be read now is read when it is needed, and said to be unreadable then.
            let _ = library.module(std::process::id(), self);
        }
    }

    fn read(&mut self, file: &File) -> Result<Arc<Known>, ModuleError> {
        let meta = file.metadata()?;
        let id = (
            meta.dev(),
            meta.ino(),
            meta.len(),
            meta.mtime_nsec() ^ meta.mtime(),
            meta.ctime_nsec() ^ meta.ctime(),
        );
        if let Some(known) = self.0.get(&id) {
            return Ok(Arc::clone(known));
        }
        let module = Module::read(file)?;
        let sites = Sites::of(&module);
        let known = Arc::new(Known { module, sites });
        self.0.insert(id, Arc::clone(&known));
        Ok(known)
    }
}

/// A module as a process has it mapped.
#[derive(Debug)]
pub(super) struct Mapped {
    pub path: String,
    /// How far its addresses are shifted.
    pub bias: u64,
    pub known: Arc<Known>,
}

impl Mapped {
    /// Its rooms, and where the process has each.
    pub fn rooms(&self) -> impl Iterator<Item = (u64, &Room)> {
        let rooms = self.known.module.rooms().iter();
        rooms.map(|room| (room.at.wrapping_add(self.bias), room))
    }

    /// What a part of the code is in the file.
    pub fn pristine(&self, at: Range<u64>) -> &[u8] {
        let mut code = self.known.module.code().iter();
        // Sites are found in the code.
        code.find_map(|code| code.part(at.clone())).unwrap_or(&[])
    }
}

/// A line of `/proc/PID/maps` that is of a file, and executable.
pub(super) struct Mapping<'a> {
    range: &'a str,
    pub begins: u64,
    pub length: u64,
    offset: u64,
    inode: u64,
    pub path: &'a str,
}

impl<'a> Mapping<'a> {
    /// Reads a line; none where it is another.
    pub fn read(line: &'a str) -> Option<Self> {
        let mut words = line.splitn(6, ' ');
        let [range, rights, offset, _device, inode] = std::array::from_fn(|_| words.next());
        let path = words.next()?.trim_start();
        let hexadecimal = |word: &str| u64::from_str_radix(word, 16).ok();
        let (from, to) = range?.split_once('-')?;
        let begins = hexadecimal(from)?;
        let inode = inode?.parse().ok()?;
        let is_code = rights?.as_bytes().get(2) == Some(&b'x') && inode != 0;
        (is_code && path.starts_with('/')).then_some(Self {
            range: range?,
            begins,
            length: hexadecimal(to)?.checked_sub(begins)?,
            offset: hexadecimal(offset?)?,
            inode,
            path,
        })
    }

    /// The file that is mapped, also where another has its name by now; where the kernel does not say so, by the name.
    fn open(&self, pid: u32) -> io::Result<File> {
        let exact = File::open(format!("/proc/{pid}/map_files/{}", self.range));
        exact.or_else(|_| {
            let file = File::open(format!("/proc/{pid}/root{}", self.path))?;
            if file.metadata()?.ino() == self.inode {
                Ok(file)
            } else {
                Err(io::Error::other("another file has its name by now"))
            }
        })
    }

    /// The module that is mapped; none where it is no ELF file, which has no code of its own.
    pub fn module(&self, pid: u32, library: &mut Library) -> Result<Option<Mapped>, ModuleError> {
        let file = match self.open(pid) {
            Ok(file) if file.metadata()?.is_file() => file,
            Ok(_) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let known = match library.read(&file) {
            Err(ModuleError::Elf(_)) => return Ok(None),
            other => other?,
        };
        let is_here = |code: &&Code| {
            let begins = code.offset / PAGE * PAGE;
            (self.offset..self.offset + self.length).contains(&begins)
        };
        let Some(code) = known.module.code().iter().find(is_here) else {
            return Ok(None);
        };
        let mapped = self.begins + (code.offset / PAGE * PAGE - self.offset);
        Ok(Some(Mapped {
            path: self.path.to_owned(),
            bias: mapped.wrapping_sub(code.at / PAGE * PAGE),
            known,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_lines_of_executable_files_are_read() {
        let read =
            |line| Mapping::read(line).map(|one| (one.begins, one.length, one.offset, one.path));
        assert_eq!(
            read("7f00-8f00 r-xp 00026000 fd:00 1234    /usr/lib/a b.so (deleted)"),
            Some((0x7f00, 0x1000, 0x26000, "/usr/lib/a b.so (deleted)"))
        );
        for line in [
            "7f00-8f00 rw-p 00026000 fd:00 1234    /usr/lib/a.so",
            "7f00-8f00 r-xp 00000000 00:00 0       [vdso]",
            "7f00-8f00 r-xp 00000000 00:00 0",
            "7f00-8f00 r-xp",
            "",
        ] {
            assert_eq!(read(line), None, "{line}");
        }
    }
}
