//! Checks by HTTP.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use reqwest::redirect::{Attempt, Policy};
use reqwest::tls::TlsInfo;
use reqwest::{Client, Response, Url};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use x509_parser::parse_x509_certificate;

use super::config::{Method, TargetConfig};
use super::probe::{Answer, Failure, Fault};

/// Redirections that are followed.
const MAX_REDIRECTS: usize = 5;
/// How much of a body is looked at.
const MAX_BODY: usize = 1 << 20;

/// A request, and what is expected of its answer.
pub(super) struct Http {
    client: Client,
    method: reqwest::Method,
    url: Url,
    statuses: Vec<RangeInclusive<u16>>,
    body: Option<String>,
}

impl Http {
    pub(super) fn new(config: &TargetConfig) -> Result<Self, String> {
        let url = Url::parse(&config.url).map_err(|error| error.to_string())?;
        let mut client = Client::builder()
            .user_agent(concat!("tachograph/", env!("CARGO_PKG_VERSION")))
            // The target is meant, not what stands between.
            .no_proxy()
            // A connection that was kept says nothing of whether another can be opened.
            .pool_max_idle_per_host(0)
            .redirect(Policy::custom(follow))
            .tls_info(true);
        // What is not used is not loaded. An address of HTTP may lead to one of HTTPS.
        client = client.tls_backend_preconfigured(match url.scheme() {
            "https" => trusting(config.ca_file.as_deref())?,
            _ => trusting(None).or_else(|_| client_config(RootCertStore::empty()))?,
        });
        let client = client.build().map_err(|error| error.to_string())?;
        Ok(Self {
            client,
            method: match config.method {
                Method::Get => reqwest::Method::GET,
                Method::Head => reqwest::Method::HEAD,
                Method::Options => reqwest::Method::OPTIONS,
                Method::Post => reqwest::Method::POST,
            },
            url,
            statuses: config.statuses()?,
            body: config.body.clone(),
        })
    }

    pub(super) async fn ask(&self) -> Result<Answer, Failure> {
        let request = self.client.request(self.method.clone(), self.url.clone());
        let mut response = request.send().await.map_err(failure)?;
        let status = response.status().as_u16();
        if !self.statuses.iter().any(|range| range.contains(&status)) {
            return Err(Failure::new(
                Fault::Status,
                format!("it answered {status}; expected: {}", self.expected()),
            ));
        }
        if let Some(expected) = &self.body {
            search(&mut response, expected).await?;
        }
        let certificate = response.extensions().get::<TlsInfo>();
        Ok(Answer {
            certificate_ends: certificate.and_then(|tls| ends(tls.peer_certificate()?)),
        })
    }

    fn expected(&self) -> String {
        let ranges = self.statuses.iter().map(|range| match range {
            range if range.start() == range.end() => range.start().to_string(),
            range => format!("{}-{}", range.start(), range.end()),
        });
        ranges.collect::<Vec<_>>().join(", ")
    }
}

/// Follows where the same host is, and no way back from HTTPS.
fn follow(attempt: Attempt<'_>) -> reqwest::redirect::Action {
    let Some(first) = attempt.previous().first() else {
        return attempt.stop();
    };
    let next = attempt.url();
    let same = first.host_str() == next.host_str()
        && (next.scheme() == "https" || first.scheme() == next.scheme());
    if attempt.previous().len() > MAX_REDIRECTS {
        attempt.error("it redirects again and again")
    } else if same {
        attempt.follow()
    } else {
        attempt.stop()
    }
}

fn failure(error: reqwest::Error) -> Failure {
    // The URL may have a secret among its parameters.
    Failure::of(&error.without_url())
}

/// Looks for a text in what comes, without keeping more than is looked at.
async fn search(response: &mut Response, expected: &str) -> Result<(), Failure> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(failure)? {
        let room = MAX_BODY.saturating_sub(body.len());
        body.extend_from_slice(&chunk[..chunk.len().min(room)]);
        if body.len() >= MAX_BODY {
            break;
        }
    }
    match String::from_utf8_lossy(&body).contains(expected) {
        true => Ok(()),
        false => Err(Failure::new(
            Fault::Body,
            format!("`{expected}` is not in the body"),
        )),
    }
}

/// When a certificate expires.
fn ends(der: &[u8]) -> Option<SystemTime> {
    let (_, certificate) = parse_x509_certificate(der).ok()?;
    let seconds = certificate.validity().not_after.timestamp();
    let since = Duration::from_secs(u64::try_from(seconds).ok()?);
    SystemTime::UNIX_EPOCH.checked_add(since)
}

/// Trusts the system's authorities, and those of a file.
fn trusting(ca_file: Option<&str>) -> Result<ClientConfig, String> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if let Some(file) = ca_file {
        let refused = |why: String| {
            format!("ca_file `{file}` is not accepted; accepted: PEM of certificates: {why}")
        };
        let pem = std::fs::read(file).map_err(|error| refused(error.to_string()))?;
        let found = CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>();
        let found = found.map_err(|error| refused(error.to_string()))?;
        if found.is_empty() {
            return Err(refused("there is none in it".to_owned()));
        }
        for certificate in found {
            let added = roots.add(certificate);
            added.map_err(|error| refused(error.to_string()))?;
        }
    }
    if roots.is_empty() {
        return Err("the system has no trusted certificates; name a `ca_file`".to_owned());
    }
    client_config(roots)
}

fn client_config(roots: RootCertStore) -> Result<ClientConfig, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider);
    let builder = builder
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn when_a_certificate_expires_is_read() {
        let mut params = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap();
        params.not_after = rcgen::date_time_ymd(2031, 2, 3);
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let expected = "2031-02-03T00:00:00Z".parse::<jiff::Timestamp>().unwrap();
        let ends = ends(certificate.der()).unwrap();
        assert_eq!(jiff::Timestamp::try_from(ends).unwrap(), expected);
    }

    proptest! {
        #[test]
        fn no_certificate_is_too_strange(der in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = ends(&der);
        }
    }

    #[test]
    fn a_file_of_authorities_that_is_none_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ca.pem");
        std::fs::write(&file, "nothing").unwrap();
        for file in [file.to_str().unwrap(), "/no/such/file"] {
            let said = trusting(Some(file)).unwrap_err();
            assert!(said.contains(file) && said.contains("accepted: "), "{said}");
        }
    }
}
