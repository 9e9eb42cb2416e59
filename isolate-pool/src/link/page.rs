//! One page of memory that a host and the gateway both see. On it stands which call was last started on each link, and
//! which call has the host's thread now.
//!
//! Why: a call that was sent to a host but not started can be given to another host, and only then. Asking the host is
//! no use when its thread is inside an endless loop. So the host claims each call by a compare-and-swap on its link's
//! claim word before it starts it, and the gateway takes back everything not yet claimed by a compare-and-swap on the
//! same word. Whichever comes first decides; a call is never started twice.
//!
//! A host owned by an attacker can write anything here. It then only misreports its own calls.

use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::MemfdFlags;
use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags};

use crate::limits::LINKS_MAX;
use storage::model::AppId;

/// What lies in the shared memory. Each word has a cache line of its own.
#[repr(C)]
struct Layout {
    claims: [Line; LINKS_MAX],
    running: Line,
    running_since_ms: Line,
    running_app: [Line; 2],
}

#[repr(C, align(64))]
struct Line(AtomicU64);

const BYTES: usize = size_of::<Layout>();

/// Set in a claim word when the gateway has taken back what was not started. The lower bits are the last id taken back.
const REVOKED: u64 = 1 << 63;

/// A mapping of the shared page.
pub struct Page {
    at: std::ptr::NonNull<Layout>,
    memory: OwnedFd,
}

// SAFETY: the page is only ever accessed through its atomics.
unsafe impl Send for Page {}
// SAFETY: as above.
unsafe impl Sync for Page {}

impl Page {
    /// A new page, all zero.
    pub fn create() -> Result<Self, Errno> {
        let memory = rustix::fs::memfd_create("portico-page", MemfdFlags::CLOEXEC)?;
        rustix::fs::ftruncate(&memory, BYTES as u64)?;
        Self::map(memory)
    }

    /// Maps a page that the other side created.
    pub fn map(memory: OwnedFd) -> Result<Self, Errno> {
        // SAFETY: a fresh mapping chosen by the kernel, of exactly the layout's size; the file was sized by `create`.
        let at = unsafe {
            rustix::mm::mmap(
                std::ptr::null_mut(),
                BYTES,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::SHARED,
                &memory,
                0,
            )?
        };
        let at = std::ptr::NonNull::new(at.cast::<Layout>()).ok_or(Errno::NOMEM)?;
        Ok(Self { at, memory })
    }

    /// To hand to the host.
    pub fn memory(&self) -> BorrowedFd<'_> {
        self.memory.as_fd()
    }

    fn layout(&self) -> &Layout {
        // SAFETY: mapped for as long as self lives, aligned by the kernel to a page, valid for any bit pattern.
        unsafe { self.at.as_ref() }
    }

    /// Host: claims call `id` of `link`, given the id claimed before it on that link (0 at first). Ids on a link grow.
    /// `Err(through)` when the gateway took back every call up to and including `through`.
    pub fn claim(&self, link: usize, previous: u64, id: u64) -> Result<(), u64> {
        let word = &self.layout().claims[link].0;
        match word.compare_exchange(previous, id, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => Ok(()),
            Err(found) => {
                let through = found & !REVOKED;
                if id <= through {
                    return Err(through);
                }
                // Taken back earlier, and this call was sent after that. Nobody else writes until it is claimed or
                // taken back in turn.
                match word.compare_exchange(found, id, Ordering::AcqRel, Ordering::Acquire) {
                    Ok(_) => Ok(()),
                    Err(found) => Err(found & !REVOKED),
                }
            }
        }
    }

    /// Gateway: takes back every call of `link` up to `through` that was not claimed. Returns the last claimed id: calls
    /// with ids above it will not be started.
    pub fn revoke(&self, link: usize, through: u64) -> u64 {
        let word = &self.layout().claims[link].0;
        let found = word.swap(through | REVOKED, Ordering::AcqRel);
        found & !REVOKED
    }

    /// Gateway: the last id claimed on `link` (or taken back). Of a dead host, calls above it were never started.
    pub fn claimed(&self, link: usize) -> u64 {
        self.layout().claims[link].0.load(Ordering::Acquire) & !REVOKED
    }

    /// Host: call `id` of `link`, which is one of `app`'s, has the thread from now on.
    pub fn enter(&self, link: usize, id: u64, app: AppId, now_ms: u64) {
        let layout = self.layout();
        let (head, tail) = words(app);
        layout.running_since_ms.0.store(now_ms, Ordering::Relaxed);
        layout.running_app[0].0.store(head, Ordering::Relaxed);
        layout.running_app[1].0.store(tail, Ordering::Relaxed);
        layout.running.0.store(((link as u64 + 1) << 48) | (id & 0xffff_ffff_ffff), Ordering::Release);
    }

    /// Host: nothing has the thread.
    pub fn leave(&self) {
        self.layout().running.0.store(0, Ordering::Release);
    }

    /// Gateway: what has the thread, if anything has. The fields may be torn when the host changes calls at this very
    /// moment; a hog does not change calls, and only hogs matter here.
    pub fn running(&self) -> Option<Running> {
        let layout = self.layout();
        let running = layout.running.0.load(Ordering::Acquire);
        if running == 0 {
            return None;
        }
        let head = layout.running_app[0].0.load(Ordering::Relaxed);
        let tail = layout.running_app[1].0.load(Ordering::Relaxed);
        Some(Running {
            since_ms: layout.running_since_ms.0.load(Ordering::Relaxed),
            call: running,
            app: app_of(head, tail),
        })
    }
}

/// Who has a host's thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Running {
    /// Since when, on the clock of [`now_ms`].
    pub since_ms: u64,
    /// Link and call in one word, to tell one call from the next.
    pub call: u64,
    pub app: AppId,
}

fn words(app: AppId) -> (u64, u64) {
    let mut bytes = [0; 16];
    bytes[..12].copy_from_slice(&app.bytes());
    let word = u128::from_le_bytes(bytes);
    (word as u64, (word >> 64) as u64)
}

fn app_of(head: u64, tail: u64) -> AppId {
    let bytes = (u128::from(head) | (u128::from(tail) << 64)).to_le_bytes();
    let mut id = [0; 12];
    id.copy_from_slice(&bytes[..12]);
    AppId::from_bytes(id)
}

impl fmt::Debug for Page {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Page").field("running", &self.running()).finish_non_exhaustive()
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        // SAFETY: mapped by `map` with this size; nothing borrows from it past self.
        let _ = unsafe { rustix::mm::munmap(self.at.as_ptr().cast(), BYTES) };
    }
}

/// The clock both sides mean: milliseconds of CLOCK_MONOTONIC.
pub fn now_ms() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec as u64 * 1_000 + now.tv_nsec as u64 / 1_000_000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_started_or_taken_back_but_never_both() {
        let page = Page::create().unwrap();
        assert_eq!(page.claim(3, 0, 1), Ok(()));
        assert_eq!(page.claim(3, 1, 2), Ok(()));
        // Calls 3 and 4 were sent; the gateway takes them back while call 2 runs.
        assert_eq!(page.revoke(3, 4), 2);
        assert_eq!(page.claim(3, 2, 3), Err(4));
        assert_eq!(page.claim(3, 2, 4), Err(4));
        // A call sent afterwards starts.
        assert_eq!(page.claim(3, 4, 5), Ok(()));
        assert_eq!(page.claimed(3), 5);
    }

    #[test]
    fn another_mapping_sees_who_has_the_thread() {
        let page = Page::create().unwrap();
        let same = Page::map(page.memory().try_clone_to_owned().unwrap()).unwrap();
        assert_eq!(page.running(), None);
        let app = AppId::new();
        same.enter(2, 77, app, 1234);
        assert_eq!(page.running(), Some(Running { since_ms: 1234, call: (3 << 48) | 77, app }));
        same.leave();
        assert_eq!(page.running(), None);
    }
}
