//! The supervisor: has the cluster, and does what it is asked to over its socket.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::stat::{Mode, umask};
use serde_json::{Value, json};

use super::UpArgs;
use super::control::{Reply, Request, SOCKET};
use crate::cluster::{Cluster, Options};
use crate::ending::{Ending, Failure};
use crate::fault::Fault;

/// Between two looks at the nodes.
const TURN_MS: u8 = 10;
/// How long a command may take to say what it wants: it has connected, and then may have to wait for a busy machine.
const REQUEST_WAIT: Duration = Duration::from_secs(10);

/// What the supervisor keeps besides the cluster.
struct Supervisor {
    cluster: Cluster,
    backend: &'static str,
    seed: u64,
    /// When it ends, so do we.
    with: Option<Process>,
}

/// One that is not our child.
struct Process {
    stat: String,
    /// Another process may get its number, but not its beginning.
    begun: String,
}

impl Process {
    fn of(pid: u32) -> Result<Process, Failure> {
        let stat = format!("/proc/{pid}/stat");
        let begun = begun(&stat).ok_or_else(|| Ending::Usage.says(format!("--with {pid}: there is no such process")))?;
        Ok(Process { stat, begun })
    }

    fn has_ended(&self) -> bool {
        begun(&self.stat).as_ref() != Some(&self.begun)
    }
}

/// When a process began; `None`: it has ended, whether or not its parent knows.
fn begun(stat: &str) -> Option<String> {
    let stat = std::fs::read_to_string(stat).ok()?;
    // 42 (name) S 1 ...: the name is whatever stands between the first and the last parenthesis; the start is the 22nd field.
    let rest: Vec<&str> = stat.rsplit_once(") ")?.1.split(' ').collect();
    (rest[0] != "Z").then(|| rest.get(19).map(|field| (*field).to_owned()))?
}

pub(super) fn supervise(args: UpArgs) -> Result<Ending, Failure> {
    let _ = nix::unistd::setsid(); // a terminal that is closed must not end us
    umask(Mode::from_bits_truncate(0o077)); // the socket is its owner's
    let dir = args.dir.clone();
    let started = start(args);
    let (mut supervisor, listener) = match started {
        Ok(started) => started,
        Err(failure) => {
            let code = failure.ending;
            tell(&Reply::of(Err(failure)));
            return Ok(code); // it has been said
        }
    };
    let status = supervisor.status();
    if !tell(&Reply::of(status)) {
        return Ok(Ending::Passed); // whoever wanted it has gone
    }
    be_quiet();
    supervisor.serve(&listener, &dir)
}

fn start(args: UpArgs) -> Result<(Supervisor, UnixListener), Failure> {
    let cannot = |what: &'static str| move |error: io::Error| Ending::Io.says(format!("cannot {what}: {error}"));
    let with = args.with.map(Process::of).transpose()?;
    let seed = args.seed.unwrap_or_else(|| fastrand::u64(..));
    let mut cluster = Cluster::start(Options {
        kvnode: args.kvnode,
        dir: args.dir.clone(),
        nodes: args.nodes,
        clients: args.clients,
        run_args: args.run_args,
        apply_traces: false,
        backend: args.net,
        seed,
        epoch: Instant::now(),
    })?;
    cluster.wait_healthy(args.wait)?;
    let backend = super::show::backend(cluster.network().backend());
    let listener = listen(&args.dir).map_err(cannot("listen to commands"))?;
    Ok((Supervisor { cluster, backend, seed, with }, listener))
}

fn listen(dir: &Path) -> io::Result<UnixListener> {
    use std::os::fd::AsRawFd as _;
    let directory = File::open(dir)?;
    // Whoever is asking has the lock: an old socket is nobody's.
    let _ = std::fs::remove_file(dir.join(SOCKET));
    // The path of a socket may not be longer than 107 bytes, that of a directory may.
    let listener = UnixListener::bind(format!("/proc/self/fd/{}/{SOCKET}", directory.as_raw_fd()))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// To whoever started us; whether it still listens.
fn tell(reply: &Reply) -> bool {
    let line = serde_json::to_string(reply).unwrap_or_default();
    let mut out = io::stdout().lock();
    writeln!(out, "{line}").and_then(|()| out.flush()).is_ok()
}

/// Nobody reads our output any more.
fn be_quiet() {
    if let Ok(null) = OpenOptions::new().write(true).open("/dev/null") {
        let _ = nix::unistd::dup2_stdout(&null);
    }
}

impl Supervisor {
    fn serve(&mut self, listener: &UnixListener, dir: &Path) -> Result<Ending, Failure> {
        loop {
            let mut descriptors = [PollFd::new(listener.as_fd(), PollFlags::POLLIN)];
            let _ = poll(&mut descriptors, PollTimeout::from(TURN_MS)); // interrupted or not, the next turn is due
            if let Err(failure) = self.cluster.turn() {
                let _ = writeln!(io::stderr(), "chaos: {failure}"); // and goes on: what is left can still be healed
            }
            if self.with.as_ref().is_some_and(Process::has_ended) {
                self.cluster.stop()?;
                remove_socket(dir);
                return Ok(Ending::Passed);
            }
            let Ok((stream, _)) = listener.accept() else { continue };
            if self.answer(stream, dir) {
                return Ok(Ending::Passed);
            }
        }
    }

    /// Does what one command wants; whether that was all.
    fn answer(&mut self, stream: UnixStream, dir: &Path) -> bool {
        let Some(request) = read(&stream) else { return false };
        let is_last = matches!(request, Request::Down);
        let outcome = self.act(request);
        let is_over = is_last && outcome.is_ok();
        if is_over {
            remove_socket(dir);
        }
        let line = serde_json::to_string(&Reply::of(outcome)).unwrap_or_default();
        let _ = writeln!(&stream, "{line}"); // who has gone does not want to know
        if is_over {
            std::mem::forget(stream); // it is closed when we have ended, and with us everything else
        }
        is_over
    }

    fn act(&mut self, request: Request) -> Result<Value, Failure> {
        let internal = |error: serde_json::Error| Ending::Internal.says(error);
        match request {
            Request::Inject { words, lasts_ms } => {
                let fault = Fault::parse(&words).map_err(|why| Ending::Usage.says(why))?;
                let injected = self.cluster.inject(&fault, lasts_ms.map(Duration::from_millis))?;
                serde_json::to_value(injected).map_err(internal)
            }
            Request::Heal { id: Some(id) } => serde_json::to_value([self.cluster.heal(id)?]).map_err(internal),
            Request::Heal { id: None } => serde_json::to_value(self.cluster.heal_all()?).map_err(internal),
            Request::Status => self.status(),
            Request::Host { name } => self.way_to(&name),
            Request::Down => self.cluster.stop().map(|()| Value::Null),
        }
    }

    fn status(&mut self) -> Result<Value, Failure> {
        self.cluster.turn()?;
        let overview = self.cluster.overview()?;
        let faults = self.cluster.faults_with_effects()?;
        let hosts = self.cluster.network().hosts();
        let node = |(node, host): (&crate::cluster::node::Node, &crate::host::network::Host)| {
            let status = overview.rows.iter().find(|row| row.address == node.client_addr).and_then(|row| row.status());
            let ended = node.ended_by_itself().map(kvcli::demo::cluster::ending);
            json!({
                "name": node.name, "process": node.state(), "ended": ended, "pid": node.pid(), "address": host.address,
                "client_addr": node.client_addr, "peer_addr": node.peer_addr, "log": node.log, "data": node.dir,
                "role": status.map(|status| kvcli::overview::role_name(status.role)), "term": status.map(|status| status.term.0),
                "applied_index": status.map(|status| status.applied_index.0),
            })
        };
        let nodes: Vec<Value> = self.cluster.nodes().iter().zip(hosts).map(node).collect();
        Ok(json!({
            "nodes": nodes, "headline": overview.headline(), "verdict": overview.verdict.name(),
            "leader": overview.leader.map(|id| overview.name_of(id)), "faults": faults,
            "endpoints": self.cluster.endpoints(), "backend": self.backend, "seed": self.seed, "pid": std::process::id(),
            "clients": hosts.iter().map(|host| &host.name).filter(|name| name.starts_with('c') && *name != "chaos").collect::<Vec<_>>(),
        }))
    }

    fn way_to(&self, name: &str) -> Result<Value, Failure> {
        let network = self.cluster.network();
        let found = network.find(name).ok_or_else(|| {
            let known: Vec<&str> = network.hosts().iter().map(|host| host.name.as_str()).collect();
            Ending::Usage.says(format!("no host {name}: there are {}", known.join(", ")))
        })?;
        let us = std::process::id();
        Ok(json!({
            "user": format!("/proc/{us}/ns/user"), "mount": format!("/proc/{us}/ns/mnt"), "network": network.hosts()[found].network.path(),
            "processes": format!("/proc/{}/ns/pid", self.cluster.holder()), "endpoints": self.cluster.endpoints(),
            "mark": self.cluster.mark(),
        }))
    }
}

fn remove_socket(dir: &Path) {
    let _ = std::fs::remove_file(dir.join(SOCKET)); // a stale one harms nobody
}

fn read(stream: &UnixStream) -> Option<Request> {
    stream.set_nonblocking(false).ok()?;
    stream.set_read_timeout(Some(REQUEST_WAIT)).ok()?;
    stream.set_write_timeout(Some(REQUEST_WAIT)).ok()?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).ok()?;
    serde_json::from_str(&line).ok()
}
