use super::*;
use crate::Selector;

const A: &str = "aaaa000000000000000000000000000000000000000000000000000000000001";
const B: &str = "aaaa000000000000000000000000000000000000000000000000000000000002";
const C: &str = "beef000000000000000000000000000000000000000000000000000000000003";

fn listed(runtime: Runtime, id: &str, name: &str, labels: &[(&str, &str)]) -> Listed {
    Listed {
        runtime: Some(runtime),
        namespace: None,
        id: id.to_owned(),
        names: vec![name.to_owned()],
        labels: labels
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect(),
        pid: None,
        is_running: true,
        is_sandbox: false,
    }
}

fn pod(name: &str, is_sandbox: bool, id: &str) -> Listed {
    let labels = [
        ("io.kubernetes.pod.namespace", "default"),
        ("io.kubernetes.pod.name", name),
    ];
    Listed {
        is_sandbox,
        ..listed(Runtime::Containerd, id, "app", &labels)
    }
}

fn find(
    text: &str,
    containers: Vec<Listed>,
    unheard: Vec<RuntimeError>,
    traced: &[&str],
) -> Result<Vec<String>, ContainerError> {
    let query = match text.parse().unwrap() {
        Selector::Container(query) => query,
        Selector::Pod { namespace, name } => ContainerQuery::of_pod(&namespace, &name),
        other => panic!("{other} is no container"),
    };
    let traced = traced.iter().map(|id| ((*id).to_owned(), None)).collect();
    let mut answers: Vec<_> = unheard.into_iter().map(Err).collect();
    for listed in containers {
        answers.push(Ok((listed.runtime.unwrap(), vec![listed])));
    }
    let found = resolve(text, &query, &traced, || Census::of(answers))?;
    Ok(found
        .containers
        .iter()
        .map(|listed| listed.id.clone())
        .collect())
}

fn two() -> Vec<Listed> {
    vec![
        listed(Runtime::Docker, A, "web", &[("app", "x")]),
        listed(Runtime::Podman, B, "web", &[("app", "x"), ("tier", "1")]),
    ]
}

fn silent(runtime: Runtime) -> RuntimeError {
    RuntimeError::Silent {
        runtime,
        at: "/run/x.sock".to_owned(),
    }
}

#[test]
fn a_name_in_two_runtimes_is_refused_with_both() {
    let error = find("container:web", two(), vec![], &[])
        .unwrap_err()
        .to_string();
    assert_eq!(
        error,
        "find container:web: docker/web (aaaa00000000) and podman/web (aaaa00000000) have this name; write the one \
         that is meant as container:docker/web or by its id"
    );
    assert_eq!(
        find("container:podman/web", two(), vec![], &[]).unwrap(),
        [B]
    );
}

#[test]
fn a_beginning_of_two_ids_is_refused_with_both() {
    let error = find("container:aaaa", two(), vec![], &[]).unwrap_err();
    assert!(
        matches!(error, ContainerError::AmbiguousId { .. }),
        "{error}"
    );
    assert_eq!(
        find(&format!("container:{}", &A[..64]), two(), vec![], &[]).unwrap(),
        [A]
    );
    assert_eq!(
        find("container:docker/aaaa", two(), vec![], &[]).unwrap(),
        [A]
    );
}

#[test]
fn a_name_goes_before_the_beginning_of_an_id() {
    let all = vec![
        listed(Runtime::Docker, A, "beef", &[]),
        listed(Runtime::Docker, C, "x", &[]),
    ];
    assert_eq!(find("container:beef", all, vec![], &[]).unwrap(), [A]);
}

#[test]
fn an_id_needs_no_runtime() {
    let asked_nobody = |text: &str| find(text, vec![], vec![silent(Runtime::Docker)], &[A, C]);
    assert_eq!(asked_nobody(&format!("container:{A}")).unwrap(), [A]);
    assert_eq!(asked_nobody("container:beef").unwrap(), [C]);
}

#[test]
fn a_label_may_mean_several_and_any_value() {
    assert_eq!(
        find("container:label=app=x", two(), vec![], &[]).unwrap(),
        [A, B]
    );
    assert_eq!(
        find("container:label=tier", two(), vec![], &[]).unwrap(),
        [B]
    );
    assert!(find("container:label=tier=2", two(), vec![], &[]).is_err());
    assert_eq!(
        find("container:docker/label=app", two(), vec![], &[]).unwrap(),
        [A]
    );
}

#[test]
fn a_pod_is_its_containers_without_the_one_that_holds_its_namespaces() {
    let pods = vec![
        pod("web-0", false, A),
        pod("web-0", true, B),
        pod("web-1", false, C),
    ];
    assert_eq!(find("pod:default/web-0", pods, vec![], &[]).unwrap(), [A]);
}

#[test]
fn one_container_in_two_answers_is_one() {
    let mut below = listed(Runtime::Containerd, A, "", &[("kept", "y")]);
    below.names.clear();
    below.namespace = Some("moby".to_owned());
    let all = vec![below, listed(Runtime::Docker, A, "web", &[])];
    assert_eq!(
        find("container:web", all.clone(), vec![], &[]).unwrap(),
        [A]
    );
    assert_eq!(find("container:label=kept", all, vec![], &[]).unwrap(), [A]);
}

#[test]
fn each_way_of_finding_nobody_has_its_own_words() {
    let text = |containers, unheard| {
        let error = find("container:db", containers, unheard, &[]);
        error.unwrap_err().to_string()
    };
    assert!(
        text(two(), vec![])
            .starts_with("find container:db: no such container; asked docker, podman; `docker ps`")
    );
    assert!(text(vec![], vec![]).contains("no container runtime answers on this machine"));
    assert_eq!(
        text(two(), vec![silent(Runtime::Crio)]),
        "find container:db: ask cri-o at /run/x.sock: it does not answer within 2 s; see whether it is stopped \
         or overloaded"
    );
    let mut stopped = listed(Runtime::Docker, A, "db", &[]);
    stopped.is_running = false;
    assert!(
        text(vec![stopped], vec![]).contains("container docker/db (aaaa00000000) is not running")
    );
}
