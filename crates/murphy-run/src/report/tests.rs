use super::*;
use crate::report::sample;

const S: u64 = 1_000_000_000;

/// Where a person can look at the pages: only when asked for, by the name of a folder.
fn keep(name: &str, page: &str) {
    if let Some(folder) = std::env::var_os("MURPHY_KEEP_REPORTS") {
        let path = std::path::Path::new(&folder).join(format!("{name}.html"));
        std::fs::write(path, page).expect("the folder is there");
    }
}

#[test]
fn pages() {
    for (name, record) in [
        ("broken", sample::broken()),
        ("held", sample::held(60 * S)),
        ("held-1s", sample::held(S)),
        ("held-600s", sample::held(600 * S)),
        ("undecided", sample::undecided()),
    ] {
        let page = render(&record);
        keep(name, &page);
    }
}
