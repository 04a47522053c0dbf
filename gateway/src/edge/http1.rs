//! The request loop of an HTTP/1.1 connection: one attempt after the other, each with an owner.

use std::sync::Arc;

use pingora_core::apps::HttpServerApp;
use pingora_core::protocols::IO;
use pingora_core::protocols::http::ServerSession;
use pingora_core::server::ShutdownWatch;

use super::attempt::{Attempt, Guard};
use super::tap::Tap;

/// Serves a connection until it ends. What Pingora's own loop does, but that each attempt is closed, and that
/// pipelined requests are answered: without being told so, Pingora drops them silently.
pub(super) async fn serve<A>(
    app: &Arc<A>,
    io: impl IO + 'static,
    attempt: &Arc<Attempt>,
    stop: &ShutdownWatch,
) where
    A: HttpServerApp + Send + Sync + 'static,
{
    let guard = Guard(attempt);
    let mut session = ServerSession::new_http1(Box::new(Tap::new(io, attempt.clone())));
    // The tap holds the deadlines; `0` is Pingora's word for none.
    session.set_keepalive(Some(0));
    session.set_pipelining_enabled(true);
    loop {
        let reused = app.process_new_http(session, stop).await;
        attempt.close(*stop.borrow());
        let Some((stream, settings)) = reused.map(|reused| reused.consume()) else { break };
        attempt.begin();
        session = ServerSession::new_http1(stream);
        if let Some(settings) = settings {
            settings.apply_to_session(&mut session);
        }
    }
    drop(guard);
}
