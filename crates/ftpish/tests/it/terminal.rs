//! A person at a terminal: the binary in a pty, keys typed, and what appears.

use std::process::Command;

use rexpect::process::WaitStatus;
use rexpect::session::{Options, PtySession, spawn_with_options};

use crate::harness::{Client, PATIENCE, Story, World};

/// The prompt in the served root.
pub const PROMPT: &str = "ftpish:/> ";

/// A command that runs in a terminal.
pub struct Terminal {
    story: Story,
    session: PtySession,
}

impl Terminal {
    /// Starts `ftpish LINE`.
    pub fn start(client: &Client<'_>, line: &str) -> Self {
        Self::of(client.command(line.split_whitespace()), client)
    }

    /// Starts any command.
    pub fn of(mut command: Command, client: &Client<'_>) -> Self {
        command.env("TERM", "xterm");
        let story = client.story();
        story.tell(&format!("in a terminal: {command:?}\n"));
        let patience = PATIENCE.as_millis().try_into().unwrap();
        let options = Options::new().timeout_ms(Some(patience)).strip_ansi_escape_codes(true);
        Self { story, session: spawn_with_options(command, options).unwrap() }
    }

    /// The shell of a client that trusts the server, at its prompt.
    pub fn shell(world: &World) -> Self {
        let mut terminal = Self::start(&world.client(), "shell");
        terminal.expect(PROMPT);
        terminal
    }

    /// Waits for `text`, and gives what came before it.
    #[track_caller]
    pub fn expect(&mut self, text: &str) -> String {
        match self.session.exp_string(text) {
            Ok(before) => {
                self.story.tell(&format!("{before}{text}"));
                before
            }
            Err(error) => panic!("{error}"),
        }
    }

    /// Types keys.
    pub fn keys(&mut self, keys: &str) {
        self.session.send(keys).unwrap();
        self.session.flush().unwrap();
    }

    /// Types a line, and Enter.
    pub fn line(&mut self, line: &str) {
        self.keys(&format!("{line}\r"));
    }

    /// Types a line, waits for what it says and for the prompt behind it. Gives all that came up to the prompt.
    #[track_caller]
    pub fn does(&mut self, line: &str, says: &str) -> String {
        self.line(line);
        let before = self.expect(says);
        format!("{before}{says}{}", self.expect(PROMPT))
    }

    /// Holds the control key.
    pub fn control(&mut self, key: char) {
        self.session.send_control(key).unwrap();
    }

    /// Waits for the end; gives the exit code, and what came before it.
    #[track_caller]
    pub fn ends(self) -> (i32, String) {
        let mut session = self.session;
        let rest = session.exp_eof().unwrap_or_else(|error| panic!("{error}"));
        self.story.tell(&rest);
        match session.process().wait().unwrap() {
            WaitStatus::Exited(_, code) => (code, rest),
            status => panic!("it ended with {status:?}, and said {rest}"),
        }
    }
}
