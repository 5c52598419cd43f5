//! The file systems that have something to write back.
//!
//! Empty, and with it all that it leads to absent from the kernel, until one is mounted.

use super::PAGER;
use super::device::key;
use crate::sync::Mutex;
use alloc::sync::Arc;
use alloc::vec::Vec;
use driver_api::Once;
use driver_api::Result;
use driver_api::paged::FileSystem;

static MOUNTED: Mutex<Vec<Arc<dyn FileSystem>>> = Mutex::new(Vec::new());
/// What to do before the machine ends: set by the first mount.
static AT_END: Once<fn()> = Once::new();
/// Taken by who ends the machine, and never given back.
static ENDING: Mutex<()> = Mutex::new(());

/// `fs` was mounted: from now on it is synced with the others, and at the end of the machine.
/// Called for each mount of one.
pub fn mounted(fs: Arc<dyn FileSystem>) {
    #[cfg(target_os = "none")]
    super::device::kernel::start();
    AT_END.call_once(|| {
        || {
            core::mem::forget(ENDING.lock());
            if let Err(e) = sync_all() {
                log::error!(target: "cache", "not all was written: {e:?}");
            }
        }
    });
    MOUNTED.lock().push(fs);
}

/// `fs` was unmounted once: what [`mounted`] did once is undone. The last time, pages that
/// could not be written are dropped.
pub fn forget(fs: &Arc<dyn FileSystem>) {
    let mut mounted = MOUNTED.lock();
    let gone = mounted.iter().position(|m| Arc::ptr_eq(m, fs)).map(|at| mounted.swap_remove(at));
    let last = !mounted.iter().any(|m| Arc::ptr_eq(m, fs));
    drop(mounted);
    if let Some(pager) = PAGER.get().filter(|_| last) {
        pager.forget(key(fs));
    }
    drop(gone);
}

/// Makes everything in `fs` durable: dirty pages are written, then the file system is told.
///
/// # Errors
/// `Io`; everything was tried.
pub fn sync_fs(fs: &Arc<dyn FileSystem>) -> Result<()> {
    let written = PAGER.get().map_or(Ok(()), |pager| pager.sync(key(fs)));
    fs.sync().and(written)
}

/// Asks all that is mounted for memory; whether there was any.
#[cfg(target_os = "none")]
pub fn shrink() -> bool {
    // Whoever holds the lock only copies or changes the list.
    MOUNTED.lock().iter().fold(0, |sum, fs| sum + fs.shrink()) > 0
}

/// [`sync_fs`] for all that is mounted.
///
/// # Errors
/// The first one; everything was tried.
pub fn sync_all() -> Result<()> {
    // Copied, for syncing takes long and mounting waits for the lock.
    let mounted = MOUNTED.lock().clone();
    mounted.iter().map(sync_fs).fold(Ok(()), Result::and)
}

/// Syncs all that is mounted before the machine ends. Only in threads that may wait; a second
/// one that wants to end the machine waits for ever while the first does.
pub fn at_end() {
    if let Some(sync) = AT_END.get() {
        sync();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::sync::atomic::{AtomicUsize, Ordering};
    use driver_api::vfs::Inode;
    use driver_api::{Error, vfs::Timestamp};

    struct Counted(AtomicUsize, Result<()>);

    impl FileSystem for Counted {
        fn root(&self) -> Arc<dyn Inode> {
            ramfs::RamFs::new(0o755, Timestamp::default()).root()
        }
        fn sync(&self) -> Result<()> {
            self.0.fetch_add(1, Ordering::Relaxed);
            self.1
        }
    }

    #[test]
    fn all_that_is_mounted_is_synced_even_after_an_error() {
        let bad = Arc::new(Counted(AtomicUsize::new(0), Err(Error::Io)));
        let good = Arc::new(Counted(AtomicUsize::new(0), Ok(())));
        let (b, g): (Arc<dyn FileSystem>, Arc<dyn FileSystem>) = (bad.clone(), good.clone());
        mounted(b.clone());
        mounted(g.clone());
        assert_eq!(sync_all(), Err(Error::Io));
        assert_eq!((bad.0.load(Ordering::Relaxed), good.0.load(Ordering::Relaxed)), (1, 1));
        forget(&b);
        at_end();
        assert_eq!((bad.0.load(Ordering::Relaxed), good.0.load(Ordering::Relaxed)), (1, 2));
        forget(&g);
        assert_eq!((Arc::strong_count(&bad), Arc::strong_count(&good)), (2, 2));
    }
}
