//! Whom a fault is aimed at: by name, by role, by number.

use std::fmt;
use std::str::FromStr;

use fastrand::Rng;

/// Some of the nodes, or hosts by name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Target {
    /// Whom a majority follows.
    Leader,
    /// One node that is not the leader.
    Follower,
    /// One node, whoever it is.
    One,
    /// As many as a cluster can do without.
    Minority,
    /// More than half.
    Majority,
    /// Every node.
    All,
    /// Every client.
    Clients,
    /// These hosts.
    Named(Vec<String>),
}

/// All but the names.
const WORDS: &str = "leader, follower, one, minority, majority, all, clients";

/// What a target is resolved among.
pub(crate) struct Scene<'a> {
    /// Names of the nodes.
    pub(crate) nodes: &'a [String],
    /// Names of the clients.
    pub(crate) clients: &'a [String],
    /// The number of the node that leads, if any does.
    pub(crate) leader: Option<usize>,
}

impl Target {
    /// Whether it can only be told by asking who leads.
    pub(crate) fn needs_leader(&self) -> bool {
        matches!(self, Target::Leader | Target::Follower)
    }

    /// Names of hosts, in order; an error if there are none such.
    pub(crate) fn resolve(&self, scene: &Scene<'_>, random: &mut Rng) -> Result<Vec<String>, String> {
        let nodes = scene.nodes;
        let mut drawn = |count: usize| {
            let mut numbers: Vec<usize> = (0..nodes.len()).collect();
            random.shuffle(&mut numbers);
            numbers.truncate(count);
            numbers.sort_unstable();
            numbers.into_iter().map(|number| nodes[number].clone()).collect::<Vec<_>>()
        };
        let leader = || scene.leader.ok_or_else(|| "no node leads".to_owned());
        let found = match self {
            Target::Leader => vec![nodes[leader()?].clone()],
            Target::Follower => {
                let leader = leader()?;
                let others: Vec<&String> = nodes.iter().enumerate().filter(|(number, _)| *number != leader).map(|(_, name)| name).collect();
                random.choice(others).cloned().into_iter().collect()
            }
            Target::One => drawn(1),
            Target::Minority => drawn((nodes.len() - 1) / 2),
            Target::Majority => drawn(nodes.len() / 2 + 1),
            Target::All => nodes.to_vec(),
            Target::Clients => scene.clients.to_vec(),
            Target::Named(names) => {
                let known = |name: &&String| !nodes.contains(name) && !scene.clients.contains(name);
                if let Some(unknown) = names.iter().find(known) {
                    let known: Vec<&str> = nodes.iter().chain(scene.clients).map(String::as_str).collect();
                    return Err(format!("no host {unknown}: there are {}; {WORDS} are words for them", known.join(", ")));
                }
                // In the order of the cluster, each once: what is named twice must not be broken twice.
                nodes.iter().chain(scene.clients).filter(|name| names.contains(name)).cloned().collect()
            }
        };
        if found.is_empty() { Err(format!("{self}: there is none")) } else { Ok(found) }
    }
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Target, String> {
        Ok(match text {
            "leader" => Target::Leader,
            "follower" => Target::Follower,
            "one" => Target::One,
            "minority" => Target::Minority,
            "majority" => Target::Majority,
            "all" => Target::All,
            "clients" => Target::Clients,
            names => {
                let names: Vec<String> = names.split(',').map(str::to_owned).collect();
                // Which names there are is known to whoever resolves them: nodes that somebody else started may have any.
                if names.iter().any(String::is_empty) {
                    return Err(format!("{:?} has an empty name in it", names.join(",")));
                }
                Target::Named(names)
            }
        })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Target::Leader => "leader",
            Target::Follower => "follower",
            Target::One => "one",
            Target::Minority => "minority",
            Target::Majority => "majority",
            Target::All => "all",
            Target::Clients => "clients",
            Target::Named(names) => return f.write_str(&names.join(",")),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(target: &str, leader: Option<usize>) -> Result<Vec<String>, String> {
        let nodes: Vec<String> = (1..=5).map(|number| format!("n{number}")).collect();
        let clients = ["c1".to_owned()];
        target.parse::<Target>()?.resolve(&Scene { nodes: &nodes, clients: &clients, leader }, &mut Rng::with_seed(3))
    }

    #[test]
    fn roles_and_numbers_become_names() {
        assert_eq!(resolve("leader", Some(3)).unwrap(), ["n4"]);
        for leader in 0..5 {
            assert_ne!(resolve("follower", Some(leader)).unwrap(), [format!("n{}", leader + 1)]);
        }
        assert_eq!(resolve("minority", None).unwrap().len(), 2);
        assert_eq!(resolve("majority", None).unwrap().len(), 3);
        assert_eq!(resolve("all", None).unwrap().len(), 5);
        assert_eq!(resolve("n2,c1", None).unwrap(), ["n2", "c1"]);
        assert_eq!(resolve("c1,n2,n1,n2,c1", None).unwrap(), ["n1", "n2", "c1"]);
    }

    #[test]
    fn whom_there_is_not_is_said() {
        assert_eq!(resolve("leader", None).unwrap_err(), "no node leads");
        assert!(resolve("n9", None).unwrap_err().contains("no host n9: there are n1, "));
        assert!(resolve("leadr", None).unwrap_err().contains("no host leadr: there are n1, n2, n3, n4, n5, c1; leader, follower, "));
        assert!(resolve("n0", None).is_err() && resolve("n", None).is_err() && resolve("n1,", None).is_err());
    }
}
