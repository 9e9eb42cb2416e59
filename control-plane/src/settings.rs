//! What an app has beside its configuration: whom it is open to, and bounds the operator set for it alone. Changes act
//! at once and are no deployment.
//!
//! In: the document the catalog keeps. Out: [`AppSettings`], and the way back.

use std::collections::BTreeMap;

use bson::oid::ObjectId;
use bson::raw::{CStr, RawArrayBuf, RawBsonRef, RawDocument, RawDocumentBuf};
use bson::rawdoc;
use ipnet::IpNet;

use storage::model::{AppLimits, Rate};

use crate::app_limits;

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
    /// Bounds that were set for this app, by their names in [`app_limits::ALL`].
    pub limits: BTreeMap<&'static str, u32>,
    /// How often it may be called where that was set for this app, by the names in [`app_limits::RATES`]. `None`: as often
    /// as anybody likes.
    pub rates: BTreeMap<&'static str, Option<Rate>>,
    /// Life of users' refresh tokens, seconds.
    pub refresh_seconds: Option<u32>,
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
        let mut limits = defaults;
        for limit in &app_limits::ALL {
            if let Some(own) = self.limits.get(limit.name) {
                *(limit.of)(&mut limits) = *own;
            }
        }
        for rate in &app_limits::RATES {
            if let Some(own) = self.rates.get(rate.name) {
                *(rate.of)(&mut limits) = *own;
            }
        }
        limits
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
        let mut limits = RawDocumentBuf::new();
        for (name, value) in &self.limits {
            let name: &CStr = (*name).try_into().expect("names of limits hold no NUL");
            limits.append(name, i64::from(*value));
        }
        kept.append(bson::raw::cstr!("limits"), limits);
        let mut rates = RawDocumentBuf::new();
        for (name, rate) in &self.rates {
            let name: &CStr = (*name).try_into().expect("names of limits hold no NUL");
            rates.append(name, rate_text(*rate));
        }
        kept.append(bson::raw::cstr!("rates"), rates);
        if let Some(seconds) = self.refresh_seconds {
            kept.append(bson::raw::cstr!("refresh_seconds"), i64::from(seconds));
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
        // A number that was in range for an older version and is no longer goes back to the server's.
        let own = |limit: &app_limits::Limit| {
            let kept = kept.get_document("limits").ok()?.get_i64(limit.name).ok()?;
            Some((limit.name, app_limits::checked(limit, u64::try_from(kept).ok()?).ok()?))
        };
        let own_rate = |rate: &app_limits::RateLimit| {
            let kept = kept.get_document("rates").ok()?.get_str(rate.name).ok()?;
            Some((rate.name, Rate::parse(kept).ok()?))
        };
        Self {
            access_list: list.into_iter().flatten().filter_map(entry).collect(),
            limits: app_limits::ALL.iter().filter_map(own).collect(),
            rates: app_limits::RATES.iter().filter_map(own_rate).collect(),
            refresh_seconds: kept.get_i64("refresh_seconds").ok().and_then(|seconds| u32::try_from(seconds).ok()),
        }
    }
}

/// A rate as people write it.
pub fn rate_text(rate: Option<Rate>) -> String {
    rate.map_or_else(|| "none".to_owned(), |rate| rate.to_string())
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
        settings.limits.insert("heap_mib", 64);
        settings.rates.insert("rate_user", Rate::parse("10/s burst 20").unwrap());
        settings.rates.insert("rate_app", None);
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
