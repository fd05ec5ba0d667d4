//! Faults: journal, keeper, recovery, doctor, one folder per family

#![forbid(unsafe_code)]
