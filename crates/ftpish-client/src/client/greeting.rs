//! `hello`, the login that may follow, and what the server says to both.

use ftpish_protocol::message::{LoggedIn, Welcome};
use ftpish_protocol::{Code, Connection, Refusal, Secret, VERSION};
use ftpish_transport::Stream;

use super::Timeouts;
use super::reply::receive_reply;
use crate::{Error, Progress};

/// Where the exchange of `hello` stands.
pub(crate) enum Greeting {
    /// Sent with this id, and then perhaps a login with that one; the replies not yet read.
    Sent(u64, Option<u64>),
    /// Answered, because the login with this id could not be sent before.
    Welcomed(Welcome, u64),
    /// Answered; the login perhaps with a ticket.
    Done(Welcome, Option<Secret>),
}

pub(super) fn receive_welcome(
    connection: &mut Connection<Stream>,
    timeouts: &Timeouts,
    id: u64,
) -> Result<Welcome, Error> {
    let welcome: Welcome = receive_reply(connection, timeouts, id, false, &Progress::default())?;
    if welcome.version != VERSION {
        return Err(Error::Protocol(format!("it speaks version {} of it", welcome.version)));
    }
    if !welcome.features.iter().any(|feature| feature == "alive") {
        connection.hold_alive_back();
    }
    Ok(welcome)
}

impl Greeting {
    /// Reads the reply to `hello`, unless it was read before.
    pub(crate) fn receive(
        &mut self,
        connection: &mut Connection<Stream>,
        timeouts: &Timeouts,
    ) -> Result<(), Error> {
        let (welcome, login) = match self {
            Self::Done(..) => return Ok(()),
            Self::Sent(id, login) => (receive_welcome(connection, timeouts, *id)?, *login),
            Self::Welcomed(welcome, login) => (welcome.clone(), Some(*login)),
        };
        let ticket = match login {
            Some(id) => {
                receive_reply::<LoggedIn>(connection, timeouts, id, false, &Progress::default())?.ticket
            }
            None if welcome.login => {
                return Err(Error::Refused(Refusal::new(Code::LoginRequired, "the server wants a login")));
            }
            None => None,
        };
        *self = Self::Done(welcome, ticket);
        Ok(())
    }

    pub(crate) fn is_done(&self) -> bool {
        matches!(self, Self::Done(..))
    }
}
