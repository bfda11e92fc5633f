//! `hello`: who the server is and what it knows.

use ftpish_protocol::message::{Hello, Welcome};
use ftpish_protocol::{Algorithm, Code, FEATURES, Refusal, VERSION};

use crate::AGENT;
use crate::accounts::Accounts;
use crate::exchange::{Exchange, Failure};

/// The commands that the session dispatches.
const COMMANDS: [&str; 17] = [
    "hello", "ls", "tree", "stat", "get", "put", "mkdir", "symlink", "link", "set", "rm", "mv", "hash", "df",
    "blocks", "resume", "part",
];

pub fn run(
    args: &Hello,
    accounts: Option<&Accounts>,
    challenge: &str,
    exchange: &mut Exchange<'_>,
) -> Result<(), Failure> {
    if args.version != VERSION {
        let line = format!("version {} of the protocol is not spoken here, only {VERSION}", args.version);
        return Err(Refusal::new(Code::Unsupported, line).into());
    }
    let login = accounts.map(|_| "login");
    exchange.grant(&Welcome {
        version: VERSION,
        agent: AGENT.to_owned(),
        digests: Algorithm::ALL.map(|a| a.name().to_owned()).to_vec(),
        commands: COMMANDS.into_iter().chain(login).map(str::to_owned).collect(),
        features: FEATURES.map(str::to_owned).to_vec(),
        login: accounts.is_some_and(|accounts| accounts.anonymous().is_none()),
        challenge: accounts.map(|_| challenge.to_owned()),
    })
}
