//! `event-api keys`: makes a key. It is shown once, and only its hash is ever kept.

use clap::{Args, ValueEnum};
use mfa_events::TenantId;
use serde_json::json;
use sha2::{Digest as _, Sha256};

use crate::failure::Failure;
use crate::{json, say, tell};

#[derive(Debug, Args)]
pub(crate) struct Wanted {
    /// What the key is called
    name: String,
    /// Whose events it is for
    #[arg(long)]
    tenant: String,
    /// What it is good for; both where it is left out
    #[arg(long, value_enum, value_delimiter = ',')]
    may: Vec<Verb>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum Verb {
    /// To send events
    Ingest,
    /// To read them
    Read,
}

impl Verb {
    fn as_str(self) -> &'static str {
        match self {
            Self::Ingest => "ingest",
            Self::Read => "read",
        }
    }
}

/// 160 random bits, in letters and digits that survive any quoting.
pub(crate) fn random() -> Result<String, Failure> {
    let mut bytes = [0_u8; 20];
    getrandom::fill(&mut bytes).map_err(Failure::stopped)?;
    Ok(format!("ev_{}", data_encoding::BASE32_NOPAD.encode(&bytes).to_lowercase()))
}

fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}

pub(crate) fn run(wanted: &Wanted, as_json: bool) -> Result<(), Failure> {
    let tenant =
        TenantId::new(&wanted.tenant).map_err(|error| Failure::usage(format!("--tenant: {error}")))?;
    let both = [Verb::Ingest, Verb::Read];
    let may: Vec<_> = if wanted.may.is_empty() { both.to_vec() } else { wanted.may.clone() };
    let may: Vec<_> = both.into_iter().filter(|verb| may.contains(verb)).map(Verb::as_str).collect();
    let key = random()?;
    let sha256 = data_encoding::HEXLOWER.encode(&Sha256::digest(key.as_bytes()));
    if as_json {
        let said =
            json!({"key": key, "name": wanted.name, "tenant": tenant.as_str(), "may": may, "sha256": sha256});
        return json::write_line(&mut std::io::stdout(), &said).map_err(Failure::Output);
    }
    // The key alone is on standard output, for a pipe into whatever keeps secrets.
    tell(&key)?;
    say("This key is shown once. In the settings stands its hash:");
    say("");
    say("[[key]]");
    say(&format!("name = {}", quoted(&wanted.name)));
    say(&format!("tenant = {}", quoted(tenant.as_str())));
    let may: Vec<_> = may.into_iter().map(quoted).collect();
    say(&format!("may = [{}]", may.join(", ")));
    say(&format!("sha256 = \"{sha256}\""));
    Ok(())
}
