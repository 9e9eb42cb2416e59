//! The loop of the one thread that runs JavaScript.
//!
//! In: readable links. Out: bytes on them. A turn reads everything that is there, handles it frame by frame, fires timers
//! that are due, looks at what settled, and sends one write per link. What is nobody's hurry (blank isolates, giving
//! memory back) is done in turns that had nothing else to do.
//! Not here: what one entry into JavaScript does (`turn`), frames (`intake`).

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use rustix::event::Timespec;
use rustix::event::epoll::{self, EventData, EventFlags};

use super::boot::Boot;
use super::call::Call;
use super::clock::now_ns;
use super::tenant::{Key, Tenant};
use super::watchdog::Watchdog;
use super::wire::Wire;
use crate::engine::isolate::Isolate;
use crate::limits;
use crate::link::frame;
use crate::link::page::Page;
use storage::model::{AppId, BundleId};

/// Between two looks for calls that are past their deadline while they wait.
const DEADLINE_LOOK_NS: u64 = 20_000_000;

/// Quiet time after which idle work is done.
const QUIET_NS: u64 = 3_000_000;

const SECOND_NS: u64 = 1_000_000_000;

/// The control socket's place among the epoll numbers; links count from 0.
const CONTROL: u64 = u64::MAX;

pub struct Host {
    pub(super) page: Page,
    pub(super) snapshot: &'static [u8],
    pub(super) links: Vec<Link>,
    pub(super) calls: HashMap<u32, Call>,
    /// Calls by what their link calls them.
    pub(super) handles: HashMap<(usize, u64), u32>,
    pub(super) last_handle: u32,
    pub(super) tenants: HashMap<u32, Tenant>,
    pub(super) last_tenant: u32,
    /// Which tenant takes the calls of an app's bundle.
    pub(super) homes: HashMap<Key, u32>,
    /// Encoded bundles that were sent and whose call follows.
    pub(super) arrived: HashMap<(AppId, BundleId), Vec<u8>>,
    pub(super) blanks: Vec<Isolate>,
    /// V8's code of Node's modules is there for whoever requires them.
    pub(super) modules_prepared: bool,
    pub(super) compiler: Option<Isolate>,
    pub(super) watchdog: Watchdog,
    /// When each tenant's first timer is due.
    pub(super) due: BTreeSet<(u64, u32)>,
    /// Tenants entered in this turn.
    pub(super) touched: Vec<u32>,
    pub(super) condemned: u64,
    pub(super) loads: u64,
    control: UnixStream,
    /// The parent closed the control socket: what is in flight is finished, then this process ends. When the parent died
    /// its links closed as well, so nothing is in flight.
    leaving: bool,
    epoll: OwnedFd,
    worked_at_ns: u64,
    kept_house_at_ns: u64,
    looked_at_ns: u64,
    /// When JavaScript was last left, and when that was at the last flush.
    pub(super) left_at_ns: u64,
    flushed_at_ns: u64,
}

/// A link and how far its calls were claimed.
pub(super) struct Link {
    pub wire: Wire,
    pub claimed: u64,
    pub open: bool,
    /// What epoll watches this link for.
    watched: EventFlags,
}

impl Host {
    pub fn new(boot: Boot) -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        epoll::add(&epoll, &boot.control, EventData::new_u64(CONTROL), EventFlags::IN)?;
        let mut links = Vec::new();
        for (index, stream) in boot.links.into_iter().enumerate() {
            let wire = Wire::new(stream)?;
            epoll::add(&epoll, wire.fd(), EventData::new_u64(index as u64), EventFlags::IN)?;
            links.push(Link { wire, claimed: 0, open: true, watched: EventFlags::IN });
        }
        let watchdog = Watchdog::start(links.iter().map(|link| link.wire.out.clone()).collect())?;
        let now = now_ns();
        Ok(Self {
            page: boot.page,
            snapshot: boot.snapshot,
            links,
            calls: HashMap::new(),
            handles: HashMap::new(),
            last_handle: 0,
            tenants: HashMap::new(),
            last_tenant: 0,
            homes: HashMap::new(),
            arrived: HashMap::new(),
            blanks: Vec::new(),
            modules_prepared: false,
            compiler: None,
            watchdog,
            due: BTreeSet::new(),
            touched: Vec::new(),
            condemned: 0,
            loads: 0,
            control: boot.control,
            leaving: false,
            epoll,
            worked_at_ns: now,
            kept_house_at_ns: now,
            looked_at_ns: now,
            left_at_ns: now,
            flushed_at_ns: now,
        })
    }

    /// Makes the first blank isolate and says `Ready` on every link. `Err` when the snapshot is not one of ours.
    pub fn open(&mut self) -> Result<(), String> {
        self.blanks.push(Isolate::new(self.snapshot, limits::HEAP_MIB)?);
        for link in &mut self.links {
            link.wire.out.put(frame::write_ready);
        }
        Ok(())
    }

    /// Serves until the parent closes the control socket and nothing is in flight.
    pub fn run(&mut self) -> io::Result<()> {
        let mut events = Vec::with_capacity(limits::LINKS_MAX + 1);
        self.flush()?;
        loop {
            events.clear();
            let wait = self.wait_ns(now_ns());
            let wait = Timespec { tv_sec: (wait / SECOND_NS) as i64, tv_nsec: (wait % SECOND_NS) as i64 };
            match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), Some(&wait)) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            for event in &events {
                let data = event.data.u64();
                if data == CONTROL {
                    if !self.leaving && self.parent_is_gone()? {
                        self.leaving = true;
                        epoll::delete(&self.epoll, &self.control)?;
                    }
                } else if { event.flags }.intersects(EventFlags::IN | EventFlags::HUP | EventFlags::ERR) {
                    self.take_in(data as usize);
                }
            }
            let fired = self.fire_timers();
            self.settle_touched();
            let now = now_ns();
            if now.saturating_sub(self.looked_at_ns) >= DEADLINE_LOOK_NS {
                self.looked_at_ns = now;
                self.end_overdue(now);
            }
            if !events.is_empty() || fired {
                self.worked_at_ns = now;
            } else if now.saturating_sub(self.worked_at_ns) >= QUIET_NS {
                self.idle_work();
            }
            if now.saturating_sub(self.kept_house_at_ns) >= SECOND_NS {
                self.kept_house_at_ns = now;
                self.keep_house(now);
            }
            self.flush()?;
            if self.leaving
                && self.calls.is_empty()
                && !self.links.iter().any(|link| link.open && link.wire.has_output())
            {
                return Ok(());
            }
        }
    }

    /// How long to sleep for events.
    fn wait_ns(&self, now: u64) -> u64 {
        let mut wait = SECOND_NS;
        if let Some((due, _)) = self.due.first() {
            wait = wait.min(due.saturating_sub(now));
        }
        if !self.calls.is_empty() {
            wait = wait.min(DEADLINE_LOOK_NS);
        }
        if self.blanks.len() < limits::BLANK_ISOLATES || !self.modules_prepared {
            wait = wait.min(QUIET_NS);
        }
        wait
    }

    /// Anything on the control socket but its end is ignored; there is nothing to be told yet.
    fn parent_is_gone(&mut self) -> io::Result<bool> {
        let mut nothing = [0; 64];
        match io::Read::read(&mut self.control, &mut nothing) {
            Ok(0) => Ok(true),
            Ok(_) => Ok(false),
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Ok(true),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// One write per link that has something to say; what epoll watches follows from what is left.
    fn flush(&mut self) -> io::Result<()> {
        self.flushed_at_ns = self.left_at_ns;
        for (index, link) in self.links.iter_mut().enumerate() {
            if !link.open {
                continue;
            }
            if link.wire.has_output() && link.wire.out.flush().is_err() {
                link.open = false;
            }
            let mut wanted = EventFlags::empty();
            wanted.set(EventFlags::IN, link.wire.may_read());
            wanted.set(EventFlags::OUT, link.wire.has_output());
            if !link.open {
                epoll::delete(&self.epoll, link.wire.fd())?;
            } else if wanted != link.watched {
                epoll::modify(&self.epoll, link.wire.fd(), EventData::new_u64(index as u64), wanted)?;
                link.watched = wanted;
            }
        }
        Ok(())
    }

    /// Reads one link and handles every whole frame on it.
    fn take_in(&mut self, index: usize) {
        let link = &mut self.links[index];
        if !link.open {
            return;
        }
        let alive = matches!(link.wire.fill(), Ok(true));
        let received = link.wire.take_received();
        let mut used = 0;
        let understood = loop {
            match frame::split(&received[used..]) {
                Ok(Some((body, length))) => {
                    used += length;
                    if self.handle(index, body).is_err() {
                        break false;
                    }
                    if self.left_at_ns.saturating_sub(self.flushed_at_ns) >= limits::UNSENT_NS_MAX {
                        self.settle_touched();
                        if self.flush().is_err() {
                            break false;
                        }
                    }
                }
                Ok(None) => break true,
                Err(_) => break false,
            }
        };
        self.links[index].wire.put_back(received, used);
        if !understood {
            eprintln!("isolate host: link {index} sent a frame that makes no sense; it is closed");
        }
        if !alive || !understood {
            self.close_link(index);
        }
    }

    fn close_link(&mut self, index: usize) {
        let link = &mut self.links[index];
        if std::mem::replace(&mut link.open, false) {
            // Closing the descriptor would take it out of the set as well; until then it must not keep waking us.
            let _ = epoll::delete(&self.epoll, link.wire.fd());
        }
        let gone: Vec<u32> =
            self.handles.iter().filter(|((of, _), _)| *of == index).map(|(_, handle)| *handle).collect();
        for handle in gone {
            self.forget(handle);
        }
    }
}
