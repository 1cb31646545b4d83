//! Who a node is, in the file `identity`. Written once, by `init`, and last: that it is there proves that the rest of a new directory is.
//!
//! | offset | size | field          | meaning; all integers are little-endian                          |
//! |-------:|-----:|----------------|--------------------------------------------------------------------|
//! |      0 |    8 | magic          | `kvraftid`                                                       |
//! |      8 |    4 | format version | 1                                                                |
//! |     12 |   16 | cluster_id     |                                                                    |
//! |     28 |    8 | node           | this node's id                                                   |
//! |     36 |   16 | disk_id        | drawn by `init`                                                  |
//! |     52 |    2 | name_len       | then the name                                                    |
//! |      - |    2 | member_count   | then for each: id (8), name_len (2), name, addr_len (2), address |
//! |  end-4 |    4 | crc            | CRC-32C of everything before it                                  |
//!
//! A crash during the write leaves no file or the whole one, and maybe `identity.tmp`: it is written under that name, synced, renamed,
//! and the directory synced.

use raft::{ClusterId, DiskId, NodeId};
use sha2::{Digest, Sha256};

use crate::checksum::checksum;
use crate::disk::{Disk, read_all};
use crate::error::{IdentityError, InitError};
use crate::limits::IDENTITY_LEN_MAX;

/// The file.
pub(crate) const IDENTITY: &str = "identity";
const IDENTITY_TMP: &str = "identity.tmp";
const MAGIC: [u8; 8] = *b"kvraftid";
const FORMAT_VERSION: u32 = 1;

/// Who a node is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Identity {
    /// Its cluster.
    pub cluster_id: ClusterId,
    /// Its id there.
    pub node: NodeId,
    /// Its name.
    pub name: String,
    /// Its data directory.
    pub disk_id: DiskId,
    /// Whom it knew when it was made, itself included.
    pub members: Vec<InitialMember>,
}

/// A member that the cluster began with.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct InitialMember {
    /// Its id.
    pub id: NodeId,
    /// Its name.
    pub name: String,
    /// Where peers reach it.
    pub peer_addr: String,
}

/// The cluster that these members form under this token: the same on every node, whatever the order of its arguments. The first 16 bytes
/// of a SHA-256 over the token and then, in order of name, each member's name and address, every field behind its length (4 bytes,
/// little-endian); shown as 32 hexadecimal digits they are the digits that the hash begins with.
pub fn cluster_id(token: &str, members: &[(&str, &str)]) -> ClusterId {
    let mut members = members.to_vec();
    members.sort_unstable();
    let mut hash = Sha256::new();
    let fields = std::iter::once(token).chain(members.iter().flat_map(|(name, peer_addr)| [*name, *peer_addr]));
    for field in fields {
        hash.update(u32::try_from(field.len()).expect("names and addresses are short").to_le_bytes());
        hash.update(field);
    }
    let hash = hash.finalize();
    ClusterId(u128::from_be_bytes(std::array::from_fn(|i| hash[i])))
}

/// Reads the identity; `None`: the directory was never initialised, or an `init` did not finish.
pub fn read_identity<D: Disk>(disk: &mut D) -> Result<Option<Identity>, IdentityError> {
    let file = match disk.open(IDENTITY) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let mut bytes = Vec::new();
    read_all(disk, &file, IDENTITY_LEN_MAX as u64, &mut bytes)?;
    Identity::decode(&bytes).map(Some)
}

/// Writes the identity so that a crash leaves all of it or nothing.
pub(crate) fn write_identity<D: Disk>(disk: &mut D, identity: &Identity) -> Result<(), InitError> {
    let io = |file: &str| {
        let file = file.to_owned();
        move |source| InitError::Io { file, source }
    };
    match disk.remove(IDENTITY_TMP) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(io(IDENTITY_TMP)(error)),
        _ => {}
    }
    let file = disk.create(IDENTITY_TMP).map_err(io(IDENTITY_TMP))?;
    disk.write_at(&file, 0, &identity.encode()).map_err(io(IDENTITY_TMP))?;
    disk.sync(&file).map_err(io(IDENTITY_TMP))?;
    disk.rename(IDENTITY_TMP, IDENTITY).map_err(io(IDENTITY))?;
    disk.sync_dir("").map_err(io("."))
}

impl Identity {
    fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
        bytes.extend_from_slice(&self.cluster_id.0.to_le_bytes());
        bytes.extend_from_slice(&self.node.0.to_le_bytes());
        bytes.extend_from_slice(&self.disk_id.0.to_le_bytes());
        put_text(&mut bytes, &self.name);
        bytes.extend_from_slice(&u16::try_from(self.members.len()).expect("members are few").to_le_bytes());
        for member in &self.members {
            bytes.extend_from_slice(&member.id.0.to_le_bytes());
            put_text(&mut bytes, &member.name);
            put_text(&mut bytes, &member.peer_addr);
        }
        let crc = checksum(&[&bytes]);
        bytes.extend_from_slice(&crc.to_le_bytes());
        assert!(bytes.len() <= IDENTITY_LEN_MAX, "an identity of {} bytes", bytes.len());
        bytes
    }

    fn decode(bytes: &[u8]) -> Result<Identity, IdentityError> {
        let corrupt = |offset: usize, damage| IdentityError::Corrupt { offset: offset as u64, damage };
        if bytes.len() > IDENTITY_LEN_MAX {
            return Err(corrupt(IDENTITY_LEN_MAX, "more bytes than an identity has"));
        }
        let (covered, crc) = bytes.split_last_chunk::<4>().ok_or(corrupt(bytes.len(), "the file ends"))?;
        let mut fields = Fields { bytes: covered, at: 0 };
        if fields.take::<8>() != Some(MAGIC) {
            return Err(corrupt(0, "bad magic"));
        }
        if u32::from_le_bytes(*crc) != checksum(&[covered]) {
            return Err(corrupt(covered.len(), "bad checksum"));
        }
        let version = fields.take().map(u32::from_le_bytes).ok_or(corrupt(fields.at, "the file ends"))?;
        if version != FORMAT_VERSION {
            return Err(IdentityError::Version { version });
        }
        match fields.identity() {
            Some(identity) if fields.at == covered.len() => Ok(identity),
            _ => Err(corrupt(fields.at, "fields that do not fit")),
        }
    }
}

fn put_text(bytes: &mut Vec<u8>, text: &str) {
    bytes.extend_from_slice(&u16::try_from(text.len()).expect("names and addresses are short").to_le_bytes());
    bytes.extend_from_slice(text.as_bytes());
}

struct Fields<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let taken = *self.bytes.get(self.at..)?.first_chunk()?;
        self.at += N;
        Some(taken)
    }

    fn text(&mut self) -> Option<String> {
        let len = usize::from(u16::from_le_bytes(self.take()?));
        let text = str::from_utf8(self.bytes.get(self.at..self.at + len)?).ok()?;
        self.at += len;
        Some(text.to_owned())
    }

    fn identity(&mut self) -> Option<Identity> {
        let cluster_id = ClusterId(u128::from_le_bytes(self.take()?));
        let node = NodeId(u64::from_le_bytes(self.take()?));
        let disk_id = DiskId(u128::from_le_bytes(self.take()?));
        let name = self.text()?;
        let member_count = u16::from_le_bytes(self.take()?);
        let mut members = Vec::new();
        for _ in 0..member_count {
            let id = NodeId(u64::from_le_bytes(self.take()?));
            members.push(InitialMember { id, name: self.text()?, peer_addr: self.text()? });
        }
        Some(Identity { cluster_id, node, name, disk_id, members })
    }
}
