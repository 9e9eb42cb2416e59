//! What stops an isolate that takes too much memory, and what is said when V8 itself gives up.
//!
//! The heap has a limit; when it is near, the running call is told to stop and gets some headroom to stop in. Array
//! buffers lie outside the heap and have a meter of their own: past it an allocation fails, which JavaScript sees as a
//! `RangeError`. An isolate whose fence was touched is not used for new calls.
//! Not here: time (`host::watchdog`).

use std::alloc::{Layout, alloc, alloc_zeroed, dealloc};
use std::ffi::{CStr, c_char, c_void};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crate::link::page::now_ms;

/// How often the limit is raised so that a call can stop. V8 asks again when the headroom is used up as well; after that
/// it ends the process, and the supervisor starts another.
const HEADROOM_GRANTS: u64 = 3;

/// State of one isolate's fence, shared with the watchdog.
#[derive(Debug)]
pub struct Fence {
    /// When the heap limit was first met, on the clock of [`now_ms`]; 0 when it was not.
    tripped_at_ms: AtomicU64,
    grants: AtomicU64,
    buffers: AtomicUsize,
    buffers_max: AtomicUsize,
    handle: std::sync::OnceLock<v8::IsolateHandle>,
}

impl Fence {
    pub fn new(buffers_max: usize) -> Arc<Self> {
        Arc::new(Self {
            tripped_at_ms: AtomicU64::new(0),
            grants: AtomicU64::new(0),
            buffers: AtomicUsize::new(0),
            buffers_max: AtomicUsize::new(buffers_max),
            handle: std::sync::OnceLock::new(),
        })
    }

    /// When the heap limit was met, if it was.
    pub fn tripped_at_ms(&self) -> Option<u64> {
        match self.tripped_at_ms.load(Ordering::Acquire) {
            0 => None,
            at => Some(at),
        }
    }

    /// Bytes in array buffers now.
    pub fn buffer_bytes(&self) -> usize {
        self.buffers.load(Ordering::Relaxed)
    }

    pub(super) fn set_buffers_max(&self, bytes: usize) {
        self.buffers_max.store(bytes, Ordering::Relaxed);
    }

    pub(super) fn guard(self: &Arc<Self>, isolate: &mut v8::Isolate) {
        // Set once, by the isolate that owns this fence.
        let _ = self.handle.set(isolate.thread_safe_handle());
        isolate.add_near_heap_limit_callback(near_limit, Arc::as_ptr(self).cast_mut().cast());
        isolate.set_oom_error_handler(out_of_memory);
    }

    /// Lowers the heap limit of an isolate that was made with a higher one.
    pub(super) fn lower(self: &Arc<Self>, isolate: &mut v8::Isolate, heap_bytes: usize) {
        isolate.remove_near_heap_limit_callback(near_limit, heap_bytes);
        isolate.add_near_heap_limit_callback(near_limit, Arc::as_ptr(self).cast_mut().cast());
        self.set_buffers_max(heap_bytes);
    }

    /// The allocator of an isolate's array buffers, counted against this fence.
    pub(super) fn allocator(self: &Arc<Self>) -> v8::UniqueRef<v8::Allocator> {
        static VTABLE: v8::RustAllocatorVtable<Fence> = v8::RustAllocatorVtable {
            allocate: allocate_zeroed,
            allocate_uninitialized: allocate,
            free,
            drop: release,
        };
        // SAFETY: the handle is a counted reference that `release` gives back, and the functions expect a `Fence`.
        unsafe { v8::new_rust_allocator(Arc::into_raw(self.clone()), &VTABLE) }
    }

    /// Whether `bytes` more would fit. Only the isolate's thread allocates, so the answer holds until it does.
    fn has_room(&self, bytes: usize) -> bool {
        self.buffers.load(Ordering::Relaxed).saturating_add(bytes) <= self.buffers_max.load(Ordering::Relaxed)
    }

    fn reserve(&self, bytes: usize) -> bool {
        let max = self.buffers_max.load(Ordering::Relaxed);
        self.buffers
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |now| now.checked_add(bytes).filter(|sum| *sum <= max))
            .is_ok()
    }
}

/// Whether the isolate may have `bytes` more of array buffers. V8 ends the process when an allocation of ours fails where
/// JavaScript's would throw, so natives ask first.
pub fn room_for(isolate: &v8::Isolate, bytes: usize) -> bool {
    isolate.get_slot::<Arc<Fence>>().is_none_or(|fence| fence.has_room(bytes))
}

/// V8 calls this on the isolate's thread when the heap is nearly full and collecting did not help.
unsafe extern "C" fn near_limit(fence: *mut c_void, current: usize, initial: usize) -> usize {
    // SAFETY: the isolate owns its fence and outlives its heap's callbacks.
    let fence = unsafe { &*fence.cast::<Fence>() };
    let _ = fence.tripped_at_ms.compare_exchange(0, now_ms().max(1), Ordering::AcqRel, Ordering::Relaxed);
    if let Some(handle) = fence.handle.get() {
        handle.terminate_execution();
    }
    if fence.grants.fetch_add(1, Ordering::Relaxed) < HEADROOM_GRANTS {
        // Enough for what one builtin may still allocate before it looks up.
        current + (initial / 2).max(32 * 1024 * 1024)
    } else {
        current
    }
}

unsafe extern "C" fn out_of_memory(location: *const c_char, details: &v8::OomDetails) {
    let location = text(location);
    let detail = text(details.detail);
    eprintln!("isolate host: V8 is out of memory in {location} ({detail}); this process ends");
}

pub(super) fn fatal(file: &str, line: i32, message: &str) {
    eprintln!("isolate host: V8 gave up at {file}:{line}: {message}; this process ends");
}

fn text(from: *const c_char) -> String {
    if from.is_null() {
        return "?".to_owned();
    }
    // SAFETY: V8 passes terminated strings that live for the call.
    unsafe { CStr::from_ptr(from) }.to_string_lossy().into_owned()
}

fn layout(length: usize) -> Option<Layout> {
    Layout::from_size_align(length.max(1), 16).ok()
}

unsafe extern "C" fn allocate_zeroed(fence: &Fence, length: usize) -> *mut c_void {
    match layout(length) {
        // SAFETY: the layout has a size.
        Some(layout) if fence.reserve(length) => unsafe { alloc_zeroed(layout) }.cast(),
        _ => std::ptr::null_mut(),
    }
}

unsafe extern "C" fn allocate(fence: &Fence, length: usize) -> *mut c_void {
    match layout(length) {
        // SAFETY: the layout has a size.
        Some(layout) if fence.reserve(length) => unsafe { alloc(layout) }.cast(),
        _ => std::ptr::null_mut(),
    }
}

unsafe extern "C" fn free(fence: &Fence, data: *mut c_void, length: usize) {
    fence.buffers.fetch_sub(length, Ordering::Relaxed);
    if let Some(layout) = layout(length) {
        // SAFETY: V8 frees what it got from the functions above, with the length it asked for.
        unsafe { dealloc(data.cast(), layout) };
    }
}

unsafe extern "C" fn release(fence: *const Fence) {
    // SAFETY: made by `Arc::into_raw` in `allocator`.
    drop(unsafe { Arc::from_raw(fence) });
}
