//! AMQP 0-9-1 on the wire, as much of it as a check speaks: frames, the methods it receives, the ones it sends.
//!
//! <https://www.rabbitmq.com/resources/specs/amqp0-9-1.pdf>, sections 2.3 and 4.2; class and method numbers are those of
//! its XML. Whole frames are read, and never one that is larger than [`FRAME_MAX`].

use super::Read;

/// The first bytes of a client.
pub(in crate::check) const HEADER: &[u8] = b"AMQP\x00\x00\x09\x01";
/// The largest frame that is taken, negotiated with the server.
pub const FRAME_MAX: u32 = 32 * 1024;

const METHOD: u8 = 1;
const CONTENT_HEADER: u8 = 2;
const BODY: u8 = 3;
const HEARTBEAT: u8 = 8;
/// A frame's type, channel and size; and its last byte.
const HEAD: usize = 7;
const END: u8 = 0xCE;
/// What a frame of [`FRAME_MAX`] leaves for its payload.
const PAYLOAD_MAX: u32 = FRAME_MAX - 8;

/// One frame, loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// `connection.start`: how one may log in.
    Start {
        /// SASL mechanisms, separated by spaces.
        mechanisms: String,
    },
    /// `connection.tune`: the server's largest frame, 0 for any.
    Tune {
        /// Bytes.
        frame_max: u32,
    },
    /// `connection.close` or `channel.close`: why the server gives up.
    Close {
        /// E.g. 403.
        code: u16,
        /// E.g. `ACCESS_REFUSED - ...`.
        text: String,
    },
    /// `connection.blocked`: the server takes no messages.
    Blocked {
        /// E.g. `low on memory`.
        reason: String,
    },
    /// `basic.get-ok`: a message follows.
    GetOk {
        /// What to acknowledge.
        delivery: u64,
    },
    /// The head of a message's content.
    ContentHeader {
        /// How many bytes follow.
        size: u64,
    },
    /// A part of a message's content.
    Body(Vec<u8>),
    /// Nothing: the connection lives.
    Heartbeat,
    /// Another method, by class and method number.
    Method(u16, u16),
}

/// `connection.open-ok`.
pub(in crate::check) const CONNECTION_OPEN_OK: Frame = Frame::Method(10, 41);
/// `connection.close-ok`.
pub(in crate::check) const CONNECTION_CLOSE_OK: Frame = Frame::Method(10, 51);
/// `channel.open-ok`.
pub(in crate::check) const CHANNEL_OPEN_OK: Frame = Frame::Method(20, 11);
/// `queue.declare-ok`.
pub(in crate::check) const DECLARE_OK: Frame = Frame::Method(50, 11);
/// `basic.get-empty`.
pub(in crate::check) const GET_EMPTY: Frame = Frame::Method(60, 72);

/// The first frame in `bytes`.
pub fn frame(bytes: &[u8]) -> Read<Frame> {
    let strange = || Err("its answer is not AMQP 0-9-1".to_owned());
    // A server that wants another version answers with its own header.
    if bytes
        .first()
        .is_some_and(|kind| !matches!(*kind, METHOD..=BODY | HEARTBEAT))
    {
        return strange();
    }
    let mut reader = Reader(bytes);
    let (Some(kind), Some(_channel), Some(size)) = (reader.u8(), reader.u16(), reader.u32()) else {
        return Ok(None);
    };
    if size > PAYLOAD_MAX {
        return Err(format!("a frame of {size} bytes"));
    }
    let size = usize::try_from(size).unwrap_or(usize::MAX);
    let (Some(payload), Some(end)) = (reader.take(size), reader.u8()) else {
        return Ok(None);
    };
    match decode(kind, payload) {
        Some(frame) if end == END => Ok(Some((frame, HEAD + size + 1))),
        _ => strange(),
    }
}

fn decode(kind: u8, payload: &[u8]) -> Option<Frame> {
    let mut reader = Reader(payload);
    Some(match kind {
        HEARTBEAT => Frame::Heartbeat,
        BODY => Frame::Body(payload.to_vec()),
        CONTENT_HEADER => {
            let (_class, _weight) = (reader.u16()?, reader.u16()?);
            Frame::ContentHeader { size: reader.u64()? }
        }
        _ => match (reader.u16()?, reader.u16()?) {
            (10, 10) => {
                let (_major, _minor) = (reader.u8()?, reader.u8()?);
                let _properties = reader.long()?;
                let mechanisms = text(reader.long()?);
                Frame::Start { mechanisms }
            }
            (10, 30) => {
                let _channels = reader.u16()?;
                let frame_max = reader.u32()?;
                Frame::Tune { frame_max }
            }
            (10, 50) | (20, 40) => {
                let code = reader.u16()?;
                let text = text(reader.short()?);
                Frame::Close { code, text }
            }
            (10, 60) => {
                let reason = text(reader.short()?);
                Frame::Blocked { reason }
            }
            (60, 71) => Frame::GetOk {
                delivery: reader.u64()?,
            },
            (class, method) => Frame::Method(class, method),
        },
    })
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Takes values off the front; `None` when too little is left.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn u8(&mut self) -> Option<u8> {
        self.array().map(u8::from_be_bytes)
    }

    fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_be_bytes)
    }

    /// A short string.
    fn short(&mut self) -> Option<&'a [u8]> {
        let length = self.u8()?;
        self.take(length.into())
    }

    /// A long string, or a table unread.
    fn long(&mut self) -> Option<&'a [u8]> {
        let length = self.u32()?;
        self.take(usize::try_from(length).ok()?)
    }
}

/// The arguments of a method that is sent.
#[derive(Debug, Default)]
struct Writer(Vec<u8>);

impl Writer {
    fn method(class: u16, method: u16) -> Self {
        Self::default().u16(class).u16(method)
    }

    fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    fn u8(self, number: u8) -> Self {
        self.raw(&[number])
    }

    fn u16(self, number: u16) -> Self {
        self.raw(&number.to_be_bytes())
    }

    fn u32(self, number: u32) -> Self {
        self.raw(&number.to_be_bytes())
    }

    fn u64(self, number: u64) -> Self {
        self.raw(&number.to_be_bytes())
    }

    /// A short string; the configuration keeps them within 255 bytes.
    fn short(self, text: &str) -> Self {
        let bytes = text.as_bytes();
        let bytes = bytes.get(..usize::from(u8::MAX)).unwrap_or(bytes);
        self.u8(u8::try_from(bytes.len()).unwrap_or(u8::MAX)).raw(bytes)
    }

    /// A long string or a table.
    fn long(self, bytes: &[u8]) -> Self {
        self.u32(u32::try_from(bytes.len()).unwrap_or(u32::MAX)).raw(bytes)
    }

    fn framed(self, kind: u8, channel: u16) -> Vec<u8> {
        let head = Self::default().u8(kind).u16(channel).long(&self.0);
        head.u8(END).0
    }
}

/// The one channel that is used.
const CHANNEL: u16 = 1;

/// `connection.start-ok`, logging in with SASL PLAIN.
pub(in crate::check) fn start_ok(username: &str, password: &str) -> Vec<u8> {
    let yes = |table: Writer, name: &str| table.short(name).raw(b"t\x01");
    // The first has a refused login explained, the second a server that is low on memory or disk.
    let capabilities = ["authentication_failure_close", "connection.blocked"];
    let capabilities = capabilities.into_iter().fold(Writer::default(), yes);
    let properties = Writer::default()
        .short("product")
        .raw(b"S")
        .long(b"nerve")
        .short("capabilities")
        .raw(b"F")
        .long(&capabilities.0);
    Writer::method(10, 11)
        .long(&properties.0)
        .short("PLAIN")
        .long(format!("\0{username}\0{password}").as_bytes())
        .short("en_US")
        .framed(METHOD, 0)
}

/// `connection.tune-ok`: one channel, no heartbeats; then `connection.open`.
pub(in crate::check) fn tune_ok_and_open(frame_max: u32, vhost: &str) -> Vec<u8> {
    let frame_max = if frame_max == 0 {
        FRAME_MAX
    } else {
        frame_max.min(FRAME_MAX)
    };
    let mut bytes = Writer::method(10, 31)
        .u16(CHANNEL)
        .u32(frame_max)
        .u16(0)
        .framed(METHOD, 0);
    bytes.extend(Writer::method(10, 40).short(vhost).short("").u8(0).framed(METHOD, 0));
    bytes
}

/// `connection.close`.
pub(in crate::check) fn close() -> Vec<u8> {
    Writer::method(10, 50)
        .u16(200)
        .short("")
        .u16(0)
        .u16(0)
        .framed(METHOD, 0)
}

/// `channel.open`.
pub(in crate::check) fn open_channel() -> Vec<u8> {
    Writer::method(20, 10).short("").framed(METHOD, CHANNEL)
}

/// `queue.declare`: neither durable nor exclusive nor deleted by itself, as Go-Nerve declares it.
pub(in crate::check) fn declare(queue: &str) -> Vec<u8> {
    Writer::method(50, 10)
        .u16(0)
        .short(queue)
        .u8(0)
        .long(b"")
        .framed(METHOD, CHANNEL)
}

/// `basic.publish` to the queue itself, with its content. A message that is not fetched expires after a minute.
pub(in crate::check) fn publish(queue: &str, message: &[u8]) -> Vec<u8> {
    const CONTENT_TYPE: u16 = 1 << 15;
    const EXPIRATION: u16 = 1 << 8;
    let mut bytes = Writer::method(60, 40)
        .u16(0)
        .short("")
        .short(queue)
        .u8(0)
        .framed(METHOD, CHANNEL);
    let header = Writer::default()
        .u16(60)
        .u16(0)
        .u64(u64::try_from(message.len()).unwrap_or_default())
        .u16(CONTENT_TYPE | EXPIRATION)
        .short("text/plain")
        .short("60000");
    bytes.extend(header.framed(CONTENT_HEADER, CHANNEL));
    bytes.extend(Writer::default().raw(message).framed(BODY, CHANNEL));
    bytes
}

/// `basic.get`, to be acknowledged.
pub(in crate::check) fn get(queue: &str) -> Vec<u8> {
    Writer::method(60, 70).u16(0).short(queue).u8(0).framed(METHOD, CHANNEL)
}

/// `basic.ack`.
pub(in crate::check) fn ack(delivery: u64) -> Vec<u8> {
    Writer::method(60, 80).u64(delivery).u8(0).framed(METHOD, CHANNEL)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_frame_is_read_when_it_is_whole() {
        let close = Writer::method(10, 50)
            .u16(403)
            .short("ACCESS_REFUSED")
            .framed(METHOD, 0);
        let loaded = Frame::Close {
            code: 403,
            text: "ACCESS_REFUSED".to_owned(),
        };
        assert_eq!(frame(&close), Ok(Some((loaded, close.len()))));
        for length in 0..close.len() {
            assert_eq!(frame(&close[..length]), Ok(None));
        }
    }

    #[test]
    fn what_is_sent_is_framed() {
        assert_eq!(
            ack(7),
            b"\x01\x00\x01\x00\x00\x00\x0d\x00\x3c\x00\x50\0\0\0\0\0\0\0\x07\0\xce"
        );
        let bytes = publish("nerve", b"hello");
        let (first, length) = frame(&bytes).expect("a frame").expect("whole");
        assert_eq!(first, Frame::Method(60, 40));
        let (header, more) = frame(&bytes[length..]).expect("a frame").expect("whole");
        assert_eq!(header, Frame::ContentHeader { size: 5 });
        let (body, _) = frame(&bytes[length + more..]).expect("a frame").expect("whole");
        assert_eq!(body, Frame::Body(b"hello".to_vec()));
    }

    #[test]
    fn other_protocols_and_broken_frames_are_refused() {
        let mut no_end = ack(1);
        *no_end.last_mut().expect("a byte") = 0;
        let cut_short = Writer::method(10, 50).u16(403).framed(METHOD, 0);
        let huge = b"\x01\x00\x00\xff\xff\xff\xff".to_vec();
        for wrong in [no_end, cut_short, huge, HEADER.to_vec(), b"HTTP/1.1".to_vec()] {
            assert!(frame(&wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_frame_is_no_larger_than_was_negotiated() {
        let body = |length: u32| Writer::default().raw(&vec![0; length as usize]).framed(BODY, CHANNEL);
        let largest = body(FRAME_MAX - 8);
        assert_eq!(largest.len(), FRAME_MAX as usize);
        assert!(matches!(frame(&largest), Ok(Some((Frame::Body(_), _)))));
        assert!(frame(&body(FRAME_MAX - 7)).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_frame_or_none(kind in 1_u8..9, bytes: Vec<u8>) {
            let framed = Writer::default().raw(&bytes).framed(kind, 0);
            if let Ok(Some((_, length))) = frame(&framed) {
                prop_assert_eq!(length, framed.len());
            }
            if let Ok(Some((_, length))) = frame(&bytes) {
                prop_assert!(length <= bytes.len());
            }
        }
    }
}
