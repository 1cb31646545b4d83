//! Rules of this host's firewall, each with a comment that names it: so ours are found, and nobody else's are touched.

use std::net::IpAddr;

use crate::ending::{Ending, Failure};
use crate::fault::LinkFault;
use crate::fault::effect::Effect;
use crate::host::programs;
use crate::journal::Undo;

/// The rule that does this to packets from one host to another, and how it is removed.
pub(super) fn rule(chain: &str, from: IpAddr, to: IpAddr, fault: LinkFault) -> Undo {
    let comment = format!("chaos:{:016x}", fastrand::u64(..));
    let mut words = vec!["-s".to_owned(), from.to_string(), "-d".into(), to.to_string()];
    let what = match fault {
        LinkFault::Loss(part) if part < 1.0 => format!("-m statistic --mode random --probability {part:.6} -j DROP"),
        LinkFault::Reset => "-p tcp -j REJECT --reject-with tcp-reset".to_owned(),
        _ => "-j DROP".to_owned(),
    };
    words.extend(format!("-m comment --comment {comment} {what}").split(' ').map(str::to_owned));
    Undo::DropRule { chain: chain.to_owned(), rule: words, comment }
}

/// Puts it before all others.
pub(super) fn add(step: &Undo) -> Result<(), Failure> {
    let Undo::DropRule { chain, rule, .. } = step else { return Ok(()) };
    iptables("-I", chain, rule).map(drop).map_err(|error| Ending::Unsupported.says(format!("this host's firewall: {error}")))
}

/// Removes it, if it is there; what it has done.
pub(super) fn remove(chain: &str, rule: &[String], comment: &str) -> Result<Effect, Failure> {
    let cannot = |error: std::io::Error| Ending::Io.says(format!("this host's firewall: {error}"));
    let listed = programs::run("iptables-save", ["-c", "-t", "filter"], "").map_err(cannot)?;
    let Some(count) = packets(&listed, comment) else { return Ok(Effect::default()) };
    iptables("-D", chain, rule).map_err(cannot)?;
    let is = |word: &str| rule.iter().any(|known| known == word);
    Ok(match () {
        () if is("REJECT") => Effect { packets_reset: count, ..Effect::default() },
        () if is("statistic") => Effect { packets_lost: count, ..Effect::default() },
        () => Effect { packets_cut: count, ..Effect::default() },
    })
}

/// What the rule with this comment has counted; `None`: it is not there.
fn packets(listed: &str, comment: &str) -> Option<u64> {
    // [12:720] -A INPUT -s 10.0.0.2/32 -d 10.0.0.1/32 -m comment --comment "chaos:1f" -j DROP
    let line = listed.lines().find(|line| line.contains(comment))?;
    line.strip_prefix('[')?.split(':').next()?.parse().ok()
}

fn iptables(action: &str, chain: &str, rule: &[String]) -> std::io::Result<String> {
    let mut words = vec!["-w", action, chain];
    words.extend(rule.iter().map(String::as_str));
    programs::run("iptables", words, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_is_found_by_its_comment() {
        let listed = "*filter\n:INPUT ACCEPT [9:9]\n[3:180] -A INPUT -s 10.0.0.9/32 -j DROP\n\
            [12:720] -A INPUT -s 10.0.0.2/32 -d 10.0.0.1/32 -m comment --comment \"chaos:1f\" -j DROP\nCOMMIT\n";
        assert_eq!(packets(listed, "chaos:1f"), Some(12));
        assert_eq!(packets(listed, "chaos:2f"), None);
    }

    #[test]
    fn each_fault_has_its_rule() {
        let words = |fault| match rule("INPUT", [10, 0, 0, 1].into(), [10, 0, 0, 2].into(), fault) {
            Undo::DropRule { rule, comment, .. } => rule.join(" ").replace(&comment, "COMMENT"),
            other => panic!("{other:?}"),
        };
        let start = "-s 10.0.0.1 -d 10.0.0.2 -m comment --comment COMMENT";
        assert_eq!(words(LinkFault::Loss(1.0)), format!("{start} -j DROP"));
        assert_eq!(words(LinkFault::Loss(0.25)), format!("{start} -m statistic --mode random --probability 0.250000 -j DROP"));
        assert_eq!(words(LinkFault::Reset), format!("{start} -p tcp -j REJECT --reject-with tcp-reset"));
    }
}
