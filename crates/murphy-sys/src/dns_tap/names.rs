//! Names are what addresses are called: those that they were last resolved by.
//!
//! They are kept longer than an answer is valid, since a connection lasts longer, too.

use std::{net::IpAddr, sync::Arc};

use super::{Dns, recent::Recent};

/// How many names of one address are kept, the last that it was resolved by.
pub const NAMES_MAX: usize = 8;

/// The names of addresses, of so many at most: what was not resolved for the longest time is forgotten first.
#[derive(Clone, Debug)]
pub struct Names(Recent<IpAddr, Vec<Arc<str>>>);

impl Names {
    /// None yet; at most those of so many addresses, of one at least.
    pub fn new(addresses_max: usize) -> Self {
        Self(Recent::new(addresses_max))
    }

    /// Learns from what was heard: each address of an answer has the name that was asked for, whatever names stand between
    /// them. Queries, and answers that do not repeat the question, say nothing.
    pub fn learn(&mut self, dns: &Dns) {
        let message = &dns.message;
        if !message.is_answer || message.name.is_empty() {
            return;
        }
        let name: Arc<str> = message.name.as_str().into();
        for (address, _) in &message.addresses {
            let mut names = self.0.take(address).unwrap_or_default();
            names.retain(|known| *known != name);
            names.insert(0, Arc::clone(&name));
            names.truncate(NAMES_MAX);
            self.0.put(*address, names);
        }
    }

    /// What an address is called, the name first that it was last resolved by; none where nobody has asked.
    pub fn of(&self, address: IpAddr) -> impl Iterator<Item = &str> {
        let names = self.0.get(&address).into_iter().flatten();
        names.map(AsRef::as_ref)
    }

    /// Of how many addresses there are names.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    use crate::dns_tap::message::tests::{answer, query};

    fn heard(name: &str, addresses: &[u8]) -> Dns {
        let mut message = answer(1, name);
        let addresses = addresses.iter().map(|last| (at(*last), Duration::ZERO));
        message.addresses = addresses.collect();
        Dns {
            at_ns: 0,
            local: "10.0.0.1:40000".parse().unwrap(),
            server: "10.0.0.2:53".parse().unwrap(),
            message,
        }
    }

    fn at(last: u8) -> IpAddr {
        [192, 0, 2, last].into()
    }

    fn of(names: &Names, last: u8) -> Vec<&str> {
        names.of(at(last)).collect()
    }

    #[test]
    fn an_address_has_the_names_that_it_was_last_resolved_by() {
        let mut names = Names::new(10);
        names.learn(&heard("a", &[1, 2]));
        names.learn(&heard("b", &[2]));
        names.learn(&heard("a", &[1]));
        assert_eq!(of(&names, 1), ["a"]);
        assert_eq!(of(&names, 2), ["b", "a"]);
        names.learn(&heard("a", &[2]));
        assert_eq!(of(&names, 2), ["a", "b"]);
        assert!(of(&names, 3).is_empty());
        let many: Vec<_> = (0..20).map(|number| format!("n{number}")).collect();
        for name in &many {
            names.learn(&heard(name, &[1]));
        }
        assert_eq!(of(&names, 1).len(), NAMES_MAX);
        assert_eq!(of(&names, 1)[0], "n19");
    }

    #[test]
    fn what_was_not_resolved_for_the_longest_time_is_forgotten() {
        let mut names = Names::new(2);
        assert!(names.is_empty());
        names.learn(&heard("a", &[1, 2]));
        names.learn(&heard("a", &[1]));
        names.learn(&heard("b", &[3]));
        assert_eq!(names.len(), 2);
        assert!(of(&names, 2).is_empty());
        assert_eq!((of(&names, 1), of(&names, 3)), (vec!["a"], vec!["b"]));
    }

    #[test]
    fn only_answers_with_a_name_say_something() {
        let mut names = Names::new(2);
        let mut asked = heard("a", &[1]);
        asked.message = query(1, "a");
        names.learn(&asked);
        names.learn(&heard("", &[1]));
        assert!(names.is_empty());
    }
}
