//! Files that nobody needs any more, on their way out. To free a file takes the system a quarter of a millisecond per megabyte and more, and
//! everybody waits: so a large one loses its name first, for good, and is then shortened slice by slice. What a crash leaves of it has a
//! name that ends in `.tmp`, and goes at the next start.

use std::io;

use crate::disk::{Disk, parent};
use crate::limits::TRIM_SLICE_LEN;

/// What the names of unfinished and of unneeded files end in.
pub(crate) const TEMPORARY: &str = ".tmp";

/// A file that is being shortened.
#[derive(Debug)]
pub(crate) struct Garbage<F> {
    path: String,
    file: F,
    len: u64,
}

impl<F> Garbage<F> {
    /// Takes a file away, durably: after a crash it is not there under its name. `None`: it was small, and that was all.
    pub(crate) fn discard<D: Disk<File = F>>(disk: &mut D, path: &str) -> io::Result<Option<Garbage<F>>> {
        let file = disk.open(path)?;
        let len = disk.file_len(&file)?;
        if len <= TRIM_SLICE_LEN {
            disk.remove(path)?;
            disk.sync_dir(parent(path))?;
            return Ok(None);
        }
        let garbage = path.to_owned() + TEMPORARY;
        disk.rename(path, &garbage)?;
        disk.sync_dir(parent(path))?;
        Ok(Some(Garbage { path: garbage, file, len }))
    }

    /// Frees a slice of it. `None`: that was the last.
    pub(crate) fn shorten<D: Disk<File = F>>(mut self, disk: &mut D) -> io::Result<Option<Garbage<F>>> {
        if self.len <= TRIM_SLICE_LEN {
            // Whether the name is gone after a crash does not matter.
            disk.remove(&self.path)?;
            return Ok(None);
        }
        self.len -= TRIM_SLICE_LEN;
        disk.set_len(&self.file, self.len)?;
        Ok(Some(self))
    }

    pub(crate) fn path(&self) -> &str {
        &self.path
    }
}
