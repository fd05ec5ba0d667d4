//! Metrics are what is observed as a Prometheus reads it: one [`table`] says what there is, and the rest is derived.
//!
//! What Coroot's agent has goes by its names and labels, so that rules and dashboards written for it hold; the rest begins
//! with `murphy_`. A ping that was lost is not a number (`NaN`), and one that was never sent is no sample at all. What
//! cannot be seen here is no sample, either: a zero is said only by what was looked at.

mod format;
mod labels;
mod own;
mod page;
mod table;
mod text;

pub use format::Format;
pub use labels::Labels;
pub use own::Own;
pub use page::page;
pub use table::{Kind, Metric, Source, TABLE, Unit, Value};
pub use text::{Family, Head, end, render, render_own};

#[cfg(test)]
mod tests;
