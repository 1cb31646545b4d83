//! The next segment, made ready ahead so that no save has to wait for it. `segment` tells the order of the steps and why.

use std::io;

use raft::ClusterId;

use crate::disk::{Disk, write_zeros};
use crate::limits::{PREPARE_LEAD, PREPARE_SLICE_LEN, PREPARE_SLICE_LEN_MAX, SEGMENT_LEN_MIN};
use crate::segment::{LOG_DIR, Segment, SegmentHeader, SegmentName};

/// The segment behind the current one.
#[derive(Debug)]
pub(crate) struct Spare<F> {
    pub(crate) segment: Segment<F>,
    /// Zeros that were written.
    filled: u64,
    /// Some of them may not be on the disk.
    unsynced: bool,
    /// Header written, and the file behind this one, still empty: batches may come.
    following: Option<F>,
}

impl<F> Spare<F> {
    /// A file whose content does not count.
    pub(crate) fn unfinished(name: SegmentName, size: u64, file: F) -> Spare<F> {
        Spare { segment: Segment { name, size, file }, filled: 0, unsynced: false, following: None }
    }

    /// A file that recovery found to be complete, header and zeros; to be finished once more.
    pub(crate) fn found(segment: Segment<F>) -> Spare<F> {
        Spare { filled: segment.size, segment, unsynced: false, following: None }
    }

    /// Whether only `finish` is left to do.
    pub(crate) fn is_filled(&self) -> bool {
        self.filled == self.segment.size
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.following.is_some()
    }

    /// Whether another slice is due: it stays ahead of the current segment by a fixed part of that.
    pub(crate) fn lags(&self, used: u64, current_len: u64) -> bool {
        let (filled, size) = (u128::from(self.filled), u128::from(self.segment.size));
        let (used, current_len) = (u128::from(used), u128::from(current_len));
        !self.is_ready() && (self.is_filled() || filled * current_len < size * (used + current_len / u128::from(PREPARE_LEAD)))
    }

    /// Fills one slice, which nobody waits for; or syncs all of them when nothing is left to fill; or finishes the segment.
    pub(crate) fn prepare_slice<D: Disk<File = F>>(&mut self, disk: &mut D, cluster_id: ClusterId, last_batch_len: u64) -> io::Result<()> {
        if self.is_filled() {
            return if self.unsynced { self.sync(disk) } else { self.finish(disk, cluster_id) };
        }
        // With slices of one length it fell behind large batches, and in the end a save waited for all the rest at once.
        let slice = (2 * last_batch_len).clamp(PREPARE_SLICE_LEN, PREPARE_SLICE_LEN_MAX);
        let to = self.segment.size.min(self.filled + slice);
        self.unsynced = true;
        write_zeros(disk, &self.segment.file, self.filled, to)?;
        disk.write_behind(&self.segment.file, self.filled, to - self.filled);
        self.filled = to;
        Ok(())
    }

    fn sync<D: Disk<File = F>>(&mut self, disk: &mut D) -> io::Result<()> {
        disk.sync(&self.segment.file)?;
        self.unsynced = false;
        Ok(())
    }

    /// Makes it ready for a batch of so many bytes now, however long that takes.
    pub(crate) fn make_ready<D: Disk<File = F>>(&mut self, disk: &mut D, cluster_id: ClusterId, batch_len: u64) -> io::Result<()> {
        let needed = (crate::segment::SEGMENT_HEADER_LEN as u64 + batch_len).next_multiple_of(SEGMENT_LEN_MIN);
        if self.segment.size < needed {
            self.segment.size = needed;
            // The header is about to be written again, and a crash may tear it: the file behind would vouch for it.
            if self.following.take().is_some() {
                disk.remove(&self.segment.name.next().path())?;
                disk.sync_dir(LOG_DIR)?;
            }
        }
        if self.is_ready() {
            return Ok(());
        }
        if !self.is_filled() {
            self.unsynced = true;
            write_zeros(disk, &self.segment.file, self.filled, self.segment.size)?;
            self.filled = self.segment.size;
        }
        if self.unsynced {
            self.sync(disk)?;
        }
        self.finish(disk, cluster_id)
    }

    /// Becomes the current segment; the file behind it is the spare from here on, to be of so many bytes.
    pub(crate) fn take(&mut self, spare_len: u64, current: &mut Segment<F>) {
        let following = self.following.take().expect("made ready before");
        let spare = Spare::unfinished(self.segment.name.next(), spare_len, following);
        *current = std::mem::replace(self, spare).segment;
    }

    /// Writes the header, then makes the file behind.
    pub(crate) fn finish<D: Disk<File = F>>(&mut self, disk: &mut D, cluster_id: ClusterId) -> io::Result<()> {
        let Segment { name, size, file } = &self.segment;
        disk.write_at(file, 0, &SegmentHeader { cluster_id, name: *name, size: *size }.encode())?;
        disk.sync(file)?;
        let path = name.next().path();
        let following = match disk.create(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => disk.open(&path)?,
            other => other?,
        };
        disk.sync_dir(LOG_DIR)?;
        self.following = Some(following);
        Ok(())
    }
}
