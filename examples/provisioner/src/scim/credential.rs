//! Credentials from files and the environment. None of them is printed, and none is taken from the command line.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;

use scim_client::auth::{
    Authenticate, Basic, Bearer, ClientAuthentication, ClientCredentials, Credential, Secret,
};
use zeroize::Zeroizing;

use super::args::Connection;
use crate::failure::Failure;
use crate::say;

/// Longest secret that is read.
const SECRET_BYTES_MAX: u64 = 64 * 1024;

/// What the service is shown; `None` where nothing was given.
pub(crate) fn of(given: &Connection) -> Result<Option<Arc<dyn Authenticate>>, Failure> {
    let oauth = given.oauth_token_url.is_some() || given.oauth_client_id.is_some();
    let ways = [
        ("--token-file", given.token_file.is_some()),
        ("--user", given.user.is_some()),
        ("--oauth-…", oauth),
    ];
    let chosen: Vec<&str> = ways.into_iter().filter_map(|(name, is)| is.then_some(name)).collect();
    if chosen.len() > 1 {
        return Err(Failure::usage(format!("choose one credential: {}", chosen.join(" or "))));
    }
    let lone = |file: &Option<std::path::PathBuf>, name: &str, wants: &str| match file {
        Some(_) => Err(Failure::usage(format!("{name} goes with {wants}"))),
        None => Ok(()),
    };
    if given.user.is_none() {
        lone(&given.password_file, "--password-file", "--user")?;
    }
    if !oauth {
        lone(&given.oauth_secret_file, "--oauth-secret-file", "--oauth-token-url and --oauth-client-id")?;
    }
    if let Some(user) = &given.user {
        let password = secret(given.password_file.as_deref(), "--password-file", "SCIM_PASSWORD")?;
        return Ok(Some(Arc::new(Basic::from_source(Credential::pair(user, password)))));
    }
    if oauth {
        return client_credentials(given).map(Some);
    }
    if given.token_file.is_none() && std::env::var_os("SCIM_TOKEN").is_none() {
        return Ok(None);
    }
    let token = secret(given.token_file.as_deref(), "--token-file", "SCIM_TOKEN")?;
    Ok(Some(Arc::new(Bearer::from_source(Credential::secret(token)))))
}

fn client_credentials(given: &Connection) -> Result<Arc<dyn Authenticate>, Failure> {
    let (Some(url), Some(client)) = (&given.oauth_token_url, &given.oauth_client_id) else {
        return Err(Failure::usage("--oauth-token-url and --oauth-client-id go together"));
    };
    let secret = secret(given.oauth_secret_file.as_deref(), "--oauth-secret-file", "SCIM_CLIENT_SECRET")?;
    let source = Credential::pair(client, secret);
    let shown = match given.oauth_post {
        true => ClientAuthentication::secret_post(source),
        false => ClientAuthentication::secret_basic(source),
    };
    let mut credentials = ClientCredentials::new(url, shown)
        .map_err(|error| Failure::usage(format!("--oauth-token-url: {}", explained(&error))))?
        .timeout(given.timeout);
    if let Some(scope) = &given.oauth_scope {
        credentials = credentials.scope(scope);
    }
    if given.plain_http {
        credentials = credentials.dangerous_plain_http();
    }
    Ok(Arc::new(credentials))
}

pub(crate) fn explained(error: &scim_client::Error) -> String {
    error.explanation().map_or_else(|| error.kind().to_string(), str::to_owned)
}

/// Out of the file, else out of the environment.
fn secret(file: Option<&Path>, option: &str, variable: &str) -> Result<Secret, Failure> {
    let (text, source) = match file {
        Some(path) => (read(path, option)?, format!("{option} {}", path.display())),
        None => match std::env::var(variable) {
            Ok(text) => (Zeroizing::new(text), variable.to_owned()),
            Err(std::env::VarError::NotUnicode(_)) => {
                return Err(Failure::usage(format!("{variable} is no UTF-8")));
            }
            Err(std::env::VarError::NotPresent) => {
                return Err(Failure::usage(format!("no secret: give {option} FILE or set {variable}")));
            }
        },
    };
    let secret = text.trim();
    if secret.is_empty() {
        return Err(Failure::usage(format!("{source}: nothing is in it")));
    }
    // What no header can carry would be refused later, without a word of where it came from.
    if secret.chars().any(char::is_control) {
        return Err(Failure::usage(format!("{source}: more than one line, or a control character")));
    }
    Ok(Secret::from(secret))
}

fn read(path: &Path, option: &str) -> Result<Zeroizing<String>, Failure> {
    let failed = |why: &dyn std::fmt::Display| Failure::usage(format!("{option} {}: {why}", path.display()));
    let file = File::open(path).map_err(|error| failed(&error))?;
    warn_if_others_read(&file, path);
    // With room for all of it, no copy is left behind by growing.
    let length = file.metadata().map_or(0, |known| known.len()).min(SECRET_BYTES_MAX);
    let room = usize::try_from(length).unwrap_or_default().saturating_add(1);
    let mut text = Zeroizing::new(String::with_capacity(room));
    file.take(SECRET_BYTES_MAX.saturating_add(1))
        .read_to_string(&mut text)
        .map_err(|error| failed(&error))?;
    if text.len() as u64 > SECRET_BYTES_MAX {
        return Err(failed(&format!("more than {SECRET_BYTES_MAX} bytes, which is no secret")));
    }
    Ok(text)
}

#[cfg(unix)]
fn warn_if_others_read(file: &File, path: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    let Ok(known) = file.metadata() else { return };
    let mode = known.permissions().mode() & 0o777;
    if known.is_file() && mode & 0o077 != 0 {
        let path = path.display();
        say(&format!(
            "warning: others can get at {path} (mode {mode:04o}); `chmod 600 {path}` keeps them out"
        ));
    }
}

#[cfg(not(unix))]
fn warn_if_others_read(_file: &File, _path: &Path) {}
