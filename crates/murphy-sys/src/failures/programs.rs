//! Programs that are loaded, with what they are told and what they have counted.

use std::{
    collections::BTreeSet,
    fs, io,
    os::{
        fd::{AsFd, AsRawFd, RawFd},
        unix::fs::MetadataExt,
    },
};

use libbpf_rs::{Link, MapCore, MapFlags, Object, OpenObject};

use super::{Counts, Hooks, ORDERS, Order, Rule, RuleError, encoded, hooks_of};
use crate::{bpf, syscalls::Call};

/// The programs that follow a family.
const FAMILY: [&str; 2] = ["murphy_born", "murphy_died"];
/// The number of the first pid namespace of a machine, `PROC_PID_INIT_INO` of `include/linux/proc_ns.h`.
const FIRST_PID_NAMESPACE: u64 = 0xefff_fffc;

/// Why programs do not do what they are asked.
#[derive(Debug)]
pub(crate) enum ProgramsError {
    /// The kernel has refused it.
    Refused {
        what: &'static str,
        source: io::Error,
    },
    /// A rule is impossible.
    Rule(RuleError),
    /// There is no room for one process more.
    Processes,
}

fn refused(what: &'static str) -> impl Fn(libbpf_rs::Error) -> ProgramsError {
    move |error| ProgramsError::Refused {
        what,
        source: io::Error::new(bpf::kind(&error), error),
    }
}

/// Whose calls are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Whose {
    /// Of everybody who comes to a hook.
    All,
    /// Of the processes that are watched, with their children.
    Family,
}

/// Loaded programs, with the rules of one injection.
pub(crate) struct Programs<H> {
    /// Dropped before what they belong to.
    followers: Vec<Link>,
    object: Object,
    order: Order,
    whose: Whose,
    rules: Vec<Rule>,
    hooks: BTreeSet<H>,
}

// SAFETY: libbpf binds none of these to a thread, and no other owner of the pointers inside is left outside: `Programs`
// gives none of them away.
unsafe impl<H: Send> Send for Programs<H> {}

impl<H: Hooks> Programs<H> {
    /// Loads these programs of an object, for rules whose hooks they are at. They decide nothing until they are attached.
    pub fn load(
        object: &[u8],
        names: &[&str],
        whose: Whose,
        order: &Order,
        rules: &[Rule],
    ) -> Result<Self, ProgramsError> {
        let hooks = hooks_of(rules).map_err(ProgramsError::Rule)?;
        let mut object = bpf::open(object).map_err(refused("read the BPF programs"))?;
        let follows = whose == Whose::Family;
        for mut program in object.progs_mut() {
            let is_in = |names: &[&str]| names.iter().any(|name| program.name() == *name);
            let is_wanted = is_in(names) || (follows && is_in(&FAMILY));
            program.set_autoload(is_wanted);
        }
        say_hooks::<H>(&mut object)?;
        let object = bpf::load(object).map_err(|source| ProgramsError::Refused {
            what: "load the BPF programs",
            source,
        })?;
        let mut programs = Self {
            followers: Vec::new(),
            object,
            order: order.clone(),
            whose,
            rules: rules.to_vec(),
            hooks,
        };
        for (place, rule) in rules.iter().enumerate() {
            programs.write("rules", place, &encoded::rule(rule))?;
        }
        programs.write_order()?;
        if follows {
            let names = FAMILY.iter();
            let links: Result<Vec<Link>, _> = names.map(|name| programs.attach(name)).collect();
            programs.followers = links?;
        }
        Ok(programs)
    }

    /// Attaches one that the kernel knows the place of.
    pub fn attach(&self, name: &str) -> Result<Link, ProgramsError> {
        let mut programs = self.object.progs_mut();
        let program = programs.find(|program| program.name() == name);
        let program = program.ok_or_else(|| missing("find a BPF program"))?;
        program.attach().map_err(refused("attach a BPF program"))
    }

    /// By what the kernel knows one.
    pub fn descriptor(&self, name: &str) -> Result<RawFd, ProgramsError> {
        let mut programs = self.object.progs();
        let program = programs.find(|program| program.name() == name);
        let program = program.ok_or_else(|| missing("find a BPF program"))?;
        Ok(program.as_fd().as_raw_fd())
    }

    /// The rules as they are now.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// Changes one. What it has counted stays.
    pub fn update(&mut self, place: usize, rule: Rule) -> Result<(), ProgramsError> {
        let changed = self.changed(place, &rule).map_err(ProgramsError::Rule)?;
        self.write("rules", changed, &encoded::rule(&rule))?;
        self.rules[changed] = rule;
        Ok(())
    }

    /// The place of a rule that may become another one.
    fn changed(&self, place: usize, rule: &Rule) -> Result<usize, RuleError> {
        let rules = self.rules.len();
        if place >= rules {
            return Err(RuleError::NoRule { place, rules });
        }
        hooks_of::<H>(std::slice::from_ref(rule))?;
        let is_new = |call: &Call| H::of(*call).is_some_and(|hook| !self.hooks.contains(&hook));
        match rule.calls.iter().copied().find(is_new) {
            Some(call) => Err(RuleError::NotLoaded {
                call,
                engine: H::ENGINE,
            }),
            None => Ok(place),
        }
    }

    /// Changes how likely calls fail.
    pub fn set_chance(&mut self, place: usize, chance: u64) -> Result<(), ProgramsError> {
        let rules = self.rules.len();
        let rule = self.rules.get(place).cloned();
        let rule = rule.ok_or(ProgramsError::Rule(RuleError::NoRule { place, rules }))?;
        self.update(place, Rule { chance, ..rule })
    }

    /// Goes on, or pauses: none fails, or is counted.
    pub fn set_active(&mut self, active: bool) -> Result<(), ProgramsError> {
        self.order.active = active;
        self.write_order()
    }

    /// What each rule has counted, in their order.
    pub fn counts(&self) -> Result<Vec<Counts>, ProgramsError> {
        let map = self.map("tallies")?;
        let counts = (0..self.rules.len()).map(|place| {
            let tally = map
                .lookup(&key(place), MapFlags::ANY)
                .map_err(refused("ask the BPF programs"))?;
            Ok(encoded::counts(&tally.unwrap_or_default()))
        });
        counts.collect()
    }

    /// Takes a process in, with all whom it bears from then on.
    pub fn watch(&self, pid: u32) -> Result<(), ProgramsError> {
        let family = self.map("family")?;
        let added = family.update(&pid.to_ne_bytes(), &[1], MapFlags::ANY);
        added.map_err(|error| match error.kind() {
            libbpf_rs::ErrorKind::TooBig => ProgramsError::Processes,
            _ => refused("tell the BPF programs")(error),
        })
    }

    /// Takes a process out; its children stay.
    pub fn forget(&self, pid: u32) -> Result<(), ProgramsError> {
        bpf::forget(&self.map("family")?, &pid.to_ne_bytes())
            .map_err(refused("tell the BPF programs"))
    }

    /// The pids of everyone who is watched and lives, in order.
    pub fn members(&self) -> Result<Vec<u32>, ProgramsError> {
        let family = self.map("family")?;
        let pids = family
            .keys()
            .filter_map(|key| Some(u32::from_ne_bytes(key.try_into().ok()?)));
        let mut pids: Vec<u32> = pids.collect();
        pids.sort_unstable();
        Ok(pids)
    }

    /// How many were born that there was no room for.
    pub fn lost(&self) -> u64 {
        bpf::lost(&self.object)
    }

    fn write_order(&self) -> Result<(), ProgramsError> {
        let order = encoded::order(&self.order, self.whose == Whose::Family);
        self.write(ORDERS, 0, &order)
    }

    fn write(&self, map: &str, place: usize, value: &[u8]) -> Result<(), ProgramsError> {
        self.map(map)?
            .update(&key(place), value, MapFlags::ANY)
            .map_err(refused("tell the BPF programs"))
    }

    fn map(&self, name: &str) -> Result<libbpf_rs::Map<'_>, ProgramsError> {
        let found = self.object.maps().find(|map| map.name() == name);
        found.ok_or_else(|| missing("find a BPF map"))
    }
}

/// Says which hook decides about each call, as the programs have it in `told_before`.
fn say_hooks<H: Hooks>(object: &mut OpenObject) -> Result<(), ProgramsError> {
    let hooks = (0..)
        .map(Call::of)
        .map(|call| H::of(call).map_or(0, H::number));
    let hooks: Vec<u8> = hooks.take(encoded::CALLS).collect();
    for mut map in object.maps_mut() {
        if map.name().to_string_lossy().ends_with(".rodata") {
            map.set_initial_value(&hooks)
                .map_err(refused("prepare the BPF programs"))?;
        }
    }
    Ok(())
}

/// Whether processes have the numbers here that the programs know them by.
pub(crate) fn is_first_pid_namespace() -> bool {
    fs::metadata("/proc/self/ns/pid").is_ok_and(|meta| meta.ino() == FIRST_PID_NAMESPACE)
}

fn missing(what: &'static str) -> ProgramsError {
    ProgramsError::Refused {
        what,
        source: io::ErrorKind::NotFound.into(),
    }
}

fn key(place: usize) -> [u8; 4] {
    // There are few of each.
    u32::try_from(place).unwrap_or(u32::MAX).to_ne_bytes()
}
