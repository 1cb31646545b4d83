//! A machine with a systemd of its own, on which services can be installed as the README says.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::cli::PATIENT;
use crate::wait::{PATIENCE, wait_for, wait_until};
use crate::{Ran, process, programs};

/// Namespaces in which systemd is the first process. What is installed there is seen by nobody else, and ends with this value.
pub struct Machine {
    unshare: Child,
    /// Which processes of it are counted in: systemd makes more below them, which outlive it.
    control_groups: Vec<PathBuf>,
}

/// Joins the control groups first: the machine sees the one that it is in as the root of all. Those of cpuset cannot be joined before they have
/// a processor, and systemd does not use them.
const JOIN: &str = r#"boot=$1; shift; while [ "$1" != -- ]; do echo 0 >"$1/cgroup.procs" 2>/dev/null || true; shift; done; shift
exec unshare --mount --pid --fork --uts --ipc --net --cgroup --kill-child sh -ec "$boot" sh "$@""#;

impl Machine {
    /// Started, with addresses 10.0.0.1 to 10.0.0.3, and the programs under test in `/usr/bin`.
    pub fn start() -> Machine {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        sweep();
        let name = format!("{NAME}{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let control_groups: Vec<PathBuf> = own_groups().into_iter().map(|group| group.join(&name)).collect();
        control_groups.iter().for_each(|group| std::fs::create_dir(group).expect("a control group"));
        let mut command = Command::new("sh");
        command.args(["-c", JOIN, "sh", include_str!("machine.sh")]).args(&control_groups).arg("--");
        command.arg(root()).arg(programs::kvnode().parent().expect("a directory"));
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let machine = Machine { unshare: process::spawn(command).expect("sh starts"), control_groups };
        wait_for("systemd runs", PATIENCE, || {
            let ran = machine.try_run("systemctl is-system-running")?;
            if ran.stdout.starts_with(b"running") { Ok(()) } else { Err(ran.to_string()) }
        });
        for program in [programs::kvnode(), programs::kvcli()] {
            machine.run(&format!("install -m 0755 {} /usr/bin/", program.display()));
        }
        machine
    }

    /// The same, with services kvnode@n1 to kvnode@n3 that the commands of the README made, healthy.
    pub fn with_services() -> Machine {
        let machine = Machine::start();
        let readme = std::fs::read_to_string(root().join("README.md")).expect("the README");
        let section = readme.split("## As a service").nth(1).expect("the section");
        let commands = section.split("```").nth(1).expect("its commands").trim();
        // The machine has the programs under test: installing would build others.
        let commands = commands.strip_prefix("cargo xtask install --prefix /usr\n").expect("it begins with that");
        for number in 1..=3 {
            let of = |one: &str| (one.to_owned(), one.replace('1', &number.to_string()));
            let ours = ["/n1", "--name n1", "@n1"].map(of).into_iter();
            let ours = ours.chain([("10.0.0.1:7117".to_owned(), format!("10.0.0.{number}:7117"))]);
            machine.run(&ours.fold(commands.to_owned(), |commands, (one, this)| commands.replace(&one, &this)));
        }
        machine.wait_healthy();
        machine
    }

    /// Until all services are well.
    pub fn wait_healthy(&self) {
        wait_for("all services are well", PATIENCE, || {
            let ran = self.try_run("kvcli --endpoints 10.0.0.1,10.0.0.2,10.0.0.3 status")?;
            if ran.code == 0 && ran.stdout.starts_with(b"healthy") { Ok(()) } else { Err(ran.to_string()) }
        });
    }

    /// Runs a script there as root, in the directory of the sources; it must succeed.
    #[track_caller]
    pub fn run(&self, script: &str) -> String {
        let ran = self.try_run(script).unwrap_or_else(|error| panic!("{script}: {error}")).expect_code(0);
        String::from_utf8(ran.stdout).expect("text").trim_end().to_owned()
    }

    /// The same; it may end as it likes.
    pub fn try_run(&self, script: &str) -> Result<Ran, String> {
        let pid = self.first_process()?.to_string();
        let mut command = programs::command("nsenter");
        command.args(["--target", &pid, "--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup", "--root"]);
        command.arg(format!("--wdns={}", root().display()));
        command.args(["sh", "-euc", script]).env("KVCLI_TIMEOUT", PATIENT);
        Ok(Ran::run(command, b""))
    }

    /// What systemd says of a unit, where that is a number.
    pub fn number(&self, unit: &str, name: &str) -> u64 {
        let text = self.property(unit, name);
        text.parse().unwrap_or_else(|_| panic!("{name} of {unit} is {text:?}"))
    }

    /// What systemd says of a unit.
    pub fn property(&self, unit: &str, name: &str) -> String {
        self.run(&format!("systemctl show --property={name} --value {unit}"))
    }

    /// systemd, once it is.
    fn first_process(&self) -> Result<u32, String> {
        let of = self.unshare.id();
        let children = std::fs::read_to_string(format!("/proc/{of}/task/{of}/children")).map_err(|error| error.to_string())?;
        let pid = children.split_whitespace().next().ok_or("no first process")?;
        let line = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).map_err(|error| error.to_string())?;
        if !line.starts_with("/lib/systemd/systemd") {
            return Err(format!("process {pid} is still {line:?}"));
        }
        pid.parse().map_err(|_| format!("{pid:?} is no process"))
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.unshare.kill();
        let _ = self.unshare.wait();
        // systemd is killed by the end of its parent, and all others by its own.
        if !std::thread::panicking() {
            wait_until("its control groups are empty", PATIENCE, || self.control_groups.iter().all(|group| remove(group)));
        }
    }
}

/// The sources.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("a workspace")
}

/// How the control groups of machines begin; then the process that made them.
const NAME: &str = "kvraft-machine-";

/// Those that we are in ourselves, one for each hierarchy.
fn own_groups() -> Vec<PathBuf> {
    let text = std::fs::read_to_string("/proc/self/cgroup").expect("our control groups");
    let place = |line: &str| {
        let (names, path) = line.split_once(':')?.1.split_once(':')?;
        let hierarchy = match names {
            "" if Path::new("/sys/fs/cgroup/unified").is_dir() => "unified",
            names => names.strip_prefix("name=").unwrap_or(names),
        };
        let group = Path::new("/sys/fs/cgroup").join(hierarchy).join(path.trim_start_matches('/'));
        group.join("cgroup.procs").is_file().then_some(group)
    };
    text.lines().filter_map(place).collect()
}

/// Removes what machines have left whose makers were killed.
fn sweep() {
    for entry in own_groups().iter().filter_map(|group| std::fs::read_dir(group).ok()).flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let maker = name.strip_prefix(NAME).and_then(|rest| rest.split('-').next()).map(str::to_owned);
        if maker.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
            remove(&entry.path());
        }
    }
}

/// Removes a control group and those below it, unless there are processes in them.
fn remove(group: &Path) -> bool {
    let below = std::fs::read_dir(group).into_iter().flatten().flatten().filter(|entry| entry.path().is_dir());
    for entry in below {
        remove(&entry.path());
    }
    std::fs::remove_dir(group).is_ok() || !group.exists()
}
