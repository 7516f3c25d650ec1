//! `atlasd token`: API tokens. A token is shown once; the ledger knows its SHA-256 alone.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use clap::ValueEnum;
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;
use sha2::{Digest, Sha256};

use super::output::{self, Output, OutputArgs};
use super::{CliError, Global, audit, ledger};
use crate::domain::audit::{Action, Change, Object};
use crate::domain::names;
use crate::ids::random_bytes;
use crate::store::{NewToken, Role, Store};

/// `atlasd token …`.
#[derive(Debug, clap::Subcommand)]
pub enum Token {
    /// Make a token; it is printed once, alone, on stdout
    Create(Create),
    /// List the tokens: their names and what they may do, never the tokens themselves
    List(List),
    /// Withdraw a token; who is signed in with it is signed out
    Revoke(Revoke),
}

/// Arguments of `atlasd token list`.
#[derive(Debug, clap::Args)]
pub struct List {
    #[command(flatten)]
    output: OutputArgs,
}

/// Arguments of `atlasd token revoke`.
#[derive(Debug, clap::Args)]
pub struct Revoke {
    /// Its name
    name: String,
}

/// Arguments of `atlasd token create`.
#[derive(Debug, clap::Args)]
pub struct Create {
    /// A label, unique; runs show it as their initiator
    #[arg(long, value_parser = names::name)]
    name: String,
    /// What the token may do: each role may do all that the ones before it may
    #[arg(long, value_enum)]
    role: RoleArg,
    /// The one workspace that the token sees, by its slug [default: all]
    #[arg(long, value_name = "SLUG")]
    workspace: Option<String>,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum RoleArg {
    /// Look
    Viewer,
    /// Ask for runs, cancel, retry, reconcile
    Operator,
    /// Add and change workspaces and tenants
    Admin,
}

impl From<RoleArg> for Role {
    fn from(role: RoleArg) -> Self {
        match role {
            RoleArg::Viewer => Self::Viewer,
            RoleArg::Operator => Self::Operator,
            RoleArg::Admin => Self::Admin,
        }
    }
}

/// What a token begins with, so that scanners for leaked secrets can know one.
pub const TOKEN_PREFIX: &str = "atlasd_";

impl Token {
    /// Runs the command.
    ///
    /// # Errors
    /// What the ledger answers, such as a name that is taken.
    pub fn run(&self, global: &Global) -> Result<(), CliError> {
        match self {
            Self::Create(create) => create.run(global),
            Self::List(list) => list.run(global),
            Self::Revoke(revoke) => revoke.run(global),
        }
    }
}

impl Create {
    fn run(&self, global: &Global) -> Result<(), CliError> {
        let token = ledger::with_store(global, async |store, _| {
            add(store, &self.name, self.role.into(), self.workspace.as_deref()).await
        })?;
        output::hint("it is shown this once: export it as ATLASD_TOKEN, or give it to whom it is for");
        match self.output.output {
            Output::Table => output::print(token.expose_secret()),
            Output::Json => output::json(&json!({"name": self.name, "token": token.expose_secret()})),
        }
    }
}

impl List {
    fn run(&self, global: &Global) -> Result<(), CliError> {
        let tokens = ledger::with_store(global, async |store, _| {
            store.tokens().await.map_err(CliError::store("list the tokens"))
        })?;
        if tokens.is_empty() && self.output.output == Output::Table {
            output::say("there is no token: make one with `atlasd token create --name NAME --role operator`");
        }
        output::list(self.output.output, &tokens, &["NAME", "ROLE", "WORKSPACE", "CREATED"], |token| {
            vec![
                token.name.clone(),
                format!("{:?}", token.role).to_lowercase(),
                token.workspace_slug.clone().unwrap_or_else(|| "all".to_owned()),
                output::minute(&token.created_at.to_string()),
            ]
        })
    }
}

impl Revoke {
    fn run(&self, global: &Global) -> Result<(), CliError> {
        let is_gone = ledger::with_store(global, async |store, _| {
            let is_gone =
                store.remove_token(&self.name).await.map_err(CliError::store("revoke the token"))?;
            if is_gone {
                audit::note(store, Change::new(Action::TokenRevoked).with("name", self.name.as_str()))
                    .await?;
            }
            Ok(is_gone)
        })?;
        if !is_gone {
            let name = &self.name;
            return Err(CliError::Usage(format!("no token has the name `{name}`: see `atlasd token list`")));
        }
        // A running daemon trusts what it saw a moment ago.
        output::say("revoked; a running daemon knows within seconds (http.token_cache)");
        Ok(())
    }
}

/// Makes a token and adds it to the ledger; the demo does the same.
///
/// # Errors
/// What the ledger answers, such as a name that is taken.
pub async fn add(
    store: &Store,
    name: &str,
    role: Role,
    workspace: Option<&str>,
) -> Result<SecretString, CliError> {
    let workspace_id = match workspace {
        Some(slug) => Some(ledger::workspace(store, slug).await?.id),
        None => None,
    };
    let token = fresh();
    let sha256 = Sha256::digest(token.expose_secret().as_bytes()).into();
    let row = NewToken { name: name.to_owned(), sha256, role, workspace_id };
    let id = store.add_token(row).await.map_err(CliError::store("add the token"))?;
    let change = Change::new(Action::TokenCreated).of(Object::Token, id.0);
    audit::note(store, change.in_workspace(workspace_id).with("name", name)).await?;
    Ok(token)
}

/// 32 random bytes: nobody guesses them, so one SHA-256 without salt is enough to keep.
fn fresh() -> SecretString {
    SecretString::from(format!("{TOKEN_PREFIX}{}", URL_SAFE_NO_PAD.encode(random_bytes::<32>())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_32_random_bytes_in_a_form_that_needs_no_quotes() {
        let [one, other] = [fresh(), fresh()];
        let body = one.expose_secret().strip_prefix(TOKEN_PREFIX).expect("the prefix");
        assert_eq!(URL_SAFE_NO_PAD.decode(body).expect("base64url").len(), 32);
        assert_ne!(one.expose_secret(), other.expose_secret());
        assert!(!format!("{one:?}").contains(body));
    }
}
