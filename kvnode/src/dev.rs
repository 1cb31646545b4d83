//! `kvnode dev`: a cluster of one on loopback, with the same disk writes as any other.

use data::RealDisk;

use crate::address::Address;
use crate::cli::{Cluster, DevArgs, Tuning};
use crate::exit::{Exit, Failure, OrExit, say};
use crate::init::{first_entry, lock, read_identity, wanted};
use crate::run::{Addresses, start};
use crate::signals::Signals;

/// The one member's name.
const NAME: &str = "n1";

/// Part of the identity and never dialled: a cluster of one has no peers.
const PEER_ADDR: &str = "127.0.0.1:7217";

/// `kvnode dev`.
pub(crate) fn dev(args: &DevArgs) -> Result<(), Failure> {
    let signals = Signals::block().or_exit(Exit::Internal, || "cannot block signals")?;
    let address = |text: &str| text.parse::<Address>().map_err(|error| Exit::Internal.says(error));
    // Dropped at the end, and then it is gone.
    let (_temporary, dir) = match &args.data_dir {
        Some(dir) => (None, dir.clone()),
        None => {
            let temporary = tempfile::Builder::new().prefix("kvnode-dev-").tempdir().or_exit(Exit::Io, || "cannot create a directory")?;
            let dir = temporary.path().to_owned();
            (Some(temporary), dir)
        }
    };
    let mut disk = RealDisk::create(&dir).or_exit(Exit::Io, || format!("cannot create {}", dir.display()))?;
    let identity = match read_identity(&dir, &mut disk)? {
        Some(identity) if identity.members.len() == 1 => identity,
        Some(identity) => {
            let message = format!("{} belongs to a cluster of {} nodes: use `kvnode run`", dir.display(), identity.members.len());
            return Err(Exit::Config.says(message));
        }
        None => {
            let identity = wanted(&Cluster(vec![(NAME.to_owned(), address(PEER_ADDR)?)]), NAME, "dev")?;
            let _lock = lock(&dir)?;
            data::init(&mut disk, &identity, &first_entry(&identity))
                .or_exit(Exit::Io, || format!("cannot initialise {}", dir.display()))?;
            identity
        }
    };
    drop(disk);
    let addresses = Addresses {
        listen_client: args.listen_client.clone(),
        listen_peer: address("127.0.0.1:0")?,
        advertise_client: None,
        advertise_peer: None,
    };
    let kept = if args.data_dir.is_some() { "" } else { ", gone when this ends" };
    let started = start(&dir, &identity, &addresses, &Tuning::default(), signals, |clients| {
        say(format_args!("one node at {clients}, data in {}{kept}. Try:\n  kvcli --endpoints {clients} put hello world", dir.display()));
    })?;
    started.run()
}
