//! The `ftpish` binary: parse, run, report.

// They panic where nothing can be written.
#![warn(clippy::print_stdout, clippy::print_stderr)]

mod allocator;
mod argv;
mod cli;
mod commands;
mod complete;
mod credentials;
mod demo;
mod exit;
mod failure;
mod key;
mod location;
mod log;
mod manifest;
mod progress;
mod sandbox;
mod serve;
mod session;
mod shell;
mod ui;
mod user;

use std::process::ExitCode;

fn main() -> ExitCode {
    let hidden = argv::hide_passwords();
    sandbox::forbid_core_dumps();
    if let Err(failure) = hidden {
        ui::report(&failure);
        return ExitCode::from(failure.exit as u8);
    }
    let cli = match cli::Cli::of(std::env::args_os()) {
        Ok(cli) => cli,
        Err(error) => ui::usage(&error),
    };
    let ui = ui::Ui::new(&cli.global);
    ftpish_storage::descriptors::raise_limit();
    let outcome = match cli.command {
        Some(cli::Command::Serve(args)) => {
            allocator::set_up();
            return serve::run(&args, &cli.global);
        }
        Some(cli::Command::User(command)) => user::run(&command),
        Some(cli::Command::Key(command)) => key::run(&command, &ui),
        Some(cli::Command::Demo) => demo::run(&ui),
        Some(cli::Command::Verb(verb)) => commands::run_once(&verb, &cli.global, &ui),
        Some(cli::Command::Shell) | None => shell::run(&cli.global, &ui),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) if failure.is_broken_pipe() => ExitCode::SUCCESS,
        Err(failure) => {
            ui.failure(&failure);
            ExitCode::from(failure.exit as u8)
        }
    }
}
