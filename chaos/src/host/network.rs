//! Hosts, their addresses, and the links between them.
//!
//! Nodes have 10.117.0.1 and so on, clients 10.117.0.101 and so on. We are on the network too, so that we can ask nodes how they are
//! whatever is wrong between them; our own links are never broken.

use std::io;
use std::net::Ipv4Addr;

use serde::Serialize;

use super::bridge::Bridge;
use super::fabric::Fabric;
use super::link::{Counters, Policy};
use super::programs;
use super::tun::Tun;
use super::world::NetNs;
use crate::ending::{Ending, Failure};

/// Most nodes, and most clients.
pub(crate) const HOSTS_MAX: usize = 50;
/// The interface of every host.
const INTERFACE: &str = "kv0";

/// How links are made and broken.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Backend {
    /// We switch every packet (TUN devices): every fault there is.
    Tun,
    /// The kernel switches (a bridge), iptables drops and refuses: no delay, jitter, duplication, reordering, rate.
    Iptables,
}

/// One host of the run.
#[derive(Debug)]
pub(crate) struct Host {
    /// `n1`, `c1`; our own is `chaos`.
    pub(crate) name: String,
    /// Its only address but loopback.
    pub(crate) address: Ipv4Addr,
    /// Where processes and threads of it live.
    pub(crate) network: NetNs,
}

/// All hosts, and what connects them.
#[derive(Debug)]
pub(crate) struct Network {
    hosts: Vec<Host>,
    links: Links,
}

#[derive(Debug)]
enum Links {
    Fabric(Fabric),
    Bridge(Box<Bridge>),
}

impl Network {
    /// Makes `nodes` and `clients` hosts. The calling thread must be in the run's own network namespace, which becomes the host `chaos`.
    pub(crate) fn make(nodes: usize, clients: usize, backend: Backend, seed: u64) -> Result<Network, Failure> {
        assert!(nodes <= HOSTS_MAX && clients <= HOSTS_MAX);
        let cannot = |error: io::Error| Ending::Unsupported.says(format!("no network of our own: {error}"));
        let name = |prefix: &'static str| move |(number, address)| (format!("{prefix}{}", number + 1), address);
        let addresses = |first: u8| (first..).map(|last| Ipv4Addr::new(10, 117, 0, last));
        let named = (0..nodes).zip(addresses(1)).map(name("n")).chain((0..clients).zip(addresses(101)).map(name("c")));
        let named: Vec<(String, Ipv4Addr)> = named.collect();
        let us = ("chaos".to_owned(), Ipv4Addr::new(10, 117, 0, 254));

        let mut hosts = Vec::new();
        let links = match backend {
            Backend::Tun => {
                let mut ports = Vec::new();
                for (name, address) in named {
                    let (network, tun) = NetNs::make(move || plug_in(address)).map_err(cannot)?;
                    ports.push((address, tun));
                    hosts.push(Host { name, address, network });
                }
                ports.push((us.1, plug_in(us.1).map_err(cannot)?));
                hosts.push(Host { name: us.0, address: us.1, network: NetNs::current().map_err(cannot)? });
                Links::Fabric(Fabric::start(ports, seed)?)
            }
            Backend::Iptables => {
                Bridge::make(us.1).map_err(cannot)?;
                for (number, (name, address)) in named.into_iter().enumerate() {
                    let network = Bridge::attach(number, address).map_err(cannot)?;
                    hosts.push(Host { name, address, network });
                }
                hosts.push(Host { name: us.0, address: us.1, network: NetNs::current().map_err(cannot)? });
                Links::Bridge(Box::new(Bridge::of(&hosts).map_err(cannot)?))
            }
        };
        Ok(Network { hosts, links })
    }

    /// All of them: nodes, clients, ourselves.
    pub(crate) fn hosts(&self) -> &[Host] {
        &self.hosts
    }

    /// The place of a host.
    pub(crate) fn find(&self, name: &str) -> Option<usize> {
        self.hosts.iter().position(|host| host.name == name)
    }

    /// From now on these links (from, to) behave so: all of them, or none if the backend cannot do it.
    pub(crate) fn set(&mut self, changes: &[(usize, usize, Policy)]) -> Result<(), Failure> {
        match &mut self.links {
            Links::Fabric(fabric) => {
                fabric.set(changes);
                Ok(())
            }
            Links::Bridge(bridge) => bridge.set(&self.hosts, changes),
        }
    }

    /// What has happened to packets from one host to another since the beginning.
    pub(crate) fn counters(&mut self, from: usize, to: usize) -> Result<Counters, Failure> {
        match &mut self.links {
            Links::Fabric(fabric) => Ok(fabric.counters(from, to)),
            Links::Bridge(bridge) => bridge.counters(&self.hosts, from, to),
        }
    }

    /// Which backend it is.
    pub(crate) fn backend(&self) -> Backend {
        match self.links {
            Links::Fabric(_) => Backend::Tun,
            Links::Bridge(_) => Backend::Iptables,
        }
    }
}

/// Makes the interface of the host that the calling thread is in.
fn plug_in(address: Ipv4Addr) -> io::Result<Tun> {
    let tun = Tun::create(INTERFACE)?;
    // Some thousand packets may wait for us: a busy machine must not look like a lossy network.
    programs::ip(&format!("link set lo up\naddr add {address}/24 dev {INTERFACE}\nlink set {INTERFACE} mtu 1500 txqueuelen 5000 up\n"))?;
    Ok(tun)
}
