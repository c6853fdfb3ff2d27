//! Any text as synapse's configuration: it is loaded, or its problems are returned.
#![no_main]

use std::path::Path;

use common::config::{Document, UnknownKeys};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let Ok(document) = Document::parse("synapse.yaml", text.to_owned()) else {
        return;
    };
    if let Err(problems) = synapse::config::resolve(&document, UnknownKeys::Refuse, Path::new("/")) {
        assert!(!problems.0.is_empty() && !problems.to_string().is_empty());
    }
});
