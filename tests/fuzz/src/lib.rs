//! What several targets ask of what they read.

use std::fmt::Debug;

use nerve::check::wire::Read;

/// At most so many of the places at which an input may be cut are tried.
const CUTS: usize = 16;

/// Reads a message as a connection does. In whatever pieces the bytes arrive, the result is "not yet" until the message is
/// complete and the same from then on; and nothing beyond the message affects it.
pub fn in_pieces<T: PartialEq + Debug>(bytes: &[u8], read: impl Fn(&[u8]) -> Read<T>) -> Read<T> {
    let whole = read(bytes);
    let (least, most) = match &whole {
        Ok(Some((_, length))) => (*length, *length),
        Ok(None) => (bytes.len() + 1, bytes.len() + 1),
        // That nothing will come of them may show before the end.
        Err(_) => (0, bytes.len()),
    };
    for cut in (0..bytes.len())
        .step_by(bytes.len().div_ceil(CUTS).max(1))
        .chain([most.saturating_sub(1), most])
    {
        let Some(piece) = bytes.get(..cut) else { continue };
        let read = read(piece);
        assert!(
            cut < most && read == Ok(None) || cut >= least && read == whole,
            "{read:?} of {cut} bytes, {whole:?} of all"
        );
    }
    whole
}
