//! Where an app lives: GLOBAL or LOCAL, and its region. Any name is accepted, not only those App Services had.

use std::fmt;

/// Through which hosts an app is reachable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DeploymentModel {
    /// Served everywhere, under the global host name too.
    Global,
    /// Served in one region, under that region's host name.
    Local,
}

impl DeploymentModel {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Global => "GLOBAL",
            Self::Local => "LOCAL",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "GLOBAL" => Some(Self::Global),
            "LOCAL" => Some(Self::Local),
            _ => None,
        }
    }
}

/// A cloud and one of its regions: `aws` + `us-east-1`. Written `aws-us-east-1` in configuration and
/// `us-east-1.aws` in host names.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ProviderRegion {
    pub cloud: String,
    pub region: String,
}

impl ProviderRegion {
    /// Splits `<cloud>-<region>` at its first hyphen. `None` when either half would be empty.
    pub fn parse(text: &str) -> Option<Self> {
        let (cloud, region) = text.split_once('-')?;
        (!cloud.is_empty() && !region.is_empty()).then(|| Self { cloud: cloud.to_owned(), region: region.to_owned() })
    }

    /// `<region>.<cloud>`, the label in front of `data.<domain>`.
    pub fn host_label(&self) -> String {
        format!("{}.{}", self.region, self.cloud)
    }
}

impl fmt::Display for ProviderRegion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.cloud, self.region)
    }
}
