//! `grapevine completions` and `grapevine man`: made from the command line's own declarations.

use std::io::{Write, stdout};

use anyhow::Result;
use clap::{Args, Command, CommandFactory};
use clap_complete::Shell;

use super::Cli;
use super::exit::Exit;

/// Prints completions.
#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// The shell.
    #[arg(value_name = "SHELL")]
    shell: Shell,
}

/// Prints completions for a shell.
///
/// # Errors
/// Those of standard output.
pub fn completions(args: &CompletionsArgs) -> Result<Exit> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "grapevine", &mut script);
    stdout().write_all(&script)?;
    Ok(Exit::Done)
}

/// Prints the manual page: the command itself, then each subcommand with its options.
///
/// # Errors
/// Those of standard output.
pub fn man() -> Result<Exit> {
    let mut page = Vec::new();
    write_manual(&mut page)?;
    stdout().write_all(&page)?;
    Ok(Exit::Done)
}

fn write_manual(page: &mut Vec<u8>) -> Result<()> {
    let mut command = Cli::command();
    command.build();
    clap_mangen::Man::new(command.clone()).render(page)?;
    write_subcommands(&command, page)
}

fn write_subcommands(command: &Command, page: &mut Vec<u8>) -> Result<()> {
    for subcommand in command.get_subcommands().filter(|command| command.get_name() != "help") {
        let name = subcommand.get_bin_name().unwrap_or(subcommand.get_name()).to_owned();
        writeln!(page, ".SH \"{}\"", name.to_uppercase())?;
        let man = clap_mangen::Man::new(subcommand.clone());
        man.render_synopsis_section(page)?;
        man.render_description_section(page)?;
        man.render_options_section(page)?;
        write_subcommands(subcommand, page)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::{Cli, write_manual};

    #[test]
    fn the_manual_names_every_command_and_the_exit_codes() {
        let mut page = Vec::new();
        write_manual(&mut page).unwrap();
        let page = String::from_utf8(page).unwrap();
        for command in Cli::command().get_subcommands() {
            let title = format!(".SH \"GRAPEVINE {}\"", command.get_name().to_uppercase());
            assert!(page.contains(&title), "{title}");
        }
        assert!(page.contains("Exit codes") && page.contains("incomplete"), "{page}");
    }
}
