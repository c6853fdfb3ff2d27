//! Any bytes as Redis' answer: read the same in pieces, and read again from what a server would have to send for it.
#![no_main]

use fuzz::in_pieces;
use libfuzzer_sys::fuzz_target;
use nerve::check::wire::redis::{Reply, reply};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(Some((read, _))) = in_pieces(bytes, reply) {
        let said = match &read {
            Reply::Simple(text) => format!("+{text}\r\n"),
            Reply::Error(text) => format!("-{text}\r\n"),
            Reply::Integer(number) => format!(":{number}\r\n"),
        };
        assert_eq!(reply(said.as_bytes()), Ok(Some((read, said.len()))));
    }
});
