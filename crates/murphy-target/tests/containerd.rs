//! Containers of a real containerd, whose ids are words and which has namespaces.

mod runtimes;

use std::collections::BTreeSet;

use murphy_sys::table::ProcessTable;
use murphy_target::{MAX_TARGETS, Runtime, Runtimes, Target, TargetError, Tree};
use runtimes::{Containerd, same_namespace, until};

const SCRIPT: &str = "sleep 1000 & sleep 1001; :";

fn find(containerd: &Containerd, text: &str) -> Result<Target, TargetError> {
    let runtimes = Runtimes::at([(Runtime::Containerd, containerd.socket())]);
    Target::find_asking(&[text.parse().unwrap()], MAX_TARGETS, [], runtimes)
}

fn pids(target: &Target) -> BTreeSet<u32> {
    target.processes().map(|process| process.pid).collect()
}

fn inside(containerd: &Containerd, namespace: &str, id: &str, count: usize) -> BTreeSet<u32> {
    until("the start of a script", || {
        let found = same_namespace(containerd.first(namespace, id));
        (found.len() == count).then(|| found.into_iter().collect())
    })
}

/// Stops `web` and starts it again; whoever follows it finds the new processes.
fn finds_it_after_a_restart(containerd: &Containerd, namespace: &str, tree: &mut Tree) {
    containerd.stop(namespace, "web");
    let start = ["tasks", "start", "--detach", "--null-io", "web"];
    containerd.run(namespace, &start);
    let again = inside(containerd, namespace, "web", 3);
    let mut new = BTreeSet::new();
    until("newcomers", || {
        let table = ProcessTable::read().unwrap();
        new.extend(tree.newcomers(&table).iter().map(|m| m.process.pid));
        (new.len() >= 3).then_some(())
    });
    assert_eq!(new, again);
}

#[test]
fn a_container_is_found_in_its_namespace_and_followed() {
    let Some(containerd) = Containerd::start_or_skip() else {
        return;
    };
    let (blue, red) = (containerd.namespace("blue"), containerd.namespace("red"));
    containerd.container(&blue, "web", &[], SCRIPT);
    containerd.container(&red, "web", &["--label", "app=x"], SCRIPT);
    containerd.container(&blue, "only", &[], SCRIPT);
    let in_blue = inside(&containerd, &blue, "web", 3);
    let in_red = inside(&containerd, &red, "web", 3);
    let only = inside(&containerd, &blue, "only", 3);

    assert_eq!(pids(&find(&containerd, "container:only").unwrap()), only);
    let error = find(&containerd, "container:web").unwrap_err();
    assert!(error.is_bad_input());
    let said = error.to_string();
    assert!(
        said.contains(&format!(
            "containerd/{blue}/web and containerd/{red}/web have this name"
        )),
        "{said}"
    );
    assert!(
        said.contains(&format!("container:containerd/{blue}/web")),
        "{said}"
    );
    let text = format!("container:containerd/{red}/web");
    assert_eq!(pids(&find(&containerd, &text).unwrap()), in_red);
    assert_eq!(
        pids(&find(&containerd, "container:label=app=x").unwrap()),
        in_red
    );
    let target = find(&containerd, &format!("container:containerd/{blue}/web")).unwrap();
    assert_eq!(pids(&target), in_blue);
    let container = target.members[0].container.as_ref().unwrap();
    assert_eq!(container.namespace.as_ref(), Some(&blue));

    let mut tree = target.follow();
    let exec = ["tasks", "exec", "--detach", "--exec-id", "more"];
    let log = format!("file://{}", containerd.ground().path("exec.log").display());
    let command = ["--log-uri", &log, "web", "/bin/sleep", "1002"];
    containerd.run(&blue, &[&exec[..], &command[..]].concat());
    let in_blue = inside(&containerd, &blue, "web", 4);
    let new = tree.newcomers(&ProcessTable::read().unwrap());
    assert_eq!(new.len(), 1);
    assert!(in_blue.contains(&new[0].process.pid));

    finds_it_after_a_restart(&containerd, &blue, &mut tree);
}

#[test]
fn a_container_without_a_cgroup_is_found_by_its_first_process() {
    let Some(containerd) = Containerd::start_or_skip() else {
        return;
    };
    let blue = containerd.namespace("blue");
    containerd.container(&blue, "web", &["--cgroup", ""], SCRIPT);
    containerd.container(&blue, "other", &["--cgroup", ""], SCRIPT);
    let web = inside(&containerd, &blue, "web", 3);
    let other = inside(&containerd, &blue, "other", 3);
    let target = find(&containerd, "container:web").unwrap();
    assert_eq!(pids(&target), web);
    assert!(pids(&target).is_disjoint(&other));

    // Only containerd knows where it is after it was started again.
    let mut tree = target.follow();
    finds_it_after_a_restart(&containerd, &blue, &mut tree);

    containerd.stop(&blue, "other");
    let error = find(&containerd, "container:other").unwrap_err();
    assert!(error.to_string().contains("is not running"), "{error}");
}

#[test]
fn a_container_that_shares_a_pid_namespace_is_still_another() {
    let Some(containerd) = Containerd::start_or_skip() else {
        return;
    };
    let blue = containerd.namespace("blue");
    containerd.container(&blue, "host", &[], SCRIPT);
    let host = inside(&containerd, &blue, "host", 3);
    let first = containerd.first(&blue, "host");
    let shared = format!("pid:/proc/{first}/ns/pid");
    containerd.container(&blue, "guest", &["--with-ns", &shared], SCRIPT);
    // A guest without a cgroup is known by its first process and its descendants alone.
    let apart = ["--with-ns", &shared, "--cgroup", ""];
    containerd.container(&blue, "apart", &apart, SCRIPT);
    inside(&containerd, &blue, "host", 9);

    let found = |id: &str| pids(&find(&containerd, &format!("container:{id}")).unwrap());
    let (guest, apart) = (found("guest"), found("apart"));
    assert_eq!(found("host"), host);
    assert_eq!((guest.len(), apart.len()), (3, 3));
    assert!(guest.contains(&containerd.first(&blue, "guest")));
    assert!(apart.contains(&containerd.first(&blue, "apart")));
    assert!(guest.is_disjoint(&host) && apart.is_disjoint(&host) && apart.is_disjoint(&guest));
}

#[test]
fn a_real_server_of_cri_is_understood() {
    let Some(containerd) = Containerd::start_or_skip() else {
        return;
    };
    // containerd serves the interface of CRI-O on the same socket; it has no container of Kubernetes.
    let cri = Runtimes::at([(Runtime::Crio, containerd.socket())]);
    let selector = "container:web".parse().unwrap();
    let error = until("the start of CRI", || {
        let found = Target::find_asking(
            std::slice::from_ref(&selector),
            MAX_TARGETS,
            [],
            cri.clone(),
        );
        let said = found.unwrap_err().to_string();
        (!said.contains("is not initialized")).then_some(said)
    });
    assert!(
        error.starts_with("find container:web: no such container; asked cri-o"),
        "{error}"
    );
}
