//! A refusal: the Status the server answered with.

use anyhow::{Context, bail};
use serde_json::Value;

/// The server said no.
#[derive(Clone, Debug)]
pub struct Refused {
    pub code: u16,
    /// The whole Status, or null where the body was none.
    pub status: Value,
    /// What was asked, for the message.
    pub request: String,
}

impl Refused {
    #[must_use]
    pub fn reason(&self) -> &str {
        self.status["reason"].as_str().unwrap_or_default()
    }

    #[must_use]
    pub fn message(&self) -> &str {
        self.status["message"].as_str().unwrap_or_default()
    }
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {} {}: {}", self.request, self.code, self.reason(), self.message())
    }
}

impl std::error::Error for Refused {}

/// Results that a spec wants to be refusals.
pub trait Refusal<T> {
    /// The refusal, which must be there.
    ///
    /// # Errors
    /// The request succeeded, or failed otherwise.
    fn refused(self) -> anyhow::Result<Refused>;

    /// The refusal, which must have this code.
    ///
    /// # Errors
    /// See [`Refusal::refused`].
    fn refused_with(self, code: u16) -> anyhow::Result<Refused>;
}

impl<T: std::fmt::Debug> Refusal<T> for anyhow::Result<T> {
    fn refused(self) -> anyhow::Result<Refused> {
        match self {
            Ok(answer) => bail!("it was accepted and should have been refused: {answer:?}"),
            Err(error) => error.downcast::<Refused>().context("it should have been refused by the server"),
        }
    }

    fn refused_with(self, code: u16) -> anyhow::Result<Refused> {
        let refused = self.refused()?;
        if refused.code != code {
            bail!("it should have been refused with {code}: {refused}");
        }
        Ok(refused)
    }
}
