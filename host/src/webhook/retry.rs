//! When a delivery is tried again: a pure function of what happened, the policy and a chance.

use std::time::Duration;

use crate::base::clock::Timestamp;
use crate::config::plan::Retry;

/// What an attempt came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attempted {
    /// The product answered.
    Answered {
        /// With this status.
        status: u16,
        /// And asked to be left alone for so long.
        retry_after: Option<Duration>,
        /// And said that it wants no more of this event (`webhook-delivery: disable`).
        unwanted: bool,
    },
    /// It did not: no connection, a broken one, or no answer in time.
    Failed,
}

/// What comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Nothing: the product took it.
    Delivered,
    /// Another attempt at this time.
    Retry(Timestamp),
    /// Nothing: it is given up.
    Dead(Why),
}

/// Why a delivery is given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// The product answered 410.
    Gone,
    /// The product said that it wants no more of it.
    Unwanted,
    /// The product keeps answering something that will not change.
    Rejected,
    /// The schedule is at its end.
    Exhausted,
}

impl Why {
    /// For people.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Gone => "the product answered 410 Gone",
            Self::Unwanted => "the product answered webhook-delivery: disable",
            Self::Rejected => "the product rejected it",
            Self::Exhausted => "every attempt of the schedule failed",
        }
    }
}

/// Decides after `attempt` (counted from 1 since the schedule started) failed or not. `chance` is in 0..1: the delay is
/// entry `attempt` of the schedule × (1 + jitter × chance), or what the product asked for, capped, when that is longer.
pub fn decide(now: Timestamp, attempt: u32, attempted: Attempted, policy: &Retry, chance: f64) -> Next {
    let (tries, wish) = match attempted {
        Attempted::Answered { status: 200..=299, .. } => return Next::Delivered,
        Attempted::Answered { status: 410, .. } => return Next::Dead(Why::Gone),
        Attempted::Answered { unwanted: true, .. } => return Next::Dead(Why::Unwanted),
        Attempted::Answered { status: 408 | 425 | 429 | 500.., retry_after, .. } => (None, retry_after),
        Attempted::Answered { retry_after, .. } => (Some(policy.rejected_tries), retry_after),
        Attempted::Failed => (None, None),
    };
    if tries.is_some_and(|tries| attempt >= tries) {
        return Next::Dead(Why::Rejected);
    }
    let entry = usize::try_from(attempt.saturating_sub(1)).unwrap_or(usize::MAX);
    let Some(delay) = policy.schedule.get(entry) else { return Next::Dead(Why::Exhausted) };
    let delay = delay.mul_f64(1.0 + policy.jitter * chance.clamp(0.0, 1.0));
    let wish = wish.map_or(Duration::ZERO, |wish| wish.min(policy.retry_after_max));
    Next::Retry(now.after(delay.max(wish)))
}

/// Reads a Retry-After field (RFC 9110, section 10.2.3): seconds, or a date.
pub fn retry_after(now: Timestamp, value: &[u8]) -> Option<Duration> {
    let text = std::str::from_utf8(value).ok()?.trim();
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        // More digits than fit mean a very long time.
        return Some(Duration::from_secs(text.parse().unwrap_or(u64::from(u32::MAX))));
    }
    let at = httpdate::parse_http_date(text).ok()?;
    Some(at.duration_since(now.system()).unwrap_or(Duration::ZERO))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_seconds(1_000);

    fn policy() -> Retry {
        Retry {
            schedule: [5, 300].map(Duration::from_secs).to_vec(),
            jitter: 0.2,
            timeout: Duration::from_secs(15),
            retry_after_max: Duration::from_secs(600),
            rejected_tries: 2,
        }
    }

    fn answered(status: u16) -> Attempted {
        Attempted::Answered { status, retry_after: None, unwanted: false }
    }

    fn after(seconds: u64) -> Next {
        Next::Retry(NOW.after(Duration::from_secs(seconds)))
    }

    #[test]
    fn any_2xx_is_delivered() {
        for status in [200, 201, 202, 204, 299] {
            assert_eq!(decide(NOW, 1, answered(status), &policy(), 0.0), Next::Delivered);
        }
    }

    #[test]
    fn n_entries_are_n_plus_1_attempts() {
        for attempted in [Attempted::Failed, answered(500), answered(503), answered(408), answered(425), answered(429)]
        {
            assert_eq!(decide(NOW, 1, attempted, &policy(), 0.0), after(5));
            assert_eq!(decide(NOW, 2, attempted, &policy(), 0.0), after(300));
            assert_eq!(decide(NOW, 3, attempted, &policy(), 0.0), Next::Dead(Why::Exhausted));
        }
    }

    #[test]
    fn a_410_is_dead_at_once() {
        assert_eq!(decide(NOW, 1, answered(410), &policy(), 0.0), Next::Dead(Why::Gone));
    }

    #[test]
    fn a_product_that_wants_no_more_of_it_gets_no_more_unless_it_took_it() {
        let unwanted = |status| Attempted::Answered { status, retry_after: None, unwanted: true };
        for status in [302, 400, 429, 503] {
            assert_eq!(decide(NOW, 1, unwanted(status), &policy(), 0.0), Next::Dead(Why::Unwanted), "{status}");
        }
        assert_eq!(decide(NOW, 1, unwanted(200), &policy(), 0.0), Next::Delivered);
    }

    #[test]
    fn a_4xx_that_will_not_change_is_tried_a_few_times() {
        for status in [301, 302, 400, 401, 404, 422] {
            assert_eq!(decide(NOW, 1, answered(status), &policy(), 0.0), after(5), "{status}");
            assert_eq!(decide(NOW, 2, answered(status), &policy(), 0.0), Next::Dead(Why::Rejected), "{status}");
        }
    }

    #[test]
    fn jitter_only_adds() {
        assert_eq!(decide(NOW, 1, Attempted::Failed, &policy(), 0.0), after(5));
        assert_eq!(decide(NOW, 1, Attempted::Failed, &policy(), 1.0), after(6));
    }

    #[test]
    fn a_429_waits_for_retry_after_but_not_beyond_the_cap() {
        let asks = |seconds| Attempted::Answered {
            status: 429,
            retry_after: Some(Duration::from_secs(seconds)),
            unwanted: false,
        };
        assert_eq!(decide(NOW, 1, asks(60), &policy(), 0.0), after(60));
        assert_eq!(decide(NOW, 1, asks(1), &policy(), 0.0), after(5), "a shorter wish does not shorten the delay");
        assert_eq!(decide(NOW, 1, asks(6_000), &policy(), 0.0), after(600));
        assert_eq!(decide(NOW, 3, asks(60), &policy(), 0.0), Next::Dead(Why::Exhausted));
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = Timestamp::from_seconds(784_111_777);
        let read = |text: &str| retry_after(now, text.as_bytes());
        assert_eq!(read("120"), Some(Duration::from_secs(120)));
        assert_eq!(read("Sun, 06 Nov 1994 08:50:37 GMT"), Some(Duration::from_secs(60)));
        assert_eq!(read("Sun, 06 Nov 1994 08:40:00 GMT"), Some(Duration::ZERO));
        assert_eq!(read("99999999999999999999"), Some(Duration::from_secs(u64::from(u32::MAX))));
        for bad in ["", "-1", "soon", "1.5"] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}
