//! API keys. The server stores only their SHA-256 hashes, so a stolen configuration gives no access. It
//! compares them in constant time, so the response time reveals nothing about a guess.
//!
//! Keys are long and random (`openssl rand -hex 32`). For such secrets a plain hash is enough; slow hashes
//! are for passwords.

use crate::wire::Problem;
use crate::{Error, Result};
use axum::http::{HeaderMap, header};
use rankstill_core::artefact::sha256;
use subtle::{Choice, ConstantTimeEq as _};

/// Hashes of the keys that give access.
#[derive(Clone, Debug, Default)]
pub struct Keys {
    hashes: Vec<String>,
}

impl Keys {
    /// Parses one SHA-256 hash per line, in hexadecimal. Blank lines and comments after `#` are ignored.
    ///
    /// # Errors
    /// If a line is not a hash, or there is none.
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
            if hash == sha256(b"") {
                let problem = "is the SHA-256 of nothing, so every client would have access; was the key empty?";
                return Err(wrong(format!("line {at}: {problem}")));
            }
            hashes.push(hash);
        }
        if hashes.is_empty() {
            return Err(wrong("expected at least one SHA-256 hash, found none".into()));
        }
        Ok(Self { hashes })
    }

    /// Looks for a valid key in `authorization: Bearer KEY`.
    ///
    /// # Errors
    /// If there is none.
    pub(crate) fn check(&self, headers: &HeaderMap) -> std::result::Result<(), Problem> {
        let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let key = given.and_then(|given| given.strip_prefix("Bearer ")).unwrap_or_default();
        if key.is_empty() {
            return Err(Problem::unauthorised());
        }
        let hash = sha256(key.as_bytes());
        let same = |known: &String| known.as_bytes().ct_eq(hash.as_bytes());
        // Compares with all of them, even after a match.
        let any = self.hashes.iter().map(same).fold(Choice::from(0), |any, one| any | one);
        if bool::from(any) { Ok(()) } else { Err(Problem::unauthorised()) }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_valid_key_gives_access() {
        let text = format!(
            "# comment\n{}  # the shop\n\n{}\n",
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
        assert!(!with(&format!("Bearer {}", sha256(b"open"))), "the hash itself is not a key");
    }

    #[test]
    fn no_key_is_no_key() {
        // What `printf %s "$(cat empty-file)" | sha256sum` prints.
        let nothing = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        let error = Keys::parse(&format!("{}\n{nothing}\n", sha256(b"open"))).unwrap_err();
        assert!(error.to_string().contains("line 2: is the SHA-256 of nothing"), "{error}");
        let keys = Keys { hashes: vec![nothing.into()] };
        for given in [None, Some("Bearer "), Some("Bearer"), Some("")] {
            let given = given.map(|value| (header::AUTHORIZATION, value.parse().unwrap()));
            assert!(keys.check(&given.into_iter().collect()).is_err());
        }
    }

    #[test]
    fn a_file_without_hashes_is_refused() {
        for (text, message) in
            [("", "found none"), ("# only this", "found none"), ("a\nopen", "line 1")]
        {
            assert!(Keys::parse(text).unwrap_err().to_string().contains(message), "{text}");
        }
    }
}
