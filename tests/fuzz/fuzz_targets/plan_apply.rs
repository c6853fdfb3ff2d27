//! Any bytes as what happens to a service (the assertions are in synapse, where the types are).
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| synapse::haproxy::fuzz::plan(bytes));
