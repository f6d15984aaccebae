//! The last requests of a route, kept in memory where `compare` is on: a changed plugin is asked about them before it goes
//! live, and what serves beside it. They hold heads and bodies as they came, so they are never written anywhere.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use super::request::{RequestView, ResponseView};
use crate::base::clock::Timestamp;
use crate::base::payload::Payload;

/// The most that the requests of one route may hold together; the oldest give way.
const BYTES_MAX: usize = 8 << 20;

/// One question that was asked.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) question: Question,
    pub(crate) request: Arc<RequestView>,
    /// The clock the plugin saw.
    pub(crate) now: Timestamp,
}

/// What was asked beside the request.
#[derive(Clone, Debug)]
pub(crate) enum Question {
    Verify(Payload),
    OnRequest,
    OnResponse(Arc<ResponseView>),
    Choose(Arc<[String]>),
}

impl Asked {
    fn bytes(&self) -> usize {
        const OVERHEAD: usize = 512;
        let size = |headers: &http::HeaderMap| -> usize {
            headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum()
        };
        let more = match &self.question {
            Question::Verify(body) => usize::try_from(body.length()).unwrap_or(usize::MAX),
            Question::OnResponse(response) => size(&response.headers),
            Question::OnRequest | Question::Choose(_) => 0,
        };
        OVERHEAD + self.request.target.len() + size(&self.request.headers) + more
    }
}

/// The last questions that were answered.
#[derive(Debug)]
pub(crate) struct Recent {
    max: usize,
    kept: Mutex<(VecDeque<Asked>, usize)>,
}

impl Recent {
    /// Keeps at most `max`.
    pub(crate) fn new(max: usize) -> Self {
        Self { max, kept: Mutex::default() }
    }

    pub(crate) fn max(&self) -> usize {
        self.max
    }

    /// Keeps one more; the oldest give way.
    pub(crate) fn keep(&self, asked: Asked) {
        let bytes = asked.bytes();
        if bytes > BYTES_MAX {
            return;
        }
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.0.push_back(asked);
        kept.1 += bytes;
        while kept.0.len() > self.max || kept.1 > BYTES_MAX {
            let Some(oldest) = kept.0.pop_front() else { break };
            kept.1 -= oldest.bytes();
        }
    }

    /// All of them, the oldest first.
    pub(crate) fn all(&self) -> Vec<Asked> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).0.iter().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(id: usize, body: usize) -> Asked {
        let request = RequestView {
            id: id.to_string(),
            route: "r".into(),
            product: "p".into(),
            protocol: crate::plugin::request::Protocol::Webhook,
            method: "POST".into(),
            scheme: "http".into(),
            authority: "a.test".into(),
            path: "/".into(),
            target: "/".into(),
            headers: http::HeaderMap::new(),
            client: "127.0.0.1".into(),
            event_type: None,
        };
        let question = Question::Verify(Payload::Memory(vec![0; body].into()));
        Asked { question, request: Arc::new(request), now: Timestamp::from_seconds(0) }
    }

    fn ids(recent: &Recent) -> Vec<String> {
        recent.all().iter().map(|asked| asked.request.id.clone()).collect()
    }

    #[test]
    fn the_oldest_give_way_to_the_newest() {
        let recent = Recent::new(3);
        (1..=5).for_each(|id| recent.keep(asked(id, 10)));
        assert_eq!(ids(&recent), ["3", "4", "5"]);
    }

    #[test]
    fn together_they_hold_no_more_than_they_may() {
        let recent = Recent::new(1000);
        (1..=5).for_each(|id| recent.keep(asked(id, BYTES_MAX / 3)));
        assert_eq!(ids(&recent), ["4", "5"]);
        recent.keep(asked(6, BYTES_MAX));
        assert_eq!(ids(&recent), ["4", "5"], "what alone is too much is not kept");
    }
}
