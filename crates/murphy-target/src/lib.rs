//! Targets: who is hit, found from one selector string

#![forbid(unsafe_code)]
