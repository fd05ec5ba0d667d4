//! A tap is a network interface with a process at its other end: what is sent on it is read here, frame by frame,
//! and what is written here comes in on it.
//!
//! A tap is made inside a namespace and goes with its descriptor: nothing is left for anybody to clean. It has no
//! address and speaks no IPv6, so that nothing is sent on it but what is redirected to it. Before each frame stands
//! the header of virtio (`struct virtio_net_hdr`, native byte order), in which the kernel says what it has left
//! undone: whoever writes a frame back with its header gives the kernel its packet back as it was.
//!
//! Needs `/dev/net/tun` (`CONFIG_TUN`) and `CAP_NET_ADMIN` in the namespace. See `tuntap.rst` of the kernel and
//! `include/uapi/linux/if_tun.h`, `virtio_net.h`.

use std::{
    fs::{self, File},
    io, mem,
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
        unix::fs::FileExt,
    },
};

use nix::libc;
use rustix::{
    fs::{Mode, OFlags},
    io::Errno,
    net::{AddressFamily, SocketFlags, SocketType},
};

use crate::namespace::{NamespaceError, NetNamespace};

/// How long the header before each frame is, in bytes.
pub const HEADER_BYTES: usize = 10;
/// No frame with its header is longer: a header, one of Ethernet with two tags of VLANs, and the longest packet of IP.
pub const FRAME_BYTES_MAX: usize = HEADER_BYTES + 22 + 65_535;

const DEVICE: &str = "/dev/net/tun";
/// How many frames may wait to be read; what comes then is dropped, and counted in [`Tap::drops`].
const RING_FRAMES: i32 = 20_000;
/// The largest MTU of a tap: 65,535 less the header of Ethernet.
const MTU_MAX: u32 = 65_521;
/// The longest name of an interface, in bytes.
const NAME_BYTES_MAX: usize = libc::IFNAMSIZ - 1;
/// Where the columns of dropped frames are in `/proc/net/dev`, after the name.
const RX_DROPPED: usize = 3;
const TX_DROPPED: usize = 11;

/// Why there is no tap, or it does not do.
#[derive(Debug, thiserror::Error)]
pub enum TapError {
    /// The namespace was refused.
    #[error(transparent)]
    Namespace(#[from] NamespaceError),
    /// Not the name of an interface.
    #[error("create the tap {0:?}: a name has 1 to 15 bytes, with no %, / or :, and no space")]
    Name(String),
    /// The device that taps are made by.
    #[error("open {DEVICE}: {source}: {}", without_device(source))]
    Open {
        /// The kernel's answer.
        source: io::Error,
    },
    /// The kernel refused to make one.
    #[error("create the tap {name}: {source}: {}", without_tap(source))]
    Create {
        /// Its name.
        name: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The kernel refused a part of it.
    #[error("{action} the tap {name}: {source}")]
    Refused {
        /// What was tried, such as `bring up`.
        action: &'static str,
        /// Its name.
        name: String,
        /// The kernel's answer.
        source: io::Error,
    },
}

/// What is said of a device that cannot be opened.
fn without_device(error: &io::Error) -> &'static str {
    match Errno::from_io_error(error) {
        Some(Errno::NOENT) => {
            "there is no device node; load the module tun, or make the node with mknod (c 10 200); the kernel needs CONFIG_TUN"
        }
        Some(Errno::ACCESS | Errno::PERM) => {
            "it needs permission to read and write, from the file and from the cgroup of devices; run as root"
        }
        Some(Errno::NODEV | Errno::NXIO) => {
            "the device node is there, its driver is not; the kernel needs CONFIG_TUN"
        }
        _ => "a tap cannot be made without it",
    }
}

/// What is said of a tap that cannot be made.
fn without_tap(error: &io::Error) -> &'static str {
    match Errno::from_io_error(error) {
        Some(Errno::PERM | Errno::ACCESS) => "it needs CAP_NET_ADMIN in the namespace",
        Some(Errno::BUSY) => "there is an interface of that name already",
        _ => "the kernel needs CONFIG_TUN",
    }
}

/// What is read and written as one frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frames {
    /// What the kernel handles as one: up to 64 KiB of a stream, with checksums yet to be completed.
    Large,
    /// What would be on a wire: at most an MTU, with whole checksums.
    Wire,
}

/// Frames that a tap did not pass on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Drops {
    /// Written here, and dropped by the kernel.
    pub rx_frames: u64,
    /// Sent on the tap, and dropped because too many waited to be read.
    pub tx_frames: u64,
}

/// A network interface with this process at its other end.
#[derive(Debug)]
pub struct Tap {
    device: OwnedFd,
    /// `/proc/net/dev` of its namespace.
    counters: File,
    name: String,
    index: u32,
}

impl Tap {
    /// Makes one in the namespace, and brings it up. `mtu` is that of the interface whose packets it is for, in
    /// bytes; the largest that a tap can have does for a larger one, since packets that are redirected are not
    /// measured by it.
    pub fn create(
        namespace: &NetNamespace,
        name: &str,
        frames: Frames,
        mtu: u32,
    ) -> Result<Self, TapError> {
        let is_bad = |byte: u8| byte.is_ascii_whitespace() || b"%/:\0".contains(&byte);
        if name.is_empty() || name.len() > NAME_BYTES_MAX || name.bytes().any(is_bad) {
            return Err(TapError::Name(name.into()));
        }
        namespace.run(|| Self::create_here(name, frames, mtu))?
    }

    /// Makes one in the namespace of the calling thread.
    fn create_here(name: &str, frames: Frames, mtu: u32) -> Result<Self, TapError> {
        let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let device =
            rustix::fs::open(DEVICE, flags, Mode::empty()).map_err(|errno| TapError::Open {
                source: errno.into(),
            })?;
        let created = |source| TapError::Create {
            name: name.into(),
            source,
        };
        let mut request = request(name);
        request.ifr_ifru.ifru_flags =
            short(libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR | libc::IFF_TUN_EXCL);
        control(&device, libc::TUNSETIFF, &mut request).map_err(created)?;
        set_frames(&device, frames).map_err(refused("set the offloads of", name))?;
        let index = bring_up(name, mtu)?;
        let counters = File::open("/proc/thread-self/net/dev")
            .map_err(refused("open the counters of", name))?;
        Ok(Self {
            device,
            counters,
            name: name.into(),
            index,
        })
    }

    /// The name it was given.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its number in its namespace.
    pub fn index(&self) -> u32 {
        self.index
    }

    /// Reads a frame with its header into the front of `buffer`, which holds [`FRAME_BYTES_MAX`], and says how long
    /// it is; `None` when no frame waits.
    pub fn read(&self, buffer: &mut [u8]) -> Result<Option<usize>, TapError> {
        loop {
            match rustix::io::read(&self.device, &mut *buffer) {
                Ok(length) => return Ok(Some(length)),
                Err(Errno::AGAIN) => return Ok(None),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(refused("read from", &self.name)(errno.into())),
            }
        }
    }

    /// Writes a frame with its header. The kernel has handled it, redirected it for one, when this returns.
    pub fn write(&self, frame: &[u8]) -> Result<(), TapError> {
        loop {
            match rustix::io::write(&self.device, frame) {
                Ok(_) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(refused("write to", &self.name)(errno.into())),
            }
        }
    }

    /// What it did not pass on, since it was made.
    pub fn drops(&self) -> Result<Drops, TapError> {
        let failed = refused("count what was dropped by", &self.name);
        let mut text = Vec::new();
        let mut chunk = [0; 4096];
        loop {
            match self.counters.read_at(&mut chunk, text.len() as u64) {
                Ok(0) => break,
                Ok(length) => text.extend_from_slice(&chunk[..length]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(failed(error)),
            }
        }
        let missing = || failed(io::ErrorKind::NotFound.into());
        drops_of(&String::from_utf8_lossy(&text), &self.name).ok_or_else(missing)
    }
}

impl AsFd for Tap {
    /// Readable when a frame waits.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.device.as_fd()
    }
}

/// Makes a tap in a namespace that nobody else knows, and lets it go.
pub fn trial() -> Result<(), TapError> {
    Tap::create(&NetNamespace::create()?, "mphy-trial", Frames::Large, 1500).map(drop)
}

/// The counters of an interface in the text of `/proc/net/dev`.
fn drops_of(text: &str, name: &str) -> Option<Drops> {
    let mut columns = text.lines().find_map(|line| {
        let (of, columns) = line.split_once(':')?;
        (of.trim() == name).then(|| columns.split_ascii_whitespace())
    })?;
    Some(Drops {
        rx_frames: columns.nth(RX_DROPPED)?.parse().ok()?,
        tx_frames: columns.nth(TX_DROPPED - RX_DROPPED - 1)?.parse().ok()?,
    })
}

/// Tells the kernel what it may leave to the reader. Kernels before 6.2 know nothing of UDP in large frames.
fn set_frames(device: &OwnedFd, frames: Frames) -> io::Result<()> {
    let tcp = libc::TUN_F_CSUM | libc::TUN_F_TSO4 | libc::TUN_F_TSO6 | libc::TUN_F_TSO_ECN;
    let set = |offloads: libc::c_uint| {
        // SAFETY: this request takes a number, and no memory.
        let answer = unsafe {
            libc::ioctl(
                device.as_raw_fd(),
                libc::TUNSETOFFLOAD,
                libc::c_ulong::from(offloads),
            )
        };
        nix::Error::result(answer).map(drop)
    };
    let answer = match frames {
        Frames::Wire => set(0),
        Frames::Large => set(tcp | libc::TUN_F_USO4 | libc::TUN_F_USO6).or_else(|_| set(tcp)),
    };
    Ok(answer?)
}

/// Makes an interface of the thread's namespace silent and long of breath, brings it up, and says its number.
fn bring_up(name: &str, mtu: u32) -> Result<u32, TapError> {
    let socket = rustix::net::socket_with(
        AddressFamily::INET,
        SocketType::DGRAM,
        SocketFlags::CLOEXEC,
        None,
    )
    .map_err(|errno| refused("open a socket to set up", name)(errno.into()))?;
    let ask = |action, code, request: &mut libc::ifreq| {
        control(&socket, code, request).map_err(refused(action, name))
    };
    let mut request = request(name);
    request.ifr_ifru.ifru_metric = RING_FRAMES;
    ask("set the queue of", libc::SIOCSIFTXQLEN, &mut request)?;
    request.ifr_ifru.ifru_mtu = mtu.min(MTU_MAX).cast_signed();
    ask("set the MTU of", libc::SIOCSIFMTU, &mut request)?;
    // Where the kernel has no IPv6, there is no file.
    match fs::write(format!("/proc/sys/net/ipv6/conf/{name}/disable_ipv6"), "1") {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(refused("turn off IPv6 on", name)(error));
        }
        _ => {}
    }
    ask("read the flags of", libc::SIOCGIFFLAGS, &mut request)?;
    // SAFETY: the kernel has just written this member of the union.
    let flags = libc::c_int::from(unsafe { request.ifr_ifru.ifru_flags });
    request.ifr_ifru.ifru_flags = short(flags | libc::IFF_UP | libc::IFF_NOARP);
    ask("bring up", libc::SIOCSIFFLAGS, &mut request)?;
    ask("read the number of", libc::SIOCGIFINDEX, &mut request)?;
    // SAFETY: the kernel has just written this member of the union.
    Ok(unsafe { request.ifr_ifru.ifru_ifindex }.cast_unsigned())
}

fn refused<'a>(action: &'static str, name: &'a str) -> impl Fn(io::Error) -> TapError + 'a {
    move |source| TapError::Refused {
        action,
        name: name.into(),
        source,
    }
}

/// A request about the interface of that name, which is short enough and ends in a zero.
fn request(name: &str) -> libc::ifreq {
    // SAFETY: a request is numbers and a pointer, all of which may be zero.
    let mut request: libc::ifreq = unsafe { mem::zeroed() };
    for (to, byte) in request.ifr_name[..NAME_BYTES_MAX]
        .iter_mut()
        .zip(name.bytes())
    {
        *to = byte.cast_signed();
    }
    request
}

/// Sends a request, one of those that take an `ifreq`, about an interface.
fn control(fd: &OwnedFd, code: libc::Ioctl, request: &mut libc::ifreq) -> io::Result<()> {
    // SAFETY: every request sent by this module reads and writes one `ifreq` and keeps no pointer to it.
    let answer = unsafe { libc::ioctl(fd.as_raw_fd(), code, &raw mut *request) };
    nix::Error::result(answer)?;
    Ok(())
}

/// Flags as the kernel takes them: the lower sixteen bits.
fn short(flags: libc::c_int) -> libc::c_short {
    let [low, high, ..] = flags.to_le_bytes();
    libc::c_short::from_le_bytes([low, high])
}

#[cfg(test)]
mod tests;
