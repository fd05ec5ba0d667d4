//! How stubs skew the time that a program asks the kernel itself for, past the vDSO: by the data of the hook in its vDSO, so that
//! both say the same at every instant, through all changes.
//!
//! The real call is made first, with the program's own arguments: what it refuses is refused, and what it has written to can be
//! written to. Only then is the clock read once more, to a place of the stub's own: what is skewed is what the kernel has said
//! there, and never what another thread or a signal handler has just put where the program wants it. So nothing is skewed twice.
//!
//! Nothing is kept elsewhere than in registers and in a frame below the red zone, so that a signal may come at any instant, and
//! its handler may ask for the time itself. That the lease holds is asked last, when all that the hook's data say is read: where
//! those have gone, it has ended long before.

use iced_x86::{
    IcedError,
    code_asm::{
        AsmRegister64, CodeAssembler, CodeLabel, dword_ptr, eax, ecx, edi, edx, ptr, qword_ptr, r8,
        r8d, r9, r10, r11, r11d, rax, rcx, rdi, rdx, rsi, rsp,
    },
};
use nix::libc;

use super::{
    looks::{RED_ZONE, write_call},
    rule::{Act, Rule},
    stub::write_time,
};
use crate::vdso::{SEGMENT, SLOT, SLOTS_AT, TIMESCALE, TIMESCALE_OF_CLOCK};

/// What a call must keep and this changes, in the order in which it is kept.
const KEPT: [AsmRegister64; 7] = [rdi, rsi, rdx, r8, r9, r10, r11];
/// The arguments of the call among it.
const FIRST: i32 = 0;
const SECOND: i32 = 8;
/// Behind it: what came of the call, to where a reading goes back, which clock, and what that and the fine one of its timescale
/// show.
const RESULT: i32 = 56;
const BACK: i32 = 64;
const CLOCK: i32 = 72;
const SHOWN: i32 = 80;
const FINE: i32 = 96;
const FRAME: i32 = RED_ZONE + 112;

/// The last clock that the hook knows: `CLOCK_TAI`.
const CLOCK_MAX: i32 = libc::CLOCK_TAI;
/// How near to the end of a segment a coarse clock is not asked when that comes, as in the hook.
const COARSE_NS: i32 = 100_000_000;
/// What goes with `CLOCK_REALTIME`.
const REALTIME: i32 = libc::CLOCK_REALTIME;
const REALTIME_COARSE: i32 = libc::CLOCK_REALTIME_COARSE;

/// What is written once for all calls.
pub struct Clocks {
    /// Reads the clock in `edi`, if that in `ecx` is skewed: come to with the place to go back to in `rax`, to which 0 comes with
    /// it for a skew, with the seconds in `rdx` and the nanoseconds in `r11`.
    read: CodeLabel,
    /// Goes on behind the call.
    done: CodeLabel,
}

/// The calls that ask for the time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    ClockGettime,
    Gettimeofday,
    Time,
}

impl Asked {
    fn of(rule: &Rule) -> Self {
        match rule.call.into() {
            libc::SYS_gettimeofday => Self::Gettimeofday,
            libc::SYS_time => Self::Time,
            _ => Self::ClockGettime,
        }
    }
}

/// Writes how clocks are read, where a rule skews one.
pub fn write(
    code: &mut CodeAssembler,
    rules: &[Rule],
    deadline: CodeLabel,
) -> Result<Option<Clocks>, IcedError> {
    let data = rules.iter().find_map(|rule| match rule.act {
        Act::Skew(data) => Some(data),
        _ => None,
    });
    let Some(data) = data else {
        return Ok(None);
    };
    Ok(Some(Clocks {
        read: write_reading(code, data, deadline)?,
        done: write_done(code)?,
    }))
}

/// Writes a rule that skews what a call says. It is come to with the address of the site's `syscall` in `r11`; `count` counts.
pub fn write_rule(
    code: &mut CodeAssembler,
    rule: &Rule,
    clocks: &Clocks,
    count: impl FnOnce(&mut CodeAssembler) -> Result<(), IcedError>,
) -> Result<(), IcedError> {
    let asked = Asked::of(rule);
    code.lea(rsp, ptr(rsp - FRAME))?;
    for (place, register) in KEPT.into_iter().enumerate() {
        code.mov(ptr(rsp + 8 * place), register)?;
    }
    write_call(code, rule.call.into())?;
    code.mov(qword_ptr(rsp + RESULT), rax)?;
    code.test(rax, rax)?;
    code.js(clocks.done)?;
    match asked {
        Asked::ClockGettime => {
            code.mov(edi, dword_ptr(rsp + FIRST))?;
            code.cmp(edi, CLOCK_MAX)?;
            code.ja(clocks.done)?;
            code.mov(ecx, edi)?;
        }
        Asked::Gettimeofday => {
            code.cmp(qword_ptr(rsp + FIRST), 0)?;
            code.je(clocks.done)?;
            code.mov(edi, REALTIME)?;
            code.mov(ecx, edi)?;
        }
        Asked::Time => {
            code.mov(edi, REALTIME_COARSE)?;
            code.mov(ecx, REALTIME)?;
        }
    }
    let mut back = code.create_label();
    code.lea(rax, ptr(back))?;
    code.jmp(clocks.read)?;
    code.set_label(&mut back)?;
    code.test(eax, eax)?;
    code.jne(clocks.done)?;
    let mut written = code.create_label();
    let to = if asked == Asked::ClockGettime {
        SECOND
    } else {
        FIRST
    };
    code.mov(rsi, qword_ptr(rsp + to))?;
    match asked {
        Asked::ClockGettime => code.mov(ptr(rsi + 8), r11)?,
        Asked::Gettimeofday => {
            // By 1000, of less than 10^9.
            code.imul_3(r11, r11, 0x1062_4dd3)?;
            code.shr(r11, 38)?;
            code.mov(ptr(rsi + 8), r11)?;
        }
        Asked::Time => {
            code.mov(qword_ptr(rsp + RESULT), rdx)?;
            code.test(rsi, rsi)?;
            code.je(written)?;
        }
    }
    code.mov(ptr(rsi), rdx)?;
    code.set_label(&mut written)?;
    count(code)?;
    code.jmp(clocks.done)
}

/// Restores what is kept, and goes on behind the call with what came of it.
fn write_done(code: &mut CodeAssembler) -> Result<CodeLabel, IcedError> {
    let mut done = code.create_label();
    code.set_label(&mut done)?;
    code.mov(rax, qword_ptr(rsp + RESULT))?;
    for (place, register) in KEPT.into_iter().enumerate() {
        code.mov(register, ptr(rsp + 8 * place))?;
    }
    code.lea(rsp, ptr(rsp + FRAME))?;
    code.lea(r11, ptr(r11 + 2))?;
    code.jmp(r11)?;
    Ok(done)
}

/// Writes how a clock is read, as the hook in the vDSO does it (`arch/x86_64.rs`).
fn write_reading(
    code: &mut CodeAssembler,
    data: u64,
    deadline: CodeLabel,
) -> Result<CodeLabel, IcedError> {
    let number = |bytes: usize| i32::try_from(bytes).unwrap_or(i32::MAX);
    let [mut read, mut again, mut holds, mut is_fine, mut is_steady] =
        [(); 5].map(|()| code.create_label());
    let [mut is_early, mut over, mut is_true] = [(); 3].map(|()| code.create_label());
    code.set_label(&mut read)?;
    code.mov(qword_ptr(rsp + BACK), rax)?;
    code.mov(dword_ptr(rsp + CLOCK), edi)?;
    write_slot(code, data)?;
    code.mov(edx, dword_ptr(rdx))?;
    code.bt(edx, ecx)?;
    code.jnc(is_true)?;
    write_clock(code, SHOWN, is_true)?;
    code.mov(r10, rdi)?;
    // `r10` is what is shown true, `rdi` what decides on the segment.
    code.set_label(&mut again)?;
    write_slot(code, data)?;
    code.mov(eax, dword_ptr(rsp + CLOCK))?;
    code.lea(ecx, ptr(rax * 4))?;
    code.mov(r11, TIMESCALE_OF_CLOCK)?;
    code.shr(r11, iced_x86::code_asm::cl)?;
    code.and(r11d, 15)?;
    code.imul_3(r11d, r11d, number(TIMESCALE))?;
    code.lea(r9, ptr(rdx + r11 + 8))?;
    code.cmp(rdi, qword_ptr(r9))?;
    code.jl(holds)?;
    code.add(r9, number(SEGMENT))?;
    code.cmp(rdi, qword_ptr(r9))?;
    code.jge(over)?;
    code.set_label(&mut holds)?;
    // A coarse clock lags: near an edge the fine one of its timescale decides.
    code.sub(eax, REALTIME_COARSE)?;
    code.cmp(eax, 1)?;
    code.ja(is_fine)?;
    code.mov(rcx, qword_ptr(r9))?;
    code.sub(rcx, rdi)?;
    code.cmp(rcx, COARSE_NS)?;
    code.ja(is_fine)?;
    code.mov(dword_ptr(rsp + CLOCK), eax)?;
    code.mov(edi, eax)?;
    write_clock(code, FINE, is_true)?;
    code.jmp(again)?;
    code.set_label(&mut is_fine)?;
    code.mov(r11, r10)?;
    code.add(r11, qword_ptr(r9 + 8))?;
    code.mov(rcx, qword_ptr(r9 + 16))?;
    code.test(rcx, rcx)?;
    code.je(is_steady)?;
    code.mov(rax, r10)?;
    code.imul(rcx)?;
    code.shrd(rax, rdx, 40)?;
    code.add(r11, rax)?;
    code.set_label(&mut is_steady)?;
    code.cmp(r8d, dword_ptr(rsi))?;
    code.jne(again)?;
    write_time(code)?;
    code.cmp(rax, qword_ptr(deadline))?;
    code.ja(is_true)?;
    // Before 1970, or before the boot, there is nothing.
    code.test(r11, r11)?;
    code.jns(is_early)?;
    code.xor(r11d, r11d)?;
    code.set_label(&mut is_early)?;
    // By 1000000000, as a product: (r11 >> 9) * 0x44B82FA09B5A53 >> 64 + 11
    code.mov(rax, r11)?;
    code.shr(rax, 9)?;
    code.mov(rdx, 0x0044_B82F_A09B_5A53_u64)?;
    code.mul(rdx)?;
    code.shr(rdx, 11)?;
    code.imul_3(rax, rdx, SECOND_NS)?;
    code.sub(r11, rax)?;
    code.xor(eax, eax)?;
    code.jmp(qword_ptr(rsp + BACK))?;
    code.set_label(&mut over)?;
    code.cmp(r8d, dword_ptr(rsi))?;
    code.jne(again)?;
    code.set_label(&mut is_true)?;
    code.mov(eax, 1)?;
    code.jmp(qword_ptr(rsp + BACK))?;
    Ok(read)
}

const SECOND_NS: i32 = 1_000_000_000;

/// Has the data of the hook be at `rsi`, their generation in `r8d`, and the slot in force at `rdx`.
fn write_slot(code: &mut CodeAssembler, data: u64) -> Result<(), IcedError> {
    let [slot, slots] = [SLOT, SLOTS_AT].map(|bytes| i32::try_from(bytes).unwrap_or(i32::MAX));
    code.mov(rsi, data)?;
    code.mov(r8d, dword_ptr(rsi))?;
    code.mov(edx, r8d)?;
    code.and(edx, 1)?;
    code.imul_3(edx, edx, slot)?;
    code.lea(rdx, ptr(rsi + rdx + slots))
}

/// Asks the kernel for the clock in `edi`, to a place of the frame, and has it in nanoseconds in `rdi`.
fn write_clock(code: &mut CodeAssembler, to: i32, is_none: CodeLabel) -> Result<(), IcedError> {
    code.lea(rsi, ptr(rsp + to))?;
    write_call(code, libc::SYS_clock_gettime)?;
    code.test(eax, eax)?;
    code.jne(is_none)?;
    code.imul_3(rdi, qword_ptr(rsp + to), SECOND_NS)?;
    code.add(rdi, qword_ptr(rsp + to + 8))
}
