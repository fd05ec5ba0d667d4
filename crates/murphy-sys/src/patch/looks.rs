//! What stubs ask of a call that the dice have hit: of what its descriptor is, which path it is given. Each question is asked in
//! one place, however many rules ask it.

use iced_x86::{
    IcedError,
    code_asm::{
        CodeAssembler, CodeLabel, byte_ptr, dl, eax, ecx, edi, edx, esi, ptr, qword_ptr, r11, rax,
        rcx, rdi, rdx, rsi, rsp,
    },
};
use nix::libc;

use super::{
    rule::{Only, Rule},
    stub::StubError,
};

/// How long the beginning of a path may be that is looked for.
pub const PREFIX_MAX: usize = 128;
/// What a program may have below its stack pointer.
pub(super) const RED_ZONE: i32 = 128;
/// What is kept while a call that is hit is looked at: registers, and room for what is read.
pub(super) const KEPT: i32 = 40;
/// Where in it is to where a look goes back.
const BACK: i32 = 32;
const FRAME: i32 = RED_ZONE + KEPT + STAT;
/// `struct stat`, and where in it are the device and the kind of a file (`stat(2)`).
const STAT: i32 = 160;
const STAT_DEVICE: i32 = 0;
const STAT_MODE: i32 = 24;
/// The bits of a mode that say a kind: `S_IFMT`.
const KIND: i32 = 0o170_000;

/// Writes what rules ask of calls that are hit, each question once however many rules ask it; what is known without a look is no
/// question. They are come to with the place to go back to in `rax`, and answer there with 0 in it if the call is meant.
pub(super) fn write_looks(
    code: &mut CodeAssembler,
    rules: &[Rule],
) -> Result<Vec<(Only, CodeLabel)>, StubError> {
    let mut looks: Vec<(Only, CodeLabel)> = Vec::new();
    for only in rules.iter().flat_map(|rule| &rule.only) {
        if looks.iter().any(|(one, _)| one == only) {
            continue;
        }
        let look = match only {
            Only::Descriptors(..) | Only::Operation { .. } => continue,
            Only::Kinds(kinds) => write_stat(code, |code, other| {
                let mut is_meant = code.create_label();
                code.mov(ecx, ptr(rsp + KEPT + STAT_MODE))?;
                code.and(ecx, KIND)?;
                for kind in kinds {
                    code.cmp(ecx, kind.cast_signed())?;
                    code.je(is_meant)?;
                }
                code.jmp(other)?;
                code.set_label(&mut is_meant)?;
                code.zero_bytes()
            })?,
            Only::NonBlocking => write_question(code, |code, other| {
                code.mov(esi, libc::F_GETFL)?;
                write_call(code, libc::SYS_fcntl)?;
                code.test(eax, eax)?;
                code.js(other)?;
                code.test(eax, libc::O_NONBLOCK)?;
                code.je(other)
            })?,
            Only::Device(device) => write_stat(code, |code, other| {
                code.mov(rcx, *device)?;
                code.cmp(rcx, ptr(rsp + KEPT + STAT_DEVICE))?;
                code.jne(other)
            })?,
            Only::Path(argument, prefix) => write_given_path(code, *argument, prefix)?,
            Only::DescriptorPath(prefix) => write_descriptor_path(code, prefix)?,
        };
        looks.push((only.clone(), look));
    }
    Ok(looks)
}

/// Keeps what a call must keep, looks, and goes back with the answer.
pub(super) fn write_question(
    code: &mut CodeAssembler,
    look: impl FnOnce(&mut CodeAssembler, CodeLabel) -> Result<(), IcedError>,
) -> Result<CodeLabel, IcedError> {
    let [mut start, mut unmeant, mut answered] = [(); 3].map(|()| code.create_label());
    code.set_label(&mut start)?;
    write_keep(code)?;
    code.mov(ptr(rsp + BACK), rax)?;
    look(code, unmeant)?;
    code.xor(eax, eax)?;
    code.jmp(answered)?;
    code.set_label(&mut unmeant)?;
    code.mov(eax, 1)?;
    code.set_label(&mut answered)?;
    code.mov(rcx, ptr(rsp + BACK))?;
    write_restore(code)?;
    code.jmp(rcx)?;
    Ok(start)
}

pub(super) fn write_keep(code: &mut CodeAssembler) -> Result<(), IcedError> {
    code.lea(rsp, ptr(rsp - FRAME))?;
    for (place, register) in [rdi, rsi, rdx, r11].into_iter().enumerate() {
        code.mov(ptr(rsp + 8 * place), register)?;
    }
    Ok(())
}

pub(super) fn write_restore(code: &mut CodeAssembler) -> Result<(), IcedError> {
    for (place, register) in [rdi, rsi, rdx, r11].into_iter().enumerate() {
        code.mov(register, ptr(rsp + 8 * place))?;
    }
    code.lea(rsp, ptr(rsp + FRAME))
}

/// Makes a system call of the stub's own.
pub(super) fn write_call(code: &mut CodeAssembler, number: libc::c_long) -> Result<(), IcedError> {
    // Their numbers are small.
    code.mov(eax, i32::try_from(number).unwrap_or(i32::MAX))?;
    code.syscall()
}

/// Looks at the descriptor by `fstat(2)`. What is none fails in the real call.
pub(super) fn write_stat(
    code: &mut CodeAssembler,
    look: impl FnOnce(&mut CodeAssembler, CodeLabel) -> Result<(), IcedError>,
) -> Result<CodeLabel, IcedError> {
    write_question(code, |code, unmeant| {
        code.lea(rsi, ptr(rsp + KEPT))?;
        write_call(code, libc::SYS_fstat)?;
        code.test(eax, eax)?;
        code.jne(unmeant)?;
        look(code, unmeant)
    })
}

/// Compares what is at `rdi` with the beginning of a path; nothing behind the first difference is read.
fn write_compare(
    code: &mut CodeAssembler,
    prefix: &[u8],
    unmeant: CodeLabel,
) -> Result<(), IcedError> {
    let [mut text, mut behind] = [(); 2].map(|()| code.create_label());
    code.lea(rsi, ptr(text))?;
    // It is short.
    code.mov(ecx, i32::try_from(prefix.len()).unwrap_or(i32::MAX))?;
    code.repe().cmpsb()?;
    code.jne(unmeant)?;
    code.jmp(behind)?;
    code.set_label(&mut text)?;
    code.db(prefix)?;
    code.set_label(&mut behind)?;
    code.zero_bytes()
}

fn check(prefix: &[u8]) -> Result<(), StubError> {
    let length = prefix.len();
    if length == 0 || length > PREFIX_MAX {
        return Err(StubError::Prefix { length });
    }
    Ok(())
}

/// Looks at a path that is given. That it can be read `access(2)` proves, which reads all of it.
fn write_given_path(
    code: &mut CodeAssembler,
    argument: u8,
    prefix: &[u8],
) -> Result<CodeLabel, StubError> {
    check(prefix)?;
    let look = write_question(code, |code, unmeant| {
        if argument == 1 {
            code.mov(rdi, rsi)?;
        }
        code.mov(esi, libc::F_OK)?;
        write_call(code, libc::SYS_access)?;
        code.cmp(eax, -libc::EFAULT)?;
        code.je(unmeant)?;
        write_compare(code, prefix, unmeant)
    })?;
    Ok(look)
}

/// Looks at the path of a descriptor: as much of it as is compared.
fn write_descriptor_path(code: &mut CodeAssembler, prefix: &[u8]) -> Result<CodeLabel, StubError> {
    /// How long the path of a descriptor is at most, with its end: `/proc/self/fd/4294967295`.
    const LINK: i32 = 32;
    const DIRECTORY: &[u8; 16] = b"//proc/self//fd/";
    check(prefix)?;
    // Of one that is meant whole nothing may come behind it.
    let text = prefix.strip_suffix(&[0]).unwrap_or(prefix);
    let [room, length] = [prefix, text].map(|one| i32::try_from(one.len()).unwrap_or(i32::MAX));
    let [low, high] = [0, 8].map(|at| {
        let half = DIRECTORY[at..].first_chunk().copied().unwrap_or_default();
        u64::from_le_bytes(half)
    });
    let look = write_question(code, |code, unmeant| {
        // Its digits, from the last: behind them is the end, and before them comes the directory.
        let mut digit = code.create_label();
        code.mov(eax, edi)?;
        code.lea(rsi, ptr(rsp + KEPT + LINK - 1))?;
        code.mov(byte_ptr(rsi), 0)?;
        code.set_label(&mut digit)?;
        code.xor(edx, edx)?;
        code.mov(ecx, 10)?;
        code.div(ecx)?;
        code.add(edx, i32::from(b'0'))?;
        code.dec(rsi)?;
        code.mov(byte_ptr(rsi), dl)?;
        code.test(eax, eax)?;
        code.jne(digit)?;
        for half in [high, low] {
            code.sub(rsi, 8)?;
            code.mov(rax, half)?;
            code.mov(qword_ptr(rsi), rax)?;
        }
        code.mov(rdi, rsi)?;
        code.lea(rsi, ptr(rsp + KEPT + LINK))?;
        code.mov(edx, room)?;
        write_call(code, libc::SYS_readlink)?;
        code.cmp(eax, length)?;
        code.jne(unmeant)?;
        code.lea(rdi, ptr(rsp + KEPT + LINK))?;
        write_compare(code, text, unmeant)
    })?;
    Ok(look)
}
