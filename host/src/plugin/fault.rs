//! Why a plugin's call could not be used. Each is the plugin's fault or the gateway's, never the sender's: the call
//! answers 503 and the request goes nowhere.

use std::fmt;

use crate::base::clock::Timestamp;
use crate::telemetry::labels::FaultReason;

/// What a plugin did wrong, or why it could not be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PluginFault {
    /// No such file, or it is not good enough to serve; why.
    Missing(String),
    /// It trapped.
    Trap(String),
    /// It used more CPU than its deadline allows, or the call took far longer than that.
    Deadline,
    /// It wanted more memory than it may have.
    Memory,
    /// It asked the host for more than a call may.
    Budget(&'static str),
    /// What it returned cannot be true or cannot be sent.
    Lie(String),
    /// `configure` failed in a fresh instance although it had passed when the plugin went live.
    Configure(String),
    /// Too many instances at once.
    Instances,
    /// It failed too often in a row; it is asked again at this time.
    Parked(Timestamp),
}

impl PluginFault {
    /// Whether the plugin itself did wrong, rather than not being asked at all.
    pub(super) fn is_own(&self) -> bool {
        !matches!(self, Self::Missing(_) | Self::Instances | Self::Parked(_))
    }

    /// The reason as metrics and logs have it.
    pub fn reason(&self) -> FaultReason {
        match self {
            Self::Missing(_) => FaultReason::Missing,
            Self::Trap(_) => FaultReason::Trap,
            Self::Deadline => FaultReason::Deadline,
            Self::Memory => FaultReason::Memory,
            Self::Budget(_) => FaultReason::Budget,
            Self::Lie(_) => FaultReason::Lie,
            Self::Configure(_) => FaultReason::Configure,
            Self::Instances => FaultReason::Busy,
            Self::Parked(_) => FaultReason::Parked,
        }
    }
}

impl fmt::Display for PluginFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(why) => write!(f, "the plugin is not there: {why}"),
            Self::Trap(what) => write!(f, "the plugin trapped: {what}"),
            Self::Deadline => f.write_str("the plugin overran its deadline"),
            Self::Memory => f.write_str("the plugin wanted more memory than it may have"),
            Self::Budget(what) => write!(f, "the plugin asked for too much: {what}"),
            Self::Lie(what) => write!(f, "the plugin returned something that cannot be: {what}"),
            Self::Configure(what) => write!(f, "the plugin refused its options: {what}"),
            Self::Instances => f.write_str("too many plugin instances are running"),
            Self::Parked(until) => write!(f, "the plugin failed too often in a row; it is asked again at {until}"),
        }
    }
}

impl std::error::Error for PluginFault {}
