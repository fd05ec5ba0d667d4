//! The ground of a lab is what exists before its services: the entry in the journal, the directory, the bridge, the
//! data of the database.

use std::{
    ffi::OsString,
    fs,
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::PathBuf,
};

use murphy_fault::{
    injector::Injector,
    journal::Entry,
    span::Until,
    undo::{TAG_VARIABLE, Undo},
};

use super::{LabError, directory, ended, error::refused, needs::Server, network::Network};

/// The ground.
#[derive(Debug)]
pub struct Ground {
    /// The lab in the journal.
    pub entry: Entry,
    /// The directory of the lab.
    pub directory: PathBuf,
    /// Its bridge.
    pub network: Network,
    /// What the database runs with.
    pub server: Server,
}

impl Ground {
    /// Begins the entry; nothing has changed when this returns.
    pub fn begin(injector: &Injector) -> Result<Entry, LabError> {
        let target = ended::target(&directory());
        let entry = injector.begin(ended::FAMILY, ended::FAULT, &[target], Until::Forever)?;
        Ok(entry)
    }

    /// Lays it out.
    pub fn lay_out(mut entry: Entry, server: Server) -> Result<Self, LabError> {
        let directory = directory();
        lay_out_directory(&mut entry, &directory)?;
        server.initialise(&directory.join("postgres"), &[tag(&entry)])?;
        Ok(Self {
            entry,
            directory,
            network: Network::create()?,
            server,
        })
    }

    /// The data of the database.
    pub fn data(&self) -> PathBuf {
        self.directory.join("postgres")
    }

    /// What a service says.
    pub fn log(&self, name: &str) -> PathBuf {
        self.directory.join("log").join(name)
    }

    /// The variable that marks every process of the lab.
    pub fn tag(&self) -> (OsString, OsString) {
        tag(&self.entry)
    }
}

fn tag(entry: &Entry) -> (OsString, OsString) {
    (TAG_VARIABLE.into(), entry.id().into())
}

fn lay_out_directory(entry: &mut Entry, directory: &PathBuf) -> Result<(), LabError> {
    // The database's user goes through it, whatever the mask of this process.
    let made = fs::DirBuilder::new()
        .recursive(true)
        .mode(0o755)
        .create(directory)
        .and_then(|()| fs::set_permissions(directory, fs::Permissions::from_mode(0o755)));
    made.map_err(refused("create", directory))?;
    let tree = Undo::remove_tree(directory).map_err(refused("look at", directory))?;
    let processes = Undo::EndTagged {
        tag: entry.id().to_owned(),
    };
    entry.protect(&[tree, processes])?;
    for name in ["log", "load"] {
        let path = directory.join(name);
        fs::create_dir(&path).map_err(refused("create", path))?;
    }
    Ok(())
}
