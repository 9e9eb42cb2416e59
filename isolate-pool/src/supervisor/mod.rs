//! Keeps the hosts alive and says which of them runs what.
//!
//! In: how many slots there are, and what happens to hosts (exits, hogs). Out: [`HostEvent`]s to every link's owner.
//!
//! Roles: each **slot** serves the apps that hash to it; one **spare** stands ready with nothing to do; a **heavy** host
//! was a slot's until an app kept its thread, and now serves that app alone while the spare took its slot. A host that
//! dies is replaced by the spare at once and a new spare is started; hosts are cattle.
//!
//! Not here: the calls themselves. A core notices a dead or hogged host by itself, long before the supervisor does.

pub mod child;
pub mod compile_host;

use std::collections::HashMap;
use std::io;
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};

use crate::limits;
use crate::link::page::Page;
use child::SnapshotMemory;
use storage::model::AppId;

/// Numbers hosts in the order they were started; never used twice.
pub type Serial = u32;

/// What link owners are told.
#[derive(Debug)]
pub enum HostEvent {
    /// A host was started and this is your link to it.
    Up { serial: Serial, stream: UnixStream, page: Arc<Page> },
    /// Who serves what, from now on.
    Roles(Arc<Roles>),
}

/// Who serves what.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Roles {
    pub slots: Vec<Option<Serial>>,
    pub spare: Option<Serial>,
    pub heavy: Vec<(AppId, Serial)>,
}

impl Roles {
    /// The host that should run `app`: its heavy host, or the slot with the highest rendezvous weight.
    pub fn home(&self, app: AppId) -> Option<Serial> {
        if let Some((_, serial)) = self.heavy.iter().find(|(owner, _)| *owner == app) {
            return Some(*serial);
        }
        let slot = (0..self.slots.len()).max_by_key(|slot| weight(app, *slot))?;
        self.slots[slot]
    }
}

/// Rendezvous hashing: every (app, slot) pair has a weight of its own, so that a changed number of slots moves only the
/// apps of the slots that came or went. SplitMix64's finisher is enough of a hash for ids that tenants do not choose.
fn weight(app: AppId, slot: usize) -> u64 {
    let bytes = app.bytes();
    let mut word = 0u64;
    for chunk in bytes.chunks(4) {
        word = mix(word ^ u64::from(u32::from_le_bytes([chunk[0], chunk[1], chunk[2], chunk[3]])));
    }
    mix(word ^ (slot as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

fn mix(mut word: u64) -> u64 {
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

/// What to run and how much of it.
pub struct Plan {
    /// The binary that answers to `isolate-host`.
    pub program: PathBuf,
    /// The start-up snapshot for hosts.
    pub snapshot: Vec<u8>,
    /// Hosts that apps are spread over.
    pub slots: usize,
    /// Links per host: one per gateway core.
    pub links: usize,
}

/// Told about hosts, once per link.
pub type Deliver = Arc<dyn Fn(usize, HostEvent) + Send + Sync>;

enum Notice {
    Exited(Serial, io::Result<ExitStatus>),
    Hogged(Serial, AppId),
    Stop,
}

/// A handle on the supervisor's thread. Dropping it ends all hosts.
pub struct Supervisor {
    notices: Mutex<Sender<Notice>>,
    thread: Option<JoinHandle<()>>,
}

impl Supervisor {
    /// Starts all hosts. Fails when the first ones cannot be started at all.
    pub fn start(plan: Plan, deliver: Deliver) -> io::Result<Self> {
        let (notices, inbox) = mpsc::channel();
        let snapshot = SnapshotMemory::new(&plan.snapshot)?;
        let mut state = State {
            roles: Roles { slots: vec![None; plan.slots], ..Roles::default() },
            plan,
            snapshot,
            deliver,
            notices: notices.clone(),
            hosts: HashMap::new(),
            next: 1,
            failures: 0,
            retry_at: None,
        };
        state.fill()?;
        let thread = thread::Builder::new().name("supervisor".to_owned()).spawn(move || {
            loop {
                let wait = state.next_look();
                match inbox.recv_timeout(wait) {
                    Ok(Notice::Exited(serial, status)) => state.exited(serial, status),
                    Ok(Notice::Hogged(serial, app)) => state.hogged(serial, app),
                    Ok(Notice::Stop) | Err(RecvTimeoutError::Disconnected) => return state.stop(),
                    Err(RecvTimeoutError::Timeout) => {}
                }
                state.settle();
            }
        })?;
        Ok(Self { notices: Mutex::new(notices), thread: Some(thread) })
    }

    /// A link owner saw `app` keep the thread of host `serial`.
    pub fn hogged(&self, serial: Serial, app: AppId) {
        self.tell(Notice::Hogged(serial, app));
    }

    fn tell(&self, notice: Notice) {
        // The thread ends only after Stop, so a closed channel means there is nobody left to care.
        let _ = self.notices.lock().unwrap_or_else(PoisonError::into_inner).send(notice);
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        self.tell(Notice::Stop);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Running {
    pid: Pid,
    page: Arc<Page>,
    started: Instant,
    /// Closed when dropped, which ends the host.
    _control: UnixStream,
    /// For a heavy host: when it was last seen busy.
    busy_at: Instant,
}

struct State {
    plan: Plan,
    snapshot: SnapshotMemory,
    deliver: Deliver,
    notices: Sender<Notice>,
    hosts: HashMap<Serial, Running>,
    roles: Roles,
    next: Serial,
    /// Hosts in a row that died young or did not start.
    failures: u32,
    retry_at: Option<Instant>,
}

impl State {
    /// How long to wait for notices before looking at heavy hosts or trying a failed start again.
    fn next_look(&self) -> Duration {
        match self.retry_at {
            Some(at) => at.saturating_duration_since(Instant::now()),
            None if self.roles.heavy.is_empty() => Duration::from_secs(60),
            None => Duration::from_secs(1),
        }
    }

    fn settle(&mut self) {
        self.retire_calm_heavies();
        if self.retry_at.is_none_or(|at| at <= Instant::now()) {
            self.retry_at = None;
            if let Err(error) = self.fill() {
                self.failures += 1;
                tracing::error!(%error, "could not start an isolate host");
                self.retry_at = Some(Instant::now() + self.backoff());
            }
        }
    }

    fn backoff(&self) -> Duration {
        Duration::from_millis(limits::RESTART_BACKOFF_MS << self.failures.min(6))
    }

    /// Fills empty slots, the spare first, and starts what is missing.
    fn fill(&mut self) -> io::Result<()> {
        let before = self.roles.clone();
        let filled = self.fill_roles();
        if self.roles != before {
            let roles = Arc::new(self.roles.clone());
            for link in 0..self.plan.links {
                (self.deliver)(link, HostEvent::Roles(roles.clone()));
            }
        }
        filled
    }

    fn fill_roles(&mut self) -> io::Result<()> {
        for slot in 0..self.roles.slots.len() {
            if self.roles.slots[slot].is_none() {
                self.roles.slots[slot] = match self.roles.spare.take() {
                    Some(spare) => Some(spare),
                    None => Some(self.start()?),
                };
            }
        }
        if self.roles.spare.is_none() {
            self.roles.spare = Some(self.start()?);
        }
        Ok(())
    }

    fn start(&mut self) -> io::Result<Serial> {
        let serial = self.next;
        self.next += 1;
        let child::Host { mut child, page, links, control } =
            child::start(&self.plan.program, serial, self.plan.links, &self.snapshot)?;
        let pid = Pid::from_child(&child);
        for (link, stream) in links.into_iter().enumerate() {
            (self.deliver)(link, HostEvent::Up { serial, stream, page: page.clone() });
        }
        let notices = self.notices.clone();
        thread::Builder::new().name(format!("host-{serial}-wait")).spawn(move || {
            child::relay_stderr(&mut child, serial);
            let status = child.wait();
            let _ = notices.send(Notice::Exited(serial, status));
        })?;
        let now = Instant::now();
        self.hosts.insert(serial, Running { pid, page, started: now, _control: control, busy_at: now });
        tracing::debug!(serial, pid = pid.as_raw_nonzero().get(), "isolate host started");
        Ok(serial)
    }

    fn exited(&mut self, serial: Serial, status: io::Result<ExitStatus>) {
        let Some(host) = self.hosts.remove(&serial) else { return };
        let planned = !self.has_role(serial);
        self.drop_roles(serial);
        if planned {
            tracing::debug!(serial, "isolate host retired");
            return;
        }
        let how = match &status {
            Ok(status) => match status.signal() {
                Some(signal) => format!("signal {signal}"),
                None => format!("exit code {}", status.code().unwrap_or(-1)),
            },
            Err(error) => error.to_string(),
        };
        tracing::warn!(serial, how, "isolate host ended; its calls in flight were answered with an error");
        // A host that dies right after its start will do so again: slow down. One that had a life is replaced at once.
        if host.started.elapsed() < Duration::from_millis(limits::HOST_YOUNG_MS) {
            self.failures += 1;
            self.retry_at = Some(Instant::now() + self.backoff());
            self.promote_spare();
        } else {
            self.failures = 0;
        }
    }

    /// Puts the spare into an empty slot without starting anything.
    fn promote_spare(&mut self) {
        if let Some(slot) = self.roles.slots.iter().position(Option::is_none)
            && let Some(spare) = self.roles.spare.take()
        {
            self.roles.slots[slot] = Some(spare);
            let roles = Arc::new(self.roles.clone());
            for link in 0..self.plan.links {
                (self.deliver)(link, HostEvent::Roles(roles.clone()));
            }
        }
    }

    fn has_role(&self, serial: Serial) -> bool {
        self.roles.slots.contains(&Some(serial))
            || self.roles.spare == Some(serial)
            || self.roles.heavy.iter().any(|(_, heavy)| *heavy == serial)
    }

    fn drop_roles(&mut self, serial: Serial) {
        for slot in &mut self.roles.slots {
            if *slot == Some(serial) {
                *slot = None;
            }
        }
        if self.roles.spare == Some(serial) {
            self.roles.spare = None;
        }
        self.roles.heavy.retain(|(_, heavy)| *heavy != serial);
    }

    /// The host keeps the hog; its slot, or its place as the spare, goes to another.
    fn hogged(&mut self, serial: Serial, app: AppId) {
        let heavy = self.roles.heavy.iter().any(|(owner, host)| *owner == app || *host == serial);
        if heavy || !self.has_role(serial) || self.hosts.len() >= self.plan.slots + 1 + limits::HEAVY_HOSTS_MAX {
            return;
        }
        self.drop_roles(serial);
        self.roles.heavy.push((app, serial));
        if let Some(host) = self.hosts.get_mut(&serial) {
            host.busy_at = Instant::now();
        }
        tracing::info!(serial, %app, "an app keeps a host's thread; the host is now its alone");
    }

    /// A heavy host that had nothing to do for a while is let go, and its app goes home.
    fn retire_calm_heavies(&mut self) {
        let now = Instant::now();
        let mut calm = Vec::new();
        for (_, serial) in &self.roles.heavy {
            if let Some(host) = self.hosts.get_mut(serial) {
                if host.page.running().is_some() {
                    host.busy_at = now;
                } else if now.duration_since(host.busy_at) > Duration::from_millis(limits::HEAVY_CALM_MS) {
                    calm.push(*serial);
                }
            }
        }
        for serial in calm {
            self.drop_roles(serial);
            let roles = Arc::new(self.roles.clone());
            for link in 0..self.plan.links {
                (self.deliver)(link, HostEvent::Roles(roles.clone()));
            }
            // Closing the control socket lets it finish what it has and leave.
            if let Some(host) = self.hosts.get(&serial) {
                let _ = rustix::net::shutdown(&host._control, rustix::net::Shutdown::Write);
            }
        }
    }

    fn stop(&mut self) {
        for host in self.hosts.values() {
            let _ = rustix::process::kill_process(host.pid, Signal::KILL);
        }
        self.hosts.clear();
    }
}

/// The snapshot for this build of V8 and of the JavaScript in it: from `cache`, or made by a process of its own (it must
/// have V8 to itself) and put there.
pub fn snapshot(program: &std::path::Path, cache: &std::path::Path, key: &str) -> io::Result<Vec<u8>> {
    let file = cache.join(format!("snapshot-{key}.bin"));
    match std::fs::read(&file) {
        Ok(bytes) if !bytes.is_empty() => return Ok(bytes),
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let made = std::process::Command::new(program)
        .args(["isolate-host", "--make-snapshot"])
        .env_clear()
        .stdin(std::process::Stdio::null())
        .output()?;
    if !made.status.success() || made.stdout.is_empty() {
        let said = String::from_utf8_lossy(&made.stderr);
        return Err(io::Error::other(format!("making the V8 start-up snapshot failed ({}): {said}", made.status)));
    }
    std::fs::create_dir_all(cache)?;
    let partial = cache.join(format!("snapshot-{key}.{}.partial", std::process::id()));
    std::fs::write(&partial, &made.stdout)?;
    std::fs::rename(&partial, &file)?;
    Ok(made.stdout)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_app_stays_home_when_another_slot_is_added() {
        let three = Roles { slots: vec![Some(1), Some(2), Some(3)], ..Roles::default() };
        let four = Roles { slots: vec![Some(1), Some(2), Some(3), Some(4)], ..Roles::default() };
        let apps: Vec<AppId> = (0..1000).map(|_| AppId::new()).collect();
        let mut per_host = [0; 5];
        for app in &apps {
            let home = four.home(*app).unwrap();
            assert!(home == 4 || Some(home) == three.home(*app));
            per_host[home as usize] += 1;
        }
        assert!(per_host[1..].iter().all(|count| (150..350).contains(count)), "uneven: {per_host:?}");
    }

    #[test]
    fn a_heavy_app_has_its_own_host() {
        let app = AppId::new();
        let roles = Roles { slots: vec![Some(1)], spare: Some(2), heavy: vec![(app, 9)] };
        assert_eq!(roles.home(app), Some(9));
        assert_eq!(roles.home(AppId::new()), Some(1));
    }
}
