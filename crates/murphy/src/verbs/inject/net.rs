//! `murphy inject net` disturbs the packets of a target.

use std::{
    num::NonZeroU32,
    process::ExitStatus,
    time::{Duration, Instant},
};

use clap::{Args, ValueEnum};
use murphy_fault::{
    injector::Injector,
    net::{
        self, Asked, Disturbance, Disturbed, Engine, Hit, NetError, Place, Scope, Spec,
        scope::{Cidr, Device, Peer, Ports, Protocol},
        spec::{
            Chance, Delay, Direction, Distribution, GilbertElliott, Loss, LossUnit, Partition,
            Reorder, Shaper,
        },
    },
    process::{Launched, Start},
    rate::{BitRate, Bytes},
    ratio::Ratio,
    span::{Span, Until},
};
use murphy_sys::signal::Interrupts;
use murphy_target::{MAX_TARGETS, Selector, Target};
use serde_json::json;

use crate::{
    exit::{Exit, Failure},
    output::{self, plural},
    verbs::{
        inject::aim::{Aim, interrupts, launch_failure, say_left_out, say_plan, target_failure},
        injector,
        said::{self, Said},
    },
};

/// How often a fault in force is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How often its effect is said.
const SAY_EVERY: Duration = Duration::from_secs(1);

/// Arguments of `murphy inject net`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  murphy inject net -t netns:n1 --delay 50ms --jitter 10ms --direction both --peer container:web --for 1m
  murphy inject net -t netns:n1 --partition --for 30s                     nothing leaves n1
  murphy inject net -t container:web --loss 30% --cidr 10.0.0.0/24 --port 5432 --for 1m
  murphy inject net -t container:db --partition --peer container:web --direction both --for 30s
  murphy inject net -t netns:n1 --gilbert-elliott p=1%,r=10% --for 1m     losses in bursts
  murphy inject net -t netns:n1 --duplicate 5% --protocol udp --for 1m
  murphy inject net --loss 30% --for 1m -- ./client                        a command, from its first packet

What is hit is the network namespace of the target, in IPv4 and IPv6; ARP and neighbour discovery
pass unless --arp is said. Of a process in the machine's own namespace, and of a command, only its own
packets are lost. Every packet is counted where it is lost. More: docs/faults/net.md.")]
pub struct NetArgs {
    /// Have packets take so much longer: 50ms.
    #[arg(long, value_name = "TIME")]
    pub delay: Option<Span>,

    /// How far delays lie around that: half the width, or one standard deviation.
    #[arg(long, value_name = "TIME", requires = "delay")]
    pub jitter: Option<Span>,

    /// How much one packet's delay is that of the one before.
    #[arg(long, value_name = "RATIO", requires = "jitter")]
    pub correlation: Option<Ratio>,

    /// How delays lie around it: uniform, normal, pareto, paretonormal, or a table of tc's (a path with a slash).
    #[arg(long, value_name = "NAME", requires = "jitter")]
    pub distribution: Option<Distribution>,

    /// Let so many packets overtake those that are delayed.
    #[arg(long, value_name = "RATIO", requires = "delay")]
    pub reorder: Option<Ratio>,

    /// How much one packet's overtaking is that of the one before.
    #[arg(long, value_name = "RATIO", requires = "reorder")]
    pub reorder_correlation: Option<Ratio>,

    /// Only every nth packet may overtake.
    #[arg(long, value_name = "N", requires = "reorder")]
    pub reorder_gap: Option<NonZeroU32>,

    /// Let so much pass: 10mbit (bits), 1mbps (bytes a second).
    #[arg(long, value_name = "RATE")]
    pub rate: Option<BitRate>,

    /// So much may pass at once after a pause: 32KiB.
    #[arg(long, value_name = "BYTES", requires = "rate")]
    pub burst: Option<Bytes>,

    /// So much may wait for the rate: 1MiB; what comes then is dropped.
    #[arg(long, value_name = "BYTES", requires = "rate")]
    pub limit: Option<Bytes>,

    /// Change one bit of so many packets.
    #[arg(long, value_name = "RATIO")]
    pub corrupt: Option<Ratio>,

    /// How much one packet's corruption is that of the one before.
    #[arg(long, value_name = "RATIO", requires = "corrupt")]
    pub corrupt_correlation: Option<Ratio>,

    /// Lose so many packets: 30%, 0.3.
    #[arg(long, value_name = "RATIO", group = "losses")]
    pub loss: Option<Ratio>,

    /// How much one packet's loss is that of the one before; the share stays.
    #[arg(long, value_name = "RATIO", requires = "loss")]
    pub loss_correlation: Option<Ratio>,

    /// Lose packets in bursts: p=1%,r=10%[,bad=100%][,good=0%].
    #[arg(long, value_name = "MODEL", group = "losses")]
    pub gilbert_elliott: Option<GilbertElliott>,

    /// Lose every nth packet.
    #[arg(long, value_name = "N", group = "losses")]
    pub loss_every: Option<NonZeroU32>,

    /// What is lost as one: what the kernel handles as one packet, or what is one on a wire.
    #[arg(long, value_enum, requires = "losses", default_value_t)]
    pub loss_unit: LossUnitArg,

    /// Send so many packets twice.
    #[arg(long, value_name = "RATIO")]
    pub duplicate: Option<Ratio>,

    /// How much one packet's duplication is that of the one before.
    #[arg(long, value_name = "RATIO", requires = "duplicate")]
    pub duplicate_correlation: Option<Ratio>,

    /// Let nothing pass: by `drop` senders are not told, by `reject` they are.
    #[arg(
        long,
        value_name = "HOW",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "drop"
    )]
    pub partition: Option<PartitionArg>,

    /// Which way, seen from the target.
    #[arg(long, value_enum, default_value_t)]
    pub direction: DirectionArg,

    /// Only to and from this peer: another target (container:web), a host name, an address; repeatable.
    #[arg(long = "peer", value_name = "PEER")]
    pub peers: Vec<Peer>,

    /// Only to and from this network: 10.0.0.0/24; repeatable.
    #[arg(long = "cidr", value_name = "NETWORK")]
    pub cidrs: Vec<Cidr>,

    /// Only packets with this port on either side: 5432, 8000-8100; repeatable, or with commas.
    #[arg(long = "port", value_name = "PORT", value_delimiter = ',')]
    pub ports: Vec<Ports>,

    /// Only packets with this port on the target's side.
    #[arg(long = "local-port", value_name = "PORT", value_delimiter = ',')]
    pub local_ports: Vec<Ports>,

    /// Only packets with this port on the other side.
    #[arg(long = "remote-port", value_name = "PORT", value_delimiter = ',')]
    pub remote_ports: Vec<Ports>,

    /// Only this protocol: tcp, udp, sctp, icmp, or a number.
    #[arg(long, value_name = "PROTOCOL")]
    pub protocol: Option<Protocol>,

    /// Also the packets by which neighbours are found: ARP, neighbour discovery.
    #[arg(long)]
    pub arp: bool,

    /// Only on this device of the target's namespace; on all but the loopback by default; repeatable.
    #[arg(long = "device", value_name = "NAME")]
    pub devices: Vec<Device>,

    #[arg(long, value_name = "ENGINE", help = engines())]
    pub engine: Option<Engine>,

    /// Hit even the network namespace of this machine itself.
    #[arg(long)]
    pub allow_host: bool,

    /// Who, and how long.
    #[command(flatten)]
    pub aim: Aim,
}

/// Which way, seen from the target.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
pub enum DirectionArg {
    /// What it sends.
    #[default]
    To,
    /// What it is sent.
    From,
    /// Both.
    Both,
}

/// What becomes of packets that may not pass.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum PartitionArg {
    /// They vanish.
    Drop,
    /// Their sender is told.
    Reject,
}

/// What is lost as one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LossUnitArg {
    /// Up to 64 KiB of a TCP stream.
    #[default]
    Packet,
    /// At most an MTU.
    Segment,
}

/// What is said of `--engine`.
fn engines() -> String {
    let names = Engine::ALL.map(Engine::name).join(", ");
    format!("By this engine ({names}); by default the best that does what is asked and works here")
}

impl NetArgs {
    fn spec(&self) -> Spec {
        let chance = |ratio: Option<Ratio>, correlation: Option<Ratio>| {
            ratio.map(|ratio| Chance {
                ratio,
                correlation: correlation.unwrap_or_default(),
            })
        };
        let delay = self.delay.map(|base| Delay {
            base,
            jitter: self.jitter.unwrap_or(Span(Duration::ZERO)),
            correlation: self.correlation.unwrap_or_default(),
            distribution: self.distribution.clone().unwrap_or_default(),
        });
        let reorder = chance(self.reorder, self.reorder_correlation).map(|chance| Reorder {
            chance,
            gap: self.reorder_gap.unwrap_or(NonZeroU32::MIN),
        });
        let rate = self.rate.map(|rate| {
            let usual = Shaper::at(rate);
            Shaper {
                rate,
                burst: self.burst.unwrap_or(usual.burst),
                limit: self.limit.unwrap_or(usual.limit),
            }
        });
        let random = chance(self.loss, self.loss_correlation).map(Loss::Random);
        Spec {
            loss: random
                .or(self.gilbert_elliott.map(Loss::GilbertElliott))
                .or(self.loss_every.map(Loss::Every)),
            duplicate: chance(self.duplicate, self.duplicate_correlation),
            partition: self.partition.map(|how| match how {
                PartitionArg::Drop => Partition::Drop,
                PartitionArg::Reject => Partition::Reject,
            }),
            direction: match self.direction {
                DirectionArg::To => Direction::To,
                DirectionArg::From => Direction::From,
                DirectionArg::Both => Direction::Both,
            },
            loss_unit: match self.loss_unit {
                LossUnitArg::Packet => LossUnit::Packet,
                LossUnitArg::Segment => LossUnit::Segment,
            },
            corrupt: chance(self.corrupt, self.corrupt_correlation),
            delay,
            reorder,
            rate,
        }
    }

    fn scope(&self) -> Scope {
        let cidrs = self.cidrs.iter().copied().map(Peer::Network);
        Scope {
            peers: self.peers.iter().cloned().chain(cidrs).collect(),
            ports: self.ports.clone(),
            local_ports: self.local_ports.clone(),
            remote_ports: self.remote_ports.clone(),
            protocol: self.protocol,
            arp: self.arp,
            devices: self.devices.clone(),
        }
    }
}

fn failure(error: NetError) -> Failure {
    if error.is_bad_input() {
        Failure::input(error)
    } else {
        Failure::machine(error)
    }
}

/// Injects it.
pub fn run(args: &NetArgs, json: bool) -> Result<Exit, Failure> {
    let asked = Asked {
        spec: args.spec(),
        scope: args.scope(),
        engine: args.engine,
        seed: args.aim.seed(),
    };
    asked.spec.check().map_err(Failure::input)?;
    asked.scope.check().map_err(Failure::input)?;
    args.aim.check("net")?;
    let until = args.aim.until("net")?;
    if !args.aim.command.is_empty() {
        return launch(args, asked, until, json);
    }
    let (places, target) = args.aim.find_places(asked.seed)?;
    let hit = Hit {
        places,
        target: target.as_ref(),
        allow_host: args.allow_host,
    };
    if args.aim.dry_run {
        let plan = net::plan(&asked, &hit, until).map_err(failure)?;
        return Ok(say_plan(&plan, json));
    }
    if let Some(target) = &target {
        say_left_out(target);
    }
    Stage::new(until, json)?.disturb(&hit, asked, None)
}

/// Launches a command whose packets are disturbed from its first one on.
fn launch(args: &NetArgs, asked: Asked, until: Until, json: bool) -> Result<Exit, Failure> {
    if args.aim.dry_run {
        let command = args.aim.command_line();
        let plan = net::plan_of_launch(&asked, &command, until).map_err(failure)?;
        return Ok(say_plan(&plan, json));
    }
    let asked = Asked {
        engine: Some(asked.engine_for_launch().map_err(failure)?),
        ..asked
    };
    let stage = Stage::new(until, json)?;
    // Without a time of its own: it would run while the command is still held.
    let start = Start {
        held: true,
        ..args.aim.output(json).into()
    };
    let mut launched = Launched::start(&stage.injector, args.aim.command.clone(), start)
        .map_err(launch_failure)?;
    let outcome = stage.disturb_launched(&mut launched, asked);
    let left = launched.end();
    if left.is_empty() {
        outcome
    } else {
        Err(Failure::cleanup(left.join("; ")))
    }
}

/// What a disturbance needs besides its target.
struct Stage {
    injector: Injector,
    interrupts: Interrupts,
    until: Until,
    json: bool,
}

impl Stage {
    fn new(until: Until, json: bool) -> Result<Self, Failure> {
        Ok(Self {
            interrupts: interrupts()?,
            injector: injector()?,
            until,
            json,
        })
    }

    /// Disturbs the packets of a held command, in a cgroup of its own.
    fn disturb_launched(&self, launched: &mut Launched, asked: Asked) -> Result<Exit, Failure> {
        let directory = launched.seclude().map_err(launch_failure)?;
        // Whoever is there is the command, whatever it starts.
        let target = Target::find(&[Selector::Cgroup(directory)], MAX_TARGETS, []);
        let target = target.map_err(target_failure)?;
        let hit = Hit {
            places: Place::of_members(&target.members),
            target: Some(&target),
            allow_host: false,
        };
        self.disturb(&hit, asked, Some(launched))
    }

    fn disturb(
        &self,
        hit: &Hit<'_>,
        asked: Asked,
        mut launched: Option<&mut Launched>,
    ) -> Result<Exit, Failure> {
        let fault = net::words(&asked.spec, &asked.scope);
        let seed = asked.seed;
        let spoken = json!({"spec": asked.spec, "scope": asked.scope});
        let spoken = said::Asked::of(spoken, &hit.places, Some(self.until));
        let names: Vec<_> = hit.places.iter().map(|place| place.name.clone()).collect();
        let disturbance = Disturbance::inject(&self.injector, hit, asked, self.until);
        let mut disturbance = disturbance.map_err(failure)?;
        let id = disturbance.id().to_owned();
        let said = Said {
            family: "net",
            engine: disturbance.engine().name(),
            id: &id,
            fault: &fault,
            targets: &names,
            asked: spoken,
            json: self.json,
        };
        said.planned();
        let effect = disturbance.say().map_err(failure)?;
        said.effect("active", &json!(effect));
        if !self.json {
            self.say_active(&fault, &said, seed, &effect);
        }
        let kept = self.keep(&mut disturbance, &said, launched.as_deref_mut());
        let taken_back = disturbance.is_over();
        let effect = disturbance.end().map_err(failure)?;
        let mut value = json!(effect);
        if let Ok(Some(status)) = &kept {
            value["command_ended"] = json!(status.to_string());
        }
        if !effect.left.is_empty() {
            said.ended("failed", &value);
            return Err(Failure::cleanup(effect.left.join("; ")).hint(format!(
                "`murphy recover {id}` when what stands in the way is gone."
            )));
        }
        let command_ended = kept?;
        let had_effect = effect.had_effect();
        said.ended(if had_effect { "recovered" } else { "failed" }, &value);
        if !self.json {
            say_ended(&effect, taken_back);
            if launched.is_some() {
                output::line(&match command_ended {
                    Some(status) => format!("the command ended by itself, {status}"),
                    None => "the command is ended with the fault".into(),
                });
            }
        }
        if had_effect {
            Ok(Exit::Held)
        } else {
            Err(Failure::machine(format!(
                "see any effect of {fault}: no packet matched"
            )))
        }
    }

    /// Waits until the disturbance is over, whoever ends it, and keeps it current meanwhile. A launched command begins
    /// now that it is in force; says how it has ended, if that was the end.
    fn keep(
        &self,
        disturbance: &mut Disturbance,
        said: &Said<'_>,
        mut launched: Option<&mut Launched>,
    ) -> Result<Option<ExitStatus>, Failure> {
        if let Some(launched) = &launched {
            disturbance.begin_again().map_err(failure)?;
            launched.go().map_err(launch_failure)?;
        }
        let mut said_at = Instant::now();
        loop {
            let left = disturbance.left();
            let interrupted = self
                .interrupts
                .wait(left.min(LOOK_EVERY))
                .map_err(|error| Failure::machine(format!("listen for Ctrl-C: {error}")))?;
            if let Some(launched) = &mut launched
                && let Some(status) = launched.ended().map_err(launch_failure)?
            {
                return Ok(Some(status));
            }
            if interrupted || disturbance.left().is_zero() || disturbance.is_over() {
                return Ok(None);
            }
            let is_new = disturbance.heed().map_err(failure)?;
            disturbance.follow();
            if is_new || said_at.elapsed() > SAY_EVERY {
                said_at = Instant::now();
                self.injector.mind_keeper().map_err(Failure::machine)?;
                let effect = disturbance.say().map_err(failure)?;
                said.effect("effect", &json!(effect));
            }
        }
    }

    fn say_active(&self, fault: &str, said: &Said<'_>, seed: u64, effect: &Disturbed) {
        output::line(&format!(
            "{fault} ({}, engine {}, seed {seed})   id {}",
            plural(effect.places.len() as u64, "namespace"),
            said.engine,
            said.id
        ));
        for place in &effect.places {
            output::line(&format!("  {}  {}", place.name, place.devices.join(" ")));
        }
        for group in &effect.groups {
            output::line(&format!("  cgroup  {group}"));
        }
        if !effect.peers.is_empty() {
            output::line(&format!("  peers  {}", effect.peers.join(" ")));
        }
        if let Some(rehearsal) = &effect.rehearsal {
            output::line(&format!("  ping  {}", rehearsal.text()));
        }
        output::line(&match self.until {
            Until::After(span) => format!("active: ends after {span}, or at Ctrl-C"),
            Until::Forever => "active: ends at Ctrl-C".into(),
        });
    }
}

fn say_ended(effect: &Disturbed, taken_back: bool) {
    let by = if taken_back {
        " (taken back by somebody else)"
    } else {
        ""
    };
    output::line(&format!("ended{by}: {}", effect.text()));
    for trouble in &effect.troubles {
        output::note(&format!("murphy: warning: failed to {trouble}"));
    }
}
