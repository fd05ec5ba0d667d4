//! The pristine vDSO of this kernel, and how the hook fits into it.

use std::sync::OnceLock;

use object::{
    Object, ObjectSegment, ObjectSymbol, elf::FileHeader64, endian::LittleEndian,
    read::elf::ElfFile,
};

use crate::{
    arch::{self, JUMP, MoveError, NotHere},
    memory::{Memory, MemoryError},
    process::{ProcessId, auxiliary},
};

/// The functions that are hooked, by the names of the vDSO's own, in the order of the hook.
const FUNCTIONS: [&str; 3] = ["__vdso_clock_gettime", "__vdso_gettimeofday", "__vdso_time"];
/// A vDSO is a handful of pages.
pub(super) const LENGTH_MAX: usize = 64 * 1024;
/// `AT_SYSINFO_EHDR` of `getauxval(3)`: where the vDSO begins.
const AT_SYSINFO_EHDR: u64 = 33;
/// Where the instructions are taken to be while the hook is fitted; only differences count.
const BASE: u64 = 0x7f00_0000_0000;
/// What the hook is aligned to: a line of the cache.
const ALIGNMENT: usize = 64;

/// Why there is no image to work with.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// Another architecture.
    #[error(transparent)]
    NotHere(#[from] NotHere),
    /// The kernel maps none.
    #[error(
        "find the vDSO: the kernel maps none (vdso=0 on its command line?); every clock is a system call here"
    )]
    None,
    /// It cannot be read.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// It is no ELF image.
    #[error("read the vDSO: {0}")]
    Elf(#[from] object::Error),
    /// A function is missing.
    #[error("find {0} in the vDSO: it is not there")]
    NoFunction(&'static str),
    /// A function is in the way.
    #[error(transparent)]
    Move(#[from] MoveError),
    /// There is no room at its end.
    #[error("put the hook into the vDSO: it needs {needed} bytes, and {free} are free")]
    NoRoom {
        /// Bytes of the hook.
        needed: usize,
        /// Bytes free.
        free: usize,
    },
    /// Murphy's own is not pristine.
    #[error(
        "take Murphy's own vDSO as the pristine one: another Murphy skews this one; end that skew first"
    )]
    Patched,
}

/// The mark at the beginning of every hook, whatever its version.
pub(super) const MARK: &[u8] = b"MURPHY\0";
/// The pristine page and the hook fitted to it.
#[derive(Debug)]
pub struct Image {
    /// The page as the kernel maps it.
    pub(super) pristine: Vec<u8>,
    /// What is written at [`Image::hook_at`], with empty data.
    pub(super) hook: Vec<u8>,
    /// Where the hook begins.
    pub(super) hook_at: usize,
    /// Where its data begins.
    pub(super) data_at: usize,
    /// Each function's beginning, and the jump that goes there.
    pub(super) jumps: [(usize, [u8; JUMP]); 3],
    /// Where an instruction under a jump was, and where it is now.
    pub(super) instructions: Vec<(usize, usize)>,
}

impl Image {
    /// This kernel's, as this process has it.
    pub fn own() -> Result<&'static Self, ImageError> {
        static OWN: OnceLock<Result<Image, ImageError>> = OnceLock::new();
        match OWN.get_or_init(Self::read_own) {
            Ok(image) => Ok(image),
            Err(_) => Err(Self::read_own().err().unwrap_or(ImageError::None)),
        }
    }

    fn read_own() -> Result<Self, ImageError> {
        arch::hook()?;
        let me = ProcessId::current();
        let (base, length) = place(me.pid).ok_or(ImageError::None)?;
        let page = Memory::open(me)?.read(base, length)?;
        if page.chunks(ALIGNMENT).any(|line| line.starts_with(MARK)) {
            return Err(ImageError::Patched);
        }
        Self::fit(page)
    }

    /// Fits the hook into a pristine page.
    pub fn fit(pristine: Vec<u8>) -> Result<Self, ImageError> {
        let code = arch::hook()?;
        let functions = functions(&pristine)?;
        let hook_at = hook_at(&pristine, code.bytes.len())?;
        let mut hook = code.bytes.to_vec();
        let mut instructions = Vec::new();
        for ((name, at), (place, room)) in FUNCTIONS.iter().zip(functions).zip(code.beginnings) {
            let to = BASE + (hook_at + place) as u64;
            let moved = arch::moved(name, &pristine[at..], BASE + at as u64, to, room)?;
            hook[place..place + moved.code.len()].copy_from_slice(&moved.code);
            let offset = |address: u64| usize::try_from(address - BASE).unwrap_or(0);
            instructions.extend(
                moved
                    .instructions
                    .iter()
                    .map(|(o, n)| (offset(*o), offset(*n))),
            );
        }
        let jump = |at: usize, entry: usize| {
            // Two places of one page are never too far apart.
            (
                at,
                arch::jump(at as u64, (hook_at + entry) as u64).unwrap_or_default(),
            )
        };
        Ok(Self {
            hook_at,
            data_at: hook_at + code.data,
            jumps: [
                jump(functions[0], code.entries[0]),
                jump(functions[1], code.entries[1]),
                jump(functions[2], code.entries[2]),
            ],
            pristine,
            hook,
            instructions,
        })
    }

    /// Bytes that the hook takes, and bytes that were free for it.
    pub fn room(&self) -> (usize, usize) {
        (self.hook.len(), self.pristine.len() - self.hook_at)
    }

    /// The pristine page.
    pub fn pristine(&self) -> &[u8] {
        &self.pristine
    }
}

/// Where a hook of so many bytes begins: behind all that is not zero, if it fits there. Section headers stand
/// behind the loaded part, which debuggers read and nobody who runs does; where they leave too little room, as
/// since Linux 6.11 with its `getrandom`, the last of them give way until the page is restored.
fn hook_at(page: &[u8], needed: usize) -> Result<usize, ImageError> {
    let used = page
        .iter()
        .rposition(|&byte| byte != 0)
        .map_or(0, |i| i + 1);
    let behind_all = used.next_multiple_of(ALIGNMENT);
    if behind_all + needed <= page.len() {
        return Ok(behind_all);
    }
    let elf = ElfFile::<FileHeader64<LittleEndian>>::parse(page)?;
    let ends = elf.segments().map(|part| part.address() + part.size());
    let loaded = usize::try_from(ends.max().unwrap_or(0)).unwrap_or(usize::MAX);
    let at_the_end = page.len().saturating_sub(needed) / ALIGNMENT * ALIGNMENT;
    if at_the_end >= loaded {
        return Ok(at_the_end);
    }
    Err(ImageError::NoRoom {
        needed,
        free: page.len().saturating_sub(loaded),
    })
}

/// Where each hooked function begins.
fn functions(page: &[u8]) -> Result<[usize; 3], ImageError> {
    let elf = ElfFile::<FileHeader64<LittleEndian>>::parse(page)?;
    let mut found = [0; 3];
    for (place, wanted) in found.iter_mut().zip(FUNCTIONS) {
        // By its exact name: others may contain it.
        let symbol = elf
            .dynamic_symbols()
            .find(|symbol| symbol.name() == Ok(wanted))
            .ok_or(ImageError::NoFunction(wanted))?;
        *place = usize::try_from(symbol.address())
            .ok()
            .filter(|at| at + JUMP <= page.len())
            .ok_or(ImageError::NoFunction(wanted))?;
    }
    Ok(found)
}

/// Where a process's vDSO begins, by what the kernel told it at its start.
pub(super) fn base(pid: u32) -> Option<u64> {
    auxiliary(pid, AT_SYSINFO_EHDR).filter(|base| *base != 0)
}

/// Where a process's vDSO is and how long, by its mappings.
pub(super) fn place(pid: u32) -> Option<(u64, usize)> {
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).ok()?;
    let line = maps.lines().find(|line| line.ends_with("[vdso]"))?;
    let (from, to) = line.split(' ').next()?.split_once('-')?;
    let from = u64::from_str_radix(from, 16).ok()?;
    let to = u64::from_str_radix(to, 16).ok()?;
    let length = usize::try_from(to.checked_sub(from)?).ok()?;
    (length <= LENGTH_MAX).then_some((from, length))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hook_fits_into_this_kernels_vdso() {
        let image = Image::own().unwrap();
        let (needed, free) = image.room();
        assert!(needed <= free, "{needed} of {free}");
        assert_eq!(image.jumps.len(), 3);
        assert!(image.instructions.len() >= 3);
        assert_eq!(
            base(std::process::id()),
            place(std::process::id()).map(|(at, _)| at)
        );
    }

    #[test]
    fn what_is_no_vdso_is_refused() {
        assert!(matches!(Image::fit(vec![0; 8192]), Err(ImageError::Elf(_))));
        let mut full = Image::own().unwrap().pristine.clone();
        load_all(&mut full);
        *full.last_mut().unwrap() = 1;
        assert!(matches!(Image::fit(full), Err(ImageError::NoRoom { .. })));
    }

    #[test]
    fn section_headers_give_way_to_the_hook() {
        let mut page = Image::own().unwrap().pristine.clone();
        *page.last_mut().unwrap() = 1;
        let image = Image::fit(page.clone()).unwrap();
        assert!(image.hook_at + image.hook.len() <= page.len());
        assert!(page.len() - image.hook_at - image.hook.len() < ALIGNMENT);
    }

    /// Says in the program headers that all of the page is loaded.
    fn load_all(page: &mut [u8]) {
        let length = (page.len() as u64).to_le_bytes();
        let number = |at: usize| usize::from(u16::from_le_bytes([page[at], page[at + 1]]));
        // Of an ELF header: e_phoff, which is short here, e_phentsize and e_phnum. Of a program header: p_memsz.
        let (start, size, count) = (number(32), number(54), number(56));
        for header in (0..count).map(|i| start + i * size) {
            if page[header] == 1 {
                page[header + 40..header + 48].copy_from_slice(&length);
            }
        }
    }
}
