//! `[trust]`

use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::config::raw::{Item, Section};

const LOOPBACK_V4: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 0), 8);
const LOOPBACK_V6: Ipv6Net = Ipv6Net::new_assert(Ipv6Addr::LOCALHOST, 128);

/// Whose forwarded fields are believed.
pub(super) fn read(table: &Section<'_>) -> Vec<IpNet> {
    let loopback = || vec![IpNet::V4(LOOPBACK_V4), IpNet::V6(LOOPBACK_V6)];
    table.take("proxies", |item| item.each(Item::network)).unwrap_or_else(loopback)
}
