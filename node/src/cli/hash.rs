//! `grapevine hash`: what the file of users keeps of a password or a token.

use std::io::{self, BufRead, IsTerminal, Write};

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};

use super::exit::{Exit, ExitError};
use crate::access::hash::{PasswordHash, new_token, of_token, token_text};

/// Arguments of `grapevine hash`.
#[derive(Debug, Args)]
pub struct HashArgs {
    /// A password is read from standard input; a token is made here.
    #[arg(value_enum)]
    pub kind: Kind,
}

/// What is hashed.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Kind {
    /// Read from standard input, one line.
    Password,
    /// Drawn here: printed on the first line, for the client; its hash on the second.
    Token,
}

/// Runs the command.
pub fn run(args: &HashArgs) -> Result<Exit> {
    let mut out = io::stdout().lock();
    match args.kind {
        Kind::Password => writeln!(out, "{}", PasswordHash::new(&read()?)?.to_text()),
        Kind::Token => {
            let token = new_token()?;
            writeln!(out, "{token}\n{}", token_text(&of_token(&token)))
        }
    }
    .context("write to standard output")?;
    Ok(Exit::Done)
}

fn read() -> Result<String> {
    if io::stdin().is_terminal() {
        eprintln!("The password, then Enter (it shows; pipe it in to keep it off the screen):");
    }
    let mut password = String::new();
    io::stdin().lock().read_line(&mut password).context("read the password")?;
    let password = password.trim_end_matches(['\r', '\n']).to_owned();
    match password.is_empty() {
        true => Err(ExitError { exit: Exit::Usage, message: "an empty password is none".into() }.into()),
        false => Ok(password),
    }
}
