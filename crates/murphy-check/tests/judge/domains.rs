//! What clients ask of each model, and what they may be answered.

use super::play::Domain;

/// Each word with its requests and its answers, as JSON, separated by blanks.
fn domain(words: &[(&'static str, &str, &str)]) -> Domain {
    let split = |text: &str| {
        text.split_whitespace()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let requests = words.iter().flat_map(|(f, asks, answers)| {
        split(asks)
            .into_iter()
            .map(move |ask| (*f, ask, split(answers)))
    });
    Domain {
        requests: requests.collect(),
    }
}

pub fn register() -> Domain {
    domain(&[
        ("read", "null null", "null 1 2 3"),
        ("write", "1 2 3", "null"),
    ])
}

/// Many values: most histories have each once, and go to the monitor.
pub fn register_distinct() -> Domain {
    domain(&[
        ("read", "null null null null", "null 1 2 3 4 5 6 7 8"),
        ("write", "1 2 3 4 5 6 7 8", "null"),
    ])
}

pub fn cas_register() -> Domain {
    domain(&[
        ("read", "null null", "null 1 2 3"),
        ("write", "1 2 3", "null"),
        ("cas", "[1,2] [2,3] [3,1] [2,2] [null,1]", "true false"),
    ])
}

pub fn multi_register() -> Domain {
    domain(&[
        ("read", r#""x" "y""#, r#"["x",null] ["x",1] ["x",2]"#),
        ("write", r#"["x",1] ["y",2] ["x",null]"#, "null"),
        (
            "txn",
            r#"[["w","x",1],["w","y",1]]"#,
            r#"[["w","x",1],["w","y",1]]"#,
        ),
        (
            "txn",
            r#"[["r","x",null],["r","y",null]]"#,
            r#"[["r","x",null],["r","y",null]] [["r","x",1],["r","y",1]] [["r","x",1],["r","y",null]] [["r","x",2],["r","y",1]] [["r","x",1],["r","y",2]]"#,
        ),
        (
            "txn",
            r#"[["r","y",null],["w","x",2]]"#,
            r#"[["r","y",null],["w","x",2]] [["r","y",1],["w","x",2]] [["r","y",2],["w","x",2]]"#,
        ),
        ("txn", "[]", "[]"),
    ])
}

fn key_value_of(key: &str, answers: &str) -> Vec<(&'static str, String, Vec<String>)> {
    let answers = (answers.split_whitespace()).map(|answer| format!(r#"["{key}",{answer}]"#));
    vec![("get", format!(r#"["{key}"]"#), answers.collect())]
}

pub fn key_value() -> Domain {
    let mut domain = domain(&[
        ("put", r#"["x","a"] ["x","b"] ["y","a"] ["x",""]"#, "null"),
        (
            "append",
            r#"["x","a"] ["x","b"] ["y","a"] ["x",""]"#,
            "null",
        ),
        ("delete", r#"["x"] ["y"]"#, "null"),
        ("cas", r#"["x",["a","b"]] ["x",["","ab"]]"#, "true false"),
    ]);
    for key in ["x", "x", "x", "y"] {
        domain
            .requests
            .extend(key_value_of(key, r#"null "a" "b" "ab" "ba" "aa" "aab""#));
    }
    domain
}

/// Reads and writes alone, of which sessions may expect something.
pub fn key_value_plain() -> Domain {
    let mut domain = domain(&[
        (
            "put",
            r#"["x","a"] ["x","b"] ["x","c"] ["y","a"] ["y","b"] ["y",1]"#,
            "null",
        ),
        ("delete", r#"["x"]"#, "null"),
    ]);
    for _ in 0..3 {
        domain
            .requests
            .extend(key_value_of("x", r#"null "a" "b" "c""#));
        domain
            .requests
            .extend(key_value_of("y", r#"null "a" "b" 1"#));
    }
    domain
}

pub fn mutex() -> Domain {
    domain(&[
        ("acquire", "null null", "null 1 2 3 4"),
        ("release", "null null", "null"),
        ("access", "1 2 3", "null"),
    ])
}

pub fn container(put: &'static str, take: &'static str) -> Domain {
    domain(&[
        (put, "1 2 3", "null true 7"),
        (take, "null null null", "null 1 2 3 4"),
    ])
}

/// Values that mostly come once, for the monitors.
pub fn container_distinct(put: &'static str, take: &'static str) -> Domain {
    domain(&[
        (put, "1 2 3 4 5 6 7 8 9", "null"),
        (
            take,
            "null null null null null null null",
            "null 1 2 3 4 5 6 7 8 9",
        ),
    ])
}

pub fn set() -> Domain {
    domain(&[
        ("add", "1 2 3", "null true false"),
        ("remove", "1 2", "null true false"),
        ("contains", "1 2 3", "true false"),
        (
            "read",
            "null null",
            "[] [1] [2] [1,2] [3] [1,3] [2,3] [1,2,3]",
        ),
    ])
}

/// Without reads of everything.
pub fn set_of_values() -> Domain {
    domain(&[
        ("add", "1 2 3 4", "true false"),
        ("remove", "1 2", "true false"),
        ("contains", "1 2 3 4", "true false"),
    ])
}

pub fn counter() -> Domain {
    domain(&[
        (
            "add",
            "1 1 2 0 -1",
            r#"null {"value":0} {"value":1} {"value":2} {"value":3} {"value":4}"#,
        ),
        ("read", "null null", "-1 0 1 2 3 4 5"),
    ])
}

pub fn bank() -> Domain {
    domain(&[
        (
            "read",
            "null null null null",
            r#"{"1":3,"2":0} {"1":2,"2":1} {"1":1,"2":2} {"1":0,"2":3} {"1":4,"2":-1}"#,
        ),
        (
            "transfer",
            r#"{"from":1,"to":2,"amount":1} {"from":2,"to":1,"amount":1} {"from":"1","to":"2","amount":2} {"from":1,"to":1,"amount":1}"#,
            "null",
        ),
    ])
}

pub fn log() -> Domain {
    domain(&[
        ("append", "1 2", "null 0 1 2 3"),
        ("read", "0 1 2", "null 1 2"),
        (
            "scan",
            "0 1 9",
            "[] [1] [2] [1,2] [2,1] [1,1] [2,2] [1,2,1]",
        ),
    ])
}

pub fn unique_ids() -> Domain {
    domain(&[("generate", "null", "1 2 3 4 5 6 7 8 9")])
}
