//! A deadline that moves with every request and hardly ever costs a timer.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::time::{Instant, Sleep, sleep_until};

/// A timer that is set back only when it would fire too late.
///
/// Deadlines mostly move away from now: a kept connection gets a later one with each request. So the timer stays
/// where it is, and when it fires too early it is set to the deadline of that moment. A busy connection thus touches
/// the runtime's timer wheel once a period, not once a request.
#[derive(Debug, Default)]
pub(super) struct Alarm {
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Alarm {
    /// Ready once `due` has passed; the task is woken by then.
    pub(super) fn poll(&mut self, due: Instant, cx: &mut Context<'_>) -> Poll<()> {
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep_until(due)));
        if sleep.deadline() > due {
            sleep.as_mut().reset(due);
        }
        loop {
            ready!(sleep.as_mut().poll(cx));
            if Instant::now() >= due {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(due);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;
    use std::time::Duration;

    #[tokio::test(start_paused = true)]
    async fn it_rings_at_the_deadline_that_counts_when_it_is_polled() {
        let start = Instant::now();
        let mut alarm = Alarm::default();
        let mut poll_once = |due: Instant| {
            let mut cx = Context::from_waker(std::task::Waker::noop());
            alarm.poll(due, &mut cx)
        };
        assert!(poll_once(start + Duration::from_secs(10)).is_pending());
        // Later: the timer stays, and fires too early, unnoticed.
        assert!(poll_once(start + Duration::from_secs(20)).is_pending());
        tokio::time::advance(Duration::from_secs(15)).await;
        assert!(poll_once(start + Duration::from_secs(20)).is_pending());
        // Earlier: the timer moves.
        poll_fn(|cx| alarm.poll(start + Duration::from_secs(16), cx)).await;
        assert_eq!(start.elapsed(), Duration::from_secs(16));
    }
}
