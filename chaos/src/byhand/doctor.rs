//! `chaos doctor`: what this host can do, found by trying it, each in a process of its own that ends with whatever it made.

use std::io::{self, Write as _};
use std::net::Ipv4Addr;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use nix::mount::{MsFlags, mount};
use serde::Serialize;

use super::DoctorArgs;
use crate::ending::{Ending, Failure};
use crate::host::bridge::Bridge;
use crate::host::people::People;
use crate::host::programs;
use crate::host::tun::Tun;
use crate::host::world::{self, NetNs, Rights};

/// Something to try.
struct Probe {
    name: &'static str,
    /// What is lost without it.
    lost: &'static str,
    /// Tries it. In words what was found.
    try_it: fn() -> Result<String, String>,
}

const PROBES: [Probe; 9] = [
    Probe { name: "namespaces", lost: "everything: no cluster can be started", try_it: namespaces },
    Probe { name: "processes", lost: "everything: no cluster can be started", try_it: processes },
    Probe { name: "tun", lost: "delay, jitter, reorder, duplicate, rate", try_it: tun },
    Probe { name: "bridge", lost: "clusters without TUN devices", try_it: bridge },
    Probe { name: "iptables", lost: "partition, one-way and reset without TUN devices", try_it: iptables },
    Probe { name: "iptables-statistic", lost: "loss without TUN devices", try_it: statistic },
    Probe { name: "netem", lost: "nothing here: packets are delayed over TUN devices", try_it: netem },
    Probe { name: "tbf", lost: "nothing here: links are slowed down over TUN devices", try_it: tbf },
    Probe { name: "tmpfs", lost: "disk-full", try_it: tmpfs },
];

/// What was found.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Finding {
    /// Of the facility.
    pub(crate) name: &'static str,
    /// Whether it is there.
    pub(crate) works: bool,
    /// How, or why not.
    pub(crate) found: String,
    /// What is lost if it is not there.
    pub(crate) lost: &'static str,
}

pub(super) fn doctor(args: &DoctorArgs) -> Result<Ending, Failure> {
    let findings = examine(args.kvnode.as_deref());
    let mut out = io::stdout().lock();
    for finding in &findings {
        if args.json {
            writeln!(out, "{}", serde_json::to_string(finding).map_err(|error| Ending::Internal.says(error))?)?;
            continue;
        }
        let Finding { name, works, found, lost } = finding;
        let lost = if *works { String::new() } else { format!("; lost: {lost}") };
        writeln!(out, "{name:<18}  {:<3}  {found}{lost}", if *works { "yes" } else { "no" })?;
    }
    let has = |name: &str| findings.iter().any(|finding| finding.name == name && finding.works);
    let can = ["namespaces", "processes", "kvnode"].into_iter().all(has) && (has("tun") || (has("bridge") && has("iptables")));
    Ok(if can { Ending::Passed } else { Ending::Unsupported })
}

/// Tries everything.
pub(crate) fn examine(kvnode: Option<&Path>) -> Vec<Finding> {
    let attempt = |probe: &Probe| {
        let (works, found) = in_a_process(probe.name);
        Finding { name: probe.name, works, found, lost: probe.lost }
    };
    let mut findings: Vec<Finding> = PROBES.iter().map(attempt).collect();
    let (works, found) = match program(kvnode) {
        Ok(found) => (true, found),
        Err(why) => (false, why),
    };
    findings.push(Finding { name: "kvnode", works, found, lost: "everything: no cluster can be started" });
    findings
}

fn program(kvnode: Option<&Path>) -> Result<String, String> {
    let path = kvnode.map_or_else(|| programs::ours("kvnode"), programs::absolute).map_err(|failure| failure.to_string())?;
    let version =
        Command::new(&path).arg("--version").stdin(Stdio::null()).output().map_err(|error| format!("{}: {error}", path.display()))?;
    if !version.status.success() {
        return Err(format!("{} does not run: {}", path.display(), version.status));
    }
    Ok(format!("{} ({})", String::from_utf8_lossy(&version.stdout).trim(), path.display()))
}

fn in_a_process(name: &str) -> (bool, String) {
    let mut command = Command::new("/proc/self/exe");
    command.arg0("chaos").args(["internal", "probe", name]).stdin(Stdio::null());
    match command.output() {
        Ok(output) => {
            let said = if output.status.success() { output.stdout } else { output.stderr };
            (output.status.success(), String::from_utf8_lossy(&said).trim().trim_start_matches("chaos: ").replace('\n', "; "))
        }
        Err(error) => (false, error.to_string()),
    }
}

/// What runs in that process.
pub(super) fn probe(name: &str) -> Result<Ending, Failure> {
    let probe = PROBES.iter().find(|probe| probe.name == name).ok_or_else(|| Ending::Usage.says(format!("no probe {name}")))?;
    let found = (probe.try_it)().map_err(|why| Ending::Unsupported.says(why))?;
    writeln!(io::stdout(), "{found}")?;
    Ok(Ending::Passed)
}

fn enter() -> Result<Rights, String> {
    world::enter().map_err(|failure| failure.to_string())
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

fn namespaces() -> Result<String, String> {
    Ok(match enter()? {
        Rights::Root => "network and mount namespaces, as root",
        Rights::UserNamespace => "network and mount namespaces, inside a user namespace",
    }
    .to_owned())
}

fn processes() -> Result<String, String> {
    enter()?;
    People::begin("probe").map_err(text)?;
    Ok("a pid namespace, which ends all processes with us".to_owned())
}

fn tun() -> Result<String, String> {
    enter()?;
    let setup = || {
        let tun = Tun::create("kv0")?;
        programs::ip("addr add 10.117.0.1/24 dev kv0\nlink set kv0 up\n").map(|()| tun)
    };
    NetNs::make(setup).map_err(|error| format!("{}: {error}", crate::host::tun::DEVICE))?;
    Ok("every packet can be held, dropped, repeated".to_owned())
}

fn bridge() -> Result<String, String> {
    enter()?;
    Bridge::make(Ipv4Addr::new(10, 117, 0, 254)).map_err(text)?;
    Bridge::attach(0, Ipv4Addr::new(10, 117, 0, 1)).map_err(text)?;
    Ok("virtual ethernet and a bridge, switched by the kernel".to_owned())
}

fn firewall(rule: &str) -> Result<(), String> {
    enter()?;
    let rules = format!("*filter\n:INPUT ACCEPT [0:0]\n{rule}\nCOMMIT\n");
    crate::host::bridge::firewall("iptables-restore", &["-w"], &rules).map(drop).map_err(text)
}

fn iptables() -> Result<String, String> {
    firewall("-A INPUT -s 10.117.0.1 -j DROP\n-A INPUT -s 10.117.0.1 -p tcp -j REJECT --reject-with tcp-reset")?;
    Ok("DROP, and REJECT with a reset".to_owned())
}

fn statistic() -> Result<String, String> {
    firewall("-A INPUT -s 10.117.0.1 -m statistic --mode random --probability 0.5 -j DROP")?;
    Ok("DROP by chance".to_owned())
}

fn netem() -> Result<String, String> {
    enter()?;
    programs::run("tc", ["qdisc", "add", "dev", "lo", "root", "netem", "delay", "1ms"], "").map_err(text)?;
    Ok("the kernel could delay packets; not used".to_owned())
}

fn tbf() -> Result<String, String> {
    enter()?;
    programs::run("tc", ["qdisc", "add", "dev", "lo", "root", "tbf", "rate", "1mbit", "burst", "10kb", "latency", "50ms"], "")
        .map_err(text)?;
    Ok("the kernel could slow links down; not used".to_owned())
}

fn tmpfs() -> Result<String, String> {
    enter()?;
    mount(Some("chaos"), "/tmp", Some("tmpfs"), MsFlags::empty(), Some("size=64k")).map_err(text)?;
    Ok("small disks in memory, in a mount namespace of our own".to_owned())
}
