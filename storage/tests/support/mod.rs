//! What the tests of this crate share: waiting for a future without a runtime, reading a cursor to its end, and reading
//! canonical Extended JSON.
#![allow(dead_code, reason = "each test binary uses its own part")]

pub mod faulty;
pub mod workload;

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;

use bson::raw::RawDocumentBuf;
use bson::spec::BinarySubtype;
use bson::{Binary, Bson, DateTime, Document, JavaScriptCodeWithScope, Regex, Timestamp, oid::ObjectId};
use portico_storage::{Aggregate, Cursor, Find, Namespace, Store, StoreError};
use serde_json::Value as Json;

pub fn wait<T>(future: impl Future<Output = T>) -> T {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(value) => return value,
            Poll::Pending => std::thread::park(),
        }
    }
}

pub fn find(store: &dyn Store, namespace: &Namespace, query: Find) -> Result<Vec<RawDocumentBuf>, StoreError> {
    wait(async { to_end(store.find(namespace, query).await?).await })
}

pub fn aggregate(
    store: &dyn Store,
    namespace: &Namespace,
    aggregate: Aggregate,
) -> Result<Vec<RawDocumentBuf>, StoreError> {
    wait(async { to_end(store.aggregate(namespace, aggregate).await?).await })
}

async fn to_end(mut cursor: Box<dyn Cursor>) -> Result<Vec<RawDocumentBuf>, StoreError> {
    let mut all = Vec::new();
    loop {
        let batch = cursor.next(1 << 20).await?;
        all.extend(batch.documents);
        if batch.exhausted {
            return Ok(all);
        }
    }
}

pub fn raw(document: &Json) -> RawDocumentBuf {
    match bson_of(document) {
        Bson::Document(document) => RawDocumentBuf::try_from(&document).unwrap(),
        other => panic!("not a document: {other}"),
    }
}

pub fn bson_of(value: &Json) -> Bson {
    match value {
        Json::Null => Bson::Null,
        Json::Bool(value) => Bson::Boolean(*value),
        Json::String(text) => Bson::String(text.clone()),
        Json::Array(values) => Bson::Array(values.iter().map(bson_of).collect()),
        Json::Number(number) => match number.as_i64() {
            Some(number) => i32::try_from(number).map_or(Bson::Int64(number), Bson::Int32),
            None => Bson::Double(number.as_f64().unwrap()),
        },
        Json::Object(fields) => typed(fields).unwrap_or_else(|| {
            let fields = fields.iter().map(|(name, value)| (name.clone(), bson_of(value)));
            Bson::Document(fields.collect::<Document>())
        }),
    }
}

fn typed(fields: &serde_json::Map<String, Json>) -> Option<Bson> {
    let (name, value) = fields.iter().next()?;
    let text = || value.as_str().unwrap();
    Some(match (name.as_str(), fields.len()) {
        ("$numberInt", 1) => Bson::Int32(text().parse().unwrap()),
        ("$numberLong", 1) => Bson::Int64(text().parse().unwrap()),
        ("$numberDouble", 1) => Bson::Double(match text() {
            "Infinity" => f64::INFINITY,
            "-Infinity" => f64::NEG_INFINITY,
            "NaN" => f64::NAN,
            text => text.parse().unwrap(),
        }),
        ("$numberDecimal", 1) => Bson::Decimal128(text().parse().unwrap()),
        ("$oid", 1) => Bson::ObjectId(ObjectId::parse_str(text()).unwrap()),
        ("$date", 1) => Bson::DateTime(DateTime::from_millis(value["$numberLong"].as_str().unwrap().parse().unwrap())),
        ("$binary", 1) => {
            use base64::Engine;
            let bytes = base64::engine::general_purpose::STANDARD.decode(value["base64"].as_str().unwrap()).unwrap();
            let subtype = u8::from_str_radix(value["subType"].as_str().unwrap(), 16).unwrap();
            Bson::Binary(Binary { subtype: BinarySubtype::from(subtype), bytes })
        }
        ("$regularExpression", 1) => Bson::RegularExpression(Regex {
            pattern: value["pattern"].as_str().unwrap().try_into().unwrap(),
            options: value["options"].as_str().unwrap().try_into().unwrap(),
        }),
        ("$timestamp", 1) => Bson::Timestamp(Timestamp {
            time: value["t"].as_u64().unwrap() as u32,
            increment: value["i"].as_u64().unwrap() as u32,
        }),
        ("$minKey", 1) => Bson::MinKey,
        ("$maxKey", 1) => Bson::MaxKey,
        ("$undefined", 1) => Bson::Undefined,
        ("$symbol", 1) => Bson::Symbol(text().to_owned()),
        ("$code", 1) => Bson::JavaScriptCode(text().to_owned()),
        ("$code", 2) => match bson_of(&fields["$scope"]) {
            Bson::Document(scope) => {
                Bson::JavaScriptCodeWithScope(JavaScriptCodeWithScope { code: text().to_owned(), scope })
            }
            _ => return None,
        },
        _ => return None,
    })
}
