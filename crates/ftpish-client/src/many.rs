//! Several files in one call, each on its way without waiting for the one before it.

use crate::download::local_target;
use crate::pipeline::{Answer, Pipeline};
use crate::{Client, Download, Error, Progress, Transferred, Upload};

impl Client {
    /// Stores files without a round trip for each, and tells the `outcome` of every one: of those that were sent in
    /// their order. Where the connection breaks, that is the outcome of all that were not acknowledged by then; each of
    /// them is on the server as a whole, or not at all.
    pub fn upload_many(
        &mut self,
        uploads: impl IntoIterator<Item = Upload>,
        progress: &Progress,
        outcome: &mut dyn FnMut(Upload, Result<Transferred, Error>),
    ) {
        let mut all = Pipeline::new(self, progress, 0);
        for upload in uploads {
            all.put(upload.clone(), &upload);
            all.tell(outcome);
        }
        all.drain();
        all.tell(outcome);
    }

    /// Fetches files as [`download`](Self::download) does, but without a round trip for each, and with nothing that is
    /// here already taken into account. Tells the `outcome` of every one. Where the connection breaks, that is the
    /// outcome of all that had not come by then.
    pub fn download_many(
        &mut self,
        downloads: impl IntoIterator<Item = Download>,
        progress: &Progress,
        outcome: &mut dyn FnMut(Download, Result<Transferred, Error>),
    ) {
        let mut all = Pipeline::new(self, progress, 0);
        for download in downloads {
            match local_target(&download.to, download.sync) {
                Ok((root, name)) => all.get(download.clone(), download, root, name),
                Err(error) => outcome(download, Err(error)),
            }
            all.tell(outcome);
        }
        all.drain();
        all.tell(outcome);
    }
}

impl<T> Pipeline<'_, T> {
    /// Waits for replies until there is room for another request, and passes on what became of the files.
    fn tell(&mut self, outcome: &mut dyn FnMut(T, Result<Transferred, Error>)) {
        while self.is_full() {
            self.receive();
        }
        while let Some((tag, answer)) = self.answer() {
            let moved = answer.map(|answer| match answer {
                Answer::Moved(done) => done,
                answer => unreachable!("a file came to {answer:?}"),
            });
            outcome(tag, moved);
        }
    }
}
