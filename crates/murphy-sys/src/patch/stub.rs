//! A stub is where a patched site leads: a few instructions of Murphy's that decide whether a call fails, and how.
//!
//! Until a call is hit, a stub changes only what `syscall` itself may change (`rax`, `rcx`, `r11` and the flags), and uses no
//! stack: there may be none to spare in a program whose threads have small ones (Go), and what is below it belongs to the
//! program (the red zone of the System V ABI). The dice come first and the filters after them, so that those cost nothing but
//! where a call is hit, and do not change how often. Whatever passes makes the real call in the program's own code. Behind
//! the deadline everything passes, whoever has died.
//!
//! What came of calls can be counted, where somebody has found memory for that. Dice need none: they are the time stamp counter
//! and the stack pointer, multiplied, folded and multiplied again (by the factors of splitmix64's finalizer, Steele, Lea and
//! Flood, 2014), of which the upper half is taken. There is little room in some programs, and the dice are in it for each call.

use std::collections::BTreeSet;

use iced_x86::{
    BlockEncoderOptions, Code, IcedError, Instruction, MemoryOperand, Register,
    code_asm::{
        AsmRegister64, CodeAssembler, CodeLabel, eax, edi, edx, esi, ptr, qword_ptr, r10d, r11,
        rax, rcx, rdi, rdx, rsp,
    },
};
use nix::libc;

use super::{
    Lease, Site,
    clocks::{self, Clocks},
    looks::{PREFIX_MAX, write_call, write_keep, write_looks, write_question, write_restore},
    remembered::{self, Objects},
    rule::{Act, Only, Pick, Rule},
};

/// What every stub begins with, whatever its version.
pub const MARK: [u8; 8] = *b"MURPHYS\x01";
/// Where the deadline stands behind it, by the time stamp counter.
pub const DEADLINE_AT: u64 = 8;
/// Where it stands whose it is.
pub const OWNER_AT: u64 = 16;
/// Where it stands where is counted what came of calls, for one rule after the other; 0 where that is not.
pub const COUNTS_AT: u64 = 24;
/// Where it stands how many rules there are; in the upper half, how many words more are kept behind the counts.
pub const RULES_AT: u64 = 32;
/// Where the chance of each rule stands, one after the other; in 2^-32.
pub const CHANCES_AT: u64 = 64;

/// How many numbers are kept for each rule: how often it hit, how often calls came to the dice, how often those hit what was not
/// meant, and what [`Pick`] has to remember.
pub const COUNTED: u64 = 4;
const HITS: u64 = 0;
const MADE: u64 = 1;
const UNMEANT: u64 = 2;
const REMEMBERED: u64 = 3;

/// What a broken pipe is, in the numbers of rules.
const EPIPE: u16 = 32;
/// The first of the values of `rax` that are errors.
const FIRST_ERROR: i32 = -4095;

/// Why there is no stub.
#[derive(Debug, thiserror::Error)]
pub enum StubError {
    /// What comes in turns, in bursts, not often in a row, once, or for good is remembered.
    #[error(
        "patch by turns, bursts, a cap, once or for good: there is no memory in the program that it does not use, to remember them in"
    )]
    NoMemory,
    /// A path is too long to be looked for.
    #[error("look for a path that begins with {length} bytes: at most {PREFIX_MAX} can be")]
    Prefix {
        /// How long it is.
        length: usize,
    },
    /// A site makes a call for which there is no rule.
    #[error("patch call {0}: no rule is for it")]
    NoRule(u32),
    /// It cannot be encoded there.
    #[error("write instructions: {0}")]
    Encode(#[from] IcedError),
}

/// The code to which sites lead.
#[derive(Clone, Debug)]
pub struct Stub {
    /// What is to be at its place.
    pub bytes: Vec<u8>,
    /// Where each site leads.
    pub entries: Vec<u64>,
    /// Where each instruction is now that a site has moved.
    pub moved: Vec<Vec<u64>>,
}

/// What the code refers to.
struct Header {
    deadline: CodeLabel,
    seed: CodeLabel,
    mix: [CodeLabel; 2],
    chances: Vec<CodeLabel>,
}

/// What is written once, however many rules need it.
struct Shared {
    /// Where the stub is.
    at: u64,
    /// Where each question is asked.
    looks: Vec<(Only, CodeLabel)>,
    /// Where a signal is sent.
    signal: Option<CodeLabel>,
    /// Where connections and files are remembered that were hit.
    objects: Option<Objects>,
    /// Where clocks are read that are skewed.
    clocks: Option<Clocks>,
    /// Where calls fail, by what they fail with.
    failures: Vec<(u16, CodeLabel)>,
}

impl Stub {
    /// Writes the code for some sites of a module, to be at an address; `bias` is how far the module is shifted. All addresses
    /// are the process's.
    pub fn write(
        at: u64,
        bias: u64,
        sites: &[Site],
        rules: &[Rule],
        lease: Lease,
        counts: Option<u64>,
    ) -> Result<Self, StubError> {
        let mut code = CodeAssembler::new(64)?;
        let header = write_header(&mut code, rules, lease, counts)?;
        let shared = Shared {
            at,
            looks: write_looks(&mut code, rules)?,
            signal: write_signal(&mut code, rules)?,
            objects: remembered::write(&mut code, rules, counts)?,
            clocks: clocks::write(&mut code, rules, header.deadline)?,
            failures: write_failures(&mut code, rules)?,
        };
        let mut starts: Vec<CodeLabel> = rules.iter().map(|_| code.create_label()).collect();
        let mut any = code.create_label();
        let mut entries = vec![any; sites.len()];
        let mut places = vec![Vec::new(); sites.len()];
        for ((place, rule), chance) in (0..).zip(rules).zip(&header.chances) {
            // What leads to a rule stands before it: the last comes to it without a jump, and the others by a short one.
            let leads = |site: &Site| site.number == Some(rule.call);
            let own: Vec<usize> = (0..sites.len()).filter(|at| leads(&sites[*at])).collect();
            for (rest, at) in own
                .iter()
                .enumerate()
                .map(|(i, at)| (own.len() - 1 - i, *at))
            {
                (entries[at], places[at]) = write_entry(&mut code, &sites[at], bias)?;
                if rest > 0 {
                    code.jmp(starts[place])?;
                }
            }
            code.set_label(&mut starts[place])?;
            let count = counts.map(|counts| counts + 8 * COUNTED * place as u64);
            if let (Act::Skew(_), Some(clocks)) = (rule.act, &shared.clocks) {
                let hits = count.map(|count| count + 8 * HITS);
                clocks::write_rule(&mut code, rule, clocks, |code| {
                    hits.map_or(Ok(()), |hits| write_count(code, at, hits, rcx))
                })?;
            } else {
                write_rule(&mut code, rule, &header, *chance, count, &shared)?;
            }
        }
        let unnumbered = |at: &usize| sites[*at].number.is_none();
        for at in (0..sites.len()).filter(unnumbered) {
            (entries[at], places[at]) = write_entry(&mut code, &sites[at], bias)?;
            code.jmp(any)?;
        }
        if sites.iter().any(|site| site.number.is_none()) {
            code.set_label(&mut any)?;
            for (rule, start) in rules.iter().zip(&starts) {
                code.cmp(eax, rule.call.cast_signed())?;
                code.je(*start)?;
            }
            code.jmp(r11)?;
        }
        let known = |number: u32| rules.iter().any(|rule| rule.call == number);
        let numbers = sites.iter().filter_map(|site| site.number);
        if let Some(number) = numbers.into_iter().find(|number| !known(*number)) {
            return Err(StubError::NoRule(number));
        }
        let options = BlockEncoderOptions::RETURN_NEW_INSTRUCTION_OFFSETS;
        let written = code.assemble_options(at, options)?;
        let offsets = &written.inner.new_instruction_offsets;
        let address = |place: &usize| at + u64::from(offsets[*place]);
        Ok(Self {
            entries: entries
                .iter()
                .map(|entry| written.label_ip(entry))
                .collect::<Result<_, _>>()?,
            moved: places
                .iter()
                .map(|moved| moved.iter().map(address).collect())
                .collect(),
            bytes: written.inner.code_buffer,
        })
    }
}

/// Writes where a site leads: what is moved of it, and then on to its rule with the address of its `syscall`. Where that begins, and
/// which of the instructions so far are the moved ones.
fn write_entry(
    code: &mut CodeAssembler,
    site: &Site,
    bias: u64,
) -> Result<(CodeLabel, Vec<usize>), IcedError> {
    let mut entry = code.create_label();
    code.set_label(&mut entry)?;
    let mut moved = Vec::new();
    for instruction in &site.moved {
        moved.push(code.instructions().len());
        code.add_instruction(shifted(*instruction, bias))?;
    }
    let syscall = site.syscall.wrapping_add(bias).cast_signed();
    code.add_instruction(Instruction::with2(
        Code::Lea_r64_m,
        Register::R11,
        MemoryOperand::with_base_displ(Register::RIP, syscall),
    )?)?;
    Ok((entry, moved))
}

/// An instruction as it is in a module that is shifted.
fn shifted(mut instruction: Instruction, bias: u64) -> Instruction {
    if instruction.near_branch_target() != 0 {
        instruction.set_near_branch64(instruction.near_branch_target().wrapping_add(bias));
    }
    if instruction.is_ip_rel_memory_operand() {
        let address = instruction.ip_rel_memory_address().wrapping_add(bias);
        instruction.set_memory_displacement64(address);
    }
    instruction
}

fn write_header(
    code: &mut CodeAssembler,
    rules: &[Rule],
    lease: Lease,
    counts: Option<u64>,
) -> Result<Header, StubError> {
    const MIX: [u64; 2] = [0xBF58_476D_1CE4_E5B9, 0x94D0_49BB_1331_11EB];
    code.dq(&[u64::from_le_bytes(MARK)])?;
    let mut word = |value: u64| {
        let mut label = code.create_label();
        code.set_label(&mut label)?;
        code.dq(&[value])?;
        Ok::<_, IcedError>(label)
    };
    Ok(Header {
        deadline: word(lease.deadline)?,
        seed: {
            word(lease.owner)?;
            word(counts.unwrap_or(0))?;
            word(rules.len() as u64 | remembered::words(rules) << 32)?;
            word(lease.seed)?
        },
        mix: [word(MIX[0])?, word(MIX[1])?],
        chances: rules
            .iter()
            .map(|rule| word(rule.chance))
            .collect::<Result<_, _>>()?,
    })
}

/// Counts one more at an address; where that is far away, `register` is lost.
fn write_count(
    code: &mut CodeAssembler,
    at: u64,
    address: u64,
    register: AsmRegister64,
) -> Result<(), IcedError> {
    /// As far as an instruction reaches, but for the length of a stub.
    const NEAR: u64 = 0x7f00_0000;
    if at.abs_diff(address) > NEAR {
        code.mov(register, address)?;
        return code.lock().inc(qword_ptr(register));
    }
    let place = MemoryOperand::with_base_displ(Register::RIP, address.cast_signed());
    let mut increment = Instruction::with1(Code::Inc_rm64, place)?;
    increment.set_has_lock_prefix(true);
    code.add_instruction(increment)
}

/// Goes to something that is written once, and comes back.
fn write_asking(code: &mut CodeAssembler, what: CodeLabel) -> Result<(), IcedError> {
    let mut back = code.create_label();
    code.lea(rax, ptr(back))?;
    code.jmp(what)?;
    code.set_label(&mut back)?;
    code.zero_bytes()
}

/// Writes how a thread gets a `SIGPIPE`, where a rule says that one does.
fn write_signal(code: &mut CodeAssembler, rules: &[Rule]) -> Result<Option<CodeLabel>, IcedError> {
    let breaks = |rule: &Rule| matches!(rule.act, Act::BreakPipe(_));
    if !rules.iter().any(breaks) {
        return Ok(None);
    }
    let signal = write_question(code, |code, _| {
        write_call(code, libc::SYS_gettid)?;
        code.mov(esi, eax)?;
        write_call(code, libc::SYS_getpid)?;
        code.mov(edi, eax)?;
        code.mov(edx, libc::SIGPIPE)?;
        write_call(code, libc::SYS_tgkill)
    })?;
    Ok(Some(signal))
}

/// Writes a rule. It is come to with the address of the site's `syscall` in `r11`.
fn write_rule(
    code: &mut CodeAssembler,
    rule: &Rule,
    header: &Header,
    chance: CodeLabel,
    count: Option<u64>,
    shared: &Shared,
) -> Result<(), StubError> {
    let [mut pass, mut go_on, mut unmeant] = [(); 3].map(|()| code.create_label());
    let remembered = count.map(|count| count + 8 * REMEMBERED);
    // These are known without a look.
    for only in &rule.only {
        match only {
            Only::Descriptors(least, most) => {
                code.cmp(edi, least.cast_signed())?;
                code.jb(go_on)?;
                code.cmp(edi, most.cast_signed())?;
                code.ja(go_on)?;
            }
            Only::Operation { mask, any } => {
                let mut is_meant = code.create_label();
                code.mov(eax, esi)?;
                code.and(eax, mask.cast_signed())?;
                for one in any {
                    code.cmp(eax, one.cast_signed())?;
                    code.je(is_meant)?;
                }
                code.jmp(go_on)?;
                code.set_label(&mut is_meant)?;
                code.zero_bytes()?;
            }
            _ => {}
        }
    }
    // What `rdtsc` changes beside `rax` a call must keep.
    code.mov(rcx, rdx)?;
    write_time(code)?;
    code.cmp(rax, qword_ptr(header.deadline))?;
    code.ja(pass)?;
    if let Some(count) = count {
        write_count(code, shared.at, count + 8 * MADE, rdx)?;
    }
    let [mut hit, mut is_broken] = [(); 2].map(|()| code.create_label());
    let objects = shared.objects.as_ref();
    let objects = objects.filter(|_| rule.pick.is_of_objects());
    if let Some(objects) = objects {
        code.mov(rdx, rcx)?;
        let (what, remembered) = match rule.pick {
            Pick::Sticky => (objects.recall, is_broken),
            _ => (objects.redeem, go_on),
        };
        write_asking(code, what)?;
        code.test(eax, eax)?;
        code.je(remembered)?;
        code.mov(rcx, rdx)?;
        write_time(code)?;
    }
    write_mix(code, header)?;
    code.cmp(rax, qword_ptr(chance))?;
    code.jb(hit)?;
    code.set_label(&mut pass)?;
    if let (Some(at), Pick::AtMost(_)) = (remembered, rule.pick) {
        code.mov(rdx, at)?;
        code.mov(qword_ptr(rdx), 0)?;
    }
    code.mov(rdx, rcx)?;
    code.set_label(&mut go_on)?;
    code.mov(eax, rule.call.cast_signed())?;
    code.jmp(r11)?;

    code.set_label(&mut unmeant)?;
    if let Some(count) = count {
        write_count(code, shared.at, count + 8 * UNMEANT, rcx)?;
    }
    code.jmp(go_on)?;

    code.set_label(&mut hit)?;
    code.mov(rdx, rcx)?;
    for only in &rule.only {
        let Some((_, look)) = shared.looks.iter().find(|(one, _)| one == only) else {
            continue;
        };
        write_asking(code, *look)?;
        code.test(eax, eax)?;
        code.jne(unmeant)?;
    }
    match objects {
        Some(objects) => write_asking(code, objects.retain)?,
        None => write_pick(code, go_on, rule.pick, remembered, header)?,
    }
    code.set_label(&mut is_broken)?;
    if let Some(count) = count {
        write_count(code, shared.at, count + 8 * HITS, rcx)?;
    }
    write_act(code, rule, go_on, shared)
}

/// Reads the time stamp counter into `rax`; `rdx` is lost.
pub(super) fn write_time(code: &mut CodeAssembler) -> Result<(), IcedError> {
    code.rdtsc()?;
    code.shl(rdx, 32)?;
    code.or(rax, rdx)
}

/// Makes a number of 32 bits that looks random of the time stamp counter in `rax`; `rdx` is lost.
fn write_mix(code: &mut CodeAssembler, header: &Header) -> Result<(), IcedError> {
    code.xor(rax, rsp)?;
    code.add(rax, qword_ptr(header.seed))?;
    code.imul_2(rax, qword_ptr(header.mix[0]))?;
    code.mov(rdx, rax)?;
    code.shr(rdx, 32)?;
    code.xor(rax, rdx)?;
    code.imul_2(rax, qword_ptr(header.mix[1]))?;
    code.shr(rax, 32)
}

/// Goes on with the calls that are meant and not picked.
fn write_pick(
    code: &mut CodeAssembler,
    go_on: CodeLabel,
    pick: Pick,
    remembered: Option<u64>,
    header: &Header,
) -> Result<(), StubError> {
    if pick == Pick::Each {
        return Ok(());
    }
    let at = remembered.ok_or(StubError::NoMemory)?;
    write_look(code, go_on, |code, other| {
        code.mov(rdi, at)?;
        match pick {
            Pick::Each | Pick::Sticky | Pick::Once => code.nop(),
            Pick::Turns { first, last, step } => {
                code.mov(eax, 1)?;
                code.lock().xadd(qword_ptr(rdi), rax)?;
                // From 0 on.
                code.mov(rcx, last.saturating_sub(1))?;
                code.cmp(rax, rcx)?;
                code.ja(other)?;
                code.mov(rcx, first.saturating_sub(1))?;
                code.sub(rax, rcx)?;
                code.jb(other)?;
                code.xor(edx, edx)?;
                code.mov(rcx, step.max(1))?;
                code.div(rcx)?;
                code.test(rdx, rdx)?;
                code.jne(other)
            }
            Pick::Bursts { begin, end } => {
                let [mut is_bad, mut is_hit] = [(); 2].map(|()| code.create_label());
                write_time(code)?;
                write_mix(code, header)?;
                code.cmp(qword_ptr(rdi), 0)?;
                code.jne(is_bad)?;
                code.mov(rcx, begin)?;
                code.cmp(rax, rcx)?;
                code.jae(other)?;
                code.mov(qword_ptr(rdi), 1)?;
                code.jmp(is_hit)?;
                code.set_label(&mut is_bad)?;
                code.mov(rcx, end)?;
                code.cmp(rax, rcx)?;
                code.jae(is_hit)?;
                code.mov(qword_ptr(rdi), 0)?;
                code.jmp(other)?;
                code.set_label(&mut is_hit)?;
                code.zero_bytes()
            }
            Pick::AtMost(most) => {
                let mut is_hit = code.create_label();
                code.mov(rax, qword_ptr(rdi))?;
                code.mov(rcx, most)?;
                code.cmp(rax, rcx)?;
                code.jb(is_hit)?;
                code.mov(qword_ptr(rdi), 0)?;
                code.jmp(other)?;
                code.set_label(&mut is_hit)?;
                code.lock().inc(qword_ptr(rdi))
            }
        }
    })?;
    Ok(())
}

/// Keeps what a call must keep, does something, and goes on with the call unless that goes on itself.
fn write_look(
    code: &mut CodeAssembler,
    go_on: CodeLabel,
    look: impl FnOnce(&mut CodeAssembler, CodeLabel) -> Result<(), IcedError>,
) -> Result<(), IcedError> {
    let [mut unmeant, mut meant] = [(); 2].map(|()| code.create_label());
    write_keep(code)?;
    look(code, unmeant)?;
    write_restore(code)?;
    code.jmp(meant)?;
    code.set_label(&mut unmeant)?;
    write_restore(code)?;
    code.jmp(go_on)?;
    code.set_label(&mut meant)?;
    code.zero_bytes()
}

/// Writes how calls fail that are not made: on behind the call.
fn write_failures(
    code: &mut CodeAssembler,
    rules: &[Rule],
) -> Result<Vec<(u16, CodeLabel)>, IcedError> {
    let errno_of = |rule: &Rule| match rule.act {
        Act::Fail(errno) => Some(errno),
        Act::BreakPipe(_) => Some(EPIPE),
        Act::FailAfter(_) | Act::Short | Act::Delay(_) | Act::Skew(_) => None,
    };
    let errnos: BTreeSet<u16> = rules.iter().filter_map(errno_of).collect();
    let write = |errno: u16| {
        let mut failure = code.create_label();
        code.set_label(&mut failure)?;
        write_failing(code, errno)?;
        Ok((errno, failure))
    };
    errnos.into_iter().map(write).collect()
}

fn write_failing(code: &mut CodeAssembler, errno: u16) -> Result<(), IcedError> {
    code.mov(rax, i64::from(-i32::from(errno)))?;
    code.lea(r11, ptr(r11 + 2))?;
    code.jmp(r11)
}

/// Goes to where calls fail so.
fn write_failure(code: &mut CodeAssembler, errno: u16, shared: &Shared) -> Result<(), IcedError> {
    match shared.failures.iter().find(|(one, _)| *one == errno) {
        Some((_, failure)) => code.jmp(*failure),
        None => write_failing(code, errno),
    }
}

/// Does to a call what is to be done, with the address of the site's `syscall` in `r11`.
fn write_act(
    code: &mut CodeAssembler,
    rule: &Rule,
    go_on: CodeLabel,
    shared: &Shared,
) -> Result<(), StubError> {
    match rule.act {
        Act::Fail(errno) => write_failure(code, errno, shared)?,
        Act::BreakPipe(flags) => {
            let mut is_quiet = code.create_label();
            if let Some(argument) = flags {
                match argument {
                    2 => code.test(edx, libc::MSG_NOSIGNAL)?,
                    _ => code.test(r10d, libc::MSG_NOSIGNAL)?,
                }
                code.jne(is_quiet)?;
            }
            if let Some(signal) = shared.signal {
                write_asking(code, signal)?;
            }
            code.set_label(&mut is_quiet)?;
            write_failure(code, EPIPE, shared)?;
        }
        Act::FailAfter(errno) => {
            let mut failed = code.create_label();
            write_keep(code)?;
            write_call(code, rule.call.into())?;
            write_restore(code)?;
            code.cmp(rax, FIRST_ERROR)?;
            code.jae(failed)?;
            code.mov(rax, i64::from(-i32::from(errno)))?;
            code.set_label(&mut failed)?;
            code.lea(r11, ptr(r11 + 2))?;
            code.jmp(r11)?;
        }
        Act::Short => {
            let mut is_short = code.create_label();
            write_keep(code)?;
            code.cmp(rdx, 2)?;
            code.jb(is_short)?;
            code.shr(rdx, 1)?;
            code.set_label(&mut is_short)?;
            write_call(code, rule.call.into())?;
            write_restore(code)?;
            code.lea(r11, ptr(r11 + 2))?;
            code.jmp(r11)?;
        }
        Act::Delay(ns) => {
            let mut pause = code.create_label();
            write_keep(code)?;
            code.lea(rdi, ptr(pause))?;
            code.xor(esi, esi)?;
            write_call(code, libc::SYS_nanosleep)?;
            write_restore(code)?;
            code.jmp(go_on)?;
            code.set_label(&mut pause)?;
            code.dq(&[ns / 1_000_000_000, ns % 1_000_000_000])?;
        }
        // That is written elsewhere, without dice.
        Act::Skew(_) => code.jmp(go_on)?,
    }
    Ok(())
}
