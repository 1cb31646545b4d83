//! `kvnode run`: from a directory to a running node. Each step that fails says what to do about it.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Instant;

use data::{Identity, OpenError, Options, SnapshotDamage, SnapshotFault, Store};
use kvnode::{Bounds, MaxLogBytes, Node, NodeConfig, NodeError};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use raft::Incarnation;

use crate::address::Address;
use crate::apply_trace::ApplyTrace;
use crate::cli::{LogBytes, RunArgs, Tuning};
use crate::exit::{Exit, Failure, OrExit};
use crate::init::{lock, open_disk, read_identity};
use crate::logging::Log;
use crate::server::{Listener, Parts, Server, fatal, look_up};
use crate::signals::Signals;
use crate::{holder, notify};

/// Recent entries kept in memory for peers that are a little behind.
const CACHE_BYTES: usize = 16 << 20;

/// How long to wait before a name of our own is looked up again.
const LOOKUP_AGAIN_MS: u16 = 1000;

/// Where a node listens, and what it tells others to connect to.
pub(crate) struct Addresses {
    pub(crate) listen_client: Address,
    pub(crate) listen_peer: Address,
    pub(crate) advertise_client: Option<Address>,
    pub(crate) advertise_peer: Option<Address>,
}

/// `kvnode run`.
pub(crate) fn run(args: &RunArgs) -> Result<(), Failure> {
    let signals = Signals::block().or_exit(Exit::Internal, || "cannot block signals")?;
    let dir = &args.data_dir;
    let not_initialised = || {
        let init = format!("kvnode init --data-dir {} --name NAME --cluster NAME=HOST:PORT,...", dir.display());
        Exit::Config.says(format!("{} was never initialised; make it a node first: {init}", dir.display()))
    };
    if !dir.is_dir() {
        return Err(not_initialised());
    }
    let identity = read_identity(dir, &mut open_disk(dir)?)?.ok_or_else(not_initialised)?;
    let own = identity.members.iter().find(|member| member.id == identity.node);
    let own = own.ok_or_else(|| Exit::Corrupt.says(format!("{}/identity: it does not list its own node", dir.display())))?;
    let peer_addr: Address = own.peer_addr.parse().map_err(|error| Exit::Corrupt.says(format!("{}/identity: {error}", dir.display())))?;
    let addresses = Addresses {
        listen_client: args.listen_client.clone(),
        listen_peer: args.listen_peer.clone().unwrap_or(peer_addr),
        advertise_client: args.advertise_client.clone(),
        advertise_peer: args.advertise_peer.clone(),
    };
    let started = start(dir, &identity, &addresses, &args.tuning, signals, |_| {})?;
    started.run()
}

/// Opens everything and says so; `ready` is told where clients connect.
pub(crate) fn start(
    dir: &Path,
    identity: &Identity,
    addresses: &Addresses,
    tuning: &Tuning,
    signals: Signals,
    ready: impl FnOnce(SocketAddr),
) -> Result<Started, Failure> {
    if tuning.election_ticks < 2 * tuning.heartbeat_ticks {
        let (election, heartbeat) = (tuning.election_ticks, tuning.heartbeat_ticks);
        let message = format!(
            "--election-ticks {election} must be at least twice --heartbeat-ticks {heartbeat}, or one lost heartbeat ends a leadership"
        );
        return Err(Exit::Usage.says(message));
    }
    let begun = Instant::now();
    let log = Log::start(&format!("{} starting t0", identity.name)).map_err(|error| Exit::Usage.says(error))?;
    let lock = lock(dir)?;
    let trace = tuning.apply_trace.as_deref().map(ApplyTrace::open).transpose()?;
    let descriptors = raise_descriptor_limit();
    let client = listen("client", &addresses.listen_client, addresses.advertise_client.as_ref(), &signals, &log)?;
    let peer = listen("peer", &addresses.listen_peer, addresses.advertise_peer.as_ref(), &signals, &log)?;
    let (Some((client, client_addr)), Some((peer, peer_addr))) = (client, peer) else {
        return Ok(Started::Stopped(log));
    };
    let exposed: Vec<String> = [client.address, peer.address].iter().filter(|at| !at.ip().is_loopback()).map(ToString::to_string).collect();
    if !exposed.is_empty() {
        tracing::warn!("there is no TLS yet: whoever reaches {} can read and write everything", exposed.join(" or "));
    }

    let disk = open_disk(dir)?;
    let max_log_bytes = match tuning.max_log_bytes {
        None => MaxLogBytes::Default,
        Some(LogBytes::Never) => MaxLogBytes::Never,
        Some(LogBytes::Above(bytes)) => MaxLogBytes::Above(bytes),
    };
    let segments_for = if let MaxLogBytes::Above(bytes) = max_log_bytes { Some(bytes) } else { None };
    let opened = Store::open(disk, identity, Options { max_log_bytes: segments_for, cache_bytes: CACHE_BYTES });
    let (mut store, recovered) = opened.map_err(|error| open_failure(dir, identity, &error))?;
    let (first, last) = (recovered.base.index.next(), recovered.entries.last().map_or(recovered.base, |meta| meta.id()));
    let [incarnation, seed, link_seed] = random()?;
    let config = NodeConfig {
        identity: identity.clone(),
        incarnation: Incarnation(incarnation),
        seed,
        client_addr: client_addr.clone(),
        peer_addr: peer_addr.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        election_ticks: tuning.election_ticks,
        heartbeat_ticks: tuning.heartbeat_ticks,
        tick_us: u64::try_from(tuning.tick.as_micros()).unwrap_or(u64::MAX),
        max_data_bytes: tuning.max_data_bytes,
        max_log_bytes,
        max_log_entries: tuning.max_log_entries,
        bounds: Bounds::default(),
    };
    let node = Node::new(config, recovered, &mut store, 0).map_err(|error| match error {
        NodeError::Snapshot(error) => open_failure(dir, identity, &error),
        NodeError::Image { .. } => Exit::Corrupt.says(format!("{}/{error}{}", dir.display(), untrusted(dir, identity))),
        error => fatal(&error),
    })?;
    log.set_who(format!("{} {} {}", identity.name, node.role(), node.term()));
    tracing::info!("node {} of cluster {}, data in {}, log {first} to {last}", identity.node.0, identity.cluster_id, dir.display());
    tracing::info!("clients at {client_addr}, peers at {peer_addr}, ready after {} ms", begun.elapsed().as_millis());
    let client_socket = client.address;
    let server = Server::new(Parts {
        node,
        store,
        cluster_id: identity.cluster_id,
        listeners: [client, peer],
        signals,
        log: log.clone(),
        trace,
        name: identity.name.clone(),
        tick: tuning.tick,
        heartbeat_ticks: tuning.heartbeat_ticks,
        election_ticks: tuning.election_ticks,
        seed: link_seed,
        descriptors,
        start: Instant::now(),
    })?;
    log.flush();
    notify::ready(&format!("{} waits for a leader", identity.name));
    ready(client_socket);
    Ok(Started::Running { server: Box::new(server), log, _lock: lock })
}

/// A node that is up, or was asked to stop before it was.
pub(crate) enum Started {
    Stopped(Log),
    Running { server: Box<Server>, log: Log, _lock: data::LockGuard },
}

impl Started {
    /// Runs until it is asked to stop.
    pub(crate) fn run(self) -> Result<(), Failure> {
        match self {
            Started::Stopped(log) => {
                log.finish();
                Ok(())
            }
            Started::Running { server, log, _lock } => {
                let outcome = server.run();
                log.finish();
                outcome
            }
        }
    }
}

/// Listens, and says what others connect to. `None`: asked to stop while the name of our own address did not resolve.
fn listen(
    who: &str,
    listen: &Address,
    advertise: Option<&Address>,
    signals: &Signals,
    log: &Log,
) -> Result<Option<(Listener, String)>, Failure> {
    if listen.is_wildcard() && advertise.is_none() {
        let fix = format!("add --advertise-{who} HOST:{}, the address that others reach this node at", listen.port);
        return Err(
            Exit::Config.says(format!("--listen-{who} {listen} listens everywhere, and nobody can be told to connect to it: {fix}"))
        );
    }
    if let Some(advertise) = advertise.filter(|advertise| advertise.is_wildcard() || advertise.port == 0) {
        return Err(Exit::Config.says(format!("--advertise-{who} {advertise}: nobody can connect to that")));
    }
    let mut told = false;
    let socket = loop {
        match look_up(listen) {
            Ok(socket) => break socket,
            Err(error) if !told => {
                told = true;
                tracing::warn!("--listen-{who}: {error}; trying again every second");
            }
            Err(_) => {}
        }
        log.flush();
        signals.wait(LOOKUP_AGAIN_MS);
        if signals.take().is_some() {
            return Ok(None);
        }
    };
    let listener = Listener::bind(socket).map_err(|error| {
        let cannot = format!("--listen-{who}: cannot listen on {listen}");
        match error.kind() {
            std::io::ErrorKind::AddrInUse => {
                let holder = holder::of(socket).unwrap_or_else(|| "another process".to_owned());
                Exit::Config
                    .says(format!("{cannot}: it is in use by {holder}; stop that, or give this node another address with --listen-{who}"))
            }
            std::io::ErrorKind::AddrNotAvailable => {
                let fix = format!("--listen-{who} with an address of this machine, and --advertise-{who} {listen}");
                Exit::Config.says(format!("{cannot}: it is no address of this machine. Behind an address translation, use {fix}"))
            }
            std::io::ErrorKind::PermissionDenied => Exit::Config.says(format!("{cannot}: {error}; ports below 1024 need a privilege")),
            _ => Exit::Io.says(format!("{cannot}: {error}")),
        }
    })?;
    let told_to_connect =
        advertise.cloned().unwrap_or_else(|| if listen.port == 0 { Address::of(listener.address) } else { listen.clone() });
    Ok(Some((listener, told_to_connect.to_string())))
}

fn open_failure(dir: &Path, identity: &Identity, error: &OpenError) -> Failure {
    let exit = match error {
        OpenError::Version { .. } | OpenError::Snapshot { damage: SnapshotDamage { what: SnapshotFault::Version(_), .. }, .. } => {
            Exit::Config
        }
        OpenError::Corrupt { .. } | OpenError::Snapshot { .. } => Exit::Corrupt,
        OpenError::Io { .. } => Exit::Io,
    };
    let fix = match exit {
        Exit::Corrupt => untrusted(dir, identity),
        _ => String::new(),
    };
    exit.says(format!("{}/{error}{fix}", dir.display()))
}

/// What to do about a directory that is damaged.
fn untrusted(dir: &Path, identity: &Identity) -> String {
    let Identity { name, node, members, .. } = identity;
    let peer_addr = members.iter().find(|member| member.id == *node).map_or("HOST:PORT", |member| member.peer_addr.as_str());
    format!(
        ". This copy cannot be trusted; `kvnode dump {}` shows what is left. Nothing was changed. The other members have the data: to let \
         this one begin anew, kvcli member replace {name} {name}={peer_addr}",
        dir.display()
    )
}

/// Every client and peer is a descriptor: takes what the system allows, and says how many that are.
fn raise_descriptor_limit() -> u64 {
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return 1024 };
    if hard <= soft {
        return soft;
    }
    match setrlimit(Resource::RLIMIT_NOFILE, hard, hard) {
        Ok(()) => hard,
        Err(error) => {
            tracing::warn!("cannot raise the limit of {soft} open files to {hard}: {error}");
            soft
        }
    }
}

fn random() -> Result<[u64; 3], Failure> {
    let mut numbers = [0; 3];
    for number in &mut numbers {
        *number = getrandom::u64().map_err(|error| Exit::Io.says(format!("the system has no random bytes: {error}")))?;
    }
    Ok(numbers)
}
