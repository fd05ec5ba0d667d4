//! Services in named network namespaces: plain processes of this machine, each with a network of its own.

use std::{
    fs::{self, File},
    path::Path,
    process::{Child, Stdio},
};

use murphy_fault::undo::Undo;
use murphy_sys::{
    namespace::NetNamespace,
    process::ProcessId,
    spawn::{Launch, Spawner},
};

use super::{
    LabError,
    error::refused,
    figures,
    ground::Ground,
    member::{MEMBERS, Member, POSTGRES},
    state::Running,
};

/// The processes; they die with this, or with this process.
#[derive(Debug)]
pub struct Namespaces {
    children: Vec<(&'static Member, Child)>,
    _spawner: Spawner,
}

impl Namespaces {
    /// Starts every service.
    pub fn start(ground: &mut Ground, program: &Path) -> Result<Self, LabError> {
        let spawner = Spawner::start().map_err(|source| LabError::Process {
            action: "start a thread",
            source,
        })?;
        let mut children = Vec::new();
        for member in MEMBERS {
            let namespace = name(ground, member)?;
            ground.network.join(member, &namespace)?;
            let child = launch(ground, member, &namespace, program)?;
            children.push((member, spawner.spawn(child)?));
        }
        Ok(Self {
            children,
            _spawner: spawner,
        })
    }

    /// Who runs.
    pub fn running(&self) -> Result<Vec<Running>, LabError> {
        let running = self.children.iter().map(|(member, child)| {
            Ok(Running {
                name: member.name.into(),
                target: format!("netns:{}", member.namespace()),
                process: ProcessId::of(child.id())?,
            })
        });
        running.collect()
    }

    /// Takes note of who has ended.
    pub fn reap(&mut self) {
        for (_, child) in &mut self.children {
            // One that has ended is waited for, and the status says that it is gone.
            let _ = child.try_wait();
        }
    }
}

/// Makes the namespace of a member and names it.
fn name(ground: &mut Ground, member: &Member) -> Result<NetNamespace, LabError> {
    let namespace = NetNamespace::create()?;
    let path = member.namespace_path();
    // The directory is `ip netns`'s: made by whoever needs it first, and left.
    if let Some(names) = path.parent() {
        fs::create_dir_all(names).map_err(refused("create", names))?;
    }
    let undo = Undo::unname(&namespace, &path).map_err(refused("look at", &path))?;
    ground.entry.change(&[undo], || namespace.name(&path))??;
    Ok(namespace)
}

fn launch(
    ground: &Ground,
    member: &Member,
    namespace: &NetNamespace,
    program: &Path,
) -> Result<Launch, LabError> {
    let argv = if member.name == POSTGRES.name {
        ground.server.words_alone(&ground.data())
    } else {
        let mut argv = vec![program.into()];
        argv.extend(member.arguments(&figures(&ground.directory)));
        argv
    };
    let path = ground.log(member.name);
    let log = File::create(&path).map_err(refused("create", &path))?;
    let mut launch = Launch::new(argv);
    launch.env.push(ground.tag());
    launch.net = Some(namespace.descriptor());
    launch.stdout = Stdio::from(log.try_clone().map_err(refused("open", &path))?);
    launch.stderr = Stdio::from(log);
    launch.die_with_parent = true;
    launch.own_group = true;
    Ok(launch)
}
