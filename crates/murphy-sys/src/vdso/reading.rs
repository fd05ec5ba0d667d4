//! A reading of a process's clocks changes nothing there, stops nobody and waits for nobody.
//!
//! Only Murphy's own hook is read: what somebody else has written into a page is no code that Murphy would run.

use std::{fs::File, os::unix::fs::FileExt};

use super::{
    Image,
    image::base,
    view::{Shift, ViewError, namespace_shifts, shifts},
};

/// How far the clocks of a process are from those of this one: by a hook of Murphy's in its page, or else by its time
/// namespace. Empty where they are the same, or where it cannot be read: it has ended, or another tool was there.
pub fn shifts_of(pid: u32) -> Result<Vec<Shift>, ViewError> {
    match hooked_page(pid) {
        Some(page) => shifts(&page),
        None => namespace_shifts(pid),
    }
}

/// The page of a process, if it is this kernel's with this Murphy's hook, whole and in force.
fn hooked_page(pid: u32) -> Option<Vec<u8>> {
    let image = Image::own().ok()?;
    let base = base(pid)?;
    let file = File::open(format!("/proc/{pid}/mem")).ok()?;
    let mut page = vec![0; image.pristine.len()];
    file.read_exact_at(&mut page, base).ok()?;
    let code = image.data_at - image.hook_at;
    let mut expected = image.pristine.clone();
    for (at, jump) in image.jumps {
        expected[at..at + jump.len()].copy_from_slice(&jump);
    }
    expected[image.hook_at..image.data_at].copy_from_slice(&image.hook[..code]);
    // The data are the injection's, and behind them is nothing that runs.
    let data_end = image.hook_at + image.hook.len();
    expected[image.data_at..data_end].copy_from_slice(&page[image.data_at..data_end]);
    (expected == page).then_some(page)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_is_as_the_kernel_made_him_has_the_clocks_of_this_machine() {
        let mut child = std::process::Command::new("sleep")
            .arg("60")
            .spawn()
            .unwrap();
        let seen = shifts_of(child.id());
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(seen.unwrap(), []);
        assert_eq!(hooked_page(child.id()), None);
    }
}
