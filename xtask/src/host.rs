//! What this machine can do, found by trying it: a program that is missing can be installed, a facility that the kernel or the
//! container denies cannot. Only the second excuses a test from running.

use std::process::Command;

use anyhow::{Result, bail};

use crate::shell;

/// A program the tests use, the package that has it, and how to see that the host lets it work.
struct Tool {
    facility: &'static str,
    program: &'static str,
    package: &'static str,
    works: fn() -> bool,
}

const TOOLS: [Tool; 8] = [
    Tool { facility: "iptables", program: "iptables", package: "iptables", works: || shell::output("iptables", &["-w", "-S"]).is_some() },
    Tool { facility: "mount", program: "unshare", package: "util-linux", works: mount_works },
    Tool { facility: "netns", program: "ip", package: "iproute2", works: netns_works },
    Tool { facility: "tun", program: "ip", package: "iproute2", works: tun_works },
    Tool { facility: "userns", program: "setpriv", package: "util-linux", works: userns_works },
    Tool { facility: "ptrace", program: "strace", package: "strace", works: strace_works },
    Tool { facility: "systemd", program: "systemctl", package: "systemd", works: systemd_works },
    Tool {
        facility: "systemd-analyze",
        program: "systemd-analyze",
        package: "systemd",
        works: || shell::output("systemd-analyze", &["--version"]).is_some(),
    },
];

/// What was found.
pub(crate) struct Host {
    root: bool,
    facts: Vec<(&'static str, String)>,
    missing_packages: Vec<&'static str>,
    /// Facilities that no package brings: the kernel or the container denies them.
    lacks: Vec<&'static str>,
}

impl Host {
    pub(crate) fn probe() -> Host {
        let root = shell::output("id", &["-u"]).is_some_and(|uid| uid.trim() == "0");
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let mut host = Host { root, facts: Vec::new(), missing_packages: Vec::new(), lacks: Vec::new() };
        host.facts.push(("user", if root { "root".into() } else { "not root".into() }));
        host.facts.push(("kernel", shell::output("uname", &["-sr"]).unwrap_or_default().trim().into()));
        host.facts.push(("cores", cores.to_string()));
        host.facts.push(("rustc", shell::output("rustc", &["--version"]).unwrap_or_default().trim().into()));
        for tool in &TOOLS {
            let found = if !installed(tool.program) {
                if !host.missing_packages.contains(&tool.package) {
                    host.missing_packages.push(tool.package);
                }
                format!("{} is not installed (package {})", tool.program, tool.package)
            } else if (tool.works)() {
                "usable".into()
            } else {
                host.lacks.push(tool.facility);
                format!("{} is installed, but this host does not let it work", tool.program)
            };
            host.facts.push((tool.facility, found));
        }
        let ipv6 = std::net::TcpListener::bind("[::1]:0").is_ok();
        host.facts.push(("ipv6", if ipv6 { "usable" } else { "[::1] cannot be listened at" }.into()));
        if !ipv6 {
            host.lacks.push("ipv6");
        }
        host
    }

    pub(crate) fn print(&self) {
        for (name, fact) in &self.facts {
            println!("host: {name:<16} {fact}");
        }
    }

    /// For the tests' environment: a test may stay away for want of one of these, and of nothing else.
    pub(crate) fn lacks(&self) -> String {
        self.lacks.join(",")
    }

    /// Which of these the kernel or the container denies.
    pub(crate) fn lacks_of(&self, facilities: &[&str]) -> Vec<&'static str> {
        self.lacks.iter().copied().filter(|lacking| facilities.contains(lacking)).collect()
    }

    /// Installs what is missing, after saying so. An error if we may not; if the installation itself fails, the tests that need the
    /// program will, by name.
    pub(crate) fn install_missing(self, may_install: bool) -> Result<Host> {
        if self.missing_packages.is_empty() {
            return Ok(self);
        }
        let packages = self.missing_packages.join(" ");
        let line = format!("apt-get update && apt-get install -y --no-install-recommends {packages}");
        if !may_install || !self.root {
            println!("missing packages: {packages}\ninstall them with: {line}");
            bail!("missing packages: {packages}");
        }
        println!("missing packages: {packages}\n$ {line}");
        let installed = Command::new("sh").args(["-c", &line]).env("DEBIAN_FRONTEND", "noninteractive").status();
        if !installed.is_ok_and(|status| status.success()) {
            println!("could not install {packages}: the tests that need them will fail");
        }
        let host = Host::probe();
        host.print();
        Ok(host)
    }
}

/// Whether a program of this name is on the path, or where root's programs are.
fn installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]).any(|dir| dir.join(program).is_file())
}

fn netns_works() -> bool {
    let name = format!("kvraft-probe-{}", std::process::id());
    let added = shell::output("ip", &["netns", "add", &name]).is_some();
    if added {
        shell::output("ip", &["netns", "delete", &name]);
    }
    added
}

/// An interface whose other end is a descriptor, in a network namespace that ends with the command.
fn tun_works() -> bool {
    shell::output("unshare", &["--net", "ip", "tuntap", "add", "kv0", "mode", "tun"]).is_some()
}

/// Namespaces for somebody who is not root, and is root in there.
fn userns_works() -> bool {
    let nobody = ["--reuid=65534", "--regid=65534", "--clear-groups"];
    let inside = ["unshare", "--user", "--map-root-user", "--net", "--mount", "--pid", "--fork", "ip", "link", "set", "lo", "up"];
    shell::output("setpriv", &[&nobody[..], &inside[..]].concat()).is_some()
}

/// A file system of our own, in a namespace that nobody else sees and that ends with its last process.
fn mount_works() -> bool {
    shell::output("unshare", &["--mount", "mount", "-t", "tmpfs", "-o", "size=64k", "kvraft-probe", "/mnt"]).is_some()
}

/// What a systemd of our own stands on: a layer over this machine's files, and control groups that it may write to.
fn systemd_works() -> bool {
    let layer = "mount -t tmpfs probe /mnt; mkdir /mnt/upper /mnt/work /mnt/root
        mount -t overlay probe -o lowerdir=/,upperdir=/mnt/upper,workdir=/mnt/work /mnt/root";
    let groups = "if [ $(stat -f -c %T /sys/fs/cgroup) = cgroup2fs ]; then mount -t cgroup2 probe /mnt/root/mnt
        else mount -t cgroup -o none,name=systemd probe /mnt/root/mnt; fi; test -w /mnt/root/mnt/cgroup.procs";
    let inside = ["--mount", "--pid", "--fork", "--uts", "--ipc", "--net", "--cgroup", "sh", "-ec"];
    shell::output("unshare", &[&inside[..], &[&format!("{layer}\n{groups}")]].concat()).is_some()
}

/// Seccomp, a strict container or Yama let strace start and fail only once it attaches to a stranger: try that.
fn strace_works() -> bool {
    let Ok(mut stranger) = Command::new("sleep").arg("0.2").spawn() else { return false };
    let attached = shell::output("strace", &["-f", "-o", "/dev/null", "-p", &stranger.id().to_string()]).is_some();
    let _ = stranger.wait();
    attached
}
