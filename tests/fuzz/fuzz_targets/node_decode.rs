//! Any bytes as the name and, after a NUL, the content of a node, in each format there is: what is read is read again from
//! the report that nerve would write of it, and a name that encodes the data does so for any content of the node.
#![no_main]

use common::report::{Decoder, Method, Report};
use libfuzzer_sys::fuzz_target;

const METHODS: [Method; 6] = [
    Method::Auto,
    Method::Nerve,
    Method::ServerSet,
    Method::Curator,
    Method::Registrator,
    Method::Plain,
];

fuzz_target!(|bytes: &[u8]| {
    let mut parts = bytes.splitn(2, |byte| *byte == 0);
    let (name, data) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let name = String::from_utf8_lossy(name);
    for method in METHODS {
        for endpoint_name in [None, Some("admin".to_owned())] {
            let decoder = Decoder { method, endpoint_name };
            let read = decoder.decode(&name, data);
            if decoder.name_encodes_data(&name) {
                assert!(read.is_ok() && decoder.decode(&name, b"") == read);
            }
            if let Ok(report) = read {
                assert_eq!(Report::decode(&report.encode()), Ok(report));
            }
        }
    }
});
