//! `murphy inject conn` ends connections of a target.

use std::{
    num::NonZeroU32,
    time::{Duration, Instant},
};

use clap::{Args, ValueEnum};
use murphy_fault::{
    conn::{self, Asked, ConnError, Disconnected, Disconnection, How, Scope, Share, Side, Spec},
    net::{
        Hit,
        scope::{Cidr, Peer, Ports},
    },
    ratio::Ratio,
    span::Span,
};
use serde_json::json;

use crate::{
    exit::{Exit, Failure},
    output,
    verbs::{
        inject::aim::{Aim, interrupts, say_left_out, say_plan},
        injector,
        said::Said,
    },
};

/// How often one in force is looked at, and how often its effect is said.
const LOOK_EVERY: Duration = Duration::from_millis(100);
const SAY_EVERY: Duration = Duration::from_secs(1);

/// Arguments of `murphy inject conn`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  murphy inject conn -t container:db --port 5432 --rate 20%                 two of ten, once
  murphy inject conn -t container:db --local-port 5432 --count 1 --how close
  murphy inject conn -t container:db --port 5432 --rate 20% --every 2s --for 1m
  murphy inject conn -t pid:42 --remote-port 6379 --rate 100% --for 10s     and see when they are back
  murphy inject conn -t netns:n1 --all-ports --idle 1m --rate 50% --dry-run

Exactly so many of the established connections end as the share says, rounded up, idle ones too; which
ones, the seed decides. The others see nothing of it. Where both ends of a connection are the target's, it counts once.
More: docs/faults/conn.md.")]
pub struct ConnArgs {
    /// End so many of them, rounded up: 20%, 0.2.
    #[arg(
        long,
        value_name = "RATIO",
        required_unless_present = "count",
        conflicts_with = "count"
    )]
    pub rate: Option<Ratio>,

    /// End so many of them, or all if there are fewer.
    #[arg(long, value_name = "N")]
    pub count: Option<NonZeroU32>,

    /// Again and again after so long, drawn afresh from those that are there then.
    #[arg(long, value_name = "TIME")]
    pub every: Option<Span>,

    /// With --every: end at most this share of all that were ever there.
    #[arg(long, value_name = "RATIO", requires = "every")]
    pub cap: Option<Ratio>,

    /// How they end: by `reset` both ends get an error, by `close` both read the end of the stream.
    #[arg(long, value_enum, default_value_t)]
    pub how: HowArg,

    /// Only connections with this port on either side: 5432, 8000-8100; repeatable, or with commas.
    #[arg(long = "port", value_name = "PORT", value_delimiter = ',')]
    pub ports: Vec<Ports>,

    /// Only connections with this port on the target's side.
    #[arg(long = "local-port", value_name = "PORT", value_delimiter = ',')]
    pub local_ports: Vec<Ports>,

    /// Only connections with this port on the other side.
    #[arg(long = "remote-port", value_name = "PORT", value_delimiter = ',')]
    pub remote_ports: Vec<Ports>,

    /// Only connections with this peer: another target (container:web), a host name, an address; repeatable.
    #[arg(long = "peer", value_name = "PEER")]
    pub peers: Vec<Peer>,

    /// Only connections with this network: 10.0.0.0/24; repeatable.
    #[arg(long = "cidr", value_name = "NETWORK")]
    pub cidrs: Vec<Cidr>,

    /// Only those that the target has accepted, or those that it has opened.
    #[arg(long, value_enum, value_name = "WHICH")]
    pub side: Option<SideArg>,

    /// Only those over which nothing has passed for so long: 1m.
    #[arg(long, value_name = "TIME")]
    pub idle: Option<Span>,

    /// All connections of the target, where neither ports nor peers are named.
    #[arg(long)]
    pub all_ports: bool,

    /// That there is none to end is no error.
    #[arg(long)]
    pub allow_none: bool,

    /// Even those of everybody in the network namespace of this machine itself.
    #[arg(long)]
    pub allow_host: bool,

    /// Who, and how long.
    #[command(flatten)]
    pub aim: Aim,
}

/// How a connection ends.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
pub enum HowArg {
    /// Both ends get an error.
    #[default]
    Reset,
    /// Both ends read the end of the stream.
    Close,
}

/// Who has asked for a connection.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum SideArg {
    /// The other end.
    Accepted,
    /// The target.
    Opened,
}

impl ConnArgs {
    fn asked(&self) -> Result<Asked, Failure> {
        let share = match (self.rate, self.count) {
            (Some(rate), None) => Share::Rate(rate),
            (None, Some(count)) => Share::Count(count),
            _ => {
                return Err(Failure::input(
                    "inject conn: say how many: --rate 20% or --count 2",
                ));
            }
        };
        let cidrs = self.cidrs.iter().copied().map(Peer::Network);
        Ok(Asked {
            spec: Spec {
                share,
                how: match self.how {
                    HowArg::Reset => How::Reset,
                    HowArg::Close => How::Close,
                },
                every: self.every,
                cap: self.cap,
            },
            scope: Scope {
                ports: self.ports.clone(),
                local_ports: self.local_ports.clone(),
                remote_ports: self.remote_ports.clone(),
                peers: self.peers.iter().cloned().chain(cidrs).collect(),
                side: self.side.map(|side| match side {
                    SideArg::Accepted => Side::Accepted,
                    SideArg::Opened => Side::Opened,
                }),
                idle: self.idle,
            },
            all_ports: self.all_ports,
            seed: self.aim.seed(),
        })
    }
}

fn failure(error: ConnError) -> Failure {
    if error.is_bad_input() {
        Failure::input(error)
    } else {
        Failure::machine(error)
    }
}

/// Injects it.
pub fn run(args: &ConnArgs, json: bool) -> Result<Exit, Failure> {
    let asked = args.asked()?;
    args.aim.check("conn")?;
    if !args.aim.command.is_empty() {
        return Err(Failure::input(
            "inject conn: a command that is launched has no connections yet; start it, and name it with -t",
        ));
    }
    let until = match args.aim.time {
        None => None,
        Some(_) => Some(args.aim.until("conn")?),
    };
    asked.check(until).map_err(failure)?;
    if args.aim.detached && until.is_none() {
        return Err(Failure::input(
            "inject conn: --detach needs --for or --every: what happens once leaves nothing in the background",
        ));
    }
    let (places, target) = args.aim.find_places(asked.seed)?;
    let hit = Hit {
        places,
        target: target.as_ref(),
        allow_host: args.allow_host,
    };
    if args.aim.dry_run {
        let plan = conn::plan(&asked, &hit, until).map_err(failure)?;
        return Ok(say_plan(&plan, json));
    }
    if let Some(target) = &target {
        say_left_out(target);
    }
    let interrupts = interrupts()?;
    let injector = injector()?;
    let fault = conn::words(&asked);
    let (seed, engine) = (asked.seed, asked.spec.how.engine());
    let names: Vec<_> = hit.places.iter().map(|place| place.name.clone()).collect();
    let mut disconnection =
        Disconnection::prepare(&injector, &hit, asked, until).map_err(failure)?;
    let id = disconnection.id().to_owned();
    let said = Said {
        family: "conn",
        engine,
        id: &id,
        fault: &fault,
        targets: &names,
        json,
    };
    said.planned();
    disconnection.begin().map_err(failure)?;
    said.effect("active", &json!(disconnection.say().map_err(failure)?));
    if !json {
        output::line(&format!("{fault} (engine {engine}, seed {seed})   id {id}"));
        say_cuts(disconnection.effect());
    }
    let mut said_at = Instant::now();
    let mut kept = Ok(());
    while !(disconnection.left().is_zero() || disconnection.is_over()) {
        let wait = disconnection.left().min(disconnection.until_next());
        match interrupts.wait(wait.min(LOOK_EVERY)) {
            Ok(true) => break,
            Ok(false) => {}
            Err(error) => {
                kept = Err(Failure::machine(format!("listen for Ctrl-C: {error}")));
                break;
            }
        }
        if disconnection.left().is_zero() {
            break;
        }
        match disconnection.follow() {
            Ok(has_drawn) if has_drawn || said_at.elapsed() > SAY_EVERY => {
                said_at = Instant::now();
                injector.mind_keeper().map_err(Failure::machine)?;
                let effect = disconnection.say().map_err(failure)?;
                said.effect("effect", &json!(effect));
            }
            Ok(_) => {}
            Err(error) => {
                kept = Err(failure(error));
                break;
            }
        }
    }
    let effect = disconnection.end().map_err(failure)?;
    let is_fine = effect.had_effect() || args.allow_none;
    said.ended(if is_fine { "recovered" } else { "failed" }, &json!(effect));
    if !json {
        output::line(&format!("ended: {}", effect.text()));
    }
    kept?;
    if is_fine {
        Ok(Exit::Held)
    } else {
        Err(Failure::machine(format!(
            "see any effect of {fault}: no connection matched; --allow-none makes that no error"
        )))
    }
}

/// How many connections are named to people.
const NAMED_MAX: usize = 10;

fn say_cuts(effect: &Disconnected) {
    for cut in effect.connections.iter().take(NAMED_MAX) {
        let owner = match &cut.owner {
            Some(owner) => format!("{} {}", owner.pid, owner.name),
            None => "held by nobody that was found".into(),
        };
        output::line(&format!(
            "  {}  {} to {}  {}  {owner}",
            cut.how,
            cut.local,
            cut.remote,
            cut.side.name()
        ));
    }
    if effect.ended > NAMED_MAX {
        output::line(&format!("  and {} more", effect.ended - NAMED_MAX));
    }
}
