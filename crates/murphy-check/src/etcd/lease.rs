//! Promise `lease.expiry`.

use super::{
    sweep::{Sweep, Truth},
    trouble::Trouble,
    words::Words,
};

pub(crate) const BASIS: &str = "lease";

pub(crate) fn judge(_: &Words<'_>, _: &Truth, _: &Sweep) -> (Option<Trouble>, u64, Option<String>) {
    (None, 0, None)
}
