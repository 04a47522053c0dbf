//! HTTP/2 by prior knowledge, on a connection that is not secured (RFC 9113, section 3.3).

use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout_at};

use super::ledger::PREFACE;

/// Bytes that tell the preface from every HTTP/1 request: `PRI` is no method, and never will be one (RFC 9113,
/// section 11.6).
const TELLING: usize = 4;
/// How long to wait for more of it, at first and at most. A client that sends the first byte alone is no honest one.
const WAIT: Duration = Duration::from_millis(1);
const LONGEST_WAIT: Duration = Duration::from_millis(250);

/// Whether the client begins as an HTTP/2 client does. Nothing is taken from the stream; where nothing can be told
/// until `deadline`, or the stream ends, the answer is no.
pub(crate) async fn is_announced(tcp: &TcpStream, deadline: Instant) -> bool {
    let mut wait = WAIT;
    loop {
        let mut seen = [0; TELLING];
        let Ok(Ok(count)) = timeout_at(deadline, tcp.peek(&mut seen)).await else { return false };
        if count == 0 || seen[..count] != PREFACE[..count] || Instant::now() >= deadline {
            return false;
        }
        if count == TELLING {
            return true;
        }
        // What is there already is there at once when it is looked at again.
        sleep(wait).await;
        wait = (wait * 2).min(LONGEST_WAIT);
    }
}
