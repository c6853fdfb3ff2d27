//! Any bytes as what an AMQP server sends: frame by frame, none longer than was negotiated, each read the same in pieces
//! and read again from what a server would have to send for it.
#![no_main]

use fuzz::in_pieces;
use libfuzzer_sys::fuzz_target;
use nerve::check::wire::amqp::{FRAME_MAX, Frame, frame};

/// A frame with this content; `None` when a text became too long for it, because invalid UTF-8 grows.
fn framed(frame: &Frame) -> Option<Vec<u8>> {
    let method = |class: u16, method: u16| [class.to_be_bytes(), method.to_be_bytes()].concat();
    let short = |text: &str| Some([&[u8::try_from(text.len()).ok()?], text.as_bytes()].concat());
    let long = |text: &str| [&(text.len() as u32).to_be_bytes(), text.as_bytes()].concat();
    let (kind, payload) = match frame {
        Frame::Start { mechanisms } => (
            1,
            [method(10, 10), vec![0, 9], long(""), long(mechanisms), long("en_US")].concat(),
        ),
        Frame::Tune { frame_max } => (
            1,
            [
                method(10, 30),
                vec![0, 0],
                frame_max.to_be_bytes().to_vec(),
                vec![0, 60],
            ]
            .concat(),
        ),
        Frame::Close { code, text } => (
            1,
            [method(10, 50), code.to_be_bytes().to_vec(), short(text)?, vec![0; 4]].concat(),
        ),
        Frame::Blocked { reason } => (1, [method(10, 60), short(reason)?].concat()),
        Frame::GetOk { delivery } => (1, [method(60, 71), delivery.to_be_bytes().to_vec()].concat()),
        Frame::ContentHeader { size } => (2, [method(60, 0), size.to_be_bytes().to_vec(), vec![0, 0]].concat()),
        Frame::Body(bytes) => (3, bytes.clone()),
        Frame::Heartbeat => (8, Vec::new()),
        Frame::Method(class, number) => (1, method(*class, *number)),
    };
    let size = u32::try_from(payload.len()).ok()?;
    let frame = [&[kind, 0, 1], size.to_be_bytes().as_slice(), &payload, &[0xCE]].concat();
    (frame.len() <= FRAME_MAX as usize).then_some(frame)
}

fuzz_target!(|bytes: &[u8]| {
    let mut rest = bytes;
    while let Ok(Some((read, length))) = in_pieces(rest, frame) {
        assert!(length <= FRAME_MAX as usize);
        if let Some(said) = framed(&read) {
            assert_eq!(frame(&said), Ok(Some((read, said.len()))));
        }
        rest = &rest[length..];
    }
});
