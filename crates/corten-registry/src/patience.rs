//! When a refused request is worth being sent again, and after how long.

use std::time::Duration;

use http::header::RETRY_AFTER;
use http::{Response, StatusCode};

/// How often a request is sent again.
const TIMES: u32 = 4;
/// The first pause; each later one is twice as long.
const FIRST: Duration = Duration::from_millis(200);
/// The longest pause that a registry may ask for.
const LONGEST: Duration = Duration::from_secs(30);

/// Counts the attempts of one request.
#[derive(Debug, Default)]
pub(crate) struct Patience {
    tried: u32,
}

impl Patience {
    /// The pause before the next attempt; `None` where there should be none.
    pub fn after<B>(&mut self, response: &Response<B>) -> Option<Duration> {
        let passing = matches!(
            response.status(),
            StatusCode::TOO_MANY_REQUESTS
                | StatusCode::INTERNAL_SERVER_ERROR
                | StatusCode::BAD_GATEWAY
                | StatusCode::SERVICE_UNAVAILABLE
                | StatusCode::GATEWAY_TIMEOUT
        );
        if !passing || self.tried == TIMES {
            return None;
        }
        let own = FIRST * 2_u32.pow(self.tried);
        self.tried += 1;
        let asked = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        match asked.map(Duration::from_secs) {
            None => Some(own),
            Some(asked) if asked <= LONGEST => Some(asked.max(own)),
            // It will not be ready while anybody waits.
            Some(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, retry_after: Option<&str>) -> Response<()> {
        let mut response = Response::builder().status(status);
        if let Some(seconds) = retry_after {
            response = response.header(RETRY_AFTER, seconds);
        }
        response.body(()).unwrap()
    }

    #[test]
    fn pauses_grow_and_end() {
        let mut patience = Patience::default();
        let pauses: Vec<_> = std::iter::from_fn(|| patience.after(&answer(500, None))).collect();
        assert_eq!(pauses, [200, 400, 800, 1600].map(Duration::from_millis));
    }

    #[test]
    fn a_registry_says_how_long_within_reason() {
        let after = |seconds| Patience::default().after(&answer(429, Some(seconds)));
        assert_eq!(after("1"), Some(Duration::from_secs(1)));
        assert_eq!(after("0"), Some(FIRST));
        assert_eq!(after("86400"), None);
    }

    #[test]
    fn what_will_not_pass_is_not_tried_again() {
        for status in [400, 401, 403, 404, 501] {
            assert_eq!(Patience::default().after(&answer(status, None)), None, "{status}");
        }
    }
}
