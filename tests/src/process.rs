//! What the kernel says about processes: children, processor time, memory. Read from `/proc`.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

/// The isolate hosts of a server: its children that run as `portico isolate-host`.
pub fn isolate_hosts(server: u32) -> Vec<u32> {
    let is_host = |pid: &u32| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.split(|byte| *byte == 0).any(|word| word.starts_with(b"isolate-host"))
    };
    children(server).into_iter().filter(is_host).collect()
}

/// Children of a process, whichever of its threads started them.
pub fn children(parent: u32) -> Vec<u32> {
    let Ok(threads) = fs::read_dir(format!("/proc/{parent}/task")) else { return Vec::new() };
    let mut all = Vec::new();
    for thread in threads.flatten() {
        let listed = fs::read_to_string(thread.path().join("children")).unwrap_or_default();
        all.extend(listed.split_whitespace().filter_map(|pid| pid.parse::<u32>().ok()));
    }
    all.sort_unstable();
    all
}

/// Processor time a process has used itself, user and system.
pub fn cpu_time(pid: u32) -> Duration {
    let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { return Duration::ZERO };
    // The command's name is in parentheses and may hold anything; numbers follow the last one.
    let Some((_, rest)) = stat.rsplit_once(')') else { return Duration::ZERO };
    let fields: Vec<u64> = rest.split_whitespace().skip(1).map(|field| field.parse().unwrap_or(0)).collect();
    let ticks: u64 = fields.get(10..12).map_or(0, |times| times.iter().sum());
    // USER_HZ is 100 on every Linux there is.
    Duration::from_millis(ticks * 10)
}

/// The same of its threads that live, as the scheduler counts it: to the nanosecond.
pub fn cpu_time_exact(pid: u32) -> Duration {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else { return Duration::ZERO };
    let of = |thread: fs::DirEntry| {
        let counted = fs::read_to_string(thread.path().join("schedstat")).unwrap_or_default();
        counted.split_whitespace().next().and_then(|ns| ns.parse::<u64>().ok()).unwrap_or(0)
    };
    Duration::from_nanos(threads.flatten().map(of).sum())
}

/// The most resident memory a process has had since [`forget_peak`], bytes.
pub fn peak_memory(pid: u32) -> u64 {
    let kib = status_field(pid, "VmHWM");
    kib.and_then(|kib| kib.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) * 1024
}

pub fn forget_peak(pid: u32) {
    fs::write(format!("/proc/{pid}/clear_refs"), "5").unwrap_or_else(|error| panic!("process {pid}: {error}"));
}

/// Resident memory of a process, bytes: all of it, and its share of what it shares with others.
pub fn memory(pid: u32) -> (u64, u64) {
    let Ok(rollup) = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")) else { return (0, 0) };
    let of = |name: &str| {
        let line = rollup.lines().find(|line| line.starts_with(name)).unwrap_or_default();
        line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) * 1024
    };
    (of("Rss:"), of("Pss:"))
}

/// The sockets a process has open, by their inodes.
pub fn sockets(pid: u32) -> BTreeSet<u64> {
    let Ok(open) = fs::read_dir(format!("/proc/{pid}/fd")) else { return BTreeSet::new() };
    let inode = |target: PathBuf| target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok();
    open.flatten().filter_map(|entry| inode(fs::read_link(entry.path()).ok()?)).collect()
}

/// Memory of a process that is nobody else's and no file's, bytes.
pub fn own_memory(pid: u32) -> u64 {
    let kib = status_field(pid, "RssAnon");
    kib.and_then(|kib| kib.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) * 1024
}

/// A field of `/proc/<pid>/status`, such as `Seccomp`.
pub fn status_field(pid: u32, name: &str) -> Option<String> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    Some(line.trim().to_owned())
}

pub fn is_alive(pid: u32) -> bool {
    !matches!(status_field(pid, "State").as_deref().map(|state| state.starts_with(['Z', 'X'])), None | Some(true))
}

pub fn kill(pid: u32, signal: Signal) {
    let known = Pid::from_raw(pid as i32).expect("a process of ours has a positive id");
    kill_process(known, signal).unwrap_or_else(|error| panic!("cannot signal process {pid}: {error}"));
}

/// Keeps the calling thread, and whatever it starts from now on, on one processor; `None` sets it free again. On a machine
/// without that processor nothing changes.
pub fn pin(cpu: Option<usize>) {
    let mut allowed = rustix::thread::CpuSet::new();
    let all = std::thread::available_parallelism().map_or(1, usize::from).max(2);
    (0..all).filter(|one| cpu.is_none_or(|cpu| cpu == *one)).for_each(|one| allowed.set(one));
    let _ = rustix::thread::sched_setaffinity(None, &allowed);
}
