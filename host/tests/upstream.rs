//! Bytes out, through the front door: a real gateway, and upstreams that speak every version of HTTP, refuse, break,
//! fail their checks and come back.

#[path = "plane/support.rs"]
#[allow(unreachable_pub, dead_code)]
mod support;

#[path = "upstream/peers.rs"]
#[allow(unreachable_pub, dead_code)]
mod peers;

#[path = "upstream/failing.rs"]
mod failing;
#[path = "upstream/multiplexed.rs"]
mod multiplexed;
#[path = "upstream/secure.rs"]
mod secure;
