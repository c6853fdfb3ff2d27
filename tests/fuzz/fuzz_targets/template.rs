//! Any text as a template over an environment.
#![no_main]

use std::collections::BTreeMap;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let fields = BTreeMap::from([
        ("NAME".to_owned(), "web".to_owned()),
        ("EMPTY".to_owned(), String::new()),
    ]);
    if let Err(error) = common::template::render(text, &fields) {
        assert!(!error.to_string().is_empty());
    }
});
