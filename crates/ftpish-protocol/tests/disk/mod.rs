//! A partial file in memory.

use std::io;
use std::ops::Range;

use ftpish_protocol::blocks::WriteAt;

/// What a file that is on its way in holds so far. It does not grow.
pub(crate) struct Disk(pub(crate) Vec<u8>);

impl Disk {
    /// `file`, with other bytes where `ranges` are.
    pub(crate) fn without(file: &[u8], ranges: &[Range<u64>]) -> Self {
        let mut bytes = file.to_vec();
        ranges.iter().for_each(|range| bytes[indices(range)].fill(b'?'));
        Self(bytes)
    }

    /// The bytes of `ranges`, one after the other: as they travel.
    pub(crate) fn gathered(file: &[u8], ranges: &[Range<u64>]) -> Vec<u8> {
        ranges.iter().flat_map(|range| &file[indices(range)]).copied().collect()
    }
}

impl WriteAt for Disk {
    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let range = indices(&(offset..offset + bytes.len() as u64));
        let place = self.0.get_mut(range).ok_or(io::ErrorKind::StorageFull)?;
        place.copy_from_slice(bytes);
        Ok(())
    }
}

fn indices(range: &Range<u64>) -> Range<usize> {
    usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap()
}
