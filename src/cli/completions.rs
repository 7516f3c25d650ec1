//! `atlasd completions SHELL`: the script by which a shell completes this command line.

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::{Cli, CliError, output};

/// Arguments of `atlasd completions`.
#[derive(Debug, Args)]
#[command(after_help = "\
bash:  atlasd completions bash > ~/.local/share/bash-completion/completions/atlasd
zsh:   atlasd completions zsh > ~/.zfunc/_atlasd    (with ~/.zfunc in fpath)
fish:  atlasd completions fish > ~/.config/fish/completions/atlasd.fish")]
pub struct Completions {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

impl Completions {
    /// Runs the command.
    ///
    /// # Errors
    /// When stdout cannot be written.
    pub fn run(&self) -> Result<(), CliError> {
        // Not straight to stdout: the generator panics when a reader has had enough.
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "atlasd", &mut script);
        output::print(String::from_utf8_lossy(&script).trim_end())
    }
}
