//! Says which context travels: who the tenant and the user are, above all. Fields of a request reach the product under any
//! protocol (a WebSocket's handshake and gRPC's metadata are fields too), so this works on all of them alike.
//!
//! On a request, in this order: what a browser cannot set as a field, because its WebSocket API has none, is taken from
//! the query (`from_query`) or a cookie (`from_cookie`); `require` insists; `drop` takes away, but never what `propagate`
//! names; `rename` moves; `set` writes, with what the gateway knows in braces. On a response `response_drop` and
//! `response_set` do the same.

mod template;

use tollgate_sdk::{About, Edit, Problems, Propagator, Refusal, Request, Response, Setting, Settings, is_editable};

use crate::template::Template;

struct RequestContext {
    propagate: Vec<String>,
    require: Vec<String>,
    drop: Names,
    rename: Vec<(String, String)>,
    set: Vec<(String, Template)>,
    from_query: Vec<(String, String)>,
    from_cookie: Vec<(String, String)>,
    response_drop: Names,
    response_set: Vec<(String, String)>,
}

/// Names of fields, and beginnings of names.
struct Names {
    whole: Vec<String>,
    beginnings: Vec<String>,
}

impl Propagator for RequestContext {
    const ABOUT: About =
        About::new("request-context", "https://www.w3.org/TR/baggage/ for what context is").settings(&[
            Setting::texts("propagate", "fields that always travel: one value at most, and never dropped"),
            Setting::texts("require", "fields without which a request is refused"),
            Setting::texts("drop", "fields that do not travel; `x-internal-*` is all that begin so"),
            Setting::table("rename", "old name = new name"),
            Setting::table(
                "set",
                "field = value; {id} {route} {product} {protocol} {method} {host} {client} are filled in",
            ),
            Setting::table("from_query", "field = parameter of the query, where the field was not sent"),
            Setting::table("from_cookie", "field = cookie, where the field was not sent"),
            Setting::texts("response_drop", "fields of responses that do not travel"),
            Setting::table("response_set", "fields of responses = value"),
        ]);

    fn configure(settings: &Settings) -> Result<Self, Problems> {
        let mut problems = Problems::default();
        let mut set = Vec::new();
        for (name, text) in fields(settings, "set", &mut problems) {
            match Template::parse(&text) {
                Ok(template) => set.push((name, template)),
                Err(message) => problems.add("set", message),
            }
        }
        let rename = fields(settings, "rename", &mut problems);
        let renamed = rename.iter().map(|(_, new)| new.to_ascii_lowercase());
        renamed.for_each(|new| check("rename", &new, &mut problems));
        let context = Self {
            propagate: names(settings, "propagate", &mut problems),
            require: names(settings, "require", &mut problems),
            drop: Names::of(names(settings, "drop", &mut problems)),
            rename,
            set,
            from_query: fields(settings, "from_query", &mut problems),
            from_cookie: fields(settings, "from_cookie", &mut problems),
            response_drop: Names::of(names(settings, "response_drop", &mut problems)),
            response_set: fields(settings, "response_set", &mut problems),
        };
        if problems.0.is_empty() { Ok(context) } else { Err(problems) }
    }

    fn on_request(&self, request: &Request<'_>) -> Result<Vec<Edit>, Refusal> {
        let taken = self.taken(request)?;
        for name in &self.propagate {
            if request.values(name).len() > 1 {
                return Err(Refusal::new(400, "repeated").detail(name));
            }
        }
        for name in &self.require {
            let sent = request.header(name).is_some_and(|value| !value.is_empty());
            if !sent && !taken.iter().any(|(field, _)| *field == name) {
                return Err(Refusal::new(400, "missing").detail(name));
            }
        }
        let mut edits: Vec<Edit> = taken.into_iter().map(|(field, value)| Edit::set(field, value)).collect();
        let keep = |name: &str| self.propagate.iter().any(|kept| kept == name);
        self.drop.edits(|| request.headers(), keep, &mut edits);
        for (old, new) in &self.rename {
            rename(request, old, new, &mut edits);
        }
        edits.extend(self.set.iter().map(|(name, template)| Edit::set(name, template.fill(request))));
        Ok(edits)
    }

    fn on_response(&self, _: &Request<'_>, response: &Response<'_>) -> Vec<Edit> {
        let mut edits = Vec::new();
        self.response_drop.edits(|| response.headers(), |_| false, &mut edits);
        edits.extend(self.response_set.iter().map(|(name, value)| Edit::set(name, value.as_str())));
        edits
    }
}

impl RequestContext {
    /// Fields that were not sent, from the query or a cookie.
    fn taken(&self, request: &Request<'_>) -> Result<Vec<(&str, String)>, Refusal> {
        let mut taken: Vec<(&str, String)> = Vec::new();
        for (in_query, (field, key)) in
            self.from_query.iter().map(|it| (true, it)).chain(self.from_cookie.iter().map(|it| (false, it)))
        {
            if request.header(field).is_some() || taken.iter().any(|(known, _)| known == field) {
                continue;
            }
            let Some(value) = (if in_query { request.parameter(key)? } else { request.cookie(key)? }) else { continue };
            if value.is_empty() || value.chars().any(char::is_control) {
                return Err(Refusal::new(400, "malformed").detail(field));
            }
            taken.push((field, value));
        }
        Ok(taken)
    }
}

impl Names {
    fn of(names: Vec<String>) -> Self {
        let (beginnings, whole): (Vec<_>, Vec<_>) = names.into_iter().partition(|name| name.ends_with('*'));
        let beginnings = beginnings.iter().map(|name| name.trim_end_matches('*').to_owned());
        Self { whole, beginnings: beginnings.collect() }
    }

    /// Removes them. The fields are listed only where a beginning must be looked for; the gateway's own stay.
    fn edits(&self, fields: impl Fn() -> Vec<(String, Vec<u8>)>, keep: impl Fn(&str) -> bool, edits: &mut Vec<Edit>) {
        edits.extend(self.whole.iter().filter(|name| !keep(name)).map(|name| Edit::remove(name)));
        if self.beginnings.is_empty() {
            return;
        }
        let mut found: Vec<String> = Vec::new();
        for (name, _) in fields() {
            let begins = self.beginnings.iter().any(|beginning| name.starts_with(beginning.as_str()));
            if begins && is_editable(&name) && !keep(&name) && !found.contains(&name) {
                edits.push(Edit::remove(&name));
                found.push(name);
            }
        }
    }
}

/// Moves every value of `old` to `new`.
fn rename(request: &Request<'_>, old: &str, new: &str, edits: &mut Vec<Edit>) {
    let values = request.values(old);
    if values.is_empty() {
        return;
    }
    edits.push(Edit::remove(old));
    for (nth, value) in values.into_iter().enumerate() {
        edits.push(if nth == 0 { Edit::set(new, value) } else { Edit::append(new, value) });
    }
}

/// A list of fields' names, each of which may be edited.
fn names(settings: &Settings, key: &str, problems: &mut Problems) -> Vec<String> {
    let names: Vec<String> =
        settings.texts(key).unwrap_or_default().iter().map(|name| name.to_ascii_lowercase()).collect();
    for name in &names {
        // Of a beginning, only what may be edited is.
        check(key, name.strip_suffix('*').map_or(name, |_| "x"), problems);
    }
    names
}

/// A table from fields' names, each of which may be edited.
fn fields(settings: &Settings, key: &str, problems: &mut Problems) -> Vec<(String, String)> {
    let fields = settings.table(key).unwrap_or_default().into_iter();
    let fields: Vec<_> = fields.map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned())).collect();
    for (name, value) in &fields {
        check(key, name, problems);
        if value.chars().any(char::is_control) {
            problems.add(key, ["the value of `", name, "` has control characters"].concat());
        }
    }
    fields
}

fn check(key: &str, name: &str, problems: &mut Problems) {
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'+-.^_`|~".contains(&byte);
    if name.is_empty() || !name.bytes().all(token) {
        problems.add(key, ["`", name, "` is not the name of a field"].concat());
    } else if !is_editable(name) {
        problems.add(key, ["`", name, "` belongs to the gateway"].concat());
    }
}

tollgate_sdk::propagator!(RequestContext);

#[cfg(test)]
mod tests {
    use tollgate_sdk::testing::{FakeRequest, FakeResponse, run_propagator_vectors};

    use super::*;

    #[test]
    fn vectors() {
        run_propagator_vectors::<RequestContext>("vectors.jsonl");
    }

    #[test]
    fn what_cannot_be_done_is_a_problem_before_any_traffic() {
        let problems = |options: &str| {
            let checked = Settings::check(&RequestContext::ABOUT, options);
            let Problems(problems) =
                checked.and_then(|settings| RequestContext::configure(&settings).map(|_| ())).unwrap_err();
            problems.into_iter().map(|problem| format!("{}: {}", problem.key, problem.message)).collect::<Vec<_>>()
        };
        assert_eq!(problems(r#"{"set":{"host":"a"}}"#), ["set: `host` belongs to the gateway"]);
        assert_eq!(problems(r#"{"drop":["two words"]}"#), ["drop: `two words` is not the name of a field"]);
        assert_eq!(
            problems(r#"{"rename":{"x-a":"x-forwarded-for"}}"#),
            ["rename: `x-forwarded-for` belongs to the gateway"]
        );
        assert_eq!(
            problems(r#"{"set":{"x-a":"{tenant}"}}"#),
            ["set: `{tenant}` is not known; there is {id}, {route}, {product}, {protocol}, {method}, {host}, {client}"]
        );
    }

    #[test]
    fn fields_of_the_gateway_survive_a_broad_beginning() {
        let request =
            FakeRequest::post("/").header("x-request-id", "1").header("X-Internal", "2").header("x-kept", "3");
        let edits = request.on_request::<RequestContext>(r#"{"drop":["x-*"],"propagate":["X-Kept"]}"#).unwrap();
        assert_eq!(edits, [Edit::remove("x-internal")]);
    }

    #[test]
    fn responses_lose_what_nobody_need_know() {
        let response = FakeResponse::new(200).header("server", "old/1.0").header("x-debug-sql", "…");
        let options = r#"{"response_drop":["server","x-debug-*"],"response_set":{"x-served-by":"us"}}"#;
        let edits = FakeRequest::post("/").on_response::<RequestContext>(&response, options);
        assert_eq!(edits, [Edit::remove("server"), Edit::remove("x-debug-sql"), Edit::set("x-served-by", "us")]);
    }
}
