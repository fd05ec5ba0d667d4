//! Single connections broken by packet programs: what both applications see of it, and that their neighbours see nothing.

mod cut;
mod life;
mod scene;
mod stalled;
mod told;
#[path = "../wire/mod.rs"]
mod wire;
