//! A connection to an upstream that speaks something other than HTTP by now.

use http::Response;
use http::response::Parts;
use hyper::upgrade::{self, OnUpgrade};

use super::body::Received;
use super::pool::Held;

/// An upstream's side of a switch of protocols. It counts among the product's sockets, and as the upstream's load, until
/// it is dropped.
#[derive(Debug)]
pub struct Switched {
    /// The connection, from the end of the upstream's 101 on.
    pub stream: OnUpgrade,
    _held: Option<Held>,
}

impl Switched {
    /// The head of a 101, and the connection behind it.
    pub fn of(mut response: Response<Received>) -> (Parts, Self) {
        let stream = upgrade::on(&mut response);
        let (mut head, body) = response.into_parts();
        head.extensions.clear();
        (head, Self { stream, _held: body.into_held() })
    }
}
