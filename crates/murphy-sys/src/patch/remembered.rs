//! Which connections and files calls were hit of, for rules that hit all calls of these from then on, or not the next one.
//!
//! They are remembered by their device and inode, which a connection keeps for as long as it is open, whoever has a descriptor of
//! it. They stand in memory of the program's that it does not use, behind the counts: where that is full a new one takes the place of
//! an older one.

use iced_x86::{
    IcedError,
    code_asm::{CodeAssembler, CodeLabel, eax, ecx, ptr, qword_ptr, rax, rcx, rdi, rdx, rsi, rsp},
};
use nix::libc;

use super::{
    looks::{KEPT, write_call, write_question},
    rule::{REMEMBERED_MOST, Rule},
    stub::{COUNTED, StubError},
};

/// Where in `struct stat` are the device and the inode of a file (`stat(2)`).
const STAT_DEVICE: i32 = 0;
const STAT_INODE: i32 = 8;
/// How far the device is turned to be told from the inode.
const TURN: i32 = 40;
/// How long each of them is.
const WORD: i32 = 8;
/// What is never nothing.
const SOMETHING: u64 = 1 << 63;
/// 2^64 by the golden ratio: the upper bits of what is multiplied by it depend on all others (Knuth, 1973).
const SPREAD: u64 = 0x9E37_79B9_7F4A_7C15;

/// Where they are asked for.
pub struct Objects {
    /// Whether the connection or file of a call is remembered.
    pub recall: CodeLabel,
    /// The same, and it is forgotten.
    pub redeem: CodeLabel,
    /// Remembers it.
    pub retain: CodeLabel,
}

/// How many words some rules need to remember them.
pub fn words(rules: &[Rule]) -> u64 {
    let is_needed = rules.iter().any(|rule| rule.pick.is_of_objects());
    u64::from(is_needed) * REMEMBERED_MOST
}

/// Writes how they are asked for, where a rule needs that: with the place to go back to in `rax`, to which 0 comes with it for yes.
pub fn write(
    code: &mut CodeAssembler,
    rules: &[Rule],
    counts: Option<u64>,
) -> Result<Option<Objects>, StubError> {
    if words(rules) == 0 {
        return Ok(None);
    }
    let counts = counts.ok_or(StubError::NoMemory)?;
    let table = counts + 8 * COUNTED * rules.len() as u64;
    Ok(Some(Objects {
        recall: write_question(code, |code, is_new| {
            write_key(code, is_new)?;
            write_search(code, table)?;
            code.jne(is_new)
        })?,
        redeem: write_question(code, |code, is_new| {
            write_key(code, is_new)?;
            write_search(code, table)?;
            code.jne(is_new)?;
            code.mov(qword_ptr(rdi - WORD), 0)
        })?,
        retain: write_question(code, |code, is_none| {
            let [mut again, mut is_full, mut kept] = [(); 3].map(|()| code.create_label());
            write_key(code, is_none)?;
            code.mov(rdx, rax)?;
            code.set_label(&mut again)?;
            code.xor(eax, eax)?;
            write_search(code, table)?;
            code.jne(is_full)?;
            code.lock().cmpxchg(qword_ptr(rdi - WORD), rdx)?;
            // Another thread was there first.
            code.jne(again)?;
            code.jmp(kept)?;
            // One that is there makes room, whichever it is.
            code.set_label(&mut is_full)?;
            code.mov(rcx, SPREAD)?;
            code.imul_2(rcx, rdx)?;
            code.shr(rcx, (u64::BITS - REMEMBERED_MOST.ilog2()).cast_signed())?;
            code.mov(rdi, table)?;
            code.mov(qword_ptr(rdi + WORD * rcx), rdx)?;
            code.set_label(&mut kept)?;
            code.zero_bytes()
        })?,
    }))
}

/// What the file of a call's descriptor is known by, in `rax`.
fn write_key(code: &mut CodeAssembler, is_none: CodeLabel) -> Result<(), IcedError> {
    code.lea(rsi, ptr(rsp + KEPT))?;
    write_call(code, libc::SYS_fstat)?;
    code.test(eax, eax)?;
    code.jne(is_none)?;
    code.mov(rax, qword_ptr(rsp + KEPT + STAT_DEVICE))?;
    code.rol(rax, TURN)?;
    code.xor(rax, qword_ptr(rsp + KEPT + STAT_INODE))?;
    code.mov(rcx, SOMETHING)?;
    code.or(rax, rcx)
}

/// Looks for `rax` among them: equal where it is there, a word before `rdi`.
fn write_search(code: &mut CodeAssembler, table: u64) -> Result<(), IcedError> {
    code.mov(rdi, table)?;
    code.mov(ecx, i32::try_from(REMEMBERED_MOST).unwrap_or(i32::MAX))?;
    code.repne().scasq()
}
