//! Asking a route's plugins about an exchange: the one place where the heads of every protocol are edited, a request's
//! before its product is dialled and a response's before it is sent, and where a product is chosen.
//!
//! Invariant: what a plugin sees holds no field of the connection it came in on, and what it changes was judged whole
//! before any of it is made. What the gateway says of the client is added later, so no plugin can change it.

use std::sync::Arc;

use http::{HeaderMap, Request, Response, Version};

use super::Exchange;
use super::error::RequestError;
use super::headers::join_cookies;
use crate::base::clock::Timestamp;
use crate::gateway::calls::Calls;
use crate::gateway::chain::{Chain, Link, Part};
use crate::gateway::product::Product;
use crate::plugin::fault::PluginFault;
use crate::plugin::request::{Protocol, RequestView, ResponseView};
use crate::plugin::verdict::Refusal;
use crate::telemetry::labels::{self, CallOutcome};

/// A request as the plugins of its route left it; its response is shown beside it.
#[derive(Clone, Debug)]
pub struct Guided(Arc<RequestView>);

/// Asks the plugins of `exchange`'s route about `request`, in their order: propagators edit its head, routers choose its
/// product. Afterwards `exchange` is on its way to the product chosen. `None` where the route has no plugins.
pub async fn on_request<B>(
    exchange: &mut Exchange,
    request: &mut Request<B>,
    now: Timestamp,
) -> Result<Option<Guided>, RequestError> {
    let Some(chain) = exchange.route.chain.clone() else { return Ok(None) };
    if request.version() == Version::HTTP_2 {
        join_cookies(request.headers_mut());
    }
    let mut view = Arc::new(view(exchange, request));
    let mut chosen: Option<Arc<Product>> = None;
    for link in &chain.links {
        match &link.part {
            Part::Propagator { on_request, .. } => propagate(link, on_request, &mut view, now).await?,
            Part::Router { .. } => {
                if let Some(product) = route(link, &view, now).await?.into_iter().next() {
                    Arc::make_mut(&mut view).product = product.name.to_string();
                    chosen = Some(product);
                }
            }
        }
    }
    if let Some(product) = chosen {
        exchange.redirect(&product.name);
    }
    if chain.has_propagators() {
        *request.headers_mut() = view.headers.clone();
    } else {
        *request.headers_mut() = std::mem::take(&mut Arc::make_mut(&mut view).headers);
    }
    Ok(Some(Guided(view)))
}

/// Has the propagators of `exchange`'s route edit the head of the product's `response`, in their order.
pub async fn on_response<B>(
    exchange: &Exchange,
    guided: &Guided,
    response: &mut Response<B>,
    now: Timestamp,
) -> Result<(), RequestError> {
    let Some(chain) = exchange.route.chain.as_ref().filter(|chain| chain.has_propagators()) else { return Ok(()) };
    let headers = std::mem::take(response.headers_mut());
    let mut shown = Arc::new(ResponseView { status: response.status().as_u16(), headers });
    for link in &chain.links {
        let Part::Propagator { on_response, .. } = &link.part else { continue };
        let called = link.plugin.on_response(Arc::clone(&guided.0), Arc::clone(&shown), now).await;
        on_response.count(&called, |_| CallOutcome::Allow);
        let edits = called.result.map_err(|fault| faulty(link, &guided.0, &fault))?;
        if !edits.is_empty() {
            edits.apply(&mut Arc::make_mut(&mut shown).headers);
        }
    }
    *response.headers_mut() = std::mem::take(&mut Arc::make_mut(&mut shown).headers);
    Ok(())
}

/// Asks the routers of `chain` where a verified webhook goes: what `view` shows is the webhook, with its event type. Empty
/// where none chose, and the route's own product is meant. The last router that chose anything decides.
pub async fn products(
    chain: &Chain,
    view: Arc<RequestView>,
    now: Timestamp,
) -> Result<Vec<Arc<Product>>, RequestError> {
    let mut chosen = Vec::new();
    for link in chain.links.iter().filter(|link| matches!(link.part, Part::Router { .. })) {
        let products = route(link, &view, now).await?;
        if !products.is_empty() {
            chosen = products;
        }
    }
    Ok(chosen)
}

/// Has the propagators of `chain` edit the head of one attempt to deliver a webhook: that of `view`, which is given back.
pub async fn edited(chain: &Chain, view: RequestView, now: Timestamp) -> Result<HeaderMap, RequestError> {
    let mut view = Arc::new(view);
    for link in &chain.links {
        if let Part::Propagator { on_request, .. } = &link.part {
            propagate(link, on_request, &mut view, now).await?;
        }
    }
    Ok(std::mem::take(&mut Arc::make_mut(&mut view).headers))
}

async fn propagate(
    link: &Link,
    calls: &Calls,
    view: &mut Arc<RequestView>,
    now: Timestamp,
) -> Result<(), RequestError> {
    let called = link.plugin.on_request(Arc::clone(view), now).await;
    calls.count(&called, |judged| if judged.is_ok() { CallOutcome::Allow } else { CallOutcome::Refuse });
    let edits = called.result.map_err(|fault| faulty(link, view, &fault))?;
    let edits = edits.map_err(|refusal| refused(link, view, &refusal))?;
    if !edits.is_empty() {
        edits.apply(&mut Arc::make_mut(view).headers);
    }
    Ok(())
}

/// The products a router chose; none keeps what is.
async fn route(link: &Link, view: &Arc<RequestView>, now: Timestamp) -> Result<Vec<Arc<Product>>, RequestError> {
    let Part::Router { candidates, names, calls } = &link.part else { return Ok(Vec::new()) };
    let called = link.plugin.choose(Arc::clone(view), Arc::clone(names), now).await;
    calls.count(&called, |judged| if judged.is_ok() { CallOutcome::Allow } else { CallOutcome::Refuse });
    let chosen = called.result.map_err(|fault| faulty(link, view, &fault))?;
    let chosen = chosen.map_err(|refusal| refused(link, view, &refusal))?;
    let product = |name: &String| candidates.iter().find(|product| product.name.as_str() == name).cloned();
    Ok(chosen.iter().filter_map(product).collect())
}

fn faulty(link: &Link, view: &RequestView, fault: &PluginFault) -> RequestError {
    let (plugin, reason) = (link.plugin.name(), fault.reason());
    tracing::error!(request_id = view.id, route = view.route, %plugin, %reason, "plugin fault: {fault}");
    RequestError::PluginFault
}

fn refused(link: &Link, view: &RequestView, refusal: &Refusal) -> RequestError {
    let (plugin, code, detail) = (link.plugin.name(), &refusal.code, refusal.detail.as_deref());
    tracing::info!(request_id = view.id, route = view.route, %plugin, code, detail, "a plugin refused the request");
    RequestError::Refused { status: refusal.status }
}

/// What plugins see of `request`, whose fields it takes.
fn view<B>(exchange: &Exchange, request: &mut Request<B>) -> RequestView {
    RequestView {
        id: exchange.id.as_str().to_owned(),
        route: exchange.route.name.to_string(),
        product: exchange.route.product.name.to_string(),
        protocol: match exchange.protocol {
            labels::Protocol::Grpc => Protocol::Grpc,
            labels::Protocol::GrpcWeb => Protocol::GrpcWeb,
            labels::Protocol::Websocket => Protocol::WebSocket,
            labels::Protocol::Webhook => Protocol::Webhook,
            labels::Protocol::Http | labels::Protocol::Sse | labels::Protocol::Graphql => Protocol::Http,
        },
        method: request.method().as_str().to_owned(),
        scheme: exchange.peer.scheme().to_owned(),
        authority: exchange.authority.to_string(),
        path: exchange.path.to_string(),
        target: request.uri().path_and_query().map_or("/", |target| target.as_str()).to_owned(),
        headers: std::mem::take(request.headers_mut()),
        client: exchange.peer.client.to_string(),
        event_type: None,
    }
}
