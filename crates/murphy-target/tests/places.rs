//! Processes in cgroups and units, and those that run a file.

mod runtimes;

use std::{
    collections::BTreeSet,
    fs,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command},
};

use murphy_sys::{cgroup::Hierarchies, table::ProcessTable};
use murphy_target::{MAX_TARGETS, Mode, Target, TargetError};
use runtimes::{Ground, has};

fn find(text: &str) -> Result<Target, TargetError> {
    Target::find(&[text.parse().unwrap()], MAX_TARGETS, [])
}

fn pids(text: &str) -> BTreeSet<u32> {
    let target = find(text).unwrap();
    target.processes().map(|process| process.pid).collect()
}

/// A process that ends with the test.
struct Sleeper(Child);

impl Sleeper {
    fn start() -> Self {
        Self(Command::new("sleep").arg("1000").spawn().unwrap())
    }

    fn of(program: &Path) -> Self {
        let mut command = Command::new(program);
        Self(command.arg0("sleep").arg("1000").spawn().unwrap())
    }

    fn within(self, group: &Path) -> Self {
        fs::create_dir_all(group).unwrap();
        fs::write(group.join("cgroup.procs"), self.pid().to_string()).unwrap();
        self
    }

    fn pid(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A mounted tree of each version that this machine has.
fn trees() -> Vec<PathBuf> {
    let found = Hierarchies::find().unwrap();
    let legacy = found.controller("freezer").map(Path::to_owned);
    legacy.into_iter().chain(found.unified).collect()
}

/// The tree in which systemd would keep its units.
fn systemd() -> PathBuf {
    let found = Hierarchies::find().unwrap();
    let named = found.controller("name=systemd").map(Path::to_owned);
    named.or(found.unified).unwrap()
}

#[test]
fn a_cgroup_is_everyone_in_it_and_below_and_later_too() {
    if !has(&[]) {
        return;
    }
    for tree in trees() {
        let ground = Ground::new();
        let top = tree.join(ground.group()).join("a");
        let here = Sleeper::start().within(&top);
        let below = Sleeper::start().within(&top.join("b"));
        let beside = Sleeper::start().within(&tree.join(ground.group()).join("ab"));
        let both = BTreeSet::from([here.pid(), below.pid()]);
        // As /proc/PID/cgroup writes it, and as it is mounted.
        let written = format!("cgroup:/{}/a", ground.group());
        assert_eq!(pids(&written), both, "{}", tree.display());
        assert_eq!(pids(&format!("cgroup:{}", top.display())), both);
        assert_eq!(pids(&format!("cgroup:{}/", top.display())), both);

        let mut tree = find(&written).unwrap().follow();
        let mut some = find(&written).unwrap().choose(Mode::One, 1).follow();
        let later = Sleeper::start().within(&top.join("c"));
        let table = ProcessTable::read().unwrap();
        let new = tree.newcomers(&table);
        assert_eq!(new.len(), 1);
        assert_eq!(new[0].process.pid, later.pid());
        assert!(!new[0].descendant);
        assert!(tree.newcomers(&table).is_empty());
        // One process of it was chosen, not the cgroup.
        assert!(some.newcomers(&table).is_empty());
        drop((here, below, beside, later));
    }
}

#[test]
fn the_root_and_the_cgroup_around_murphy_are_refused() {
    let said = |text: &str| {
        let error = find(text).unwrap_err();
        (error.is_bad_input(), error.to_string())
    };
    let (bad, text) = said("cgroup:/");
    assert!(bad && text.contains("it is the root"), "{text}");
    for tree in trees() {
        let (bad, text) = said(&format!("cgroup:{}", tree.display()));
        assert!(bad && text.contains("it is the root"), "{text}");
        let (_, text) = said(&format!("cgroup:{}/murphy-no-such", tree.display()));
        assert!(text.ends_with("no such cgroup; /proc/PID/cgroup shows those of a process"));
    }
    let (_, text) = said("cgroup:/murphy-no-such");
    assert!(text.contains("no such cgroup"), "{text}");
    if !has(&[]) {
        return;
    }
    // The test itself goes into a group, in a process of its own.
    let ground = Ground::new();
    let group = trees()[0].join(ground.group());
    fs::create_dir_all(group.join("inner")).unwrap();
    let inner = Sleeper::start().within(&group.join("inner"));
    let script = format!(
        "echo $$ > {}/cgroup.procs; exec \"$0\" --exact inside_the_cgroup --nocapture",
        group.display()
    );
    let told = Command::new("sh")
        .args(["-c", &script])
        .arg(std::env::current_exe().unwrap())
        .env("MURPHY_TEST_CGROUP", &group)
        .output()
        .unwrap();
    assert!(
        told.status.success(),
        "{}",
        String::from_utf8_lossy(&told.stdout)
    );
    assert!(String::from_utf8_lossy(&told.stdout).contains("1 passed"));
    drop(inner);
}

/// The other half of `the_root_and_the_cgroup_around_murphy_are_refused`; by itself it has nothing to do.
#[test]
fn inside_the_cgroup() {
    let Ok(group) = std::env::var("MURPHY_TEST_CGROUP") else {
        return;
    };
    let error = find(&format!("cgroup:{group}")).unwrap_err();
    assert!(matches!(error, TargetError::OwnCgroup { .. }), "{error}");
    assert_eq!(
        find(&format!("cgroup:{group}/inner"))
            .unwrap()
            .members
            .len(),
        1
    );
}

#[test]
fn a_unit_is_found_by_its_cgroup() {
    if !has(&[]) {
        return;
    }
    let ground = Ground::new();
    let slice = systemd().join(ground.group()).join("system.slice");
    let name = ground.group();
    let service = Sleeper::start().within(&slice.join(format!("{name}.service")));
    let one = Sleeper::start().within(&slice.join(format!("system-{name}.slice/{name}@1.service")));
    let two = Sleeper::start().within(&slice.join(format!("system-{name}.slice/{name}@2.service")));
    let user = systemd()
        .join(ground.group())
        .join("user.slice/user@7.service");
    let of_user = Sleeper::start().within(&user.join(format!("{name}.service")));

    assert_eq!(
        pids(&format!("unit:{name}.service")),
        [service.pid()].into()
    );
    assert_eq!(pids(&format!("unit:{name}")), [service.pid()].into());
    assert_eq!(pids(&format!("unit:{name}@1")), [one.pid()].into());
    let both = BTreeSet::from([one.pid(), two.pid()]);
    assert_eq!(pids(&format!("unit:{name}@.service")), both);
    assert_eq!(pids(&format!("unit:system-{name}.slice")), both);

    let mut tree = find(&format!("unit:{name}@1")).unwrap().follow();
    drop(one);
    let again =
        Sleeper::start().within(&slice.join(format!("system-{name}.slice/{name}@1.service")));
    let new = tree.newcomers(&ProcessTable::read().unwrap());
    assert_eq!(new.len(), 1);
    assert_eq!(new[0].process.pid, again.pid());

    // A unit of a user is meant only where the machine has none of the name.
    drop(service);
    assert_eq!(pids(&format!("unit:{name}")), [of_user.pid()].into());
    drop(of_user);
    let error = find(&format!("unit:{name}")).unwrap_err();
    if Path::new("/run/systemd/system").is_dir() {
        assert!(matches!(error, TargetError::NoUnit { .. }), "{error}");
    } else {
        assert!(
            error.to_string().contains("systemd does not run here"),
            "{error}"
        );
    }
    drop((two, again));
}

#[test]
fn a_file_is_known_by_whoever_runs_it_also_after_it_was_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let (file, other) = (dir.path().join("one"), dir.path().join("other"));
    let sleep = fs::canonicalize("/bin/sleep").unwrap();
    for copy in [&file, &other] {
        fs::copy(&sleep, copy).unwrap();
    }
    let link = dir.path().join("link");
    std::os::unix::fs::symlink(&file, &link).unwrap();
    let (old, beside) = (Sleeper::of(&file), Sleeper::of(&other));
    assert_eq!(pids(&format!("exe:{}", file.display())), [old.pid()].into());
    assert_eq!(pids(&format!("exe:{}", link.display())), [old.pid()].into());
    fs::remove_file(&file).unwrap();
    fs::copy(&sleep, &file).unwrap();
    let new = Sleeper::of(&file);
    assert_eq!(
        pids(&format!("exe:{}", file.display())),
        [old.pid(), new.pid()].into()
    );
    assert!(find("exe:/no/such/file").is_err());
    drop(beside);
}
