//! What is measured, and how good it is to be: each number that ftpish was built to reach.

use crate::contenders::{CLEAR, Contender, FTPISH, Job, LFTP, NGINX, RSYNC, SCP, SFTP, SOCAT, TAR, VSFTPD};
use crate::data::Data;

/// One line of the table.
pub struct Row {
    pub name: &'static str,
    pub verb: Verb,
    pub data: Data,
    /// Whether the link is long: [`ROUND_TRIP_MS`] and [`BYTES_A_SECOND`].
    pub far: bool,
    /// Who takes part.
    pub contenders: &'static [&'static str],
    /// Who takes part only where minutes do not matter.
    pub slow: &'static [&'static str],
    pub bars: &'static [Bar],
}

/// The round trip of a long link in milliseconds: from one coast of a continent to the other.
pub const ROUND_TRIP_MS: u64 = 50;

/// The rate of a long link: 1 Gbit/s.
pub const BYTES_A_SECOND: f64 = 125e6;

/// The memory that either end may take, in KiB, whatever it moves.
pub const MEMORY_KIB: u64 = 64 * 1024;

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    Get,
    Put,
    /// A second run that finds nothing to do.
    Again,
    List,
}

impl Verb {
    /// How somebody does it, if they can.
    pub fn of(self, contender: &Contender) -> Option<Job> {
        match self {
            Self::Get => contender.get,
            Self::Put => contender.put,
            Self::Again => contender.again,
            Self::List => contender.list,
        }
    }
}

/// What a number must not exceed.
pub struct Bar {
    /// Whose number.
    pub ours: &'static str,
    pub limit: Limit,
}

/// How much.
#[derive(Clone, Copy, Debug)]
pub enum Limit {
    /// So many times somebody else's time in the same row.
    Times(f64, &'static str),
    /// So many round trips, and less than one for all else.
    RoundTrips(u64),
}

const fn times(ours: &'static str, factor: f64, theirs: &'static str) -> Bar {
    Bar { ours, limit: Limit::Times(factor, theirs) }
}

const fn round_trips(ours: &'static str, count: u64) -> Bar {
    Bar { ours, limit: Limit::RoundTrips(count) }
}

const ONE_FILE: &[Bar] =
    &[times(FTPISH, 1.0, RSYNC), times(FTPISH, 0.5, SCP), times(CLEAR, 1.0, NGINX), times(CLEAR, 2.0, SOCAT)];
const SMALL_FILES: &[Bar] =
    &[times(FTPISH, 1.0, RSYNC), times(FTPISH, 1.0 / 15.0, SCP), times(CLEAR, 1.0, TAR)];
const MIXED_FILES: &[Bar] = &[times(FTPISH, 1.0, RSYNC), times(FTPISH, 0.2, SCP), times(CLEAR, 1.0, NGINX)];
const LONG_FILE: &[Bar] = &[
    times(FTPISH, 1.05, TAR),
    times(FTPISH, 1.0 / 3.0, SCP),
    times(CLEAR, 1.05, TAR),
    times(CLEAR, 1.0 / 3.0, SCP),
];

/// A row with nobody left out.
const fn row(name: &'static str, verb: Verb, data: Data, bars: &'static [Bar]) -> Row {
    Row { name, verb, data, far: false, contenders: &[], slow: &[], bars }
}

/// All of them, in the order in which they are run and shown.
pub const ROWS: &[Row] = &[
    Row {
        contenders: &[FTPISH, CLEAR, RSYNC, SCP, NGINX, VSFTPD, TAR, SOCAT],
        ..row("get one file of 1 GiB", Verb::Get, Data::Giant, ONE_FILE)
    },
    Row {
        contenders: &[FTPISH, CLEAR, RSYNC, SCP, NGINX, VSFTPD, TAR, SOCAT],
        ..row("put one file of 1 GiB", Verb::Put, Data::Giant, ONE_FILE)
    },
    Row {
        contenders: &[FTPISH, CLEAR, RSYNC, SCP, NGINX, VSFTPD, LFTP, TAR],
        ..row("get 10,000 files of 4 KiB", Verb::Get, Data::Small, SMALL_FILES)
    },
    Row {
        contenders: &[FTPISH, CLEAR, RSYNC, SCP, NGINX, LFTP, TAR],
        ..row("put 10,000 files of 4 KiB", Verb::Put, Data::Small, SMALL_FILES)
    },
    Row {
        contenders: &[FTPISH, CLEAR, RSYNC, SCP, NGINX, VSFTPD, LFTP, TAR],
        ..row("get 3,000 mixed files, 385 MB", Verb::Get, Data::Mixed, MIXED_FILES)
    },
    Row {
        contenders: &[FTPISH, CLEAR, RSYNC, SCP, NGINX, LFTP, TAR],
        ..row("put 3,000 mixed files, 385 MB", Verb::Put, Data::Mixed, &[])
    },
    Row {
        contenders: &[FTPISH, CLEAR, RSYNC, LFTP],
        ..row(
            "second run of 10,000 files, nothing changed",
            Verb::Again,
            Data::Small,
            &[times(FTPISH, 1.0, RSYNC), times(CLEAR, 1.0, RSYNC)],
        )
    },
    Row {
        contenders: &[FTPISH, CLEAR, RSYNC, SFTP, NGINX, VSFTPD],
        ..row(
            "ls of ten entries",
            Verb::List,
            Data::Ten,
            &[times(FTPISH, 1.0, VSFTPD), times(FTPISH, 0.05, SFTP), times(CLEAR, 1.0, NGINX)],
        )
    },
    Row {
        far: true,
        contenders: &[FTPISH, CLEAR, RSYNC, SFTP, NGINX, VSFTPD],
        ..row(
            "ls of ten entries at 50 ms",
            Verb::List,
            Data::Ten,
            &[round_trips(FTPISH, 3), round_trips(CLEAR, 2)],
        )
    },
    Row {
        contenders: &[FTPISH, CLEAR, RSYNC, SFTP, NGINX, VSFTPD],
        ..row(
            "ls of 100,000 entries",
            Verb::List,
            Data::Many,
            &[
                times(FTPISH, 1.0, NGINX),
                times(FTPISH, 1.0, VSFTPD),
                times(FTPISH, 1.0, RSYNC),
                times(FTPISH, 1.0, SFTP),
            ],
        )
    },
    Row {
        far: true,
        contenders: &[FTPISH, CLEAR, RSYNC, SCP, NGINX, LFTP, TAR],
        slow: &[SCP, LFTP],
        ..row(
            "get 1,000 files of 4 KiB at 50 ms",
            Verb::Get,
            Data::Thousand,
            &[round_trips(FTPISH, 6), round_trips(CLEAR, 5)],
        )
    },
    Row {
        far: true,
        contenders: &[FTPISH, CLEAR, RSYNC, SCP, NGINX, LFTP, TAR],
        slow: &[SCP, LFTP],
        ..row(
            "put 1,000 files of 4 KiB at 50 ms",
            Verb::Put,
            Data::Thousand,
            &[round_trips(FTPISH, 6), round_trips(CLEAR, 5)],
        )
    },
    Row {
        far: true,
        contenders: &[FTPISH, CLEAR, RSYNC, SCP, NGINX, VSFTPD, TAR],
        ..row("get 200 MiB at 50 ms, 1 Gbit/s", Verb::Get, Data::Medium, LONG_FILE)
    },
    Row {
        far: true,
        contenders: &[FTPISH, CLEAR, RSYNC, SCP, NGINX, VSFTPD, TAR],
        ..row("put 200 MiB at 50 ms, 1 Gbit/s", Verb::Put, Data::Medium, LONG_FILE)
    },
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contenders::named;

    #[test]
    fn everybody_can_do_what_they_are_compared_in() {
        for row in ROWS {
            for name in row.contenders {
                assert!(row.verb.of(named(name)).is_some(), "{name}: {}", row.name);
            }
            for bar in row.bars {
                assert!(row.contenders.contains(&bar.ours), "{}", row.name);
                if let Limit::Times(_, theirs) = bar.limit {
                    assert!(row.contenders.contains(&theirs), "{theirs}: {}", row.name);
                }
            }
        }
    }
}
