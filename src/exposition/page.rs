//! The page: one thread that collects, encodes and compresses, so that no worker of the host
//! does, and that requests which wait together share one collection.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use jiff::Timestamp;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkError;
use opentelemetry_sdk::metrics::SdkMeterProvider;
use parking_lot::Mutex;
use prometheus::Registry;
use tokio::sync::oneshot;

use super::derived::Vocabularies;
use super::families::Families;
use super::foreign::{self, ForeignFamily, Gathered, Gatherer};
use super::names::Names;
use super::negotiate::{Encoding, Format};
use super::number::{Chunks, spare};
use super::status::{PageStatus, Reader};
use super::text::Content;
use super::{protobuf, text};
use crate::pipeline::foreign::Foreign;
use crate::pipeline::metrics::Collector;
use crate::signals::pipeline::{
    CollectionFailed, DropReason, Dropped, ForeignClashes, ItemKind, Outcome, Scrape, ScrapeEnd,
    ScrapeFormat,
};
use crate::vocabulary::Library;

/// Requests that may wait; further ones are refused.
const WAITING: usize = 256;
/// How long a request waits if it does not say.
pub const DEFAULT_DEADLINE: Duration = Duration::from_secs(10);

/// What a client wants.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Request {
    /// Format.
    pub format: Format,
    /// Encoding.
    pub encoding: Encoding,
    /// Families, by name.
    pub names: Names,
    /// Vocabularies under whose names alone metrics are shown, sorted; none: our own names,
    /// and those served beside them.
    pub vocabulary: Vec<String>,
}

impl Request {
    /// Reads the headers `Accept` and `Accept-Encoding` and the query string of a request.
    /// None: the client excludes every format or encoding (406).
    #[must_use]
    pub fn negotiate(
        accept: Option<&str>,
        accept_encoding: Option<&str>,
        query: &str,
    ) -> Option<Self> {
        Some(Self {
            format: Format::negotiate(accept)?,
            encoding: Encoding::negotiate(accept_encoding)?,
            names: Names::from_query(query),
            vocabulary: vocabularies(query),
        })
    }

    /// Reads the header `X-Prometheus-Scrape-Timeout-Seconds`; [`DEFAULT_DEADLINE`] where it is
    /// absent or makes no sense, a minute at most.
    #[must_use]
    pub fn deadline(header: Option<&str>) -> Duration {
        header
            .and_then(|text| text.trim().parse::<f64>().ok())
            .filter(|seconds| *seconds > 0.0)
            .map_or(DEFAULT_DEADLINE, |seconds| {
                Duration::from_secs_f64(seconds.min(60.0))
            })
    }
}

/// The values of `vocabulary` in a query string, sorted; further ones than can be known are
/// ignored.
fn vocabularies(query: &str) -> Vec<String> {
    let pairs = url::form_urlencoded::parse(query.as_bytes());
    let named = pairs.filter(|(key, _)| key == "vocabulary");
    let mut names: Vec<String> = named.map(|(_, name)| name.into_owned()).take(64).collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// A page, owned: a client that reads slowly holds nothing up.
#[derive(Clone, Debug)]
pub struct Rendered {
    /// Its format; `Content-Type` is [`Format::content_type`].
    pub format: Format,
    /// Its encoding; `Content-Encoding` is [`Encoding::as_header`].
    pub encoding: Encoding,
    /// The body, in pieces of about 64 KiB.
    pub chunks: Vec<Bytes>,
    /// Length of the body, bytes.
    pub len: usize,
}

/// Why there is no page.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PageError {
    /// More requests wait than may.
    #[error("{WAITING} requests for the page are waiting already")]
    Busy,
    /// The deadline passed.
    #[error("the page was not ready in time")]
    Timeout,
    /// The vocabularies asked for are not known, or cannot be shown together.
    #[error("{0}")]
    Vocabulary(String),
    /// The page could not be written.
    #[error("the page could not be written: {0}")]
    Encode(String),
    /// The page's thread ended.
    #[error("the page is closed")]
    Closed,
}

enum What {
    Render(Request, oneshot::Sender<Result<Rendered, PageError>>),
    Inspect(oneshot::Sender<Result<PageStatus, PageError>>),
}

struct Job {
    what: What,
    arrived: Instant,
    deadline: Instant,
}

struct Shared {
    jobs: SyncSender<Job>,
    status: Arc<Mutex<PageStatus>>,
    foreign: Foreign,
    library: Arc<Library>,
}

/// The metrics page; cheap to clone. Its thread ends with the last clone.
#[derive(Clone)]
pub struct Page(Arc<Shared>);

impl std::fmt::Debug for Page {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Page")
    }
}

/// Options of a [`Page`].
#[derive(Debug)]
pub struct PageBuilder {
    collector: Collector,
    foreign: Foreign,
    registries: Vec<Registry>,
    library: Option<Arc<Library>>,
}

impl PageBuilder {
    /// Publishes the undeclared metrics that a pipeline keeps.
    #[must_use]
    pub fn foreign(mut self, foreign: &Foreign) -> Self {
        self.foreign = foreign.clone();
        self
    }

    /// Publishes metrics under the names of these vocabularies too; without it only the
    /// built-in ones can be asked for.
    #[must_use]
    pub fn vocabularies(mut self, library: &Arc<Library>) -> Self {
        self.library = Some(Arc::clone(library));
        self
    }

    /// Publishes another registry of the `prometheus` crate.
    #[must_use]
    pub fn registry(mut self, registry: Registry) -> Self {
        self.registries.push(registry);
        self
    }

    /// Publishes the default registry of the `prometheus` crate.
    #[must_use]
    pub fn default_registry(self) -> Self {
        self.registry(prometheus::default_registry().clone())
    }

    /// Starts the page.
    ///
    /// # Errors
    /// When the system grants no thread.
    pub fn start(self) -> std::io::Result<Page> {
        let mut registries = vec![self.foreign.registry().clone()];
        registries.extend(self.registries);
        let (jobs, waiting) = sync_channel(WAITING);
        let status = Arc::new(Mutex::new(PageStatus::start()));
        let recorders = self.collector.signals();
        let library = self
            .library
            .unwrap_or_else(|| Arc::new(Library::new(recorders.iter().map(|r| r.signal()))));
        let vocabularies = Vocabularies::new(Arc::clone(&library), recorders);
        let mut worker = Worker {
            families: families(&self.collector, &vocabularies),
            vocabularies,
            collector: self.collector,
            spare: Vec::new(),
            gatherer: Gatherer::start(registries)?,
            status: Arc::clone(&status),
            foreign: self.foreign.clone(),
        };
        std::thread::Builder::new()
            .name("tachograph-page".to_owned())
            .spawn(move || worker.run(&waiting))?;
        Ok(Page(Arc::new(Shared {
            jobs,
            status,
            foreign: self.foreign,
            library,
        })))
    }
}

impl Page {
    /// A page of what `collector` collects.
    #[must_use]
    pub fn builder(collector: Collector) -> PageBuilder {
        PageBuilder {
            collector,
            foreign: Foreign::default(),
            registries: Vec::new(),
            library: None,
        }
    }

    /// The registry whose metrics are published beside the declared ones; the host may
    /// register its own collectors.
    #[must_use]
    pub fn registry(&self) -> &Registry {
        self.0.foreign.registry()
    }

    /// Makes the meter provider for undeclared instruments, to be set as the global one; at
    /// most once a page.
    ///
    /// # Errors
    /// When it was made before.
    pub fn foreign_provider(&self, resource: Resource) -> Result<SdkMeterProvider, OTelSdkError> {
        self.0.foreign.provider(resource)
    }

    /// State as of the last collection.
    #[must_use]
    pub fn status(&self) -> PageStatus {
        self.0.status.lock().clone()
    }

    /// Takes note of who read a page, `scraper` when it named a deadline as scrapers do.
    pub fn was_read(&self, user_agent: Option<&str>, scraper: bool) {
        let reader = Some(Reader {
            time: Timestamp::now(),
            user_agent: user_agent.map(|text| text.chars().take(100).collect()),
        });
        let mut status = self.0.status.lock();
        if scraper {
            status.last_scrape = reader;
        } else {
            status.last_read = reader;
        }
    }

    /// Renders the page. Works on any runtime. Foreign collectors get half of the deadline;
    /// only a blocking hook of the declared metrics could make the answer late.
    ///
    /// # Errors
    /// See [`PageError`].
    pub async fn render(
        &self,
        request: Request,
        deadline: Duration,
    ) -> Result<Rendered, PageError> {
        if !request.vocabulary.is_empty() {
            let known = self.0.library.alone(&request.vocabulary);
            known.map_err(PageError::Vocabulary)?;
        }
        let (reply, answer) = oneshot::channel();
        self.send(What::Render(request, reply), deadline)?;
        answer.await.unwrap_or(Err(PageError::Closed))
    }

    /// Collects without rendering, and returns the state after it.
    ///
    /// # Errors
    /// See [`PageError`].
    pub async fn inspect(&self, deadline: Duration) -> Result<PageStatus, PageError> {
        let (reply, answer) = oneshot::channel();
        self.send(What::Inspect(reply), deadline)?;
        answer.await.unwrap_or(Err(PageError::Closed))
    }

    fn send(&self, what: What, deadline: Duration) -> Result<(), PageError> {
        let arrived = Instant::now();
        let deadline = arrived + deadline;
        self.0
            .jobs
            .try_send(Job {
                what,
                arrived,
                deadline,
            })
            .map_err(|error| match error {
                TrySendError::Full(_) => PageError::Busy,
                TrySendError::Disconnected(_) => PageError::Closed,
            })
    }
}

struct Worker {
    collector: Collector,
    families: Families,
    vocabularies: Vocabularies,
    /// Chunks of the last page.
    spare: Vec<Bytes>,
    gatherer: Gatherer,
    status: Arc<Mutex<PageStatus>>,
    foreign: Foreign,
}

type Renderings = HashMap<Request, Result<Rendered, PageError>>;

impl Worker {
    fn run(&mut self, waiting: &Receiver<Job>) {
        while let Some(first) = self.next(waiting) {
            let mut batch = vec![first];
            batch.extend(waiting.try_iter().take(WAITING));
            let now = Instant::now();
            let (batch, late): (Vec<Job>, Vec<Job>) =
                batch.into_iter().partition(|job| job.deadline > now);
            for job in late {
                answer(job, Err(PageError::Timeout), None);
            }
            if !batch.is_empty() {
                self.serve(batch);
            }
            // Requests may come faster than the wait for them ends.
            self.vocabularies.sample();
        }
    }

    /// The next request; windows of vocabularies are sampled meanwhile. None: the page is closed.
    fn next(&mut self, waiting: &Receiver<Job>) -> Option<Job> {
        while let Some(interval) = self.vocabularies.interval() {
            match waiting.recv_timeout(interval) {
                Ok(job) => return Some(job),
                Err(RecvTimeoutError::Disconnected) => return None,
                Err(RecvTimeoutError::Timeout) => self.vocabularies.sample(),
            }
        }
        waiting.recv().ok()
    }

    fn serve(&mut self, batch: Vec<Job>) {
        let patience = batch
            .iter()
            .map(|job| job.deadline)
            .min()
            .map_or(Duration::ZERO, |deadline| {
                deadline.saturating_duration_since(Instant::now()) / 2
            });
        let mut requests: Vec<Request> = Vec::new();
        for job in &batch {
            if let What::Render(request, _) = &job.what
                && !requests.contains(request)
            {
                requests.push(request.clone());
            }
        }
        // Nothing foreign is on a page of other names alone.
        let foreign = batch.iter().any(|job| match &job.what {
            What::Render(request, _) => request.vocabulary.is_empty(),
            What::Inspect(_) => true,
        });
        let patience = foreign.then_some(patience);
        let outcome = catch_unwind(AssertUnwindSafe(|| self.collect(&requests, patience)));
        let result = outcome.unwrap_or_else(|panic| {
            // The caches may be half written.
            let (library, recorders) = (self.vocabularies.library(), self.collector.signals());
            self.vocabularies = Vocabularies::new(library, recorders);
            self.families = families(&self.collector, &self.vocabularies);
            Err(PageError::Encode(format!(
                "panicked: {}",
                foreign::message(&*panic)
            )))
        });
        if let Err(error) = &result {
            self.status.lock().failed(error.to_string());
            CollectionFailed {}.add(1);
            tracing::error!(name: "tachograph.page.failed", %error, "no metrics page");
        }
        let status = self.status.lock().clone();
        for job in batch {
            match &result {
                Ok((renderings, sizes)) => {
                    let found = match &job.what {
                        What::Render(request, _) => renderings.get(request).cloned(),
                        What::Inspect(_) => None,
                    };
                    let size = match &job.what {
                        What::Render(request, _) => sizes.get(request).copied(),
                        What::Inspect(_) => None,
                    };
                    finish(job, found.unwrap_or(Err(PageError::Closed)), &status, size);
                }
                Err(error) => finish(job, Err(error.clone()), &status, None),
            }
        }
    }

    /// `patience`: how long foreign metrics are waited for; none: they are not wanted.
    #[allow(clippy::type_complexity)]
    fn collect(
        &mut self,
        requests: &[Request],
        patience: Option<Duration>,
    ) -> Result<(Renderings, HashMap<Request, usize>), PageError> {
        let started = Instant::now();
        if patience.is_some() {
            self.gatherer.ask();
        }
        self.collector.collect_page();
        self.families.update();
        let foreign = patience.map_or_else(Vec::new, |patience| {
            let gathered = self.gatherer.wait(patience);
            self.foreign(gathered, self.families.twins())
        });
        let (mut renderings, mut sizes) = (Renderings::new(), HashMap::new());
        let pages: BTreeSet<&Vec<String>> = requests.iter().map(|r| &r.vocabulary).collect();
        for names in pages {
            let updated = self.vocabularies.update(names, SystemTime::now());
            updated.map_err(PageError::Vocabulary)?;
        }
        let mut plain: HashMap<(Format, &Names, &[String]), Vec<Bytes>> = HashMap::new();
        for request in requests {
            let named: &[String] = &request.vocabulary;
            let body = plain
                .entry((request.format, &request.names, named))
                .or_insert_with(|| {
                    let alone = !named.is_empty();
                    let content = Content {
                        families: (!alone).then_some(&self.families),
                        derived: self.vocabularies.of(named),
                        foreign: if alone { &[] } else { &foreign },
                    };
                    let spare = std::mem::take(&mut self.spare);
                    write(content, request, spare)
                });
            let size = body.iter().map(Bytes::len).sum();
            sizes.insert(request.clone(), size);
            renderings.insert(request.clone(), encode(request, body, size));
        }
        if !plain.is_empty() {
            self.spare = spare(plain.values().flatten());
        }
        let mut counts: BTreeMap<&'static str, (usize, usize)> = BTreeMap::new();
        for family in &self.families.list {
            let count = counts.entry(family.domain).or_default();
            count.0 += usize::from(family.present > 0);
            count.1 += family.present;
        }
        let mut status = self.status.lock();
        status.succeeded(&counts, started.elapsed());
        status.last_size = sizes
            .values()
            .max()
            .map(|size| *size as u64)
            .or(status.last_size);
        Ok((renderings, sizes))
    }

    fn foreign(&self, gathered: Gathered, twins: usize) -> Vec<ForeignFamily> {
        let mut gathered = gathered;
        let errors = std::mem::take(&mut gathered.errors);
        let failed = !errors.is_empty();
        for error in &errors {
            Dropped {
                signal: ItemKind::Foreign,
                reason: DropReason::Collect,
            }
            .add(1);
            tracing::warn!(name: "tachograph.page.foreign", %error, "foreign metrics are missing on the page");
        }
        let (families, mut clashes) = foreign::resolve(gathered, &self.families.taken);
        clashes.extend(self.families.clashes.iter().map(|name| {
            format!("{name}: two declared metrics have this name, the second is left off")
        }));
        if twins > 0 {
            clashes.push(
                "declared series whose labels are equal once sanitised: one of them is published"
                    .to_owned(),
            );
        }
        clashes.extend(self.foreign.clashes());
        let series = families.iter().map(|family| family.series.len()).sum();
        if !failed {
            ForeignClashes {}.set(clashes.len() as f64);
        }
        let new = self
            .status
            .lock()
            .gathered(families.len(), series, errors, clashes);
        if !new.is_empty() {
            Dropped {
                signal: ItemKind::Foreign,
                reason: DropReason::Clash,
            }
            .add(new.len() as u64);
            tracing::warn!(name: "tachograph.page.clash", clashes = new.join("; "), "names on the page clash");
        }
        families
    }
}

fn families(collector: &Collector, vocabularies: &Vocabularies) -> Families {
    let mut families = Families::new(collector.signals(), collector.resource());
    families.taken.extend(vocabularies.claims());
    families
}

fn write(content: Content<'_>, request: &Request, spare: Vec<Bytes>) -> Vec<Bytes> {
    let mut out = Chunks::over(spare);
    match request.format {
        Format::Protobuf => protobuf::write(&mut out, content, &request.names),
        format => text::write(&mut out, content, format, &request.names),
    }
    out.finish().0
}

fn encode(request: &Request, body: &[Bytes], size: usize) -> Result<Rendered, PageError> {
    let failed = |error: std::io::Error| PageError::Encode(error.to_string());
    let (chunks, len) = match request.encoding {
        Encoding::Identity => (body.to_vec(), size),
        Encoding::Gzip => {
            let mut encoder =
                flate2::write::GzEncoder::new(Chunks::default(), flate2::Compression::fast());
            for chunk in body {
                encoder.write_all(chunk).map_err(failed)?;
            }
            encoder.finish().map_err(failed)?.finish()
        }
        Encoding::Zstd => {
            let mut encoder =
                zstd::stream::write::Encoder::new(Chunks::default(), 1).map_err(failed)?;
            for chunk in body {
                encoder.write_all(chunk).map_err(failed)?;
            }
            encoder.finish().map_err(failed)?.finish()
        }
    };
    Ok(Rendered {
        format: request.format,
        encoding: request.encoding,
        chunks,
        len,
    })
}

fn finish(job: Job, result: Result<Rendered, PageError>, status: &PageStatus, size: Option<usize>) {
    if let What::Inspect(reply) = job.what {
        let _ = reply.send(match result {
            Err(error) if error != PageError::Closed => Err(error),
            _ => Ok(status.clone()),
        });
        return;
    }
    let late = job.deadline < Instant::now();
    answer(
        job,
        if late {
            Err(PageError::Timeout)
        } else {
            result
        },
        size,
    );
}

fn answer(job: Job, result: Result<Rendered, PageError>, size: Option<usize>) {
    match job.what {
        What::Render(request, reply) => {
            let outcome = match &result {
                Ok(_) => Outcome::Success,
                Err(PageError::Timeout) => Outcome::Timeout,
                Err(_) => Outcome::Failed,
            };
            // A client that is gone is none of the page's failures.
            let _ = reply.send(result);
            let format = match request.format {
                Format::Text0 => ScrapeFormat::Text0,
                Format::Text1 => ScrapeFormat::Text1,
                Format::OpenMetrics => ScrapeFormat::OpenMetrics,
                Format::Protobuf => ScrapeFormat::Protobuf,
            };
            Scrape { format }.record(
                ScrapeEnd {
                    outcome,
                    size: size.map(|size| size as f64),
                },
                job.arrived.elapsed(),
            );
        }
        What::Inspect(reply) => {
            let _ = reply.send(Err(result.err().unwrap_or(PageError::Closed)));
        }
    }
}
