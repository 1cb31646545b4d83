//! What the log needs of a file system, small enough to be imitated with all its faults. Paths are relative to the data directory and
//! use `/`; the directory itself is the empty path.

use std::io;

/// Whether a sync has finished.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SyncStatus {
    /// The bytes are on the disk.
    Done,
    /// Under way: ask `sync_finished`.
    Pending,
}

/// A data directory. After a failed write or sync its content is uncertain: the store that saw the failure makes no further call.
pub trait Disk {
    /// An open file.
    type File;

    /// Names in a directory, in no particular order. `NotFound` if there is no such directory.
    fn list(&mut self, dir: &str) -> io::Result<Vec<String>>;
    /// Makes a directory; one that is there already is no error.
    fn make_dir(&mut self, dir: &str) -> io::Result<()>;
    /// Creates a file that must not exist. It lasts only once its directory is synced.
    fn create(&mut self, path: &str) -> io::Result<Self::File>;
    /// Opens a file that must exist.
    fn open(&mut self, path: &str) -> io::Result<Self::File>;
    /// Reads until `buf` is full or the file ends, and says how much that was.
    fn read_at(&mut self, file: &Self::File, offset: u64, buf: &mut [u8]) -> io::Result<usize>;
    /// Bytes in the file.
    fn file_len(&mut self, file: &Self::File) -> io::Result<u64>;
    /// Writes all of `bytes`, extending the file if need be.
    fn write_at(&mut self, file: &Self::File, offset: u64, bytes: &[u8]) -> io::Result<()>;
    /// Cuts a file off at `len` bytes, of which it has more.
    fn set_len(&mut self, file: &Self::File, len: u64) -> io::Result<()>;
    /// Begins to bring so many bytes to the disk and does not wait for them: a sync that comes later has less to do. It promises nothing,
    /// and what goes wrong with it that sync tells.
    fn write_behind(&mut self, _file: &Self::File, _offset: u64, _len: u64) {}
    /// Returns once everything written to the file is on the disk.
    fn sync(&mut self, file: &Self::File) -> io::Result<()>;
    /// Begins what `sync` does; at most one is under way.
    fn start_sync(&mut self, file: &Self::File) -> io::Result<SyncStatus> {
        self.sync(file)?;
        Ok(SyncStatus::Done)
    }
    /// Whether the sync that `start_sync` left pending has finished.
    fn sync_finished(&mut self) -> io::Result<bool> {
        Ok(true)
    }
    /// Gives a file another name, replacing what had it. Lasts once the directory is synced.
    fn rename(&mut self, from: &str, to: &str) -> io::Result<()>;
    /// Removes a file. Lasts once the directory is synced.
    fn remove(&mut self, path: &str) -> io::Result<()>;
    /// Returns once the names in a directory are on the disk.
    fn sync_dir(&mut self, dir: &str) -> io::Result<()>;
    /// How long the last sync of a file took, microseconds.
    fn last_sync_us(&self) -> u64;
}

/// The directory that `path` stands in.
pub(crate) fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(dir, _)| dir)
}

/// Reads a whole file of at most `len_max` bytes; a longer one is read to `len_max + 1`, so that the caller can tell.
/// Nobody else writes it meanwhile: at most one byte is read of what has come behind its length.
pub(crate) fn read_all<D: Disk>(disk: &mut D, file: &D::File, len_max: u64, bytes: &mut Vec<u8>) -> io::Result<()> {
    let len = usize::try_from(disk.file_len(file)?.min(len_max)).map_err(io::Error::other)?;
    // What `bytes` held is written over: only what is behind it must be made. And one byte to find the end by.
    bytes.resize(len + 1, 0);
    let read = disk.read_at(file, 0, bytes)?;
    bytes.truncate(read);
    Ok(())
}

/// Whether nothing but zeros stands in a file from `from` on. It is read as far as it takes to know.
pub(crate) fn is_zero_from<D: Disk>(disk: &mut D, file: &D::File, from: u64) -> io::Result<bool> {
    let (mut at, mut piece) = (from, vec![0; ZERO_PIECE_LEN]);
    loop {
        let read = disk.read_at(file, at, &mut piece)?;
        if nonzero_len(&piece[..read]) > 0 {
            return Ok(false);
        }
        if read < piece.len() {
            return Ok(true);
        }
        at += read as u64;
        piece.resize((2 * piece.len()).min(ZEROS.len()), 0);
    }
}

/// Zeros are looked for in pieces of so many.
const ZERO_PIECE_LEN: usize = 512;

static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// Length of `bytes` without the zeros at its end.
pub(crate) fn nonzero_len(bytes: &[u8]) -> usize {
    // Whole pieces first: most of a segment is zeros, and comparing memory is faster than looking at bytes. Small ones: a short segment
    // is less than a large one.
    let mut len = bytes.len();
    for piece in bytes.rchunks(ZERO_PIECE_LEN).take_while(|piece| **piece == ZEROS[..piece.len()]) {
        len -= piece.len();
    }
    bytes[..len].iter().rposition(|byte| *byte != 0).map_or(0, |at| at + 1)
}

/// Writes zeros from `from` to `to`.
pub(crate) fn write_zeros<D: Disk>(disk: &mut D, file: &D::File, from: u64, to: u64) -> io::Result<()> {
    let mut at = from;
    while at < to {
        let piece = usize::try_from(to - at).map_or(ZEROS.len(), |left| left.min(ZEROS.len()));
        disk.write_at(file, at, &ZEROS[..piece])?;
        at += piece as u64;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::FakeDisk;

    #[test]
    fn a_byte_is_found_wherever_it_stands_behind_the_beginning() {
        const LEN: u64 = 200_000;
        for at in [64, 575, 576, 577, 2_111, 2_112, 130_000, LEN - 1] {
            let mut disk = FakeDisk::new();
            let file = disk.create("file").unwrap();
            write_zeros(&mut disk, &file, 0, LEN).unwrap();
            disk.write_at(&file, 0, &[1; 64]).unwrap();
            assert!(is_zero_from(&mut disk, &file, 64).unwrap());
            disk.write_at(&file, at, &[1]).unwrap();
            assert!(!is_zero_from(&mut disk, &file, 64).unwrap(), "the byte at {at}");
            assert!(is_zero_from(&mut disk, &file, at + 1).unwrap(), "behind the byte at {at}");
        }
    }

    #[test]
    fn a_file_is_read_whole_or_to_one_byte_more_than_allowed() {
        let mut disk = FakeDisk::new();
        let file = disk.create("file").unwrap();
        let mut bytes = vec![7; 9_000];
        disk.write_at(&file, 0, b"12345").unwrap();
        for (len_max, read) in [(9, "12345"), (5, "12345"), (4, "12345"), (2, "123")] {
            read_all(&mut disk, &file, len_max, &mut bytes).unwrap();
            assert_eq!(bytes, read.as_bytes(), "of at most {len_max}");
        }
    }
}
