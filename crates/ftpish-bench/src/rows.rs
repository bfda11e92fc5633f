//! What is measured, and how good it is to be: each number that ftpish was built to reach.

use crate::contenders::{
    CLEAR, Contender, FOUR, FTPISH, Job, LFTP, NGINX, ONE, RSYNC, SCP, SFTP, SOCAT, TAR, VSFTPD,
};
use crate::data::Data;

/// One line of the table.
pub struct Row {
    pub name: &'static str,
    pub verb: Verb,
    pub data: Data,
    pub link: Link,
    /// Who takes part: all who can, but not who needs minutes (scp and lftp for small files on a long link), not twice the
    /// same (lftp and curl for one file), and not FTP through a relay, which its data would pass by.
    pub contenders: &'static [&'static str],
    pub bars: &'static [Bar],
}

/// What is between client and server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// The loopback of this machine.
    Near,
    /// [`ROUND_TRIP_MS`], and [`BYTES_A_SECOND`] for all connections together.
    Far,
    /// As long, and [`BYTES_A_CONNECTION`] for each: a window, loss, or somebody who shapes the traffic is in the way.
    Thin,
}

/// The round trip of a long link in milliseconds: from one coast of a continent to the other.
pub const ROUND_TRIP_MS: u64 = 50;

/// The rate of a long link: 1 Gbit/s.
pub const BYTES_A_SECOND: f64 = 125e6;

/// The rate of each connection where that is what is limited: 200 Mbit/s.
pub const BYTES_A_CONNECTION: f64 = 25e6;

/// The memory that either end may take, in KiB, whatever it moves.
pub const MEMORY_KIB: u64 = 64 * 1024;

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    Get,
    Put,
    /// A second run that finds nothing to do.
    Again,
    /// The same, told by what is in the files.
    Compare,
    List,
}

impl Verb {
    /// How somebody does it, if they can.
    pub fn of(self, contender: &Contender) -> Option<Job> {
        match self {
            Self::Get => contender.get,
            Self::Put => contender.put,
            Self::Again => contender.again,
            Self::Compare => contender.compare,
            Self::List => contender.list,
        }
    }
}

/// What is to be reached.
pub struct Bar {
    /// By whom.
    pub who: &'static str,
    pub goal: Goal,
}

/// How good it is to be.
#[derive(Clone, Copy, Debug)]
pub enum Goal {
    /// So many times as fast as somebody else in the same row.
    TimesAsFast(f64, &'static str),
    /// So many round trips at most, and less than one for all else.
    RoundTrips(u64),
}

const fn bar(who: &'static str, factor: f64, than: &'static str) -> Bar {
    Bar { who, goal: Goal::TimesAsFast(factor, than) }
}

const fn round_trips(who: &'static str, count: u64) -> Bar {
    Bar { who, goal: Goal::RoundTrips(count) }
}

const ONE_FILE: &[Bar] =
    &[bar(FTPISH, 1.0, RSYNC), bar(FTPISH, 2.0, SCP), bar(CLEAR, 1.0, NGINX), bar(CLEAR, 0.5, SOCAT)];
const SMALL_FILES: &[Bar] = &[bar(FTPISH, 1.0, RSYNC), bar(FTPISH, 15.0, SCP), bar(CLEAR, 1.0, TAR)];
const MIXED_FILES: &[Bar] = &[bar(FTPISH, 1.0, RSYNC), bar(FTPISH, 5.0, SCP), bar(CLEAR, 1.0, NGINX)];
const LONG_FILE: &[Bar] =
    &[bar(FTPISH, 0.95, TAR), bar(FTPISH, 3.0, SCP), bar(CLEAR, 0.95, TAR), bar(CLEAR, 3.0, SCP)];

/// What nc takes is the link's own time.
const UNEVEN: &[Bar] = &[bar(FTPISH, 0.9, TAR), bar(CLEAR, 0.9, TAR), bar(FTPISH, 1.0, RSYNC)];

/// A row on a short link, until it is told who takes part.
const fn row(name: &'static str, verb: Verb, data: Data, bars: &'static [Bar]) -> Row {
    Row { name, verb, data, link: Link::Near, contenders: &[], bars }
}

/// All of them, in the order in which they are run and shown.
pub const ROWS: &[Row] = &[
    Row {
        contenders: &[FTPISH, ONE, CLEAR, RSYNC, SCP, NGINX, VSFTPD, TAR, SOCAT],
        ..row("get one file of 1 GiB", Verb::Get, Data::Giant, ONE_FILE)
    },
    Row {
        contenders: &[FTPISH, ONE, CLEAR, RSYNC, SCP, NGINX, VSFTPD, TAR, SOCAT],
        ..row("put one file of 1 GiB", Verb::Put, Data::Giant, ONE_FILE)
    },
    Row {
        contenders: &[FTPISH, ONE, CLEAR, RSYNC, SCP, NGINX, VSFTPD, LFTP, TAR],
        ..row("get 10,000 files of 4 KiB", Verb::Get, Data::Small, SMALL_FILES)
    },
    Row {
        contenders: &[FTPISH, ONE, CLEAR, RSYNC, SCP, NGINX, VSFTPD, LFTP, TAR],
        ..row("put 10,000 files of 4 KiB", Verb::Put, Data::Small, SMALL_FILES)
    },
    Row {
        contenders: &[FTPISH, ONE, CLEAR, RSYNC, SCP, NGINX, VSFTPD, LFTP, TAR],
        ..row("get 3,000 mixed files, 385 MB", Verb::Get, Data::Mixed, MIXED_FILES)
    },
    Row {
        contenders: &[FTPISH, ONE, CLEAR, RSYNC, SCP, NGINX, VSFTPD, LFTP, TAR],
        ..row("put 3,000 mixed files, 385 MB", Verb::Put, Data::Mixed, &[])
    },
    Row {
        contenders: &[FTPISH, CLEAR, RSYNC, LFTP],
        ..row(
            "second run of 10,000 files, nothing changed",
            Verb::Again,
            Data::Small,
            &[bar(FTPISH, 1.0, RSYNC), bar(CLEAR, 1.0, RSYNC)],
        )
    },
    Row {
        contenders: &[FTPISH, CLEAR, RSYNC],
        ..row("second run of 10,000 files by digest, nothing changed", Verb::Compare, Data::Small, &[])
    },
    Row {
        link: Link::Far,
        contenders: &[FTPISH, CLEAR, RSYNC],
        ..row("second run of 10,000 files by digest at 50 ms", Verb::Compare, Data::Small, &[])
    },
    Row {
        contenders: &[FTPISH, CLEAR, RSYNC, SFTP, NGINX, VSFTPD],
        ..row(
            "ls of ten entries",
            Verb::List,
            Data::Ten,
            &[bar(FTPISH, 1.0, VSFTPD), bar(FTPISH, 20.0, SFTP), bar(CLEAR, 1.0, NGINX)],
        )
    },
    Row {
        link: Link::Far,
        contenders: &[FTPISH, CLEAR, RSYNC, SFTP, NGINX],
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
                bar(FTPISH, 1.0, NGINX),
                bar(FTPISH, 1.0, VSFTPD),
                bar(FTPISH, 1.0, RSYNC),
                bar(FTPISH, 1.0, SFTP),
            ],
        )
    },
    Row {
        link: Link::Far,
        contenders: &[FTPISH, CLEAR, RSYNC, NGINX, TAR],
        ..row(
            "get 1,000 files of 4 KiB at 50 ms",
            Verb::Get,
            Data::Thousand,
            &[round_trips(FTPISH, 6), round_trips(CLEAR, 5)],
        )
    },
    Row {
        link: Link::Far,
        contenders: &[FTPISH, CLEAR, RSYNC, NGINX, TAR],
        ..row(
            "put 1,000 files of 4 KiB at 50 ms",
            Verb::Put,
            Data::Thousand,
            &[round_trips(FTPISH, 6), round_trips(CLEAR, 5)],
        )
    },
    Row {
        link: Link::Far,
        contenders: &[FTPISH, CLEAR, RSYNC, SCP, NGINX, TAR],
        ..row("get 200 MiB at 50 ms, 1 Gbit/s", Verb::Get, Data::Medium, LONG_FILE)
    },
    Row {
        link: Link::Far,
        contenders: &[FTPISH, CLEAR, RSYNC, SCP, NGINX, TAR],
        ..row("put 200 MiB at 50 ms, 1 Gbit/s", Verb::Put, Data::Medium, LONG_FILE)
    },
    Row {
        link: Link::Far,
        contenders: &[FTPISH, CLEAR, RSYNC, TAR],
        ..row("get 200 MiB and 2,000 files at 50 ms, 1 Gbit/s", Verb::Get, Data::Uneven, UNEVEN)
    },
    Row {
        link: Link::Far,
        contenders: &[FTPISH, CLEAR, RSYNC, TAR],
        ..row("put 200 MiB and 2,000 files at 50 ms, 1 Gbit/s", Verb::Put, Data::Uneven, UNEVEN)
    },
    Row {
        link: Link::Thin,
        contenders: &[FTPISH, ONE, FOUR, RSYNC],
        ..row("get 200 MiB at 50 ms, 200 Mbit/s a connection", Verb::Get, Data::Medium, &[])
    },
    Row {
        link: Link::Thin,
        contenders: &[FTPISH, ONE, FOUR, RSYNC],
        ..row("put 200 MiB at 50 ms, 200 Mbit/s a connection", Verb::Put, Data::Medium, &[])
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
                assert!(row.contenders.contains(&bar.who), "{}", row.name);
                if let Goal::TimesAsFast(_, theirs) = bar.goal {
                    assert!(row.contenders.contains(&theirs), "{theirs}: {}", row.name);
                }
            }
        }
    }
}
