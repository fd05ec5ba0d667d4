//! BPF programs are read from memory and loaded; what the kernel has against one of them is part of the error.

use std::{
    cell::RefCell,
    io,
    os::fd::{AsFd, BorrowedFd},
    sync::{Arc, Mutex, Once, PoisonError},
};

use libbpf_rs::{
    MapCore, MapFlags, Object, ObjectBuilder, OpenObject, PrintLevel, RingBuffer,
    RingBufferBuilder, set_print,
};

/// How much of what the kernel says about a refused program is kept, in bytes.
const LOG_MAX: usize = 2000;

thread_local! {
    /// What libbpf has said on this thread since somebody asked last.
    static SAID: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Reads an object file. From here on what libbpf has to say is kept for [`load`] instead of printed.
pub(crate) fn open(object: &[u8]) -> Result<OpenObject, libbpf_rs::Error> {
    static KEEP: Once = Once::new();
    KEEP.call_once(|| {
        set_print(Some((PrintLevel::Warn, |_, said| {
            SAID.with_borrow_mut(|all| {
                if all.len() < LOG_MAX {
                    all.push_str(&said);
                }
            });
        })));
    });
    ObjectBuilder::default().open_memory(object)
}

/// Loads every program of an object. The error says what the kernel has said of the one that it refused.
pub(crate) fn load(object: OpenObject) -> io::Result<Object> {
    SAID.take();
    object.load().map_err(|error| {
        let kind = kind(&error);
        match last_words(&SAID.take()) {
            Some(words) => io::Error::new(kind, format!("{error}: {words}")),
            None => io::Error::new(kind, error),
        }
    })
}

/// Takes something out of a map; that it is not there is no error.
pub(crate) fn forget(map: &impl MapCore, key: &[u8]) -> Result<(), libbpf_rs::Error> {
    match map.delete(key) {
        Err(error) if error.kind() != libbpf_rs::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// What programs say, by the ring `events` of their object.
pub(crate) struct Ring<T> {
    ring: RingBuffer<'static>,
    heard: Arc<Mutex<Vec<T>>>,
}

// SAFETY: libbpf binds a ring to no thread, its callback may be sent, and nobody outside has its pointers.
unsafe impl<T: Send> Send for Ring<T> {}

impl<T: Send + 'static> Ring<T> {
    /// Listens; each record is read as it comes.
    pub fn listen(object: &Object, read: fn(&[u8]) -> Option<T>) -> Result<Self, libbpf_rs::Error> {
        let heard = Arc::new(Mutex::new(Vec::new()));
        let into = Arc::clone(&heard);
        let hear = move |record: &[u8]| {
            let mut heard = into.lock().unwrap_or_else(PoisonError::into_inner);
            heard.extend(read(record));
            0
        };
        let mut maps = object.maps();
        let events = maps.find(|map| map.name() == "events");
        let events = events.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        let mut ring = RingBufferBuilder::new();
        ring.add(&events, hear)?;
        Ok(Self {
            ring: ring.build()?,
            heard,
        })
    }

    /// What was said since this was asked last, in the order in which it was; so many at once at most.
    pub fn take(&mut self, most: usize) -> Vec<T> {
        // It could only fail by an answer of what listens, which gives none.
        let _ = self.ring.consume_raw_n(most);
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *heard)
    }
}

impl<T> AsFd for Ring<T> {
    /// Readable when there is something to take.
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the descriptor is the ring's own, which lives as long as `self`.
        unsafe { BorrowedFd::borrow_raw(self.ring.epoll_fd()) }
    }
}

/// The first number that programs count in: how much they could not tell of.
pub(crate) fn lost(object: &Object) -> u64 {
    count(object, 0)
}

/// One of the numbers that programs count in, by its place.
pub(crate) fn count(object: &Object, place: usize) -> u64 {
    let mut maps = object.maps();
    let bss = maps.find(|map| map.name().to_string_lossy().ends_with(".bss"));
    let values = bss.and_then(|bss| bss.lookup(&0_u32.to_ne_bytes(), MapFlags::ANY).ok()?);
    let value = values.and_then(|values| values.get(8 * place..)?.first_chunk().copied());
    value.map_or(0, u64::from_ne_bytes)
}

/// What kind of error one of libbpf's is.
pub(crate) fn kind(error: &libbpf_rs::Error) -> io::ErrorKind {
    match error.kind() {
        libbpf_rs::ErrorKind::PermissionDenied => io::ErrorKind::PermissionDenied,
        _ => io::ErrorKind::Other,
    }
}

/// The end of the verifier's log, where the reason stands; else the last line that libbpf has said.
fn last_words(said: &str) -> Option<String> {
    let lines = || said.lines().map(str::trim).filter(|line| !line.is_empty());
    let is_verdict = |line: &&str| !line.starts_with("libbpf:") && !line.starts_with("processed ");
    let mut verdicts: Vec<_> = lines().filter(is_verdict).collect();
    let kept = verdicts.split_off(verdicts.len().saturating_sub(3));
    if kept.is_empty() {
        lines().next_back().map(str::to_owned)
    } else {
        Some(kept.join("; "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_of_a_refusal_stands_before_the_statistics() {
        let said = "libbpf: prog 'a': BPF program load failed: EACCES\n\
                    libbpf: prog 'a': -- BEGIN PROG LOAD LOG --\n\
                    0: (79) r6 = *(u64 *)(r1 +0)\n\
                    R1 invalid mem access 'scalar'\n\
                    processed 2 insns (limit 1000000) max_states_per_insn 0\n\
                    libbpf: prog 'a': failed to load: -EACCES\n";
        let words = last_words(said).unwrap();
        assert!(words.ends_with("R1 invalid mem access 'scalar'"), "{words}");
        let other = "libbpf: map 'a': failed to create: -EPERM\n";
        assert_eq!(last_words(other).as_deref(), Some(other.trim()));
        assert_eq!(last_words("\n"), None);
    }
}
