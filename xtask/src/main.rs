//! Work on the repository that needs code.
fn main() {}
