//! Sockets that answer badly, not at all, or with what CRI-O was recorded to say.

mod runtimes;

use std::{
    collections::BTreeMap,
    fs,
    os::unix::{
        fs::PermissionsExt,
        net::{UnixListener, UnixStream},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::{Child, Command},
    thread,
    time::{Duration, Instant},
};

use prost::Message;

use murphy_sys::table::ProcessTable;
use murphy_target::{ANSWER_LIMIT, MAX_TARGETS, Runtime, Runtimes, Target, TargetError};
use runtimes::{Ground, has};

fn find(runtimes: Runtimes, text: &str) -> Result<Target, TargetError> {
    Target::find_asking(&[text.parse().unwrap()], MAX_TARGETS, [], runtimes)
}

fn said(runtimes: Runtimes, text: &str) -> String {
    find(runtimes, text).unwrap_err().to_string()
}

#[test]
fn a_runtime_that_takes_the_question_and_says_nothing_is_left_after_the_limit() {
    let dir = tempfile::tempdir().unwrap();
    let all = [
        Runtime::Docker,
        Runtime::Podman,
        Runtime::Containerd,
        Runtime::Crio,
    ];
    let sockets = all.map(|runtime| (runtime, dir.path().join(runtime.to_string())));
    let _listening: Vec<UnixListener> = sockets
        .iter()
        .map(|(_, path)| UnixListener::bind(path).unwrap())
        .collect();
    let began = Instant::now();
    for (runtime, path) in sockets.clone() {
        let text = said(Runtimes::at([(runtime, path.clone())]), "container:web");
        let wanted = format!(
            "find container:web: ask {runtime} at {}: it does not answer within 2 s",
            path.display()
        );
        assert!(text.starts_with(&wanted), "{text}");
    }
    assert!(began.elapsed() >= ANSWER_LIMIT * 4);
    // All of them at once take as long as one.
    let began = Instant::now();
    said(Runtimes::at(sockets), "pod:default/web");
    assert!(began.elapsed() < ANSWER_LIMIT * 3);
}

#[test]
fn a_socket_that_nobody_listens_at_is_no_runtime() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("docker.sock");
    drop(UnixListener::bind(&path).unwrap());
    let text = said(Runtimes::at([(Runtime::Docker, path)]), "container:web");
    assert!(
        text.contains("no container runtime answers on this machine"),
        "{text}"
    );
}

#[test]
fn an_answer_that_is_none_is_shown() {
    use std::io::{Read, Write};
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("docker.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let answering = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut question = [0; 512];
        let _ = stream.read(&mut question).unwrap();
        let answer = "HTTP/1.1 500 Internal Server Error\r\nContent-Length: 18\r\n\r\n{\"message\":\"no..\"}";
        stream.write_all(answer.as_bytes()).unwrap();
    });
    let text = said(Runtimes::at([(Runtime::Docker, path)]), "container:web");
    assert!(
        text.contains("it answers 500 Internal Server Error"),
        "{text}"
    );
    answering.join().unwrap();
}

#[test]
fn a_socket_that_murphy_may_not_use_says_so() {
    if !has(&[]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let path = dir.path().join("docker.sock");
    let _listening = UnixListener::bind(&path).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    // Root may use any socket, so this test goes on as somebody else.
    let program = dir.path().join("somebody");
    fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    let told = Command::new(&program)
        .args(["--exact", "as_somebody_else", "--nocapture"])
        .current_dir("/")
        .env("MURPHY_TEST_SOCKET", &path)
        .uid(65534)
        .gid(65534)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&told.stdout);
    let wanted = format!(
        "ask docker at {}: permission denied; run as root",
        path.display()
    );
    assert!(text.contains(&wanted), "{text}");
}

/// The other half of `a_socket_that_murphy_may_not_use_says_so`; by itself it has nothing to do.
#[test]
#[allow(clippy::print_stdout, reason = "the other half reads it")]
fn as_somebody_else() {
    let Some(path) = std::env::var_os("MURPHY_TEST_SOCKET") else {
        return;
    };
    println!(
        "{}",
        said(
            Runtimes::at([(Runtime::Docker, path.into())]),
            "container:web"
        )
    );
}

/// What a server of CRI answers to `ListContainers`, with the fields Murphy does not read too. See
/// `cri-api/pkg/apis/runtime/v1/api.proto` of Kubernetes.
#[derive(Clone, PartialEq, prost::Message)]
struct ListContainersResponse {
    #[prost(message, repeated, tag = "1")]
    containers: Vec<Container>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Container {
    #[prost(string, tag = "1")]
    id: String,
    #[prost(string, tag = "2")]
    pod_sandbox_id: String,
    #[prost(message, optional, tag = "3")]
    metadata: Option<Metadata>,
    #[prost(message, optional, tag = "4")]
    image: Option<Image>,
    #[prost(string, tag = "5")]
    image_ref: String,
    #[prost(int32, tag = "6")]
    state: i32,
    #[prost(int64, tag = "7")]
    created_at: i64,
    #[prost(btree_map = "string, string", tag = "8")]
    labels: BTreeMap<String, String>,
    #[prost(btree_map = "string, string", tag = "9")]
    annotations: BTreeMap<String, String>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Metadata {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(uint32, tag = "2")]
    attempt: u32,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Image {
    #[prost(string, tag = "1")]
    image: String,
}

fn container(id: &str, pod: &str, name: &str) -> Container {
    let labels = [
        ("io.kubernetes.container.name", name),
        ("io.kubernetes.pod.name", pod),
        ("io.kubernetes.pod.namespace", "shop"),
        ("io.kubernetes.pod.uid", "4a4c"),
    ];
    let labels = labels.map(|(key, value)| (key.to_owned(), value.to_owned()));
    Container {
        id: id.to_owned(),
        pod_sandbox_id: "5a".repeat(32),
        metadata: Some(Metadata {
            name: name.to_owned(),
            attempt: 1,
        }),
        image: Some(Image {
            image: "registry/app:1".to_owned(),
        }),
        image_ref: "app@sha256:00".to_owned(),
        state: 1,
        created_at: 1_700_000_000_000_000_000,
        labels: labels.into(),
        annotations: [("io.kubernetes.container.hash".to_owned(), "7".to_owned())].into(),
    }
}

/// Serves one answer to whatever is asked over gRPC, until the test process ends.
fn replay(path: &Path, method: &'static str, answer: Vec<u8>) {
    let listener = UnixListener::bind(path).unwrap();
    listener.set_nonblocking(true).unwrap();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let listener = tokio::net::UnixListener::from_std(listener).unwrap();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(serve(stream, method, answer.clone()));
            }
        });
    });
}

async fn serve(stream: tokio::net::UnixStream, method: &'static str, answer: Vec<u8>) {
    let Ok(mut connection) = h2::server::handshake(stream).await else {
        return;
    };
    while let Some(Ok((request, mut respond))) = connection.accept().await {
        let status = if request.uri().path() == method {
            "0"
        } else {
            "12"
        };
        let response = http::Response::builder()
            .header("content-type", "application/grpc")
            .body(())
            .unwrap();
        let mut stream = respond.send_response(response, false).unwrap();
        let length = u32::try_from(answer.len()).unwrap();
        let mut frame = vec![0];
        frame.extend(length.to_be_bytes());
        frame.extend(&answer);
        stream.send_data(frame.into(), false).unwrap();
        let mut trailers = http::HeaderMap::new();
        trailers.insert("grpc-status", status.parse().unwrap());
        stream.send_trailers(trailers).unwrap();
    }
}

/// A process in a cgroup of this name below the ground's own.
struct Grouped {
    child: Child,
}

impl Grouped {
    fn start(ground: &Ground, below: &str) -> Self {
        let child = Command::new("sleep").arg("1000").spawn().unwrap();
        let tree = freezer();
        let group = tree.join(ground.group()).join(below);
        fs::create_dir_all(&group).unwrap();
        fs::write(group.join("cgroup.procs"), child.id().to_string()).unwrap();
        Self { child }
    }
}

impl Drop for Grouped {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The tree in which a test makes groups: version 1's freezer, or version 2.
fn freezer() -> PathBuf {
    let found = murphy_sys::cgroup::Hierarchies::find().unwrap();
    let legacy = found.controller("freezer").map(Path::to_owned);
    legacy.or(found.unified).unwrap()
}

#[test]
fn a_pod_of_cri_o_is_found_by_what_it_was_recorded_to_say() {
    if !has(&[]) {
        return;
    }
    let ground = Ground::new();
    let (app, side, other) = ("a1".repeat(32), "b2".repeat(32), "c3".repeat(32));
    let pod = "kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod4a4c.slice";
    let start = |id: &str| Grouped::start(&ground, &format!("{pod}/crio-{id}.scope"));
    let (in_app, in_side, in_other) = (start(&app), start(&side), start(&other));
    let conmon = Grouped::start(&ground, &format!("{pod}/crio-conmon-{app}.scope"));

    let answer = ListContainersResponse {
        containers: vec![
            container(&app, "web-0", "app"),
            container(&side, "web-0", "side"),
            container(&other, "web-1", "other"),
        ],
    };
    let path = ground.path("crio.sock");
    let method = "/runtime.v1.RuntimeService/ListContainers";
    replay(&path, method, answer.encode_to_vec());
    let crio = Runtimes::at([(Runtime::Crio, path)]);
    let pids = |text: &str| {
        let target = find(crio.clone(), text).unwrap();
        let mut pids: Vec<u32> = target.processes().map(|process| process.pid).collect();
        pids.sort_unstable();
        pids
    };
    let mut both = vec![in_app.child.id(), in_side.child.id()];
    both.sort_unstable();
    assert_eq!(pids("pod:shop/web-0"), both);
    assert_eq!(pids("container:cri-o/app"), [in_app.child.id()]);
    assert_eq!(pids("container:other"), [in_other.child.id()]);
    // Without the socket too, by id; and never whoever only watches the container.
    let target = find(Runtimes::default(), &format!("container:{app}")).unwrap();
    assert_eq!(target.members.len(), 1);
    assert_ne!(target.members[0].process.pid, conmon.child.id());
    let container = target.members[0].container.as_ref().unwrap();
    assert_eq!(container.runtime, Some(Runtime::Crio));
    drop((in_app, in_side, in_other, conmon));
}

#[test]
fn following_is_not_held_up_by_a_runtime_that_falls_silent() {
    if !has(&[]) {
        return;
    }
    let ground = Ground::new();
    let app = "d4".repeat(32);
    let group = format!("x/crio-{app}.scope");
    let first = Grouped::start(&ground, &group);
    let answer = ListContainersResponse {
        containers: vec![container(&app, "web-0", "app")],
    };
    let path = ground.path("crio.sock");
    let method = "/runtime.v1.RuntimeService/ListContainers";
    replay(&path, method, answer.encode_to_vec());
    let crio = Runtimes::at([(Runtime::Crio, path.clone())]);
    let mut tree = find(crio, "pod:shop/web-0").unwrap().follow();
    fs::remove_file(&path).unwrap();
    let _silent = UnixListener::bind(&path).unwrap();
    thread::sleep(Duration::from_millis(1100));
    let began = Instant::now();
    tree.newcomers(&ProcessTable::read().unwrap());
    let second = Grouped::start(&ground, &group);
    let new = tree.newcomers(&ProcessTable::read().unwrap());
    assert_eq!(new.len(), 1);
    assert_eq!(new[0].process.pid, second.child.id());
    assert!(began.elapsed() < ANSWER_LIMIT);
    // The question was put all the same.
    assert!(UnixStream::connect(&path).is_ok());
    drop((first, second));
}
