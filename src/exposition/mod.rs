//! What a scrape reads: negotiation, encoders, exemplars and foreign metrics.
//!
//! ```
//! # async fn example(collector: tachograph::pipeline::metrics::Collector) -> Result<(), Box<dyn std::error::Error>> {
//! use tachograph::exposition::{Page, Request};
//!
//! let page = Page::builder(collector).start()?;
//! let request = Request::negotiate(Some("text/plain"), Some("gzip"), "name[]=up").ok_or("406")?;
//! let rendered = page.render(request, Request::deadline(None)).await?;
//! assert_eq!(rendered.format.content_type(), "text/plain; version=0.0.4; charset=utf-8");
//! # Ok(())
//! # }
//! ```

mod derived;
mod families;
mod foreign;
mod messages;
mod names;
mod negotiate;
mod number;
mod page;
mod protobuf;
mod status;
mod text;

pub use names::Names;
pub use negotiate::{Encoding, Format};
pub use page::{DEFAULT_DEADLINE, Page, PageBuilder, PageError, Rendered, Request};
pub use status::{DomainStatus, ForeignStatus, PageFailure, PageStatus, Reader};
