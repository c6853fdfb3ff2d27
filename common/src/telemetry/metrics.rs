//! Prometheus metrics: one registry per daemon.

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, text};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use rustix::param::{clock_ticks_per_second, page_size};

/// The build, for `/version` and `…_build_info`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Build {
    /// `nerve` or `synapse`; also the prefix of its metrics.
    pub name: &'static str,
    /// The package's version.
    pub version: &'static str,
}

/// The content type of what [`encode`] returns.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// A registry with the build's and the process's own metrics (`process_resident_memory_bytes`, `process_open_fds`,
/// `process_cpu_seconds_total`, `process_start_time_seconds`).
pub fn registry(build: Build) -> Registry {
    let mut registry = Registry::default();
    registry
        .sub_registry_with_label(("version".into(), build.version.into()))
        .register(
            format!("{}_build_info", build.name),
            "Always 1; the label is the version of the build",
            ConstGauge::new(1_i64),
        );
    registry.register_collector(Box::new(ProcessMetrics {
        boot_time: read("/proc/stat").as_deref().and_then(boot_time),
    }));
    registry
}

/// The `OpenMetrics` text format, see [`CONTENT_TYPE`].
pub fn encode(registry: &Registry) -> String {
    let mut text = String::new();
    if text::encode(&mut text, registry).is_err() {
        tracing::error!("A metric cannot be encoded; the exposition ends before it.");
    }
    text
}

/// This process as the kernel sees it, read at each scrape. What can't be read is left out.
#[derive(Debug)]
struct ProcessMetrics {
    /// Seconds since the Unix epoch.
    boot_time: Option<f64>,
}

impl Collector for ProcessMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let mut put = |name, help, metric: &dyn EncodeMetric| {
            metric.encode(encoder.encode_descriptor(name, help, None, metric.metric_type())?)
        };
        if let Some(stat) = read("/proc/self/stat").as_deref().and_then(Stat::parse) {
            put(
                "process_resident_memory_bytes",
                "Memory of this process that is in RAM.",
                &ConstGauge::new(stat.resident_pages.saturating_mul(page_size() as u64)),
            )?;
            // The encoder adds `_total` to a counter's name.
            put(
                "process_cpu_seconds",
                "Processor time used, user and system.",
                &ConstCounter::new(seconds(stat.cpu_ticks)),
            )?;
            if let Some(boot) = self.boot_time {
                put(
                    "process_start_time_seconds",
                    "When this process began, in seconds since the Unix epoch.",
                    &ConstGauge::new(boot + seconds(stat.start_ticks)),
                )?;
            }
        }
        if let Ok(open) = std::fs::read_dir("/proc/self/fd") {
            put(
                "process_open_fds",
                "Open file descriptors.",
                // The listing itself is open too.
                &ConstGauge::new(open.count().saturating_sub(1) as u64),
            )?;
        }
        Ok(())
    }
}

/// What we need of `/proc/PID/stat`, see `proc_pid_stat(5)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stat {
    cpu_ticks: u64,
    /// Since the machine was booted.
    start_ticks: u64,
    resident_pages: u64,
}

impl Stat {
    fn parse(text: &str) -> Option<Self> {
        // The second field, the program's name in parentheses, may itself hold spaces and parentheses.
        let (_, rest) = text.rsplit_once(')')?;
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        // The manual counts from 1, and `rest` starts at its third field.
        let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
        Some(Self {
            cpu_ticks: field(14)?.saturating_add(field(15)?),
            start_ticks: field(22)?,
            resident_pages: field(24)?,
        })
    }
}

/// Of `/proc/stat`: when the machine was booted, in seconds since the Unix epoch.
fn boot_time(text: &str) -> Option<f64> {
    text.lines()
        .find_map(|line| line.strip_prefix("btime "))?
        .trim()
        .parse()
        .ok()
}

#[expect(clippy::cast_precision_loss, reason = "exact for the first million years")]
fn seconds(ticks: u64) -> f64 {
    ticks as f64 / clock_ticks_per_second() as f64
}

fn read(path: &str) -> Option<String> {
    std::fs::read_to_string(path).ok()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_exposition_has_the_build_and_the_process() {
        let text = encode(&registry(Build {
            name: "nerve",
            version: "1.2.3",
        }));
        assert!(text.contains("\nnerve_build_info{version=\"1.2.3\"} 1\n"), "{text}");
        let value = |name: &str| -> f64 {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            line.unwrap_or_else(|| panic!("{name} in {text}")).parse().unwrap()
        };
        assert!(value("process_resident_memory_bytes") > 100_000.0);
        assert!(value("process_open_fds") >= 3.0);
        assert!(value("process_cpu_seconds_total") >= 0.0);
        let now = Duration::from_millis(crate::clock::unix_millis()).as_secs_f64();
        let age = now - value("process_start_time_seconds");
        assert!((-2.0..3600.0).contains(&age), "{age}");
        assert!(text.ends_with("# EOF\n"));
    }

    #[test]
    fn a_stat_line_with_a_hostile_program_name_parses() {
        let line =
            "12 (a) 9 (b c) S 1 1 1 0 -1 4194560 100 0 0 0 70 30 0 0 20 0 1 0 5000 1000000 321 18446744073709551615 1";
        assert_eq!(
            Stat::parse(line),
            Some(Stat {
                cpu_ticks: 100,
                start_ticks: 5000,
                resident_pages: 321
            })
        );
        for broken in ["", "12 (a", "12 (a) S 1", &line.replace("5000", "x")] {
            assert_eq!(Stat::parse(broken), None, "{broken}");
        }
    }

    #[test]
    fn the_boot_time_is_found() {
        assert_eq!(
            boot_time("cpu 1 2\nbtime 1700000000\nprocesses 5\n"),
            Some(1_700_000_000.0)
        );
        assert_eq!(boot_time("cpu 1 2\n"), None);
    }
}
