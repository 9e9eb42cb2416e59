//! Documents made to do harm cost no more than their bytes: they are refused in MongoDB's words, or kept as they are.
//!
//! Lengths that lie, names and texts that are no UTF-8, nesting, types that do not exist, and every byte of a document
//! changed. What is accepted comes back byte by byte, so that nothing was read as something else.

mod support;

use std::path::Path;
use std::time::{Duration, Instant};

use bson::raw::{RawDocument, RawDocumentBuf};
use bson::rawdoc;
use portico_storage::embedded::{Embedded, Options};
use portico_storage::model::AppId;
use portico_storage::value::check;
use portico_storage::{Delete, Fault, Find, Namespace, Store, StoreError, Tenant, Update};
use support::faulty::FaultyDisk;
use support::{find, wait};

/// For the worst document of a megabyte, on a machine that does other things too.
const PATIENCE: Duration = Duration::from_millis(250);

fn namespace() -> Namespace {
    Namespace::new(Tenant::App(AppId::from_bytes([9; 12])), "db", "hostile")
}

fn open() -> Embedded {
    let options = Options { disk: FaultyDisk::new(), ..Options::default() };
    Embedded::open(Path::new("/simulated"), options).unwrap()
}

/// One value of each type there is.
fn every_type() -> RawDocumentBuf {
    let inner = rawdoc! { "a": 1, "b": [1, "two", { "c": 3.0 }] };
    rawdoc! {
        "_id": 7,
        "double": 1.5,
        "string": "text",
        "document": inner,
        "array": [1, [2, 3], null],
        "binary": bson::Binary { subtype: bson::spec::BinarySubtype::Generic, bytes: vec![1, 2, 3] },
        "id": bson::oid::ObjectId::from_bytes([1; 12]),
        "bool": true,
        "date": bson::DateTime::from_millis(1_700_000_000_000),
        "null": null,
        "regex": bson::Regex { pattern: "^a".try_into().unwrap(), options: "i".try_into().unwrap() },
        "code": bson::Bson::JavaScriptCode("f()".to_owned()).try_into_raw(),
        "timestamp": bson::Timestamp { time: 5, increment: 6 },
        "long": 1i64 << 40,
    }
}

/// A constructor for what `rawdoc!` has no literal of.
trait TryIntoRaw {
    fn try_into_raw(self) -> bson::RawBson;
}

impl TryIntoRaw for bson::Bson {
    fn try_into_raw(self) -> bson::RawBson {
        self.try_into().unwrap()
    }
}

/// What becomes of these bytes: an error in MongoDB's terms, or a document that is kept as it was.
fn offer(store: &Embedded, bytes: Vec<u8>) -> Result<(), StoreError> {
    let document = match RawDocumentBuf::from_bytes(bytes) {
        Ok(document) => document,
        // The door of every room that takes bytes: the head or the tail is wrong.
        Err(error) => return Err(StoreError::caller(22, "InvalidBSON", error.to_string())),
    };
    // As a filter and as an update it must not end anything either; what they mean does not matter here.
    let _ = wait(store.count(&namespace(), Find { filter: document.clone(), ..Find::default() }));
    let update = Update { filter: rawdoc! { "_id": "none" }, update: document.clone().into(), ..Update::default() };
    let _ = wait(store.update(&namespace(), update));
    check::document(&document)?;
    let inserted = wait(store.insert(&namespace(), vec![document.clone()], true))?;
    if let Some(error) = inserted.error {
        return Err(error);
    }
    let id = inserted.ids[0].clone();
    let found = find(store, &namespace(), Find { filter: rawdoc! { "_id": { "$eq": id } }, ..Find::default() })?;
    let kept = found.first().expect("what was inserted is found by its `_id`");
    let stored = check::to_store(document.clone()).unwrap();
    if document.get("_id").is_ok_and(|id| id.is_some()) {
        assert_eq!(kept.as_bytes(), stored.as_bytes(), "kept as something else");
    }
    wait(store.delete(&namespace(), Delete { filter: rawdoc! {}, multi: true, ..Delete::default() }))?;
    Ok(())
}

#[test]
fn every_byte_of_a_document_may_be_anything() {
    let store = open();
    let whole = every_type().into_bytes();
    let (mut kept, mut refused) = (0, 0);
    for at in 0..whole.len() {
        for value in [0x00, 0x01, 0x05, 0x13, 0x24, 0x7f, 0x80, 0xc0, 0xff, whole[at] ^ 0x01, whole[at] ^ 0x10] {
            let mut bytes = whole.clone();
            bytes[at] = value;
            match offer(&store, bytes) {
                Ok(()) => kept += 1,
                Err(error) => {
                    assert_eq!(error.fault, Fault::Caller, "byte {at} as {value:#x}: {error:?}");
                    refused += 1;
                }
            }
        }
    }
    for cut in 0..whole.len() {
        let mut bytes = whole[..cut].to_vec();
        assert!(offer(&store, bytes.clone()).is_err(), "cut at {cut}");
        // Cut, and saying so.
        if cut >= 5 {
            bytes[..4].copy_from_slice(&(cut as u32).to_le_bytes());
            *bytes.last_mut().unwrap() = 0;
            let _ = offer(&store, bytes);
        }
    }
    println!("{kept} changed documents kept as they are, {refused} refused");
    assert!(kept > 100 && refused > 100);
}

#[test]
fn every_length_may_lie() {
    let store = open();
    let whole = every_type().into_bytes();
    let mut refused = 0;
    for at in 0..whole.len() - 4 {
        let truth = i32::from_le_bytes(whole[at..at + 4].try_into().unwrap());
        for lie in [i32::MIN, -1, 0, 1, 4, 5, truth.wrapping_sub(1), truth.wrapping_add(1), i32::MAX] {
            let mut bytes = whole.clone();
            bytes[at..at + 4].copy_from_slice(&lie.to_le_bytes());
            if let Err(error) = offer(&store, bytes) {
                assert_eq!(error.fault, Fault::Caller, "length at {at} as {lie}: {error:?}");
                refused += 1;
            }
        }
    }
    println!("{refused} refused");
    assert!(refused > 1000);
}

/// A document nested in itself so many times: eight bytes a level.
fn nested(levels: usize, kind: u8) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(levels * 8 + 5);
    for level in 0..levels {
        let length = (levels - level) * 8 + 5;
        bytes.extend_from_slice(&(length as u32).to_le_bytes());
        bytes.extend_from_slice(&[kind, b'0', 0]);
    }
    bytes.extend_from_slice(&[5, 0, 0, 0, 0]);
    bytes.resize(bytes.len() + levels, 0);
    bytes
}

fn flat(elements: usize, element: &[u8]) -> Vec<u8> {
    let length = 4 + elements * element.len() + 1;
    let mut bytes = (length as u32).to_le_bytes().to_vec();
    (0..elements).for_each(|_| bytes.extend_from_slice(element));
    bytes.push(0);
    bytes
}

#[test]
fn a_megabyte_of_anything_is_dealt_with_at_once() {
    let store = open();
    const MEGABYTE: usize = 1 << 20;
    let text = [&[2, b'a', 0, 5, 0, 0, 0][..], &[0xf0, 0x9f, 0x98, 0x00, 0]].concat();
    let cases: [(&str, Vec<u8>, Option<i32>); 8] = [
        ("documents nested 131,000 times", nested(MEGABYTE / 8, 3), Some(15)),
        ("arrays nested 131,000 times", nested(MEGABYTE / 8, 4), Some(15)),
        ("nested a hundred times", nested(99, 3), None),
        ("nulls of the same name", flat(MEGABYTE / 3, &[10, b'a', 0]), None),
        ("nulls without a name", flat(MEGABYTE / 2, &[10, 0]), None),
        ("texts that are no UTF-8", flat(MEGABYTE / text.len(), &text), Some(22)),
        ("names that are no UTF-8", flat(MEGABYTE / 4, &[10, 0xc3, 0x28, 0]), Some(22)),
        ("elements of a type there is none of", flat(MEGABYTE / 3, &[0x33, b'a', 0]), Some(22)),
    ];
    for (name, bytes, code) in cases {
        let document = RawDocumentBuf::from_bytes(bytes.clone()).unwrap();
        let began = Instant::now();
        let outcome = check::document(&document);
        let checked = began.elapsed();
        assert_eq!(outcome.as_ref().err().map(|error| error.code), code, "{name}: {outcome:?}");
        let began = Instant::now();
        let kept = offer(&store, bytes);
        println!(
            "{name}: checked in {checked:?}, {} in {:?}",
            if kept.is_ok() { "kept" } else { "refused" },
            began.elapsed()
        );
        assert_eq!(kept.err().map(|error| error.code), code, "{name}");
        assert!(checked < PATIENCE, "{name} took {checked:?}");
    }
}

#[test]
fn odd_numbers_and_dates_come_back_bit_by_bit() {
    let store = open();
    let odd =
        [f64::from_bits(0x7ff8_dead_beef_0001), f64::from_bits(0xfff0_0000_0000_0001), -0.0, f64::MIN_POSITIVE / 2.0];
    for (number, double) in odd.into_iter().enumerate() {
        let mut document =
            rawdoc! { "_id": number as i32, "date": bson::DateTime::from_millis(i64::MIN), "last": i64::MIN };
        document.append(bson::raw::cstr!("double"), double);
        wait(store.insert(&namespace(), vec![document.clone()], true)).unwrap();
        let found =
            find(&store, &namespace(), Find { filter: rawdoc! { "_id": number as i32 }, ..Find::default() }).unwrap();
        let found: &RawDocument = &found[0];
        assert_eq!(found.as_bytes(), document.as_bytes());
    }
}
