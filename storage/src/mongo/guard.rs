//! Whether a tenant's connection string leads somewhere it may.
//!
//! In: hosts, as the string, the name service or a server of the cluster names them. Out: yes, or why not. The judgement
//! about addresses is somebody else's ([`Hosts`]); here is what it takes to make it hold, since the driver resolves names
//! itself and takes no addresses from us:
//!
//! - Without TLS, the one host of the string is resolved and judged, and the driver is given the address in its place and
//!   told to talk to no other server. There is no second look-up that could say something else.
//! - With TLS, every host is judged before the driver may connect, and so is every host that the cluster advertises later;
//!   one that is refused ends the client. A name that changes its mind between the judgement and the connection leads to a
//!   host that must prove, with a certificate the world trusts, to be that name before a byte of ours is read there.
//!
//! What is left: a host that a cluster of the tenant's advertises can be connected to once, for a TLS greeting, before it
//! is judged. Nothing is sent there and nothing of it comes back to the tenant but that the cluster was refused.

use std::net::IpAddr;
use std::sync::Weak;

use futures_util::future::{BoxFuture, ready};
use mongodb::event::EventHandler;
use mongodb::event::sdam::SdamEvent;
use mongodb::options::{ClientOptions, ServerAddress, Tls};

use super::clusters::Cluster;

/// Who says which hosts may be reached.
pub trait Hosts: Send + Sync + 'static {
    /// All addresses of a host, at least one, when every one of them may be reached; else why not, for the tenant.
    fn permitted(&self, host: String) -> BoxFuture<'static, Result<Vec<IpAddr>, String>>;
}

/// No judgement: whoever writes the strings decides. Names are left to the driver.
#[derive(Debug)]
pub struct OpenHosts;

impl Hosts for OpenHosts {
    fn permitted(&self, _: String) -> BoxFuture<'static, Result<Vec<IpAddr>, String>> {
        Box::pin(ready(Ok(Vec::new())))
    }
}

/// Judges the hosts a client begins with, and binds it to them.
pub async fn bind(options: &mut ClientOptions, hosts: &dyn Hosts, cluster: Weak<Cluster>) -> Result<(), String> {
    let secure = matches!(options.tls, Some(Tls::Enabled(_)));
    for server in &mut options.hosts {
        let ServerAddress::Tcp { host, .. } = server else { return Err("names a socket of this machine".to_owned()) };
        let addresses = hosts.permitted(host.clone()).await?;
        if let (false, Some(address)) = (secure, addresses.first()) {
            *host = address.to_string();
        }
    }
    if secure {
        options.sdam_event_handler = Some(EventHandler::callback(move |event| {
            if let SdamEvent::ServerOpening(opening) = event
                && let Some(cluster) = cluster.upgrade()
            {
                cluster.judge(opening.address);
            }
        }));
    } else {
        options.direct_connection = Some(true);
        options.repl_set_name = None;
    }
    Ok(())
}
