//! Containers of a real docker.

mod runtimes;

use std::{collections::BTreeSet, time::Duration};

use murphy_sys::{process, table::ProcessTable};
use murphy_target::{
    MAX_TARGETS, Member, Mode, Runtime, Runtimes, Selector, Target, TargetError, Tree,
};
use runtimes::{Docker, same_namespace, until};

/// Two processes, one of them a child.
const SCRIPT: &str = "sleep 1000 & sleep 1001; :";

fn find(docker: &Docker, text: &str) -> Result<Target, TargetError> {
    let runtimes = Runtimes::at([(Runtime::Docker, docker.socket())]);
    Target::find_asking(&[text.parse().unwrap()], MAX_TARGETS, [], runtimes)
}

fn find_without_socket(text: &str) -> Result<Target, TargetError> {
    Target::find_asking(
        &[text.parse().unwrap()],
        MAX_TARGETS,
        [],
        Runtimes::default(),
    )
}

fn pids(target: &Target) -> BTreeSet<u32> {
    target.processes().map(|process| process.pid).collect()
}

/// The processes of a container, told by its pid namespace, once its script has started them.
fn inside(docker: &Docker, name: &str, count: usize) -> BTreeSet<u32> {
    until("the start of a script", || {
        let found = same_namespace(docker.first(name));
        (found.len() == count).then(|| found.into_iter().collect())
    })
}

/// Everyone who joins until `enough` is satisfied.
fn joined(tree: &mut Tree, enough: impl Fn(&[Member]) -> bool) -> Vec<Member> {
    let mut all = Vec::new();
    until("a newcomer", || {
        all.extend(tree.newcomers(&ProcessTable::read().unwrap()));
        enough(&all).then_some(())
    });
    all
}

#[test]
fn a_container_is_all_its_processes_and_nobody_else() {
    let Some(docker) = Docker::start_or_skip() else {
        return;
    };
    let id = docker.container("web", &[], SCRIPT);
    docker.container("other", &[], SCRIPT);
    let (web, other) = (inside(&docker, "web", 3), inside(&docker, "other", 3));

    let target = find(&docker, "container:web").unwrap();
    assert_eq!(pids(&target), web);
    assert!(pids(&target).is_disjoint(&other));
    assert!(!pids(&target).contains(&std::process::id()));
    // Its own pid 1 is hit, and parents come before their children.
    assert_eq!(target.members[0].process.pid, docker.first("web"));
    for member in &target.members {
        let container = member.container.as_ref().unwrap();
        assert_eq!(container.id, id);
        assert_eq!(container.name.as_deref(), Some("web"));
        assert_eq!(container.runtime, Some(Runtime::Docker));
    }
    let shown = serde_json::to_value(&target.members[0]).unwrap();
    assert_eq!(
        shown["container"],
        serde_json::json!({"runtime": "docker", "id": id[..12], "name": "web"})
    );

    // What docker starts inside later is no descendant of the container's first process, yet belongs to it.
    docker.run(&["exec", "--detach", "web", "sleep", "1002"]);
    let web = inside(&docker, "web", 4);
    assert_eq!(pids(&find(&docker, "container:web").unwrap()), web);
    assert_eq!(pids(&find(&docker, "container:docker/web").unwrap()), web);

    // By id no socket is needed: not by the whole one, and not by its beginning.
    for text in [
        format!("container:{id}"),
        format!("container:{}", &id[..12]),
    ] {
        assert_eq!(pids(&find_without_socket(&text).unwrap()), web, "{text}");
    }

    // A process named by pid says which container it is in.
    let target = find_without_socket(&format!("pid:{}", docker.first("web"))).unwrap();
    assert_eq!(target.members[0].container.as_ref().unwrap().id, id);
}

#[test]
fn exec_restart_and_a_new_container_of_the_name_are_followed() {
    let Some(docker) = Docker::start_or_skip() else {
        return;
    };
    docker.container("web", &[], SCRIPT);
    docker.container("other", &[], SCRIPT);
    inside(&docker, "web", 3);
    inside(&docker, "other", 3);
    let mut tree = find(&docker, "container:web").unwrap().follow();
    assert!(tree.may_come_back());
    assert!(tree.newcomers(&ProcessTable::read().unwrap()).is_empty());

    docker.run(&["exec", "--detach", "other", "sleep", "1003"]);
    docker.run(&["exec", "--detach", "web", "sleep", "1002"]);
    let web = inside(&docker, "web", 4);
    let new = joined(&mut tree, |all| !all.is_empty());
    assert!(new.iter().all(|member| web.contains(&member.process.pid)));
    until("the command", || {
        let words = process::command_line(new[0].process.pid).unwrap();
        (words == ["sleep", "1002"]).then_some(())
    });

    docker.run(&["restart", "--time", "0", "other"]);
    docker.run(&["restart", "--time", "0", "web"]);
    let (web, other) = (inside(&docker, "web", 3), inside(&docker, "other", 3));
    let new = joined(&mut tree, |all| all.len() >= 3);
    let new: BTreeSet<u32> = new.iter().map(|member| member.process.pid).collect();
    assert_eq!(new, web);
    assert!(new.is_disjoint(&other));

    docker.run(&["rm", "--force", "web"]);
    let id = docker.container("web", &[], SCRIPT);
    let web = inside(&docker, "web", 3);
    let new = joined(&mut tree, |all| all.len() >= 3);
    assert!(new.iter().all(|member| web.contains(&member.process.pid)));
    assert!(
        new.iter()
            .all(|member| member.container.as_ref().unwrap().id == id)
    );
}

#[test]
fn some_of_the_labelled_are_chosen_and_only_those_are_followed() {
    let Some(docker) = Docker::start_or_skip() else {
        return;
    };
    let names = ["web-a", "web-b", "web-c"];
    for name in names {
        docker.container(name, &["--label", "app=web"], SCRIPT);
    }
    docker.container("db", &["--label", "app=db"], SCRIPT);
    for name in ["web-a", "web-b", "web-c", "db"] {
        inside(&docker, name, 3);
    }
    let all = find(&docker, "container:label=app=web").unwrap();
    assert_eq!((all.parts(), all.members.len()), (3, 9));
    assert_eq!(find(&docker, "container:label=app").unwrap().parts(), 4);

    let one = all.clone().choose(Mode::One, 7);
    assert_eq!((one.members.len(), one.not_chosen.len()), (3, 6));
    let again = find(&docker, "container:label=app=web").unwrap();
    assert_eq!(pids(&one), pids(&again.choose(Mode::One, 7)));
    let chosen = one.members[0].container.clone().unwrap().name.unwrap();
    assert_eq!(pids(&one), inside(&docker, &chosen, 3));
    let percent: Mode = "percent=34%".parse().unwrap();
    assert_eq!(all.clone().choose(percent, 1).parts(), 2);

    let mut tree = one.follow();
    for name in names {
        docker.run(&["restart", "--time", "0", name]);
    }
    // A new one that matches was not chosen either.
    docker.container("web-e", &["--label", "app=web"], SCRIPT);
    inside(&docker, "web-e", 3);
    let began = std::time::Instant::now();
    let new = joined(&mut tree, |all| {
        all.len() >= 3 && began.elapsed() > Duration::from_secs(3)
    });
    let new: BTreeSet<u32> = new.iter().map(|member| member.process.pid).collect();
    assert_eq!(new, inside(&docker, &chosen, 3));

    // Where all were chosen, a new one that matches belongs to them.
    let mut tree = all.follow();
    joined(&mut tree, |all| all.len() >= 9);
    docker.container("web-f", &["--label", "app=web"], SCRIPT);
    let fresh = inside(&docker, "web-f", 3);
    let new = joined(&mut tree, |all| {
        all.iter()
            .filter(|m| fresh.contains(&m.process.pid))
            .count()
            == 3
    });
    assert!(new.iter().all(|member| {
        let name = member.container.as_ref().unwrap().name.as_deref();
        name == Some("web-e") || name == Some("web-f")
    }));
}

#[test]
fn a_pod_is_its_containers_without_the_pause() {
    let Some(docker) = Docker::start_or_skip() else {
        return;
    };
    let labels = |pod: &str, kind: &str| {
        [
            "--label".to_owned(),
            "io.kubernetes.pod.namespace=shop".to_owned(),
            "--label".to_owned(),
            format!("io.kubernetes.pod.name={pod}"),
            "--label".to_owned(),
            format!("io.kubernetes.docker.type={kind}"),
        ]
    };
    for (name, pod, kind) in [
        ("k8s_POD_web-0_shop_1_0", "web-0", "podsandbox"),
        ("k8s_app_web-0_shop_1_0", "web-0", "container"),
        ("k8s_side_web-0_shop_1_0", "web-0", "container"),
        ("k8s_app_web-1_shop_1_0", "web-1", "container"),
    ] {
        let labels = labels(pod, kind);
        let options: Vec<&str> = labels.iter().map(String::as_str).collect();
        docker.container(name, &options, SCRIPT);
        inside(&docker, name, 3);
    }
    let target = find(&docker, "pod:shop/web-0").unwrap();
    let mut wanted = inside(&docker, "k8s_app_web-0_shop_1_0", 3);
    wanted.extend(inside(&docker, "k8s_side_web-0_shop_1_0", 3));
    assert_eq!(pids(&target), wanted);
    assert!(find(&docker, "pod:shop/web-9").is_err());

    // Its container starts again as Kubernetes does it: under another id and another name.
    let mut tree = target.follow();
    docker.run(&["rm", "--force", "k8s_app_web-0_shop_1_0"]);
    let labels = labels("web-0", "container");
    let options: Vec<&str> = labels.iter().map(String::as_str).collect();
    docker.container("k8s_app_web-0_shop_1_1", &options, SCRIPT);
    let fresh = inside(&docker, "k8s_app_web-0_shop_1_1", 3);
    let new = joined(&mut tree, |all| all.len() >= 3);
    assert!(new.iter().all(|member| fresh.contains(&member.process.pid)));
}

#[test]
fn what_cannot_be_hit_is_told_apart() {
    let Some(docker) = Docker::start_or_skip() else {
        return;
    };
    docker.container("web", &[], SCRIPT);
    inside(&docker, "web", 3);
    let said = |text: &str| find(&docker, text).unwrap_err().to_string();
    assert!(
        said("container:nosuch")
            .starts_with("find container:nosuch: no such container; asked docker"),
    );
    docker.run(&["stop", "--time", "0", "web"]);
    assert!(said("container:web").contains("is not running; start it first"));
    assert!(said("container:label=a=b").contains("no such container"));

    // docker keeps its containers in a containerd: with both, each is still one.
    docker.run(&["start", "web"]);
    let web = inside(&docker, "web", 3);
    let both = Runtimes::at([
        (Runtime::Containerd, docker.containerd_socket()),
        (Runtime::Docker, docker.socket()),
    ]);
    let selector: Selector = "container:web".parse().unwrap();
    let target = Target::find_asking(&[selector], MAX_TARGETS, [], both).unwrap();
    assert_eq!((target.parts(), pids(&target)), (1, web));
}
