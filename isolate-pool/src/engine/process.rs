//! Descriptors this process was started with and should not have.

use std::io;

/// Closes every descriptor past standard error that `keep` does not name.
///
/// To be called before anything but the boot message's descriptors was opened here: what is closed must have no owner.
pub fn close_others(keep: &[i32]) -> io::Result<()> {
    let listed: Vec<i32> = std::fs::read_dir("/proc/self/fd")?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|fd| *fd > 2 && !keep.contains(fd))
        .collect();
    for fd in listed {
        // SAFETY: inherited from the parent, so nothing in this process owns it. The descriptor that listed the
        // directory is closed by now; closing a number that is not open does nothing.
        unsafe { rustix::io::close(fd) };
    }
    Ok(())
}

/// A system call with no useful arguments, for tests that try whether it is let through.
#[cfg(test)]
pub fn raw_call(number: i64) -> i64 {
    // SAFETY: all arguments are zero, so no memory is named; the process exists to try this.
    unsafe { libc::syscall(number, 0, 0, 0, 0, 0, 0) }
}
