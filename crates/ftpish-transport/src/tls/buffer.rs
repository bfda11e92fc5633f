//! Buffers that TLS records are written into. They grow to what rustls asks for.

use std::io;

use rustls::unbuffered::{EncodeError, EncryptError};

/// Lets `write` put bytes into `buffer` at `at`. If it needs more room, the buffer grows once. Returns how many bytes
/// were written.
pub(super) fn encode<E: Into<Room>>(
    buffer: &mut Vec<u8>,
    at: usize,
    mut write: impl FnMut(&mut [u8]) -> Result<usize, E>,
) -> io::Result<usize> {
    match write(&mut buffer[at..]).map_err(Into::into) {
        Ok(length) => Ok(length),
        Err(Room::Needs(size)) => {
            resize(buffer, at + size)?;
            match write(&mut buffer[at..]).map_err(Into::into) {
                Ok(length) => Ok(length),
                Err(_) => Err(io::Error::other("TLS wants more room than it said")),
            }
        }
        Err(Room::Never) => Err(io::Error::other("the TLS keys of this connection are used up")),
    }
}

/// Makes a buffer larger or smaller. If there is no memory, the connection ends, and not the process.
pub(super) fn resize(buffer: &mut Vec<u8>, size: usize) -> io::Result<()> {
    buffer.try_reserve_exact(size.saturating_sub(buffer.len()))?;
    buffer.resize(size, 0);
    Ok(())
}

/// Why rustls did not write into a buffer: its two error types as one.
pub(super) enum Room {
    /// The buffer is too small: so many bytes are needed.
    Needs(usize),
    /// No buffer would be large enough: nothing more can be written.
    Never,
}

impl From<EncodeError> for Room {
    fn from(error: EncodeError) -> Self {
        match error {
            EncodeError::InsufficientSize(needs) => Self::Needs(needs.required_size),
            EncodeError::AlreadyEncoded => Self::Never,
        }
    }
}

impl From<EncryptError> for Room {
    fn from(error: EncryptError) -> Self {
        match error {
            EncryptError::InsufficientSize(needs) => Self::Needs(needs.required_size),
            EncryptError::EncryptExhausted => Self::Never,
        }
    }
}
