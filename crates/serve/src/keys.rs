//! API keys. The server knows their SHA-256 alone, so a stolen configuration opens nothing; and it compares without saying, by
//! the time it takes, how much of a guess was right.
//!
//! A key is long and random (`openssl rand -hex 32`): a plain hash is enough for such a secret, a slow one would be for passwords.

use crate::problem::Problem;
use crate::{Error, Result};
use axum::http::{HeaderMap, header};
use rankstill_core::artefact::sha256;
use subtle::{Choice, ConstantTimeEq as _};

/// Hashes of keys; whoever has one of them may come in.
#[derive(Clone, Debug, Default)]
pub struct Keys {
    hashes: Vec<String>,
}

impl Keys {
    /// From a file's text: a SHA-256 in hexadecimal a line; blank lines and what stands behind a `#` do not count.
    ///
    /// # Errors
    /// When a line is no hash, or there is none.
    pub fn parse(text: &str) -> Result<Self> {
        let wrong = |problem: String| Error::Setting { key: "keys".into(), problem };
        let mut hashes = Vec::new();
        for (line, at) in text.lines().zip(1..) {
            let hash = line.split('#').next().unwrap_or_default().trim().to_ascii_lowercase();
            if hash.is_empty() {
                continue;
            }
            if hash.len() != 64 || !hash.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                return Err(wrong(format!("line {at}: expected a SHA-256, 64 hexadecimal digits")));
            }
            hashes.push(hash);
        }
        if hashes.is_empty() {
            return Err(wrong("there is none".into()));
        }
        Ok(Self { hashes })
    }

    /// Whether the request carries one of them, as `authorization: Bearer KEY`.
    ///
    /// # Errors
    /// When it does not.
    pub(crate) fn check(&self, headers: &HeaderMap) -> std::result::Result<(), Problem> {
        let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let key = given.and_then(|given| given.strip_prefix("Bearer ")).unwrap_or_default();
        let hash = sha256(key.as_bytes());
        let same = |known: &String| known.as_bytes().ct_eq(hash.as_bytes());
        // All are compared, whichever fits.
        let any = self.hashes.iter().map(same).fold(Choice::from(0), |any, one| any | one);
        if bool::from(any) { Ok(()) } else { Err(Problem::unauthorised()) }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn who_has_a_key_comes_in() {
        let text = format!(
            "# ours\n{}  # of the shop\n\n{}\n",
            sha256(b"open"),
            sha256(b"sesame").to_uppercase()
        );
        let keys = Keys::parse(&text).unwrap();
        let with = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::AUTHORIZATION, value.parse().unwrap());
            keys.check(&headers).is_ok()
        };
        assert!(with("Bearer open") && with("Bearer sesame"));
        for wrong in ["open", "Bearer ", "Bearer Open", "Bearer opens", "bearer open", "Basic open"]
        {
            assert!(!with(wrong), "{wrong}");
        }
        assert_eq!(keys.check(&HeaderMap::new()).unwrap_err().status, 401);
        assert!(!with(&format!("Bearer {}", sha256(b"open"))), "the hash is no key");
    }

    #[test]
    fn a_file_without_hashes_is_refused() {
        for (text, told) in
            [("", "there is none"), ("# only this", "there is none"), ("a\nopen", "line 1")]
        {
            assert!(Keys::parse(text).unwrap_err().to_string().contains(told), "{text}");
        }
    }
}
