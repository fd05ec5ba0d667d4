//! `murphy inject conn` ends connections of a target.

use std::{
    fs,
    num::NonZeroU32,
    path::PathBuf,
    time::{Duration, Instant},
};

use clap::{Args, ValueEnum};
use murphy_fault::{
    conn::{
        self, Asked, ConnError, Disconnected, Disconnection, Engine, Holder, How, Scope, Share,
        Side, Spec, scope,
    },
    net::{
        Hit,
        scope::{Cidr, Peer, Ports, ScopeError},
    },
    ratio::Ratio,
    span::Span,
};
use murphy_sys::connections::State;
use serde_json::json;

use crate::{
    exit::{Exit, Failure},
    output,
    verbs::{
        inject::aim::{Aim, interrupts, say_left_out, say_plan_and},
        injector,
        said::{self, Said},
    },
};

/// How often one in force is looked at: often while it is awaited that there are as many as before.
const LOOK_EVERY: Duration = Duration::from_millis(100);
const LOOK_OFTEN: Duration = Duration::from_millis(10);
/// How often its effect is said.
const SAY_EVERY: Duration = Duration::from_secs(1);

/// Arguments of `murphy inject conn`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  murphy inject conn -t container:db --port 5432 --rate 20%                 two of ten, once
  murphy inject conn -t container:db --local-port 5432 --count 1 --how close
  murphy inject conn -t container:db --port postgresql --rate 20% --every 2s --for 1m
  murphy inject conn -t pid:42 --remote-port 6379 --rate 100% --for 10s     and see when they are back
  murphy inject conn -t container:db --port 5432 --drop-rate 10% --drop-every 10s --for 1m
  murphy inject conn -t container:db --port 5432 --new 30% --how refuse --for 1m
  murphy inject conn -t netns:n1 --all-ports --idle 1m --rate 50% --how stall --for 1m
  murphy inject conn -t netns:n1 --port 80 --rate 20% --every 10s --for 2m --dry-run --plot p.svg

Exactly so many of the established connections end as the share says, rounded up, idle ones too; which
ones, the seed decides. The others see nothing of it. Where both ends of a connection are the target's, it counts once.
More: docs/faults/conn.md.")]
pub struct ConnArgs {
    /// End so many of them, rounded up: 20%, 0.2.
    #[arg(long, value_name = "RATIO", conflicts_with = "count")]
    pub rate: Option<Ratio>,

    /// End so many of them, or all if there are fewer.
    #[arg(long, value_name = "N")]
    pub count: Option<NonZeroU32>,

    /// Again and again after so long, drawn afresh from those that are there then.
    #[arg(long, value_name = "TIME", visible_alias = "drop-every")]
    pub every: Option<Span>,

    /// With --every: end at most this share of all that were ever there.
    #[arg(long, value_name = "RATIO", requires = "every")]
    pub cap: Option<Ratio>,

    /// Each connection that comes later ends with this chance, too, decided once.
    #[arg(long, value_name = "RATIO")]
    pub new: Option<Ratio>,

    /// Both at once: --rate and --new.
    #[arg(long, value_name = "RATIO", conflicts_with_all = ["rate", "count", "new"])]
    pub drop_rate: Option<Ratio>,

    /// How they end: reset, reset-local, reset-remote (one end is told), close (both read the end of the stream), refuse
    /// (new ones), stall (half open), after-bytes=64KiB, max-age=30s.
    #[arg(long, value_name = "HOW", default_value_t)]
    pub how: How,

    /// How those end that come later, where it is another way.
    #[arg(long, value_name = "HOW")]
    pub new_how: Option<How>,

    /// Only connections with this port on either side: 5432, 8000-8100, postgresql; repeatable, or with commas.
    #[arg(long = "port", value_name = "PORT", value_delimiter = ',', value_parser = port)]
    pub ports: Vec<Ports>,

    /// Only connections with this port on the target's side.
    #[arg(long = "local-port", value_name = "PORT", value_delimiter = ',', value_parser = port)]
    pub local_ports: Vec<Ports>,

    /// Only connections with this port on the other side.
    #[arg(long = "remote-port", value_name = "PORT", value_delimiter = ',', value_parser = port)]
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

    /// Only those that are known to be at least so old: 1m.
    #[arg(long, value_name = "TIME")]
    pub age: Option<Span>,

    /// Only those in this state, as ss has it: close-wait, syn-sent, …; established where nothing is said; repeatable.
    #[arg(long = "state", value_name = "STATE", value_delimiter = ',', value_parser = scope::state)]
    pub states: Vec<State>,

    /// Only those that this process of the target holds, by its pid or name; repeatable.
    #[arg(long = "process", value_name = "PROCESS")]
    pub holders: Vec<String>,

    /// All connections of the target, where neither ports nor peers are named.
    #[arg(long)]
    pub all_ports: bool,

    /// What ends sockets, instead of the first that works: `sock_destroy`, `iterator`.
    #[arg(long, value_name = "ENGINE")]
    pub engine: Option<Engine>,

    /// That there is none to end is no error.
    #[arg(long)]
    pub allow_none: bool,

    /// Even those of everybody in the network namespace of this machine itself.
    #[arg(long)]
    pub allow_host: bool,

    /// With --dry-run: write a picture of what each way of drawing would hit over time, SVG.
    #[arg(long, value_name = "FILE", requires = "dry_run")]
    pub plot: Option<PathBuf>,

    /// Who, and how long.
    #[command(flatten)]
    pub aim: Aim,
}

/// Who has asked for a connection.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum SideArg {
    /// The other end.
    Accepted,
    /// The target.
    Opened,
}

/// A port of TCP by its number or its name.
fn port(text: &str) -> Result<Ports, ScopeError> {
    Ports::of_service(text, "tcp")
}

impl ConnArgs {
    fn asked(&self) -> Asked {
        let rate = self.rate.or(self.drop_rate).map(Share::Rate);
        let cidrs = self.cidrs.iter().copied().map(Peer::Network);
        Asked {
            spec: Spec {
                share: rate.or(self.count.map(Share::Count)),
                how: self.how,
                every: self.every,
                cap: self.cap,
                new: self.new.or(self.drop_rate),
                new_how: self.new_how,
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
                age: self.age,
                states: self.states.clone(),
                holders: self.holders.iter().cloned().map(Holder::from).collect(),
            },
            all_ports: self.all_ports,
            engine: self.engine,
            seed: self.aim.seed(),
        }
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
    let asked = args.asked();
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
            "inject conn: --detach needs --for: what happens once leaves nothing in the background",
        ));
    }
    let (places, target) = args.aim.find_places(asked.seed)?;
    let hit = Hit {
        places,
        target: target.as_ref(),
        allow_host: args.allow_host,
    };
    if args.aim.dry_run {
        let (plan, forecast) = conn::plan(&asked, &hit, until).map_err(failure)?;
        if let Some(file) = &args.plot {
            let forecast = forecast.as_ref().ok_or_else(|| {
                Failure::input(
                    "inject conn: --plot shows draws of those that are there: say --rate or --count, and of what there is some",
                )
            })?;
            fs::write(file, forecast.svg()).map_err(|error| {
                Failure::machine(format!("write the picture {}: {error}", file.display()))
            })?;
        }
        return Ok(say_plan_and(&plan, forecast.as_ref(), json));
    }
    if let Some(target) = &target {
        say_left_out(target);
    }
    let interrupts = interrupts()?;
    let injector = injector()?;
    let fault = conn::words(&asked);
    let seed = asked.seed;
    let spoken = json!({"spec": asked.spec, "scope": asked.scope});
    let spoken = said::Asked::of(spoken, &hit.places, until);
    let names: Vec<_> = hit.places.iter().map(|place| place.name.clone()).collect();
    let mut disconnection =
        Disconnection::prepare(&injector, &hit, asked, until).map_err(failure)?;
    let id = disconnection.id().to_owned();
    let engine = disconnection.engines().to_owned();
    let said = Said {
        family: "conn",
        engine: &engine,
        id: &id,
        fault: &fault,
        targets: &names,
        asked: spoken,
        json,
    };
    said.planned();
    if let Err(error) = disconnection.begin(&hit) {
        said.ended("failed", &json!(disconnection.effect()));
        return Err(failure(error));
    }
    said.effect("active", &json!(disconnection.say().map_err(failure)?));
    if !json {
        output::line(&format!("{fault} (engine {engine}, seed {seed})   id {id}"));
        say_cuts(disconnection.effect());
    }
    let mut said_at = Instant::now();
    let mut kept = Ok(());
    while !(disconnection.left().is_zero() || disconnection.is_over()) {
        let wait = disconnection.left().min(disconnection.until_next());
        let often = if disconnection.is_awaited() {
            LOOK_OFTEN
        } else {
            LOOK_EVERY
        };
        match interrupts.wait(wait.min(often)) {
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
            "see any effect of {fault}: {}",
            effect.why_none()
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
