//! What travels: requests and replies, and their fields. Data only.

mod listing;
mod login;
mod names;
mod transfer;

use serde::{Deserialize, Serialize};

pub use self::listing::*;
pub use self::login::*;
pub use self::names::*;
pub use self::transfer::*;
use crate::entry::is_false;
pub use crate::entry::{Entry, Kind, LinkTarget, Mode, Node, Time};
use crate::path::deserialize_bytes;
use crate::{Algorithm, Code, Digest, Header, Refusal, RemotePath};

/// What both ends of a request agree on before its command is looked at.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Envelope {
    /// Chosen by the client, repeated in the reply.
    pub id: u64,
    /// Whether a body follows.
    #[serde(default, skip_serializing_if = "is_false")]
    pub body: bool,
}

/// A request: an envelope around a command.
#[derive(Debug, Serialize)]
pub struct Request<'a> {
    /// The id and whether a body follows.
    #[serde(flatten)]
    pub envelope: Envelope,
    /// What is asked.
    #[serde(flatten)]
    pub command: &'a Command,
}

/// What a client asks for; `cmd` names the variant.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "cmd", rename_all = "lowercase")]
pub enum Command {
    /// The first request of every connection. Answered with [`Welcome`].
    Hello(Hello),
    /// Says who the client is. Answered with [`LoggedIn`].
    Login(Login),
    /// Lists a directory. Answered with a body of one [`Entry`] a line.
    Ls(Ls),
    /// Lists a directory and all that is below it, in walk order. Answered with a body of one [`Node`] a line.
    Tree(Tree),
    /// Describes one name; a link, not what it points at. Answered with [`Stat`].
    Stat(StatArgs),
    /// Sends a file, or a range of it. Answered with [`File`] and a body.
    Get(Get),
    /// Stores the body that follows as a file. Answered with [`Stored`].
    Put(Put),
    /// Makes a directory.
    Mkdir(Mkdir),
    /// Makes a symbolic link.
    Symlink(Symlink),
    /// Gives a file another name besides the one it has.
    Link(Link),
    /// Gives a file or a directory another time and other permission bits.
    Set(Set),
    /// Removes a file, a link, or a directory.
    Rm(Rm),
    /// Renames; an existing file at the new name is replaced.
    Mv(Mv),
    /// Digests a file on the server's disk. Answered with [`Hashed`].
    Hash(Hash),
    /// Tells the space of the file system that holds a path. Answered with [`Space`].
    Df(DfArgs),
    /// Digests the blocks of a file. Answered with [`Cut`] and a body of one block's digest after the other.
    Blocks(BlocksArgs),
    /// Stores a part of a file that is being put over several connections. Answered with [`Done`].
    Part(PartArgs),
    /// Asks what is already here of a file that is about to be put. Answered with [`Cut`] and a body of one block's
    /// digest after the other; the `put` that follows leaves out what need not move.
    Resume(Resume),
    /// A command that this version does not know: answered with `unsupported`.
    #[serde(other, skip_serializing)]
    Unknown,
}

impl Command {
    /// Whether the reply has a body, if it is granted.
    pub fn has_answer_body(&self) -> bool {
        matches!(self, Self::Ls(_) | Self::Tree(_) | Self::Get(_) | Self::Blocks(_) | Self::Resume(_))
    }

    /// Reads the command of a request. A path that breaks the rules, and a digest that is not known here, are
    /// told apart from a message that breaks the rules.
    pub fn decode(header: &Header) -> Result<Self, Refusal> {
        header.decode().map_err(|error| {
            /// Every field of any command that holds a path or names a digest.
            #[derive(Deserialize)]
            struct Suspects {
                path: Option<AnyBytes>,
                from: Option<AnyBytes>,
                to: Option<AnyBytes>,
                after: Option<AnyBytes>,
                backup: Option<AnyBytes>,
                digest: Option<String>,
                hash: Option<String>,
            }
            if let Ok(Suspects { path, from, to, after, backup, digest, hash }) = header.decode() {
                let mut paths = [path, from, to, after, backup].into_iter().flatten();
                let bad = paths.find_map(|path| RemotePath::parse(&path.0).err());
                if let Some(bad) = bad {
                    return Refusal::new(Code::BadPath, bad.to_string());
                }
                if digest.into_iter().chain(hash).any(|name| name.parse::<Algorithm>().is_err()) {
                    return Refusal::new(Code::Unsupported, "this digest is not known here");
                }
            }
            Refusal::new(Code::Malformed, error.to_string())
        })
    }
}

/// Bytes in a name's wire form that need not be a name.
#[derive(Deserialize)]
struct AnyBytes(#[serde(deserialize_with = "deserialize_bytes")] Vec<u8>);

/// A granted request: the envelope, `"ok":true`, and the command's own fields.
#[derive(Debug, Serialize)]
pub struct Granted<'a, T> {
    /// The request's id, and whether a body follows.
    #[serde(flatten)]
    pub envelope: Envelope,
    /// Always true.
    pub ok: bool,
    /// What the command answers.
    #[serde(flatten)]
    pub fields: &'a T,
}

/// The fields of a reply that says no more than `"ok":true`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Done {}

/// A refused request. `id` is `None` where the request was too broken to have one.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Refused {
    /// The request's id.
    pub id: Option<u64>,
    /// Why.
    pub error: Refusal,
}

/// The error that ends an aborted body.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Aborted {
    /// Why.
    pub error: Refusal,
}

/// Sent any number of times before a reply that takes long: the server is at work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Working {
    /// The request's id.
    pub id: u64,
    /// How many bytes are done so far.
    pub working: u64,
}

/// Sent any number of times in place of a request, by a client that can take nothing of a body for a while: it is alive.
/// There is no reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alive {
    /// Always `true`.
    pub alive: bool,
}

/// What any reply may be, as far as it can be told before the command's own fields are looked at.
#[derive(Debug, Deserialize)]
pub struct ReplyEnvelope {
    /// The request's id.
    pub id: Option<u64>,
    /// Whether the request was granted.
    #[serde(default)]
    pub ok: bool,
    /// Whether a body follows.
    #[serde(default)]
    pub body: bool,
    /// Why it was not.
    pub error: Option<Refusal>,
    /// Set where this is not yet the reply, but a [`Working`].
    pub working: Option<u64>,
}

/// What follows a body's last chunk.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Trailer {
    /// How many bytes the body had.
    pub length: u64,
    /// Their digest.
    pub digest: Digest,
    /// How many entries a listing had; absent elsewhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entries: Option<u64>,
    /// The BLAKE3 digest of the whole file, where the body has only ranges of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<Digest>,
    /// The digest of the message in front of the body; of a reply, with the request that it answers in front of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head: Option<Digest>,
}

fn is_zero(value: &u64) -> bool {
    *value == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn refused(json: &str, code: Code, message: &str) {
        let refusal = Command::decode(&Header(json.into())).unwrap_err();
        assert_eq!((refusal.code, refusal.message.as_str()), (code, message), "{json}");
    }

    #[test]
    fn a_request_is_flat_json() {
        let get = Get {
            path: "a/b".parse().unwrap(),
            digest: Algorithm::Md5,
            offset: 0,
            length: None,
            subtree: false,
        };
        let envelope = Envelope { id: 7, body: false };
        let json = serde_json::to_string(&Request { envelope, command: &Command::Get(get.clone()) }).unwrap();
        assert_eq!(json, r#"{"id":7,"cmd":"get","path":"a/b","digest":"md5"}"#);
        assert_eq!(Command::decode(&Header(json.into())).unwrap(), Command::Get(get));
    }

    #[test]
    fn a_login_has_one_proof() {
        let two = [r#","password":"a","ticket":"b""#, r#","signature":"a","ticket":"b""#];
        for fields in ["", two[0], two[1]] {
            let json = format!(r#"{{"id":1,"cmd":"login","user":"ada"{fields}}}"#);
            refused(
                &json,
                Code::Malformed,
                "a login has a password, a ticket or a signature, and one of them alone",
            );
        }
        let twice = r#"{"id":1,"cmd":"login","user":"ada","ticket":"a","ticket":"b"}"#;
        refused(twice, Code::Malformed, "duplicate field `ticket`");
    }

    #[test]
    fn unknown_commands_and_fields_are_no_errors() {
        let decode = |json: &str| Command::decode(&Header(json.into())).unwrap();
        assert_eq!(decode(r#"{"id":1,"cmd":"teleport","to":7}"#), Command::Unknown);
        let stat = decode(r#"{"id":1,"cmd":"stat","path":"a","colour":[1,{}]}"#);
        assert_eq!(stat, Command::Stat(StatArgs { path: "a".parse().unwrap() }));
    }

    #[test]
    fn a_bad_path_is_told_apart_from_a_bad_message() {
        refused(
            r#"{"id":1,"cmd":"stat","path":"a/../b"}"#,
            Code::BadPath,
            "a path cannot have the component `..`",
        );
        refused(
            r#"{"id":1,"cmd":"mv","from":"a","to":"/b"}"#,
            Code::BadPath,
            "a path on the wire is relative to the served root",
        );
        refused(r#"{"id":1,"cmd":"stat"}"#, Code::Malformed, "missing field `path`");
        refused(r#"{"id":1}"#, Code::Malformed, "missing field `cmd` at line 1 column 8");
        refused(r#"{"id":1,"cmd":"stat","path":"a","path":"b"}"#, Code::Malformed, "duplicate field `path`");
    }

    #[test]
    fn an_unknown_digest_is_unsupported_and_not_malformed() {
        let crc = r#"{"id":1,"cmd":"get","path":"a","digest":"crc32"}"#;
        refused(crc, Code::Unsupported, "this digest is not known here");
        let tree = r#"{"id":1,"cmd":"tree","path":"a","digest":"md5","limit":1,"hash":"crc32"}"#;
        refused(tree, Code::Unsupported, "this digest is not known here");
        let missing = r#"{"id":1,"cmd":"get","path":"a"}"#;
        refused(missing, Code::Malformed, "missing field `digest`");
    }

    #[test]
    fn numbers_at_every_boundary_are_refused_or_kept_exactly() {
        let get = |n: &str| {
            let json = format!(r#"{{"id":1,"cmd":"get","path":"a","digest":"md5","offset":{n}}}"#);
            match Command::decode(&Header(json.into())) {
                Ok(Command::Get(get)) => Ok(get.offset),
                other => Err(format!("{other:?}")),
            }
        };
        for good in [0, 1, (1 << 31) - 1, 1 << 31, 1 << 32, 1 << 53, (1 << 53) + 1, 1 << 63, u64::MAX] {
            assert_eq!(get(&good.to_string()).unwrap(), good);
        }
        for bad in ["-1", "1.5", "1e3", "1e400", "18446744073709551616", "\"7\"", "null", "[]", "NaN", "01"] {
            assert!(get(bad).is_err(), "{bad}");
        }
    }
}
