//! `atlasd man`: the manual pages, one per command, made of the definition of the command line.

use std::path::PathBuf;

use clap::{Args, CommandFactory};
use clap_mangen::Man;

use super::{Cli, CliError, output};

/// Arguments of `atlasd man`.
#[derive(Debug, Args)]
pub struct ManPages {
    /// Write a page per command into this directory [default: print the page of atlasd itself]
    directory: Option<PathBuf>,
}

impl ManPages {
    /// Runs the command.
    ///
    /// # Errors
    /// When a file, or stdout, cannot be written.
    pub fn run(&self) -> Result<(), CliError> {
        let Some(directory) = &self.directory else {
            let mut page = Vec::new();
            Man::new(Cli::command()).render(&mut page).map_err(CliError::io("make the page"))?;
            return output::print(String::from_utf8_lossy(&page).trim_end());
        };
        let shown = directory.display();
        std::fs::create_dir_all(directory).map_err(CliError::io(format!("create the directory {shown}")))?;
        clap_mangen::generate_to(Cli::command(), directory)
            .map_err(CliError::io(format!("write the pages into {shown}")))?;
        let first = directory.join("atlasd.1");
        output::say(&format!("a page per command is in {shown}: read one with `man {}`", first.display()));
        Ok(())
    }
}
