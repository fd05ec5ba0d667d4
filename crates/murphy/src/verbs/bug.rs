//! A bug is a panic: it is said in two lines and ends with an exit code of its own.

use std::{panic, process};

use crate::{exit::Exit, output};

/// From now on a panic anywhere ends the process with [`Exit::Bug`].
///
/// The faults in force are then the keeper's to undo, exactly as after a SIGKILL.
pub fn report_panics() {
    panic::set_hook(Box::new(|info| {
        output::note(&format!("murphy: bug: {info}"));
        output::note(
            "This is a mistake in Murphy, not in your system. What is in force is being undone.",
        );
        process::exit(i32::from(Exit::Bug as u8));
    }));
}
