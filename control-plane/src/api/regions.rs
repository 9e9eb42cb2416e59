//! Regions by the names App Services gave them, and their legacy location codes. Any other name is accepted too; this
//! table only says what a client may offer for choosing.

use serde_json::{Value as Json, json};

use storage::model::ProviderRegion;

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

pub fn location_of(region: &ProviderRegion) -> Option<&'static str> {
    let found =
        KNOWN.iter().find(|(cloud, name, _)| (*cloud, *name) == (region.cloud.as_str(), region.region.as_str()));
    found.map(|(_, _, location)| *location)
}

/// Where apps can be made: first this node's region, then the others by name.
pub fn list(own: &ProviderRegion) -> Json {
    let entry = |region: &ProviderRegion| {
        json!({
            "id": region.to_string(),
            "name": region.region,
            "cloud_provider": region.cloud,
            "country": location_of(region).and_then(|location| location.get(..2)).unwrap_or_default(),
            "deployment_models": ["LOCAL", "GLOBAL"],
        })
    };
    let known = KNOWN
        .iter()
        .map(|(cloud, region, _)| ProviderRegion { cloud: (*cloud).to_owned(), region: (*region).to_owned() })
        .filter(|region| region != own);
    std::iter::once(own.clone()).chain(known).map(|region| entry(&region)).collect()
}
