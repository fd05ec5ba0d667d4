//! Probes of pages, ports and figures, against servers that are there.

use std::time::Duration;

use super::{PATIENCE, SHORT, failure, outcome, passed_with, prober};
use crate::probe::{
    Outcome, Reason,
    victim::{Deaf, Says, Victim, page},
};

const PASSED: Outcome = Outcome::Passed { value: None };

#[test]
fn a_page_is_asked_for_as_it_is_written() {
    let victim = Victim::page("200 OK", "all is well");
    let at = victim.at;
    let text = format!("http://me:p%40ss@{at}/a%20b?x=1 method=POST body~is (well|fine)$");
    assert_eq!(outcome(&text), PASSED);
    let asked = victim.asked().concat();
    assert!(asked.starts_with("POST /a%20b?x=1 HTTP/1.1\r\n"), "{asked}");
    assert!(asked.contains(&format!("host: {at}\r\n")), "{asked}");
    assert!(
        asked.contains("authorization: Basic bWU6cEBzcw==\r\n"),
        "{asked}"
    );
}

#[test]
fn a_page_passes_by_its_status_and_body() {
    let victim = Victim::page("404 Not Found", "nothing here");
    let look = |options: &str| prober(&format!("http://{}/ {options}", victim.at), PATIENCE).look();
    assert_eq!(look("status=404").outcome, PASSED);
    assert_eq!(look("status=4xx body!~ERROR").outcome, PASSED);
    assert_eq!(
        failure(look("")),
        (Reason::BadStatus, "404 Not Found: nothing here".into())
    );
    assert_eq!(
        failure(look("status=4xx body~ready")),
        (Reason::BadBody, r#"no "ready" in: nothing here"#.into())
    );
    assert_eq!(
        failure(look("status=4xx body!~nothing")),
        (Reason::BadBody, r#""nothing" in: nothing here"#.into())
    );
}

#[test]
fn no_more_of_a_body_is_read_than_has_its_place() {
    let body = format!("begin{}end", "x".repeat(3 << 20));
    let victim = Victim::page("200 OK", &body);
    let look = |options: &str| outcome(&format!("http://{}/ {options}", victim.at));
    assert_eq!(look("body~begin"), PASSED);
    // What lies behind is not searched.
    assert_eq!(look("body!~end"), PASSED);
}

#[test]
fn an_answer_that_is_cut_short_is_none() {
    let whole = page("200 OK", "all is well");
    for cut in [0, 10, whole.len() - 1] {
        let victim = Victim::web(Says::Once(whole[..cut].to_vec()));
        let (reason, detail) = failure(prober(&format!("http://{}", victim.at), PATIENCE).look());
        assert_eq!(reason, Reason::Ended, "{cut}: {detail}");
    }
    let victim = Victim::web(Says::Hold(whole[..10].to_vec()));
    let (reason, _) = failure(prober(&format!("http://{}", victim.at), SHORT).look());
    assert_eq!(reason, Reason::TimedOut);
}

#[test]
fn a_prober_looks_again_after_every_failure() {
    let deaf = Deaf::new();
    let mut refused = prober(&format!("http://{}", deaf.at), PATIENCE);
    for _ in 0..3 {
        assert_eq!(failure(refused.look()).0, Reason::Refused);
    }
    let victim = Victim::page("200 OK", "");
    let mut prober = prober(&format!("http://{}", victim.at), PATIENCE);
    let looks = [prober.look(), prober.look()];
    assert!(looks.iter().all(|look| look.outcome == PASSED));
    assert!(looks[0].at_ns + looks[0].took_ns <= looks[1].at_ns);
    // Each on a connection of its own.
    assert_eq!(victim.asked().len(), 2);
}

#[test]
fn a_port_says_what_is_expected() {
    let victim = Victim::port(Says::Hold(b"220 mail ready\r\n".to_vec()));
    let at = victim.at;
    assert_eq!(outcome(&format!("tcp:{at}")), PASSED);
    assert_eq!(outcome(&format!("tcp:{at}~^220 ")), PASSED);
    let mut other = prober(&format!("tcp:{at}~^250"), Duration::from_secs(2));
    assert_eq!(
        failure(other.look()),
        (Reason::BadBanner, "220 mail ready".into())
    );
    // It is read only as far as a banner goes.
    let endless = Victim::port(Says::Hold(vec![b'x'; 1 << 16]));
    let (reason, detail) = failure(prober(&format!("tcp:{}~y", endless.at), PATIENCE).look());
    assert_eq!((reason, detail.len()), (Reason::BadBanner, 200));
}

#[test]
fn a_figure_is_compared_with_its_bound() {
    let up = r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{"__name__":"up","instance":"127.0.0.1:9100","job":"murphy"},"value":[1763919131.781,"1"]}]}}"#;
    let victim = Victim::page("200 OK", up);
    let look = |rest: &str| {
        let text = format!("prometheus:http://{}/prom {rest}", victim.at);
        prober(&text, PATIENCE).look()
    };
    assert_eq!(look(r#"up{job="murphy"} == 1"#).outcome, passed_with(1.0));
    let asked = victim.asked().concat();
    assert!(
        asked.starts_with("GET /prom/api/v1/query?query=up%7Bjob%3D%22murphy%22%7D HTTP/1.1\r\n"),
        "{asked}"
    );
    assert_eq!(
        failure(look("up == 0")),
        (
            Reason::OutOfBounds,
            r#"up{instance="127.0.0.1:9100",job="murphy"} is 1, not == 0"#.into()
        )
    );
}
