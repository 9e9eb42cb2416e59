//! What an app has beside its configuration: whom it is open to, and bounds the operator set for it alone. Changes act
//! at once and are no deployment.
//!
//! In: the document the catalog keeps. Out: [`AppSettings`], and the way back.

use bson::oid::ObjectId;
use bson::raw::{RawArrayBuf, RawBsonRef, RawDocument, RawDocumentBuf};
use bson::rawdoc;
use ipnet::IpNet;

use storage::model::AppLimits;

/// One line of the access list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessEntry {
    pub id: ObjectId,
    /// As it was given: an address or a network.
    pub address: String,
    pub comment: String,
    pub includes_current: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AppSettings {
    pub access_list: Vec<AccessEntry>,
    /// Each one only when the operator set it.
    pub run_time_ms: Option<u32>,
    pub heap_mib: Option<u32>,
    pub calls_max: Option<u32>,
}

impl AppSettings {
    /// What a new app has: open to everybody.
    pub fn initial() -> Self {
        let everybody = AccessEntry {
            id: ObjectId::new(),
            address: "0.0.0.0/0".to_owned(),
            comment: String::new(),
            includes_current: false,
        };
        Self { access_list: vec![everybody], ..Self::default() }
    }

    pub fn limits(&self, defaults: AppLimits) -> AppLimits {
        AppLimits {
            run_time_ms: self.run_time_ms.unwrap_or(defaults.run_time_ms),
            heap_mib: self.heap_mib.unwrap_or(defaults.heap_mib),
            calls_max: self.calls_max.unwrap_or(defaults.calls_max),
        }
    }

    /// The networks requests may come from. `0.0.0.0/0` has always meant everybody, over IPv6 too.
    pub fn networks(&self) -> Vec<IpNet> {
        let mut networks: Vec<IpNet> = self.access_list.iter().filter_map(|entry| network(&entry.address)).collect();
        if networks.iter().any(|network| network.prefix_len() == 0 && network.addr().is_ipv4()) {
            networks.push(IpNet::V6(ipnet::Ipv6Net::default()));
        }
        networks
    }

    pub fn keep(&self) -> RawDocumentBuf {
        let mut list = RawArrayBuf::new();
        for entry in &self.access_list {
            list.push(rawdoc! {
                "_id": entry.id,
                "address": entry.address.as_str(),
                "comment": entry.comment.as_str(),
                "includes_current": entry.includes_current,
            });
        }
        let mut kept = rawdoc! { "access_list": list };
        for (key, value) in [
            (bson::raw::cstr!("run_time_ms"), self.run_time_ms),
            (bson::raw::cstr!("heap_mib"), self.heap_mib),
            (bson::raw::cstr!("calls_max"), self.calls_max),
        ] {
            if let Some(value) = value {
                kept.append(key, i64::from(value));
            }
        }
        kept
    }

    /// The way back. An app whose settings were never kept is a new one.
    pub fn recall(kept: &RawDocument) -> Self {
        let Ok(list) = kept.get_array("access_list") else { return Self::initial() };
        let entry = |element: RawBsonRef<'_>| {
            let entry = element.as_document()?;
            Some(AccessEntry {
                id: entry.get_object_id("_id").ok()?,
                address: entry.get_str("address").ok()?.to_owned(),
                comment: entry.get_str("comment").unwrap_or_default().to_owned(),
                includes_current: entry.get_bool("includes_current").unwrap_or_default(),
            })
        };
        let number = |key: &str| u32::try_from(kept.get_i64(key).ok()?).ok();
        Self {
            access_list: list.into_iter().flatten().filter_map(entry).collect(),
            run_time_ms: number("run_time_ms"),
            heap_mib: number("heap_mib"),
            calls_max: number("calls_max"),
        }
    }
}

/// An address or a network in CIDR form.
pub fn network(text: &str) -> Option<IpNet> {
    text.parse::<IpNet>().ok().or_else(|| text.parse::<std::net::IpAddr>().ok().map(IpNet::from))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_come_back_as_they_were_kept() {
        let mut settings = AppSettings::initial();
        settings.heap_mib = Some(64);
        assert_eq!(AppSettings::recall(&settings.keep()), settings);
        assert_eq!(AppSettings::recall(&AppSettings::default().keep()).access_list, [], "an emptied list stays empty");
        assert_eq!(AppSettings::recall(&RawDocumentBuf::new()).access_list.len(), 1, "a new app is open");
    }

    #[test]
    fn everybody_includes_ipv6() {
        let networks = AppSettings::initial().networks();
        for address in ["203.0.113.9", "2001:db8::1"] {
            assert!(networks.iter().any(|network| network.contains(&address.parse::<std::net::IpAddr>().unwrap())));
        }
    }
}
