//! What goes wrong with a database, and whether it is worth another try.

use tokio_postgres::error::SqlState;

use super::super::StoreError;

/// Why a step was not done, or nobody knows whether it was.
#[derive(Debug)]
pub(super) enum Failure {
    /// The connection is gone; what was under way may have been done or not.
    Gone(StoreError),
    /// Somebody else was in the way: undone, to be tried again.
    Again(StoreError),
    /// One of the things written is not acceptable, or we are not: undone, and as it is not to be tried again.
    Refused(StoreError),
    /// Anything else: undone.
    Other(StoreError),
}

impl Failure {
    /// Whether the connection it came from is of no use any more.
    pub(super) fn spoils(&self) -> bool {
        matches!(self, Self::Gone(_))
    }

    pub(super) fn error(&self) -> &StoreError {
        match self {
            Self::Gone(error) | Self::Again(error) | Self::Refused(error) | Self::Other(error) => error,
        }
    }

    /// Not done within its time; whether the database did it is unknown.
    pub(super) fn late() -> Self {
        Self::Gone(StoreError::Failed("the database does not answer".into()))
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::Other(error)
    }
}

impl From<Failure> for StoreError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Gone(error) | Failure::Again(error) | Failure::Refused(error) | Failure::Other(error) => error,
        }
    }
}

impl From<tokio_postgres::Error> for Failure {
    fn from(error: tokio_postgres::Error) -> Self {
        let failed = StoreError::Failed(told(&error));
        let Some(code) = error.code() else { return Self::Gone(failed) };
        match code.code().get(..2).unwrap_or_default() {
            _ if *code == SqlState::DISK_FULL => Self::Other(StoreError::Full),
            "40" => Self::Again(failed),
            // What is wrong is what was sent, not where it was sent to; or who sent it.
            "22" | "23" | "28" | "3D" | "54" => Self::Refused(failed),
            // Connection exceptions; shutting down, starting up; a server that became a replica.
            "08" | "57" | "25" => Self::Gone(failed),
            _ => Self::Other(failed),
        }
    }
}

/// The sentence of the database, or of the network; never what was sent.
fn told(error: &tokio_postgres::Error) -> String {
    use std::error::Error as _;
    match error.as_db_error() {
        Some(database) => format!("{} ({})", database.message(), database.code().code()),
        None => match error.source() {
            Some(source) => format!("{error}: {source}"),
            None => error.to_string(),
        },
    }
}
