//! Names that hold the content, as Airbnb's nerve makes them with `use_path_encoding`: `base64_<length>_<content>_`,
//! followed by a sequence number. A listing of the names contains the data of the nodes. Pure.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE;

/// Greatest length of encoded content in a name, as in Airbnb's nerve.
const MAX_NAME_LEN: usize = 65_536;

/// Returns the name of `content`, up to the sequence number; `None` when it is too long for a name.
pub fn encode(content: &[u8]) -> Option<String> {
    let encoded = URL_SAFE.encode(content);
    (encoded.len() <= MAX_NAME_LEN).then(|| format!("base64_{}_{encoded}_", encoded.len()))
}

/// Returns the content in an encoded name, with anything after it.
pub fn decode(name: &str) -> Option<Vec<u8>> {
    let (length, rest) = name.strip_prefix("base64_")?.split_once('_')?;
    let encoded = rest.get(..length.parse().ok().filter(|length| *length <= MAX_NAME_LEN)?)?;
    URL_SAFE.decode(encoded).ok()
}

/// Returns the number that ZooKeeper has appended to a sequential node's name, after its last `_`.
pub fn sequence(name: &str) -> Option<u64> {
    name.rsplit_once('_').and_then(|(_, digits)| number(digits))
}

/// Returns the number that `digits`, and nothing else, are.
pub fn number(digits: &str) -> Option<u64> {
    let is_number = digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse().ok().filter(|_| is_number)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_number_behind_a_name() {
        for (name, number) in [
            ("i-x_0000000005", Some(5)),
            ("base64_4_e30=_0000000003", Some(3)),
            ("i-x_60da", None),
            ("noseq", None),
            ("neg_-5", None),
            ("a_", None),
            ("a_99999999999999999999999", None),
        ] {
            assert_eq!(sequence(name), number, "{name}");
        }
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(content in prop::collection::vec(any::<u8>(), 0..300), number in 0..i32::MAX) {
            let name = encode(&content).expect("short enough");
            prop_assert_eq!(decode(&format!("{name}{number:010}")), Some(content));
        }

        #[test]
        fn no_name_panics(name in "\\PC*|base64_[0-9]{0,6}_\\PC{0,20}") {
            let _outcome = decode(&name);
            let _outcome = sequence(&name);
        }
    }
}
