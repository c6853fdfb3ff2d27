//! Any bytes as memcached's answers, a line or statistics: read the same in pieces, and read again from what a server
//! would have to send for them.
#![no_main]

use fuzz::in_pieces;
use libfuzzer_sys::fuzz_target;
use nerve::check::wire::line;
use nerve::check::wire::memcached::statistics;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(Some((text, _))) = in_pieces(bytes, line) {
        let said = format!("{text}\r\n");
        assert_eq!(line(said.as_bytes()), Ok(Some((text, said.len()))));
    }
    if let Ok(Some((read, _))) = in_pieces(bytes, statistics) {
        let mut said: String = read
            .iter()
            .map(|(name, value)| format!("STAT {name} {value}\r\n"))
            .collect();
        said.push_str("END\r\n");
        assert_eq!(statistics(said.as_bytes()), Ok(Some((read, said.len()))));
    }
});
