//! A disk in memory that lies: what was not synced may be lost, kept or torn when it crashes, and
//! any write or sync may fail. Same seed and same calls, same lies. For tests of every crate.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::disk::{Disk, File};
use super::segment::SECTOR;

/// A disk whose faults are chosen by a seed. Clones are the same disk.
#[derive(Clone)]
pub struct FaultDisk {
    world: Arc<Mutex<World>>,
}

struct World {
    rng: SmallRng,
    /// Handles of an earlier life are dead.
    life: u64,
    down: bool,
    files: Vec<Inode>,
    names: BTreeMap<PathBuf, usize>,
    durable_names: BTreeMap<PathBuf, usize>,
    renames: Vec<Change>,
    dirs: BTreeSet<PathBuf>,
    locks: BTreeMap<PathBuf, u64>,
    capacity: u64,
    syncs: u64,
    writes: u64,
    crash_at_sync: Option<u64>,
    crash_at_write: Option<u64>,
    fail_sync: Option<u64>,
    fail_write: Option<u64>,
}

/// A file, named or not: what programs see, what is on the medium, and what is between.
#[derive(Default)]
struct Inode {
    live: Vec<u8>,
    durable: Vec<u8>,
    pending: Vec<Pending>,
}

enum Pending {
    Write(u64, Vec<u8>),
    Size(usize),
}

enum Change {
    Name(PathBuf, usize),
    Unname(PathBuf),
    Rename(PathBuf, PathBuf),
}

struct LyingFile {
    disk: FaultDisk,
    inode: usize,
    life: u64,
}

struct LyingLock {
    disk: FaultDisk,
    dir: PathBuf,
    life: u64,
}

impl FaultDisk {
    /// An empty disk whose faults follow from `seed`.
    pub fn new(seed: u64) -> FaultDisk {
        let world = World {
            rng: SmallRng::seed_from_u64(seed),
            life: 0,
            down: false,
            files: Vec::new(),
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            renames: Vec::new(),
            dirs: BTreeSet::new(),
            locks: BTreeMap::new(),
            capacity: u64::MAX,
            syncs: 0,
            writes: 0,
            crash_at_sync: None,
            crash_at_write: None,
            fail_sync: None,
            fail_write: None,
        };
        FaultDisk { world: Arc::new(Mutex::new(world)) }
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The machine dies now: what was not synced is kept, lost or torn, and every call fails until
    /// [`FaultDisk::restart`].
    pub fn crash(&self) {
        self.world().crash();
    }

    /// The process dies, the machine does not: the page cache stays, locks are free.
    pub fn kill(&self) {
        self.world().life += 1;
    }

    /// The machine is up again. Files that were open stay dead.
    pub fn restart(&self) {
        self.world().down = false;
    }

    /// Crashes in the `nth` sync from now (1 is the next), of data or of a directory.
    pub fn crash_at_sync(&self, nth: u64) {
        let mut world = self.world();
        world.crash_at_sync = Some(world.syncs + nth);
    }

    /// Crashes in the `nth` write from now, which may be torn.
    pub fn crash_at_write(&self, nth: u64) {
        let mut world = self.world();
        world.crash_at_write = Some(world.writes + nth);
    }

    /// The `nth` sync from now fails once and, as kernels do, forgets what it could not write.
    pub fn fail_sync(&self, nth: u64) {
        let mut world = self.world();
        world.fail_sync = Some(world.syncs + nth);
    }

    /// The `nth` write from now fails once and writes nothing.
    pub fn fail_write(&self, nth: u64) {
        let mut world = self.world();
        world.fail_write = Some(world.writes + nth);
    }

    /// Bytes that all files together may have.
    pub fn set_capacity(&self, bytes: u64) {
        self.world().capacity = bytes;
    }

    /// Flips one bit on the medium.
    pub fn flip(&self, path: &Path, offset: u64, bit: u8) {
        let mut bytes = self.bytes(path);
        let at = usize::try_from(offset).expect("an offset in memory");
        bytes[at] ^= 1 << bit;
        self.put(path, bytes);
    }

    /// What a file holds now.
    ///
    /// # Panics
    /// There is no such file.
    pub fn bytes(&self, path: &Path) -> Vec<u8> {
        let world = self.world();
        world.files[world.names[path]].live.clone()
    }

    /// Replaces what a file holds, durably; creates it where there is none.
    pub fn put(&self, path: &Path, bytes: Vec<u8>) {
        let mut world = self.world();
        let inode = Inode { live: bytes.clone(), durable: bytes, pending: Vec::new() };
        world.files.push(inode);
        let at = world.files.len() - 1;
        world.names.insert(path.into(), at);
        world.durable_names.insert(path.into(), at);
    }

    /// Removes a file, durably.
    pub fn lose(&self, path: &Path) {
        let mut world = self.world();
        world.names.remove(path);
        world.durable_names.remove(path);
    }

    /// Another disk that holds what is durable on this one now: what an operator's backup would hold.
    #[must_use]
    pub fn image(&self) -> FaultDisk {
        let world = self.world();
        let image = FaultDisk::new(world.syncs);
        let mut copy = image.world();
        copy.dirs.clone_from(&world.dirs);
        for (at, (path, inode)) in world.durable_names.iter().enumerate() {
            let bytes = world.files[*inode].durable.clone();
            copy.files.push(Inode { live: bytes.clone(), durable: bytes, pending: Vec::new() });
            copy.names.insert(path.clone(), at);
        }
        copy.durable_names = copy.names.clone();
        drop(copy);
        image
    }

    /// Syncs so far, of data and of directories, failed ones included.
    pub fn syncs(&self) -> u64 {
        self.world().syncs
    }

    /// Writes so far, failed ones included.
    pub fn writes(&self) -> u64 {
        self.world().writes
    }
}

impl World {
    fn crash(&mut self) {
        self.down = true;
        self.life += 1;
        (self.crash_at_sync, self.crash_at_write) = (None, None);
        (self.fail_sync, self.fail_write) = (None, None);
        for file in &mut self.files {
            for pending in std::mem::take(&mut file.pending) {
                match self.rng.random_range(0..3) {
                    0 => file.settle(&pending, |_| true),
                    1 => {}
                    _ => file.settle(&pending, |_| self.rng.random()),
                }
            }
            file.live.clone_from(&file.durable);
        }
        for change in std::mem::take(&mut self.renames) {
            if self.rng.random() {
                change.settle(&mut self.durable_names);
            }
        }
        self.names.clone_from(&self.durable_names);
    }

    fn up(&self) -> io::Result<()> {
        if self.down { Err(io::Error::other("the machine is down")) } else { Ok(()) }
    }

    /// Counts a sync, and fails if it is its turn; `true` when it forgets what it was to write.
    fn sync(&mut self) -> io::Result<bool> {
        self.up()?;
        self.syncs += 1;
        if self.crash_at_sync == Some(self.syncs) {
            self.crash();
            return Err(io::Error::other("the machine went down"));
        }
        let fails = self.fail_sync == Some(self.syncs);
        Ok(fails)
    }

    fn reserve(&self, inode: usize, size: usize) -> io::Result<()> {
        let used: usize = self.names.values().map(|at| self.files[*at].live.len()).sum();
        let more = size.saturating_sub(self.files[inode].live.len());
        if more == 0 || (used + more) as u64 <= self.capacity {
            return Ok(());
        }
        Err(io::Error::from(io::ErrorKind::StorageFull))
    }

    fn change(&mut self, change: Change) {
        change.settle(&mut self.names);
        self.renames.push(change);
    }
}

impl Inode {
    /// Brings one change to the medium, as far as `keep` lets each sector through.
    fn settle(&mut self, pending: &Pending, mut keep: impl FnMut(usize) -> bool) {
        match pending {
            Pending::Size(size) => {
                if keep(0) && self.durable.len() < *size {
                    self.durable.resize(*size, 0);
                }
            }
            Pending::Write(offset, bytes) => {
                let start = usize::try_from(*offset).expect("an offset in memory");
                let end = start + bytes.len();
                let mut at = start;
                while at < end {
                    let stop = end.min((at / SECTOR + 1) * SECTOR);
                    if keep(at) {
                        overwrite(&mut self.durable, at, &bytes[at - start..stop - start]);
                    }
                    at = stop;
                }
            }
        }
    }
}

impl Change {
    fn settle(&self, names: &mut BTreeMap<PathBuf, usize>) {
        match self {
            Change::Name(path, inode) => {
                names.insert(path.clone(), *inode);
            }
            Change::Unname(path) => {
                names.remove(path);
            }
            Change::Rename(from, to) => {
                if let Some(inode) = names.remove(from) {
                    names.insert(to.clone(), inode);
                }
            }
        }
    }
}

fn overwrite(file: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    if file.len() < at + bytes.len() {
        file.resize(at + bytes.len(), 0);
    }
    file[at..at + bytes.len()].copy_from_slice(bytes);
}

fn broken() -> io::Error {
    io::Error::from_raw_os_error(rustix::io::Errno::IO.raw_os_error())
}

impl LyingFile {
    fn world(&self) -> io::Result<MutexGuard<'_, World>> {
        let world = self.disk.world();
        world.up()?;
        if world.life != self.life {
            return Err(io::Error::other("the file was open in an earlier life"));
        }
        Ok(world)
    }
}

impl File for LyingFile {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut world = self.world()?;
        world.writes += 1;
        if world.fail_write == Some(world.writes) {
            return Err(broken());
        }
        let at = usize::try_from(offset).map_err(io::Error::other)?;
        world.reserve(self.inode, at + bytes.len())?;
        let file = &mut world.files[self.inode];
        overwrite(&mut file.live, at, bytes);
        file.pending.push(Pending::Write(offset, bytes.to_vec()));
        if world.crash_at_write == Some(world.writes) {
            world.crash();
            return Err(io::Error::other("the machine went down"));
        }
        Ok(())
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let world = self.world()?;
        let live = &world.files[self.inode].live;
        let start = usize::try_from(offset).map_err(io::Error::other)?.min(live.len());
        let count = buffer.len().min(live.len() - start);
        buffer[..count].copy_from_slice(&live[start..start + count]);
        Ok(count)
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut world = self.world()?;
        let fails = world.sync()?;
        let file = &mut world.files[self.inode];
        for pending in std::mem::take(&mut file.pending) {
            if !fails {
                file.settle(&pending, |_| true);
            }
        }
        if fails { Err(broken()) } else { Ok(()) }
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.world()?.files[self.inode].live.len() as u64)
    }

    fn allocate(&self, size: u64) -> io::Result<()> {
        let mut world = self.world()?;
        let size = usize::try_from(size).map_err(io::Error::other)?;
        world.reserve(self.inode, size)?;
        let file = &mut world.files[self.inode];
        if file.live.len() < size {
            file.live.resize(size, 0);
            file.pending.push(Pending::Size(size));
        }
        Ok(())
    }
}

impl Disk for FaultDisk {
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        let mut world = self.world();
        world.up()?;
        world.dirs.insert(dir.into());
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let world = self.world();
        world.up()?;
        if !world.dirs.contains(dir) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let inside = world.names.keys().filter(|path| path.parent() == Some(dir));
        Ok(inside
            .filter_map(|path| Some(path.file_name()?.to_string_lossy().into_owned()))
            .collect())
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        let mut world = self.world();
        world.up()?;
        if world.names.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        world.files.push(Inode::default());
        let inode = world.files.len() - 1;
        world.change(Change::Name(path.into(), inode));
        Ok(Arc::new(LyingFile { disk: self.clone(), inode, life: world.life }))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        let world = self.world();
        world.up()?;
        let inode = *world.names.get(path).ok_or(io::ErrorKind::NotFound)?;
        Ok(Arc::new(LyingFile { disk: self.clone(), inode, life: world.life }))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut world = self.world();
        world.up()?;
        if !world.names.contains_key(path) {
            return Err(io::ErrorKind::NotFound.into());
        }
        world.change(Change::Unname(path.into()));
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut world = self.world();
        world.up()?;
        if !world.names.contains_key(from) {
            return Err(io::ErrorKind::NotFound.into());
        }
        world.change(Change::Rename(from.into(), to.into()));
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut world = self.world();
        let fails = world.sync()?;
        let inside = |path: &PathBuf| path.parent() == Some(dir);
        let (here, elsewhere) =
            std::mem::take(&mut world.renames).into_iter().partition(|change| match change {
                Change::Name(path, _) | Change::Unname(path) => inside(path),
                Change::Rename(_, to) => inside(to),
            });
        world.renames = elsewhere;
        let here: Vec<Change> = here;
        if fails {
            return Err(broken());
        }
        for change in here {
            change.settle(&mut world.durable_names);
        }
        Ok(())
    }

    fn lock(&self, dir: &Path) -> io::Result<Box<dyn Send + Sync>> {
        let mut world = self.world();
        world.up()?;
        let life = world.life;
        if world.locks.get(dir) == Some(&life) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        world.locks.insert(dir.into(), life);
        Ok(Box::new(LyingLock { disk: self.clone(), dir: dir.into(), life }))
    }

    fn random(&self) -> u64 {
        self.world().rng.random()
    }
}

impl Drop for LyingLock {
    fn drop(&mut self) {
        let mut world = self.disk.world();
        if world.locks.get(&self.dir) == Some(&self.life) {
            world.locks.remove(&self.dir);
        }
    }
}
