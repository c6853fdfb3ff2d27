//! Any text as the file on disk (the assertions are in synapse, where the types are).
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| synapse::router::haproxy::fuzz::file(text));
