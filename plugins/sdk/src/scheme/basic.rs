//! Credentials of HTTP (RFC 7617).

use crate::encoding;
use crate::request::Request;
use crate::verdict::Refusal;

/// The decoded `user:password` of `Authorization: Basic …`, for [`check_token`](Request::check_token).
pub fn basic(request: &Request<'_>) -> Result<Vec<u8>, Refusal> {
    let written = request.required("authorization")?;
    let credentials = written.strip_prefix("Basic ").and_then(encoding::base64);
    credentials.ok_or_else(|| Refusal::malformed("authorization"))
}
