//! Text that no log, error or listing may show. It leaves this type only where it is hashed, compared or sent.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, de::Error as _};
use zeroize::Zeroize as _;

/// A password, or what stands for one. It is overwritten when dropped, and shows as nothing but that it is there.
#[derive(Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Keeps `text` from being shown.
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// The text itself.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("(secret)")
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // serde's own error would quote what stands in its place.
        String::deserialize(deserializer).map(Self).map_err(|_| D::Error::custom("a secret is a string"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_never_shown() {
        assert_eq!(format!("{:?}", Secret::new("hunter2".to_owned())), "(secret)");
        let error = serde_json::from_str::<Secret>("7312").unwrap_err().to_string();
        assert!(error.starts_with("a secret is a string") && !error.contains("7312"), "{error}");
    }
}
