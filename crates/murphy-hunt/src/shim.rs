//! TEMPORARY
use std::path::Path;
#[derive(Debug)]
pub struct Injector;
#[derive(Debug, thiserror::Error)]
#[error("x")]
pub struct FaultError;
pub struct Protection(std::path::PathBuf);
impl Injector {
    pub fn protect_lab(&self, _t: &str, data: &Path) -> Result<Protection, FaultError> {
        Ok(Protection(data.into()))
    }
    pub fn signal(&self, pid: u32, s: &str) {
        std::process::Command::new("kill")
            .arg(format!("-{s}"))
            .arg(pid.to_string())
            .status()
            .unwrap();
    }
}
impl Protection {
    pub fn tag(&self) -> &str {
        "abcdef"
    }
    pub fn end(&self) -> Vec<String> {
        let _ = std::fs::remove_dir_all(&self.0);
        vec![]
    }
}
