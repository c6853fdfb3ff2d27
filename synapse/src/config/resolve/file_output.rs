//! `type: file_output`.

use std::collections::BTreeMap;
use std::time::Duration;

use common::config::Section;

use super::ResolveContext;
use super::service::Services;
use crate::config::FileOutputConfig;

impl ResolveContext<'_> {
    /// Reads the keys of a router that writes a file for each of its `services`.
    pub(super) fn file_output(
        &mut self,
        section: &mut Section<'_>,
        services: Option<&Services>,
    ) -> Option<FileOutputConfig> {
        let purge_unknown = section.flag_or("purgeUnknown", false);
        let reconcile_interval = section.duration_or("reconcileInterval", Duration::from_secs(10));
        let directory = self.base.join(section.required_text("outputDirectory")?);
        self.take(section, "outputDirectory", &directory);
        let Services { services, without_file } = services?;
        let mut files = BTreeMap::new();
        for service in services.iter().filter(|service| !without_file.contains(&service.id)) {
            if files.values().any(|name| *name == service.name) {
                section.problem(
                    "services",
                    format!(
                        "two services are named `{}`, and one file can't hold both",
                        service.name
                    ),
                    "give each a `name` of its own",
                );
            }
            files.insert(service.id.clone(), service.name.clone());
        }
        Some(FileOutputConfig {
            directory,
            files,
            purge_unknown,
            reconcile_interval,
        })
    }
}
