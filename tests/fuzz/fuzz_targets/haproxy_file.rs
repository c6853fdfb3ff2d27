//! Any text as the file on disk (the assertions are in synapse, where the types are).
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| synapse::haproxy::fuzz::file(text));
