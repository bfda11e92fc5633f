//! `tree`: what is in a directory and below it, in walk order, as much at a time as the client asks for.

use ftpish_protocol::RemotePath;
use ftpish_protocol::message::{Done, Tree};
use ftpish_storage::{Links, Root, Walk};

use crate::exchange::{Exchange, Failure};

/// Where the last listing ended, if there may be more: whoever asks for that goes on there, and no directory is read
/// anew.
#[derive(Debug, Default)]
pub struct Cursor(Option<Place>);

#[derive(Debug)]
struct Place {
    path: RemotePath,
    follow: bool,
    same: bool,
    last: RemotePath,
    walk: Walk,
}

impl Cursor {
    fn walk(&mut self, args: &Tree, root: &Root) -> Result<Walk, Failure> {
        match self.0.take() {
            Some(place)
                if place.path == args.path
                    && (place.follow, place.same) == (args.follow, args.same)
                    && args.after.as_ref() == Some(&place.last) =>
            {
                Ok(place.walk)
            }
            _ => {
                let links = if args.follow { Links::Follow } else { Links::Tell };
                let walk = root.walk(&args.path, links, args.after.as_ref())?;
                Ok(if args.same { walk.telling_same() } else { walk })
            }
        }
    }
}

pub fn run(
    args: &Tree,
    root: &Root,
    cursor: &mut Cursor,
    exchange: &mut Exchange<'_>,
) -> Result<(), Failure> {
    let mut walk = cursor.walk(args, root)?;
    let (mut left, mut last) = (args.limit, None);
    let nodes = std::iter::from_fn(|| {
        left = left.checked_sub(1)?;
        let node = walk.next();
        last = node.as_ref().map(|node| node.path.clone());
        node.map(Ok)
    });
    exchange.grant_with_listing(&Done {}, nodes, args.digest)?;
    // The walk ended where there was no last one.
    if let Some(last) = last {
        let (path, follow, same) = (args.path.clone(), args.follow, args.same);
        cursor.0 = Some(Place { path, follow, same, last, walk });
    }
    Ok(())
}
