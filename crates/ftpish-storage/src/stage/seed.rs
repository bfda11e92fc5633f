//! Seeds: a partial file that begins as a copy of a file which is here already, so that only the blocks that differ are
//! transferred.

use std::fs::File;
use std::io::Seek as _;

use super::Stage;
use crate::{Outcome, SourceFile, refuse};

impl Stage {
    /// Makes the partial file a copy of `source`, which shares its blocks where the file system can do that. The copy is
    /// of the open file whose blocks were digested, even if another file has its name by now. A change of that file is an
    /// error.
    pub fn seed(&mut self, source: &SourceFile) -> Outcome<()> {
        let copied = self.seeding(source)?.run()?;
        self.take_up(Some(copied))
    }

    /// [`seed`](Self::seed) as work that another thread can do. Afterwards the stage [takes up](Self::take_up) the bytes
    /// that were copied.
    pub fn seeding(&mut self, source: &SourceFile) -> Outcome<Seeding> {
        self.claim(source.size())?;
        self.is_to_have(source.size());
        self.file.set_len(0).and_then(|()| self.file.rewind()).map_err(refuse)?;
        Ok(Seeding { file: self.file.try_clone().map_err(refuse)?, source: source.try_clone()? })
    }
}

/// The work of copying a file into a [`Stage`].
#[derive(Debug)]
pub struct Seeding {
    file: File,
    source: SourceFile,
}

impl Seeding {
    /// Copies the file, and returns how many bytes it has.
    pub fn run(mut self) -> Outcome<u64> {
        let copied = self.source.copy_to(&mut self.file).map_err(refuse)?;
        self.source.check_unchanged()?;
        Ok(copied)
    }
}
