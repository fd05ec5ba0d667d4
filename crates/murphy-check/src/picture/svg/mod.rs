//! Draws a figure as SVG: clients as lanes, invocations as bars, faults as bands behind them, the longest legal order
//! as a numbered path, and a time axis that is broken where nothing happens.
//!
//! Nothing is told by colour alone: what clashes has a thick edge, what cannot come next a dashed one and a cross, what
//! failed is struck through, and what may act later has an end that fades.

mod bars;
mod drawing;
mod file;
mod ground;
mod order;

pub use file::{CSS, document, inline};
