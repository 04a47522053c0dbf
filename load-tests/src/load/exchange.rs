//! One request and its reply, over a connection that is kept while both sides like it.

use std::{
    convert::Infallible,
    io,
    net::SocketAddr,
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures::{StreamExt, stream};
use http_body_util::{BodyExt, Empty, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::{
    Request, Response,
    body::{Frame, Incoming},
    client::conn::http1::{self, SendRequest},
    header::{CONTENT_LENGTH, HOST, USER_AGENT},
};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, task::JoinHandle, time::timeout};

use super::plan::{Ask, Ending, Payload};

type Body = UnsyncBoxBody<Bytes, Infallible>;

/// Nothing that the plan asks for takes longer.
const DEADLINE: Duration = Duration::from_secs(15);
/// How long a client waits that hangs up before there is a reply.
const PATIENCE: Duration = Duration::from_millis(120);
const CHUNK: &[u8; 256] = &[b'x'; 256];

/// An exchange that did not go as planned.
#[derive(Debug, thiserror::Error)]
pub enum ExchangeError {
    /// The gateway did not take the connection.
    #[error("cannot connect to {target}")]
    Connect {
        /// Where to.
        target: SocketAddr,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The connection failed in the middle.
    #[error("{asked} failed")]
    Http {
        /// Method and target.
        asked: String,
        /// How.
        #[source]
        source: hyper::Error,
    },
    /// There was no whole reply in time.
    #[error("{asked} had no whole reply within {} s", DEADLINE.as_secs())]
    Deadline {
        /// Method and target.
        asked: String,
    },
    /// The reply was over where the client meant to hang up in the middle of it.
    #[error("{asked} was answered before the client could hang up")]
    TooFast {
        /// Method and target.
        asked: String,
    },
}

/// What one exchange came to.
pub(super) struct Answer {
    /// The status, where the client saw one.
    pub(super) status: Option<u16>,
    /// From before the request was sent until the client was done with it.
    pub(super) took: Duration,
}

/// A client with at most one connection.
pub(super) struct Client {
    target: SocketAddr,
    connection: Option<Connection>,
}

struct Connection {
    requests: SendRequest<Body>,
    driver: JoinHandle<()>,
}

impl Drop for Connection {
    /// Closes the socket, at once: this is how a client hangs up.
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Client {
    pub(super) fn new(target: SocketAddr) -> Client {
        Client { target, connection: None }
    }

    /// Sends `ask` and lets it end as it says.
    pub(super) async fn exchange(&mut self, ask: &Ask) -> Result<Answer, ExchangeError> {
        let mut connection = self.connection().await?;
        let started = Instant::now();
        let done = timeout(DEADLINE, end(&mut connection, ask, self.request(ask))).await;
        let took = started.elapsed();
        let status = done.map_err(|_| ExchangeError::Deadline { asked: asked(ask) })??;
        if ask.ending == Ending::Read {
            self.connection = Some(connection);
        }
        Ok(Answer { status, took })
    }

    /// The connection kept from before, if it still takes requests; otherwise a new one.
    async fn connection(&mut self) -> Result<Connection, ExchangeError> {
        if let Some(mut kept) = self.connection.take()
            && kept.requests.ready().await.is_ok()
        {
            return Ok(kept);
        }
        let failed = |source| ExchangeError::Connect { target: self.target, source };
        let stream = TcpStream::connect(self.target).await.map_err(failed)?;
        stream.set_nodelay(true).map_err(failed)?;
        let (requests, driver) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|source| ExchangeError::Http { asked: "a new connection".to_owned(), source })?;
        // The driver's errors reach whoever waits for the reply.
        let driver = tokio::spawn(async move { drop(driver.await) });
        Ok(Connection { requests, driver })
    }

    fn request(&self, ask: &Ask) -> Request<Body> {
        let mut request = Request::new(body(ask));
        *request.method_mut() = ask.method.clone();
        *request.uri_mut() = ask.target.parse().expect("the plan's targets are valid");
        let headers = request.headers_mut();
        headers.insert(HOST, self.target.to_string().parse().expect("an address is a valid header value"));
        headers.insert(USER_AGENT, "sealgate-load/1".parse().expect("this is a valid header value"));
        if ask.payload == Payload::None && ask.method == hyper::Method::POST {
            headers.insert(CONTENT_LENGTH, 0.into());
        }
        request
    }
}

/// The status that the client saw, if it saw one.
async fn end(
    connection: &mut Connection,
    ask: &Ask,
    request: Request<Body>,
) -> Result<Option<u16>, ExchangeError> {
    let failed = |source| ExchangeError::Http { asked: asked(ask), source };
    let reply = connection.requests.send_request(request);
    match ask.ending {
        Ending::Read => {
            let reply = reply.await.map_err(failed)?;
            let status = reply.status().as_u16();
            read_all(reply).await.map_err(failed)?;
            Ok(Some(status))
        }
        Ending::HangUpReading => {
            let mut reply = reply.await.map_err(failed)?;
            let status = reply.status().as_u16();
            match reply.frame().await {
                Some(first) => drop(first.map_err(failed)?),
                None => return Err(ExchangeError::TooFast { asked: asked(ask) }),
            }
            Ok(Some(status))
        }
        Ending::HangUpWaiting | Ending::HangUpSending => match timeout(PATIENCE, reply).await {
            Err(_) => Ok(None),
            Ok(Ok(_)) => Err(ExchangeError::TooFast { asked: asked(ask) }),
            Ok(Err(source)) => Err(failed(source)),
        },
    }
}

async fn read_all(mut reply: Response<Incoming>) -> Result<(), hyper::Error> {
    while let Some(frame) = reply.frame().await {
        frame?;
    }
    Ok(())
}

fn body(ask: &Ask) -> Body {
    match ask.payload {
        Payload::None => Empty::new().boxed_unsync(),
        Payload::Sized(bytes) => Full::new(Bytes::from(vec![b'x'; bytes])).boxed_unsync(),
        Payload::Chunked(chunks) => {
            let chunks = stream::iter((0..chunks).map(|_| Ok(Frame::data(Bytes::from_static(CHUNK)))));
            if ask.ending == Ending::HangUpSending {
                // The rest never comes.
                StreamBody::new(chunks.chain(stream::pending())).boxed_unsync()
            } else {
                StreamBody::new(chunks).boxed_unsync()
            }
        }
    }
}

fn asked(ask: &Ask) -> String {
    format!("{} {}", ask.method, ask.target)
}
