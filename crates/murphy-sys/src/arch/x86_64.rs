//! `x86_64`: registers by `PTRACE_GETREGS`, five-byte relative jumps, and the hook in assembler.

use std::{arch::global_asm, io};

use iced_x86::{
    BlockEncoder, BlockEncoderOptions, Code, Decoder, DecoderOptions, FlowControl, Instruction,
    InstructionBlock, OpKind,
};
use nix::libc::{self, user_regs_struct};

use super::{HookCode, MoveError, Moved, NotHere};
use crate::tracee::ptrace;

/// How long a jump is: `jmp rel32`.
pub const JUMP: usize = 5;
/// How far behind its beginning a function is searched for jumps back into it.
const FUNCTION_MAX: usize = 0x400;

/// The registers of a stopped thread.
#[derive(Clone, Copy, Debug)]
pub struct Registers(user_regs_struct);

impl Registers {
    pub(crate) fn read(thread: i32) -> Option<Self> {
        // SAFETY: the structure is plain numbers, for which all zeros are valid.
        let mut registers: user_regs_struct = unsafe { std::mem::zeroed() };
        let place = (&raw mut registers).addr();
        ptrace(libc::PTRACE_GETREGS, thread, 0, place).ok()?;
        Some(Self(registers))
    }

    /// The instruction pointer.
    pub fn instruction(&self) -> u64 {
        self.0.rip
    }

    /// The stack pointer.
    pub fn stack(&self) -> u64 {
        self.0.rsp
    }

    /// Lets the thread go on elsewhere; false when it was killed meanwhile.
    pub fn move_to(&mut self, thread: i32, instruction: u64) -> bool {
        self.0.rip = instruction;
        let place = (&raw const self.0).addr();
        ptrace(libc::PTRACE_SETREGS, thread, 0, place).is_ok()
    }
}

/// What the kernel calls this architecture where it tells of calls (`linux/audit.h`).
pub const AUDIT: Option<u32> = Some(0xC000_003E);

/// Where a register stands in what a tracer sees of a thread (`struct user`).
const RESULT_AT: usize = std::mem::offset_of!(user_regs_struct, rax);
const NUMBER_AT: usize = std::mem::offset_of!(user_regs_struct, orig_rax);

/// Has a thread that stands before a call make none, and be told of this result.
pub fn no_call(thread: i32, result: i64) -> io::Result<()> {
    // What came of it first: the call is made as it was where Murphy dies between the two.
    answer_call(thread, result)?;
    ptrace(libc::PTRACE_POKEUSER, thread, NUMBER_AT, usize::MAX)
}

/// Has a thread that stands at a call be told of this result; before a call that is made it is lost.
pub fn answer_call(thread: i32, result: i64) -> io::Result<()> {
    let result = usize::try_from(result.cast_unsigned()).unwrap_or(usize::MAX);
    ptrace(libc::PTRACE_POKEUSER, thread, RESULT_AT, result)
}

/// What the time stamp counter shows.
pub fn ticks() -> u64 {
    // SAFETY: every x86_64 has it; where the kernel has it trap, this process did not ask for that.
    unsafe { std::arch::x86_64::_rdtsc() }
}

/// A jump from `from` to `to`; `None` when it is too far.
pub fn jump(from: u64, to: u64) -> Option<[u8; JUMP]> {
    let distance = to.wrapping_sub(from + JUMP as u64).cast_signed();
    let mut bytes = [0xe9, 0, 0, 0, 0];
    bytes[1..].copy_from_slice(&i32::try_from(distance).ok()?.to_le_bytes());
    Some(bytes)
}

/// Moves the instructions under a jump at the beginning of `code`, which is at `from`, to `to`, and lets a
/// jump back follow them.
pub fn moved(
    name: &'static str,
    code: &[u8],
    from: u64,
    to: u64,
    room: usize,
) -> Result<Moved, MoveError> {
    let code = &code[..code.len().min(FUNCTION_MAX)];
    let mut decoder = Decoder::with_ip(64, code, from, DecoderOptions::NONE);
    let mut instructions = Vec::new();
    while decoder.position() < JUMP {
        let instruction = decoder.decode();
        if instruction.is_invalid() {
            return Err(MoveError::Unknown(name));
        }
        match instruction.flow_control() {
            FlowControl::Next | FlowControl::ConditionalBranch => instructions.push(instruction),
            _ => return Err(MoveError::Leaves(name)),
        }
    }
    let end = from + decoder.position() as u64;
    if jumps_into(code, from, from + 1..end) {
        return Err(MoveError::Entered(name));
    }
    let encode = |reason: iced_x86::IcedError| MoveError::Encode {
        name,
        reason: reason.to_string(),
    };
    let mut back = Instruction::with_branch(Code::Jmp_rel32_64, end).map_err(encode)?;
    // Any address but the one it leads to: the encoder takes that for a jump to itself.
    back.set_ip(end + 0x1_0000);
    let count = instructions.len();
    let olds: Vec<u64> = instructions.iter().map(Instruction::ip).collect();
    instructions.push(back);
    let block = InstructionBlock::new(&instructions, to);
    let options = BlockEncoderOptions::RETURN_NEW_INSTRUCTION_OFFSETS;
    let encoded = BlockEncoder::encode(64, block, options).map_err(encode)?;
    if encoded.code_buffer.len() > room {
        return Err(MoveError::Long {
            name,
            length: encoded.code_buffer.len(),
            room,
        });
    }
    let news = &encoded.new_instruction_offsets[..count];
    Ok(Moved {
        instructions: olds
            .into_iter()
            .zip(news.iter().map(|offset| to + u64::from(*offset)))
            .collect(),
        code: encoded.code_buffer,
    })
}

/// Whether a jump within `code` leads into `range`.
fn jumps_into(code: &[u8], from: u64, range: std::ops::Range<u64>) -> bool {
    let decoder = Decoder::with_ip(64, code, from, DecoderOptions::NONE);
    decoder
        .into_iter()
        .take_while(|instruction| !instruction.is_invalid())
        .any(|instruction| {
            instruction.op_count() > 0
                && instruction.op0_kind() == OpKind::NearBranch64
                && range.contains(&instruction.near_branch_target())
        })
}

/// Whether a signal frame on this stack returns to an instruction that is `within`: the kernel saves the
/// instruction pointer, the flags, and then the code segment, 0x33 for 64-bit code (`sigcontext`).
pub fn returns_from_signal(stack: &[u64], within: impl Fn(u64) -> bool) -> bool {
    stack
        .array_windows()
        .any(|[instruction, _flags, segment]| segment & 0xffff == 0x33 && within(*instruction))
}

// The hook. It is never run in this process: its bytes are copied into the page of a target.
//
// Everything in it is reached relative to the instruction pointer, so the bytes are the same at every
// address. It uses general registers only (Go keeps one SSE register at zero across its calls), less than a
// hundred bytes of stack, and balanced calls. Readers take slot `generation & 1` and read again when the
// generation has moved; a writer fills the other slot and then moves the generation: nobody ever waits.
//
// The numbers of the layout are those of `vdso/slot.rs`.
global_asm!(
    r#"
.section .rodata
.balign 64
.globl murphy_hook_start, murphy_hook_end, murphy_hook_data
.globl murphy_hook_clock_gettime_beginning, murphy_hook_gettimeofday_beginning, murphy_hook_time_beginning
.globl murphy_hook_clock_gettime, murphy_hook_gettimeofday, murphy_hook_time
murphy_hook_start:
    .ascii "MURPHY\0\1"
    .quad murphy_hook_end - murphy_hook_start
murphy_hook_clock_gettime_beginning:
    .fill 32, 1, 0xcc
murphy_hook_gettimeofday_beginning:
    .fill 32, 1, 0xcc
murphy_hook_time_beginning:
    .fill 48, 1, 0xcc
.balign 16
// int clock_gettime(clockid_t edi, struct timespec *rsi)
murphy_hook_clock_gettime:
    cmp edi, 11
    ja murphy_hook_clock_gettime_beginning
    lea r11, [rip + murphy_hook_data]
    mov eax, [r11]
    and eax, 1
    imul eax, eax, {slot}
    mov ecx, [r11 + rax + {slots}]
    bt ecx, edi
    jnc murphy_hook_clock_gettime_beginning
murphy_hook_skewed:
    push rbp
    mov rbp, rsp
    push rbx
    push r12
    push r13
    sub rsp, 40
    mov ebx, edi
    mov r12, rsi
    // Into a place of its own: another thread may look at the caller's and must not see the true time.
    mov rsi, rsp
    call murphy_hook_clock_gettime_beginning
    test eax, eax
    jne 9f
    // r10 is what is shown true, r13 what decides on the segment.
    imul r13, [rsp], 1000000000
    add r13, [rsp + 8]
    mov r10, r13
2:
    lea rsi, [rip + murphy_hook_data]
    mov r8d, [rsi]
    mov ecx, r8d
    and ecx, 1
    imul ecx, ecx, {slot}
    lea rdi, [rsi + rcx + {slots} + 8]
    // The timescale of the clock, four bits each.
    lea ecx, [rbx * 4]
    movabs r9, {timescales}
    shr r9, cl
    and r9d, 15
    imul r9d, r9d, {timescale}
    add r9, rdi
    cmp r13, [r9]
    jl 3f
    add r9, {segment}
    cmp r13, [r9]
    jge 6f
3:
    // A coarse clock lags, and would enter the next segment later than the others: near an edge the fine
    // one of its timescale decides.
    lea eax, [rbx - 5]
    cmp eax, 1
    ja 7f
    mov rax, [r9]
    sub rax, r13
    cmp rax, {coarse}
    ja 7f
    sub ebx, 5
    mov edi, ebx
    lea rsi, [rsp + 16]
    call murphy_hook_clock_gettime_beginning
    imul r13, [rsp + 16], 1000000000
    add r13, [rsp + 24]
    imul r10, [rsp], 1000000000
    add r10, [rsp + 8]
    jmp 2b
7:
    mov r11, r10
    add r11, [r9 + 8]
    mov rcx, [r9 + 16]
    test rcx, rcx
    je 4f
    mov rax, r10
    imul rcx
    shrd rax, rdx, 40
    add r11, rax
4:
    cmp r8d, [rsi]
    jne 2b
    // Before 1970, or before the boot, there is nothing.
    test r11, r11
    jns 5f
    xor r11d, r11d
5:
    // r11 / 1000000000, as a product: (r11 >> 9) * 0x44B82FA09B5A53 >> 64 + 11
    mov rax, r11
    shr rax, 9
    movabs rdx, 0x44B82FA09B5A53
    mul rdx
    shr rdx, 11
    imul rax, rdx, 1000000000
    sub r11, rax
    mov [r12], rdx
    mov [r12 + 8], r11
    xor eax, eax
    jmp 9f
6:
    cmp r8d, [rsi]
    jne 2b
    mov rax, [rsp]
    mov rdx, [rsp + 8]
    mov [r12], rax
    mov [r12 + 8], rdx
    xor eax, eax
9:
    add rsp, 40
    pop r13
    pop r12
    pop rbx
    pop rbp
    ret
.balign 16
// int gettimeofday(struct timeval *rdi, struct timezone *rsi)
murphy_hook_gettimeofday:
    test rdi, rdi
    je murphy_hook_gettimeofday_beginning
    lea r11, [rip + murphy_hook_data]
    mov eax, [r11]
    and eax, 1
    imul eax, eax, {slot}
    test dword ptr [r11 + rax + {slots}], 1
    je murphy_hook_gettimeofday_beginning
    push rbp
    mov rbp, rsp
    push rbx
    push r12
    sub rsp, 16
    mov rbx, rdi
    mov r12, rsi
    xor edi, edi
    mov rsi, rsp
    call murphy_hook_skewed
    mov rax, [rsp]
    mov rcx, [rsp + 8]
    // rcx / 1000 for less than 10^9
    imul rcx, rcx, 0x10624dd3
    shr rcx, 38
    mov [rbx], rax
    mov [rbx + 8], rcx
    test r12, r12
    je 1f
    xor edi, edi
    mov rsi, r12
    call murphy_hook_gettimeofday_beginning
1:
    xor eax, eax
    add rsp, 16
    pop r12
    pop rbx
    pop rbp
    ret
.balign 16
// time_t time(time_t *rdi)
murphy_hook_time:
    lea r11, [rip + murphy_hook_data]
    mov eax, [r11]
    and eax, 1
    imul eax, eax, {slot}
    test dword ptr [r11 + rax + {slots}], 1
    je murphy_hook_time_beginning
    push rbp
    mov rbp, rsp
    push rbx
    sub rsp, 24
    mov rbx, rdi
    mov edi, 5
    mov rsi, rsp
    call murphy_hook_skewed
    mov rax, [rsp]
    test rbx, rbx
    je 1f
    mov [rbx], rax
1:
    add rsp, 24
    pop rbx
    pop rbp
    ret
.balign 64
murphy_hook_data:
    .fill {data}, 1, 0
murphy_hook_end:
.text
"#,
    slot = const crate::vdso::SLOT,
    slots = const crate::vdso::SLOTS_AT,
    timescale = const crate::vdso::TIMESCALE,
    segment = const crate::vdso::SEGMENT,
    timescales = const crate::vdso::TIMESCALE_OF_CLOCK,
    data = const crate::vdso::DATA,
    // More than a tick of any kernel, and of a virtual machine's that gets no processor for a while.
    coarse = const 100_000_000,
);

unsafe extern "C" {
    static murphy_hook_start: u8;
    static murphy_hook_end: u8;
    static murphy_hook_data: u8;
    static murphy_hook_clock_gettime_beginning: u8;
    static murphy_hook_gettimeofday_beginning: u8;
    static murphy_hook_time_beginning: u8;
    static murphy_hook_clock_gettime: u8;
    static murphy_hook_gettimeofday: u8;
    static murphy_hook_time: u8;
}

/// The hook as it was assembled.
#[allow(clippy::unnecessary_wraps, reason = "elsewhere there is none")]
pub fn hook() -> Result<HookCode, NotHere> {
    let start = (&raw const murphy_hook_start).addr();
    let at = |symbol: *const u8| symbol.addr() - start;
    let beginnings = [
        at(&raw const murphy_hook_clock_gettime_beginning),
        at(&raw const murphy_hook_gettimeofday_beginning),
        at(&raw const murphy_hook_time_beginning),
    ];
    let entries = [
        at(&raw const murphy_hook_clock_gettime),
        at(&raw const murphy_hook_gettimeofday),
        at(&raw const murphy_hook_time),
    ];
    // SAFETY: both symbols bound one read-only object of this program, assembled above.
    let bytes = unsafe {
        std::slice::from_raw_parts(&raw const murphy_hook_start, at(&raw const murphy_hook_end))
    };
    Ok(HookCode {
        bytes,
        beginnings: [
            (beginnings[0], beginnings[1] - beginnings[0]),
            (beginnings[1], beginnings[2] - beginnings[1]),
            (beginnings[2], entries[0] - beginnings[2]),
        ],
        entries,
        data: at(&raw const murphy_hook_data),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_jump_leads_where_it_should() {
        assert_eq!(jump(0x1000, 0x1005), Some([0xe9, 0, 0, 0, 0]));
        assert_eq!(jump(0x1000, 0x0ffb), Some([0xe9, 0xf6, 0xff, 0xff, 0xff]));
        assert_eq!(jump(0, 0x1_0000_0000), None);
    }

    #[test]
    fn moved_instructions_still_mean_the_same() {
        // push rbp; lea r10,[rip+0x100]; ret
        let code = [0x55, 0x4c, 0x8d, 0x15, 0, 1, 0, 0, 0xc3];
        let moved = moved("f", &code, 0x1000, 0x1800, 32).unwrap();
        let target = |code: &[u8], ip| {
            let mut decoder = Decoder::with_ip(64, code, ip, DecoderOptions::NONE);
            let _ = decoder.decode();
            decoder.decode().ip_rel_memory_address()
        };
        assert_eq!(target(&moved.code, 0x1800), target(&code, 0x1000));
        assert_eq!(moved.instructions[1], (0x1001, 0x1801));
        let back = &moved.code[moved.code.len() - 5..];
        let at = 0x1800 + moved.code.len() as u64 - 5;
        assert_eq!(back, jump(at, 0x1008).unwrap());
    }

    #[test]
    fn what_cannot_be_moved_is_refused() {
        for (code, error) in [
            (&[0xc3, 0, 0, 0, 0][..], MoveError::Leaves("f")),
            (&[0xe8, 0, 0, 0, 0], MoveError::Leaves("f")),
            (&[0x06, 0, 0, 0, 0], MoveError::Unknown("f")),
            // nop x5; jmp back into the third
            (
                &[0x90, 0x90, 0x90, 0x90, 0x90, 0xeb, 0xfb],
                MoveError::Entered("f"),
            ),
        ] {
            assert_eq!(moved("f", code, 0x1000, 0x1800, 32).unwrap_err(), error);
        }
    }

    #[test]
    fn a_signal_frame_is_known_by_its_segment() {
        let within = |at| (0x1000..0x1005).contains(&at);
        assert!(returns_from_signal(
            &[1, 0x1002, 0x246, 0x2b_0000_0033, 5],
            within
        ));
        assert!(!returns_from_signal(&[1, 0x1002, 0x246, 0x34, 5], within));
        assert!(!returns_from_signal(&[1, 0x2002, 0x246, 0x33, 5], within));
    }
}
