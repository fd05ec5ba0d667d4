//! Containers of a real podman: without a daemon, and with the socket of its service.

mod runtimes;

use std::collections::BTreeSet;

use murphy_sys::table::ProcessTable;
use murphy_target::{MAX_TARGETS, Runtime, Runtimes, Target, TargetError};
use runtimes::{Daemon, Podman, same_namespace, until};

const SCRIPT: &str = "sleep 1000 & sleep 1001; :";

fn find(runtimes: Runtimes, text: &str) -> Result<Target, TargetError> {
    Target::find_asking(&[text.parse().unwrap()], MAX_TARGETS, [], runtimes)
}

fn pids(target: &Target) -> BTreeSet<u32> {
    target.processes().map(|process| process.pid).collect()
}

fn inside(podman: &Podman, name: &str, count: usize) -> BTreeSet<u32> {
    until("the start of a script", || {
        let found = same_namespace(podman.first(name));
        (found.len() == count).then(|| found.into_iter().collect())
    })
}

#[test]
fn a_container_is_found_without_a_socket_and_followed() {
    let Some(podman) = Podman::start_or_skip() else {
        return;
    };
    // Names that no other test's podman has: without a socket the whole machine is looked at.
    let id = podman.container("alone-web", &["--label", "alone=yes"], SCRIPT);
    podman.container("alone-other", &[], SCRIPT);
    let (web, other) = (
        inside(&podman, "alone-web", 3),
        inside(&podman, "alone-other", 3),
    );
    let without = Runtimes::default;
    for text in [
        "container:alone-web".to_owned(),
        "container:podman/alone-web".to_owned(),
        "container:label=alone=yes".to_owned(),
        format!("container:{id}"),
        format!("container:{}", &id[..12]),
    ] {
        let target = find(without(), &text).unwrap();
        assert_eq!(pids(&target), web, "{text}");
        assert!(pids(&target).is_disjoint(&other));
    }
    let target = find(without(), "container:alone-web").unwrap();
    let container = target.members[0].container.as_ref().unwrap();
    assert_eq!(
        (container.runtime, &container.id),
        (Some(Runtime::Podman), &id)
    );

    let mut tree = target.follow();
    podman.run(&["exec", "--detach", "alone-other", "sleep", "1003"]);
    podman.run(&["exec", "--detach", "alone-web", "sleep", "1002"]);
    let web = inside(&podman, "alone-web", 4);
    let mut new = BTreeSet::new();
    let mut joined = |count: usize| {
        let mut new = BTreeSet::new();
        until("newcomers", || {
            let table = ProcessTable::read().unwrap();
            new.extend(tree.newcomers(&table).iter().map(|m| m.process.pid));
            (new.len() >= count).then_some(())
        });
        new
    };
    new.extend(joined(1));
    assert!(new.len() == 1 && new.is_subset(&web));
    podman.run(&["restart", "--time=0", "alone-web"]);
    assert_eq!(joined(3), inside(&podman, "alone-web", 3));
    podman.run(&["rm", "--force", "--time=0", "alone-web"]);
    podman.container("alone-web", &[], SCRIPT);
    assert_eq!(joined(3), inside(&podman, "alone-web", 3));
}

#[test]
fn a_service_of_podman_is_asked_at_its_socket() {
    let Some(podman) = Podman::start_or_skip() else {
        return;
    };
    podman.container("served-web", &["--label", "served=yes"], SCRIPT);
    let web = inside(&podman, "served-web", 3);
    let socket = podman.ground().path("podman.sock");
    let address = format!("unix://{}", socket.display());
    let mut command = podman.command(&["system", "service", "--time=0", &address]);
    let service = Daemon::start(&mut command, &podman.ground().path("log"));
    until("the start of the service", || socket.exists().then_some(()));
    let served = Runtimes::at([(Runtime::Podman, socket)]);
    for text in ["container:served-web", "container:label=served=yes"] {
        assert_eq!(pids(&find(served.clone(), text).unwrap()), web, "{text}");
    }
    podman.run(&["stop", "--time=0", "served-web"]);
    let error = find(served, "container:served-web").unwrap_err();
    assert!(error.to_string().contains("is not running"), "{error}");
    drop(service);
}
