//! The names in a directory, all read at once and sorted. A walk holds those of one directory a level, so they are held
//! as bytes in one buffer.

use std::io;
use std::os::unix::ffi::OsStrExt as _;

use cap_std::fs::Dir;

use crate::partial::is_partial;

/// The names in a directory, sorted. Each takes a few bytes more than its length.
#[derive(Debug, Default)]
pub(super) struct Names {
    bytes: Vec<u8>,
    /// Where each begins in `bytes`, and its length: at most 255 on any file system.
    places: Vec<(u32, u16)>,
    /// The index of the next name.
    next: usize,
    /// Whether names were left out because they are too long.
    pub(super) left_out: bool,
}

impl Names {
    /// Reads the names in a directory. Those of partial files are left out, and those of more than `room` bytes.
    pub(super) fn of(dir: &Dir, room: usize) -> io::Result<Self> {
        let mut names = Self::default();
        for found in dir.entries()? {
            let name = found?.file_name();
            let name = name.as_bytes();
            if is_partial(name) {
                continue;
            }
            match (u32::try_from(names.bytes.len()), u16::try_from(name.len())) {
                (Ok(start), Ok(length)) if name.len() <= room => {
                    names.bytes.extend_from_slice(name);
                    names.places.push((start, length));
                }
                _ => names.left_out = true,
            }
        }
        let Self { bytes, places, .. } = &mut names;
        places.sort_unstable_by(|a, b| name_at(bytes, *a).cmp(name_at(bytes, *b)));
        names.bytes.shrink_to_fit();
        names.places.shrink_to_fit();
        Ok(names)
    }

    /// Continues behind `name`. Returns whether that name is there.
    pub(super) fn skip_to(&mut self, name: &[u8]) -> bool {
        let found = self.places.binary_search_by(|place| name_at(&self.bytes, *place).cmp(name));
        self.next = found.map_or_else(|at| at, |at| at + 1);
        found.is_ok()
    }

    /// The next name.
    pub(super) fn next(&mut self) -> Option<Vec<u8>> {
        let place = *self.places.get(self.next)?;
        self.next += 1;
        Some(name_at(&self.bytes, place).to_vec())
    }
}

fn name_at(bytes: &[u8], (start, length): (u32, u16)) -> &[u8] {
    &bytes[start as usize..start as usize + usize::from(length)]
}
