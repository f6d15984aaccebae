//! The gateway beside other proxies: CPU time per request, which depends on luck less than throughput does.
//! `cargo bench -p tollgate-tests --bench peers -- h1,down-1m --rounds 4`. Needs `wrk`, `h2load` (nghttp2-client),
//! `openssl` and `curl`, and the peers it is to be compared with: nginx, HAProxy. What is missing is left out, with a word.
//!
//! With one worker (the default) the proxy has CPU 1 for itself, load and origin share CPU 0. With `--workers 2` the kernel
//! places everything. Rounds are interleaved (A B C, C B A, …). Compare within one run, on an idle machine.

mod load;
mod origin;
mod process;
mod proxies;

use std::path::Path;
use std::time::Duration;

use load::{Load, Scenario};
use proxies::Proxy;

/// What was asked for.
struct Asked {
    scenarios: Vec<Scenario>,
    peers: Vec<Proxy>,
    rounds: usize,
    lasts: Duration,
    workers: usize,
}

impl Asked {
    fn read() -> Result<Self, String> {
        let mut asked = Self {
            scenarios: Scenario::ALL.to_vec(),
            peers: Proxy::ALL.to_vec(),
            rounds: 4,
            lasts: Duration::from_secs(3),
            workers: 1,
        };
        let mut arguments = std::env::args().skip(1);
        while let Some(argument) = arguments.next() {
            let mut number = |name: &str| {
                let value = arguments.next().and_then(|value| value.parse::<usize>().ok()).filter(|value| *value > 0);
                value.ok_or_else(|| format!("{name} takes a number above 0"))
            };
            match argument.as_str() {
                "--bench" => {}
                "--rounds" => asked.rounds = number("--rounds")?,
                "--seconds" => asked.lasts = Duration::from_secs(number("--seconds")? as u64),
                "--workers" => asked.workers = number("--workers")?,
                "--peers" => {
                    let names = arguments.next().ok_or("--peers takes names, as in nginx,haproxy")?;
                    asked.peers = listed(&names, &Proxy::ALL, Proxy::name)?;
                }
                names => asked.scenarios = listed(names, &Scenario::ALL, Scenario::name)?,
            }
        }
        Ok(asked)
    }
}

fn listed<T: Copy>(names: &str, all: &[T], name_of: impl Fn(T) -> &'static str) -> Result<Vec<T>, String> {
    let find = |name: &str| {
        let known = || all.iter().map(|one| name_of(*one)).collect::<Vec<_>>().join(", ");
        all.iter()
            .copied()
            .find(|one| name_of(*one) == name)
            .ok_or_else(|| format!("no {name}; there are: {}", known()))
    };
    names.split(',').map(find).collect()
}

/// One round of one proxy.
struct Round {
    /// CPU time per unit: a request, or a GiB.
    cpu: Duration,
    load: Load,
}

fn main() -> Result<(), String> {
    let asked = Asked::read()?;
    let folder = tempfile::tempdir().map_err(|error| format!("a temporary folder: {error}"))?;
    load::files(folder.path())?;
    if asked.workers == 1 {
        process::stay_on(process::LOAD_CPU);
    }
    let origin = origin::start();
    for scenario in &asked.scenarios {
        compare(*scenario, &asked, origin, folder.path());
    }
    Ok(())
}

/// Runs every peer that knows `scenario`, and prints the table.
fn compare(scenario: Scenario, asked: &Asked, origin: origin::Ports, folder: &Path) {
    let mut running = Vec::new();
    for peer in asked.peers.iter().filter(|peer| peer.knows(scenario)) {
        match peer.start(origin, folder, asked.workers) {
            Ok(started) => running.push(started),
            Err(error) => eprintln!("{} is left out: {error}", peer.name()),
        }
    }
    let mut rounds: Vec<Vec<Round>> = running.iter().map(|_| Vec::new()).collect();
    let count = if scenario.is_held() { 1 } else { asked.rounds };
    for round in 0..count {
        let mut order: Vec<usize> = (0..running.len()).collect();
        if round % 2 == 1 {
            order.reverse();
        }
        for at in order {
            let proxy = &running[at];
            if round == 0 && !scenario.is_held() {
                let _warmed = scenario.run(proxy, folder, Duration::from_secs(1));
            }
            let before = proxy.process.cpu();
            match scenario.run(proxy, folder, asked.lasts) {
                Ok(load) => {
                    let spent = proxy.process.cpu().saturating_sub(before);
                    rounds[at].push(Round { cpu: spent.div_f64(load.units.max(f64::MIN_POSITIVE)), load });
                }
                Err(error) => eprintln!("{} {}: {error}", proxy.peer.name(), scenario.name()),
            }
        }
    }
    print(scenario, asked, &running, &rounds);
}

fn print(scenario: Scenario, asked: &Asked, running: &[proxies::Running], rounds: &[Vec<Round>]) {
    let placed = if asked.workers == 1 { "proxy on a CPU of its own" } else { "placed by the kernel" };
    println!(
        "\n{} ({} worker(s), {placed}, {} rounds of {:?})",
        scenario.name(),
        asked.workers,
        asked.rounds,
        asked.lasts
    );
    let least = |rounds: &[Round]| rounds.iter().map(|round| round.cpu).min();
    let nginx = running.iter().position(|proxy| proxy.peer == Proxy::Nginx).and_then(|at| least(&rounds[at]));
    if scenario.is_held() {
        println!("{:<10} {:>14} {:>8}", "", "KiB each", "failed");
    } else {
        println!(
            "{:<10} {:>14} {:>8} {:>8} {:>12} {:>8}",
            "",
            scenario.unit(),
            "median",
            "× nginx",
            "per second",
            "failed"
        );
    }
    for (proxy, rounds) in running.iter().zip(rounds) {
        let Some(least) = least(rounds) else { continue };
        let failed: u64 = rounds.iter().map(|round| round.load.failed).sum();
        if scenario.is_held() {
            let held = rounds.iter().map(|round| round.load.held_kib).fold(0.0, f64::max);
            println!("{:<10} {held:>14.1} {failed:>8}", proxy.peer.name());
            continue;
        }
        let mut all: Vec<_> = rounds.iter().map(|round| round.cpu).collect();
        all.sort();
        let shown = |cpu: Duration| cpu.as_secs_f64() * scenario.scale();
        let ratio =
            nginx.map_or_else(|| "-".into(), |nginx| format!("{:.2}", least.as_secs_f64() / nginx.as_secs_f64()));
        let best = rounds.iter().map(|round| round.load.per_second).fold(0.0, f64::max);
        println!(
            "{:<10} {:>14.1} {:>8.1} {ratio:>8} {best:>12.0} {failed:>8}",
            proxy.peer.name(),
            shown(least),
            shown(all[all.len() / 2]),
        );
    }
}
