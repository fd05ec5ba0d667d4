//! A site is a `syscall` instruction of a program that can be patched: what is before it can run elsewhere.

use std::{collections::BTreeSet, fmt};

use iced_x86::{
    Code, Decoder, DecoderOptions, FlowControl, Instruction, InstructionInfoFactory, Mnemonic,
    OpAccess, OpKind, Register,
};

use super::Module;
use crate::arch::JUMP;

/// `syscall`.
const SYSCALL: [u8; 2] = [0x0f, 0x05];
/// The number of `rt_sigreturn`, and how a restorer puts it into a register: `mov rax, 15` and `mov eax, 15`.
const SIGRETURN: u32 = 15;
const RESTORERS: [&[u8]; 2] = [&[0x48, 0xc7, 0xc0, 15, 0, 0, 0], &[0xb8, 15, 0, 0, 0]];
/// So many instructions before a call its number is put into its register, if that is known at all.
const NUMBER_WITHIN: usize = 24;
/// So many where the number is copied from another register.
const COPIED_WITHIN: usize = 6;
/// So many where the number is not known, and so long a function where it may be anywhere.
const LOADED_WITHIN: usize = 10;
const SHORT_BYTES: u64 = 128;

/// A `syscall` instruction that can be patched.
#[derive(Clone, Debug)]
pub struct Site {
    /// Where the first instruction begins that is moved away.
    pub at: u64,
    /// Where the `syscall` is; all from [`Site::at`] to here is moved.
    pub syscall: u64,
    /// What it calls, where that is the same each time.
    pub number: Option<u32>,
    /// What it very likely calls, where it is not known: by that a site is only ever left alone.
    pub guess: Option<u32>,
    /// What is moved.
    pub moved: Vec<Instruction>,
}

impl Site {
    /// Whether it may make a call.
    pub fn may_call(&self, number: u32) -> bool {
        self.number.or(self.guess).is_none_or(|one| one == number)
    }

    /// How many bytes are moved.
    pub fn length(&self) -> u64 {
        self.syscall - self.at
    }
}

/// A `syscall` instruction that is left alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Where it is.
    pub syscall: u64,
    /// What it calls, if that is known.
    pub number: Option<u32>,
    /// Why.
    pub why: Unfit,
}

/// Why a `syscall` instruction cannot be patched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Unfit {
    /// It ends a signal handler, and unwinders know it by its bytes.
    Restorer,
    /// It is no instruction, as far as can be seen: the bytes of a constant.
    NoCode,
    /// Something jumps between the instructions before it.
    Entered,
    /// There is a call, a jump or a return before it.
    Leaves,
    /// There are less than five bytes before it that are known.
    Short,
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Restorer => "it ends signal handlers",
            Self::NoCode => "it does not look like code",
            Self::Entered => "something jumps between the instructions before it",
            Self::Leaves => "a call, a jump or a return is before it",
            Self::Short => "less than five bytes are before it",
        })
    }
}

/// All `syscall` instructions of a module.
#[derive(Clone, Debug, Default)]
pub struct Sites {
    /// Those that can be patched.
    pub fit: Vec<Site>,
    /// Those that cannot.
    pub refused: Vec<Refused>,
}

impl Sites {
    /// Looks for them. What is in the midst of an instruction is none.
    pub fn of(module: &Module) -> Self {
        let mut sites = Self::default();
        for (at, code) in module.functions() {
            if code.windows(SYSCALL.len()).any(|bytes| bytes == SYSCALL) {
                sites.look(at, code);
            }
        }
        sites
    }

    /// Looks into a function.
    pub(super) fn look(&mut self, at: u64, code: &[u8]) {
        let decoder = Decoder::with_ip(64, code, at, DecoderOptions::NONE);
        let all: Vec<Instruction> = decoder.into_iter().collect();
        let targets: BTreeSet<u64> = all.iter().filter_map(target).collect();
        for (place, instruction) in all.iter().enumerate() {
            if instruction.code() != Code::Syscall {
                continue;
            }
            let syscall = instruction.ip();
            let before = &all[..place];
            let is_entered = targets.contains(&syscall);
            let number = (!is_entered).then(|| number(before, &targets)).flatten();
            let guess = number.or_else(|| copied_number(before));
            let ends = usize::try_from(syscall - at).unwrap_or(0);
            let fit = if number == Some(SIGRETURN) || is_restorer(&code[..ends]) {
                Err(Unfit::Restorer)
            } else if number.is_none() && !is_plausible(before) {
                Err(Unfit::NoCode)
            } else {
                displaced(before, &targets)
            };
            match fit {
                Ok(moved) => self.fit.push(Site {
                    at: moved.first().map_or(syscall, Instruction::ip),
                    syscall,
                    number,
                    guess,
                    moved: moved.to_vec(),
                }),
                Err(why) => self.refused.push(Refused {
                    syscall,
                    number,
                    why,
                }),
            }
        }
    }
}

/// Where an instruction goes to itself.
fn target(instruction: &Instruction) -> Option<u64> {
    let is_near = matches!(
        instruction.op0_kind(),
        OpKind::NearBranch16 | OpKind::NearBranch32 | OpKind::NearBranch64
    );
    (instruction.op_count() > 0 && is_near).then(|| instruction.near_branch_target())
}

fn is_restorer(before: &[u8]) -> bool {
    RESTORERS.iter().any(|restorer| before.ends_with(restorer))
}

/// The instructions at the end of these that make room for a jump and can run elsewhere.
fn displaced<'a>(
    before: &'a [Instruction],
    targets: &BTreeSet<u64>,
) -> Result<&'a [Instruction], Unfit> {
    let mut bytes = 0;
    for place in (0..before.len()).rev() {
        let (one, moved) = (&before[place], &before[place..]);
        // The first may be jumped to: there is the jump, then.
        if moved
            .get(1)
            .is_some_and(|next| targets.contains(&next.ip()))
        {
            return Err(Unfit::Entered);
        }
        // Who lands at `endbr64` by a pointer must find it there.
        let is_known = !one.is_invalid() && one.mnemonic() != Mnemonic::Endbr64;
        match one.flow_control() {
            FlowControl::Next if is_known => {}
            // These have no form that goes far.
            FlowControl::ConditionalBranch
                if one.is_jcx_short() || one.is_loop() || one.is_loopcc() =>
            {
                return Err(Unfit::Leaves);
            }
            FlowControl::ConditionalBranch => {}
            _ if is_known => return Err(Unfit::Leaves),
            _ => return Err(Unfit::Short),
        }
        bytes += one.len();
        if bytes >= JUMP {
            return Ok(moved);
        }
    }
    Err(Unfit::Short)
}

/// The constant that is in `eax` behind these, whichever way they were gone.
fn number(before: &[Instruction], targets: &BTreeSet<u64>) -> Option<u32> {
    let mut information = InstructionInfoFactory::new();
    for one in before.iter().rev().take(NUMBER_WITHIN) {
        if let Some(constant) = constant(one).filter(|_| is_to(one, Register::RAX)) {
            return Some(constant);
        }
        let used = information.info(one).used_registers().iter();
        let mut used = used.filter(|used| used.register().full_register() == Register::RAX);
        let is_changed =
            used.any(|used| !matches!(used.access(), OpAccess::Read | OpAccess::CondRead));
        let goes_on = matches!(
            one.flow_control(),
            FlowControl::Next | FlowControl::ConditionalBranch
        );
        // Whoever comes from elsewhere may have another.
        if is_changed || !goes_on || one.is_invalid() || targets.contains(&one.ip()) {
            return None;
        }
    }
    None
}

/// The constant that was copied to `eax` from a register in which a compiler has kept it.
fn copied_number(before: &[Instruction]) -> Option<u32> {
    let last = before.iter().enumerate().rev().take(COPIED_WITHIN);
    let (place, copy) = last
        .into_iter()
        .find(|(_, one)| is_to(one, Register::RAX))?;
    if copy.mnemonic() != Mnemonic::Mov || copy.op1_kind() != OpKind::Register {
        return None;
    }
    let from = copy.op1_register().full_register();
    let source = before[..place].iter().rev().find(|one| is_to(one, from));
    constant(source?)
}

/// Whether the first operand of an instruction is a register.
fn is_to(instruction: &Instruction, register: Register) -> bool {
    let is_register = instruction.op_count() > 0 && instruction.op0_kind() == OpKind::Register;
    is_register && instruction.op0_register().full_register() == register
}

/// The constant that an instruction puts into its first operand.
fn constant(instruction: &Instruction) -> Option<u32> {
    match instruction.code() {
        Code::Mov_r32_imm32 => Some(instruction.immediate32()),
        Code::Mov_rm64_imm32 => u32::try_from(instruction.immediate32to64()).ok(),
        Code::Mov_r64_imm64 => u32::try_from(instruction.immediate64()).ok(),
        Code::Xor_r32_rm32 | Code::Xor_rm32_r32 => {
            (instruction.op0_register() == instruction.op1_register()).then_some(0)
        }
        _ => None,
    }
}

/// The two bytes also occur in tables that lie between functions. Where the number is not known, what is before must load
/// `rax`: just before, or anywhere in a short function; or it is Go's, whose callers do.
fn is_plausible(before: &[Instruction]) -> bool {
    let is_short = match (before.first(), before.last()) {
        (Some(first), Some(last)) => last.ip() - first.ip() < SHORT_BYTES,
        _ => false,
    };
    let within = if is_short {
        before.len()
    } else {
        LOADED_WITHIN
    };
    let mut near = before.iter().rev().take(within);
    let loads = |one: &Instruction| {
        matches!(one.mnemonic(), Mnemonic::Mov | Mnemonic::Movsxd) && is_to(one, Register::RAX)
    };
    let loaded = near
        .by_ref()
        .take_while(|one| one.flow_control() == FlowControl::Next && !one.is_invalid())
        .any(loads);
    loaded || is_go(before)
}

/// How Go's `Syscall6` moves its last arguments: `mov rdx, rdi; mov rsi, rcx; mov rdi, rbx`.
fn is_go(before: &[Instruction]) -> bool {
    const MOVES: [(Register, Register); 3] = [
        (Register::RDX, Register::RDI),
        (Register::RSI, Register::RCX),
        (Register::RDI, Register::RBX),
    ];
    let Some(last) = before.last_chunk::<3>() else {
        return false;
    };
    last.iter().zip(MOVES).all(|(one, (to, from))| {
        one.mnemonic() == Mnemonic::Mov
            && is_to(one, to)
            && one.op1_kind() == OpKind::Register
            && one.op1_register() == from
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use iced_x86::{IcedError, code_asm::*};

    const AT: u64 = 0x40_0000;

    /// What is found in a function.
    fn found(write: impl FnOnce(&mut CodeAssembler) -> Result<(), IcedError>) -> Sites {
        let mut code = CodeAssembler::new(64).unwrap();
        write(&mut code).unwrap();
        let mut sites = Sites::default();
        sites.look(AT, &code.assemble(AT).unwrap());
        sites
    }

    /// What one call is made with, and how many instructions and bytes of its are moved.
    fn fit(
        write: impl FnOnce(&mut CodeAssembler) -> Result<(), IcedError>,
    ) -> (Option<u32>, usize, u64) {
        let sites = found(write);
        let [site] = &sites.fit[..] else {
            panic!("{sites:?}");
        };
        assert!(sites.refused.is_empty(), "{sites:?}");
        (site.number, site.moved.len(), site.length())
    }

    /// Why one is left alone.
    fn unfit(write: impl FnOnce(&mut CodeAssembler) -> Result<(), IcedError>) -> Unfit {
        let sites = found(write);
        let [refused] = &sites.refused[..] else {
            panic!("{sites:?}");
        };
        assert!(sites.fit.is_empty(), "{sites:?}");
        refused.why
    }

    #[test]
    fn the_number_before_a_call_is_what_is_moved() {
        let written = fit(|code| {
            code.endbr64()?;
            code.mov(eax, 1)?;
            code.syscall()?;
            code.ret()
        });
        assert_eq!(written, (Some(1), 1, 5));
        let wide = fit(|code| {
            code.mov(rax, 257_i64)?;
            code.syscall()
        });
        assert_eq!(wide.0, Some(257));
    }

    #[test]
    fn as_many_instructions_are_moved_as_a_jump_needs() {
        let read = fit(|code| {
            code.mov(rsi, rbx)?;
            code.mov(edi, r12d)?;
            code.xor(eax, eax)?;
            code.syscall()
        });
        assert_eq!(read, (Some(0), 2, 5));
    }

    #[test]
    fn a_number_that_comes_from_elsewhere_is_not_known() {
        // `syscall(2)`: whoever calls it says which.
        let any = fit(|code| {
            code.mov(rax, rdi)?;
            code.mov(rdi, rsi)?;
            code.mov(rsi, rdx)?;
            code.syscall()
        });
        assert_eq!(any, (None, 2, 6));
        let two = found(|code| {
            let mut joined = code.create_label();
            code.mov(eax, 1)?;
            code.test(edi, edi)?;
            code.je(joined)?;
            code.mov(eax, 20)?;
            code.set_label(&mut joined)?;
            code.mov(rdi, r12)?;
            code.mov(rsi, r13)?;
            code.syscall()
        });
        assert_eq!(two.fit[0].number, None, "{two:?}");
        assert!(two.fit[0].may_call(1) && two.fit[0].may_call(20));
    }

    #[test]
    fn a_number_that_a_register_keeps_is_guessed() {
        let futex = found(|code| {
            code.mov(r8d, 202)?;
            code.mov(rsi, r13)?;
            code.mov(eax, r8d)?;
            code.mov(rdi, r12)?;
            code.syscall()
        });
        assert_eq!((futex.fit[0].number, futex.fit[0].guess), (None, Some(202)));
        assert!(futex.fit[0].may_call(202) && !futex.fit[0].may_call(1));
    }

    #[test]
    fn what_cannot_be_moved_is_left_alone() {
        assert_eq!(
            unfit(|code| {
                code.mov(rax, 15_i64)?;
                code.syscall()
            }),
            Unfit::Restorer
        );
        assert_eq!(
            unfit(|code| {
                code.endbr64()?;
                code.xor(eax, eax)?;
                code.syscall()
            }),
            Unfit::Short
        );
        assert_eq!(
            unfit(|code| {
                code.xor(eax, eax)?;
                code.syscall()
            }),
            Unfit::Short
        );
        assert_eq!(
            unfit(|code| {
                code.mov(eax, 3)?;
                code.call(rbx)?;
                code.mov(rax, rbp)?;
                code.syscall()
            }),
            Unfit::Leaves
        );
        // Who tries again begins with the last of them.
        assert_eq!(
            unfit(|code| {
                let mut again = code.create_label();
                code.mov(rdi, rbx)?;
                code.mov(rsi, r12)?;
                code.set_label(&mut again)?;
                code.mov(rax, r13)?;
                code.syscall()?;
                code.cmp(rax, -4)?;
                code.je(again)
            }),
            Unfit::Entered
        );
    }

    #[test]
    fn who_tries_again_from_the_first_of_them_comes_by_the_jump() {
        let retried = fit(|code| {
            let mut again = code.create_label();
            code.mov(rdi, rbx)?;
            code.set_label(&mut again)?;
            code.mov(eax, 1)?;
            code.syscall()?;
            code.cmp(rax, -4)?;
            code.je(again)
        });
        assert_eq!(retried, (Some(1), 1, 5));
    }

    #[test]
    fn constants_are_no_calls() {
        // 0xc0ffee..., with the two bytes in their midst and nothing that loads a number before.
        let table = [0xee_u8, 0xff, 0xc0, 0x61, 0x77, 0x0f, 0x05, 0x11, 0x22];
        let mut sites = Sites::default();
        sites.look(AT, &table.repeat(20));
        assert!(sites.fit.is_empty(), "{sites:?}");
        // In the midst of an instruction they are not even looked at.
        let inside = found(|code| {
            code.mov(eax, 0x050f)?;
            code.ret()
        });
        assert!(inside.fit.is_empty() && inside.refused.is_empty());
    }

    #[test]
    fn go_takes_the_number_as_an_argument() {
        let go = fit(|code| {
            for _ in 0..12 {
                code.nop()?;
            }
            code.mov(rdx, rdi)?;
            code.mov(rsi, rcx)?;
            code.mov(rdi, rbx)?;
            code.syscall()
        });
        assert_eq!(go, (None, 2, 6));
    }
}
