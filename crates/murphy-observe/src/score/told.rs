//! What lines have told of one fault, from when it was planned until it was over.

use std::{collections::BTreeSet, net::SocketAddr};

use murphy_fault::{
    conn,
    net::{
        self,
        scope::{Cidr, Peer},
        spec,
    },
    process,
};
use murphy_sys::process::BootId;
use serde::Deserialize;
use serde_json::Value;

use super::{
    cause::Cause,
    injected::{Injected, Only, Seat},
};

/// What was told of one fault.
#[derive(Debug, Default)]
pub(super) struct Told {
    last: FaultLine,
    planned_ns: Option<u64>,
    active_ns: Option<u64>,
    end_ns: Option<u64>,
    has_failed: bool,
    places: Vec<Seat>,
    asked: Value,
    for_ns: Option<u64>,
    peers: BTreeSet<Cidr>,
    remotes: BTreeSet<Cidr>,
}

/// The line of a fault, of `murphy inject` or of a run.
#[derive(Debug, Default, Deserialize)]
pub(super) struct FaultLine {
    /// Its id; none of a command's failure.
    pub(super) id: Option<String>,
    #[serde(default)]
    family: String,
    #[serde(default)]
    fault: String,
    #[serde(default)]
    targets: Vec<String>,
    #[serde(default)]
    effect: Value,
    /// When it was said.
    pub(super) boottime_ns: Option<u64>,
    /// When, since the start of a run.
    pub(super) time: Option<u64>,
    /// Of which boot it is.
    pub(super) boot: Option<BootId>,
    #[serde(default)]
    asked: Value,
    #[serde(default)]
    places: Vec<Seat>,
    for_ns: Option<u64>,
}

impl Told {
    /// Takes in one more line of it.
    pub(super) fn take(&mut self, event: &str, at_ns: u64, line: FaultLine) {
        match event {
            "planned" => self.planned_ns = Some(at_ns),
            "active" => self.active_ns = self.active_ns.or(Some(at_ns)),
            "recovered" => self.end_ns = Some(at_ns),
            "failed" => {
                self.end_ns = Some(at_ns);
                // What has acted and left something behind has had its effect.
                let left = line.effect["left"].as_array();
                self.has_failed = left.is_none_or(Vec::is_empty);
            }
            _ => {}
        }
        let networks = |texts: Vec<&str>| -> Vec<Cidr> {
            texts.iter().filter_map(|text| text.parse().ok()).collect()
        };
        let peers = line.effect["peers"].as_array().into_iter().flatten();
        self.peers
            .extend(networks(peers.filter_map(Value::as_str).collect()));
        let cuts = line.effect["connections"].as_array().into_iter().flatten();
        let remotes = cuts.filter_map(|cut| cut["remote"].as_str());
        let remotes = remotes.filter_map(|text| text.parse::<SocketAddr>().ok());
        self.remotes
            .extend(remotes.map(|remote| Cidr::of(remote.ip())));
        if !line.asked.is_null() {
            self.asked = line.asked.clone();
        }
        if !line.places.is_empty() {
            self.places.clone_from(&line.places);
        }
        self.for_ns = self.for_ns.or(line.for_ns);
        self.last = line;
    }

    /// What was injected, by all its lines.
    pub(super) fn injected(&self, id: &str) -> Injected {
        let begin_ns = self
            .active_ns
            .or(self.planned_ns)
            .or(self.end_ns)
            .unwrap_or(0);
        let named = self.last.targets.iter().map(|name| Seat::named(name));
        let mut injected = Injected {
            id: id.to_owned(),
            fault: format!("{} {}", self.last.family, self.last.fault),
            targets: if self.places.is_empty() {
                named.collect()
            } else {
                self.places.clone()
            },
            begin_ns,
            end_ns: self
                .end_ns
                .or(self.for_ns.map(|lasts| begin_ns.saturating_add(lasts))),
            void: self.has_failed.then(|| "it had no effect".into()),
            ..Injected::default()
        };
        self.fill(&mut injected);
        // Whoever was killed is down until somebody starts him again; only a run says when that was.
        let is_down = self.last.family == "process" && self.last.fault != "restart";
        if is_down && injected.causes == [Cause::Kill] && self.last.time.is_none() {
            injected.end_ns = None;
        }
        injected
    }

    /// What was done, and to what.
    fn fill(&self, injected: &mut Injected) {
        let (spec, scope) = (&self.asked["spec"], &self.asked["scope"]);
        match self.last.family.as_str() {
            "net" => {
                if let (Ok(spec), Ok(scope)) =
                    (net::Spec::deserialize(spec), net::Scope::deserialize(scope))
                {
                    self.fill_net(injected, &spec, &scope);
                    return;
                }
            }
            "conn" => {
                if let (Ok(spec), Ok(scope)) = (
                    conn::Spec::deserialize(spec),
                    conn::Scope::deserialize(scope),
                ) {
                    injected.causes = Cause::of_conn(&spec);
                    injected.only = Only {
                        peers: peers_of(&scope.peers, &self.remotes),
                        ports: scope.ports,
                        local_ports: scope.local_ports,
                        remote_ports: scope.remote_ports,
                        side: scope.side,
                    };
                    return;
                }
            }
            "process" => {
                if let Ok(spec) = process::Spec::deserialize(spec) {
                    injected.causes = vec![Cause::of_process(&spec)];
                    return;
                }
            }
            _ => {}
        }
        if let Some(cause) = Cause::of_words(&self.last.family, &self.last.fault) {
            injected.causes = vec![cause];
        } else {
            injected.causes = vec![Cause::Other];
            let why = "its events do not say what was asked: they are of an older Murphy";
            injected.void = Some(why.into());
        }
    }

    fn fill_net(&self, injected: &mut Injected, spec: &net::Spec, scope: &net::Scope) {
        injected.causes = Cause::of_net(spec, scope);
        let has_way = injected.causes.iter().all(|cause| cause.has_way());
        injected.direction = has_way.then_some(spec.direction);
        let is_even = match spec.loss {
            Some(spec::Loss::Random(chance)) => chance.correlation.is_zero(),
            Some(spec::Loss::Every(_)) => true,
            // What is lost in bursts is told by fewer draws than packets.
            Some(spec::Loss::GilbertElliott(_)) | None => false,
        };
        let is_alone = injected.causes == [Cause::Loss] && spec.direction != spec::Direction::Both;
        let ratio = spec.loss.filter(|_| is_even && is_alone);
        injected.share = ratio.map(spec::Loss::ratio);
        injected.only = Only {
            peers: peers_of(&scope.peers, &self.peers),
            ports: scope.ports.clone(),
            local_ports: scope.local_ports.clone(),
            remote_ports: scope.remote_ports.clone(),
            side: None,
        };
    }
}

/// The networks of peers; those that were named otherwise have the addresses that were seen.
fn peers_of(peers: &[Peer], seen: &BTreeSet<Cidr>) -> Option<Vec<Cidr>> {
    if peers.is_empty() {
        return None;
    }
    let mut networks = Vec::new();
    for peer in peers {
        match peer {
            Peer::Network(network) => networks.push(*network),
            Peer::Target(_) | Peer::Host(_) if seen.is_empty() => return None,
            Peer::Target(_) | Peer::Host(_) => networks.extend(seen),
        }
    }
    Some(networks)
}
