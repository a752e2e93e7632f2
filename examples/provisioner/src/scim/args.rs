//! The command line of `scim`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgGroup, Args, Subcommand};

pub(crate) const HELP: &str = "\
Examples:
  provisioner scim probe https://app.example.com/scim/v2 --token-file token
  provisioner scim list https://app.example.com/scim/v2 users --filter 'active eq true and userName sw \"a\"'
  provisioner scim get https://app.example.com/scim/v2 users/2819c223
  provisioner scim patch https://app.example.com/scim/v2 users/2819c223 --set active=false --dry-run
  SCIM_TOKEN=… provisioner --json scim list https://app.example.com/scim/v2 groups | jq -r .displayName

`provisioner scim VERB --help` has the rest.

Exit status:
  0  it worked
  1  it did not: the server failed, refused this one request, or wants fewer; or a change cannot be seen afterwards
  2  wrong usage: a mistake in an option, a filter, a path or a file; mistakes in texts are shown with their column
  3  unreachable: no such name, no connection, no TLS, no answer in time
  4  the credential is refused: 401, 403, or a page to sign in came in place of an answer
  5  there is no SCIM service at the address: something else answers
  6  the service is there, and what was asked for is not
  7  a change was sent and no answer came: it may have happened, so look before you repeat it
  8  `patch --if-match`: the resource was changed meanwhile; nothing was done

With --json, an error is one object on standard error with `cause`, `exit_status` and `message`.

What is printed cannot act on a terminal: control characters and the like are written out, such as \\x1b; --json escapes
them, such as \\u001b. Colours only on a terminal, and not with NO_COLOR set.";

#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) connection: Connection,
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

/// How to reach the service, and as whom. No secret is ever given on the command line, where others could see it.
#[derive(Debug, Args)]
#[command(next_help_heading = "Connection")]
pub(crate) struct Connection {
    /// Read the bearer token from this file [default: the environment variable SCIM_TOKEN]
    #[arg(long, value_name = "FILE", global = true)]
    pub(crate) token_file: Option<PathBuf>,
    /// Basic authentication by this name; the password comes from --password-file or SCIM_PASSWORD
    #[arg(long, value_name = "NAME", global = true)]
    pub(crate) user: Option<String>,
    /// Read the password from this file
    #[arg(long, value_name = "FILE", global = true)]
    pub(crate) password_file: Option<PathBuf>,
    /// OAuth 2.0 client credentials: where tokens are to be had; the secret comes from --oauth-secret-file or
    /// SCIM_CLIENT_SECRET
    #[arg(long, value_name = "URL", global = true)]
    pub(crate) oauth_token_url: Option<String>,
    /// OAuth 2.0: who asks for them
    #[arg(long, value_name = "ID", global = true)]
    pub(crate) oauth_client_id: Option<String>,
    /// OAuth 2.0: read the client's secret from this file
    #[arg(long, value_name = "FILE", global = true)]
    pub(crate) oauth_secret_file: Option<PathBuf>,
    /// OAuth 2.0: the scope to ask for
    #[arg(long, value_name = "SCOPE", global = true)]
    pub(crate) oauth_scope: Option<String>,
    /// OAuth 2.0: send identifier and secret in the form instead of the Authorization header
    #[arg(long, global = true)]
    pub(crate) oauth_post: bool,
    /// How to speak with this server; `probe` says which fits
    #[arg(long, value_name = "NAME", global = true, default_value = "rfc7644")]
    pub(crate) dialect: String,
    /// Trust the certificates in this PEM file, too
    #[arg(long, value_name = "FILE", global = true)]
    pub(crate) ca: Option<PathBuf>,
    /// Show this client certificate (PEM: the chain, leaf first, and its private key)
    #[arg(long, value_name = "FILE", global = true)]
    pub(crate) client_cert: Option<PathBuf>,
    /// Give up on an answer after so many seconds
    #[arg(long, value_name = "SECONDS", global = true, default_value = "30", value_parser = seconds)]
    pub(crate) timeout: Duration,
    /// Send the credential without encryption, to an http address on another machine: whoever listens has it
    #[arg(long, global = true)]
    pub(crate) plain_http: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// What does this server support, where does it deviate from RFC 7644, which dialect fits?
    ///
    /// Reads only: what the server says of itself, then lists and look-ups of all kinds, to see whether it does what it says.
    /// It works better where there are at least two users. With --write it also makes a test user and a test group, changes
    /// them in every form there is, and takes them away again.
    Probe(Probe),
    /// Show one resource
    Get(Get),
    /// List resources, one line each, as they come
    List(List),
    /// List resources by POST to `.search`, so that nothing of the question stands in a URL, where it is logged
    Search(Search),
    /// Change one resource, and read it again to see whether it is so
    ///
    /// What is asked for is written in the form that the dialect's servers read. Removals come first, then what is set, then
    /// what is added; for another order use --file.
    Patch(Patch),
}

#[derive(Debug, Args)]
pub(crate) struct Probe {
    /// Base of the service, such as https://app.example.com/scim/v2
    pub(crate) url: String,
    /// Also try changes: makes a user and a group with `provisioner-probe` in their names, and deletes both at the end
    #[arg(long)]
    pub(crate) write: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Get {
    /// Base of the service, such as https://app.example.com/scim/v2
    pub(crate) url: String,
    /// `users/ID`, `groups/ID`, or any path below the base: `ServiceProviderConfig`, `Me`, `Schemas/urn:…`
    ///
    /// An ID is written as the server gave it, whatever it holds.
    pub(crate) resource: String,
    /// Only these attributes, separated by commas
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub(crate) attributes: Vec<String>,
    /// All but these attributes
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub(crate) exclude: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct List {
    /// Base of the service, such as https://app.example.com/scim/v2
    pub(crate) url: String,
    /// What to list: `users`, `groups`, or another path such as `Devices` or `ResourceTypes`
    pub(crate) kind: String,
    #[command(flatten)]
    pub(crate) question: Question,
}

#[derive(Debug, Args)]
pub(crate) struct Search {
    /// Base of the service, such as https://app.example.com/scim/v2
    pub(crate) url: String,
    /// What to search: `users`, `groups`, …; without it, everything
    pub(crate) kind: Option<String>,
    #[command(flatten)]
    pub(crate) question: Question,
}

#[derive(Debug, Args)]
pub(crate) struct Question {
    /// Only those for which this holds, such as 'userName eq "ann@example.com"'
    #[arg(long, value_name = "FILTER")]
    pub(crate) filter: Option<String>,
    /// Only these attributes, separated by commas; they become the columns
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub(crate) attributes: Vec<String>,
    /// All but these attributes
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub(crate) exclude: Vec<String>,
    /// In the order of this attribute
    #[arg(long, value_name = "NAME")]
    pub(crate) sort_by: Option<String>,
    /// The greatest first
    #[arg(long, requires = "sort_by")]
    pub(crate) descending: bool,
    /// Ask for so many in one request
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) count: Option<u32>,
    /// Stop after so many
    #[arg(long, value_name = "N")]
    pub(crate) limit: Option<u64>,
    /// Show what the server gives, without a look whether the filter holds
    ///
    /// By default each resource is held against the filter here, and a server that ignores it is found out.
    #[arg(long)]
    pub(crate) unverified: bool,
}

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("changes").required(true).multiple(true).args(["set", "add", "remove", "file"]))]
pub(crate) struct Patch {
    /// Base of the service, such as https://app.example.com/scim/v2
    pub(crate) url: String,
    /// `users/ID`, `groups/ID`, or another kind, such as `Devices/ID`
    pub(crate) resource: String,
    /// Put a value in place: 'title=Engineer', 'active=false', 'emails[type eq "work"].value=ann@example.com'
    ///
    /// A value is text, unless it is `true`, `false`, `null`, or JSON that begins with a quote, a brace or a bracket. With `:=`
    /// in place of `=` it is JSON in any case: 'employeeNumber:=4711' is a number.
    #[arg(long, value_name = "PATH=VALUE")]
    pub(crate) set: Vec<String>,
    /// Add a value: 'members=[{"value":"2819c223"}]'
    #[arg(long, value_name = "PATH=VALUE")]
    pub(crate) add: Vec<String>,
    /// Take away what is at a path: 'title', 'members[value eq "2819c223"]'
    #[arg(long, value_name = "PATH")]
    pub(crate) remove: Vec<String>,
    /// Take the operations from this file, a PatchOp as RFC 7644 §3.5.2 has it (`-` reads standard input)
    #[arg(long, value_name = "FILE", conflicts_with_all = ["set", "add", "remove"])]
    pub(crate) file: Option<PathBuf>,
    /// Print what would be sent, exactly, and change nothing; the resource is read
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Only while the resource is in this version; without a value, in the one that is read before
    #[arg(long, value_name = "ETAG", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    pub(crate) if_match: Option<String>,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "this is no number of seconds".to_owned())?;
    Duration::try_from_secs_f64(seconds)
        .ok()
        .filter(|time| !time.is_zero() && *time <= TIMEOUT_MAX)
        .ok_or_else(|| format!("more than 0 and at most {}", TIMEOUT_MAX.as_secs()))
}

/// Longest time to wait for one answer.
const TIMEOUT_MAX: Duration = Duration::from_secs(3_600);
