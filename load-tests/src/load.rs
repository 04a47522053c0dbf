//! A load generator that keeps its own counts: some thousands of mixed requests over a bounded number of connections.
//!
//! A [`Plan`] says which requests, [`send`] sends them, and the [`Tally`] says what came back, by route and status.
//! Requests are taken from the plan in order, by whichever connection is free. Everything ends: each exchange has a
//! deadline, and what went wrong in a way that the plan does not foresee is an error, not a number.

mod exchange;
mod plan;
mod tally;

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

pub use exchange::ExchangeError;
pub use plan::{Ask, Ending, Payload, Plan};
pub use tally::{Row, Tally};
use tokio::task::JoinSet;

/// Sends the whole plan to `target` over `connections` connections, calling `sent` after each request.
///
/// # Errors
/// The first exchange that ended in a way that its [`Ask`] does not foresee.
pub async fn send(
    plan: Plan,
    target: SocketAddr,
    connections: usize,
    sent: impl Fn() + Clone + Send + 'static,
) -> Result<Tally, ExchangeError> {
    let asks: Arc<[Ask]> = plan.into_asks().into();
    let next = Arc::new(AtomicUsize::new(0));
    let mut workers = JoinSet::new();
    for _ in 0..connections {
        let (asks, next, sent) = (Arc::clone(&asks), Arc::clone(&next), sent.clone());
        workers.spawn(async move {
            let mut client = exchange::Client::new(target);
            let mut tally = Tally::default();
            while let Some(ask) = asks.get(next.fetch_add(1, Ordering::Relaxed)) {
                let answer = client.exchange(ask).await?;
                tally.add(ask.route, answer.status, answer.took);
                sent();
            }
            Ok(tally)
        });
    }
    let mut total = Tally::default();
    while let Some(worker) = workers.join_next().await {
        match worker {
            Ok(tally) => total.merge(tally?),
            // Nobody cancels a worker: it can only have panicked.
            Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
        }
    }
    Ok(total)
}
