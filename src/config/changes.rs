//! What is different in another configuration, key by key, and which of it only a start takes over.

use secrecy::ExposeSecret;

use super::Config;

/// Keys, and whole parts (with a dot at their end), that the daemon is built with.
const AT_START: &[&str] = &[
    "database_url",
    "listen",
    "database.",
    "events.buffer",
    "events.readers_max",
    "events.window",
    "events.refused_runs_max",
    "events.linger",
    "retention.",
    "doctor.",
    "shutdown.",
    "telemetry.",
    "reconcile.every",
    "reconcile.idle_every",
    "execution.heartbeat",
    "execution.lease",
    "execution.poll",
    "execution.idle_after",
    "execution.tenants_max",
    "execution.share_wait",
    "admission.waiting_max",
    "admission.batch_max",
    "admission.duplicates_flush",
    "admission.memory_max",
    "http.workers",
    "http.connections_max",
    "http.body_bytes_max",
    "http.client_timeout",
    "http.token_cache",
];

/// What is different.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Keys that count from now on.
    pub now: Vec<String>,
    /// Keys that the next start takes over.
    pub at_next_start: Vec<String>,
}

impl Config {
    /// What is different in `new`.
    pub fn changes(&self, new: &Self) -> Changes {
        let mut changes = Changes::default();
        for key in self.different_keys(new) {
            let fixed = AT_START
                .iter()
                .any(|fixed| *fixed == key || (fixed.ends_with('.') && key.starts_with(fixed)));
            let list = if fixed { &mut changes.at_next_start } else { &mut changes.now };
            list.push(key);
        }
        changes
    }

    fn different_keys(&self, new: &Self) -> Vec<String> {
        let url = |config: &Self| config.database_url.as_ref().map(|url| url.expose_secret().to_owned());
        let named = |different: bool, key: &str| different.then(|| key.to_owned());
        let mut keys: Vec<String> =
            [named(url(self) != url(new), "database_url"), named(self.listen != new.listen, "listen")]
                .into_iter()
                .flatten()
                .collect();
        let parts = [
            ("database", self.database.differences(&new.database)),
            ("execution", self.execution.differences(&new.execution)),
            ("admission", self.admission.differences(&new.admission)),
            ("reconcile", self.reconcile.differences(&new.reconcile)),
            ("restore", self.restore.differences(&new.restore)),
            ("retention", self.retention.differences(&new.retention)),
            ("doctor", self.doctor.differences(&new.doctor)),
            ("shutdown", self.shutdown.differences(&new.shutdown)),
            ("http", self.http.differences(&new.http)),
            ("tls", self.tls.differences(&new.tls)),
            ("events", self.events.differences(&new.events)),
            ("graph", self.graph.differences(&new.graph)),
            ("scheduler", self.scheduler.differences(&new.scheduler)),
            ("telemetry", self.telemetry.differences(&new.telemetry)),
        ];
        for (part, differences) in parts {
            keys.extend(differences.into_iter().map(|key| format!("{part}.{key}")));
        }
        // These hold names of secrets, never one.
        let tables = [
            ("schedules", format!("{:?}", self.schedules), format!("{:?}", new.schedules)),
            ("operations", format!("{:?}", self.operations), format!("{:?}", new.operations)),
            ("clouds", format!("{:?}", self.clouds), format!("{:?}", new.clouds)),
            ("credentials", format!("{:?}", self.credentials), format!("{:?}", new.credentials)),
        ];
        keys.extend(tables.into_iter().filter_map(|(part, old, new)| named(old != new, part)));
        keys
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changes(text: &str) -> Changes {
        Config::default().changes(&Config::parse(text).expect("it is TOML"))
    }

    #[test]
    fn what_is_the_same_is_not_named() {
        assert_eq!(changes(""), Changes::default());
        assert_eq!(changes("[execution]\nattempts_max = 3\n"), Changes::default());
    }

    #[test]
    fn what_the_daemon_is_built_with_waits_for_the_next_start() {
        let changes = changes(
            "listen = \"127.0.0.1:1\"\n[execution]\nattempts_max = 5\nlease = \"60s\"\n[telemetry]\nsample_ratio = 0.5\n\
             [clouds.lab]\nlogin_url = \"https://a\"\ngraph_url = \"https://b\"\n",
        );
        assert_eq!(changes.now, ["execution.attempts_max", "clouds"]);
        assert_eq!(changes.at_next_start, ["listen", "execution.lease", "telemetry.sample_ratio"]);
    }

    #[test]
    fn every_key_that_waits_is_one_of_the_configuration() {
        let manual = include_str!("../../docs/configuration.md");
        for key in AT_START {
            let word = match key.split_once('.') {
                Some((part, "")) => format!("`[{part}]`"),
                Some((_, name)) => format!("`{name}`"),
                None => format!("`{key}`"),
            };
            assert!(manual.contains(&word), "docs/configuration.md does not name {word}");
        }
    }
}
