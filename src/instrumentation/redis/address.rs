//! Where a server of Redis is, and whom to trust there.

use std::error::Error;
use std::io;
use std::sync::Arc;

use deadpool_redis::redis::{
    Client, ConnectionAddr, ConnectionInfo, IntoConnectionInfo as _, RedisError, TlsCertificates,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use crate::pipeline::config::show::masked_url;

/// What is accepted.
const ACCEPTED: &str = "accepted: `redis://[[<user>]:<password>@]<host>[:<port>][/<database>]`, \
                        `rediss://…` with TLS, `redis+unix:///<path>`";

/// Reads the URL of a server. Over TLS its certificate must be of one of the authorities, as PEM,
/// or else of one of the system's, and for the host as the URL names it.
///
/// # Errors
/// What is not accepted, without passwords.
pub(crate) fn address(url: &str, authorities: Option<&[u8]>) -> Result<ConnectionInfo, String> {
    let shown = masked_url(url);
    let refused = || format!("`{shown}` is not accepted; {ACCEPTED}");
    let info = url.into_connection_info().map_err(|_| refused())?;
    let ConnectionAddr::TcpTls { insecure, .. } = info.addr() else {
        return match authorities {
            None => Ok(info),
            Some(_) => Err(format!(
                "`{shown}` has no use for authorities; accepted with them: `rediss://…`"
            )),
        };
    };
    if *insecure {
        return Err(format!(
            "`{shown}` is not accepted: certificates are verified; {ACCEPTED}"
        ));
    }
    // The client asks for the process's provider; an application may have chosen one.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let Some(pem) = authorities else {
        return Ok(info);
    };
    let found = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>();
    if !found.is_ok_and(|found| !found.is_empty()) {
        return Err(
            "the authorities' file is not accepted; accepted: PEM of one certificate or more"
                .to_owned(),
        );
    }
    let certificates = TlsCertificates {
        client_tls: None,
        root_cert: Some(pem.to_vec()),
    };
    let client = Client::build_with_tls(info, certificates)
        .map_err(|error| format!("the authorities' file is not accepted: {error}"))?;
    Ok(client.get_connection_info().clone())
}

/// Whether an error is one of TLS: the certificate is not trusted, or the other side does not
/// speak it.
pub(crate) fn is_tls(error: &RedisError) -> bool {
    let mut next: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(cause) = next {
        if cause.is::<rustls::Error>() {
            return true;
        }
        // Neither a shared error nor one of I/O counts what it carries among its sources.
        let shared = cause.downcast_ref::<Arc<dyn Error + Send + Sync>>();
        let io = cause.downcast_ref::<io::Error>();
        next = match (shared, io.and_then(io::Error::get_ref)) {
            (Some(carried), _) => Some(&**carried),
            (_, Some(carried)) => Some(carried),
            _ => cause.source(),
        };
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_it_is_and_which_database_is_read_from_the_url() {
        for (url, expected, database) in [
            ("redis://localhost", "localhost:6379", 0),
            ("redis://:hunter2@localhost:7000/5", "localhost:7000", 5),
            ("rediss://localhost/3", "localhost:6379", 3),
            ("redis+unix:///run/redis.sock?db=2", "/run/redis.sock", 2),
        ] {
            let info = address(url, None).unwrap();
            assert_eq!(info.addr().to_string(), expected, "{url}");
            assert_eq!(info.redis_settings().db(), database, "{url}");
        }
    }

    #[test]
    fn what_is_not_accepted_is_said_without_the_password() {
        let pem = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        for (url, authorities) in [
            ("http://:hunter2@localhost", None),
            ("redis://:hunter2@", None),
            ("rediss://:hunter2@localhost/#insecure", None),
            ("redis://:hunter2@localhost", Some(&pem[..])),
            ("rediss://:hunter2@localhost", Some(&b"no certificate"[..])),
            ("rediss://:hunter2@localhost", Some(&pem[..])),
        ] {
            let said = address(url, authorities).unwrap_err();
            assert!(
                said.contains("accepted") && !said.contains("hunter2"),
                "{said}"
            );
        }
    }
}
