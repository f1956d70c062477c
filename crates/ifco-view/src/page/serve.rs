//! The page's server: 127.0.0.1 alone, bounded in what it takes on.

use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::answer::POLICY;
use super::{Access, Answer, LARGEST_BODY, Page, Request};

/// Connections at once; a browser opens six.
const MOST_CONNECTIONS: usize = 64;

/// Requests that are computed at once; the others wait.
const MOST_AT_WORK: usize = 4;

/// How long a request's head may take to come, and a connection to ask for something.
const PATIENCE: Duration = Duration::from_secs(15);

/// How long a body may take.
const BODY_PATIENCE: Duration = Duration::from_secs(30);

/// A browser opens a new connection without being asked when one ends.
const LONGEST_CONNECTION: Duration = Duration::from_secs(600);

/// Where a request's head must fit.
const LARGEST_HEAD: usize = 16 << 10;

/// How the page is served.
///
/// ```
/// let options = ifco_view::page::ServeOptions::default();
/// assert_eq!(options.port, 0); // a free one, which the system chooses
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ServeOptions {
    /// The port; 0 is any that is free.
    pub port: u16,
}

/// Why the page cannot be served.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// Somebody else listens there.
    #[error("port {0} is taken by another program")]
    PortTaken(u16),
    /// Ports below 1024, for instance.
    #[error("port {0} is not allowed to this user")]
    PortForbidden(u16),
    /// The network does not work.
    #[error("the page cannot be served: {0}")]
    Io(#[from] io::Error),
    /// No token can be made.
    #[error("the system has no random numbers for the address: {0}")]
    Random(#[from] getrandom::Error),
}

impl ServeError {
    /// What to do about it.
    ///
    /// ```
    /// use ifco_view::page::ServeError;
    /// assert!(ServeError::PortTaken(80).help().unwrap().contains("--port"));
    /// ```
    pub fn help(&self) -> Option<&'static str> {
        match self {
            Self::PortTaken(_) | Self::PortForbidden(_) => {
                Some("choose another with --port, or leave it out: then any free one is taken")
            }
            Self::Io(_) | Self::Random(_) => None,
        }
    }
}

/// Serves the page on 127.0.0.1 until the program ends; calls `ready` with the address once it can
/// be opened.
///
/// The address holds a random token, without which nothing is answered. Heads, bodies, connections
/// and time are bounded.
///
/// # Errors
/// When the port cannot be had.
pub fn serve(
    page: Page,
    options: ServeOptions,
    ready: impl FnOnce(&str),
) -> Result<Infallible, ServeError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(MOST_AT_WORK)
        .build()?;
    runtime.block_on(async {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, options.port));
        let listener = TcpListener::bind(address)
            .await
            .map_err(|error| match error.kind() {
                io::ErrorKind::AddrInUse => ServeError::PortTaken(options.port),
                io::ErrorKind::PermissionDenied => ServeError::PortForbidden(options.port),
                _ => ServeError::Io(error),
            })?;
        let access = Access::new(listener.local_addr()?.port())?;
        ready(&access.url());
        let shared = Arc::new((page, access));
        let connections = Arc::new(Semaphore::new(MOST_CONNECTIONS));
        loop {
            // The semaphore is never closed.
            let permit = Arc::clone(&connections).acquire_owned().await;
            let stream = match listener.accept().await {
                Ok((stream, _)) => stream,
                // The client has gone, or there are too many open files: neither ends the page.
                Err(_) => {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            };
            let shared = Arc::clone(&shared);
            tokio::spawn(async move {
                let _permit = permit;
                // Whoever breaks the rules of HTTP, or takes too long, is hung up on.
                let _ = timeout(LONGEST_CONNECTION, connection(stream, shared)).await;
            });
        }
    })
}

async fn connection(stream: TcpStream, shared: Arc<(Page, Access)>) -> Result<(), hyper::Error> {
    // Many small answers: each is to go out at once.
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request| {
        let shared = Arc::clone(&shared);
        async move { Ok::<_, Infallible>(response(respond(request, shared).await)) }
    });
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE)
        .max_buf_size(LARGEST_HEAD)
        .serve_connection(TokioIo::new(stream), service)
        .await
}

async fn respond(request: hyper::Request<Incoming>, shared: Arc<(Page, Access)>) -> Answer {
    let (head, body) = request.into_parts();
    let field = |name: HeaderName| head.headers.get(name).and_then(|value| value.to_str().ok());
    let target = head
        .uri
        .path_and_query()
        .map_or("", |target| target.as_str());
    let (host, origin) = (field(header::HOST), field(header::ORIGIN));
    // A header that is no text is as good as a wrong one.
    let origin = origin.or(head.headers.contains_key(header::ORIGIN).then_some("?"));
    let target = match shared.1.check(target, host, origin) {
        Ok(target) => target.to_string(),
        Err(denied) => return Answer::error(403, denied, None),
    };
    let collected = timeout(BODY_PATIENCE, Limited::new(body, LARGEST_BODY).collect()).await;
    let body = match collected {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(_)) => {
            let what = format!(
                "the request is larger than {} MB, or broken",
                LARGEST_BODY >> 20
            );
            return Answer::error(413, what, Some("give the input as a file".into()));
        }
        Err(_) => return Answer::error(408, "the request took too long to come", None),
    };
    let method = head.method.as_str().to_string();
    let work = tokio::task::spawn_blocking(move || {
        shared.0.answer(&Request {
            method: &method,
            target: &target,
            body: &body,
        })
    });
    match work.await {
        Ok(answer) => answer,
        Err(_) => Answer::error(500, "the page's server failed on this request", None),
    }
}

fn response(answer: Answer) -> Response<Full<Bytes>> {
    let body = match answer.body {
        std::borrow::Cow::Borrowed(bytes) => Bytes::from_static(bytes),
        std::borrow::Cow::Owned(bytes) => Bytes::from(bytes),
    };
    let mut response = Response::new(Full::new(body));
    *response.status_mut() =
        StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let fields = [
        (header::CONTENT_TYPE, answer.media),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::CACHE_CONTROL, "no-store"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (
            HeaderName::from_static("cross-origin-resource-policy"),
            "same-origin",
        ),
        (
            HeaderName::from_static("cross-origin-opener-policy"),
            "same-origin",
        ),
    ];
    let headers = response.headers_mut();
    for (name, value) in fields {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}
