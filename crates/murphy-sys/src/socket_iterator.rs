//! A socket iterator ends chosen connections of a network namespace in one pass over all of them, by a BPF program: also
//! where the kernel is built without `CONFIG_INET_DIAG_DESTROY`, which [`Connections::end`] needs.
//!
//! The kernel aborts them the same way: an owner's next call fails with `ECONNABORTED`, and its peer is sent a reset. A
//! socket is known by its cookie alone, which no other ever has. Needs Linux 6.5 with BTF (`CONFIG_DEBUG_INFO_BTF`), whose
//! `bpf_sock_destroy` this is, and `CAP_BPF` with `CAP_PERFMON`, or root. Nothing of it outlives this process. See
//! `bpf/socket_iterator.bpf.c`.
//!
//! [`Connections::end`]: crate::connections::Connections::end

use std::{
    collections::{BTreeSet, HashMap},
    fmt,
    fs::File,
    io::{self, Read},
    os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd},
    path::Path,
};

use libbpf_rs::{
    IterOpts, Link, MapCore, MapFlags, Object,
    btf::{Btf, types},
};
use rustix::io::Errno;

use crate::{
    bpf,
    connections::{Ended, SocketId},
    namespace::{NamespaceError, NetNamespace},
};

/// How many are ended in one pass: as many as the program's map holds.
const CHOSEN_MAX: usize = 65_536;
/// What stands in the place of the kernel's answer before it gives one: no number of an error is so large.
const UNASKED: i32 = i32::MAX;

#[cfg(target_arch = "x86_64")]
const OBJECT: Option<&[u8]> = Some(include_bytes!(concat!(
    env!("OUT_DIR"),
    "/socket_iterator.bpf.o"
)));
#[cfg(not(target_arch = "x86_64"))]
const OBJECT: Option<&[u8]> = None;

/// Why connections cannot be ended by an iterator.
#[derive(Debug, thiserror::Error)]
pub enum SocketIteratorError {
    /// The program is not written for this architecture.
    #[error(
        "end connections by BPF on {}: Murphy's BPF programs are built for x86_64 only",
        std::env::consts::ARCH
    )]
    Architecture,
    /// The kernel does not describe its types.
    #[error(
        "end connections by BPF: this kernel has no BTF, /sys/kernel/btf/vmlinux is missing (CONFIG_DEBUG_INFO_BTF)"
    )]
    NoBtf,
    /// The kernel ends no socket for a program.
    #[error(
        "end connections by BPF: this kernel has no bpf_sock_destroy, which came with Linux 6.5"
    )]
    NoDestroy,
    /// The namespace cannot be entered.
    #[error(transparent)]
    Namespace(#[from] NamespaceError),
    /// The kernel refused the program, its map, or their use.
    #[error(
        "end connections by BPF: {what}: {source}; it needs BPF, and CAP_BPF with CAP_PERFMON or root"
    )]
    Refused {
        /// What.
        what: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The kernel refused to end one.
    #[error("end the connection {id}: {source}")]
    NotEnded {
        /// Which.
        id: SocketId,
        /// The kernel's answer.
        source: io::Error,
    },
}

/// Who ends connections of one network namespace.
pub struct SocketIterator {
    /// Dropped before what it belongs to.
    link: Link,
    object: Object,
    namespace: NetNamespace,
}

// SAFETY: libbpf binds neither the link nor the object to a thread, and no other owner of the pointers inside is left
// outside: `SocketIterator` gives none of them away.
unsafe impl Send for SocketIterator {}

impl fmt::Debug for SocketIterator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SocketIterator")
            .field("namespace", &self.namespace)
            .finish_non_exhaustive()
    }
}

fn refused(what: &'static str) -> impl Fn(libbpf_rs::Error) -> SocketIteratorError {
    move |error| SocketIteratorError::Refused {
        what,
        source: io::Error::new(bpf::kind(&error), error),
    }
}

impl SocketIterator {
    /// Loads the program, which ends nothing yet.
    pub fn within(namespace: &NetNamespace) -> Result<Self, SocketIteratorError> {
        let object = OBJECT.ok_or(SocketIteratorError::Architecture)?;
        if !Path::new("/sys/kernel/btf/vmlinux").exists() {
            return Err(SocketIteratorError::NoBtf);
        }
        let object = bpf::open(object).map_err(refused("read the BPF program"))?;
        let object = bpf::load(object).map_err(|source| {
            if is_without_destroy() {
                return SocketIteratorError::NoDestroy;
            }
            SocketIteratorError::Refused {
                what: "load the BPF program",
                source,
            }
        })?;
        let program = object.progs_mut().next();
        let program = program.ok_or_else(|| missing("find the BPF program"))?;
        let link = program
            .attach_iter_with_opts(IterOpts::None)
            .map_err(refused("attach the BPF program"))?;
        Ok(Self {
            link,
            object,
            namespace: namespace.clone(),
        })
    }

    /// Ends connections, and says of each what became of it. Where one is refused, that is the error, and the others of
    /// its pass are ended nevertheless. Who listens, waits for late packets or has only asked is none any more, or yet.
    pub fn end(&mut self, ids: &[SocketId]) -> Result<Vec<Ended>, SocketIteratorError> {
        let mut all = Vec::with_capacity(ids.len());
        for batch in ids.chunks(CHOSEN_MAX) {
            // Sockets whose cookie nobody has asked for have none: all of them would be meant by 0.
            let cookies = batch.iter().map(|id| id.cookie);
            let cookies: BTreeSet<u64> = cookies.filter(|cookie| *cookie != 0).collect();
            let passed = self.choose(&cookies).and_then(|()| self.pass());
            // What was chosen is taken back also where that was cut short.
            let answers = self.answers(cookies.len());
            passed?;
            let mut answers = answers?;
            if answers.len() < cookies.len() {
                return Err(missing("ask the BPF program"));
            }
            for id in batch {
                all.push(match answers.remove(&id.cookie) {
                    Some(0) => Ended::Now,
                    None | Some(UNASKED) => Ended::Gone,
                    Some(answer) if answer == -Errno::NOENT.raw_os_error() => Ended::Gone,
                    Some(answer) => {
                        let source = io::Error::from_raw_os_error(-answer);
                        return Err(SocketIteratorError::NotEnded { id: *id, source });
                    }
                });
            }
        }
        Ok(all)
    }

    /// Tells the program which ones are meant.
    fn choose(&self, cookies: &BTreeSet<u64>) -> Result<(), SocketIteratorError> {
        let keys: Vec<u8> = cookies.iter().flat_map(|id| id.to_ne_bytes()).collect();
        let values = UNASKED.to_ne_bytes().repeat(cookies.len());
        if cookies.is_empty() {
            return Ok(());
        }
        self.chosen()?
            .update_batch(
                &keys,
                &values,
                number(cookies.len()),
                MapFlags::ANY,
                MapFlags::ANY,
            )
            .map_err(refused("tell the BPF program"))
    }

    /// Shows every socket of the namespace to the program once.
    fn pass(&self) -> Result<(), SocketIteratorError> {
        let failed = |source| SocketIteratorError::Refused {
            what: "go over the sockets",
            source,
        };
        let link = self.link.as_fd();
        // An iterator goes over the sockets of the namespace in which it is opened.
        let open = || -> io::Result<File> {
            // SAFETY: the call takes the link's descriptor, which is borrowed until it returns, and no memory.
            let opened = unsafe { libbpf_sys::bpf_iter_create(link.as_raw_fd()) };
            if opened < 0 {
                return Err(io::Error::from_raw_os_error(-opened));
            }
            // SAFETY: the kernel has just made this descriptor, and nobody else knows of it.
            Ok(unsafe { OwnedFd::from_raw_fd(opened) }.into())
        };
        let mut iterator = self.namespace.run(open)?.map_err(failed)?;
        loop {
            // The program writes nothing: the first answer is the end, unless there are very many sockets.
            match iterator.read(&mut [0; 1]) {
                Ok(_) => return Ok(()),
                Err(error) if is_to_go_on(&error) => {}
                Err(error) => return Err(failed(error)),
            }
        }
    }

    /// Takes from the program what the kernel has said of those that were meant, which are so many.
    fn answers(&self, count: usize) -> Result<HashMap<u64, i32>, SocketIteratorError> {
        let chosen = self.chosen()?;
        // Room for one more, so that one call sees that there is none.
        let answers = chosen
            .lookup_and_delete_batch(number(count) + 1, MapFlags::ANY, MapFlags::ANY)
            .map_err(refused("ask the BPF program"))?;
        let answers = answers.filter_map(|(cookie, answer)| {
            let cookie = u64::from_ne_bytes(cookie.try_into().ok()?);
            Some((cookie, i32::from_ne_bytes(answer.try_into().ok()?)))
        });
        Ok(answers.collect())
    }

    fn chosen(&self) -> Result<libbpf_rs::Map<'_>, SocketIteratorError> {
        let found = self.object.maps().find(|map| map.name() == "chosen");
        found.ok_or_else(|| missing("find the BPF program's map"))
    }
}

/// Asks this kernel whether connections can be ended in a namespace: none are.
pub fn trial(namespace: &NetNamespace) -> Result<(), SocketIteratorError> {
    SocketIterator::within(namespace)?.pass()
}

/// How many of a pass.
fn number(count: usize) -> u32 {
    // It is at most CHOSEN_MAX.
    u32::try_from(count).unwrap_or(u32::MAX - 1)
}

/// The kernel pauses after a million sockets of which the program has written nothing.
fn is_to_go_on(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
    )
}

fn is_without_destroy() -> bool {
    let kernel = Btf::from_vmlinux();
    kernel.is_ok_and(|kernel| {
        let destroy = kernel.type_by_name::<types::Func<'_>>("bpf_sock_destroy");
        destroy.is_none()
    })
}

fn missing(what: &'static str) -> SocketIteratorError {
    SocketIteratorError::Refused {
        what,
        source: io::ErrorKind::NotFound.into(),
    }
}
