//! What a store holds: the limits of an instance and, while a call runs, what that call may see. Host functions of the
//! `http`, `log` and `clock` interfaces are here; those of `crypto` in [`super::crypto`].

use std::sync::Arc;

use wasmtime::component::Resource;
use wasmtime::{ResourceLimiter, bail};

use super::bindings::{clock, http, log, types};
use super::component::Usage;
use super::crypto::Crypto;
use super::fault::PluginFault;
use super::json;
use super::request::{Protocol, RequestView, ResponseView};
use super::wasi::Wasi;
use crate::base::clock::Timestamp;
use crate::base::payload::Payload;
use crate::base::secret::Secret;

/// Host calls in one plugin call.
const HOST_CALLS_MAX: u32 = 1_000;
/// The most a body read hands over at once.
const READ_MAX: u32 = 1 << 20;
/// Log lines of one call.
const LOG_LINES_MAX: usize = 16;
/// Bytes of one log line.
const LOG_LINE_MAX: usize = 1024;
/// Table elements of an instance; JavaScript and Python engines need some ten thousand.
const TABLE_ELEMENTS_MAX: usize = 100_000;

// The generated bindings re-export the three handles, so they are `pub`; there is one of each in a call, so they hold
// nothing.

/// Stands for the request of the call under way.
#[allow(unreachable_pub)]
#[derive(Debug)]
pub struct RequestHandle;
/// Stands for the response of the call under way.
#[allow(unreachable_pub)]
#[derive(Debug)]
pub struct ResponseHandle;
/// Stands for the body of the call under way.
#[allow(unreachable_pub)]
#[derive(Debug)]
pub struct BodyHandle;

/// The secrets a plugin may name, by role.
pub type Roles = std::collections::BTreeMap<String, Secret>;

/// What one call may see.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) request: Arc<RequestView>,
    pub(crate) body: Payload,
    pub(crate) response: Option<Arc<ResponseView>>,
    pub(crate) now: Timestamp,
    pub(crate) crypto: Crypto,
}

/// The data of a wasmtime store.
pub(crate) struct State {
    pub(crate) call: Option<Call>,
    pub(crate) memory: MemoryLimit,
    pub(crate) wasi: Wasi,
    /// Set when the call cannot be used whatever the guest returns.
    pub(crate) fault: Option<PluginFault>,
    pub(crate) lines: Vec<(log::Level, String)>,
    /// Ticks of the epoch this call may still use, on the plugin runtime.
    pub(crate) ticks_left: u64,
    host_calls: u32,
    usage: Arc<Usage>,
}

impl Drop for State {
    fn drop(&mut self) {
        self.usage.ended(self.memory.peak);
    }
}

impl State {
    pub(crate) fn new(memory_max: usize, usage: Arc<Usage>) -> Self {
        usage.began();
        Self {
            usage,
            call: None,
            memory: MemoryLimit { max: memory_max, peak: 0, denied: false },
            wasi: Wasi::default(),
            fault: None,
            lines: Vec::new(),
            ticks_left: 0,
            host_calls: 0,
        }
    }

    /// Makes ready for the next call.
    pub(crate) fn begin(&mut self, call: Option<Call>) {
        self.wasi.set_now(call.as_ref().map(|call| call.now));
        self.call = call;
        self.fault = None;
        self.host_calls = 0;
        self.lines.clear();
    }

    /// The call under way, counted against its budget. Traps outside of a call: in `describe` and `configure` there is
    /// nothing to see.
    pub(crate) fn call(&mut self) -> wasmtime::Result<&mut Call> {
        self.host_calls += 1;
        if self.host_calls > HOST_CALLS_MAX {
            self.fault = Some(PluginFault::Budget("host calls"));
            bail!("more than {HOST_CALLS_MAX} host calls");
        }
        match &mut self.call {
            Some(call) => Ok(call),
            None => bail!("crypto, clock and the request are not there in `describe` and `configure`"),
        }
    }

    fn request(&mut self) -> wasmtime::Result<&RequestView> {
        Ok(&self.call()?.request)
    }

    fn response(&mut self) -> wasmtime::Result<&ResponseView> {
        match &self.call()?.response {
            Some(response) => Ok(response),
            None => bail!("there is no response in this call"),
        }
    }
}

/// Holds an instance to its memory.
#[derive(Debug)]
pub(crate) struct MemoryLimit {
    max: usize,
    pub(crate) peak: usize,
    pub(crate) denied: bool,
}

impl ResourceLimiter for MemoryLimit {
    fn memory_growing(&mut self, _current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        let allowed = desired <= self.max;
        self.denied |= !allowed;
        if allowed {
            self.peak = self.peak.max(desired);
        }
        Ok(allowed)
    }

    fn table_growing(&mut self, _current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        Ok(desired <= TABLE_ELEMENTS_MAX)
    }
}

impl types::Host for State {}
impl http::Host for State {}

impl http::HostRequest for State {
    fn id(&mut self, _: Resource<RequestHandle>) -> wasmtime::Result<String> {
        Ok(self.request()?.id.clone())
    }

    fn route(&mut self, _: Resource<RequestHandle>) -> wasmtime::Result<String> {
        Ok(self.request()?.route.clone())
    }

    fn product(&mut self, _: Resource<RequestHandle>) -> wasmtime::Result<String> {
        Ok(self.request()?.product.clone())
    }

    fn protocol(&mut self, _: Resource<RequestHandle>) -> wasmtime::Result<http::Protocol> {
        Ok(match self.request()?.protocol {
            Protocol::Http => http::Protocol::Http,
            Protocol::Grpc => http::Protocol::Grpc,
            Protocol::GrpcWeb => http::Protocol::GrpcWeb,
            Protocol::WebSocket => http::Protocol::Websocket,
            Protocol::Webhook => http::Protocol::Webhook,
        })
    }

    fn method(&mut self, _: Resource<RequestHandle>) -> wasmtime::Result<String> {
        Ok(self.request()?.method.clone())
    }

    fn scheme(&mut self, _: Resource<RequestHandle>) -> wasmtime::Result<String> {
        Ok(self.request()?.scheme.clone())
    }

    fn authority(&mut self, _: Resource<RequestHandle>) -> wasmtime::Result<String> {
        Ok(self.request()?.authority.clone())
    }

    fn path(&mut self, _: Resource<RequestHandle>) -> wasmtime::Result<String> {
        Ok(self.request()?.path.clone())
    }

    fn query(&mut self, _: Resource<RequestHandle>) -> wasmtime::Result<Option<String>> {
        Ok(self.request()?.query().map(str::to_owned))
    }

    fn target(&mut self, _: Resource<RequestHandle>) -> wasmtime::Result<String> {
        Ok(self.request()?.target.clone())
    }

    fn text(
        &mut self,
        _: Resource<RequestHandle>,
        name: String,
    ) -> wasmtime::Result<Result<Option<String>, http::TextError>> {
        let mut values = self.request()?.headers.get_all(name.as_str()).iter();
        Ok(match (values.next(), values.next()) {
            (None, _) => Ok(None),
            (Some(_), Some(_)) => Err(http::TextError::Repeated),
            (Some(value), None) => match std::str::from_utf8(value.as_bytes()) {
                Ok(text) => Ok(Some(text.to_owned())),
                Err(_) => Err(http::TextError::NotUtf8),
            },
        })
    }

    fn header(&mut self, _: Resource<RequestHandle>, name: String) -> wasmtime::Result<Option<Vec<u8>>> {
        Ok(self.request()?.headers.get(name.as_str()).map(|value| value.as_bytes().to_vec()))
    }

    fn values(&mut self, _: Resource<RequestHandle>, name: String) -> wasmtime::Result<Vec<Vec<u8>>> {
        Ok(self.request()?.headers.get_all(name.as_str()).iter().map(|value| value.as_bytes().to_vec()).collect())
    }

    fn headers(&mut self, _: Resource<RequestHandle>) -> wasmtime::Result<Vec<types::Header>> {
        Ok(listed(&self.request()?.headers))
    }

    fn client_address(&mut self, _: Resource<RequestHandle>) -> wasmtime::Result<String> {
        Ok(self.request()?.client.clone())
    }

    fn event_type(&mut self, _: Resource<RequestHandle>) -> wasmtime::Result<Option<String>> {
        Ok(self.request()?.event_type.clone())
    }

    fn drop(&mut self, _: Resource<RequestHandle>) -> wasmtime::Result<()> {
        Ok(())
    }
}

impl http::HostResponse for State {
    fn status(&mut self, _: Resource<ResponseHandle>) -> wasmtime::Result<u16> {
        Ok(self.response()?.status)
    }

    fn header(&mut self, _: Resource<ResponseHandle>, name: String) -> wasmtime::Result<Option<Vec<u8>>> {
        Ok(self.response()?.headers.get(name.as_str()).map(|value| value.as_bytes().to_vec()))
    }

    fn values(&mut self, _: Resource<ResponseHandle>, name: String) -> wasmtime::Result<Vec<Vec<u8>>> {
        Ok(self.response()?.headers.get_all(name.as_str()).iter().map(|value| value.as_bytes().to_vec()).collect())
    }

    fn headers(&mut self, _: Resource<ResponseHandle>) -> wasmtime::Result<Vec<types::Header>> {
        Ok(listed(&self.response()?.headers))
    }

    fn drop(&mut self, _: Resource<ResponseHandle>) -> wasmtime::Result<()> {
        Ok(())
    }
}

fn listed(headers: &::http::HeaderMap) -> Vec<types::Header> {
    let field = |(name, value): (&::http::HeaderName, &::http::HeaderValue)| types::Header {
        name: name.as_str().to_owned(),
        value: value.as_bytes().to_vec(),
    };
    headers.iter().map(field).collect()
}

impl http::HostBody for State {
    fn size(&mut self, _: Resource<BodyHandle>) -> wasmtime::Result<u64> {
        Ok(self.call()?.body.length())
    }

    fn read(&mut self, _: Resource<BodyHandle>, offset: u64, length: u32) -> wasmtime::Result<Vec<u8>> {
        let body = &self.call()?.body;
        Ok(body.read(offset, length.min(READ_MAX) as usize)?.to_vec())
    }

    fn json(&mut self, _: Resource<BodyHandle>, pointer: String) -> wasmtime::Result<Option<String>> {
        let call = self.call()?;
        if !call.crypto.spend(call.body.length().min(json::READ_MAX)) {
            self.fault = Some(PluginFault::Budget("bytes read"));
            return Ok(None);
        }
        Ok(json::scalar_at(&call.body, &pointer))
    }

    fn drop(&mut self, _: Resource<BodyHandle>) -> wasmtime::Result<()> {
        Ok(())
    }
}

impl log::Host for State {
    fn write(&mut self, level: log::Level, message: String) -> wasmtime::Result<()> {
        self.note(level, message);
        Ok(())
    }
}

impl State {
    /// Keeps a line for the log, unless there are enough. A line that holds a live secret is not kept: shared-token
    /// schemes show a guest the token as a header.
    pub(crate) fn note(&mut self, level: log::Level, mut line: String) {
        if self.lines.len() >= LOG_LINES_MAX {
            return;
        }
        let end = (0..=LOG_LINE_MAX.min(line.len())).rev().find(|end| line.is_char_boundary(*end)).unwrap_or(0);
        line.truncate(end);
        if self.call.as_ref().is_some_and(|call| call.crypto.reveals(line.as_bytes())) {
            line = "[a line with a secret in it]".into();
        }
        self.lines.push((level, line));
    }
}

impl clock::Host for State {
    fn now(&mut self) -> wasmtime::Result<u64> {
        Ok(u64::try_from(self.call()?.now.seconds()).unwrap_or(0))
    }
}
