//! Any text as each of HAProxy's replies (the assertions are in synapse, where the types are).
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| synapse::haproxy::fuzz::replies(text));
