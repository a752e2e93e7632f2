//! The one way in which a request is sent: credential, limits, transport, class of the answer, another try.

use bytes::Bytes;

use crate::client::Client;
use crate::error::{Error, ErrorKind};
use crate::transport::{Body, Stage};

impl Client {
    /// Sends a request; an answer of any status that was understood comes back, with its body still unread.
    #[expect(dead_code, reason = "the operations are being written")]
    pub(crate) async fn exchange(
        &self,
        mut request: http::Request<Bytes>,
    ) -> Result<http::Response<Body>, Error> {
        let shared = &self.shared;
        if let Some(auth) = &shared.auth {
            auth.authorize(request.headers_mut(), &*shared.transport, shared.clock.now()).await?;
        }
        shared.transport.send(request, shared.timeout).await.map_err(|error| {
            let kind = match error.stage {
                Stage::NotSent => ErrorKind::NotSent(error.kind),
                Stage::MaybeSent => ErrorKind::UnknownOutcome(error.kind),
            };
            Error::new(kind).because(error)
        })
    }
}
