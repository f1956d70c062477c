//! `ifco completions`: the shell's help with typing.

use clap::CommandFactory;
use clap_complete::Shell;

use crate::failure::Failure;
use crate::output;

const AFTER_HELP: &str = "\
Examples:
  bash  ifco completions bash > ~/.local/share/bash-completion/completions/ifco
  zsh   ifco completions zsh > \"${fpath[1]}/_ifco\"
  fish  ifco completions fish > ~/.config/fish/completions/ifco.fish";

/// Print a script that completes ifco's commands and options in your shell
#[derive(clap::Args)]
#[command(after_help = AFTER_HELP)]
pub struct Args {
    /// The shell
    shell: Shell,
}

pub fn run(args: &Args) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut crate::Cli::command(), "ifco", &mut script);
    output::print(&String::from_utf8_lossy(&script))
}
