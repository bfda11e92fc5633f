//! What travels: requests and replies, and their fields. Data only.

use serde::{Deserialize, Serialize};

pub use crate::entry::{Entry, Kind, LinkTarget, Mode, Node, Time};
use crate::path::deserialize_bytes;
use crate::{Algorithm, Code, Digest, Header, Refusal, RemotePath, Secret};

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
    Stat(PathArgs),
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
    Df(PathArgs),
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

/// The arguments of a command that takes a path alone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PathArgs {
    /// What it is about.
    pub path: RemotePath,
}

/// The arguments of `ls`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ls {
    /// The directory.
    pub path: RemotePath,
    /// The digest of the listing's trailer.
    pub digest: Algorithm,
}

/// The arguments of `tree`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tree {
    /// The directory, or a file, which is a tree of one.
    pub path: RemotePath,
    /// The digest of the listing's trailer.
    pub digest: Algorithm,
    /// Begin behind this path, relative to `path`, in walk order; at the top where absent. It need not exist.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<RemotePath>,
    /// The most nodes wanted. Fewer are all that there are.
    pub limit: u64,
    /// Describe what links stand for, and go into directories through them, as long as they stay inside.
    #[serde(default, skip_serializing_if = "is_false")]
    pub follow: bool,
    /// Tell of a file that was met under another name before: see [`Node::same`].
    #[serde(default, skip_serializing_if = "is_false")]
    pub same: bool,
    /// Tell only that there is something, where another file system is mounted: see [`Node::mount`].
    #[serde(default, skip_serializing_if = "is_false")]
    pub one_file_system: bool,
    /// Tell the digests of small files in this algorithm: see [`Node::digest`]. Servers that know nothing of it tell none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hash: Option<Algorithm>,
}

/// The largest file whose digest a listing of a tree tells, in bytes. What is larger is worth a request of its own, which
/// can be told that its work goes on; a listing cannot.
pub const MAX_LISTED_DIGEST: u64 = 1024 * 1024;

/// The arguments of `get`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Get {
    /// The file.
    pub path: RemotePath,
    /// The digest of the trailer.
    pub digest: Algorithm,
    /// The first byte wanted.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub offset: u64,
    /// How many bytes are wanted; to the end where absent. More than there are is `bad-range`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub length: Option<u64>,
    /// The range is a subtree of the file's BLAKE3 tree, and its chaining value is to be the trailer's digest.
    #[serde(default, skip_serializing_if = "is_false")]
    pub subtree: bool,
}

/// The reply to `get`, before the body.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct File {
    /// The whole file's size in bytes.
    pub size: u64,
    /// How many bytes the body has.
    pub length: u64,
    /// When the file was last modified.
    pub mtime: Time,
    /// Its permission bits.
    pub mode: Mode,
    /// Whether it has holes, so that its zeros are better not written.
    #[serde(default, skip_serializing_if = "is_false")]
    pub sparse: bool,
    /// What tells the file from others that have, or had, its name: the same as long as it is the same file, opaque.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    /// Whether the trailer's digest is a chaining value, as was asked: servers that know of none say nothing.
    #[serde(default, skip_serializing_if = "is_false")]
    pub subtree: bool,
}

/// The arguments of `put`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Put {
    /// The name to store under.
    pub path: RemotePath,
    /// The digest of the trailer.
    pub digest: Algorithm,
    /// How many bytes the body has, where it is known beforehand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// The modification time to give the file; the time of arrival where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtime: Option<Time>,
    /// The permission bits to give a new file, as far as the server lets new files have them; its default where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
    /// Whether the file gets the very bits of `mode`, also if it replaces one.
    #[serde(default, skip_serializing_if = "is_false")]
    pub exact: bool,
    /// What may be replaced.
    #[serde(default, skip_serializing_if = "Replace::is_always")]
    pub replace: Replace,
    /// What the existing file must have for a digest to be replaced: refused with `changed` otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expect: Option<Digest>,
    /// Whether the file has holes, so that its zeros are better not written.
    #[serde(default, skip_serializing_if = "is_false")]
    pub sparse: bool,
    /// Behind a `resume`: which `[start, end]` of the file the body has, in order; the rest is here already. Each
    /// begins and ends with a block.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ranges: Option<Vec<(u64, u64)>>,
    /// Where what is replaced is kept, in place of being lost: it gets this name in the same step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backup: Option<RemotePath>,
}

/// The most ranges of one `put`: what a message has room for.
pub const MAX_RANGES: usize = 1000;

/// The arguments of `blocks`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BlocksArgs {
    /// The file.
    pub path: RemotePath,
    /// Only blocks that lie wholly within so many bytes; all of them where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub length: Option<u64>,
}

/// The arguments of `resume`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Resume {
    /// The name that the file is to be put under.
    pub path: RemotePath,
    /// Its size in bytes.
    pub size: u64,
    /// Its modification time.
    pub mtime: Time,
    /// Take the file that has the name for what is here already, even if it is not the same by size and time.
    #[serde(default, skip_serializing_if = "is_false")]
    pub repair: bool,
    /// What may be replaced.
    #[serde(default, skip_serializing_if = "Replace::is_always")]
    pub replace: Replace,
    /// The file is to be put in parts, perhaps over several connections.
    #[serde(default, skip_serializing_if = "is_false")]
    pub parts: bool,
    /// Parts follow without waiting for the reply: refused with `ask-first` where anything is here already, or it takes
    /// time to know.
    #[serde(default, skip_serializing_if = "is_false")]
    pub ahead: bool,
}

/// The arguments of `part`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PartArgs {
    /// The name that the file is being put under.
    pub path: RemotePath,
    /// What the reply to `resume` named the upload; where absent, it is that of this very connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upload: Option<Secret>,
    /// Where the part begins.
    pub offset: u64,
    /// How many bytes it has.
    pub length: u64,
    /// How often it was sent before, to no avail as far as the client knows.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub attempt: u64,
}

/// A file cut into blocks: the reply to `blocks` and to `resume`, before the body.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cut {
    /// The whole file's size in bytes.
    pub size: u64,
    /// When the file was last modified.
    pub mtime: Time,
    /// The size of a block in bytes: a power of two, at least [`MIN_BLOCK`](crate::blocks::MIN_BLOCK).
    pub block: u64,
    /// How many bytes the body has: [`BLOCK_DIGEST`](crate::blocks::BLOCK_DIGEST) a block.
    pub length: u64,
    /// What tells the file from others that have, or had, its name: the same as long as it is the same file, opaque.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    /// In the reply to `resume`, what parts of the file are to name, if it is to come in parts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upload: Option<Secret>,
    /// In the reply to `resume`, that parts which were sent ahead of it are taken: servers that know nothing of that say
    /// nothing.
    #[serde(default, skip_serializing_if = "is_false")]
    pub ahead: bool,
}

/// Whether a `put` or `mv` may replace an existing file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Replace {
    /// Whatever is there.
    #[default]
    Always,
    /// Nothing: refused with `exists`.
    Never,
    /// Only a file that was modified earlier: refused with `not-newer`.
    Older,
}

impl Replace {
    fn is_always(&self) -> bool {
        *self == Self::Always
    }
}

/// The reply to `put`: the bytes are verified, durable and under their name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Stored {
    /// How many bytes were stored.
    pub size: u64,
    /// Their digest, as the server computed it.
    pub digest: Digest,
    /// What the file did not get besides its bytes.
    #[serde(default, skip_serializing_if = "Unset::is_none")]
    pub unset: Unset,
}

/// What was asked for besides the bytes of a file, and its file system does not keep. The bytes are stored all the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unset {
    /// The modification time: it is refused, or another one is read back.
    #[serde(default, skip_serializing_if = "is_false")]
    pub mtime: bool,
    /// The permission bits.
    #[serde(default, skip_serializing_if = "is_false")]
    pub mode: bool,
}

impl Unset {
    /// Whether the file has all that it was to get.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

/// The reply to `set`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WasSet {
    /// What of it could not be set.
    #[serde(default, skip_serializing_if = "Unset::is_none")]
    pub unset: Unset,
}

/// The arguments of `mkdir`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Mkdir {
    /// The directory to make.
    pub path: RemotePath,
    /// Make missing parents too, and do not mind if it exists.
    #[serde(default, skip_serializing_if = "is_false")]
    pub parents: bool,
    /// The permission bits to give it, as far as the server lets new directories have them; the owner's are all set, so that
    /// it can be filled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
}

/// The arguments of `symlink`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Symlink {
    /// The link to make.
    pub path: RemotePath,
    /// What it holds.
    pub target: LinkTarget,
    /// `always`, which replaces a file or a link, or `never`.
    #[serde(default, skip_serializing_if = "Replace::is_always")]
    pub replace: Replace,
    /// Where what is replaced is kept, in place of being lost: it gets this name in the same step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backup: Option<RemotePath>,
}

/// The arguments of `link`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Link {
    /// A name that the file has; a symbolic link is not followed.
    pub from: RemotePath,
    /// The name that it is to have besides.
    pub to: RemotePath,
    /// The size that the file must have: refused with `changed` otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// When the file must have been modified last, as far as [`Time::is_same`] tells: refused with `changed` otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtime: Option<Time>,
    /// What may be replaced.
    #[serde(default, skip_serializing_if = "Replace::is_always")]
    pub replace: Replace,
    /// Where what is replaced is kept, in place of being lost: it gets this name in the same step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backup: Option<RemotePath>,
}

/// The arguments of `set`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Set {
    /// A file or a directory; a link is not followed.
    pub path: RemotePath,
    /// When it is to have been modified last; as it is where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtime: Option<Time>,
    /// Its new permission bits; as they are where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
    /// Whether it gets none that it does not have: it was made just now, with as many as new names may have.
    #[serde(default, skip_serializing_if = "is_false")]
    pub limited: bool,
}

/// The arguments of `rm`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rm {
    /// What to remove.
    pub path: RemotePath,
    /// Remove a directory with all it holds; without it, an empty directory is removed and a full one refused.
    #[serde(default, skip_serializing_if = "is_false")]
    pub recursive: bool,
    /// The new name of a file or a link that is kept in place of being lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backup: Option<RemotePath>,
}

/// The arguments of `mv`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Mv {
    /// What is renamed.
    pub from: RemotePath,
    /// Its new path.
    pub to: RemotePath,
    /// `always` or `never`.
    #[serde(default, skip_serializing_if = "Replace::is_always")]
    pub replace: Replace,
}

/// The arguments of `hash`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Hash {
    /// The file.
    pub path: RemotePath,
    /// The digest wanted.
    pub digest: Algorithm,
}

/// The reply to `hash`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Hashed {
    /// How many bytes were read.
    pub size: u64,
    /// Their digest.
    pub digest: Digest,
}

/// The reply to `df`, in bytes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Space {
    /// The file system's size.
    pub total: u64,
    /// What is free.
    pub free: u64,
    /// What the server may still use of it.
    pub available: u64,
}

/// The reply to `stat`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Stat {
    /// What is there. The root's name is `.`, which is no name: it has none.
    pub entry: Entry,
}

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

fn is_false(value: &bool) -> bool {
    !*value
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
        assert_eq!(stat, Command::Stat(PathArgs { path: "a".parse().unwrap() }));
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
