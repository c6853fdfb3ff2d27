//! Any bytes as the frame of a `HealthCheckResponse`: nothing is decided before the frame is whole, nothing beyond it
//! counts, and the last status in it does.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nerve::check::wire::grpc::status;

const HEAD: usize = 5;

fn frame(message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).expect("a short message");
    [&[0], length.to_be_bytes().as_slice(), message].concat()
}

/// Field 1, a varint.
fn field(mut status: u64) -> Vec<u8> {
    let mut bytes = vec![8];
    while status > 0x7f {
        bytes.push((status & 0x7f) as u8 | 0x80);
        status >>= 7;
    }
    bytes.push(status as u8);
    bytes
}

fuzz_target!(|bytes: &[u8]| {
    let Some(read) = status(bytes) else { return };
    assert_eq!(status(&frame(&field(read))), Some(read));
    let length: [u8; 4] = bytes[1..HEAD].try_into().expect("four bytes");
    let end = HEAD + u32::from_be_bytes(length) as usize;
    assert_eq!(status(&bytes[..end]), Some(read));
    assert_eq!(status(&bytes[..end - 1]), None);
    let longer = [&bytes[HEAD..end], &field(2)].concat();
    assert_eq!(status(&frame(&longer)), Some(2));
});
