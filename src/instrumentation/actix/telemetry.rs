//! The pipeline's guard, as an actix-web application uses it.

use super::{Middleware, Tracing};
use crate::Telemetry;

impl Telemetry {
    /// The middleware that records what an application serves; does nothing when telemetry
    /// is disabled.
    ///
    /// ```no_run
    /// use actix_web::{App, HttpServer, web};
    /// use tachograph::{Telemetry, TelemetryConfig};
    ///
    /// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
    /// let telemetry = Telemetry::init(TelemetryConfig::default())?;
    /// let middleware = telemetry.middleware();
    /// HttpServer::new(move || {
    ///     App::new()
    ///         .route("/", web::get().to(|| async { "hello" }))
    ///         .wrap(middleware.clone())
    /// })
    /// .bind("127.0.0.1:8080")?
    /// .run()
    /// .await?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn middleware(&self) -> Middleware {
        let (Some(tracer), Some(sampler)) = (self.tracer(), self.sampler()) else {
            return Middleware::disabled();
        };
        #[cfg(feature = "otlp")]
        let spans = (!self.is_observed()).then(|| self.direct_spans()).flatten();
        #[cfg(not(feature = "otlp"))]
        let spans: Option<()> = None;
        let middleware = Middleware::new(Some(Tracing {
            tracer: tracer.clone(),
            sampler,
            exported: spans.is_some() || self.is_observed(),
        }));
        #[cfg(feature = "otlp")]
        let middleware = middleware.direct_spans(spans);
        middleware
    }
}
