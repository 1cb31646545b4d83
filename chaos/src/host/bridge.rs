//! The network where we may not have TUN devices: the kernel switches, the firewall of each host drops and refuses what comes in.
//!
//! A rule stands at the receiving host, so that every link is broken one way. It cannot hold packets back: no delay, no reordering.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;
use std::net::Ipv4Addr;
use std::process::Command;

use super::link::{Counters, Policy};
use super::network::Host;
use super::programs;
use super::world::NetNs;
use crate::ending::{Ending, Failure};

const BRIDGE: &str = "kvbr";

/// Links as the firewalls know them.
#[derive(Debug)]
pub(crate) struct Bridge {
    /// By (from, to); absent: nothing is wrong.
    policies: BTreeMap<(usize, usize), Policy>,
    /// What rules that are gone had counted.
    counted: BTreeMap<(usize, usize), Counters>,
}

impl Bridge {
    /// Makes the switch, in the namespace of the calling thread, whose address this is.
    pub(crate) fn make(address: Ipv4Addr) -> io::Result<()> {
        programs::ip(&format!("link set lo up\nlink add {BRIDGE} type bridge\naddr add {address}/24 dev {BRIDGE}\nlink set {BRIDGE} up\n"))
    }

    /// A new host, connected to the switch.
    pub(crate) fn attach(number: usize, address: Ipv4Addr) -> io::Result<NetNs> {
        let (network, ()) = NetNs::make(|| programs::ip("link set lo up\n"))?;
        let there = network.path();
        programs::ip(&format!(
            "link add kv{number} type veth peer name kv0 netns {there}\nlink set kv{number} master {BRIDGE}\nlink set kv{number} up\n"
        ))?;
        network.inside(move || programs::ip(&format!("addr add {address}/24 dev kv0\nlink set kv0 up\n")))?;
        Ok(network)
    }

    /// Between these; an error if their firewalls cannot do what will be asked of them.
    pub(crate) fn of(hosts: &[Host]) -> io::Result<Bridge> {
        let bridge = Bridge { policies: BTreeMap::new(), counted: BTreeMap::new() };
        if let Some(host) = hosts.first() {
            // A trial of every rule there is, on a host that nobody uses yet.
            let all = Policy { cut: true, reset: true, loss: 0.5, ..Policy::default() };
            let trial = BTreeMap::from([((0, 0), all)]);
            load(host, &rules(&trial, hosts, 0))?;
            load(host, &rules(&BTreeMap::new(), hosts, 0))?;
        }
        Ok(bridge)
    }

    /// See [`super::network::Network::set`].
    pub(crate) fn set(&mut self, hosts: &[Host], changes: &[(usize, usize, Policy)]) -> Result<(), Failure> {
        if changes.iter().any(|(_, _, policy)| !policy.is_filter()) {
            let needed = "delay, jitter, reorder, duplicate and rate need TUN devices";
            return Err(Ending::Unsupported.says(format!("{needed}, which this cluster has not (`chaos doctor` says why)")));
        }
        let mut at: Vec<usize> = changes.iter().map(|(_, to, _)| *to).collect();
        at.sort_unstable();
        at.dedup();
        for to in &at {
            self.harvest(hosts, *to)?;
        }
        for (from, to, policy) in changes {
            match *policy == Policy::default() {
                true => self.policies.remove(&(*from, *to)),
                false => self.policies.insert((*from, *to), *policy),
            };
        }
        for to in at {
            load(&hosts[to], &rules(&self.policies, hosts, to)).map_err(failed)?;
        }
        Ok(())
    }

    /// See [`super::network::Network::counters`]. Packets that pass are not counted here.
    pub(crate) fn counters(&mut self, hosts: &[Host], from: usize, to: usize) -> Result<Counters, Failure> {
        let now = counters_of(&hosts[to], hosts).map_err(failed)?;
        let before = self.counted.get(&(from, to)).copied().unwrap_or_default();
        Ok(before.plus(now.get(&from).copied().unwrap_or_default()))
    }

    /// Keeps what the rules of a host have counted: new ones begin at nothing.
    fn harvest(&mut self, hosts: &[Host], to: usize) -> Result<(), Failure> {
        for (from, counters) in counters_of(&hosts[to], hosts).map_err(failed)? {
            let sum = self.counted.entry((from, to)).or_default();
            *sum = sum.plus(counters);
        }
        Ok(())
    }
}

fn failed(error: io::Error) -> Failure {
    Ending::Io.says(format!("the firewall of a host failed: {error}"))
}

/// All rules of one host, for `iptables-restore`, which puts them in place of the old ones at once.
fn rules(policies: &BTreeMap<(usize, usize), Policy>, hosts: &[Host], to: usize) -> String {
    let mut text = String::from("*filter\n:INPUT ACCEPT [0:0]\n");
    for ((from, _), policy) in policies.iter().filter(|((_, at), _)| *at == to) {
        let from = hosts[*from].address;
        if policy.cut {
            let _ = writeln!(text, "-A INPUT -s {from} -j DROP");
        }
        if policy.reset {
            let _ = writeln!(text, "-A INPUT -s {from} -p tcp -j REJECT --reject-with tcp-reset");
        }
        if policy.loss > 0.0 {
            let _ = writeln!(text, "-A INPUT -s {from} -m statistic --mode random --probability {:.6} -j DROP", policy.loss);
        }
    }
    text.push_str("COMMIT\n");
    text
}

fn load(host: &Host, rules: &str) -> io::Result<()> {
    let rules = rules.to_owned();
    host.network.inside(move || firewall("iptables-restore", &["-w"], &rules)).map(drop)
}

fn counters_of(host: &Host, hosts: &[Host]) -> io::Result<BTreeMap<usize, Counters>> {
    let listed = host.network.inside(|| firewall("iptables-save", &["-c", "-t", "filter"], ""))?;
    Ok(parse_counters(&listed, hosts.iter().map(|host| host.address)))
}

/// By the host that the packets came from.
fn parse_counters(listed: &str, addresses: impl Iterator<Item = Ipv4Addr> + Clone) -> BTreeMap<usize, Counters> {
    let mut counters: BTreeMap<usize, Counters> = BTreeMap::new();
    for line in listed.lines() {
        // [12:720] -A INPUT -s 10.117.0.2/32 -j DROP
        let Some((count, rule)) = line.strip_prefix('[').and_then(|line| line.split_once(':')) else { continue };
        let Some(source) = rule.split_once("-s ").and_then(|(_, rest)| rest.split(['/', ' ']).next()) else { continue };
        let from = addresses.clone().position(|address| address.to_string() == source);
        let (Some(from), Ok(count)) = (from, count.parse::<u64>()) else { continue };
        let counters = counters.entry(from).or_default();
        match () {
            () if rule.contains("REJECT") => counters.reset += count,
            () if rule.contains("statistic") => counters.lost += count,
            () => counters.cut += count,
        }
    }
    counters
}

/// The lock that old versions take is a file of the whole machine, and an ordinary user may not open it.
pub(crate) fn firewall(program: &str, args: &[&str], input: &str) -> io::Result<String> {
    let lock = std::env::temp_dir().join(format!("chaos-xtables-{}.lock", std::process::id()));
    let tool = programs::tool(program).ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("{program} is not installed")))?;
    let mut command = Command::new(tool);
    command.args(args).env("XTABLES_LOCKFILE", &lock);
    let output = programs::finish(command, input);
    let _ = std::fs::remove_file(lock);
    output
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_told_apart_by_source_and_rule() {
        let addresses = (1..=3).map(|last| Ipv4Addr::new(10, 117, 0, last));
        let listed = "*filter\n:INPUT ACCEPT [99:9900]\n[12:720] -A INPUT -s 10.117.0.2/32 -j DROP\n\
            [3:180] -A INPUT -s 10.117.0.2/32 -p tcp -j REJECT --reject-with tcp-reset\n\
            [7:420] -A INPUT -s 10.117.0.3/32 -m statistic --mode random --probability 0.10000000009 -j DROP\nCOMMIT\n";
        let counters = parse_counters(listed, addresses);
        let expected = [(1, Counters { cut: 12, reset: 3, ..Counters::default() }), (2, Counters { lost: 7, ..Counters::default() })];
        assert_eq!(counters, BTreeMap::from(expected));
    }
}
