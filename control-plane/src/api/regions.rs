//! Regions by the names App Services gave them, and their legacy location codes. Any other name is accepted too; this
//! table only says what a client may offer for choosing.

use serde_json::{Value as Json, json};

use storage::model::ProviderRegion;

/// The location of apps in regions that have none, such as those of the operator's own naming: App Services' default.
pub const LOCATION: &str = "US-VA";

/// `(cloud, region, location)`.
const KNOWN: &[(&str, &str, &str)] = &[
    ("aws", "us-east-1", "US-VA"),
    ("aws", "us-east-2", "US-VA"),
    ("aws", "us-west-2", "US-OR"),
    ("aws", "eu-central-1", "DE-FF"),
    ("aws", "eu-west-1", "IE"),
    ("aws", "eu-west-2", "IE"),
    ("aws", "ap-southeast-1", "SG"),
    ("aws", "ap-southeast-2", "AU"),
    ("aws", "ap-south-1", "IN-MB"),
    ("aws", "sa-east-1", "BR-SP"),
    ("azure", "eastus2", "US-VA"),
    ("azure", "westus", "US-OR"),
    ("azure", "westeurope", "DE-FF"),
    ("azure", "eastasia", "IN-MB"),
    ("azure", "southeastasia", "SG"),
];

/// Regions of Google's cloud, which came too late for location codes: `(region, country)`.
const WITHOUT_LOCATION: &[(&str, &str)] =
    &[("us-central1", "US"), ("us-east4", "US"), ("us-west1", "US"), ("europe-west1", "BE"), ("asia-south1", "IN")];

pub fn location_of(region: &ProviderRegion) -> Option<&'static str> {
    let found =
        KNOWN.iter().find(|(cloud, name, _)| (*cloud, *name) == (region.cloud.as_str(), region.region.as_str()));
    found.map(|(_, _, location)| *location)
}

/// Where apps can be made: first this node's region, then those of its peers. Where there are no peers, the others by name:
/// an app of any of them is served here, so nobody who moves one here has to rename its region first.
pub fn list<'a>(own: &'a ProviderRegion, peers: impl Iterator<Item = &'a ProviderRegion>) -> Json {
    let mut regions: Vec<ProviderRegion> = std::iter::once(own).chain(peers).cloned().collect();
    if regions.len() == 1 {
        let named = |cloud: &str, region: &str| ProviderRegion { cloud: cloud.to_owned(), region: region.to_owned() };
        let known = KNOWN.iter().map(|(cloud, region, _)| named(cloud, region));
        let known = known.chain(WITHOUT_LOCATION.iter().map(|(region, _)| named("gcp", region)));
        regions.extend(known.filter(|region| region != own));
    }
    regions
        .iter()
        .map(|region| {
            json!({
                "id": region.to_string(),
                "name": region.region,
                "cloud_provider": region.cloud,
                "country": country_of(region),
                "deployment_models": ["LOCAL", "GLOBAL"],
            })
        })
        .collect()
}

fn country_of(region: &ProviderRegion) -> &'static str {
    let by_location = location_of(region).and_then(|location| location.get(..2));
    let by_name = || WITHOUT_LOCATION.iter().find(|(name, _)| region.cloud == "gcp" && *name == region.region);
    by_location.or_else(|| by_name().map(|(_, country)| *country)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn apps_can_be_made_where_there_are_nodes() {
        let region = |text: &str| ProviderRegion::parse(text).unwrap();
        let ids = |own: &str, peers: &[ProviderRegion]| {
            let list = list(&region(own), peers.iter());
            let ids: Vec<String> =
                list.as_array().unwrap().iter().map(|one| one["id"].as_str().unwrap().to_owned()).collect();
            ids
        };
        let peers = [region("azure-westeurope"), region("own-cellar")];
        assert_eq!(ids("aws-eu-west-1", &peers), ["aws-eu-west-1", "azure-westeurope", "own-cellar"]);
        let alone = ids("aws-eu-west-1", &[]);
        assert_eq!((alone[0].as_str(), alone.len()), ("aws-eu-west-1", KNOWN.len() + WITHOUT_LOCATION.len()));
        assert_eq!(country_of(&region("gcp-europe-west1")), "BE");
        assert_eq!(country_of(&region("aws-eu-west-1")), "IE");
    }
}
