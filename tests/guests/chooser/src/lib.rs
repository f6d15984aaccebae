//! A router that sends a request to the products its header `x-product` names, separated by commas. What `x-blindly`
//! names it chooses without looking whether it is a candidate.

use tollgate_sdk::{About, Problems, Refusal, Request, Router, Settings};

struct Chooser;

impl Router for Chooser {
    const ABOUT: About = About::new("chooser", "none: it exists for the gateway's tests");

    fn configure(_: &Settings) -> Result<Self, Problems> {
        Ok(Self)
    }

    fn choose(&self, request: &Request<'_>, candidates: &[String]) -> Result<Vec<String>, Refusal> {
        if let Some(blindly) = request.optional("x-blindly")? {
            return Ok(blindly.split(',').map(str::to_owned).collect());
        }
        let Some(wanted) = request.optional("x-product")? else { return Ok(Vec::new()) };
        let known = |name: &str| candidates.iter().find(|candidate| *candidate == name).cloned();
        let chosen: Option<Vec<String>> = wanted.split(',').map(known).collect();
        chosen.ok_or_else(|| Refusal::new(400, "unknown_product"))
    }
}

tollgate_sdk::router!(Chooser);

#[cfg(test)]
mod tests {
    use tollgate_sdk::testing::FakeRequest;

    use super::*;

    #[test]
    fn it_chooses_among_the_candidates_only() {
        let ask =
            |wanted: &str| FakeRequest::post("/").header("x-product", wanted).choose::<Chooser>(&["a", "b"], "{}");
        assert_eq!(ask("b").unwrap(), ["b"]);
        assert_eq!(ask("a,b").unwrap(), ["a", "b"]);
        assert_eq!(ask("c").unwrap_err().code, "unknown_product");
        assert_eq!(FakeRequest::post("/").choose::<Chooser>(&["a"], "{}").unwrap(), Vec::<String>::new());
    }
}
