//! Any text as ZooKeeper's answer to `mntr`: read again from what a server would have to send for it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nerve::check::wire::zookeeper::statistics;

fuzz_target!(|text: &str| {
    if let Some(read) = statistics(text) {
        assert!(!read.is_empty());
        let said: String = read.iter().map(|(name, value)| format!("{name}\t{value}\n")).collect();
        assert_eq!(statistics(&said), Some(read));
    }
});
