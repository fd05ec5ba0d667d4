//! One execution: schedule, events, run folder, verdict, report

#![forbid(unsafe_code)]
