//! Any bytes as the snapshot of the sources (the assertions are in synapse, where the types are).
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| synapse::snapshot::fuzz::snapshot(bytes));
