//! What an error of a call says: the one place that knows which are answers, and which are faults.

use murphy_sys::syscalls::{Call, Errno};

/// What an error says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weight {
    /// It is an answer like others, or belongs to the network, where it is found.
    Never,
    /// Programs live with it, or ask for it; one that fails so most of the time, and never did, may be broken.
    Routine,
    /// Something is used up, or broken.
    Grave,
}

/// Used up, full, or broken. What is read-only was often meant to be: who starts there tries to write all the same.
const GRAVE: [&str; 12] = [
    "EDQUOT",
    "EFBIG",
    "EHWPOISON",
    "EIO",
    "EMFILE",
    "ENFILE",
    "ENOLCK",
    "ENOMEM",
    "ENOSPC",
    "EREMOTEIO",
    "ESTALE",
    "EUCLEAN",
];

/// Answers, whatever was asked: not now, not yet, no such thing here, it is there already; and what is only tried.
const ANSWERS: [&str; 18] = [
    "EAGAIN",
    "EALREADY",
    "ECANCELED",
    "ECHILD",
    "EEXIST",
    "EINPROGRESS",
    "EINTR",
    "EISCONN",
    "ENODATA",
    "ENOPROTOOPT",
    "ENOSYS",
    "ENOTTY",
    "ENXIO",
    "EOPNOTSUPP",
    "ERANGE",
    "ESPIPE",
    "ESRCH",
    "EXDEV",
];

/// What comes of the network, also to who reads and writes.
const OF_NETWORK: [&str; 15] = [
    "EADDRNOTAVAIL",
    "ECONNABORTED",
    "ECONNREFUSED",
    "ECONNRESET",
    "EDESTADDRREQ",
    "EHOSTDOWN",
    "EHOSTUNREACH",
    "EMSGSIZE",
    "ENETDOWN",
    "ENETRESET",
    "ENETUNREACH",
    "ENOBUFS",
    "ENOTCONN",
    "EPIPE",
    "ETIMEDOUT",
];

/// Calls of sockets. A firewall may answer them whatever it likes; but for what is used up it is the network's.
const OF_SOCKETS: [&str; 11] = [
    "accept", "accept4", "bind", "connect", "recvfrom", "recvmmsg", "recvmsg", "sendfile",
    "sendmmsg", "sendmsg", "sendto",
];
const USED_UP: [&str; 3] = ["EMFILE", "ENFILE", "ENOMEM"];

/// Calls that ask whether something is there, or may be done: each error is an answer.
const QUESTIONS: [&str; 13] = [
    "access",
    "faccessat",
    "faccessat2",
    "getxattr",
    "lgetxattr",
    "lstat",
    "newfstatat",
    "readlink",
    "readlinkat",
    "stat",
    "statfs",
    "statx",
    "ioctl",
];
/// But for these.
const BROKEN: [&str; 4] = ["EIO", "EHWPOISON", "ESTALE", "EUCLEAN"];

/// Calls that say so that memory is not as it was thought to be, or cannot grow where it is.
const OF_MEMORY: [&str; 6] = ["madvise", "mincore", "mlock", "mprotect", "mremap", "msync"];

/// What an error of a call says.
pub fn weight(call: Call, errno: Errno) -> Weight {
    let (Some(call), Some(errno)) = (call.name(), errno.name()) else {
        // Nobody knows what that is.
        return Weight::Never;
    };
    if ANSWERS.contains(&errno) || OF_NETWORK.contains(&errno) {
        return Weight::Never;
    }
    if OF_SOCKETS.contains(&call) && !USED_UP.contains(&errno) {
        return Weight::Never;
    }
    if QUESTIONS.contains(&call) && !BROKEN.contains(&errno) {
        return Weight::Never;
    }
    if OF_MEMORY.contains(&call) && errno == "ENOMEM" {
        return Weight::Never;
    }
    if GRAVE.contains(&errno) {
        Weight::Grave
    } else {
        Weight::Routine
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_one() {
        let errnos = [&GRAVE[..], &ANSWERS, &OF_NETWORK, &USED_UP, &BROKEN];
        for name in errnos.concat() {
            assert!(Errno::named(name).is_some(), "{name}");
        }
        let calls = [&OF_SOCKETS[..], &QUESTIONS, &OF_MEMORY].concat();
        for name in calls {
            // Only the older architectures have the older ones.
            let is_there = Call::named(name).is_some();
            assert!(is_there || cfg!(not(target_arch = "x86_64")), "{name}");
        }
    }

    #[test]
    fn what_is_full_is_grave_and_what_is_the_networks_is_its_own() {
        for (call, errno, said) in [
            ("write", "ENOSPC", Weight::Grave),
            ("fsync", "EIO", Weight::Grave),
            ("accept4", "EMFILE", Weight::Grave),
            ("newfstatat", "EIO", Weight::Grave),
            ("openat", "ENOENT", Weight::Routine),
            ("openat", "EACCES", Weight::Routine),
            ("openat", "EROFS", Weight::Routine),
            ("newfstatat", "ENOENT", Weight::Never),
            ("faccessat", "EROFS", Weight::Never),
            ("connect", "ECONNREFUSED", Weight::Never),
            ("sendto", "EPERM", Weight::Never),
            ("write", "EPIPE", Weight::Never),
            ("read", "EAGAIN", Weight::Never),
            ("mremap", "ENOMEM", Weight::Never),
        ] {
            let (one, why) = (Call::named(call).unwrap(), Errno::named(errno).unwrap());
            assert_eq!(weight(one, why), said, "{call} {errno}");
        }
        assert_eq!(weight(Call::FOREIGN, Errno::of(5).unwrap()), Weight::Never);
    }
}
