//! The page that shows the last 24 hours.

use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderName, HeaderValue, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

/// The page and what belongs to it. It holds nothing of anybody: its script asks the API, with the key of whoever looks.
pub(crate) fn router() -> Router {
    Router::new()
        .route("/", get(|| text("text/html; charset=utf-8", include_str!("../web/page.html"))))
        .route("/page.css", get(|| text("text/css; charset=utf-8", include_str!("../web/page.css"))))
        .route("/page.js", get(|| text("text/javascript; charset=utf-8", include_str!("../web/page.js"))))
        .layer(middleware::from_fn(harden))
}

async fn text(kind: &'static str, text: &'static str) -> Response {
    ([(header::CONTENT_TYPE, kind)], text).into_response()
}

/// Nothing but our own script and style, and nobody frames it.
async fn harden(request: Request, next: Next) -> Response {
    let mut answer = next.run(request).await;
    for (name, value) in [
        (
            "content-security-policy",
            "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; frame-ancestors 'none'; \
             base-uri 'none'; form-action 'none'",
        ),
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "no-referrer"),
        ("cross-origin-opener-policy", "same-origin"),
        ("cache-control", "no-store"),
    ] {
        answer.headers_mut().insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    answer
}
