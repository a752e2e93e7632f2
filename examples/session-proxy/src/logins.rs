//! The users file as an authenticator: passwords, keys, one-time codes.

use std::net::IpAddr;
use std::sync::Arc;

use argon2::password_hash::phc::PasswordHash;
use argon2::{Argon2, PasswordVerifier as _};
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use session_filter::User;
use session_filter::ssh::keys::PublicKey;
use session_filter::ssh::{Authenticator, CodeCheck, SecondFactor};
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

use crate::Failure;
use crate::codes::Codes;
use crate::users::{PASSWORD_BYTES_MAX, Person, UserFile, hash};

/// Passwords that are verified at the same time: each takes 19 MiB and tens of milliseconds of a core. Those who wait are as many as
/// there may be connections that are not logged in, at the most, and wait as long as these last.
const VERIFY_MAX: usize = 4;

/// Who is it.
pub(crate) struct Logins {
    users: Arc<UserFile>,
    codes: Codes,
    verifying: Arc<Semaphore>,
    /// Verified when there is no password, so that the time taken does not tell.
    decoy: String,
}

impl Logins {
    pub(crate) fn new(users: Arc<UserFile>, codes: Codes) -> Result<Self, Failure> {
        let decoy = hash("no password has this hash")?;
        Ok(Self { users, codes, verifying: Arc::new(Semaphore::new(VERIFY_MAX)), decoy })
    }

    fn owner(&self, name: &str, key: &PublicKey) -> Option<User> {
        let Person { user, keys, .. } = self.users.person(name)?;
        keys.iter().any(|known| known == key.key_data()).then_some(user)
    }
}

#[async_trait]
impl Authenticator for Logins {
    async fn password(&self, name: &str, password: &str, _source: IpAddr) -> Option<User> {
        if password.len() > PASSWORD_BYTES_MAX {
            return None;
        }
        // Held until the hash is computed, also when whoever asked has given up meanwhile.
        let turn = Arc::clone(&self.verifying).acquire_owned().await.ok()?;
        let person = self.users.person(name);
        let known = person.as_ref().and_then(|person| person.password.clone());
        let has_password = known.is_some();
        let hash = known.unwrap_or_else(|| self.decoy.clone());
        let password = Zeroizing::new(password.to_owned());
        let right = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            PasswordHash::new(&hash)
                .is_ok_and(|hash| Argon2::default().verify_password(password.as_bytes(), &hash).is_ok())
        })
        .await
        .unwrap_or(false);
        person.filter(|_| right && has_password).map(|person| person.user)
    }

    async fn public_key(&self, name: &str, key: &PublicKey, _source: IpAddr) -> Option<User> {
        self.owner(name, key)
    }

    /// The users file takes no security key without `no-touch-required`.
    async fn untouched_security_key(&self, name: &str, key: &PublicKey, _source: IpAddr) -> Option<User> {
        self.owner(name, key)
    }

    async fn second_factor(&self, user: &User) -> SecondFactor {
        // Who has been removed meanwhile gets no further by showing less.
        match self.users.person(user.id()) {
            Some(Person { needs_code: false, .. }) => SecondFactor::NotNeeded,
            _ => SecondFactor::OneTimeCode,
        }
    }

    async fn one_time_code(&self, user: &User, code: &str, now: DateTime<Utc>, _source: IpAddr) -> CodeCheck {
        let (codes, name, code) = (self.codes.clone(), user.id().to_owned(), Zeroizing::new(code.to_owned()));
        tokio::task::spawn_blocking(move || codes.check(&name, &code, now))
            .await
            .unwrap_or_else(|_| CodeCheck::Unavailable("the check was cut off".to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn logins(dir: &std::path::Path, users: &str) -> (Arc<UserFile>, Logins) {
        let path = dir.join("users.toml");
        std::fs::write(&path, users).unwrap();
        let file = UserFile::watch(path, |_| ()).unwrap();
        let logins = Logins::new(Arc::clone(&file), Codes::new(dir, None)).unwrap();
        (file, logins)
    }

    #[tokio::test]
    async fn password_opens_and_removal_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let hashed = hash("right").unwrap();
        let users = format!("[[user]]\nname=\"a\"\npassword=\"{hashed}\"\nroles=[\"r\"]\n");
        let (file, logins) = logins(dir.path(), &users);
        assert_eq!(logins.password("a", "right", HERE).await, Some(User::new("a").role("r")));
        assert_eq!(logins.password("a", "wrong", HERE).await, None);
        assert_eq!(logins.password("b", "right", HERE).await, None);
        assert_eq!(logins.second_factor(&User::new("a")).await, SecondFactor::NotNeeded);
        std::fs::write(dir.path().join("users.toml"), "# nobody\n").unwrap();
        assert_eq!(file.changed(0).await, 1);
        assert_eq!(file.find("a"), None);
        assert_eq!(logins.password("a", "right", HERE).await, None);
        assert_eq!(logins.second_factor(&User::new("a")).await, SecondFactor::OneTimeCode);
    }

    #[tokio::test]
    async fn a_user_with_keys_alone_has_no_password_not_even_the_decoy_s() {
        let dir = tempfile::tempdir().unwrap();
        let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ";
        let (_, logins) = logins(dir.path(), &format!("[[user]]\nname=\"a\"\nkeys=[\"{key} a@b\"]\n"));
        assert_eq!(logins.password("a", "no password has this hash", HERE).await, None);
        assert_eq!(logins.password("b", "no password has this hash", HERE).await, None);
        let key = PublicKey::from_openssh(key).unwrap();
        assert_eq!(logins.public_key("a", &key, HERE).await, Some(User::new("a")));
        assert_eq!(logins.public_key("b", &key, HERE).await, None);
    }
}
