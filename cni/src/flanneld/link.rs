//! The agent's netlink: the external interface, the vxlan link, and the entries of [`super::peers`].

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};

use anyhow::Context;
use futures::{Stream, StreamExt, TryStreamExt};
use ipnet::Ipv4Net;
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::link::{InfoData, InfoVxlan, LinkAttribute, LinkInfo, LinkMessage};
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteMessage, RouteProtocol, RouteScope};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage, route::RouteType};
use rtnetlink::packet_core::NetlinkPayload;
use rtnetlink::{Handle, LinkUnspec, LinkVxlan, RouteMessageBuilder};

use super::lease::Mac;
use super::netconf::Vxlan;
use super::peers::{Change, Entry, Via};

/// Outer Ethernet, IPv4, UDP and VXLAN headers (14 + 20 + 8 + 8 bytes).
const ENCAPSULATION: u32 = 50;

/// The external interface.
#[derive(Clone, Debug)]
pub struct Underlay {
    pub index: u32,
    pub address: Ipv4Net,
    pub mtu: u32,
}

/// The overlay's link.
#[derive(Clone, Copy, Debug)]
pub struct Overlay {
    pub index: u32,
    pub mac: Mac,
    pub mtu: u32,
}

/// Indexes of the links that entries refer to.
#[derive(Clone, Copy, Debug)]
pub struct Links {
    pub underlay: u32,
    pub overlay: Option<u32>,
}

impl Links {
    fn index(&self, via: Via) -> anyhow::Result<u32> {
        match via {
            Via::Underlay => Ok(self.underlay),
            Via::Overlay => self.overlay.context("this backend has no overlay link"),
        }
    }
}

/// The indexes of links that are deleted from now on, in the network namespace of the calling thread.
///
/// # Errors
/// When the socket cannot be made.
pub fn deleted() -> anyhow::Result<impl Stream<Item = u32>> {
    let groups = [rtnetlink::MulticastGroup::Link];
    let (connection, _, messages) = rtnetlink::new_multicast_connection(&groups).context("listening to netlink")?;
    tokio::spawn(connection);
    Ok(messages.filter_map(async |(message, _)| match message.payload {
        NetlinkPayload::InnerMessage(RouteNetlinkMessage::DelLink(link)) => Some(link.header.index),
        _ => None,
    }))
}

/// A netlink connection in the network namespace it was made in.
pub struct Netlink(Handle);

impl Netlink {
    /// Opens the connection; its driver runs on the current tokio runtime.
    ///
    /// # Errors
    /// When the socket cannot be made.
    pub fn connect() -> anyhow::Result<Self> {
        let (connection, handle, _) = rtnetlink::new_connection().context("opening netlink")?;
        tokio::spawn(connection);
        Ok(Self(handle))
    }

    /// The interface `wanted` (name or address), else the one of the default route.
    pub async fn underlay(&self, wanted: Option<&str>) -> anyhow::Result<Underlay> {
        let addresses: Vec<(u32, Ipv4Net)> = self
            .0
            .address()
            .get()
            .execute()
            .map_ok(|message| ipv4_of(&message))
            .try_collect::<Vec<_>>()
            .await?
            .into_iter()
            .flatten()
            .collect();
        let links: Vec<LinkMessage> = self.0.link().get().execute().try_collect().await?;
        let named = |name: &str| links.iter().find(|link| name_of(link) == Some(name)).map(|link| link.header.index);
        let index = match wanted {
            Some(text) => match text.parse::<Ipv4Addr>() {
                Ok(ip) => addresses.iter().find(|(_, net)| net.addr() == ip).map(|(index, _)| *index),
                Err(_) => named(text),
            }
            .with_context(|| format!("no interface is named or has the address {text:?} (--iface)"))?,
            None => self
                .default_route()
                .await?
                .context("no default route: say with --iface which interface connects the nodes")?,
        };
        let address = addresses.iter().find(|(at, _)| *at == index).map(|(_, net)| *net);
        let link = links.iter().find(|link| link.header.index == index).context("the external interface has gone")?;
        let name = name_of(link).unwrap_or_default();
        let address = address.with_context(|| format!("interface {name} has no IPv4 address"))?;
        tracing::info!(interface = name, %address, "external interface");
        Ok(Underlay { index, address, mtu: mtu_of(link) })
    }

    async fn default_route(&self) -> anyhow::Result<Option<u32>> {
        let routes = self.routes().await?;
        Ok(routes.iter().filter(|route| route.header.destination_prefix_length == 0).find_map(output_of))
    }

    async fn routes(&self) -> anyhow::Result<Vec<RouteMessage>> {
        let all: Vec<RouteMessage> =
            self.0.route().get(RouteMessageBuilder::<Ipv4Addr>::new().build()).execute().try_collect().await?;
        // Table 254 is main; the local table holds the kernel's own.
        Ok(all
            .into_iter()
            .filter(|route| route.header.table == 254 && route.header.kind == RouteType::Unicast)
            .collect())
    }

    async fn link_by_name(&self, name: &str) -> anyhow::Result<Option<LinkMessage>> {
        // A dump: asking for one name logs an error on the connection if there is none.
        let links: Vec<LinkMessage> = self.0.link().get().execute().try_collect().await?;
        Ok(links.into_iter().find(|link| name_of(link) == Some(name)))
    }

    /// Makes `flannel.<VNI>`, or takes the one that is there if it is the same in all that matters.
    pub async fn ensure_vxlan(&self, conf: &Vxlan, underlay: &Underlay, mac: Option<Mac>) -> anyhow::Result<Overlay> {
        let name = format!("flannel.{}", conf.vni);
        if let Some(link) = self.link_by_name(&name).await? {
            if same_vxlan(&link, conf, underlay) {
                return overlay_of(&link);
            }
            tracing::warn!(name, "already exists with incompatible configuration; recreating device");
            self.0.link().del(link.header.index).execute().await.context("deleting the old vxlan link")?;
        }
        let mtu = conf.mtu.unwrap_or(underlay.mtu) - ENCAPSULATION;
        let mut link = LinkVxlan::new(&name, conf.vni)
            .dev(underlay.index)
            .local(underlay.address.addr())
            .port(conf.port)
            .learning(conf.learning)
            .mtu(mtu);
        if conf.gbp {
            link = link.gbp();
        }
        if let Some(mac) = mac {
            link = link.address(mac.0.to_vec());
        }
        self.0.link().add(link.build()).execute().await.with_context(|| format!("making the vxlan link {name}"))?;
        overlay_of(&self.link_by_name(&name).await?.context("the vxlan link was made a moment ago")?)
    }

    /// Leaves `ip`/32 as the link's only address within `network` (a source address for node-to-pod traffic; /32, so
    /// that no broadcast route comes with it) and sets the link up.
    pub async fn ensure_address(&self, link: u32, ip: Ipv4Addr, network: Ipv4Net) -> anyhow::Result<()> {
        let all: Vec<AddressMessage> =
            self.0.address().get().set_link_index_filter(link).execute().try_collect().await?;
        let mut present = false;
        for message in all {
            match ipv4_of(&message) {
                Some((_, net)) if net.addr() == ip && net.prefix_len() == 32 => present = true,
                Some((_, net)) if network.contains(&net.addr()) => self.0.address().del(message).execute().await?,
                _ => {}
            }
        }
        if !present {
            self.0.address().add(link, IpAddr::V4(ip), 32).execute().await.context("adding the overlay's address")?;
        }
        let up = LinkUnspec::new_with_index(link).up().build();
        self.0.link().set(up).execute().await.context("setting the overlay up")
    }

    /// Carries out one change.
    pub async fn apply(&self, links: &Links, change: &Change) -> anyhow::Result<()> {
        match change {
            Change::Set(Entry::Neighbour { ip, mac }) => {
                let request = self.0.neighbours().add(links.index(Via::Overlay)?, IpAddr::V4(*ip));
                Ok(request.link_layer_address(&mac.0).kind(RouteType::Unicast).replace().execute().await?)
            }
            Change::Set(Entry::Fdb { mac, remote }) => {
                let request = self.0.neighbours().add_bridge(links.index(Via::Overlay)?, &mac.0);
                Ok(request.destination(IpAddr::V4(*remote)).flags(NeighbourFlags::Own).replace().execute().await?)
            }
            Change::Set(Entry::Route { subnet, gateway, via }) => {
                let route = route(*subnet, *gateway, links.index(*via)?, *via);
                Ok(self.0.route().add(route).replace().execute().await?)
            }
            Change::Remove(entry) => gone_is_fine(self.remove(links, entry).await),
        }
    }

    async fn remove(&self, links: &Links, entry: &Entry) -> anyhow::Result<()> {
        let mut message = NeighbourMessage::default();
        match entry {
            Entry::Route { subnet, gateway, via } => {
                let route = route(*subnet, *gateway, links.index(*via)?, *via);
                return Ok(self.0.route().del(route).execute().await?);
            }
            Entry::Neighbour { ip, .. } => {
                message.header.family = AddressFamily::Inet;
                message.attributes.push(NeighbourAttribute::Destination(NeighbourAddress::Inet(*ip)));
            }
            Entry::Fdb { mac, remote } => {
                message.header.family = AddressFamily::Bridge;
                message.header.flags = NeighbourFlags::Own;
                message.attributes.push(NeighbourAttribute::LinkLayerAddress(mac.0.to_vec()));
                message.attributes.push(NeighbourAttribute::Destination(NeighbourAddress::Inet(*remote)));
            }
        }
        message.header.ifindex = links.index(Via::Overlay)?;
        message.header.state = NeighbourState::Permanent;
        Ok(self.0.neighbours().del(message).execute().await?)
    }

    /// The entries the kernel holds now that an agent made: permanent ones on the overlay, and routes into `network`
    /// through a gateway on either link.
    pub async fn entries(&self, links: &Links, network: Ipv4Net) -> anyhow::Result<Vec<Entry>> {
        let mut found = Vec::new();
        if let Some(overlay) = links.overlay {
            for family in [AddressFamily::Inet, AddressFamily::Bridge] {
                let request = self.0.neighbours().get().set_address_family(family);
                let all: Vec<NeighbourMessage> = request.execute().try_collect().await?;
                found.extend(all.iter().filter(|n| n.header.ifindex == overlay).filter_map(neighbour_entry));
            }
        }
        for message in self.routes().await? {
            let via = match output_of(&message) {
                Some(index) if Some(index) == links.overlay => Via::Overlay,
                Some(index) if index == links.underlay => Via::Underlay,
                _ => continue,
            };
            found.extend(
                route_entry(&message, via)
                    .filter(|entry| matches!(entry, Entry::Route { subnet, .. } if network.contains(subnet))),
            );
        }
        found.sort();
        Ok(found)
    }
}

fn route(subnet: Ipv4Net, gateway: Ipv4Addr, link: u32, via: Via) -> RouteMessage {
    let mut builder = RouteMessageBuilder::<Ipv4Addr>::new()
        .destination_prefix(subnet.network(), subnet.prefix_len())
        .gateway(gateway)
        .output_interface(link)
        .protocol(RouteProtocol::Boot)
        .scope(RouteScope::Universe);
    if via == Via::Overlay {
        builder = builder.onlink();
    }
    builder.build()
}

/// A removal whose goal is already reached is done.
fn gone_is_fine(outcome: anyhow::Result<()>) -> anyhow::Result<()> {
    const GONE: [nix::errno::Errno; 2] = [nix::errno::Errno::ENOENT, nix::errno::Errno::ESRCH];
    match outcome {
        Err(error) => match error.downcast_ref::<rtnetlink::Error>() {
            Some(rtnetlink::Error::NetlinkError(message))
                if GONE.contains(&nix::errno::Errno::from_raw(-message.raw_code())) =>
            {
                Ok(())
            }
            _ => Err(error),
        },
        done => done,
    }
}

fn name_of(link: &LinkMessage) -> Option<&str> {
    link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::IfName(name) => Some(name.as_str()),
        _ => None,
    })
}

fn mtu_of(link: &LinkMessage) -> u32 {
    let mtu = link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::Mtu(mtu) => Some(*mtu),
        _ => None,
    });
    mtu.unwrap_or(1500)
}

fn overlay_of(link: &LinkMessage) -> anyhow::Result<Overlay> {
    let mac = link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::Address(bytes) => <[u8; 6]>::try_from(bytes.as_slice()).ok().map(Mac),
        _ => None,
    });
    Ok(Overlay { index: link.header.index, mac: mac.context("a vxlan link has a MAC address")?, mtu: mtu_of(link) })
}

fn same_vxlan(link: &LinkMessage, conf: &Vxlan, underlay: &Underlay) -> bool {
    let infos = link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::LinkInfo(infos) => infos.iter().find_map(|info| match info {
            LinkInfo::Data(InfoData::Vxlan(data)) => Some(data),
            _ => None,
        }),
        _ => None,
    });
    let Some(infos) = infos else { return false };
    infos.iter().all(|info| match info {
        InfoVxlan::Id(vni) => *vni == conf.vni,
        InfoVxlan::Link(index) => *index == underlay.index,
        InfoVxlan::Local(ip) => *ip == underlay.address.addr(),
        InfoVxlan::Port(port) => *port == conf.port,
        _ => true,
    }) && infos.contains(&InfoVxlan::Gbp) == conf.gbp
}

fn ipv4_of(message: &AddressMessage) -> Option<(u32, Ipv4Net)> {
    // IFA_LOCAL is the own address; IFA_ADDRESS is the peer's on a point-to-point link.
    let local = message.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Local(IpAddr::V4(ip)) => Some(*ip),
        _ => None,
    })?;
    Some((message.header.index, Ipv4Net::new(local, message.header.prefix_len).ok()?))
}

fn output_of(route: &RouteMessage) -> Option<u32> {
    route.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Oif(index) => Some(*index),
        _ => None,
    })
}

fn route_entry(route: &RouteMessage, via: Via) -> Option<Entry> {
    let values: HashMap<bool, Ipv4Addr> = route
        .attributes
        .iter()
        .filter_map(|attribute| match attribute {
            RouteAttribute::Destination(RouteAddress::Inet(ip)) => Some((false, *ip)),
            RouteAttribute::Gateway(RouteAddress::Inet(ip)) => Some((true, *ip)),
            _ => None,
        })
        .collect();
    let subnet = Ipv4Net::new(*values.get(&false)?, route.header.destination_prefix_length).ok()?;
    Some(Entry::Route { subnet, gateway: *values.get(&true)?, via })
}

fn neighbour_entry(message: &NeighbourMessage) -> Option<Entry> {
    if message.header.state != NeighbourState::Permanent {
        return None;
    }
    let mac = message.attributes.iter().find_map(|attribute| match attribute {
        NeighbourAttribute::LinkLayerAddress(bytes) => <[u8; 6]>::try_from(bytes.as_slice()).ok().map(Mac),
        _ => None,
    })?;
    let ip = message.attributes.iter().find_map(|attribute| match attribute {
        NeighbourAttribute::Destination(NeighbourAddress::Inet(ip)) => Some(*ip),
        // The bridge family leaves the address as raw bytes.
        NeighbourAttribute::Destination(NeighbourAddress::Other(bytes)) => {
            <[u8; 4]>::try_from(bytes.as_slice()).ok().map(Ipv4Addr::from)
        }
        _ => None,
    })?;
    match message.header.family {
        AddressFamily::Bridge => Some(Entry::Fdb { mac, remote: ip }),
        _ => Some(Entry::Neighbour { ip, mac }),
    }
}
