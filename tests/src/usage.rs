//! The resources of a process, as Linux reports them.

use std::fmt;

/// A process's use of the machine at one moment.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Usage {
    /// Resident memory, in KiB.
    pub resident_kib: u64,
    /// Open file descriptors.
    pub descriptors: usize,
    /// Threads.
    pub threads: usize,
    /// Processor time of its own, in seconds, since its start.
    pub cpu: f64,
    /// Processor time of its children that have ended.
    pub children_cpu: f64,
}

impl Usage {
    /// Of the process `id`, which must live.
    pub fn of(id: u32) -> Self {
        let read = |name: &str| std::fs::read_to_string(format!("/proc/{id}/{name}")).unwrap();
        let status = read("status");
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let resident = resident.and_then(|line| line.split_whitespace().next());
        let stat = read("stat");
        // The name, in parentheses, may hold anything; after it come the state and eleven more fields that are not needed.
        let (_, fields) = stat.rsplit_once(')').expect("it holds the name");
        let ticks: Vec<f64> = fields
            .split_whitespace()
            .skip(11)
            .take(4)
            .map(|ticks| ticks.parse().unwrap())
            .collect();
        let [user, system, children_user, children_system] = ticks.try_into().expect("four times");
        #[expect(clippy::cast_precision_loss, reason = "it is 100")]
        let per_second = rustix::param::clock_ticks_per_second() as f64;
        Self {
            resident_kib: resident.expect("Linux tells the resident size").parse().unwrap(),
            descriptors: std::fs::read_dir(format!("/proc/{id}/fd")).unwrap().count(),
            threads: std::fs::read_dir(format!("/proc/{id}/task")).unwrap().count(),
            cpu: (user + system) / per_second,
            children_cpu: (children_user + children_system) / per_second,
        }
    }
}

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} KiB resident, {} descriptors, {} threads, {:.2} s of processor time and {:.2} s of its children",
            self.resident_kib, self.descriptors, self.threads, self.cpu, self.children_cpu
        )
    }
}
