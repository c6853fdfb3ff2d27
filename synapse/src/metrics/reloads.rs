//! How often the configuration was read again.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use crate::reload::ReloadResult;

/// Counts by result.
#[derive(Debug, Clone, Default)]
pub struct Reloads(Family<Vec<(&'static str, &'static str)>, Counter>);

impl Reloads {
    /// Counters registered in `registry`, all of them at zero.
    pub fn register(registry: &mut Registry) -> Self {
        let reloads = Self::default();
        registry.register(
            "synapse_config_reloads",
            "Readings of the configuration since the start",
            reloads.0.clone(),
        );
        for result in ReloadResult::ALL {
            drop(reloads.0.get_or_create(&labels(result)));
        }
        reloads
    }

    /// It was read again.
    pub fn count(&self, result: ReloadResult) {
        self.0.get_or_create(&labels(result)).inc();
    }
}

fn labels(result: ReloadResult) -> Vec<(&'static str, &'static str)> {
    vec![("result", result.as_str())]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_result_is_there_from_the_start() {
        let mut registry = Registry::default();
        let reloads = Reloads::register(&mut registry);
        reloads.count(ReloadResult::Refused);
        let text = common::telemetry::metrics::encode(&registry);
        for sample in [
            r#"synapse_config_reloads_total{result="applied"} 0"#,
            r#"synapse_config_reloads_total{result="unchanged"} 0"#,
            r#"synapse_config_reloads_total{result="refused"} 1"#,
        ] {
            assert!(text.lines().any(|line| line == sample), "{text}");
        }
    }
}
