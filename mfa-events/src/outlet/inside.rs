//! Addresses that point inside.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Whether an address belongs to this machine, a private network or a cloud's metadata service, or is for no host at all.
///
/// After the special-purpose registries of IANA (RFC 6890). An IPv6 address that carries an IPv4 one is judged by that, too.
pub fn is_inside(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_inside_v4(address),
        IpAddr::V6(address) => is_inside_v6(address),
    }
}

fn is_inside_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    matches!(
        (a, b, c),
        // This network, private, shared (RFC 6598), loopback, link-local with the metadata services of most clouds.
        (0 | 10 | 127, ..) | (100, 64..=127, _) | (169, 254, _) | (172, 16..=31, _) | (192, 168, _)
        // Protocol assignments, documentation, the old 6to4 relay, benchmarks.
        | (192, 0, 0 | 2) | (192, 88, 99) | (198, 18..=19, _) | (198, 51, 100) | (203, 0, 113)
        // Multicast, reserved, broadcast.
        | (224..=255, ..)
    ) || address == AZURE_WIRE_SERVER
}

/// Azure's own service for its machines has a public address.
const AZURE_WIRE_SERVER: Ipv4Addr = Ipv4Addr::new(168, 63, 129, 16);

fn is_inside_v6(address: Ipv6Addr) -> bool {
    let [a, b, c, d, e, f, g, h] = address.segments();
    let embedded = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        is_inside_v4(Ipv4Addr::new(a, b, c, d))
    };
    match (a, b, c, d, e, f) {
        // Loopback, unspecified, IPv4-compatible; IPv4-mapped.
        (0, 0, 0, 0, 0, 0) => true,
        (0, 0, 0, 0, 0, 0xffff) => embedded(g, h),
        // NAT64 (RFC 6052), and its private form (RFC 8215).
        (0x64, 0xff9b, 0, 0, 0, 0) => embedded(g, h),
        (0x64, 0xff9b, ..) => true,
        // Teredo and other protocol assignments, documentation, 6to4.
        (0x2001, 0..=0x1ff, ..) | (0x2001, 0xdb8, ..) | (0x3fff, 0..=0xfff, ..) => true,
        (0x2002, ..) => embedded(b, c),
        // Whatever is not global unicast: unique local, link-local, site-local, multicast, not assigned.
        _ => !(0x2000..=0x3fff).contains(&a),
    }
}
