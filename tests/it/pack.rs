//! Every verifier of the pack as a component, against its recorded requests.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use tollgate::base::names::PluginName;
use tollgate::base::sizes::ByteSize;
use tollgate::config::plan;
use tollgate::plugin::engine::Engine;
use tollgate::plugin::registry::{Observer, Plugins};
use tollgate::plugin::vectors;
use tollgate::telemetry::labels::PluginReload;
use tollgate_tests::plugins;

/// As many as the pack has at least; none may get lost.
const PACK: usize = 71;

struct Silent;

impl Observer for Silent {
    fn reloaded(&self, _: &PluginName, _: PluginReload) {}
}

#[tokio::test]
async fn the_whole_packs_vectors_hold_as_components() {
    let pack: Vec<String> = plugins::names().into_iter().filter(|name| plugins::is_verifier(name)).collect();
    assert!(pack.len() >= PACK, "there are {} verifiers", pack.len());
    let directory = tempfile::tempdir().unwrap();
    for name in &pack {
        std::fs::copy(plugins::component(name), directory.path().join(format!("{name}.wasm"))).unwrap();
    }
    let limits = plan::PluginLimits { memory: ByteSize(32 << 20), deadline: Duration::from_millis(100), reuse: 1 };
    let plan = plan::Plugins {
        directory: directory.path().to_owned(),
        sources: Vec::new(),
        defaults: limits,
        overrides: Default::default(),
    };
    let live = Plugins::new(Engine::new(Some(plugins::cache())).unwrap(), plan, Box::new(Silent));
    live.scan().await;

    let mut failures = String::new();
    for name in &pack {
        let plugin = PluginName::new(name).unwrap();
        for vector in vectors::read(&plugins::vectors(name)).unwrap() {
            let verifier = live.bind(&plugin, &vector.options, Arc::new(vector.roles()));
            let problems = live.problems(&verifier).await;
            let came = if problems.is_empty() { vector.check(&verifier).await } else { Err(format!("{problems:?}")) };
            if let Err(why) = came {
                writeln!(failures, "{} ({}): {why}", vector.id, vector.why).unwrap();
            }
        }
    }
    assert!(failures.is_empty(), "{failures}");
}

#[test]
fn the_providers_page_names_every_verifier_with_its_source() {
    let page = std::fs::read_to_string(plugins::root().join("docs/providers.md")).unwrap();
    let pack: Vec<String> = plugins::names().into_iter().filter(|name| plugins::is_verifier(name)).collect();
    let row = |name: &String| {
        let source = std::fs::read_to_string(plugins::root().join("plugins").join(name).join("src/lib.rs")).unwrap();
        let about = source.split_once("About::new(").unwrap().1;
        let url = about.split('"').nth(3).unwrap();
        format!("| [`{name}`]({url}) |")
    };
    let missing: Vec<_> = pack.iter().map(row).filter(|row| !page.contains(row)).collect();
    assert!(missing.is_empty(), "docs/providers.md lacks {missing:?}");
    let written = page.lines().filter(|line| line.starts_with("| [`")).count();
    assert_eq!(written, pack.len(), "rows of docs/providers.md");
}
