//! From a name to the addresses that may be connected to.
//!
//! In: a host name. Out: the addresses it has that the guard lets through; when it has others only, the reason. The name is
//! resolved once per connection and exactly what was checked is connected to, so a name that changes its mind between the
//! two gains nothing.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use futures_util::future::BoxFuture;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use super::guard::{Guard, Restricted};

/// Who knows the addresses of names.
pub trait Names: Send + Sync {
    fn addresses(&self, name: String) -> BoxFuture<'static, io::Result<Vec<IpAddr>>>;
}

/// The system's resolver: its hosts file, its name servers.
pub struct SystemNames;

impl Names for SystemNames {
    fn addresses(&self, name: String) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> {
        Box::pin(
            async move { Ok(tokio::net::lookup_host((name.as_str(), 0)).await?.map(|found| found.ip()).collect()) },
        )
    }
}

/// Why a name gives nothing to connect to.
#[derive(Debug)]
pub enum NoAddress {
    Unknown { name: String },
    Restricted { name: String, restricted: Restricted },
}

impl fmt::Display for NoAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown { name } => write!(f, "getaddrinfo ENOTFOUND {name}"),
            Self::Restricted { name, restricted } => f.write_str(&restricted_words(name, *restricted)),
        }
    }
}

impl std::error::Error for NoAddress {}

/// What a function is told of a host it may not reach.
pub fn restricted_words(host: &str, restricted: Restricted) -> String {
    let Restricted { address, why } = restricted;
    let literal = host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok();
    let which = if literal { format!("it is {why}") } else { format!("its address {address} is {why}") };
    format!("host '{host}' cannot be reached from functions: {which}")
}

/// Resolves and checks.
pub struct GuardedNames {
    pub names: Arc<dyn Names>,
    pub guard: Arc<Guard>,
}

impl GuardedNames {
    /// At least one address.
    pub async fn permitted(&self, name: &str) -> Result<Vec<IpAddr>, NoAddress> {
        if let Ok(literal) = name.trim_matches(['[', ']']).parse::<IpAddr>() {
            return match self.guard.check(literal) {
                Ok(()) => Ok(vec![literal]),
                Err(restricted) => Err(NoAddress::Restricted { name: name.to_owned(), restricted }),
            };
        }
        let unknown = || NoAddress::Unknown { name: name.to_owned() };
        let found = self.names.addresses(name.to_owned()).await.map_err(|_| unknown())?;
        let mut permitted = Vec::with_capacity(found.len());
        let mut refused = None;
        for address in found {
            match self.guard.check(address) {
                Ok(()) => permitted.push(address),
                Err(restricted) => refused = Some(restricted),
            }
        }
        match refused {
            _ if !permitted.is_empty() => Ok(permitted),
            Some(restricted) => Err(NoAddress::Restricted { name: name.to_owned(), restricted }),
            None => Err(unknown()),
        }
    }
}

/// What the HTTP client resolves names with.
#[derive(Clone)]
pub struct ForClient(pub Arc<GuardedNames>);

impl Resolve for ForClient {
    fn resolve(&self, name: Name) -> Resolving {
        let names = self.0.clone();
        Box::pin(async move {
            let permitted = names.permitted(name.as_str()).await?;
            // The client puts the port of the URL in.
            let addresses: Addrs = Box::new(permitted.into_iter().map(|address| SocketAddr::new(address, 0)));
            Ok(addresses)
        })
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::Mutex;

    use super::*;

    /// Answers with the next of a list each time it is asked.
    pub struct Scripted(pub Mutex<Vec<Vec<&'static str>>>);

    impl Names for Scripted {
        fn addresses(&self, _: String) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> {
            let next = self.0.lock().unwrap().remove(0);
            Box::pin(async move { Ok(next.into_iter().map(|address| address.parse().unwrap()).collect()) })
        }
    }

    fn names(answers: Vec<Vec<&'static str>>) -> GuardedNames {
        GuardedNames { names: Arc::new(Scripted(Mutex::new(answers))), guard: Arc::default() }
    }

    #[tokio::test]
    async fn of_a_name_with_both_kinds_of_address_only_the_open_ones_are_used() {
        let names = names(vec![vec!["10.0.0.1", "8.8.8.8", "::1"], vec!["127.0.0.1"], vec![]]);
        assert_eq!(names.permitted("mixed.example").await.unwrap(), ["8.8.8.8".parse::<IpAddr>().unwrap()]);
        let said = names.permitted("inside.example").await.unwrap_err().to_string();
        assert_eq!(
            said,
            "host 'inside.example' cannot be reached from functions: its address 127.0.0.1 is a loopback address"
        );
        assert_eq!(
            names.permitted("nowhere.example").await.unwrap_err().to_string(),
            "getaddrinfo ENOTFOUND nowhere.example"
        );
    }

    #[tokio::test]
    async fn a_name_that_changes_its_mind_is_judged_by_what_is_connected_to() {
        // Public when looked at first, private when connected to.
        let names = names(vec![vec!["8.8.8.8"], vec!["169.254.169.254"]]);
        assert!(names.permitted("rebinding.example").await.is_ok());
        let said = names.permitted("rebinding.example").await.unwrap_err().to_string();
        assert!(said.contains("169.254.169.254 is a metadata service"), "{said}");
    }

    #[tokio::test]
    async fn literals_are_judged_without_asking_anybody() {
        let names = names(Vec::new());
        for literal in ["127.0.0.1", "::1", "[::1]", "169.254.169.254"] {
            let said = names.permitted(literal).await.unwrap_err().to_string();
            assert!(said.contains("cannot be reached from functions: it is a"), "{said}");
        }
        assert!(names.permitted("8.8.8.8").await.is_ok());
    }
}
