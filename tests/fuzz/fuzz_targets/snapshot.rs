//! Any bytes as the file of what the sources said last (the assertions are in synapse, where the types are).
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| synapse::snapshot::fuzz::snapshot(bytes));
