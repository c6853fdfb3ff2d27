//! Any bytes as the content of a node: what is read as a report is read again from what we would write.
#![no_main]

use common::report::Report;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(report) = Report::decode(bytes) {
        assert_eq!(Report::decode(&report.encode()), Ok(report));
    }
});
