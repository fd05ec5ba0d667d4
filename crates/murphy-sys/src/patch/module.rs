//! A module is an executable file as processes map it: its code, where its functions begin, and the room that nobody uses in
//! its executable pages.

use std::{collections::BTreeSet, fs::File, io, ops::Range};

use gimli::{BaseAddresses, EhFrameHdr, EndianSlice, Pointer};
use object::{
    Endianness, Object, ObjectSection, ObjectSymbol, ReadCache, ReadRef, SymbolKind,
    elf::{self, EM_X86_64, PF_W, PF_X, PT_GNU_EH_FRAME, PT_LOAD, SHF_EXECINSTR},
    read::elf::{ElfFile64, FileHeader, ProgramHeader, SectionHeader},
};

/// What the kernel maps at least.
const PAGE: u64 = 4096;
/// What room is aligned to.
pub(super) const ALIGNMENT: u64 = 16;
/// How far room keeps away from what ends in zeros itself.
const CLEARANCE: usize = 64;
/// More code no program has: 1 GiB.
const CODE_MAX: u64 = 1 << 30;

/// Why a file cannot be understood.
#[derive(Debug, thiserror::Error)]
pub enum ModuleError {
    /// It is no ELF file, or a damaged one.
    #[error("read its ELF headers: {0}")]
    Elf(#[from] object::Error),
    /// It is for another machine.
    #[error("it is a program for another machine than x86_64")]
    Machine,
    /// It cannot be read.
    #[error("read it: {0}")]
    Read(#[from] io::Error),
}

/// An executable file, as far as its code goes. All addresses are the file's own; a process has them shifted.
#[derive(Clone, Debug)]
pub struct Module {
    code: Vec<Code>,
    starts: Vec<u64>,
    rooms: Vec<Room>,
    data_end: Option<u64>,
}

/// A segment that is mapped executable.
#[derive(Clone, Debug)]
pub struct Code {
    /// Where it is mapped.
    pub at: u64,
    /// Where it is in the file, in bytes.
    pub offset: u64,
    /// What is there.
    pub bytes: Vec<u8>,
}

/// Bytes of executable pages that belong to nobody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Room {
    /// Where they are mapped.
    pub at: u64,
    /// What is there as long as nobody has used them.
    pub pristine: Vec<u8>,
}

impl Code {
    fn end(&self) -> u64 {
        self.at + self.bytes.len() as u64
    }

    /// The part of it at some addresses, if it is all in it.
    pub fn part(&self, at: Range<u64>) -> Option<&[u8]> {
        let place = |address: u64| usize::try_from(address.checked_sub(self.at)?).ok();
        self.bytes.get(place(at.start)?..place(at.end)?)
    }
}

impl Module {
    /// Reads a file.
    pub fn read(file: &File) -> Result<Self, ModuleError> {
        let length = file.metadata()?.len();
        let file = ReadCache::new(file);
        let elf: ElfFile64<'_, Endianness, _> = ElfFile64::parse(&file)?;
        let endian = elf.endian();
        if elf.elf_header().e_machine(endian) != EM_X86_64 {
            return Err(ModuleError::Machine);
        }
        let (mut code, mut rooms) = (Vec::new(), Vec::new());
        let mut data_end = None;
        for segment in elf.elf_program_headers() {
            if segment.p_type(endian) != PT_LOAD {
                continue;
            }
            let has = |flag| segment.p_flags(endian) & flag != elf::ProgramFlags(0);
            if has(PF_W) {
                let end = segment.p_vaddr(endian).checked_add(segment.p_memsz(endian));
                data_end = data_end.max(end);
            }
            if !has(PF_X) {
                continue;
            }
            let (offset, bytes) = segment.file_range(endian);
            let read = |offset: u64, bytes: u64| {
                let is_there = bytes <= CODE_MAX && offset.checked_add(bytes) <= Some(length);
                let bytes = is_there.then(|| (&file).read_bytes_at(offset, bytes).ok());
                let cut = || io::Error::new(io::ErrorKind::UnexpectedEof, "its code is cut short");
                bytes.flatten().map(<[u8]>::to_vec).ok_or_else(cut)
            };
            let one = Code {
                at: segment.p_vaddr(endian),
                offset,
                bytes: read(offset, bytes)?,
            };
            // The rest of its last page is what comes next in the file, and zeros behind its end.
            let behind = one.end().next_multiple_of(ALIGNMENT);
            let free = behind.next_multiple_of(PAGE) - behind;
            let follows = offset + (behind - one.at);
            let mut pristine = read(follows, free.min(length.saturating_sub(follows)))?;
            pristine.resize(usize::try_from(free).unwrap_or(0), 0);
            rooms.push(Room {
                at: behind,
                pristine,
            });
            code.push(one);
        }
        let starts = starts(&elf, &file, &code);
        rooms.extend(code.iter().filter_map(|code| head(code, &starts)));
        rooms.retain(|room| !room.pristine.is_empty());
        Ok(Self {
            code,
            starts,
            rooms,
            data_end,
        })
    }

    /// What is mapped executable.
    pub fn code(&self) -> &[Code] {
        &self.code
    }

    /// Bytes of its executable pages that belong to nobody.
    pub fn rooms(&self) -> &[Room] {
        &self.rooms
    }

    /// Where its writable data ends, if it has any.
    pub fn data_end(&self) -> Option<u64> {
        self.data_end
    }

    /// Its code by functions, each up to where the next one begins.
    pub fn functions(&self) -> impl Iterator<Item = (u64, &[u8])> {
        self.code.iter().flat_map(move |code| {
            let known = self.starts.iter().copied();
            let inside = known.filter(|at| (code.at..code.end()).contains(at));
            let starts: BTreeSet<u64> = inside.chain([code.at]).collect();
            let ends: Vec<u64> = starts.iter().copied().skip(1).chain([code.end()]).collect();
            let parts = starts.into_iter().zip(ends);
            parts.filter_map(|(at, end)| Some((at, code.part(at..end)?)))
        })
    }
}

/// Where functions begin, as far as it is told: by symbols, which may be stripped, by what unwinders need, which stays, and
/// by sections.
fn starts<'data>(
    elf: &ElfFile64<'data, Endianness, &'data ReadCache<&File>>,
    file: &'data ReadCache<&File>,
    code: &[Code],
) -> Vec<u64> {
    let mut starts = BTreeSet::new();
    for symbol in elf.symbols().chain(elf.dynamic_symbols()) {
        if symbol.kind() == SymbolKind::Text {
            starts.insert(symbol.address());
        }
    }
    let endian = elf.endian();
    for section in elf.sections() {
        let flags = section.elf_section_header().sh_flags(endian);
        if flags & SHF_EXECINSTR != elf::SectionFlags(0) {
            starts.insert(section.address());
        }
    }
    for segment in elf.elf_program_headers() {
        if segment.p_type(endian) == PT_GNU_EH_FRAME {
            let bytes = segment.data(endian, file).unwrap_or_default();
            starts.extend(unwound(bytes, segment.p_vaddr(endian)));
        }
    }
    let is_code = |at: &u64| code.iter().any(|code| (code.at..code.end()).contains(at));
    starts.into_iter().filter(is_code).collect()
}

/// The beginnings of functions in the table for unwinders (`.eh_frame_hdr`, Linux Standard Base, 10.6.2), which is mapped at an
/// address. What is damaged is not told.
fn unwound(bytes: &[u8], at: u64) -> Vec<u64> {
    let bases = BaseAddresses::default().set_eh_frame_hdr(at);
    let header = EhFrameHdr::new(bytes, gimli::LittleEndian);
    let header: Result<gimli::ParsedEhFrameHdr<EndianSlice<'_, _>>, _> = header.parse(&bases, 8);
    let Ok(header) = header else {
        return Vec::new();
    };
    let Some(table) = header.table() else {
        return Vec::new();
    };
    let mut rows = table.iter(&bases);
    let mut starts = Vec::new();
    while let Ok(Some((Pointer::Direct(start), _))) = rows.next() {
        starts.push(start);
    }
    starts
}

/// The longest run of zeros between the headers of a file and its first function, where they share an executable page, as Go
/// has it.
fn head(code: &Code, starts: &[u64]) -> Option<Room> {
    if code.offset != 0 {
        return None;
    }
    let first = starts.iter().find(|at| **at >= code.at)? - code.at;
    let bytes = code.bytes.get(..usize::try_from(first.min(PAGE)).ok()?)?;
    let zeros = bytes.chunk_by(|a, b| (*a == 0) == (*b == 0));
    let zeros = zeros.filter(|run| run.first() == Some(&0));
    let longest = zeros.max_by_key(|run| run.len())?;
    let begins = longest.as_ptr().addr() - bytes.as_ptr().addr();
    let alignment = usize::try_from(ALIGNMENT).ok()?;
    let from = (begins + CLEARANCE).next_multiple_of(alignment);
    let until = (begins + longest.len()).checked_sub(alignment)?;
    let length = until.checked_sub(from)?;
    Some(Room {
        at: code.at + from as u64,
        pristine: vec![0; length],
    })
}
