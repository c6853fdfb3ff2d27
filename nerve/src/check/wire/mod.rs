//! What servers answer: plain functions over the bytes received so far.
//!
//! The bytes come from outside: none makes these panic, and what they take in is bounded by [`CAP`].

pub mod amqp;
pub mod grpc;
pub mod memcached;
pub mod redis;
pub mod zookeeper;

/// The longest reply that is read.
pub const CAP: usize = 64 * 1024;

/// The message in the bytes so far and its length, or none yet; an error means that there never will be one.
pub type Read<T> = Result<Option<(T, usize)>, String>;

/// A line that ends with CR LF, as text without them.
pub fn line(bytes: &[u8]) -> Read<String> {
    Ok(bytes.windows(2).position(|end| end == b"\r\n").map(|at| {
        let text = bytes.get(..at).unwrap_or_default();
        (String::from_utf8_lossy(text).into_owned(), at + 2)
    }))
}
