//! Which database, which address, which limits: flags beat the environment (clap does that), which beats the file,
//! which beats the default (SPEC section 11).

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};

use clap::builder::FalseyValueParser;
use secrecy::{ExposeSecret, SecretString};

use super::CliError;
use crate::config::Config;
use crate::store::DatabaseUrl;

/// Options of every command that reads the configuration.
#[derive(Clone, Debug, clap::Args)]
pub struct Global {
    /// The configuration file (TOML)
    #[arg(long, global = true, env = "ATLASD_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The ledger: sqlite://PATH or postgres://… [default: sqlite://atlasd.db in the data directory]
    #[arg(long, global = true, env = "ATLASD_DATABASE_URL", hide_env_values = true, value_name = "URL")]
    pub database_url: Option<SecretString>,
}

/// Where the daemon listens.
#[derive(Clone, Debug, clap::Args)]
pub struct ListenArgs {
    /// The address of the admin endpoint [default: 127.0.0.1:7717]
    #[arg(long, env = "ATLASD_LISTEN", value_name = "IP:PORT")]
    pub listen: Option<String>,
}

/// How the daemon's endpoint is protected, and what it allows.
#[derive(Clone, Copy, Debug, Default, clap::Args)]
pub struct EndpointArgs {
    /// A reverse proxy that speaks TLS stands in front: listen beyond the loopback without TLS, and believe the last
    /// entry of X-Forwarded-For
    #[arg(long, env = "ATLASD_BEHIND_PROXY", value_parser = FalseyValueParser::new())]
    behind_proxy: bool,
    /// Refuse every change over HTTP; what is queued is executed all the same
    #[arg(long, env = "ATLASD_READ_ONLY", value_parser = FalseyValueParser::new())]
    read_only: bool,
}

impl EndpointArgs {
    /// What was given beats what the file says, each time that it is read.
    pub fn apply(self, config: &mut Config) {
        config.http.behind_proxy |= self.behind_proxy;
        config.http.read_only |= self.read_only;
    }
}

/// Where the daemon listens when nobody says so.
pub const LISTEN_DEFAULT: &str = "127.0.0.1:7717";

/// The configuration file, read and checked; all defaults where there is none.
///
/// # Errors
/// [`CliError::Config`].
pub fn config(global: &Global) -> Result<Config, CliError> {
    Ok(given_path(global.config.as_deref()).map(Config::load).transpose()?.unwrap_or_default())
}

/// The configuration file that was named, to be read again.
pub fn config_path(global: &Global) -> Option<PathBuf> {
    given_path(global.config.as_deref()).map(Path::to_owned)
}

/// The ledger's URL: flag or environment, file, default.
///
/// # Errors
/// [`CliError::Store`] when the URL cannot be used; [`CliError::Usage`] when there is no data directory.
pub fn database_url(global: &Global, config: &Config) -> Result<DatabaseUrl, CliError> {
    let given = given(global.database_url.as_ref()).or_else(|| given(config.database_url.as_ref()));
    match given {
        Some(url) => url.expose_secret().parse().map_err(CliError::store("use the database URL")),
        None => Ok(DatabaseUrl::Sqlite(data_dir()?.join("atlasd.db"))),
    }
}

/// The daemon's address: flag or environment, file, default.
///
/// # Errors
/// [`CliError::Usage`].
pub fn listen(args: &ListenArgs, config: &Config) -> Result<SocketAddr, CliError> {
    let flag = args.listen.as_deref().filter(|text| !text.is_empty());
    address(flag.or(config.listen.as_deref()).unwrap_or(LISTEN_DEFAULT))
}

/// An address to listen on.
///
/// # Errors
/// [`CliError::Usage`].
pub fn address(text: &str) -> Result<SocketAddr, CliError> {
    let resolved = text.to_socket_addrs().ok().and_then(|mut addresses| addresses.next());
    resolved.ok_or_else(|| {
        CliError::Usage(format!("cannot listen on `{text}`: expected IP:PORT, such as {LISTEN_DEFAULT}"))
    })
}

/// Refuses a SQLite file that is not there: opening it would make an empty one at what may be a mistyped path.
///
/// # Errors
/// [`CliError::Failed`].
pub fn check_exists(url: &DatabaseUrl) -> Result<(), CliError> {
    match url {
        DatabaseUrl::Sqlite(file) if !file.exists() => {
            Err(CliError::Failed(format!("there is no ledger at {url}: `atlasd migrate` makes one")))
        }
        _ => Ok(()),
    }
}

/// Creates the folder of a SQLite file, for its owner alone, where it is missing.
///
/// # Errors
/// [`CliError::Io`].
pub fn create_data_dir(url: &DatabaseUrl) -> Result<(), CliError> {
    let DatabaseUrl::Sqlite(file) = url else { return Ok(()) };
    match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() && !folder.exists() => create_private(folder)
            .map_err(CliError::io(format!("create the data directory {}", folder.display()))),
        _ => Ok(()),
    }
}

#[cfg(unix)]
fn create_private(folder: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

#[cfg(not(unix))]
fn create_private(folder: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(folder)
}

/// Where the ledger is when nobody names one.
fn data_dir() -> Result<PathBuf, CliError> {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    choose_data_dir(variable, is_root()).ok_or_else(|| {
        CliError::Usage(
            "no data directory: HOME is not set; set ATLASD_DATA_DIR or ATLASD_DATABASE_URL".into(),
        )
    })
}

/// `$ATLASD_DATA_DIR`; else, for root, `/var/lib/atlasd`; else `$XDG_DATA_HOME/atlasd`; else `~/.local/share/atlasd`.
fn choose_data_dir(variable: impl Fn(&str) -> Option<PathBuf>, root: bool) -> Option<PathBuf> {
    let home = || variable("HOME").map(|home| home.join(".local/share"));
    match variable("ATLASD_DATA_DIR") {
        Some(folder) => Some(folder),
        None if root => Some("/var/lib/atlasd".into()),
        None => variable("XDG_DATA_HOME").or_else(home).map(|folder| folder.join("atlasd")),
    }
}

/// Whether this process belongs to root: the owner of its own entry in /proc says it without a call to libc.
fn is_root() -> bool {
    #[cfg(target_os = "linux")]
    {
        use std::os::unix::fs::MetadataExt;
        std::fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0)
    }
    #[cfg(not(target_os = "linux"))]
    {
        std::env::var_os("USER").is_some_and(|user| user == "root")
    }
}

/// An empty variable is an unset one.
fn given(secret: Option<&SecretString>) -> Option<&SecretString> {
    secret.filter(|text| !text.expose_secret().is_empty())
}

fn given_path(path: Option<&Path>) -> Option<&Path> {
    path.filter(|path| !path.as_os_str().is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn global(url: Option<&str>) -> Global {
        Global { config: None, database_url: url.map(SecretString::from) }
    }

    fn file(url: Option<&str>, listen: Option<&str>) -> Config {
        Config {
            database_url: url.map(SecretString::from),
            listen: listen.map(str::to_owned),
            ..Config::default()
        }
    }

    fn sqlite_path(url: &DatabaseUrl) -> &Path {
        match url {
            DatabaseUrl::Sqlite(path) => path,
            DatabaseUrl::Postgres(_) => panic!("expected SQLite"),
        }
    }

    #[test]
    fn the_flag_beats_the_file() {
        let config = file(Some("sqlite:///from/file.db"), Some("127.0.0.1:2"));
        let url = database_url(&global(Some("sqlite:///from/flag.db")), &config).expect("a URL");
        assert_eq!(sqlite_path(&url), Path::new("/from/flag.db"));
        let flag = ListenArgs { listen: Some("127.0.0.1:1".into()) };
        assert_eq!(listen(&flag, &config).expect("an address").port(), 1);
    }

    #[test]
    fn the_file_beats_the_default() {
        let config = file(Some("sqlite:///from/file.db"), Some("127.0.0.1:2"));
        for unset in [None, Some("")] {
            let url = database_url(&global(unset), &config).expect("a URL");
            assert_eq!(sqlite_path(&url), Path::new("/from/file.db"));
            let flag = ListenArgs { listen: unset.map(str::to_owned) };
            assert_eq!(listen(&flag, &config).expect("an address").port(), 2);
        }
        let none = ListenArgs { listen: None };
        assert_eq!(listen(&none, &Config::default()).expect("an address").to_string(), LISTEN_DEFAULT);
    }

    #[test]
    fn a_wrong_address_is_named() {
        let error = address("somewhere").expect_err("no address");
        assert!(error.to_string().contains("`somewhere`"), "{error}");
    }

    #[test]
    fn the_data_directory_has_an_order_of_places() {
        let only = |names: &'static [&'static str]| {
            move |name: &str| names.contains(&name).then(|| PathBuf::from(format!("/{name}")))
        };
        let all = &["ATLASD_DATA_DIR", "XDG_DATA_HOME", "HOME"];
        assert_eq!(choose_data_dir(only(all), true), Some("/ATLASD_DATA_DIR".into()));
        assert_eq!(choose_data_dir(only(&all[1..]), true), Some("/var/lib/atlasd".into()));
        assert_eq!(choose_data_dir(only(&all[1..]), false), Some("/XDG_DATA_HOME/atlasd".into()));
        assert_eq!(choose_data_dir(only(&all[2..]), false), Some("/HOME/.local/share/atlasd".into()));
        assert_eq!(choose_data_dir(only(&[]), false), None);
    }
}
