//! Murphy.
fn main() {}
