//! Every file that a loss of power can leave behind opens, and holds all that was acknowledged; of what was not, each
//! write wholly or not at all.
//!
//! A workload is recorded once: what was written to the disk, when it was synced, and what had been acknowledged by then.
//! From that, images are made: all that was synced, and of what was not
//! - every prefix, and the last write of each torn at every sector, from either end;
//! - all but any one, two or three, and nothing but any one or two;
//! - any subset, drawn from a seed that is printed.
//!
//! Each image is opened by redb, which checks it whole, and by the store, which is asked for everything in it.

mod support;

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use bson::raw::RawDocument;
use portico_storage::Store;
use portico_storage::embedded::{Embedded, Options};
use redb::backends::InMemoryBackend;
use redb::{
    Database, ReadableDatabase, ReadableTable, ReadableTableMetadata, StorageBackend, TableDefinition, TableError,
};
use support::faulty::{Event, FaultyDisk, SECTOR};
use support::wait;
use support::workload::{self, Planned, State, explains, indexes_agree, path_of, perform, read_all, tenant_number};

const DIR: &str = "/simulated";
const NUMBER: u32 = 1;
/// Steps of the workload, and subsets drawn at each sync; more for spare hours.
const STEPS: (&str, usize) = ("PORTICO_TEST_IMAGE_STEPS", 48);
const DRAWN: (&str, usize) = ("PORTICO_TEST_IMAGE_DRAWN", 20);
/// The reorderings are of the last so many writes; those before them are there.
const WINDOW: (&str, usize) = ("PORTICO_TEST_IMAGE_WINDOW", 10);

fn setting((name, otherwise): (&str, usize)) -> usize {
    std::env::var(name).map_or(otherwise, |value| value.parse().unwrap())
}

fn open(disk: &Arc<FaultyDisk>) -> Embedded {
    let options = Options {
        reader_threads: 1,
        writer_threads: 1,
        open_files_max: 4,
        disk: Arc::clone(disk) as _,
        ..Options::default()
    };
    Embedded::open(Path::new(DIR), options).unwrap()
}

/// Two lives of a store, the first of which ends well.
fn recorded(plan: &[Vec<Planned>]) -> Vec<Event> {
    let disk = FaultyDisk::new();
    disk.record();
    let path = path_of(Path::new(DIR), NUMBER);
    let (first, second) = plan.split_at(plan.len() / 2);
    for (part, begins) in [(first, 0), (second, first.len())] {
        let store = open(&disk);
        for (number, writes) in part.iter().enumerate() {
            let answers = perform(&store, tenant_number(NUMBER), writes);
            assert!(answers.iter().all(Result::is_ok), "{answers:?}");
            disk.acknowledged(&path, begins + number + 1);
        }
        for collection in ["orders", "people"] {
            let indexes = wait(store.list_indexes(&workload::namespace(tenant_number(NUMBER), collection))).unwrap();
            assert_eq!(indexes.len(), 2, "{indexes:?}");
        }
    }
    disk.events(&path)
}

/// A moment at which the power goes.
struct Moment {
    synced: Arc<Vec<u8>>,
    /// Asked of the disk since.
    waiting: Vec<Event>,
    /// Steps acknowledged.
    acknowledged: usize,
    /// Whether a sync is asked for next, so that all of a commit waits.
    whole: bool,
}

fn moments(events: &[Event]) -> Vec<Moment> {
    let mut synced = Arc::new(Vec::new());
    let mut waiting: Vec<Event> = Vec::new();
    let (mut acknowledged, mut named) = (0, false);
    let mut moments = Vec::new();
    for (index, event) in events.iter().enumerate() {
        match event {
            Event::Synced => {
                let mut image = (*synced).clone();
                waiting.drain(..).for_each(|event| event.apply(&mut image));
                synced = Arc::new(image);
            }
            Event::Named => named = true,
            Event::Acknowledged(step) => acknowledged = *step,
            Event::Write(..) | Event::SetLength(_) => {
                waiting.push(event.clone());
                let whole = matches!(events.get(index + 1), Some(Event::Synced));
                // Before it has its name, there is no file.
                if named {
                    moments.push(Moment { synced: Arc::clone(&synced), waiting: waiting.clone(), acknowledged, whole });
                }
            }
        }
    }
    moments
}

impl Moment {
    fn image(&self, of: impl Iterator<Item = Event>) -> Vec<u8> {
        let mut image = (*self.synced).clone();
        of.for_each(|event| event.apply(&mut image));
        image
    }

    fn each_image(&self, seed: u64, see: &mut dyn FnMut(Vec<u8>)) {
        let (last, before) = self.waiting.split_last().expect("something waits");
        see(self.image(self.waiting.iter().cloned()));
        if let Event::Write(offset, data) = last {
            for cut in (SECTOR..data.len()).step_by(SECTOR) {
                let head = Event::Write(*offset, data[..cut].into());
                let tail = Event::Write(*offset + cut as u64, data[cut..].into());
                for part in [head, tail] {
                    see(self.image(before.iter().cloned().chain([part])));
                }
            }
        }
        let all = self.waiting.len();
        let from = all.saturating_sub(setting(WINDOW));
        let without = |gone: &[usize]| {
            let kept = self.waiting.iter().enumerate().filter(|(index, _)| !gone.contains(index));
            self.image(kept.map(|(_, event)| event.clone()))
        };
        for one in from..all {
            see(without(&[one]));
        }
        if !self.whole {
            return;
        }
        for one in from..all {
            for two in one + 1..all {
                see(without(&[one, two]));
                for three in two + 1..all {
                    see(without(&[one, two, three]));
                }
                see(self.image([one, two].iter().map(|index| self.waiting[*index].clone())));
            }
            see(self.image([self.waiting[one].clone()].into_iter()));
        }
        see((*self.synced).clone());
        let mut random = seed;
        for _ in 0..setting(DRAWN) {
            let kept = self.waiting.iter().filter(|_| next(&mut random).is_multiple_of(2));
            see(self.image(kept.cloned()));
        }
    }
}

/// A xorshift generator.
fn next(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

#[derive(Default)]
struct Seen {
    opened: AtomicU64,
    refused: AtomicU64,
    wrong: AtomicU64,
    complaints: Mutex<Vec<String>>,
}

impl Seen {
    fn complain(&self, count: &AtomicU64, complaint: String) {
        count.fetch_add(1, Ordering::Relaxed);
        let mut complaints = self.complaints.lock().unwrap();
        if complaints.len() < 5 {
            complaints.push(complaint);
        }
    }
}

/// redb opens it, and finds nothing wrong in all of it; each index has an entry for each document that belongs in it, and
/// no other.
fn check_whole(image: &[u8]) -> Result<(), String> {
    let backend = InMemoryBackend::new();
    backend.set_len(image.len() as u64).unwrap();
    backend.write(0, image).unwrap();
    let mut database = redb::Builder::new()
        .set_cache_size(1 << 20)
        .create_with_backend(backend)
        .map_err(|error| format!("redb refuses it: {error}"))?;
    match database.check_integrity() {
        Ok(true) => count_entries(&database).map_err(|error| format!("its tables cannot be read: {error}"))?,
        Ok(false) => Err("redb had to repair it again".to_owned()),
        Err(error) => Err(format!("redb finds it damaged: {error}")),
    }
}

fn count_entries(database: &Database) -> Result<Result<(), String>, redb::Error> {
    let snapshot = database.begin_read()?;
    let catalogue = match snapshot.open_table::<&str, &[u8]>(TableDefinition::new("$indexes")) {
        Err(TableError::TableDoesNotExist(_)) => return Ok(Ok(())),
        catalogue => catalogue?,
    };
    for (collection, index, field) in
        [("db.orders", workload::ORDERS_INDEX, None), ("db.people", workload::PEOPLE_INDEX, Some("seen"))]
    {
        let Some(row) = catalogue.get(collection)? else { continue };
        let row = RawDocument::from_bytes(row.value()).unwrap();
        if row
            .get_array("indexes")
            .unwrap()
            .into_iter()
            .any(|one| one.unwrap().as_document().unwrap().get_bool("building").unwrap())
        {
            continue;
        }
        let documents = snapshot.open_table::<&[u8], &[u8]>(TableDefinition::new(collection))?;
        let belongs = |bytes: &[u8]| {
            field.is_none_or(|field| RawDocument::from_bytes(bytes).unwrap().get(field).unwrap().is_some())
        };
        let mut belonging = 0;
        for entry in documents.iter()? {
            belonging += u64::from(belongs(entry?.1.value()));
        }
        let name = format!("{collection}${index}");
        let entries = snapshot.open_table::<&[u8], u32>(TableDefinition::new(&name))?.len()?;
        if entries != belonging {
            return Ok(Err(format!("{name} has {entries} entries for {belonging} documents")));
        }
    }
    Ok(Ok(()))
}

#[test]
fn every_image_a_loss_of_power_leaves_holds_what_was_acknowledged() {
    let began = Instant::now();
    let plan = workload::plan(setting(STEPS));
    let moments = moments(&recorded(&plan));
    let mut states = vec![State::new()];
    for writes in &plan {
        let mut state = states.last().unwrap().clone();
        writes.iter().for_each(|write| write.apply(&mut state));
        states.push(state);
    }
    let commits = moments.iter().filter(|moment| moment.whole).count();
    let seen = Seen::default();
    let (next_moment, next_tenant) = (AtomicU64::new(0), AtomicU32::new(NUMBER + 1));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let disk = FaultyDisk::new();
                let store = open(&disk);
                loop {
                    let index = next_moment.fetch_add(1, Ordering::Relaxed);
                    let Some(moment) = moments.get(index as usize) else { break };
                    let before = &states[moment.acknowledged];
                    let writes = plan.get(moment.acknowledged).map_or(&[][..], Vec::as_slice);
                    // Many orders of the same writes leave the same image.
                    let mut known = HashSet::new();
                    moment.each_image(0x9E37_79B9_7F4A_7C15 ^ (index + 1), &mut |image| {
                        let mut hasher = DefaultHasher::new();
                        image.hash(&mut hasher);
                        if !known.insert(hasher.finish()) {
                            return;
                        }
                        seen.opened.fetch_add(1, Ordering::Relaxed);
                        if let Err(error) = check_whole(&image) {
                            seen.complain(&seen.refused, format!("write {index}: {error}"));
                            return;
                        }
                        let tenant = next_tenant.fetch_add(1, Ordering::Relaxed);
                        disk.put(&path_of(Path::new(DIR), tenant), image);
                        let tenant = tenant_number(tenant);
                        match read_all(&store, tenant) {
                            Err(error) => seen.complain(&seen.refused, format!("write {index}: {error}")),
                            Ok(found) => {
                                let explained = explains(before, writes, &vec![false; writes.len()], &found);
                                if let Err(error) = explained.and_then(|()| indexes_agree(&store, tenant, &found)) {
                                    seen.complain(&seen.wrong, format!("write {index}: {error}"));
                                }
                            }
                        }
                        wait(store.drop_tenant(tenant)).unwrap();
                    });
                }
            });
        }
    });
    let (opened, refused, wrong) = (seen.opened.into_inner(), seen.refused.into_inner(), seen.wrong.into_inner());
    let elapsed = began.elapsed();
    println!(
        "{} writes and {commits} syncs of {} steps: {opened} images, {refused} refused, {wrong} wrong, in {:.1} s",
        moments.len(),
        plan.len(),
        elapsed.as_secs_f64()
    );
    let complaints = seen.complaints.into_inner().unwrap();
    assert!(complaints.is_empty(), "{complaints:#?}");
    assert!(opened > 5_000 && commits > plan.len(), "{opened} images of {commits} syncs");
}

#[test]
fn a_lost_write_a_torn_one_and_one_too_many_are_noticed() {
    let plan = workload::plan(6);
    let writes = &plan[5];
    let before = plan[..5].iter().flatten().fold(State::new(), |mut state, write| {
        write.apply(&mut state);
        state
    });
    let mut after = before.clone();
    writes.iter().for_each(|write| write.apply(&mut after));
    let none = vec![false; writes.len()];
    let all = vec![true; writes.len()];
    assert_eq!(explains(&before, writes, &none, &before), Ok(()));
    assert_eq!(explains(&before, writes, &all, &after), Ok(()));
    assert!(explains(&before, writes, &all, &before).unwrap_err().contains("lost"));
    let together = writes[0].touches();
    assert!(together.len() > 1, "the first write of the step changes several documents");
    let mut torn = after.clone();
    torn.remove(&together[0]);
    assert!(explains(&before, writes, &none, &torn).unwrap_err().contains("torn"));
    let mut more = after.clone();
    let stray = more.values().next().unwrap().clone();
    more.insert(("orders", -1), stray);
    assert!(explains(&before, writes, &none, &more).is_err());
}
