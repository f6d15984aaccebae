//! Processes that are measured: their CPU time and memory, with all their children.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::{CpuSet, sched_setaffinity};

/// Where load and origin run when the proxy has a CPU of its own.
pub(crate) const LOAD_CPU: usize = 0;
/// Where the proxy runs then.
pub(crate) const PROXY_CPU: usize = 1;
const STARTS_WITHIN: Duration = Duration::from_secs(20);
const STOPS_WITHIN: Duration = Duration::from_secs(5);

/// Keeps this thread, and what it starts from now on, on one CPU.
pub(crate) fn stay_on(cpu: usize) {
    let mut set = CpuSet::new();
    set.set(cpu);
    sched_setaffinity(None, &set).expect("a thread may choose among its CPUs");
}

/// A proxy's process and its children. Ends when dropped.
pub(crate) struct Process(Child);

impl Process {
    /// Starts `command`, on [`PROXY_CPU`] when `pinned`, and waits until something listens on `ports`.
    pub(crate) fn start(mut command: Command, log: &Path, pinned: bool, ports: &[u16]) -> Result<Self, String> {
        let file = fs::File::create(log).map_err(|error| format!("a log: {error}"))?;
        let other = file.try_clone().map_err(|error| format!("a log: {error}"))?;
        command.stdin(Stdio::null()).stdout(file).stderr(other);
        if pinned {
            stay_on(PROXY_CPU);
        }
        let started = command.spawn();
        if pinned {
            stay_on(LOAD_CPU);
        }
        let mut process = Self(started.map_err(|error| error.to_string())?);
        let deadline = Instant::now() + STARTS_WITHIN;
        while !ports.iter().all(|port| std::net::TcpStream::connect(("127.0.0.1", *port)).is_ok()) {
            let ended = process.0.try_wait().ok().flatten().is_some();
            if ended || Instant::now() > deadline {
                return Err(format!("it did not start: {}", fs::read_to_string(log).unwrap_or_default()));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(process)
    }

    /// CPU time spent so far.
    pub(crate) fn cpu(&self) -> Duration {
        self.tree().iter().map(|pid| on_cpu(*pid)).sum()
    }

    /// Memory that is its own, in KiB.
    pub(crate) fn held_kib(&self) -> f64 {
        let pss = |pid: &u32| {
            let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
            let line = text.lines().find_map(|line| line.strip_prefix("Pss:"))?;
            line.trim().strip_suffix(" kB")?.parse::<f64>().ok()
        };
        self.tree().iter().filter_map(pss).sum()
    }

    fn tree(&self) -> Vec<u32> {
        let mut children: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
        for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
            let Ok(stat) = fs::read_to_string(entry.path().join("stat")) else { continue };
            let parent = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().nth(1)?.parse().ok());
            children.entry(parent.unwrap_or(0)).or_default().push(pid);
        }
        let (mut found, mut next) = (Vec::new(), vec![self.0.id()]);
        while let Some(pid) = next.pop() {
            found.push(pid);
            next.extend(children.remove(&pid).unwrap_or_default());
        }
        found
    }
}

/// What the scheduler counted for all threads of `pid`, in nanoseconds.
fn on_cpu(pid: u32) -> Duration {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let spent = |text: String| text.split(' ').next()?.parse::<u64>().ok();
    let each = tasks.filter_map(|task| fs::read_to_string(task.path().join("schedstat")).ok().and_then(spent));
    Duration::from_nanos(each.sum())
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _gone = kill_process(Pid::from_child(&self.0), Signal::TERM);
        let deadline = Instant::now() + STOPS_WITHIN;
        while self.0.try_wait().ok().flatten().is_none() {
            if Instant::now() > deadline {
                let _gone = self.0.kill();
                let _gone = self.0.wait();
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}
