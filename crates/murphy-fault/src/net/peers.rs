//! Peers are resolved to addresses, again and again while they are meant: a restarted container has another one, and
//! so may a name.

use std::{
    collections::BTreeSet,
    fs,
    net::IpAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use hickory_resolver::{
    TokioResolver,
    config::{LookupIpStrategy, ResolveHosts, ResolverConfig, ResolverOpts},
    name_server::TokioConnectionProvider,
    system_conf::parse_resolv_conf,
};
use murphy_sys::{link, traffic::Network};
use murphy_target::{MAX_TARGETS, Selector, Target};

use super::{
    NetError,
    place::Place,
    scope::{Cidr, Peer},
};

/// The addresses of all peers, seen from some places.
pub(crate) fn resolve(peers: &[Peer], places: &[Place]) -> Result<BTreeSet<Network>, NetError> {
    let mut networks = BTreeSet::new();
    for peer in peers {
        let before = networks.len();
        match peer {
            Peer::Network(cidr) => {
                networks.insert(network(*cidr));
            }
            Peer::Host(name) => {
                for place in places {
                    networks.extend(of_host(name, place)?.into_iter().map(single));
                }
            }
            Peer::Target(selector) => {
                networks.extend(of_target(selector)?.into_iter().map(single));
            }
        }
        if networks.len() == before && !matches!(peer, Peer::Network(_)) {
            return Err(NetError::NoAddress(peer.to_string()));
        }
    }
    Ok(networks)
}

fn network(cidr: Cidr) -> Network {
    (cidr.network().addr(), cidr.network().prefix_len())
}

fn single(address: IpAddr) -> Network {
    // An address of IPv4 in IPv6's clothes is on the wire as what it is.
    network(Cidr::of(address.to_canonical()))
}

/// The addresses of the namespaces that a target is in.
fn of_target(selector: &Selector) -> Result<Vec<IpAddr>, NetError> {
    let places = if let Some(place) = Place::named(selector) {
        vec![place?]
    } else {
        let target = Target::find(std::slice::from_ref(selector), MAX_TARGETS, [])?;
        Place::of_members(&target.members)
    };
    let mut addresses = Vec::new();
    for place in places {
        addresses.extend(link::addresses(&place.namespace)?);
    }
    Ok(addresses)
}

/// The addresses of a host as somebody in a place would find them: by its own files, over its own network. Murphy reads
/// those files itself: a name service of the target's would run the target's code.
fn of_host(name: &str, place: &Place) -> Result<Vec<IpAddr>, NetError> {
    let directories = directories_of(place);
    let read = |file: &str| {
        let mut files = directories.iter().map(|etc| etc.join(file));
        let text = files.find_map(|path| fs::read_to_string(path).ok());
        text.unwrap_or_default()
    };
    let known = in_hosts(&read("hosts"), name);
    if !known.is_empty() {
        return Ok(known);
    }
    let refused = |why: String| NetError::Name {
        name: name.to_owned(),
        place: place.name.clone(),
        why,
    };
    let (servers, options) =
        parse_resolv_conf(read("resolv.conf")).map_err(|error| refused(error.to_string()))?;
    let asked = place.namespace.run(|| ask(servers, options, name))?;
    asked.map_err(refused)
}

/// Where somebody in a place finds what is in `/etc`, the first that has it: `ip netns exec NAME` shows what is in
/// `/etc/netns/NAME` there; see `ip-netns(8)`.
fn directories_of(place: &Place) -> Vec<PathBuf> {
    match (&place.process, &place.selector) {
        (Some(process), _) => vec![format!("/proc/{}/root/etc", process.pid).into()],
        (None, Some(Selector::Netns(name))) if !name.contains('/') => {
            vec![Path::new("/etc/netns").join(name), "/etc".into()]
        }
        (None, _) => vec!["/etc".into()],
    }
}

/// Asks the name servers, from the namespace of the calling thread.
fn ask(
    servers: ResolverConfig,
    mut options: ResolverOpts,
    name: &str,
) -> Result<Vec<IpAddr>, String> {
    options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
    options.use_hosts_file = ResolveHosts::Never;
    options.cache_size = 0;
    // Whoever waits for an answer is not looked after meanwhile.
    (options.timeout, options.attempts) = (Duration::from_secs(1), 2);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| error.to_string())?;
    runtime.block_on(async {
        let provider = TokioConnectionProvider::default();
        let resolver = TokioResolver::builder_with_config(servers, provider)
            .with_options(options)
            .build();
        match resolver.lookup_ip(name).await {
            Ok(answer) => Ok(answer.iter().collect()),
            Err(error) if error.is_no_records_found() => Err("nobody has that name".into()),
            Err(error) => Err(error.to_string()),
        }
    })
}

/// The addresses of a name in a file like `/etc/hosts`; see `hosts(5)`.
fn in_hosts(text: &str, name: &str) -> Vec<IpAddr> {
    let lines = text
        .lines()
        .map(|line| line.split('#').next().unwrap_or_default());
    lines
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            let address = words.next()?.parse().ok()?;
            words
                .any(|word| word.eq_ignore_ascii_case(name))
                .then_some(address)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_in_the_hosts_file_has_all_its_addresses() {
        let text =
            "127.0.0.1 localhost\n10.0.0.5 db DB.example # the database\nfd00::5\tdb\nx db\n";
        let found: Vec<_> = in_hosts(text, "db")
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(found, ["10.0.0.5", "fd00::5"]);
        assert_eq!(in_hosts(text, "db.EXAMPLE").len(), 1);
        assert!(in_hosts(text, "database").is_empty());
    }

    #[test]
    fn an_address_in_the_clothes_of_ipv6_is_one_of_ipv4() {
        assert_eq!(
            single("::ffff:10.0.0.1".parse().unwrap()),
            ("10.0.0.1".parse().unwrap(), 32)
        );
    }
}
