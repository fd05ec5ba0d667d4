//! The shop of `labs/shop`: what hits one catalog is seen there and nowhere else, and of the shop nothing is left.

mod harness;

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use harness::{Ended, Guard, patience, say_skipped, signal, wait_until};
use serde_json::Value;

/// The names of its namespaces are the machine's, so there is one shop at a time.
static ONE: Mutex<()> = Mutex::new(());
/// How long a fault lasts.
const FAULT: &str = "10s";
/// How many seconds of figures after the order to begin may still be without a fault: the start of Murphy, and the
/// time-out of the first request that is hit.
const BEFORE_EFFECT: usize = 3;
/// How long a retransmission takes at least, in milliseconds, with a margin: the kernel's minimum is 200.
const RETRANSMITTED_MS: f64 = 150.0;

/// A shop that is up.
struct Shop<'a> {
    guard: &'a Guard,
    program: PathBuf,
    _only: MutexGuard<'static, ()>,
}

/// What one catalog did in some seconds.
#[derive(Debug, Default)]
struct Share {
    requests: u64,
    failures: u64,
    /// The 99th percentile of each second, sorted.
    p99_ms: Vec<f64>,
}

impl<'a> Shop<'a> {
    /// One in this form; none, with the reason, where the machine lacks something.
    fn up_or_skip(guard: &'a Guard, form: &str) -> Option<Self> {
        let only = ONE.lock().unwrap_or_else(PoisonError::into_inner);
        // The database's user must get to its data.
        fs::set_permissions(guard.dir(), fs::Permissions::from_mode(0o755)).expect("own directory");
        let shop = Self {
            guard,
            program: harness::program("shop"),
            _only: only,
        };
        let up = shop.run(&["up", "--in", form]);
        if let Some(missing) = up.stderr.split("there is no ").nth(1) {
            say_skipped(missing.split(" here").next().unwrap_or(missing));
            return None;
        }
        assert_eq!(up.code, 0, "{up:?}");
        assert!(up.stdout.contains("an order went through"), "{up:?}");
        Some(shop)
    }

    fn run(&self, words: &[&str]) -> Ended {
        self.guard
            .program(&self.program)
            .args(words)
            .env("MURPHY_SHOP", self.directory())
            .env("MURPHY_JOURNAL", self.guard.journal())
            .run()
    }

    fn directory(&self) -> PathBuf {
        self.guard.dir().join("shop")
    }

    /// The figures so far, one line a second.
    fn seconds(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.directory().join("load/figures.jsonl"));
        let text = text.unwrap_or_default();
        // The last line may be half written.
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        let lines = whole.lines();
        lines
            .map(|line| serde_json::from_str(line).expect("JSON"))
            .collect()
    }

    /// Waits until so many more seconds in a row were without any failure.
    fn becomes_well(&self, seconds: usize) {
        let from = self.seconds().len();
        wait_until("the shop is well", || {
            let new = self.seconds().split_off(from);
            new.len() >= seconds && new[new.len() - seconds..].iter().all(is_well)
        });
    }

    /// The figures of the two catalogs while a fault of the first one's answers to the front end was in force.
    fn hit(&self, fault: &[&str], catalog: &str, front_end: &str) -> (Share, Share) {
        let from = self.seconds().len();
        let ended = self
            .guard
            .murphy(["inject", "net", "-t", catalog, "--peer", front_end])
            .args(["--for", FAULT])
            .args(fault)
            .run();
        assert_eq!(ended.code, 0, "{ended:?}");
        let mut hit = self.seconds().split_off(from + BEFORE_EFFECT);
        // In the last one the fault may have ended.
        hit.pop();
        assert!(hit.len() >= 4, "{hit:?}");
        (Share::of(&hit, "catalog-1"), Share::of(&hit, "catalog-2"))
    }

    /// The lab in the journal: its id and its owner.
    fn in_force(&self) -> (String, u32) {
        let listed = self.guard.murphy(["ls", "--json"]).run();
        let lab = listed.lines().pop().expect("a lab");
        assert_eq!(
            (&lab["family"], &lab["fault"]),
            (&"lab".into(), &"shop".into())
        );
        let owner = lab["owner_pid"]
            .as_u64()
            .and_then(|pid| pid.try_into().ok());
        let id = lab["id"].as_str().expect("an id").to_owned();
        (id, owner.expect("a pid"))
    }

    /// Waits until nothing is left of it; the guard looks for the rest.
    fn is_gone(&self, id: &str) {
        let began = Instant::now();
        wait_until("the journal is empty", || {
            self.guard.injections().is_empty()
        });
        assert!(began.elapsed() < patience() / 2, "it took too long");
        assert!(!self.directory().exists());
        assert_eq!(tagged(id), [0; 0], "processes are left");
        let group = format!("murphy-shop-{id}");
        assert!(!Path::new("/sys/fs/cgroup").join(&group).exists());
        assert!(!Path::new("/sys/fs/cgroup/freezer").join(&group).exists());
        assert!(!Path::new("/run/netns/mphy-shop-catalog-1").exists());
    }
}

impl Share {
    fn of(seconds: &[Value], catalog: &str) -> Self {
        let mut share = Self::default();
        for part in seconds.iter().map(|second| &second["upstreams"][catalog]) {
            share.requests += part["requests"].as_u64().unwrap_or(0);
            share.failures += part["failures"].as_u64().unwrap_or(0);
            share.p99_ms.extend(part["p99_ms"].as_f64());
        }
        share.p99_ms.sort_by(f64::total_cmp);
        share
    }

    /// That it serves as if nothing were wrong: a single slow second may be the machine's.
    fn is_untouched(&self) {
        assert!(self.requests > 0 && self.failures == 0, "{self:?}");
        let median = self.p99_ms[self.p99_ms.len() / 2];
        assert!(median < RETRANSMITTED_MS, "{self:?}");
    }
}

fn is_well(second: &Value) -> bool {
    let serves = |name: &str| {
        let part = &second["upstreams"][name];
        part["requests"].as_u64() > Some(0) && part["failures"] == 0
    };
    second["failures"] == 0 && serves("catalog-1") && serves("catalog-2")
}

/// Pids of whoever carries the tag of a lab.
fn tagged(id: &str) -> Vec<u32> {
    let wanted = format!("MURPHY_TAG={id}");
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid: &u32| {
        let environ = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environ
            .split(|&b| b == 0)
            .any(|one| one == wanted.as_bytes())
    })
    .collect()
}

/// The whole story, with the targets of a form.
fn one_catalog_is_hit(form: &str, catalog: &str, front_end: &str) {
    let Some(guard) = Guard::root_or_skip() else {
        return;
    };
    let Some(shop) = Shop::up_or_skip(&guard, form) else {
        return;
    };
    let (id, _) = shop.in_force();
    let again = shop.run(&["up", "--in", form]);
    assert!(again.stderr.contains("is there already"), "{again:?}");
    shop.becomes_well(2);

    let (first, second) = shop.hit(&["--partition"], catalog, front_end);
    assert!(first.requests > 0, "{first:?}");
    assert_eq!(first.failures, first.requests, "{first:?}");
    second.is_untouched();
    shop.becomes_well(3);

    let (first, second) = shop.hit(&["--loss", "30%"], catalog, front_end);
    // No loss among a hundred answers has a chance of 3e-16.
    let slowest = first.p99_ms.last().expect("answers");
    assert!(*slowest > RETRANSMITTED_MS, "{first:?}");
    second.is_untouched();
    shop.becomes_well(3);

    let delay = ["--delay", "50ms", "--jitter", "10ms", "--direction", "both"];
    let (first, second) = shop.hit(&delay, catalog, front_end);
    // There and back at least 40 ms each.
    let median = first.p99_ms[first.p99_ms.len() / 2];
    assert!(median > 80.0, "{first:?}");
    second.is_untouched();
    shop.becomes_well(3);

    let status = shop.run(&["status"]);
    assert_eq!(status.code, 0, "{status:?}");
    assert_eq!(status.stdout.matches(" well\n").count(), 5, "{status:?}");
    let down = shop.run(&["down"]);
    assert_eq!(down.code, 0, "{down:?}");
    shop.is_gone(&id);
}

#[test]
fn one_catalog_is_hit_in_namespaces() {
    let (catalog, front_end) = ("netns:mphy-shop-catalog-1", "netns:mphy-shop-front-end");
    one_catalog_is_hit("namespaces", catalog, front_end);
}

#[test]
fn one_catalog_is_hit_in_containers() {
    let (catalog, front_end) = ("container:shop-catalog-1", "container:label=name=front-end");
    one_catalog_is_hit("containers", catalog, front_end);
}

#[test]
fn both_catalogs_have_the_label_of_the_manifests() {
    let Some(guard) = Guard::root_or_skip() else {
        return;
    };
    let Some(shop) = Shop::up_or_skip(&guard, "containers") else {
        return;
    };
    let (id, owner) = shop.in_force();
    let planned = guard
        .murphy(["inject", "net", "-t", "container:label=name=catalog"])
        .args(["--peer", "container:label=name=front-end"])
        .args(["--loss", "30%", "--for", "1s", "--dry-run"])
        .run();
    assert_eq!(planned.code, 0, "{planned:?}");
    for catalog in ["shop-catalog-1", "shop-catalog-2"] {
        assert!(planned.stdout.contains(catalog), "{planned:?}");
    }
    signal(owner, "KILL");
    shop.is_gone(&id);
}

#[test]
fn a_killed_owner_leaves_nothing() {
    let Some(guard) = Guard::root_or_skip() else {
        return;
    };
    let Some(shop) = Shop::up_or_skip(&guard, "namespaces") else {
        return;
    };
    let (id, owner) = shop.in_force();
    signal(owner, "KILL");
    shop.is_gone(&id);
    drop(shop);

    // In the midst of a start, too, wherever it is.
    for delay_ms in [150, 400, 800] {
        let Some(guard) = Guard::root_or_skip() else {
            return;
        };
        let only = ONE.lock().unwrap_or_else(PoisonError::into_inner);
        fs::set_permissions(guard.dir(), fs::Permissions::from_mode(0o755)).expect("own directory");
        let shop = Shop {
            guard: &guard,
            program: harness::program("shop"),
            _only: only,
        };
        let starting = guard
            .program(&shop.program)
            .arg("up")
            .env("MURPHY_SHOP", shop.directory())
            .env("MURPHY_JOURNAL", guard.journal())
            .start();
        wait_until("the start is in the journal", || {
            !guard.injections().is_empty()
        });
        let (id, owner) = shop.in_force();
        thread::sleep(Duration::from_millis(delay_ms));
        signal(owner, "KILL");
        let ended = starting.wait();
        assert_ne!(ended.code, 0, "{ended:?}");
        shop.is_gone(&id);
    }
}
