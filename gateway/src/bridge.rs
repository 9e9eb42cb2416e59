//! From a core to the control plane's router, which lives on the side runtime, and back. For the path families that are
//! not hot.
//!
//! In: a whole request. Out: a response head, then its body piece by piece, so that a long export does not lie in memory.

use axum::Router;
use axum::body::Body;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::BodyExt;
use tokio::sync::{mpsc, oneshot};
use tower::ServiceExt;

use crate::limits::{CROSSINGS_MAX, PIECES_MAX};

/// A handle on the router.
#[derive(Clone)]
pub struct Bridge {
    crossings: mpsc::Sender<Crossing>,
}

struct Crossing {
    request: Request<Bytes>,
    answer: oneshot::Sender<Response<Pieces>>,
}

/// A response body, to be awaited through [`crate::core::Remote`].
pub struct Pieces(mpsc::Receiver<Result<Bytes, String>>);

impl Pieces {
    /// A body, and what fills it.
    pub fn channel(pieces_max: usize) -> (mpsc::Sender<Result<Bytes, String>>, Self) {
        let (sender, receiver) = mpsc::channel(pieces_max);
        (sender, Self(receiver))
    }

    /// The next piece; `None` at the end. `Err` when the body broke off, so that the client is not told it was whole.
    pub async fn next(&mut self) -> Option<Result<Bytes, String>> {
        self.0.recv().await
    }
}

impl Bridge {
    /// Serves `router` on the runtime this is called on.
    pub fn start(router: Router) -> Self {
        let (crossings, mut inbox) = mpsc::channel::<Crossing>(CROSSINGS_MAX);
        tokio::spawn(async move {
            while let Some(Crossing { request, answer }) = inbox.recv().await {
                let router = router.clone();
                tokio::spawn(async move {
                    let response = match router.oneshot(request.map(Body::from)).await {
                        Ok(response) => response,
                        Err(never) => match never {},
                    };
                    let (head, mut body) = response.into_parts();
                    let (pieces, received) = Pieces::channel(PIECES_MAX);
                    if answer.send(Response::from_parts(head, received)).is_err() {
                        return;
                    }
                    while let Some(frame) = body.frame().await {
                        let piece = match frame {
                            Ok(frame) => match frame.into_data() {
                                Ok(data) => Ok(data),
                                Err(_trailers) => continue,
                            },
                            Err(error) => Err(error.to_string()),
                        };
                        let last = piece.is_err();
                        if pieces.send(piece).await.is_err() || last {
                            return;
                        }
                    }
                });
            }
        });
        Self { crossings }
    }

    /// The router's response, or `None` when the side runtime is gone.
    pub async fn cross(&self, request: Request<Bytes>) -> Option<Response<Pieces>> {
        let (answer, answered) = oneshot::channel();
        self.crossings.send(Crossing { request, answer }).await.ok()?;
        answered.await.ok()
    }
}
