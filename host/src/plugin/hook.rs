//! The functions of a plugin: how each is called on either path, and what its answer means once judged.

use std::future::Future;
use std::sync::Arc;

use wasmtime::component::Resource;
use wasmtime::{Store, bail};

use super::bindings::propagator::Propagator;
use super::bindings::router::Router;
use super::bindings::verifier::Verifier;
use super::bindings::{types, verify};
use super::component::Kind;
use super::edits::{self, Edits};
use super::fault::PluginFault;
use super::instance::Slow;
use super::recent::Question;
use super::request::{Protocol, RequestView, ResponseView};
use super::state::{BodyHandle, RequestHandle, ResponseHandle, State};
use super::verdict::{self, Evidence, Refusal, Verdict};
use crate::base::payload::Payload;

/// What an instance exports, by its kind.
pub(crate) enum Exports {
    Verifier(Verifier),
    Propagator(Propagator),
    Router(Router),
}

/// One function of a plugin, with what it is asked about beside the request.
pub(crate) trait Hook: Clone + Send + Sync + 'static {
    /// The kind of plugin that has it.
    const KIND: Kind;
    /// What it returns.
    type Returned: Send;
    /// What that means.
    type Judged: Send + 'static;

    /// The body it may read.
    fn body(&self) -> Option<&Payload> {
        None
    }

    /// The response it is asked about.
    fn response(&self) -> Option<&Arc<ResponseView>> {
        None
    }

    /// The question, to be asked once more; `None` where keeping it would cost too much.
    fn question(&self) -> Option<Question>;

    /// Calls it on the caller's thread.
    fn call(&self, exports: &Exports, store: &mut Store<State>) -> wasmtime::Result<Self::Returned>;

    /// Calls it on the plugin runtime.
    fn call_slow(&self, instance: &mut Slow) -> impl Future<Output = Result<Self::Returned, PluginFault>> + Send;

    /// Judges what it returned by what the host saw.
    fn judge(
        &self,
        returned: Self::Returned,
        request: &RequestView,
        evidence: &Evidence,
    ) -> Result<Self::Judged, PluginFault>;
}

const VERIFY: &str = "tollgate:plugin/verify@0.1.0";
const PROPAGATE: &str = "tollgate:plugin/propagate@0.1.0";
const CHOOSE: &str = "tollgate:plugin/choose@0.1.0";

// There is one of each in a call: the numbers only tell them apart.
fn request() -> Resource<RequestHandle> {
    Resource::new_borrow(0)
}

fn body() -> Resource<BodyHandle> {
    Resource::new_borrow(1)
}

fn response() -> Resource<ResponseHandle> {
    Resource::new_borrow(2)
}

/// `verify`, of this body.
#[derive(Clone)]
pub(crate) struct Verify(pub(crate) Payload);

impl Hook for Verify {
    const KIND: Kind = Kind::Verifier;
    type Returned = Result<verify::Verdict, types::Refusal>;
    type Judged = Verdict;

    fn body(&self) -> Option<&Payload> {
        Some(&self.0)
    }

    fn question(&self) -> Option<Question> {
        matches!(self.0, Payload::Memory(_)).then(|| Question::Verify(self.0.clone()))
    }

    fn call(&self, exports: &Exports, store: &mut Store<State>) -> wasmtime::Result<Self::Returned> {
        let Exports::Verifier(exports) = exports else { bail!("it is not a verifier") };
        exports.tollgate_plugin_verify().call_verify(store, request(), body())
    }

    async fn call_slow(&self, instance: &mut Slow) -> Result<Self::Returned, PluginFault> {
        let (returned,) = instance.invoke(VERIFY, "verify", (request(), body())).await?;
        Ok(returned)
    }

    fn judge(&self, returned: Self::Returned, _: &RequestView, evidence: &Evidence) -> Result<Verdict, PluginFault> {
        verdict::judge(returned, evidence)
    }
}

/// `on-request`
#[derive(Clone)]
pub(crate) struct OnRequest;

impl Hook for OnRequest {
    const KIND: Kind = Kind::Propagator;
    type Returned = Result<Vec<types::HeaderEdit>, types::Refusal>;
    type Judged = Result<Edits, Refusal>;

    fn question(&self) -> Option<Question> {
        Some(Question::OnRequest)
    }

    fn call(&self, exports: &Exports, store: &mut Store<State>) -> wasmtime::Result<Self::Returned> {
        let Exports::Propagator(exports) = exports else { bail!("it is not a propagator") };
        exports.tollgate_plugin_propagate().call_on_request(store, request())
    }

    async fn call_slow(&self, instance: &mut Slow) -> Result<Self::Returned, PluginFault> {
        let (returned,) = instance.invoke(PROPAGATE, "on-request", (request(),)).await?;
        Ok(returned)
    }

    fn judge(
        &self,
        returned: Self::Returned,
        request: &RequestView,
        _: &Evidence,
    ) -> Result<Self::Judged, PluginFault> {
        match returned {
            Ok(returned) => edits::judge(returned, request.protocol).map(Ok),
            Err(refusal) => verdict::refused(refusal).map(Err),
        }
    }
}

/// `on-response`, of this response.
#[derive(Clone)]
pub(crate) struct OnResponse(pub(crate) Arc<ResponseView>);

impl Hook for OnResponse {
    const KIND: Kind = Kind::Propagator;
    type Returned = Vec<types::HeaderEdit>;
    type Judged = Edits;

    fn response(&self) -> Option<&Arc<ResponseView>> {
        Some(&self.0)
    }

    fn question(&self) -> Option<Question> {
        Some(Question::OnResponse(self.0.clone()))
    }

    fn call(&self, exports: &Exports, store: &mut Store<State>) -> wasmtime::Result<Self::Returned> {
        let Exports::Propagator(exports) = exports else { bail!("it is not a propagator") };
        exports.tollgate_plugin_propagate().call_on_response(store, request(), response())
    }

    async fn call_slow(&self, instance: &mut Slow) -> Result<Self::Returned, PluginFault> {
        let (returned,) = instance.invoke(PROPAGATE, "on-response", (request(), response())).await?;
        Ok(returned)
    }

    fn judge(&self, returned: Self::Returned, request: &RequestView, _: &Evidence) -> Result<Edits, PluginFault> {
        edits::judge(returned, request.protocol)
    }
}

/// `choose`, among these products.
#[derive(Clone)]
pub(crate) struct Choose(pub(crate) Arc<[String]>);

impl Hook for Choose {
    const KIND: Kind = Kind::Router;
    type Returned = Result<Vec<String>, types::Refusal>;
    type Judged = Result<Vec<String>, Refusal>;

    fn question(&self) -> Option<Question> {
        Some(Question::Choose(self.0.clone()))
    }

    fn call(&self, exports: &Exports, store: &mut Store<State>) -> wasmtime::Result<Self::Returned> {
        let Exports::Router(exports) = exports else { bail!("it is not a router") };
        exports.tollgate_plugin_choose().call_choose(store, request(), &self.0)
    }

    async fn call_slow(&self, instance: &mut Slow) -> Result<Self::Returned, PluginFault> {
        let (returned,) = instance.invoke(CHOOSE, "choose", (request(), self.0.to_vec())).await?;
        Ok(returned)
    }

    fn judge(
        &self,
        returned: Self::Returned,
        request: &RequestView,
        _: &Evidence,
    ) -> Result<Self::Judged, PluginFault> {
        let many = request.protocol == Protocol::Webhook;
        match returned {
            Ok(chosen) => edits::choice(chosen, &self.0, many).map(Ok),
            Err(refusal) => verdict::refused(refusal).map(Err),
        }
    }
}
