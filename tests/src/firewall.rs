//! A black hole: packets to an address vanish, and whoever dials it hears nothing at all, not even a refusal.

use std::process::Command;

/// A rule of this host's firewall, for one address that nobody else has; gone when dropped.
pub struct BlackHole {
    rule: Vec<String>,
}

impl BlackHole {
    /// Swallows what is sent to this `HOST:PORT` by TCP.
    pub fn at(address: &str) -> BlackHole {
        let (host, port) = address.rsplit_once(':').expect("HOST:PORT");
        let rule = ["INPUT", "-p", "tcp", "-d", host, "--dport", port, "-j", "DROP"].map(String::from).to_vec();
        iptables("-I", &rule).unwrap_or_else(|error| panic!("{error}"));
        BlackHole { rule }
    }

    /// Packets that it has swallowed.
    pub fn swallowed(&self) -> u64 {
        let (host, port) = (&self.rule[4], &self.rule[6]);
        let list = Command::new("iptables").args(["-w", "-nvxL", "INPUT"]).output().expect("iptables runs");
        let list = String::from_utf8_lossy(&list.stdout).into_owned();
        let line = list.lines().find(|line| line.contains(host.as_str()) && line.ends_with(&format!("dpt:{port}")));
        let line = line.unwrap_or_else(|| panic!("no rule for {host}:{port} in\n{list}"));
        line.split_whitespace().next().and_then(|count| count.parse().ok()).expect("a count")
    }
}

impl Drop for BlackHole {
    fn drop(&mut self) {
        let deleted = iptables("-D", &self.rule);
        assert!(deleted.is_ok() || std::thread::panicking(), "{deleted:?}"); // a second panic would hide the first
    }
}

fn iptables(action: &str, rule: &[String]) -> Result<(), String> {
    let output = Command::new("iptables").args(["-w", action]).args(rule).output().expect("iptables runs");
    let said = || format!("iptables {action} {}: {}", rule.join(" "), String::from_utf8_lossy(&output.stderr));
    if output.status.success() { Ok(()) } else { Err(said()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{host, place};

    #[test]
    fn a_black_hole_is_closed_even_by_a_panic() {
        if host::lacks("iptables", "a_black_hole_is_closed_even_by_a_panic") {
            return;
        }
        let address = format!("{}:{}", place::loopback(), place::CLIENT_PORT);
        let is_there = || {
            let rules = Command::new("iptables").args(["-w", "-S"]).output().expect("iptables runs");
            String::from_utf8_lossy(&rules.stdout).contains(address.split(':').next().expect("a host"))
        };
        let panicked = std::panic::catch_unwind(|| {
            let _hole = BlackHole::at(&address);
            assert!(!is_there(), "it is there, so this panics");
        });
        assert!(panicked.is_err() && !is_there());
    }
}
