//! The disk as the journal sees it: the seam where tests put a disk that lies.
//!
//! Nothing is durable before `sync_data` (bytes) or `sync_dir` (names) returned. Every method blocks.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{FallocateFlags, FlockOperation};

/// A file that is open for reading and writing at any place.
pub trait File: Send + Sync {
    /// Writes all of `bytes` at `offset`; the file grows where they end after it.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Fills `buffer` from `offset` as far as the file goes, and returns how far that was.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Makes everything written so far durable, the length included.
    fn sync_data(&self) -> io::Result<()>;

    /// Length in bytes.
    fn size(&self) -> io::Result<u64>;

    /// Claims space for `size` bytes and makes the file at least that long; new bytes are zeros.
    fn allocate(&self, size: u64) -> io::Result<()>;
}

/// Where files are.
pub trait Disk: Send + Sync + 'static {
    /// Creates a directory of mode 0700 and its parents; one that exists is fine.
    fn create_dir(&self, dir: &Path) -> io::Result<()>;

    /// Names in a directory, sorted.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;

    /// Creates a file of mode 0600. One that exists is an error.
    fn create(&self, path: &Path) -> io::Result<Arc<dyn File>>;

    /// Opens a file that exists, to read and to write.
    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>>;

    /// Removes a file; durable after a sync of its directory.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Gives a file another name, in one step; durable after a sync of the directory.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Makes names that were created, renamed and removed in `dir` durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;

    /// Locks a directory against other processes and other owners in this one; dropping the
    /// guard frees it.
    ///
    /// # Errors
    /// `WouldBlock` when another owner holds it.
    fn lock(&self, dir: &Path) -> io::Result<Box<dyn Send + Sync>>;

    /// A random number, to name a new journal with.
    fn random(&self) -> u64;
}

/// The disk of this machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealDisk;

/// Zeros are written in steps of this size where the file system cannot allocate.
const ZEROS: usize = 1 << 20;

impl File for fs::File {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.write_all_at(bytes, offset)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            match FileExt::read_at(self, &mut buffer[filled..], offset + filled as u64) {
                Ok(0) => break,
                Ok(more) => filled += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }

    fn sync_data(&self) -> io::Result<()> {
        fs::File::sync_data(self)
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn allocate(&self, size: u64) -> io::Result<()> {
        match rustix::fs::fallocate(self, FallocateFlags::empty(), 0, size) {
            Ok(()) => Ok(()),
            Err(rustix::io::Errno::OPNOTSUPP) => {
                let zeros = vec![0; ZEROS];
                let mut at = self.size()?;
                while at < size {
                    let step = zeros.len().min(usize::try_from(size - at).unwrap_or(ZEROS));
                    self.write_all_at(&zeros[..step], at)?;
                    at += step as u64;
                }
                Ok(())
            }
            Err(errno) => Err(errno.into()),
        }
    }
}

impl Disk for RealDisk {
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(dir)? {
            names.push(entry?.file_name().to_string_lossy().into_owned());
        }
        names.sort();
        Ok(names)
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        let mut options = fs::OpenOptions::new();
        let file = options.read(true).write(true).create_new(true).mode(0o600).open(path)?;
        Ok(Arc::new(file))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        Ok(Arc::new(fs::OpenOptions::new().read(true).write(true).open(path)?))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        fs::File::open(dir)?.sync_all()
    }

    fn lock(&self, dir: &Path) -> io::Result<Box<dyn Send + Sync>> {
        let mut options = fs::OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let file = options.open(dir.join("lock"))?;
        rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        Ok(Box::new(file))
    }

    fn random(&self) -> u64 {
        rand::random()
    }
}
