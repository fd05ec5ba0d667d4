//! The shop of `labs/shop`: what hits one catalog is seen there and nowhere else, and of the shop nothing is left.

mod harness;
mod lab;

use std::{
    fs,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use harness::{Guard, patience, signal, wait_until};
use lab::Shop;
use serde_json::Value;

/// How long a fault lasts.
const FAULT: &str = "10s";
/// How many seconds of figures after the order to begin may still be without a fault: the start of Murphy, and the
/// time-out of the first request that is hit.
const BEFORE_EFFECT: usize = 3;
/// How long a retransmission takes at least, in milliseconds, with a margin: the kernel's minimum is 200.
const RETRANSMITTED_MS: f64 = 150.0;

/// What one catalog did in some seconds.
#[derive(Debug, Default)]
struct Share {
    requests: u64,
    failures: u64,
    /// The 99th percentile of each second, sorted.
    p99_ms: Vec<f64>,
}

impl Shop<'_> {
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
    shop.down();
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
        let shop = Shop::new(&guard);
        let starting = shop.program().arg("up").start();
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
