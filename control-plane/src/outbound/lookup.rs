//! Questions to the name service, for functions that ask it themselves.
//!
//! In: a name and a record type. Out: records, in the shapes Node's `dns` gives them. Addresses that functions may not
//! reach are left out, so that the names of an operator's network do not tell what lies behind them.

use std::net::IpAddr;
use std::sync::OnceLock;

use bson::raw::{RawArrayBuf, RawDocumentBuf};
use bson::rawdoc;
use hickory_resolver::TokioResolver;
use hickory_resolver::proto::rr::{RData, RecordType};

use isolate_pool::services::Refusal;

use super::exchange::code_of;
use super::fields::{Fields, refused, wrong};
use super::names::GuardedNames;

/// Made when first asked; a machine without a resolver configuration has none.
#[derive(Default)]
pub struct NameService(OnceLock<Result<TokioResolver, String>>);

/// Longest name the name service takes, characters.
const NAME_LENGTH_MAX: usize = 253;

impl NameService {
    pub async fn answer(&self, names: &GuardedNames, fields: &Fields<'_>) -> Result<RawDocumentBuf, Refusal> {
        let name = fields.text("name")?;
        if name.is_empty() || name.len() > NAME_LENGTH_MAX {
            return Err(wrong(format!("name: '{name}' is not a name of at most {NAME_LENGTH_MAX} characters")));
        }
        let kind = fields.text("type")?;
        let mut records = RawArrayBuf::new();
        if kind == "ADDRESS" {
            let found = names.permitted(name).await;
            for address in found.map_err(|error| refused(code_of(&error), error.to_string()))? {
                records.push(address.to_string());
            }
            return Ok(rawdoc! { "records": records });
        }
        let wanted = match kind {
            "A" => RecordType::A,
            "AAAA" => RecordType::AAAA,
            "CNAME" => RecordType::CNAME,
            "MX" => RecordType::MX,
            "NS" => RecordType::NS,
            "PTR" => RecordType::PTR,
            "SOA" => RecordType::SOA,
            "SRV" => RecordType::SRV,
            "TXT" => RecordType::TXT,
            other => return Err(wrong(format!("type: records of type '{other}' cannot be asked for"))),
        };
        let resolver = self.0.get_or_init(|| {
            let built = TokioResolver::builder_tokio().and_then(|builder| builder.build());
            built.map_err(|error| error.to_string())
        });
        let resolver =
            resolver.as_ref().map_err(|why| refused("ENOTFOUND", format!("there is no name service: {why}")))?;
        let answer = resolver.lookup(name, wanted).await.map_err(|error| {
            let code = match () {
                () if error.is_nx_domain() => "ENOTFOUND",
                () if error.is_no_records_found() => "ENODATA",
                () => "ESERVFAIL",
            };
            refused(code, format!("query{kind} {code} {name}"))
        })?;
        for record in answer.answers() {
            put(&mut records, names, wanted, &record.data);
        }
        if records.is_empty() {
            return Err(refused("ENODATA", format!("query{kind} ENODATA {name}")));
        }
        Ok(rawdoc! { "records": records })
    }
}

/// Adds a record of the wanted type; an answer also holds the aliases on the way.
fn put(records: &mut RawArrayBuf, names: &GuardedNames, wanted: RecordType, data: &RData) {
    if data.record_type() != wanted {
        return;
    }
    let open = |address: IpAddr| names.guard.check(address).is_ok();
    let plain = |name: String| name.trim_end_matches('.').to_owned();
    match data {
        RData::A(found) if open(found.0.into()) => records.push(found.0.to_string()),
        RData::AAAA(found) if open(found.0.into()) => records.push(found.0.to_string()),
        RData::CNAME(name) => records.push(plain(name.0.to_string())),
        RData::NS(name) => records.push(plain(name.0.to_string())),
        RData::PTR(name) => records.push(plain(name.0.to_string())),
        RData::MX(mail) => {
            let exchange = plain(mail.exchange.to_string());
            records.push(rawdoc! { "priority": i32::from(mail.preference), "exchange": exchange });
        }
        RData::SRV(service) => records.push(rawdoc! {
            "name": plain(service.target.to_string()),
            "port": i32::from(service.port),
            "priority": i32::from(service.priority),
            "weight": i32::from(service.weight),
        }),
        RData::SOA(zone) => records.push(rawdoc! {
            "nsname": plain(zone.mname.to_string()),
            "hostmaster": plain(zone.rname.to_string()),
            "serial": f64::from(zone.serial),
            "refresh": zone.refresh,
            "retry": zone.retry,
            "expire": zone.expire,
            "minttl": f64::from(zone.minimum),
        }),
        RData::TXT(text) => {
            let mut parts = RawArrayBuf::new();
            for part in &text.txt_data {
                parts.push(String::from_utf8_lossy(part).into_owned());
            }
            records.push(parts);
        }
        _ => {}
    }
}
