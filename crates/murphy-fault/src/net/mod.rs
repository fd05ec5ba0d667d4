//! Family `net`: packets of a target are delayed, lost, duplicated, corrupted, reordered, slowed down or refused.

pub mod line;
pub mod scope;
pub mod spec;
