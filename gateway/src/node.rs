//! What this node calls itself: its domain, region and cloud, and so which app a host name means.
//!
//! `data.<domain>` is the global host, `<region>.<cloud>.data.<domain>` this node's regional one. With one more label in
//! front, `<app id>.…`, the host names the app. Any other host (an address, `localhost`) is served by path.

use storage::model::{DeploymentModel, ProviderRegion};

/// This node's names.
#[derive(Debug, Clone)]
pub struct Node {
    pub region: ProviderRegion,
    /// Base of links in error bodies, such as `http://localhost:8080`.
    pub base_url: String,
    global: String,
}

/// How a request came to us, by its host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Door<'a> {
    /// Through the global host: only GLOBAL apps are here.
    Global,
    /// Through a regional host of ours.
    Regional,
    /// Through the regional host of another region.
    Elsewhere { region: &'a str, cloud: &'a str },
    /// A host that says nothing.
    Plain,
}

/// What a host name says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Named<'a> {
    pub door: Door<'a>,
    /// The app, when the host names one.
    pub app: Option<&'a str>,
}

/// Where an app is to be found that was asked for through a door of this node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    Here,
    /// In the region it lives in, which is another one, and which was asked for or left open.
    Away,
    /// Not through this door.
    Nowhere,
}

impl Node {
    pub fn new(domain: &str, region: ProviderRegion, base_url: String) -> Self {
        Self { region, base_url, global: format!("data.{domain}") }
    }

    /// Reads a `Host` value. Names compare without regard to case, and the port says nothing.
    pub fn read_host<'a>(&self, host: &'a str) -> Named<'a> {
        let name = match host.rsplit_once(':') {
            Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
            _ => host,
        };
        let name = name.strip_suffix('.').unwrap_or(name);
        let Some(front) = strip_suffix_ignoring_case(name, &self.global) else {
            return Named { door: Door::Plain, app: None };
        };
        let Some(front) = (if front.is_empty() { Some("") } else { front.strip_suffix('.') }) else {
            // `xdata.example`: another name that ends alike.
            return Named { door: Door::Plain, app: None };
        };
        let mut labels = front.rsplit('.').filter(|label| !label.is_empty());
        // From the right: an app alone, or a cloud, its region, and perhaps an app. Any more are not ours.
        match [labels.next(), labels.next(), labels.next(), labels.next()] {
            [app, None, ..] => Named { door: Door::Global, app },
            [Some(cloud), Some(region), app, None] => {
                let ours =
                    region.eq_ignore_ascii_case(&self.region.region) && cloud.eq_ignore_ascii_case(&self.region.cloud);
                Named { door: if ours { Door::Regional } else { Door::Elsewhere { region, cloud } }, app }
            }
            _ => Named { door: Door::Plain, app: None },
        }
    }

    /// Where an app is to be found behind a door of this node. A GLOBAL app is wherever it is known. A LOCAL one asked for
    /// through the global host, or in a region that is not its own, looks like an unknown one.
    pub fn reach(&self, door: Door<'_>, model: DeploymentModel, region: &ProviderRegion) -> Reach {
        if model == DeploymentModel::Global {
            return Reach::Here;
        }
        match door {
            Door::Plain | Door::Regional if *region == self.region => Reach::Here,
            Door::Plain => Reach::Away,
            Door::Elsewhere { region: asked, cloud }
                if asked.eq_ignore_ascii_case(&region.region) && cloud.eq_ignore_ascii_case(&region.cloud) =>
            {
                Reach::Away
            }
            Door::Global | Door::Regional | Door::Elsewhere { .. } => Reach::Nowhere,
        }
    }
}

fn strip_suffix_ignoring_case<'a>(text: &'a str, suffix: &str) -> Option<&'a str> {
    let at = text.len().checked_sub(suffix.len())?;
    (text.is_char_boundary(at) && text[at..].eq_ignore_ascii_case(suffix)).then(|| &text[..at])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_read_as_documented() {
        let node = Node::new(
            "example.com",
            ProviderRegion { cloud: "aws".to_owned(), region: "eu-west-1".to_owned() },
            String::new(),
        );
        for (host, door, app) in [
            ("data.example.com", Door::Global, None),
            ("DATA.Example.com:8443", Door::Global, None),
            ("myapp-abcde.data.example.com", Door::Global, Some("myapp-abcde")),
            ("eu-west-1.aws.data.example.com", Door::Regional, None),
            ("EU-west-1.AWS.data.example.com:443", Door::Regional, None),
            ("myapp-abcde.eu-west-1.aws.data.example.com.", Door::Regional, Some("myapp-abcde")),
            ("us-east-1.aws.data.example.com", Door::Elsewhere { region: "us-east-1", cloud: "aws" }, None),
            (
                "myapp-abcde.us-east-1.aws.data.example.com",
                Door::Elsewhere { region: "us-east-1", cloud: "aws" },
                Some("myapp-abcde"),
            ),
            ("localhost:8080", Door::Plain, None),
            ("127.0.0.1", Door::Plain, None),
            ("[::1]:8080", Door::Plain, None),
            ("xdata.example.com", Door::Plain, None),
            ("a.b.c.d.data.example.com", Door::Plain, None),
        ] {
            assert_eq!(node.read_host(host), Named { door, app }, "{host}");
        }
    }

    #[test]
    fn an_app_is_found_in_its_region_and_a_global_one_everywhere() {
        let region = |name: &str| ProviderRegion { cloud: "aws".to_owned(), region: name.to_owned() };
        let node = Node::new("example.com", region("eu-west-1"), String::new());
        let (ours, us, ap) = (region("eu-west-1"), region("us-east-1"), region("ap-south-1"));
        for (host, to_ours, to_us, to_ap) in [
            ("data.example.com", Reach::Nowhere, Reach::Nowhere, Reach::Nowhere),
            ("eu-west-1.aws.data.example.com", Reach::Here, Reach::Nowhere, Reach::Nowhere),
            ("US-east-1.AWS.data.example.com", Reach::Nowhere, Reach::Away, Reach::Nowhere),
            ("localhost", Reach::Here, Reach::Away, Reach::Away),
        ] {
            let door = node.read_host(host).door;
            for (lives_in, expected) in [(&ours, to_ours), (&us, to_us), (&ap, to_ap)] {
                assert_eq!(node.reach(door, DeploymentModel::Local, lives_in), expected, "{lives_in} through {host}");
                assert_eq!(
                    node.reach(door, DeploymentModel::Global, lives_in),
                    Reach::Here,
                    "{lives_in} through {host}"
                );
            }
        }
    }
}
