//! Any bytes as the nodes of a service (the assertions are in synapse, where the types are).
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| synapse::watcher::fuzz::nodes(bytes));
