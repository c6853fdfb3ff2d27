//! Any bytes as the content of a node: what is read as a report is read again from what we would write; what another
//! writer's words are read as is within its bounds.
#![no_main]

use common::report::{Decoder, Report};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(report) = Report::decode(bytes) {
        assert_eq!(Report::decode(&report.encode()), Ok(report));
    }
    // The first line is the node's name.
    let (name, data) = bytes.split_at(bytes.iter().position(|byte| *byte == b'\n').unwrap_or(0));
    let decoder = Decoder::default();
    if let Ok(report) = decoder.decode(&String::from_utf8_lossy(name), data) {
        assert!(!report.host.is_empty() && report.host.len() <= 253 && report.port > 0);
        assert!(report.available || report.weight == Some(0));
    }
});
