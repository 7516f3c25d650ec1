//! Where the secrets of credentials are, and that each has exactly one.

use std::path::Path;

use super::{Config, ConfigError, CredentialConfig};

impl CredentialConfig {
    /// One secret, told in one way.
    pub(super) fn validate(&self, name: &str) -> Result<(), ConfigError> {
        let secrets = usize::from(self.client_secret_env.is_some())
            + usize::from(self.client_secret_file.is_some())
            + usize::from(self.certificate_file.is_some() || self.private_key_file.is_some());
        if secrets != 1 || self.certificate_file.is_some() != self.private_key_file.is_some() {
            return Err(ConfigError::Invalid(format!(
                "[credentials.{name}]: expected exactly one of client_secret_env, client_secret_file, or \
                 certificate_file with private_key_file"
            )));
        }
        Ok(())
    }
}

impl Config {
    /// Files of credentials whose path begins with `$CREDENTIALS_DIRECTORY/` are in the directory that systemd makes for
    /// the service's secrets (`LoadCredential=`).
    pub(super) fn place_credentials(&mut self, directory: Option<&Path>) -> Result<(), ConfigError> {
        for (name, credential) in &mut self.credentials {
            let files = [
                &mut credential.client_secret_file,
                &mut credential.certificate_file,
                &mut credential.private_key_file,
            ];
            for file in files.into_iter().flatten() {
                let Ok(below) = file.strip_prefix("$CREDENTIALS_DIRECTORY") else { continue };
                let directory = directory.ok_or_else(|| {
                    ConfigError::Invalid(format!(
                        "[credentials.{name}]: expected $CREDENTIALS_DIRECTORY to be set, as systemd does for a service \
                         with LoadCredential="
                    ))
                })?;
                *file = directory.join(below);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_a_credential_may_be_in_the_directory_that_systemd_makes() {
        let text = "[credentials.a]\nclient_id = \"x\"\nclient_secret_file = \"$CREDENTIALS_DIRECTORY/contoso\"\n\
                    [credentials.b]\nclient_id = \"x\"\nclient_secret_file = \"/etc/atlasd/b\"\n";
        let mut config = Config::parse(text).unwrap();
        let error = config.place_credentials(None).unwrap_err().to_string();
        assert!(error.contains("[credentials.a]") && error.contains("LoadCredential="), "{error}");
        config.place_credentials(Some("/run/credentials/atlasd.service".as_ref())).unwrap();
        let file = |name: &str| config.credentials[name].client_secret_file.clone().unwrap();
        assert_eq!(file("a").to_str(), Some("/run/credentials/atlasd.service/contoso"));
        assert_eq!(file("b").to_str(), Some("/etc/atlasd/b"));
    }
}
