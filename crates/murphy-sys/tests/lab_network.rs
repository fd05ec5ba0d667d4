//! Namespaces, links and launches against the real kernel. Skipped, with the reason, where it refuses.

use std::{ffi::OsString, io::Read, net::TcpListener, net::TcpStream, process::Stdio};

use murphy_sys::{
    link::{Prefixed, add_bridge, join_bridge},
    namespace::{MountNamespace, NetNamespace},
    spawn::{Launch, Spawner},
};

fn at(last: u8) -> Prefixed {
    Prefixed {
        address: [10, 77, 0, last].into(),
        length: 24,
    }
}

/// A namespace, or `None` with the reason on stderr where this kernel or user may make none.
fn namespace() -> Option<NetNamespace> {
    NetNamespace::create()
        .map_err(|e| writeln_skip(&e.to_string()))
        .ok()
}

fn writeln_skip(reason: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "skipped: {reason}");
}

#[test]
fn nodes_on_a_bridge_reach_each_other_and_the_host_sees_nothing() {
    let (Some(middle), Some(a), Some(b)) = (namespace(), namespace(), namespace()) else {
        return;
    };
    add_bridge(&middle, "br0", at(254)).unwrap();
    join_bridge(&middle, "br0", "n0", &a, at(1)).unwrap();
    join_bridge(&middle, "br0", "n1", &b, at(2)).unwrap();
    let listener = b
        .run(|| TcpListener::bind("10.77.0.2:7000").unwrap())
        .unwrap();
    let mut out = a
        .run(|| TcpStream::connect("10.77.0.2:7000").unwrap())
        .unwrap();
    let (_inside, from) = listener.accept().unwrap();
    assert_eq!(from.ip().to_string(), "10.77.0.1");
    out.set_nonblocking(true).unwrap();
    assert_eq!(
        out.read(&mut [0]).unwrap_err().kind(),
        std::io::ErrorKind::WouldBlock
    );
    let host = std::fs::read_to_string("/proc/net/dev").unwrap();
    assert!(
        !host.contains("br0:") && !host.contains("n0:"),
        "leaked to the host:\n{host}"
    );
}

#[test]
fn a_launch_starts_inside_its_namespaces_and_dies_with_its_spawner() {
    let Some(net) = namespace() else { return };
    let dir = tempfile::tempdir().unwrap();
    let mount = MountNamespace::with_tmpfs(dir.path(), 1 << 20).unwrap();
    mount
        .run(|| std::fs::write(dir.path().join("inside"), "x").unwrap())
        .unwrap();
    assert!(
        !dir.path().join("inside").exists(),
        "the host must not see the private tmpfs"
    );
    let spawner = Spawner::start().unwrap();
    let mut launch = Launch::new(
        ["sh", "-c", "ls; cat /proc/net/dev | wc -l; exec sleep 60"]
            .map(OsString::from)
            .into(),
    );
    launch.cwd = Some(dir.path().into());
    launch.net = Some(net.descriptor());
    launch.mount = Some(mount.descriptor());
    launch.stdout = Stdio::piped();
    launch.die_with_parent = true;
    let mut child = spawner.spawn(launch).unwrap();
    let mut seen = [0; 9];
    child.stdout.take().unwrap().read_exact(&mut seen).unwrap();
    assert_eq!(&seen, b"inside\n3\n");
    drop(spawner);
    assert_eq!(
        std::os::unix::process::ExitStatusExt::signal(&child.wait().unwrap()),
        Some(9)
    );
}

#[test]
fn a_missing_program_is_named() {
    let error = Launch::new(vec!["/nonexistent/etcd".into()])
        .spawn()
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "start /nonexistent/etcd: No such file or directory (os error 2)"
    );
}
