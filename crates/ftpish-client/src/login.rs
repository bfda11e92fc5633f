//! Who to log in as, and what shows it: what can be said at once, and what answers the server's challenge.

use ftpish_protocol::message::{self, Proof};
use ftpish_protocol::{Code, PrivateKey, Refusal, Secret, Statement};
use ftpish_transport::Fingerprint;

use crate::Error;

/// Who to log in as, and by what.
#[derive(Clone, Debug)]
pub struct Login {
    /// The user's name on the server.
    pub user: String,
    /// What only that user has.
    pub by: By,
}

/// What only a user has.
#[derive(Clone, Debug)]
pub enum By {
    /// What that user knows.
    Password(Secret),
    /// What an earlier login was answered with: see [`Client::ticket`](crate::Client::ticket).
    Ticket(Secret),
    /// A key of which the server knows the public half. Its login waits for the reply to `hello`.
    Key(Box<PrivateKey>),
}

impl Login {
    /// The request; or the key that has to sign something of the server's first.
    pub(crate) fn at_once(&self) -> Result<message::Login, &PrivateKey> {
        let proof = match &self.by {
            By::Password(password) => Proof::Password(password.clone()),
            By::Ticket(ticket) => Proof::Ticket(ticket.clone()),
            By::Key(key) => return Err(key),
        };
        Ok(message::Login { user: self.user.clone(), proof })
    }
}

/// The request that answers the challenge of a server that has proven to be `host_key`.
pub(crate) fn sign(
    user: &str,
    key: &PrivateKey,
    challenge: Option<&str>,
    host_key: Option<Fingerprint>,
) -> Result<message::Login, Error> {
    let Some(challenge) = challenge else {
        return Err(Error::Refused(Refusal::new(Code::LoginFailed, "the server takes no keys")));
    };
    let host_key = host_key.map(|key| key.to_string());
    let statement = Statement { challenge, host_key: host_key.as_deref(), user };
    let signature = key.sign(statement).map_err(|error| Error::Protocol(error.to_string()))?;
    Ok(message::Login { user: user.to_owned(), proof: Proof::Signature(signature) })
}
