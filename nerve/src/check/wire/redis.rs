//! Redis' replies, as far as a check needs them: one line each (RESP, <https://redis.io/docs/latest/develop/reference/protocol-spec/>).

use super::{Read, line};

/// One reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// `+OK`
    Simple(String),
    /// `-LOADING Redis is loading the dataset in memory`
    Error(String),
    /// `:1`
    Integer(i64),
}

/// The first reply in `bytes`.
pub fn reply(bytes: &[u8]) -> Read<Reply> {
    if bytes.first().is_some_and(|kind| !b"+-:".contains(kind)) {
        return Err("its answer is not Redis'".to_owned());
    }
    let Some((text, length)) = line(bytes)? else {
        return Ok(None);
    };
    let reply = match (text.get(..1), text.get(1..)) {
        (Some("+"), Some(text)) => Reply::Simple(text.to_owned()),
        (Some("-"), Some(text)) => Reply::Error(text.to_owned()),
        (Some(":"), Some(number)) => match number.parse() {
            Ok(number) => Reply::Integer(number),
            Err(_) => return Err("its answer is not Redis'".to_owned()),
        },
        _ => return Err("its answer is not Redis'".to_owned()),
    };
    Ok(Some((reply, length)))
}

/// A command with its arguments, which may be any text.
pub(in crate::check) fn command(words: &[&str]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        bytes.extend(format!("${}\r\n{word}\r\n", word.len()).into_bytes());
    }
    bytes
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn replies_are_read_one_at_a_time() {
        let whole = |reply, length| Ok(Some((reply, length)));
        assert_eq!(reply(b"+PONG\r\n+O"), whole(Reply::Simple("PONG".to_owned()), 7));
        assert_eq!(reply(b"-ERR no\r\n"), whole(Reply::Error("ERR no".to_owned()), 9));
        assert_eq!(reply(b":-1\r\n"), whole(Reply::Integer(-1), 5));
        assert_eq!(reply(b"+PONG\r"), Ok(None));
        assert_eq!(reply(b""), Ok(None));
        for wrong in [&b"HTTP/1.1 400"[..], b":x\r\n", b"$3\r\nfoo\r\n", b"\xff\xff"] {
            assert!(reply(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn an_argument_cannot_become_a_command() {
        assert_eq!(
            command(&["EXISTS", "a\r\nb"]),
            b"*2\r\n$6\r\nEXISTS\r\n$4\r\na\r\nb\r\n"
        );
    }

    proptest! {
        #[test]
        fn any_bytes_are_an_answer_or_none(bytes: Vec<u8>) {
            if let Ok(Some((_, length))) = reply(&bytes) {
                prop_assert!(length <= bytes.len());
            }
        }
    }
}
