//! Cross-origin requests (<https://fetch.spec.whatwg.org/#http-cors-protocol>): preflights are answered here and never
//! reach a product; every answer of a route with `cors`, an error too, says which pages may read it, whatever the product
//! says of that.

use std::sync::Arc;

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Request, Response, StatusCode};

use super::body::Body;
use super::headers::tokens;
use crate::config::plan::{Cors, Origins};
use crate::gateway::Route;
use crate::gateway::routes::{Asked, RouteTable};

const ANY: HeaderValue = HeaderValue::from_static("*");
const TRUE: HeaderValue = HeaderValue::from_static("true");
const VARY_ORIGIN: HeaderValue = HeaderValue::from_static("origin");
const VARY_PREFLIGHT: HeaderValue =
    HeaderValue::from_static("origin, access-control-request-method, access-control-request-headers");
/// What a product may say and the gateway says instead.
const OWNED: [HeaderName; 7] = [
    header::ACCESS_CONTROL_ALLOW_ORIGIN,
    header::ACCESS_CONTROL_ALLOW_CREDENTIALS,
    header::ACCESS_CONTROL_ALLOW_METHODS,
    header::ACCESS_CONTROL_ALLOW_HEADERS,
    header::ACCESS_CONTROL_EXPOSE_HEADERS,
    header::ACCESS_CONTROL_MAX_AGE,
    HeaderName::from_static("access-control-allow-private-network"),
];

/// What to look for instead of `asked`, which may be a preflight that asks for `method`: it belongs to the route of the
/// request that it announces, if that has `cors`. To any other it is a request like all.
pub fn standing_for<'a, T>(
    asked: Asked<'a>,
    method: Option<&'a Method>,
    routes: &RouteTable<T>,
    cors: impl Fn(&T) -> Option<&Cors>,
) -> Asked<'a> {
    let Some(method) = method else { return asked };
    let announced = Asked { method, preflight: true, ..asked };
    match routes.find(announced) {
        Ok(entry) if cors(&entry.target).is_some() => announced,
        _ => asked,
    }
}

/// The method that a preflight asks for; `None` is no preflight.
pub fn asked_method(method: &Method, headers: &HeaderMap) -> Option<Method> {
    if *method != Method::OPTIONS || !headers.contains_key(header::ORIGIN) {
        return None;
    }
    Method::from_bytes(headers.get(header::ACCESS_CONTROL_REQUEST_METHOD)?.as_bytes()).ok()
}

/// A request on a route with `cors`, while it is answered.
#[derive(Clone, Debug)]
pub struct Crossing {
    route: Arc<Route>,
    origin: Option<HeaderValue>,
    /// There when it is a preflight: the method it asks for.
    asked: Option<Method>,
}

impl Crossing {
    /// `None` when the route has no `cors`. A `preflight` is one to the route it was found by: another's leave is not its
    /// to give.
    pub fn of<B>(route: &Arc<Route>, request: &Request<B>, preflight: bool) -> Option<Self> {
        route.policy.cors.as_ref()?;
        let origin = request.headers().get(header::ORIGIN).cloned();
        let asked = if preflight { asked_method(request.method(), request.headers()) } else { None };
        Some(Self { route: Arc::clone(route), origin, asked })
    }

    /// The answer, when the request is a preflight. Who is not allowed gets one too, without leave.
    pub fn preflight(&self, headers: &HeaderMap) -> Option<Response<Body>> {
        let method = self.asked.as_ref()?;
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::NO_CONTENT;
        let fields = response.headers_mut();
        if let Some(cors) = self.route.policy.cors.as_ref().filter(|cors| self.allowed(cors).is_some()) {
            if let Some(methods) = methods(cors, method) {
                fields.insert(header::ACCESS_CONTROL_ALLOW_METHODS, methods);
            }
            let asked = || headers.get(header::ACCESS_CONTROL_REQUEST_HEADERS).cloned();
            if let Some(allowed) = cors.headers.clone().or_else(asked) {
                fields.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, allowed);
            }
            if let Some(max_age) = cors.max_age {
                fields.insert(header::ACCESS_CONTROL_MAX_AGE, max_age.as_secs().into());
            }
        }
        fields.insert(header::VARY, VARY_PREFLIGHT);
        Some(response)
    }

    /// Says in the fields of an answer who may read it.
    pub fn mark(&self, fields: &mut HeaderMap) {
        let is_preflight = self.asked.is_some();
        let Some(cors) = &self.route.policy.cors else { return };
        if !is_preflight {
            for name in &OWNED {
                fields.remove(name);
            }
        }
        if let Some(origin) = self.allowed(cors) {
            fields.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
            if cors.credentials {
                fields.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, TRUE);
            }
            if let Some(expose) = cors.expose.as_ref().filter(|_| !is_preflight) {
                fields.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, expose.clone());
            }
        }
        if cors.origins != Origins::Any && !is_preflight {
            vary_by_origin(fields);
        }
    }

    /// What the answer says is allowed: this request's origin, or any, which is said to everybody since caches are not
    /// told to tell them apart.
    fn allowed(&self, cors: &Cors) -> Option<HeaderValue> {
        match &cors.origins {
            Origins::Any => Some(ANY),
            Origins::These(origins) => {
                let origin = self.origin.as_ref()?;
                origins.iter().find(|allowed| *allowed == origin).cloned()
            }
        }
    }
}

/// The route's methods, or just the one that is asked for where it takes all.
fn methods(cors: &Cors, asked: &Method) -> Option<HeaderValue> {
    if cors.methods.is_empty() {
        return HeaderValue::try_from(asked.as_str()).ok();
    }
    let mut methods: Vec<_> = cors.methods.iter().map(Method::as_str).collect();
    if methods.contains(&"GET") && !methods.contains(&"HEAD") {
        methods.push("HEAD");
    }
    HeaderValue::try_from(methods.join(", ")).ok()
}

/// An answer with this origin's leave must not be handed to another's page by a cache.
fn vary_by_origin(fields: &mut HeaderMap) {
    let says_so = |token: &str| token == "*" || token.eq_ignore_ascii_case("origin");
    if !tokens(fields, &header::VARY).any(says_so) {
        fields.append(header::VARY, VARY_ORIGIN);
    }
}
