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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checksum::hex;
    use crate::fake::FakeDisk;

    fn identity() -> Identity {
        let member = |id, name: &str, peer_addr: &str| InitialMember { id: NodeId(id), name: name.into(), peer_addr: peer_addr.into() };
        Identity {
            cluster_id: ClusterId(0x0102_0304_0506_0708_090a_0b0c_0d0e_0f10),
            node: NodeId(2),
            name: "n2".into(),
            disk_id: DiskId(0xa1a2_a3a4_a5a6_a7a8_a9aa_abac_adae_afb0),
            members: vec![member(1, "n1", "h1:7217"), member(2, "n2", "h2:7217")],
        }
    }

    #[test]
    fn identity_bytes_are_fixed_for_ever() {
        let bytes = hex("6b 76 72 61 66 74 69 64 01 00 00 00 10 0f 0e 0d \
             0c 0b 0a 09 08 07 06 05 04 03 02 01 02 00 00 00 \
             00 00 00 00 b0 af ae ad ac ab aa a9 a8 a7 a6 a5 \
             a4 a3 a2 a1 02 00 6e 32 02 00 01 00 00 00 00 00 \
             00 00 02 00 6e 31 07 00 68 31 3a 37 32 31 37 02 \
             00 00 00 00 00 00 00 02 00 6e 32 07 00 68 32 3a \
             37 32 31 37 4c 89 da 1f");
        assert_eq!(identity().encode(), bytes);
        assert_eq!(Identity::decode(&bytes).expect("the literal is whole"), identity());
    }

    #[test]
    fn cluster_ids_are_fixed_for_ever_and_know_no_order() {
        let members = [("n3", "h3:7217"), ("n1", "h1:7217"), ("n2", "h2:7217")];
        assert_eq!(cluster_id("", &members).to_string(), "67c938bd9ce86849a7de3e91a0bab20f");
        assert_eq!(cluster_id("secret", &members).to_string(), "1a25fd4c5347bf5567f4e134401894e4");
        let sorted = [("n1", "h1:7217"), ("n2", "h2:7217"), ("n3", "h3:7217")];
        assert_eq!(cluster_id("", &sorted), cluster_id("", &members));
        assert_ne!(cluster_id("", &[("n", "1h:7217")]), cluster_id("", &[("n1", "h:7217")]), "the fields run together");
    }

    #[test]
    fn a_written_identity_is_read_back_and_outlives_a_crash() {
        let mut disk = FakeDisk::new();
        assert!(read_identity(&mut disk).expect("no file is no error").is_none());
        write_identity(&mut disk, &identity()).expect("the disk is healthy");
        disk.crash_losing_all();
        assert_eq!(read_identity(&mut disk).expect("it is whole"), Some(identity()));
        assert_eq!(disk.files(), [IDENTITY]);
    }

    #[test]
    fn no_flip_cut_or_extension_passes() {
        let whole = identity().encode();
        for offset in 0..whole.len() {
            for pattern in [0x01, 0x80, 0xff] {
                let mut bytes = whole.clone();
                bytes[offset] ^= pattern;
                assert!(matches!(Identity::decode(&bytes), Err(IdentityError::Corrupt { .. })), "byte {offset} flipped by {pattern:#x}");
            }
            assert!(matches!(Identity::decode(&whole[..offset]), Err(IdentityError::Corrupt { .. })), "cut at {offset}");
        }
        let longer = [&whole[..], &[0]].concat();
        assert!(matches!(Identity::decode(&longer), Err(IdentityError::Corrupt { .. })));
        assert!(matches!(Identity::decode(&vec![0; IDENTITY_LEN_MAX + 1]), Err(IdentityError::Corrupt { .. })));
    }

    #[test]
    fn a_later_format_is_named_and_not_called_damage() {
        let mut bytes = identity().encode();
        bytes.truncate(bytes.len() - 4);
        bytes[8] = 2;
        let crc = checksum(&[&bytes]);
        bytes.extend_from_slice(&crc.to_le_bytes());
        assert!(matches!(Identity::decode(&bytes), Err(IdentityError::Version { version: 2 })));
    }
}
