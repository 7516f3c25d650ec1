//! `atlasd workspaces`: the organisations of a ledger.

use super::output::{self, OutputArgs};
use super::token::label;
use super::{CliError, Global, ledger};
use crate::store::Workspace;

/// `atlasd workspaces …`.
#[derive(Debug, clap::Subcommand)]
pub enum Workspaces {
    /// Add a workspace
    Add(Add),
    /// List the workspaces
    List(OutputArgs),
}

/// Arguments of `atlasd workspaces add`.
#[derive(Debug, clap::Args)]
pub struct Add {
    /// The workspace's name in identities and commands; it never changes
    #[arg(value_parser = slug)]
    slug: String,
    /// A name for people [default: the slug]
    #[arg(long, value_parser = label)]
    name: Option<String>,
    #[command(flatten)]
    output: OutputArgs,
}

impl Workspaces {
    /// Runs the command.
    ///
    /// # Errors
    /// What the ledger answers, such as a slug that is taken.
    pub fn run(&self, global: &Global) -> Result<(), CliError> {
        let (workspaces, output) = match self {
            Self::Add(add) => {
                let workspace = ledger::with_store(global, async |store, _| {
                    let name = add.name.as_deref().unwrap_or(&add.slug);
                    store.add_workspace(&add.slug, name).await.map_err(CliError::store("add the workspace"))
                })?;
                (vec![workspace], add.output.output)
            }
            Self::List(list) => {
                let workspaces = ledger::with_store(global, async |store, _| {
                    ledger::workspaces(store).await.map_err(CliError::store("list the workspaces"))
                })?;
                (workspaces, list.output)
            }
        };
        output::list(output, &workspaces, &["ID", "SLUG", "NAME", "CREATED"], row)
    }
}

fn row(workspace: &Workspace) -> Vec<String> {
    let Workspace { id, slug, name, created_at } = workspace;
    vec![id.to_string(), slug.clone(), name.clone(), created_at.to_string()]
}

/// Lower-case words with hyphens between them: a slug is part of every identity and of URLs.
fn slug(text: &str) -> Result<String, String> {
    let word =
        |word: &str| !word.is_empty() && word.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    if text.len() <= SLUG_CHARS_MAX && text.split('-').all(word) {
        return Ok(text.to_owned());
    }
    Err(format!(
        "expected lower-case letters and digits with single hyphens, at most {SLUG_CHARS_MAX}, such as contoso-group"
    ))
}

/// The longest slug.
const SLUG_CHARS_MAX: usize = 63;

#[cfg(test)]
mod tests {
    use super::slug;

    #[test]
    fn a_slug_is_lower_case_words_with_hyphens() {
        for good in ["a", "contoso-group", "x2", "2-b"] {
            assert!(slug(good).is_ok(), "{good}");
        }
        for wrong in ["", "A", "a_b", "-a", "a-", "a--b", "ä", "a b", &"a".repeat(64)] {
            assert!(slug(wrong).is_err(), "{wrong}");
        }
    }
}
