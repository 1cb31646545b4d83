//! The command line. Every flag has an environment variable, `KVNODE_` and its name; the flag wins.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use wire::limits::{MEMBERS_MAX, NAME_LEN_MAX};

use crate::address::Address;

/// What `kvnode` alone prints: never a server, for a forgotten configuration must not come up as a cluster of one.
pub(crate) const HINT: &str = "\
kvnode: a replica of a replicated key/value store.

  one node, to try:    kvnode dev
  three of them:       kvnode init --data-dir D1 --name n1 --cluster n1=HOST:PORT,n2=HOST:PORT,n3=HOST:PORT
                       kvnode run  --data-dir D1
                       ... and the same with n2 and n3, each with its own directory
  talk to them:        kvcli --endpoints HOST:7117 put hello world
  look into one:       kvnode dump D1

Options of each command: kvnode help COMMAND
";

const LOG_HELP: &str = "Lines for people go to stderr. KVNODE_LOG=debug shows more of them, KVNODE_LOG=warn fewer.";

/// A replica of kvraft.
#[derive(Parser, Debug)]
#[command(name = "kvnode", version, about = "A replica of a replicated key/value store", max_term_width = 120)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    /// Make DIR a node of a new cluster. Offline; the same arguments again change nothing
    Init(InitArgs),
    /// Run the node that lives in DIR until SIGTERM or SIGINT
    #[command(after_help = LOG_HELP)]
    Run(Box<RunArgs>),
    /// Run a cluster of one on loopback, to try things: real disk writes, a temporary directory unless --data-dir
    Dev(DevArgs),
    /// Print what lies in DIR: identity, segments, batches, entries. Read-only; damage is named, exit 65
    Dump(DumpArgs),
}

#[derive(Args, Debug)]
pub(crate) struct InitArgs {
    /// Where the node keeps everything
    #[arg(long, value_name = "DIR", env = "KVNODE_DATA_DIR")]
    pub(crate) data_dir: PathBuf,
    /// Which of the members this directory belongs to
    #[arg(long, value_name = "NAME", env = "KVNODE_NAME", value_parser = parse_name)]
    pub(crate) name: String,
    /// All members with the addresses they reach each other at; the same list on every node
    #[arg(long, value_name = "n1=HOST:PORT,...", env = "KVNODE_CLUSTER", value_parser = parse_cluster)]
    pub(crate) cluster: Cluster,
    /// Tells apart clusters of the same members: nodes of different tokens refuse each other
    #[arg(long, value_name = "TOKEN", env = "KVNODE_CLUSTER_TOKEN", default_value = "", hide_default_value = true)]
    pub(crate) cluster_token: String,
}

#[derive(Args, Debug)]
pub(crate) struct RunArgs {
    /// The directory that `kvnode init` made
    #[arg(long, value_name = "DIR", env = "KVNODE_DATA_DIR")]
    pub(crate) data_dir: PathBuf,
    /// Where clients connect
    #[arg(long, value_name = "HOST:PORT", env = "KVNODE_LISTEN_CLIENT", default_value = "127.0.0.1:7117")]
    pub(crate) listen_client: Address,
    /// Where peers connect [default: this node's address in `init --cluster`]
    #[arg(long, value_name = "HOST:PORT", env = "KVNODE_LISTEN_PEER")]
    pub(crate) listen_peer: Option<Address>,
    /// What clients are told to connect to [default: --listen-client]
    #[arg(long, value_name = "HOST:PORT", env = "KVNODE_ADVERTISE_CLIENT")]
    pub(crate) advertise_client: Option<Address>,
    /// What peers are told to connect to [default: --listen-peer]
    #[arg(long, value_name = "HOST:PORT", env = "KVNODE_ADVERTISE_PEER")]
    pub(crate) advertise_peer: Option<Address>,
    #[command(flatten)]
    pub(crate) tuning: Tuning,
}

/// What most nodes leave alone.
#[derive(Args, Clone, Debug)]
pub(crate) struct Tuning {
    /// The unit of time
    #[arg(long, value_name = "TIME", env = "KVNODE_TICK", default_value = "10ms", value_parser = parse_tick)]
    pub(crate) tick: Duration,
    /// A leader speaks up this often
    #[arg(long, value_name = "N", env = "KVNODE_HEARTBEAT_TICKS", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) heartbeat_ticks: u32,
    /// A follower that hears nothing for this long, or up to twice as long, asks for an election
    #[arg(long, value_name = "N", env = "KVNODE_ELECTION_TICKS", default_value_t = 30, value_parser = clap::value_parser!(u32).range(2..=10_000))]
    pub(crate) election_ticks: u32,
    /// Take a snapshot when the log above the last one is longer than this; -1: never [default: the larger of 64MiB and the last snapshot, or 200,000 entries]
    #[arg(long, value_name = "SIZE|-1", env = "KVNODE_MAX_LOG_BYTES", allow_hyphen_values = true, value_parser = parse_log_bytes)]
    pub(crate) max_log_bytes: Option<LogBytes>,
    /// Take a snapshot when the log above the last one has this many entries, too: for tests
    #[arg(long, value_name = "N", env = "KVNODE_MAX_LOG_ENTRIES", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) max_log_entries: Option<u64>,
    /// Answer "busy: full" to writes while keys and values take more than this; deletes go on
    #[arg(long, value_name = "SIZE", env = "KVNODE_MAX_DATA_BYTES", value_parser = parse_size)]
    pub(crate) max_data_bytes: Option<u64>,
    /// Append a JSON line to FILE for every client's write that this node applies: index, term, session, seq, outcome. Not synced; it only grows
    #[arg(long, value_name = "FILE", env = "KVNODE_APPLY_TRACE")]
    pub(crate) apply_trace: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub(crate) struct DevArgs {
    /// Keep the data here; without it, it is gone at the end
    #[arg(long, value_name = "DIR", env = "KVNODE_DATA_DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Where clients connect; port 0: any free one
    #[arg(long, value_name = "HOST:PORT", env = "KVNODE_LISTEN_CLIENT", default_value = "127.0.0.1:7117")]
    pub(crate) listen_client: Address,
}

#[derive(Args, Debug)]
pub(crate) struct DumpArgs {
    /// A node's directory; the node may be running
    #[arg(value_name = "DIR")]
    pub(crate) data_dir: PathBuf,
}

impl Default for Tuning {
    fn default() -> Tuning {
        /// `Tuning` as a command line of its own.
        #[derive(Parser)]
        struct Alone {
            #[command(flatten)]
            tuning: Tuning,
        }
        Alone::parse_from([""; 1]).tuning
    }
}

/// `--max-log-bytes`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum LogBytes {
    Never,
    Above(u64),
}

/// `--cluster`: members by name, in order of name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Cluster(pub(crate) Vec<(String, Address)>);

fn parse_cluster(text: &str) -> Result<Cluster, String> {
    let mut members: Vec<(String, Address)> = Vec::new();
    for part in text.split(',') {
        let (name, address) = part.split_once('=').ok_or_else(|| format!("{part:?}: a member is written NAME=HOST:PORT"))?;
        let (name, address) = (parse_name(name)?, address.parse::<Address>().map_err(|error| format!("member {name}: {error}"))?);
        if address.port == 0 || address.is_wildcard() {
            return Err(format!("member {name}: nobody can connect to {address}"));
        }
        if members.iter().any(|(other, _)| *other == name) {
            return Err(format!("two members are named {name}"));
        }
        if let Some((other, _)) = members.iter().find(|(_, other)| *other == address) {
            return Err(format!("members {other} and {name} have the same address, {address}"));
        }
        members.push((name, address));
    }
    if members.len() > MEMBERS_MAX {
        return Err(format!("{} members where {MEMBERS_MAX} are allowed", members.len()));
    }
    members.sort_by(|(a, _), (b, _)| a.cmp(b));
    Ok(Cluster(members))
}

fn parse_name(name: &str) -> Result<String, String> {
    let bad = |why: &str| Err(format!("{name:?} is no name for a node: {why}"));
    if name.is_empty() {
        return bad("it is empty");
    }
    if name.len() > NAME_LEN_MAX {
        return bad("it is too long");
    }
    if !name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b)) || !name.as_bytes()[0].is_ascii_alphanumeric() {
        return bad("letters, digits, '-', '_' and '.', beginning with a letter or digit");
    }
    Ok(name.to_owned())
}

fn parse_tick(text: &str) -> Result<Duration, String> {
    let tick = humantime::parse_duration(text).map_err(|error| format!("{error}; write 10ms"))?;
    if (Duration::from_millis(1)..=Duration::from_secs(1)).contains(&tick) { Ok(tick) } else { Err("a tick is from 1ms to 1s".to_owned()) }
}

fn parse_size(text: &str) -> Result<u64, String> {
    text.parse::<bytesize::ByteSize>().map(|size| size.as_u64()).map_err(|error| format!("{error}; write 64MiB"))
}

fn parse_log_bytes(text: &str) -> Result<LogBytes, String> {
    if text == "-1" { Ok(LogBytes::Never) } else { parse_size(text).map(LogBytes::Above) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cluster_error(text: &str) -> String {
        parse_cluster(text).unwrap_err()
    }

    #[test]
    fn the_command_line_is_well_formed() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }

    #[test]
    fn members_come_in_order_of_name() {
        let Cluster(members) = parse_cluster("n2=h:2,n10=h:10,n1=h:1").unwrap();
        assert_eq!(members.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["n1", "n10", "n2"]);
    }

    #[test]
    fn a_bad_cluster_names_what_is_wrong() {
        for (text, named) in [
            ("n1", "\"n1\""),
            ("n1=", "member n1"),
            ("n1=h", "\"h\""),
            ("n1=h:1,", "\"\""),
            ("=h:1", "empty"),
            ("n1=h:1,n1=h:2", "two members are named n1"),
            ("n1=h:1,n2=h:1", "n1 and n2 have the same address, h:1"),
            ("n/1=h:1", "\"n/1\""),
            ("-n=h:1", "\"-n\""),
            ("n1=0.0.0.0:1", "0.0.0.0:1"),
            ("n1=h:0", "h:0"),
        ] {
            assert!(cluster_error(text).contains(named), "{text}: {}", cluster_error(text));
        }
        let many: Vec<String> = (1..=MEMBERS_MAX + 1).map(|i| format!("n{i}=h:{i}")).collect();
        assert!(cluster_error(&many.join(",")).contains("33 members"));
    }

    #[test]
    fn sizes_and_times_carry_units() {
        assert_eq!(parse_size("64MiB"), Ok(64 << 20));
        assert_eq!(parse_log_bytes("-1"), Ok(LogBytes::Never));
        assert_eq!(parse_log_bytes("4KiB"), Ok(LogBytes::Above(4096)));
        assert_eq!(parse_tick("10ms"), Ok(Duration::from_millis(10)));
        assert!(parse_tick("10").unwrap_err().contains("10ms"));
        assert!(parse_tick("1us").is_err());
        assert!(parse_size("much").unwrap_err().contains("64MiB"));
    }
}
