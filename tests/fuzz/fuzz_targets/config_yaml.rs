//! Any text as nerve's configuration: it is loaded, or its problems are returned.
#![no_main]

use common::config::{Document, UnknownKeys};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let Ok(document) = Document::parse("nerve.yaml", text.to_owned()) else {
        return;
    };
    if let Err(problems) = document.resolve(UnknownKeys::Refuse, nerve::config::resolve) {
        assert!(!problems.0.is_empty() && !problems.to_string().is_empty());
    }
});
