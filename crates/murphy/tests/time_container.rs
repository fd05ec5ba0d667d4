//! Of two containers of a real docker one is skewed: the other, the host, and a child inside each prove it.

#[path = "../../murphy-target/tests/runtimes/mod.rs"]
mod runtimes;

mod harness;
mod skewing;
mod victims;

use harness::Guard;
use murphy_sys::vdso::Timescale;
use runtimes::{Docker, until};
use serde_json::Value;
use skewing::is_pristine;
use victims::{Nanos, Program, SECOND, tolerance};

const HOUR: Nanos = 3600 * SECOND;

/// How far the host's wall clock is ahead of its monotonic one, which containers share.
fn host_ahead() -> Nanos {
    Timescale::Realtime.now_ns() - Timescale::Monotonic.now_ns()
}

/// By how much a container's clock is wrong, as its first process and that one's child say: the newest lines.
fn skews_of(docker: &Docker, name: &str) -> Option<(Nanos, Nanos)> {
    let said = docker.run(&["logs", "--tail", "20", name]);
    let newest = |prefix: &str| {
        let mut lines = said.lines().rev();
        let line = lines.find_map(|line| line.strip_prefix(prefix)?.strip_prefix("R "))?;
        let mut words = line.split(' ');
        let realtime: Nanos = words.next()?.parse().ok()?;
        let monotonic: Nanos = words.nth(1)?.parse().ok()?;
        Some(realtime - monotonic - host_ahead())
    };
    Some((newest("")?, newest("child ")?))
}

/// Waits until both processes of a container are wrong by so much.
fn becomes(docker: &Docker, name: &str, skew: Nanos) {
    let is = |seen: Nanos| (seen - skew).abs() < tolerance();
    until(&format!("{name} is {skew} ns wrong"), || {
        let (first, child) = skews_of(docker, name)?;
        (is(first) && is(child)).then_some(())
    });
}

fn is_untouched(docker: &Docker, name: &str) {
    becomes(docker, name, 0);
    assert!(is_pristine(docker.first(name)), "{name} is patched");
}

#[test]
fn one_of_two_containers_is_skewed_and_its_restart_follows() {
    let Some(guard) = Guard::root_or_skip() else {
        return;
    };
    let (Some(clock), Some(docker)) = (Program::CStatic.words_or_skip(), Docker::start_or_skip())
    else {
        return;
    };
    let volume = format!("{}:/clock:ro", clock[0].to_string_lossy());
    for name in ["web", "other"] {
        docker.container(name, &["--volume", &volume], "exec /clock child");
    }
    is_untouched(&docker, "web");
    is_untouched(&docker, "other");
    let skew = guard
        .murphy([
            "inject", "time", "--json", "--offset", "-1h", "--for", "10m",
        ])
        .args(["-t", "container:web"])
        .env(
            "DOCKER_HOST",
            format!("unix://{}", docker.socket().display()),
        )
        .start();
    becomes(&docker, "web", -HOUR);
    is_untouched(&docker, "other");
    let before = docker.first("web");
    docker.run(&["restart", "--time", "0", "web"]);
    assert_ne!(docker.first("web"), before);
    becomes(&docker, "web", -HOUR);
    is_untouched(&docker, "other");
    skew.signal("INT");
    let ended = skew.wait();
    assert_eq!(ended.code, 0, "{ended:?}");
    let last: Value = ended.lines().pop().expect("it says something");
    assert_eq!(last["event"], "recovered", "{last}");
    let processes = last["effect"]["processes"].as_array().expect("a list");
    assert!(
        processes.len() >= 4,
        "two before, two after the restart: {last}"
    );
    is_untouched(&docker, "web");
    is_untouched(&docker, "other");
}
