//! New connections are refused by chance: real clients are told so, real servers never hear of them, and the counters say
//! how many there were.

mod accepted;
#[path = "../crew/mod.rs"]
mod crew;
mod ends;
mod foreign;
mod life;
mod opened;
#[path = "../wire/mod.rs"]
mod wire;
