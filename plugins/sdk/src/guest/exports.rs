//! The exports of each world, from the SDK's traits.

use std::any::Any;
use std::cell::Cell;
use std::marker::PhantomData;

use super::host::{Handle, ResponseHandle, fault};
use super::imports::tollgate::plugin::{http, types};
use super::{choose, propagate, setup, verify};
use crate::about::{About, Role, Setting};
use crate::request::{Call, Request, Response};
use crate::settings::{Problem, Problems, Settings};
use crate::verdict::{Edit, Event, Identity, Refusal, Reply, Verdict};
use crate::{Propagator, Router, Verifier};

thread_local! {
    /// The configured plugin. Leaked: it lives as long as the instance.
    static PLUGIN: Cell<Option<&'static dyn Any>> = const { Cell::new(None) };
}

fn plugin<T: 'static>() -> &'static T {
    let plugin = PLUGIN.get().and_then(|plugin| plugin.downcast_ref());
    plugin.unwrap_or_else(|| fault("called before `configure`"))
}

fn configure<T: 'static>(
    about: &About,
    options: &str,
    make: fn(&Settings) -> Result<T, Problems>,
) -> Result<(), Problems> {
    let plugin = make(&Settings::check(about, options)?)?;
    PLUGIN.set(Some(Box::leak(Box::new(plugin))));
    #[cfg(feature = "arena")]
    super::arena::settle();
    Ok(())
}

/// `setup` is the same for every kind; the marker keeps the three impls apart.
macro_rules! setup {
    ($exported:ident, $kind:ident) => {
        #[doc = concat!("What a [`", stringify!($kind), "`] exports.")]
        pub struct $exported<T>(PhantomData<T>);

        impl<T: $kind> setup::exports::tollgate::plugin::setup::Guest for $exported<T> {
            fn describe() -> setup::exports::tollgate::plugin::setup::About {
                describe(&T::ABOUT)
            }

            fn configure(options: String) -> Result<(), Vec<setup::exports::tollgate::plugin::setup::Problem>> {
                configure(&T::ABOUT, &options, T::configure).map_err(|Problems(problems)| {
                    let problem =
                        |Problem { key, message }| setup::exports::tollgate::plugin::setup::Problem { key, message };
                    problems.into_iter().map(problem).collect()
                })
            }
        }
    };
}

setup!(ExportedVerifier, Verifier);
setup!(ExportedPropagator, Propagator);
setup!(ExportedRouter, Router);

fn describe(about: &About) -> setup::exports::tollgate::plugin::setup::About {
    use setup::exports::tollgate::plugin::setup as wit;
    let role =
        |role: &Role| wit::Role { name: role.name.to_owned(), required: role.required, about: role.about.to_owned() };
    let setting = |setting: &Setting| wit::Setting {
        key: setting.key.to_owned(),
        kind: setting.kind.name().to_owned(),
        required: setting.required,
        about: setting.about.to_owned(),
    };
    wit::About {
        name: about.name.to_owned(),
        source: about.source.to_owned(),
        roles: about.roles.iter().map(role).collect(),
        settings: about.settings.iter().map(setting).collect(),
        methods: about.methods.iter().map(|method| (*method).to_owned()).collect(),
        handshake: about.handshake,
    }
}

impl<T: Verifier> verify::exports::tollgate::plugin::verify::Guest for ExportedVerifier<T> {
    fn verify(
        request: &http::Request,
        body: &http::Body,
    ) -> Result<verify::exports::tollgate::plugin::verify::Verdict, types::Refusal> {
        use verify::exports::tollgate::plugin::verify as wit;
        let call = Call(Request { host: Handle::new(request, Some(body)) });
        match plugin::<T>().verify(&call) {
            Ok(Verdict::Accept(accepted)) => Ok(wit::Verdict::Accept(event(accepted))),
            Ok(Verdict::Respond(answer)) => Ok(wit::Verdict::Respond(reply(answer))),
            Err(refused) => Err(refusal(refused)),
        }
    }
}

impl<T: Propagator> propagate::exports::tollgate::plugin::propagate::Guest for ExportedPropagator<T> {
    fn on_request(request: &http::Request) -> Result<Vec<types::HeaderEdit>, types::Refusal> {
        let request = Request { host: Handle::new(request, None) };
        plugin::<T>().on_request(&request).map(edits).map_err(refusal)
    }

    fn on_response(request: &http::Request, response: &http::Response) -> Vec<types::HeaderEdit> {
        let request = Request { host: Handle::new(request, None) };
        edits(plugin::<T>().on_response(&request, &Response { host: ResponseHandle(response) }))
    }
}

impl<T: Router> choose::exports::tollgate::plugin::choose::Guest for ExportedRouter<T> {
    fn choose(request: &http::Request, candidates: Vec<String>) -> Result<Vec<String>, types::Refusal> {
        let request = Request { host: Handle::new(request, None) };
        plugin::<T>().choose(&request, &candidates).map_err(refusal)
    }
}

fn event(event: Event) -> verify::exports::tollgate::plugin::verify::Event {
    use verify::exports::tollgate::plugin::verify as wit;
    let identity = |identity| match identity {
        Identity::Signed(id) => wit::Identity::Signed(id),
        Identity::Unsigned(id) => wit::Identity::Unsigned(id),
    };
    wit::Event {
        identity: event.identity.map(identity),
        kind: event.kind,
        timestamp: event.timestamp,
        order_key: event.order_key,
        acknowledge: event.acknowledge.map(reply),
    }
}

fn reply(reply: Reply) -> types::Reply {
    let headers = reply.headers.into_iter().map(|(name, value)| types::Header { name, value });
    types::Reply { status: reply.status, headers: headers.collect(), body: reply.body }
}

fn refusal(refusal: Refusal) -> types::Refusal {
    types::Refusal { status: refusal.status, code: refusal.code.to_owned(), detail: refusal.detail }
}

fn edits(edits: Vec<Edit>) -> Vec<types::HeaderEdit> {
    let edit = |edit| match edit {
        Edit::Set(name, value) => types::HeaderEdit::Set(types::Header { name, value }),
        Edit::Append(name, value) => types::HeaderEdit::Append(types::Header { name, value }),
        Edit::Remove(name) => types::HeaderEdit::Remove(name),
    };
    edits.into_iter().map(edit).collect()
}
