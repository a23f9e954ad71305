//! API keys: a file of their digests, which may change while the service runs.

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use figment::Figment;
use figment::providers::{Format as _, Toml};
use jiff::Timestamp;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use uuid::Uuid;

use crate::instrumentation::actix::AuthInfo;
use crate::instrumentation::actix::auth::{Verdict, Verify};
use crate::signals::auth::RefusalReason;
use crate::signals::http::AuthType;

/// What every key begins with, so that scanners for secrets can find one that leaked.
const PREFIX: &str = "tgk_";

/// A group of routes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Route {
    /// The records API and the hooks.
    Records,
    /// Metrics, health's details and the ledger's answers.
    Monitoring,
}

impl Route {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Records, Self::Monitoring];

    /// Its name in the file of keys.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Records => "records",
            Self::Monitoring => "monitoring",
        }
    }
}

/// A key as the file has it: everything but the key itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Key {
    /// What part of the key may be shown.
    pub id: String,
    /// Whose it is.
    pub name: String,
    /// SHA-256 of the key, 64 hexadecimal digits.
    pub sha256: String,
    /// What it is for.
    pub routes: Vec<Route>,
    /// When it was made.
    pub created: Timestamp,
    /// Until when it is good; for ever unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires: Option<Timestamp>,
    /// When it was taken back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revoked: Option<Timestamp>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Contents {
    key: Vec<Key>,
}

impl Key {
    /// A new key, and what its holder shows: `tgk_`, its id, 43 characters of 256 random bits.
    ///
    /// # Errors
    /// When the system gives no random numbers.
    pub fn new(
        name: &str,
        routes: Vec<Route>,
        created: Timestamp,
        expires: Option<Timestamp>,
    ) -> Result<(Self, String), String> {
        let mut secret = [0; 32];
        getrandom::fill(&mut secret).map_err(|error| format!("no random numbers: {error}"))?;
        let (id, _) = Uuid::new_v4().as_u64_pair();
        let id = format!("{:08x}", id >> 32);
        let shown = format!("{PREFIX}{id}_{}", URL_SAFE_NO_PAD.encode(secret));
        let key = Self {
            sha256: hexadecimal(&Sha256::digest(shown.as_bytes())),
            id,
            name: name.to_owned(),
            routes,
            created,
            expires,
            revoked: None,
        };
        Ok((key, shown))
    }

    /// Whether it is accepted at a time.
    #[must_use]
    pub fn is_good(&self, now: Timestamp) -> bool {
        self.revoked.is_none() && self.expires.is_none_or(|expires| now < expires)
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Reads the text of a file of keys.
///
/// # Errors
/// What is not accepted, with the key's position and field.
pub fn parse(text: &str) -> Result<Vec<Key>, String> {
    let contents: Contents = Figment::from(Toml::string(text))
        .extract()
        .map_err(|error| error.to_string())?;
    let mut ids = HashMap::new();
    for (position, key) in contents.key.iter().enumerate() {
        let refuse = |field: &str, accepted: &str| {
            Err(format!(
                "key {position}: `{field}` is not accepted; accepted: {accepted}"
            ))
        };
        if key.name.is_empty() {
            return refuse("name", "a text that is not empty");
        }
        if key.id.is_empty() || !key.id.chars().all(|c| c.is_ascii_alphanumeric()) {
            return refuse("id", "letters and digits");
        }
        if key.sha256.len() != 64
            || !key
                .sha256
                .chars()
                .all(|c| matches!(c, '0'..='9' | 'a'..='f'))
        {
            return refuse("sha256", "64 hexadecimal digits in lower case");
        }
        if key.routes.is_empty() {
            return refuse("routes", "one or more of records, monitoring");
        }
        if let Some(earlier) = ids.insert(key.id.as_str(), position) {
            return Err(format!("key {position}: `id` is that of key {earlier}"));
        }
    }
    Ok(contents.key)
}

/// Why a file of keys is of no use.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// It cannot be read.
    #[error("{path}: cannot be read: {reason}; `tachograph keys create` makes one")]
    Unread {
        /// The file.
        path: String,
        /// What the system said.
        reason: std::io::Error,
    },
    /// It is not accepted.
    #[error("{path}: {reason}")]
    Refused {
        /// The file.
        path: String,
        /// What in it.
        reason: String,
    },
}

/// Reads a file of keys.
///
/// # Errors
/// [`KeysError`].
pub fn read(path: &Path) -> Result<Vec<Key>, KeysError> {
    let shown = || path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|reason| KeysError::Unread {
        path: shown(),
        reason,
    })?;
    parse(&text).map_err(|reason| KeysError::Refused {
        path: shown(),
        reason,
    })
}

/// A file of keys that is in use. It is looked at once a second at most, when somebody shows a
/// key, and read again when it has changed; one that cannot be read then is said in the log, and
/// the keys stay what they were.
pub(super) struct KeyFile {
    path: PathBuf,
    state: Mutex<State>,
}

struct State {
    looked: Instant,
    version: Option<Version>,
    keys: Arc<HashMap<String, Key>>,
}

/// A file of other contents has another one, also when its clock was set back.
#[derive(PartialEq, Eq)]
struct Version {
    modified: Option<SystemTime>,
    bytes: u64,
    #[cfg(unix)]
    inode: u64,
}

impl Version {
    fn of(path: &Path) -> Option<Self> {
        let metadata = std::fs::metadata(path).ok()?;
        Some(Self {
            modified: metadata.modified().ok(),
            bytes: metadata.len(),
            #[cfg(unix)]
            inode: std::os::unix::fs::MetadataExt::ino(&metadata),
        })
    }
}

impl fmt::Debug for KeyFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("KeyFile").field(&self.path).finish()
    }
}

impl KeyFile {
    pub(super) fn open(path: impl Into<PathBuf>) -> Result<Self, KeysError> {
        let path = path.into();
        let version = Version::of(&path);
        let keys = by_id(read(&path)?);
        let state = State {
            looked: Instant::now(),
            version,
            keys: Arc::new(keys),
        };
        Ok(Self {
            path,
            state: Mutex::new(state),
        })
    }

    /// What verifies keys before these routes.
    pub(super) fn for_route(self: &Arc<Self>, route: Route) -> KeyVerifier {
        KeyVerifier {
            file: Arc::clone(self),
            route,
        }
    }

    fn keys(&self, now: Instant) -> Arc<HashMap<String, Key>> {
        let mut state = self.state.lock();
        if now.saturating_duration_since(state.looked) >= super::LOOK {
            state.looked = now;
            let version = Version::of(&self.path);
            if version != state.version {
                match read(&self.path) {
                    Ok(keys) => state.keys = Arc::new(by_id(keys)),
                    Err(error) => {
                        tracing::error!(%error, "the keys stay what they were");
                    }
                }
                state.version = version;
            }
        }
        Arc::clone(&state.keys)
    }
}

fn by_id(keys: Vec<Key>) -> HashMap<String, Key> {
    keys.into_iter().map(|key| (key.id.clone(), key)).collect()
}

#[derive(Debug)]
pub(super) struct KeyVerifier {
    file: Arc<KeyFile>,
    route: Route,
}

impl Verify for KeyVerifier {
    fn verify(&self, token: &str) -> Verdict {
        let Some((id, _)) = token
            .strip_prefix(PREFIX)
            .and_then(|rest| rest.split_once('_'))
        else {
            return Verdict::NotMine;
        };
        let keys = self.file.keys(Instant::now());
        judge(keys.get(id), token, self.route, Timestamp::now())
    }
}

/// The state of a key is told only to who has it.
fn judge(key: Option<&Key>, token: &str, route: Route, now: Timestamp) -> Verdict {
    let refused = |reason| Verdict::Refused(AuthType::ApiKey, reason);
    let shown = hexadecimal(&Sha256::digest(token.as_bytes()));
    let same = |key: &&Key| bool::from(key.sha256.as_bytes().ct_eq(shown.as_bytes()));
    let Some(key) = key.filter(same) else {
        return refused(RefusalReason::Unknown);
    };
    if key.revoked.is_some() {
        refused(RefusalReason::Revoked)
    } else if !key.is_good(now) {
        refused(RefusalReason::Expired)
    } else if !key.routes.contains(&route) {
        refused(RefusalReason::Forbidden)
    } else {
        Verdict::Admitted(AuthInfo::api_key(Some(&key.name)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(verdict: Verdict) -> Option<RefusalReason> {
        match verdict {
            Verdict::Admitted(_) => None,
            Verdict::Refused(_, reason) => Some(reason),
            Verdict::NotMine => panic!("not a key"),
        }
    }

    #[test]
    fn a_key_is_good_for_its_routes_until_it_expires_or_is_revoked() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let made = Key::new("ci", vec![Route::Records], at(100), Some(at(200))).unwrap();
        let (mut key, shown) = made;
        assert!(!format!("{key:?}").contains(&shown));
        let judged = |key: &Key, shown: &str, route, second| {
            reason(judge(Some(key), shown, route, at(second)))
        };
        assert_eq!(judged(&key, &shown, Route::Records, 199), None);
        let expired = Some(RefusalReason::Expired);
        assert_eq!(judged(&key, &shown, Route::Records, 200), expired);
        let forbidden = Some(RefusalReason::Forbidden);
        assert_eq!(judged(&key, &shown, Route::Monitoring, 150), forbidden);
        let unknown = Some(RefusalReason::Unknown);
        let other = format!("{shown}a");
        assert_eq!(judged(&key, &other, Route::Records, 150), unknown);
        assert_eq!(judged(&key, &other, Route::Records, 250), unknown);
        key.revoked = Some(at(120));
        let revoked = Some(RefusalReason::Revoked);
        assert_eq!(judged(&key, &shown, Route::Records, 110), revoked);
        let nobody = judge(None, &shown, Route::Records, at(150));
        assert_eq!(reason(nobody), unknown);
    }

    #[test]
    fn what_is_wrong_with_a_file_is_named() {
        let hash = "ab".repeat(32);
        let right = format!(
            "[[key]]\nid = \"a1\"\nname = \"ci\"\nsha256 = \"{hash}\"\n\
             routes = [\"records\"]\ncreated = \"2026-01-01T00:00:00Z\"\n"
        );
        assert_eq!(parse(&right).map(|keys| keys.len()), Ok(1));
        assert_eq!(parse("").map(|keys| keys.len()), Ok(0));
        for (from, to, part) in [
            ("\"a1\"", "\"a_1\"", "`id`"),
            ("\"ci\"", "\"\"", "`name`"),
            ("abab", "ABAB", "`sha256`"),
            ("[\"records\"]", "[]", "`routes`"),
            ("\"records\"", "\"all\"", "records"),
            ("2026-01-01", "2026-13-01", "created"),
            ("created", "createt", "createt"),
            ("[[key]]", "[[keys]]", "keys"),
        ] {
            let error = parse(&right.replacen(from, to, 1)).unwrap_err();
            assert!(error.contains(part), "{to}: {error}");
        }
        let twice = parse(&format!("{right}{right}")).unwrap_err();
        assert!(
            twice.contains("key 1") && twice.contains("key 0"),
            "{twice}"
        );
    }
}
