//! Real servers with real pools of connections: what ends is as many as the servers themselves count, the pools come back,
//! and the servers keep nothing of what has ended, but where a session outlives its connection.

#[path = "../../murphy-sys/tests/wire/mod.rs"]
mod wire;

mod harness;
mod network;
mod victims;

use std::{
    ffi::OsString,
    io::{BufRead, BufReader, Read, Write},
    os::unix::net::UnixStream,
    path::PathBuf,
    sync::{LazyLock, Mutex},
};

use harness::{Guard, patience, say_skipped, wait_until};
use murphy_sys::{connections, namespace::NetNamespace};
use network::{Named, ip};
use serde_json::{Value, json};
use victims::{Heard, Line, postgres::Postgres, program::tool_or_skip};

/// How many connections a pool has, and for how many of them there is work now and then only.
const CONNECTIONS: u64 = 10;
const IDLE: u64 = 3;
/// For how many answers a pool that has come back is watched.
const ANSWERS: u64 = 200;

/// A network namespace with a name, in which servers and their clients are.
struct Stage {
    namespace: NetNamespace,
    named: Named,
    guard: Guard,
}

/// What a server itself says of the connections of a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Counted {
    /// How many it has.
    open: u64,
    /// How many it has ever had.
    came: u64,
}

/// A client with a pool, and the server's side of it.
struct Pool<'a> {
    stage: &'a Stage,
    client: Heard,
    port: u16,
    /// How many requests are under way on one connection.
    at_a_time: u64,
    server: &'a dyn Fn() -> Counted,
}

impl Stage {
    fn set_or_skip() -> Option<Self> {
        let guard = Guard::root_or_skip()?;
        let (named, namespaces) = Named::make(&guard, ["r".to_owned()]);
        let namespace = namespaces.into_iter().next().expect("one was made");
        assert!(ip(&["-n", named.name(0), "link", "set", "lo", "up"]));
        if let Err(error) = connections::trial(&namespace) {
            say_skipped(&error.to_string());
            return None;
        }
        Some(Self {
            namespace,
            named,
            guard,
        })
    }

    fn start(&self, words: Vec<OsString>) -> Heard {
        let started = self.namespace.run(|| Heard::start(&self.guard, words));
        started.expect("a namespace")
    }

    /// The program of `victims/pool` with these words.
    fn start_pool(&self, words: &str) -> Heard {
        let words = words.split(' ').map(OsString::from);
        let program = [PROGRAM.clone().into_os_string()];
        self.start(program.into_iter().chain(words).collect())
    }

    /// The last effect of a fault that must work.
    fn effect(&self, words: &str) -> Value {
        let words = format!("inject conn --json -t {} {words}", self.named.target(0));
        let ended = self.guard.murphy(words.split(' ')).run();
        assert_eq!(ended.code, 0, "{ended:?}");
        let last = ended.lines().pop().expect("it says something");
        assert_eq!(last["event"], "recovered", "{last}");
        last["effect"].clone()
    }
}

/// `victims/pool`.
static PROGRAM: LazyLock<PathBuf> = LazyLock::new(|| harness::program("pool"));

fn number(of: &Value, name: &str) -> u64 {
    let number = of[name].as_u64();
    number.unwrap_or_else(|| panic!("no {name} in {of}"))
}

fn parse(line: &Line) -> Value {
    serde_json::from_str(&line.text).unwrap_or_else(|error| panic!("{error} in {}", line.text))
}

/// The next figures of a program that satisfy something.
fn figures(of: &Heard, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
    of.wait_for(what, of.count(), |line| {
        let figures = parse(line);
        is_so(&figures).then_some(figures)
    })
}

impl<'a> Pool<'a> {
    /// One that has all its connections, and of which the server knows nothing else.
    fn connect(
        stage: &'a Stage,
        protocol: &str,
        port: u16,
        server: &'a dyn Fn() -> Counted,
    ) -> Self {
        let at_a_time = if protocol == "http2" { 2 } else { 1 };
        let words = format!("--connections {CONNECTIONS} --idle {IDLE}");
        let words = format!("ask {protocol} --at 127.0.0.1:{port} {words}");
        let pool = Self {
            stage,
            client: stage.start_pool(&words),
            port,
            at_a_time,
            server,
        };
        wait_until("the server has them all, and no others ever", || {
            server()
                == Counted {
                    open: CONNECTIONS,
                    came: CONNECTIONS,
                }
        });
        let calm = pool.after_more_answers();
        assert_eq!(number(&calm, "failed"), 0, "{calm}");
        pool
    }

    /// Its figures after some more requests have gone well.
    fn after_more_answers(&self) -> Value {
        let now = figures(&self.client, "it says figures", |_| true);
        let until = number(&now, "ok") + ANSWERS;
        figures(&self.client, "requests go well", |later| {
            number(later, "ok") > until
        })
    }

    /// Does this to it; its effect, when everybody agrees on how many have ended.
    fn suffers(&self, share: &str) -> Value {
        let effect = self.suffers_at_least(1, share);
        for cut in effect["connections"].as_array().expect("a list") {
            for what in ["closed", "reset_sent", "reset_received"] {
                assert_eq!(cut["evidence"][what], true, "{cut}");
            }
        }
        effect
    }

    /// The same, when at least so many requests fail by it.
    fn suffers_at_least(&self, least: u64, share: &str) -> Value {
        let (was, counted) = (self.after_more_answers(), (self.server)());
        let side = format!("--local-port {} --side accepted", self.port);
        let effect = self.stage.effect(&format!("{side} {share}"));
        assert_eq!(number(&effect, "before"), CONNECTIONS, "{effect}");
        assert_eq!(number(&effect, "before"), counted.open, "{counted:?}");
        let ended = number(&effect, "ended");
        // As many as have ended came again, and none stayed behind: the server has what the client has.
        let wanted = Counted {
            open: CONNECTIONS,
            came: counted.came + ended,
        };
        let what = format!("the server counts as many: {wanted:?}; {effect}");
        wait_until(&what, || (self.server)() == wanted);
        let healed = figures(&self.client, "the client counts as many", |now| {
            number(now, "opened") == number(&was, "opened") + ended
        });
        assert_eq!(number(&healed, "open"), CONNECTIONS, "{healed}");
        // Each that ended has failed no more than what was under way on it, and some had something under way.
        let failed = number(&healed, "failed") - number(&was, "failed");
        let most = ended * self.at_a_time;
        assert!((least..=most).contains(&failed), "{healed}");
        // What was under way is known of the connections, too; one may be answered between the look and its end.
        let unanswered = number(&effect, "unanswered");
        assert!(unanswered <= failed + 1, "{failed} failed: {effect}");
        let later = self.after_more_answers();
        assert_eq!(later["failed"], healed["failed"], "{later} after {healed}");
        assert_eq!((self.server)(), wanted, "{later}");
        // Murphy has seen the same in the kernel: as many came, and no end is left without the other.
        let recovery = &effect["recovery"];
        assert!(
            number(&recovery["connects"], "accepted") >= ended,
            "{effect}"
        );
        let nothing = json!({ "here": 0, "there": 0, "unknown": 0 });
        assert_eq!(recovery["leaked"], nothing, "{effect}");
        let nothing = json!({ "here": 0, "there": 0 });
        assert_eq!(recovery["close_wait"], nothing, "{effect}");
        effect
    }

    /// Two are closed as the server would do it: both ends read the end of the stream, and nobody is reset.
    fn survives_closes(&self) {
        // An idle one is replaced when there is work for it, and no request fails.
        let closed = self.suffers_at_least(0, "--how close --count 2 --for 5s");
        let figures = ["asked", "ended", "redrawn", "now"].map(|name| number(&closed, name));
        assert_eq!(figures, [2, 2, 0, 10], "{closed}");
        for cut in closed["connections"].as_array().expect("a list") {
            assert_eq!(cut["how"], "close", "{cut}");
            assert_eq!(cut["evidence"]["closed"], true, "{cut}");
        }
    }

    /// Half of it at once, then a fifth again and again; how many have ended in all.
    fn recovers(&self) -> u64 {
        let once = self.suffers("--rate 50% --for 5s");
        let draws = once["draws"].as_array().expect("a list");
        assert_eq!(draws.len(), 1, "{once}");
        assert!(draws[0]["recovered_ms"].is_u64(), "{once}");
        let figures = ["asked", "ended", "redrawn", "now"].map(|name| number(&once, name));
        assert_eq!(figures, [5, 5, 0, 10], "{once}");
        let again = self.suffers("--rate 20% --every 2s --for 8s");
        let draws = again["draws"].as_array().expect("a list");
        assert!((3..=4).contains(&draws.len()), "{again}");
        for draw in draws {
            let figures = ["of", "asked", "ended", "redrawn"].map(|name| number(draw, name));
            assert_eq!(figures, [10, 2, 2, 0], "{again}");
            assert!(draw["recovered_ms"].is_u64(), "{again}");
        }
        assert_eq!(number(&again, "now"), CONNECTIONS, "{again}");
        number(&once, "ended") + number(&again, "ended")
    }

    /// Goes away, and leaves nothing at the server.
    fn leaves(self) {
        self.client.terminate();
        wait_until("the server has none", || (self.server)().open == 0);
    }
}

#[test]
fn a_pool_of_postgresql_comes_back_and_the_server_counts_the_same() {
    let Some(stage) = Stage::set_or_skip() else {
        return;
    };
    let started = || Postgres::start_at_or_skip(&stage.guard, "127.0.0.1");
    let Some(postgres) = stage.namespace.run(started).expect("a namespace") else {
        return;
    };
    postgres.ask("create database pooled");
    let sessions = |what: &str| {
        let statement = format!("select {what} from pg_stat_database where datname = 'pooled'");
        postgres.ask(&statement).parse().expect("a number")
    };
    let backends = || -> u64 {
        let statement = "select count(*) from pg_stat_activity where datname = 'pooled'";
        postgres.ask(statement).parse().expect("a number")
    };
    let server = || Counted {
        open: backends(),
        came: sessions("sessions"),
    };
    let pool = Pool::connect(&stage, "postgres", 5432, &server);
    let ended = pool.recovers();
    // A session whose client is lost while it waits for a statement counts as abandoned, one that finds it out when it
    // answers as fatal.
    let lost = sessions("sessions_abandoned + sessions_fatal + sessions_killed");
    assert_eq!(lost, ended);
    pool.leaves();

    // A session that works on a long statement does not look at its connection: it outlives it.
    let mut words = postgres.client("psql");
    words.extend(["-h", "127.0.0.1", "-d", "pooled", "-c"].map(Into::into));
    words.push("select pg_sleep(600)".into());
    let psql = stage.start(words);
    let at_work = || -> u64 {
        let at_work = "datname = 'pooled' and state = 'active' and query like '%600%'";
        let statement = format!("select count(*) from pg_stat_activity where {at_work}");
        postgres.ask(&statement).parse().expect("a number")
    };
    wait_until("the statement runs", || at_work() == 1);
    let effect = stage.effect("--local-port 5432 --side accepted --rate 100% --for 1s");
    let figures = ["before", "ended", "now"].map(|name| number(&effect, name));
    assert_eq!(figures, [1, 1, 0], "{effect}");
    let (said, _) = psql.wait();
    assert_eq!(said.code, 2, "{said:?}");
    assert_eq!(at_work(), 1);
    postgres.stop();
}

/// Redis, asked over a Unix socket: whoever asks is none of those who come to its port.
struct Redis {
    server: Heard,
    admin: Mutex<BufReader<UnixStream>>,
}

impl Redis {
    fn start_or_skip(stage: &Stage, port: u16) -> Option<Self> {
        let program = tool_or_skip("redis-server")?;
        let dir = stage.guard.dir();
        let socket = dir.join("redis");
        let mut words = vec![program.into_os_string()];
        let settings = format!("--port {port} --bind 127.0.0.1 --appendonly no");
        words.extend(settings.split(' ').map(OsString::from));
        words.extend(["--save".into(), "".into(), "--dir".into(), dir.into()]);
        words.extend(["--unixsocket".into(), socket.clone().into()]);
        let server = stage.start(words);
        wait_until("Redis answers", || UnixStream::connect(&socket).is_ok());
        let admin = UnixStream::connect(&socket).expect("it has just answered");
        admin.set_read_timeout(Some(patience())).expect("a socket");
        Some(Self {
            server,
            admin: Mutex::new(BufReader::new(admin)),
        })
    }

    /// What a command gives that is answered with a text.
    fn ask(&self, command: &str) -> String {
        let mut admin = self.admin.lock().expect("nobody panics with it");
        let asked = admin
            .get_mut()
            .write_all(format!("{command}\r\n").as_bytes());
        asked.expect("it listens");
        let mut head = String::new();
        admin.read_line(&mut head).expect("an answer");
        let bytes = head.trim().strip_prefix('$').expect("a text");
        let bytes: usize = bytes.parse().expect("its length");
        let mut text = vec![0; bytes + 2];
        admin.read_exact(&mut text).expect("the text");
        String::from_utf8_lossy(&text).into_owned()
    }

    fn came(&self) -> u64 {
        let said = self.ask("INFO stats");
        let mut values = said.lines();
        let value = values.find_map(|line| line.strip_prefix("total_connections_received:"));
        value.expect("it counts them").parse().expect("a number")
    }

    fn open(&self) -> u64 {
        let said = self.ask("CLIENT LIST");
        let here = said
            .lines()
            .filter(|line| line.contains(" addr=127.0.0.1:"));
        here.count() as u64
    }
}

#[test]
fn a_pool_of_redis_comes_back_and_the_server_counts_the_same() {
    let Some(stage) = Stage::set_or_skip() else {
        return;
    };
    let Some(redis) = Redis::start_or_skip(&stage, 6379) else {
        return;
    };
    let own = redis.came();
    let server = || Counted {
        open: redis.open(),
        came: redis.came() - own,
    };
    let pool = Pool::connect(&stage, "redis", 6379, &server);
    pool.recovers();
    pool.leaves();
    redis.server.terminate();
}

fn http_comes_back(protocol: &str) {
    let Some(stage) = Stage::set_or_skip() else {
        return;
    };
    let http = stage.start_pool("serve --at 127.0.0.1:8080");
    figures(&http, "it listens", |_| true);
    let server = || {
        let now = figures(&http, "the server says figures", |_| true);
        Counted {
            open: number(&now, "open"),
            came: number(&now, "accepted"),
        }
    };
    let pool = Pool::connect(&stage, protocol, 8080, &server);
    pool.recovers();
    if protocol == "http1" {
        pool.survives_closes();
    }
    pool.leaves();
    http.terminate();
}

#[test]
fn clients_of_http1_that_keep_connections_come_back_and_the_server_counts_the_same() {
    http_comes_back("http1");
}

#[test]
fn clients_of_http2_with_requests_under_way_come_back_and_the_server_counts_the_same() {
    http_comes_back("http2");
}
