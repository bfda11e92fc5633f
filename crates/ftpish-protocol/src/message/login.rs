//! Who the two ends are: `hello` and `login`.

use serde::{Deserialize, Serialize};

use crate::Secret;

/// Who the client is and what it knows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Hello {
    /// The protocol version it speaks: [`VERSION`](crate::VERSION).
    pub version: u32,
    /// Its name and version, for logs.
    #[serde(default)]
    pub agent: String,
}

/// Who the server is and what it knows: the reply to `hello`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Welcome {
    /// The protocol version it speaks.
    pub version: u32,
    /// Its name and version.
    pub agent: String,
    /// The names of the digests it knows, the preferred one first. `md5` is always among them.
    pub digests: Vec<String>,
    /// The commands it knows.
    pub commands: Vec<String>,
    /// The extensions it knows, of those that [`FEATURES`](crate::FEATURES) lists: a client uses no other.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub features: Vec<String>,
    /// Whether a login is needed before anything else.
    pub login: bool,
    /// What a login by key signs, along with others: see [`Statement`](crate::Statement). Another one on each connection;
    /// none where nobody can log in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub challenge: Option<String>,
}

/// The arguments of `login`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "LoginFields", into = "LoginFields")]
pub struct Login {
    /// Who the client says to be.
    pub user: String,
    /// What shows it.
    pub proof: Proof,
}

/// What only a user has.
#[derive(Clone, Debug, PartialEq)]
pub enum Proof {
    /// What that user knows.
    Password(Secret),
    /// What the server answered an earlier login with: see [`LoggedIn::ticket`].
    Ticket(Secret),
    /// What that user's key says to the server's challenge: see [`PrivateKey::sign`](crate::PrivateKey::sign).
    Signature(String),
}

impl Proof {
    /// What it is called, for logs.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Password(_) => "password",
            Self::Ticket(_) => "ticket",
            Self::Signature(_) => "key",
        }
    }
}

/// A [`Login`] as it is on the wire: one field for each kind of proof.
#[derive(Serialize, Deserialize)]
struct LoginFields {
    user: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    password: Option<Secret>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ticket: Option<Secret>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    signature: Option<String>,
}

impl TryFrom<LoginFields> for Login {
    type Error = &'static str;

    fn try_from(LoginFields { user, password, ticket, signature }: LoginFields) -> Result<Self, Self::Error> {
        let proof = match (password, ticket, signature) {
            (Some(password), None, None) => Proof::Password(password),
            (None, Some(ticket), None) => Proof::Ticket(ticket),
            (None, None, Some(signature)) => Proof::Signature(signature),
            _ => return Err("a login has a password, a ticket or a signature, and one of them alone"),
        };
        Ok(Self { user, proof })
    }
}

impl From<Login> for LoginFields {
    fn from(Login { user, proof }: Login) -> Self {
        let none = Self { user, password: None, ticket: None, signature: None };
        match proof {
            Proof::Password(password) => Self { password: Some(password), ..none },
            Proof::Ticket(ticket) => Self { ticket: Some(ticket), ..none },
            Proof::Signature(signature) => Self { signature: Some(signature), ..none },
        }
    }
}

/// The reply to `login`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LoggedIn {
    /// Who the client now is.
    pub user: String,
    /// What logs the same user in on other connections for some minutes, in place of a password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ticket: Option<Secret>,
}
