//! Memcached's text protocol (<https://github.com/memcached/memcached/blob/master/doc/protocol.txt>).

use std::collections::BTreeMap;

use super::{Read, line};

/// The reply to `stats`: `STAT name value` lines up to `END`.
pub fn statistics(bytes: &[u8]) -> Read<BTreeMap<String, String>> {
    let (mut map, mut at) = (BTreeMap::new(), 0);
    while let Some((text, length)) = line(bytes.get(at..).unwrap_or_default())? {
        at += length;
        let mut words = text.splitn(3, ' ');
        match (words.next(), words.next()) {
            (Some("END"), None) => return Ok(Some((map, at))),
            (Some("STAT"), Some(name)) => {
                map.insert(name.to_owned(), words.next().unwrap_or_default().to_owned());
            }
            _ => return Err(format!("`stats` was answered: {text}")),
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn statistics_end_with_end() {
        let bytes = b"STAT pid 7\r\nSTAT version 1.6 x\r\nSTAT empty \r\nEND\r\nrest";
        let (map, length) = statistics(bytes).expect("well-formed").expect("whole");
        assert_eq!(length, bytes.len() - 4);
        assert_eq!(map["version"], "1.6 x");
        assert_eq!((map["pid"].as_str(), map["empty"].as_str()), ("7", ""));
        assert_eq!(statistics(b"STAT pid 7\r\nEND"), Ok(None));
        assert!(statistics(b"CLIENT_ERROR unauthenticated\r\n").is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_an_answer_or_none(bytes: Vec<u8>) {
            if let Ok(Some((_, length))) = statistics(&bytes) {
                prop_assert!(length <= bytes.len());
            }
        }
    }
}
