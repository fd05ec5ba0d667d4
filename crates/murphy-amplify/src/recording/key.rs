//! A key is what calls are told apart by, but for what they return: calls of one key share their denominator.

use std::fmt;

use murphy_sys::{
    census::{self, Kind, Operation},
    syscalls::Call,
};

/// What calls are told apart by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// Which call.
    pub call: Call,
    /// What it is asked to do, where that is told apart.
    pub operation: Option<Operation>,
    /// What its descriptor leads to; none where it has none, or one that leads to nothing.
    pub kind: Option<Kind>,
    /// Whether it returns at once where it would have to wait; none without a descriptor.
    pub nonblocking: Option<bool>,
}

impl From<census::Key> for Key {
    fn from(key: census::Key) -> Self {
        let census::Key {
            call,
            operation,
            kind,
            nonblocking,
            errno: _,
        } = key;
        Self {
            call,
            operation,
            kind,
            nonblocking,
        }
    }
}

impl fmt::Display for Key {
    /// As the table of `murphy amplify record` has it: `read pipe*` does not wait.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.call)?;
        if let Some(operation) = self.operation {
            write!(f, ":{operation}")?;
        }
        if let Some(kind) = self.kind {
            write!(f, " {kind}")?;
        }
        f.write_str(if self.nonblocking == Some(true) {
            "*"
        } else {
            ""
        })
    }
}
