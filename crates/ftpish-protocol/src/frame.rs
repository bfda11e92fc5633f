//! Messages as bytes: a 4-byte big-endian length, then one JSON object. Caps are checked before memory is taken.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{Error, MAX_DEPTH};

/// The bytes of the length before each message and each chunk.
pub(crate) const LENGTH: usize = 4;

/// The length that stands in for a chunk's when the sender gives up: a message with an `error` follows.
pub(crate) const ABORTED: u32 = u32::MAX;

/// Appends `message` to `out` as a frame.
pub(crate) fn encode(message: &impl Serialize, out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(&[0; LENGTH]);
    serde_json::to_writer(&mut *out, message).expect("messages have string keys, and a Vec takes all");
    let length = u32::try_from(out.len() - start - LENGTH).expect("messages are far below 4 GiB");
    out[start..start + LENGTH].copy_from_slice(&length.to_be_bytes());
}

/// The length of the message behind these 4 bytes, if it is within `limit`.
pub(crate) fn header_length(prefix: [u8; LENGTH], limit: usize) -> Result<usize, Error> {
    let length = u32::from_be_bytes(prefix) as usize;
    if length > limit { Err(Error::HeaderTooLarge { length, limit }) } else { Ok(length) }
}

/// What a length before a chunk says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ChunkPrefix {
    Chunk(usize),
    End,
    Aborted,
}

pub(crate) fn chunk_prefix(prefix: [u8; LENGTH]) -> Result<ChunkPrefix, Error> {
    match u32::from_be_bytes(prefix) {
        0 => Ok(ChunkPrefix::End),
        ABORTED => Ok(ChunkPrefix::Aborted),
        length if length as usize > crate::MAX_CHUNK => {
            Err(Error::ChunkTooLarge { length: length as usize, limit: crate::MAX_CHUNK })
        }
        length => Ok(ChunkPrefix::Chunk(length as usize)),
    }
}

/// The JSON of one received message, at most [`MAX_HEADER`](crate::MAX_HEADER) bytes. Decoded once as the envelope, and once
/// more as what the envelope says it is.
#[derive(Clone, Debug)]
pub struct Header(pub(crate) Vec<u8>);

impl Header {
    /// Reads the message as a `T`. Fields that `T` does not know are ignored; one that it knows and that
    /// stands there twice is an error, as is nesting deeper than [`MAX_DEPTH`].
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        if depth(&self.0) > MAX_DEPTH {
            return Err(serde::de::Error::custom("nested too deeply"));
        }
        // serde would take an array, too: its elements as the fields of `T` in their order.
        if self.0.trim_ascii_start().first() != Some(&b'{') {
            return Err(serde::de::Error::custom("not a JSON object"));
        }
        serde_json::from_slice(&self.0)
    }
}

/// How deep arrays and objects nest. serde_json skips unknown fields without recursion, but skips them however
/// deep they are; a peer's nesting is told here, so that the limit is the document's and not a library's.
fn depth(json: &[u8]) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    let (mut in_string, mut escaped) = (false, false);
    for byte in json {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'[' | b'{' if !in_string => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_length_and_json() {
        let mut out = b"before".to_vec();
        encode(&serde_json::json!({"id": 1}), &mut out);
        assert_eq!(out, b"before\0\0\0\x08{\"id\":1}");
    }

    #[test]
    fn caps_are_checked_on_the_length_alone() {
        assert_eq!(header_length([0, 1, 0, 0], crate::MAX_HEADER).unwrap(), 65536);
        assert!(matches!(
            header_length([0, 1, 0, 1], crate::MAX_HEADER),
            Err(Error::HeaderTooLarge { length: 65537, .. })
        ));
        assert_eq!(chunk_prefix([0, 0x10, 0, 0]).unwrap(), ChunkPrefix::Chunk(crate::MAX_CHUNK));
        assert!(matches!(chunk_prefix([0, 0x10, 0, 1]), Err(Error::ChunkTooLarge { .. })));
        assert!(matches!(chunk_prefix([0xff, 0xff, 0xff, 0xfe]), Err(Error::ChunkTooLarge { .. })));
        assert_eq!(chunk_prefix([0xff; 4]).unwrap(), ChunkPrefix::Aborted);
    }

    #[test]
    fn depth_counts_brackets_outside_strings() {
        assert_eq!(depth(br#"{"a":[1,{"b":"[[[\"{{{"}]}"#), 3);
        let bomb = Header("[".repeat(60_000).into_bytes());
        assert_eq!(bomb.decode::<serde_json::Value>().unwrap_err().to_string(), "nested too deeply");
    }

    #[test]
    fn an_array_is_no_message() {
        let decode = |json: &str| Header(json.into()).decode::<crate::message::Envelope>();
        assert_eq!(decode(" {\"id\":1}").unwrap().id, 1);
        for bad in ["[1,true]", "1", "", "null"] {
            assert_eq!(decode(bad).unwrap_err().to_string(), "not a JSON object", "{bad}");
        }
    }
}
