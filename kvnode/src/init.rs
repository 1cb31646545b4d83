//! `kvnode init`: makes a directory a node of a new cluster, offline. What it writes besides the disk id follows from its arguments, so
//! every node writes the same first log entry.

use std::path::Path;

use data::{Disk, Identity, InitError, InitialMember, LockError, LockGuard, RealDisk};
use raft::{DiskId, EntryHeader, EntryKind, NodeId, Term};
use wire::Member;

use crate::cli::{Cluster, InitArgs};
use crate::exit::{Exit, Failure, OrExit, say};

/// `kvnode init`.
pub(crate) fn init(args: &InitArgs) -> Result<(), Failure> {
    let dir = &args.data_dir;
    let identity = wanted(&args.cluster, &args.name, &args.cluster_token)?;
    let mut disk = RealDisk::create(dir).or_exit(Exit::Io, || format!("cannot create {}", dir.display()))?;
    if let Some(present) = read_identity(dir, &mut disk)? {
        return compare(dir, &present, &identity);
    }
    let _lock = lock(dir)?;
    match data::init(&mut disk, &identity, &first_entry(&identity)) {
        Ok(()) => {
            say(format_args!(
                "initialised {} as {}, node {} of cluster {}",
                dir.display(),
                identity.name,
                identity.node.0,
                identity.cluster_id
            ));
            Ok(())
        }
        // Another `init` was faster.
        Err(InitError::AlreadyInitialised) => match read_identity(dir, &mut disk)? {
            Some(present) => compare(dir, &present, &identity),
            None => Err(Exit::Io.says(format!("{}: the identity came and went; is another process at work here?", dir.display()))),
        },
        Err(error @ InitError::LogWithoutIdentity { .. }) => Err(Exit::Config.says(format!("{}/{error}", dir.display()))),
        Err(error) => Err(Exit::Io.because(anyhow::Error::new(error).context(format!("cannot initialise {}", dir.display())))),
    }
}

/// The directory as a disk.
pub(crate) fn open_disk(dir: &Path) -> Result<RealDisk, Failure> {
    RealDisk::open(dir).or_exit(Exit::Io, || format!("cannot open {}", dir.display()))
}

/// The identity in a directory, if there is one.
pub(crate) fn read_identity(dir: &Path, disk: &mut impl Disk) -> Result<Option<Identity>, Failure> {
    data::read_identity(disk).map_err(|error| {
        let exit = match &error {
            data::IdentityError::Corrupt { .. } => Exit::Corrupt,
            data::IdentityError::Version { .. } => Exit::Config,
            data::IdentityError::Io(_) => Exit::Io,
        };
        exit.says(format!("{}/{error}", dir.display()))
    })
}

/// Keeps the directory to this process.
pub(crate) fn lock(dir: &Path) -> Result<LockGuard, Failure> {
    data::lock(dir).map_err(|error| match error {
        LockError::Held { pid } => {
            Exit::Config.says(format!("{} is in use by process {pid}: stop it first, or choose another --data-dir", dir.display()))
        }
        error @ LockError::Io(_) => Exit::Io.says(format!("cannot lock {}: {error}", dir.display())),
    })
}

/// The identity that these arguments ask for, with a fresh disk id.
pub(crate) fn wanted(cluster: &Cluster, name: &str, token: &str) -> Result<Identity, Failure> {
    let members: Vec<InitialMember> = (1..)
        .zip(&cluster.0)
        .map(|(id, (name, address))| InitialMember { id: NodeId(id), name: name.clone(), peer_addr: address.to_string() })
        .collect();
    let Some(node) = members.iter().find(|member| member.name == name).map(|member| member.id) else {
        let names: Vec<&str> = members.iter().map(|member| member.name.as_str()).collect();
        return Err(Exit::Usage.says(format!("--name {name} is not in --cluster, which has {}", names.join(", "))));
    };
    let pairs: Vec<(&str, &str)> = members.iter().map(|member| (member.name.as_str(), member.peer_addr.as_str())).collect();
    let cluster_id = data::cluster_id(token, &pairs);
    let mut disk_id = [0; 16];
    getrandom::fill(&mut disk_id).map_err(|error| Exit::Io.says(format!("the system has no random bytes: {error}")))?;
    Ok(Identity { cluster_id, node, name: name.to_owned(), disk_id: DiskId(u128::from_le_bytes(disk_id)), members })
}

/// Log entry 1: the whole membership, of term 0 and time 0, the same bytes on every node.
pub(crate) fn first_entry(identity: &Identity) -> Vec<u8> {
    let members: Vec<Member> = identity
        .members
        .iter()
        .map(|member| Member { id: member.id, name: member.name.clone(), peer_addr: member.peer_addr.clone(), voter: true })
        .collect();
    let mut payload = Vec::new();
    wire::encode_membership(&members, &mut payload);
    let payload_len = u32::try_from(payload.len()).expect("MEMBERS_MAX members are some kilobytes");
    let header = EntryHeader { term: Term(0), time_ms: 0, payload_len, kind: EntryKind::Membership };
    let mut entry = header.encode().to_vec();
    entry.extend_from_slice(&payload);
    entry
}

/// The directory is initialised already: as asked, or as something else.
fn compare(dir: &Path, present: &Identity, wanted: &Identity) -> Result<(), Failure> {
    let differences = differences(present, wanted);
    if differences.is_empty() {
        say(format_args!(
            "{} is already initialised as {}, node {} of cluster {}",
            dir.display(),
            present.name,
            present.node.0,
            present.cluster_id
        ));
        return Ok(());
    }
    Err(Exit::Config.says(format!(
        "{} is already initialised, and differently; nothing was changed:\n  {}\nRun it as it is, or choose another --data-dir",
        dir.display(),
        differences.join("\n  ")
    )))
}

fn differences(present: &Identity, wanted: &Identity) -> Vec<String> {
    let mut differences = Vec::new();
    if present.name != wanted.name {
        differences.push(format!("--name: it is {}, not {}", present.name, wanted.name));
    }
    for member in &wanted.members {
        match present.members.iter().find(|other| other.name == member.name) {
            None => differences.push(format!("--cluster: it does not have {}={}", member.name, member.peer_addr)),
            Some(other) if other.peer_addr != member.peer_addr => {
                differences.push(format!("--cluster: it has {}={}, not {}", other.name, other.peer_addr, member.peer_addr));
            }
            Some(_) => {}
        }
    }
    for member in &present.members {
        if wanted.members.iter().all(|other| other.name != member.name) {
            differences.push(format!("--cluster: it has {}={} too", member.name, member.peer_addr));
        }
    }
    if differences.iter().all(|difference| difference.starts_with("--name")) && present.cluster_id != wanted.cluster_id {
        differences.push(format!("--cluster-token: it is of cluster {}, the token makes it {}", present.cluster_id, wanted.cluster_id));
    }
    differences
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(cluster: &str, name: &str, token: &str) -> Identity {
        let members = cluster.split(',').map(|part| part.split_once('=').unwrap());
        let cluster = Cluster(members.map(|(name, address)| (name.to_owned(), address.parse().unwrap())).collect());
        wanted(&cluster, name, token).unwrap()
    }

    #[test]
    fn the_first_entry_is_the_same_on_every_node() {
        let (one, two) = (identity("n1=h:1,n2=h:2", "n1", ""), identity("n1=h:1,n2=h:2", "n2", ""));
        assert_eq!(first_entry(&one), first_entry(&two));
        assert_eq!(one.cluster_id, two.cluster_id);
        assert_ne!(one.disk_id, two.disk_id);
        assert_eq!((one.node, two.node), (NodeId(1), NodeId(2)));
    }

    #[test]
    fn every_difference_is_named() {
        let present = identity("n1=h:1,n2=h:2", "n1", "");
        let lines = |cluster: &str, name: &str, token: &str| differences(&present, &identity(cluster, name, token));
        assert_eq!(lines("n1=h:1,n2=h:2", "n1", ""), [""; 0]);
        assert_eq!(lines("n1=h:1,n2=h:2", "n2", ""), ["--name: it is n1, not n2"]);
        assert_eq!(
            lines("n1=h:9,n3=h:3", "n3", ""),
            [
                "--name: it is n1, not n3",
                "--cluster: it has n1=h:1, not h:9",
                "--cluster: it does not have n3=h:3",
                "--cluster: it has n2=h:2 too"
            ]
        );
        let token = lines("n1=h:1,n2=h:2", "n1", "other");
        assert!(matches!(token.as_slice(), [line] if line.starts_with("--cluster-token")), "{token:?}");
    }

    #[test]
    fn a_name_outside_the_cluster_is_a_usage_error() {
        let cluster = Cluster(vec![("n1".to_owned(), "h:1".parse().unwrap())]);
        let failure = wanted(&cluster, "n9", "").unwrap_err();
        assert_eq!(failure.exit, Exit::Usage);
        assert!(failure.to_string().contains("n9"), "{failure}");
    }
}
