//! Who may end connections: without the privilege a clear refusal, before anything is touched; in a user namespace of
//! one's own, those of one's own network namespace.

#[path = "../../murphy-sys/tests/wire/mod.rs"]
mod wire;

mod harness;
mod network;
mod victims;

use std::{
    fs,
    net::{TcpListener, TcpStream},
    os::unix::fs::{PermissionsExt, chown},
    path::PathBuf,
};

use harness::{Ended, Guard, Murphy, say_skipped, wait_until};
use victims::Heard;

/// Nobody of importance.
const USER: u32 = 65534;

/// What an unprivileged user needs: a copy of the binary, and a journal of his own.
struct User {
    binary: PathBuf,
    journal: PathBuf,
    guard: Guard,
}

impl User {
    fn settle_or_skip() -> Option<Self> {
        let guard = Guard::root_or_skip()?;
        let readable = fs::Permissions::from_mode(0o755);
        fs::set_permissions(guard.dir(), readable).expect("our own directory");
        // The binary may lie where another user cannot go.
        let binary = guard.dir().join("murphy");
        fs::copy(env!("CARGO_BIN_EXE_murphy"), &binary).expect("there is room");
        let journal = guard.dir().join("theirs");
        fs::create_dir(&journal).expect("a new directory");
        chown(&journal, Some(USER), Some(USER)).expect("root may");
        Some(Self {
            binary,
            journal,
            guard,
        })
    }

    fn murphy(&self, words: &str) -> Murphy {
        let murphy = self.guard.program(&self.binary).args(words.split(' '));
        murphy.env("MURPHY_JOURNAL", &self.journal)
    }

    /// Whether nothing of his is in force, or was.
    fn has_left_nothing(&self) -> bool {
        let entries = fs::read_dir(&self.journal).expect("a directory").flatten();
        let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
        names.filter(|name| !name.contains('.')).count() == 0
    }
}

fn is_refused(ended: &Ended, capability: &str) {
    assert_eq!(ended.code, 3, "{ended:?}");
    assert!(ended.stderr.contains(capability), "{ended:?}");
    assert_eq!(ended.stdout, "", "{ended:?}");
}

#[test]
fn without_the_privilege_nothing_is_touched_and_what_is_missing_is_named() {
    let Some(user) = User::settle_or_skip() else {
        return;
    };
    let listener = TcpListener::bind("127.0.0.1:0").expect("a socket");
    let port = listener.local_addr().expect("it is bound").port();
    let script = format!("exec bash -c 'exec 3<>/dev/tcp/127.0.0.1/{port}; exec sleep 300'");
    let victim = Heard::start_as(&user.guard, ["sh", "-c", &script], |shell| {
        shell.owned_by(USER)
    });
    let (accepted, _) = listener.accept().expect("it has come");
    wait_until("the shell has become what it executes", || {
        let name = fs::read_to_string(format!("/proc/{}/comm", victim.pid()));
        name.is_ok_and(|name| name.trim() == "sleep")
    });
    for (words, capability) in [
        ("--rate 100%", "CAP_NET_ADMIN"),
        ("--rate 100% --every 1s --for 10s", "CAP_NET_ADMIN"),
        ("--rate 100% --engine iterator", "CAP_BPF"),
        ("--rate 100% --how stall --for 10s", "CAP_BPF"),
        ("--rate 100% --how reset-local --for 10s", "CAP_NET_ADMIN"),
        ("--new 100% --how refuse --for 10s", "CAP_BPF"),
        ("--new 100% --for 10s", "CAP_NET_ADMIN"),
    ] {
        for dry in ["", " --dry-run"] {
            let target = victim.target();
            let words = format!("inject conn -t {target} --remote-port {port} {words}{dry}");
            is_refused(&user.murphy(&words).owned_by(USER).run(), capability);
        }
    }
    // Root without the capabilities is nobody either: by CAP_BPF and CAP_PERFMON the iterator would do it.
    let target = victim.target();
    let words = format!("inject conn -t {target} --remote-port {port} --rate 100%");
    let dropped = user.guard.program("setpriv".as_ref());
    let capabilities = "-net_admin,-bpf,-perfmon,-sys_admin";
    let dropped = dropped.args(["--bounding-set", capabilities, "--inh-caps", capabilities]);
    let dropped = dropped.arg(env!("CARGO_BIN_EXE_murphy"));
    let dropped = dropped.args(words.split(' '));
    let dropped = dropped.env("MURPHY_JOURNAL", user.guard.journal());
    is_refused(&dropped.run(), "CAP_NET_ADMIN");
    assert!(user.has_left_nothing());
    assert_eq!(user.guard.injections(), [""; 0]);
    let is_alive = |end: &TcpStream| {
        end.set_nonblocking(true).expect("a socket");
        let kind = end.peek(&mut [0]).map_err(|error| error.kind());
        kind == Err(std::io::ErrorKind::WouldBlock)
    };
    assert!(is_alive(&accepted), "nothing was touched");
    victim.signal("KILL");
    let _ = victim.wait();
}

/// Ends the connection of a process in a namespace of its own, by what `$0` is; what that says, and what the other end is
/// told.
const OWN: &str = r#"
ip link set lo up
busybox nc -l -p 5432 -e cat & listens=$!
bash -c 'until exec 3<>/dev/tcp/127.0.0.1/5432; do sleep 0.05; done 2>/dev/null; exec sleep 300' & holds=$!
until [ "$(cat /proc/$holds/comm)" = sleep ]; do sleep 0.05; done
conn() { "$binary" inject conn -t pid:$holds --remote-port 5432 "$@"; }
binary=$0
conn --new 100% --how refuse --for 1s; echo "refuse $?"
conn --rate 100% --how stall --for 1s; echo "stall $?"
conn --rate 100%; echo "reset $?"
wait $listens; echo "told $?"
kill $holds
"#;

#[test]
fn in_a_user_namespace_of_ones_own_those_of_ones_own_network_end() {
    let Some(user) = User::settle_or_skip() else {
        return;
    };
    let unshare = |words: &[&str]| {
        let unshare = user.guard.program("unshare".as_ref());
        let unshare = unshare.args(["--user", "--map-root-user", "--net"]);
        unshare.args(words).owned_by(USER)
    };
    if unshare(&["true"]).run().code != 0 {
        say_skipped("user namespaces for everybody");
        return;
    }
    let binary = user.binary.to_str().expect("a UTF-8 path");
    let shell = unshare(&["bash", "-c", OWN, binary]);
    let ended = shell.env("MURPHY_JOURNAL", &user.journal).run();
    assert_eq!(ended.code, 0, "{ended:?}");
    for said in ["refuse 3", "stall 3", "reset 0", "told 1"] {
        assert!(ended.stdout.contains(said), "{said}: {ended:?}");
    }
    let missing = ended.stderr.matches("CAP_BPF").count();
    assert_eq!(missing, 2, "{ended:?}");
    assert!(user.has_left_nothing());
}
