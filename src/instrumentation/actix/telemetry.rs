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
        Middleware::new(Some(Tracing {
            tracer: tracer.clone(),
            sampler,
            exported: self.exports_spans(),
        }))
    }

    #[cfg(feature = "otlp")]
    fn exports_spans(&self) -> bool {
        use crate::signals::pipeline::ExportSignal;
        let mut exporters = self.exporters().into_iter();
        exporters.any(|exporter| exporter.signal == ExportSignal::Traces)
    }

    #[cfg(not(feature = "otlp"))]
    fn exports_spans(&self) -> bool {
        false
    }
}
