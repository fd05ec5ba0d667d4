//! Family `syscall`: calls of running programs fail, come late, or do half of what was asked.

pub mod names;
pub mod realism;
