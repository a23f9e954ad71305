//! Whether the service can listen where it should, and who does now.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};

use serde_json::Value;

use super::finding::Finding;
use crate::service::config::{ServiceConfig, is_loopback};

/// Longest answer that is read, in bytes.
const MAX_ANSWER: usize = 4 * 1024 * 1024;

/// A service that runs at the configured addresses.
pub(super) struct Service {
    /// Where its monitoring routes are.
    pub(super) monitoring: SocketAddr,
    /// Where its records API is.
    pub(super) main: SocketAddr,
}

/// Checks each listener; a running service of ours is told apart from others.
pub(super) async fn check(
    http: &reqwest::Client,
    config: &ServiceConfig,
) -> (Vec<Finding>, Option<Service>) {
    let mut findings = Vec::new();
    let mut ours = Vec::new();
    let listeners = [
        Some(("listen", config.listen)),
        config.admin_listen.map(|address| ("admin_listen", address)),
    ];
    for (check, address) in listeners.into_iter().flatten() {
        let finding = match TcpListener::bind(address) {
            Ok(_) if address.port() == 0 => {
                Finding::ok(check, format!("{address}: the system chooses a port"))
            }
            Ok(_) => Finding::ok(check, format!("{address} is free")),
            Err(error) if error.kind() == ErrorKind::AddrInUse => {
                let reached = reachable(address);
                match identify(http, reached).await {
                    Ok(version) => {
                        ours.push(reached);
                        Finding::ok(check, format!("{address}: tachograph {version} runs here"))
                    }
                    Err(found) => Finding::error(check, format!("{address} is in use: {found}"))
                        .advise(format!(
                            "stop it (`ss -ltnp 'sport = :{}'` names it), or set another `{check}`",
                            address.port()
                        )),
                }
            }
            Err(error) => unusable(check, address, error.kind(), &error.to_string()),
        };
        findings.push(if is_loopback(&address) || finding.advice.is_some() {
            finding
        } else {
            // Without tokens the configuration is refused.
            finding.advise("reached from beyond this machine, over HTTP: put TLS before it")
        });
    }
    let service = match ours[..] {
        [main, monitoring] => Some(Service { main, monitoring }),
        [main] if config.admin_listen.is_none() => Some(Service {
            main,
            monitoring: main,
        }),
        _ => None,
    };
    (findings, service)
}

fn unusable(check: &str, address: SocketAddr, kind: ErrorKind, said: &str) -> Finding {
    let finding = Finding::error(check, format!("{address} cannot be listened on: {said}"));
    match kind {
        ErrorKind::PermissionDenied => finding.advise(format!(
            "choose a port above 1023, or grant the capability CAP_NET_BIND_SERVICE for {}",
            address.port()
        )),
        ErrorKind::AddrNotAvailable => finding.advise(format!(
            "no interface of this machine has {}; `ip address` shows those there are",
            address.ip()
        )),
        _ => finding.advise(format!("set another `{check}`")),
    }
}

/// Where a listener on every interface is reached from here.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

/// The version of the service of ours that answers there, or what does.
async fn identify(http: &reqwest::Client, address: SocketAddr) -> Result<String, String> {
    let (_, index) = json(http, &format!("http://{address}/"), None).await?;
    let (status, live) = json(http, &format!("http://{address}/health/live"), None).await?;
    let version = index.get("version").and_then(Value::as_str);
    match (index["name"] == env!("CARGO_PKG_NAME"), version) {
        (true, Some(version)) if live["status"] == "live" => Ok(version.to_owned()),
        _ => Err(format!(
            "something else answers, /health/live with {status}"
        )),
    }
}

/// A short answer as JSON, with its status.
pub(super) async fn json(
    http: &reqwest::Client,
    url: &str,
    authorization: Option<&str>,
) -> Result<(u16, Value), String> {
    let mut request = http.get(url);
    if let Some(value) = authorization {
        request = request.header(reqwest::header::AUTHORIZATION, value);
    }
    let failed = |error: reqwest::Error| match () {
        () if error.is_timeout() => "it does not answer over HTTP in time".to_owned(),
        () => "it does not speak HTTP".to_owned(),
    };
    let mut response = request.send().await.map_err(failed)?;
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(failed)? {
        if body.len() + chunk.len() > MAX_ANSWER {
            return Err("its answer is too long".to_owned());
        }
        body.extend_from_slice(&chunk);
    }
    let value = serde_json::from_slice(&body).unwrap_or_default();
    Ok((response.status().as_u16(), value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_has_its_advice() {
        let address: SocketAddr = "127.0.0.1:80".parse().unwrap();
        for (kind, part) in [
            (ErrorKind::PermissionDenied, "CAP_NET_BIND_SERVICE"),
            (ErrorKind::AddrNotAvailable, "no interface"),
            (ErrorKind::Other, "another `listen`"),
        ] {
            let finding = unusable("listen", address, kind, "said");
            let advice = finding.advice.unwrap();
            assert!(advice.contains(part), "{advice}");
        }
    }

    #[test]
    fn a_listener_everywhere_is_reached_over_loopback() {
        for (listen, reached) in [
            ("0.0.0.0:1", "127.0.0.1:1"),
            ("[::]:1", "[::1]:1"),
            ("10.0.0.1:1", "10.0.0.1:1"),
        ] {
            let address = reachable(listen.parse().unwrap());
            assert_eq!(address, reached.parse().unwrap());
        }
    }
}
