//! Systems under test in namespaces, workloads, nemesis

#![forbid(unsafe_code)]
