//! Links, addresses and routes of one network namespace, over one netlink socket.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, AsRawFd};

use futures::TryStreamExt;
use ipnet::IpNet;
use netlink_packet_route::link::{InfoData, InfoKind, InfoVeth, LinkAttribute};
use rtnetlink::{Handle, LinkBridge, LinkMessageBuilder, LinkUnspec, LinkVeth, RouteMessageBuilder};

use crate::netns::Netns;

/// Why the kernel refused.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot open a netlink socket: {0}")]
    Socket(#[from] io::Error),
    #[error("{what}: {source}")]
    Refused { what: String, source: rtnetlink::Error },
    #[error("there is no link {0}")]
    NoLink(String),
}

fn refused(what: impl Into<String>) -> impl FnOnce(rtnetlink::Error) -> Error {
    let what = what.into();
    move |source| Error::Refused { what, source }
}

/// A netlink connection into the namespace it was opened in.
pub struct Links {
    handle: Handle,
}

impl Links {
    /// Opens a connection in the calling thread's namespace. Needs a tokio runtime, which drives it.
    ///
    /// # Errors
    /// When the socket cannot be opened.
    pub fn connect() -> Result<Self, Error> {
        let (connection, handle, _) = rtnetlink::new_connection()?;
        tokio::spawn(connection);
        Ok(Self { handle })
    }

    /// Runs `body` with a connection inside `ns`, to its end.
    ///
    /// # Errors
    /// What `body` returns, or the failure to enter.
    pub fn within<T: Send, F>(ns: &Netns, body: F) -> anyhow::Result<T>
    where
        F: AsyncFnOnce(Links) -> Result<T, Error> + Send,
    {
        let result = ns.run(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            Ok(runtime.block_on(async { body(Links::connect()?).await }))
        })?;
        Ok(result?)
    }

    /// The index of a link.
    ///
    /// # Errors
    /// [`Error::NoLink`] when there is none of that name.
    pub async fn index(&self, name: &str) -> Result<u32, Error> {
        let mut found = self.handle.link().get().match_name(name.to_owned()).execute();
        match found.try_next().await {
            Ok(Some(link)) => Ok(link.header.index),
            _ => Err(Error::NoLink(name.to_owned())),
        }
    }

    /// The names of all links.
    ///
    /// # Errors
    /// When the kernel refuses the dump.
    pub async fn names(&self) -> Result<Vec<String>, Error> {
        let links: Vec<_> = self.handle.link().get().execute().try_collect().await.map_err(refused("listing links"))?;
        Ok(links
            .into_iter()
            .filter_map(|link| {
                link.attributes.into_iter().find_map(|a| match a {
                    LinkAttribute::IfName(name) => Some(name),
                    _ => None,
                })
            })
            .collect())
    }

    /// Makes a bridge and brings it up.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub async fn add_bridge(&self, name: &str) -> Result<(), Error> {
        let message = LinkBridge::new(name).up().build();
        self.handle.link().add(message).execute().await.map_err(refused(format!("adding bridge {name}")))
    }

    /// Makes a veth pair: `name` here, up and a port of `bridge`, and `peer` in `target`, still down.
    ///
    /// The peer is born there: moving a link waits until every processor has let go of it, some 20 ms.
    ///
    /// # Errors
    /// When there is no such bridge, or the kernel refuses.
    pub async fn add_veth(&self, name: &str, bridge: &str, peer: &str, target: &Netns) -> Result<(), Error> {
        let bridge = self.index(bridge).await?;
        let peer = LinkUnspec::new_with_name(peer).setns_by_fd(target.as_fd().as_raw_fd()).build();
        let pair = LinkMessageBuilder::<LinkVeth>::new_with_info_kind(InfoKind::Veth).name(name);
        let message = pair.set_info_data(InfoData::Veth(InfoVeth::Peer(peer))).controller(bridge).up().build();
        self.handle.link().add(message).execute().await.map_err(refused(format!("adding veth {name}")))
    }

    /// Brings link `name` up.
    ///
    /// # Errors
    /// When there is no such link, or the kernel refuses.
    pub async fn set_up(&self, name: &str) -> Result<(), Error> {
        let index = self.index(name).await?;
        self.change(LinkUnspec::new_with_index(index).up().build(), format!("bringing up {name}")).await
    }

    /// Takes link `name` down.
    ///
    /// # Errors
    /// When there is no such link, or the kernel refuses.
    pub async fn set_down(&self, name: &str) -> Result<(), Error> {
        let index = self.index(name).await?;
        self.change(LinkUnspec::new_with_index(index).down().build(), format!("taking down {name}")).await
    }

    /// Gives link `name` an address.
    ///
    /// # Errors
    /// When there is no such link, or the kernel refuses.
    pub async fn add_address(&self, name: &str, address: IpNet) -> Result<(), Error> {
        let index = self.index(name).await?;
        let request = self.handle.address().add(index, address.addr(), address.prefix_len());
        request.execute().await.map_err(refused(format!("adding {address} to {name}")))
    }

    /// Adds a default route by way of `gateway`.
    ///
    /// # Errors
    /// When the gateway is not reachable, or the kernel refuses.
    pub async fn add_default_route(&self, gateway: IpAddr) -> Result<(), Error> {
        let message = match gateway {
            IpAddr::V4(gateway) => RouteMessageBuilder::<Ipv4Addr>::new().gateway(gateway).build(),
            IpAddr::V6(gateway) => RouteMessageBuilder::<Ipv6Addr>::new().gateway(gateway).build(),
        };
        let request = self.handle.route().add(message);
        request.execute().await.map_err(refused(format!("adding the default route by way of {gateway}")))
    }

    /// Adds a route to `destination` by way of `gateway`.
    ///
    /// # Errors
    /// When the gateway is not reachable, or the kernel refuses.
    pub async fn add_route(&self, destination: ipnet::Ipv4Net, gateway: Ipv4Addr) -> Result<(), Error> {
        let message = RouteMessageBuilder::<Ipv4Addr>::new()
            .destination_prefix(destination.network(), destination.prefix_len())
            .gateway(gateway)
            .build();
        let request = self.handle.route().add(message);
        request.execute().await.map_err(refused(format!("adding the route to {destination}")))
    }

    async fn change(&self, message: netlink_packet_route::link::LinkMessage, what: String) -> Result<(), Error> {
        self.handle.link().change(message).execute().await.map_err(refused(what))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    fn json(args: &[&str]) -> serde_json::Value {
        let output = Command::new("ip").arg("-j").args(args).output().unwrap();
        serde_json::from_slice(&output.stdout).unwrap()
    }

    #[test]
    fn a_node_on_a_bridge() {
        crate::testing::in_namespace("link::tests::a_node_on_a_bridge", || {
            let (root, node) = (Netns::current().unwrap(), Netns::create("n1").unwrap());
            Links::within(&root, async |links| {
                links.add_bridge("br0").await?;
                links.add_veth("veth-n1", "br0", "eth0", &node).await?;
                links.add_address("br0", "10.9.0.1/24".parse().unwrap()).await
            })
            .unwrap();
            Links::within(&node, async |links| {
                links.set_up("lo").await?;
                links.set_up("eth0").await?;
                links.add_address("eth0", "10.9.0.2/24".parse().unwrap()).await?;
                links.add_default_route("10.9.0.1".parse().unwrap()).await
            })
            .unwrap();
            let veth = &json(&["link", "show", "veth-n1"])[0];
            assert_eq!(veth["master"], "br0");
            let route = node.run(|| Ok(json(&["route", "show", "default"])[0]["gateway"].clone())).unwrap();
            assert_eq!(route, "10.9.0.1");
            let ping = Command::new("ping").args(["-c1", "-W2", "10.9.0.2"]).status().unwrap();
            assert!(ping.success());
            let missing = Links::within(&root, async |links| links.set_up("nope").await).unwrap_err();
            assert_eq!(missing.to_string(), "there is no link nope");
        });
    }
}
