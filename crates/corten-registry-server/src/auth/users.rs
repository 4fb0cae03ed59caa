use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use argon2::{Argon2, PasswordHash, PasswordVerifier};
use corten_types::Digest;
use parking_lot::{Mutex, RwLock};
use tokio::sync::Semaphore;

use super::AuthError;

/// How long a right password is remembered, so that not every request costs a hash that is made to be slow.
const REMEMBER: Duration = Duration::from_secs(300);
/// How many right passwords are remembered.
const REMEMBER_MAX: usize = 10_000;
/// How many passwords are checked at once.
const AT_ONCE: usize = 2;
/// The longest password that is looked at, in bytes.
const PASSWORD_MAX: usize = 1024;

/// The users of an htpasswd file: `name:hash`, bcrypt (`htpasswd -B`) or argon2.
pub struct Users {
    path: PathBuf,
    hashes: Arc<RwLock<HashMap<String, String>>>,
    /// Digest over a secret of this process, name and password → until when.
    remembered: Mutex<HashMap<Digest, Instant>>,
    secret: String,
    slots: Semaphore,
}

impl Users {
    /// Reads the file.
    pub fn open(path: &Path) -> Result<Self, AuthError> {
        let users = Self {
            path: path.to_owned(),
            hashes: Arc::default(),
            remembered: Mutex::default(),
            secret: corten_types::random_hex(32),
            slots: Semaphore::new(AT_ONCE),
        };
        users.reload()?;
        Ok(users)
    }

    /// Reads the file again; a file that cannot be read changes nothing.
    pub fn reload(&self) -> Result<(), AuthError> {
        let failed = |reason| AuthError::File { what: "password file", path: self.path.clone(), reason };
        let text = std::fs::read_to_string(&self.path).map_err(|error| failed(error.to_string()))?;
        let hashes = parse(&text).map_err(failed)?;
        *self.hashes.write() = hashes;
        self.remembered.lock().clear();
        Ok(())
    }

    /// Whether there is such a user with such a password.
    pub async fn check(&self, user: &str, password: &str) -> bool {
        if password.len() > PASSWORD_MAX {
            return false;
        }
        let key = Digest::of(format!("{}\0{user}\0{password}", self.secret).as_bytes());
        if self.remembered.lock().get(&key).is_some_and(|until| *until > Instant::now()) {
            return true;
        }
        let Ok(_slot) = self.slots.acquire().await else { return false };
        let known = self.hashes.read().get(user).cloned();
        let password = password.to_owned();
        let right = tokio::task::spawn_blocking(move || match known {
            Some(hash) => verify(&hash, &password),
            None => {
                // A name that is not there takes as long as one that is.
                verify(NOBODY, &password);
                false
            }
        });
        let right = right.await.unwrap_or(false);
        if right {
            let mut remembered = self.remembered.lock();
            if remembered.len() >= REMEMBER_MAX {
                remembered.clear();
            }
            remembered.insert(key, Instant::now() + REMEMBER);
        }
        right
    }
}

/// A bcrypt hash of usual cost that no password has.
const NOBODY: &str = "$2b$10$abcdefghijklmnopqrstuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuu";

fn verify(hash: &str, password: &str) -> bool {
    if hash.starts_with("$argon2") {
        return PasswordHash::new(hash)
            .is_ok_and(|hash| Argon2::default().verify_password(password.as_bytes(), &hash).is_ok());
    }
    bcrypt::verify(password, hash).unwrap_or(false)
}

fn parse(text: &str) -> Result<HashMap<String, String>, String> {
    let mut users = HashMap::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let wrong = |reason: &str| format!("line {}: {reason}", number + 1);
        let (name, hash) = line.split_once(':').ok_or_else(|| wrong("it is not name:hash"))?;
        let known = ["$2a$", "$2b$", "$2x$", "$2y$"].iter().any(|prefix| hash.starts_with(prefix))
            || PasswordHash::new(hash).is_ok_and(|_| hash.starts_with("$argon2"));
        if !known {
            return Err(wrong("the hash is neither bcrypt (htpasswd -B) nor argon2"));
        }
        users.insert(name.to_owned(), hash.to_owned());
    }
    Ok(users)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn bcrypt_and_argon2_passwords_are_checked() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("htpasswd");
        let bcrypt = bcrypt::hash("right", 4).unwrap();
        let salt = argon2::password_hash::SaltString::from_b64("c2FsdHNhbHRzYWx0").unwrap();
        let params = argon2::Params::new(64, 1, 1, None).unwrap();
        let hasher = Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, params);
        let argon = argon2::PasswordHasher::hash_password(&hasher, b"strong", &salt).unwrap().to_string();
        std::fs::write(&path, format!("# users\nme:{bcrypt}\n\nyou:{argon}\n")).unwrap();
        let users = Users::open(&path).unwrap();
        assert!(users.check("me", "right").await);
        assert!(users.check("me", "right").await, "and remembered");
        assert!(!users.check("me", "wrong").await);
        assert!(users.check("you", "strong").await);
        assert!(!users.check("you", "right").await);
        assert!(!users.check("nobody", "right").await);
        assert!(!users.check("me", &"x".repeat(5000)).await);
        std::fs::write(&path, format!("you:{argon}\n")).unwrap();
        users.reload().unwrap();
        assert!(!users.check("me", "right").await, "a user who was taken out is not remembered");
    }

    #[test]
    fn weak_hashes_are_refused_by_line() {
        assert_eq!(
            parse("a:$2y$05$x\nb:{SHA}abc").unwrap_err(),
            "line 2: the hash is neither bcrypt (htpasswd -B) nor argon2"
        );
        assert_eq!(parse("x").unwrap_err(), "line 1: it is not name:hash");
    }
}
