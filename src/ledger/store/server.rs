//! How a PostgreSQL server is named, and why one that answers is not trusted.

use std::io::ErrorKind;
use std::str::FromStr as _;

use rustls::CertificateError;
use sqlx::postgres::PgConnectOptions;

/// What a URL may say after `?`: what the driver knows, without its other spellings.
const PARAMETERS: [&str; 13] = [
    "application_name",
    "dbname",
    "host",
    "hostaddr",
    "options",
    "password",
    "port",
    "sslcert",
    "sslkey",
    "sslmode",
    "sslrootcert",
    "statement-cache-capacity",
    "user",
];

/// Reads the URL of a database on a server.
///
/// # Errors
/// What is accepted.
pub(in super::super) fn options(url: &str) -> Result<PgConnectOptions, &'static str> {
    let parameters = url.split_once('?').map_or("", |(_, parameters)| parameters);
    let mut keys = parameters
        .split('&')
        .filter(|parameter| !parameter.is_empty())
        .map(|parameter| parameter.split_once('=').map_or(parameter, |(key, _)| key));
    // The driver would pass it over, and log it with its value.
    if !keys.all(|key| PARAMETERS.contains(&key) || key.starts_with("options[")) {
        return Err(
            "accepted after ? are sslmode, sslrootcert, sslcert, sslkey, host, hostaddr, port, \
             dbname, user, password, options, application_name and statement-cache-capacity",
        );
    }
    let options = PgConnectOptions::from_str(url).map_err(|_| {
        "accepted are such as postgres://USER@HOST:5432/DATABASE?sslmode=verify-full; sslmode is \
         one of disable, prefer, require, verify-ca and verify-full"
    })?;
    match options.get_database() {
        Some(_) => Ok(options),
        None => Err("the name of the database is missing"),
    }
}

/// Why no connection that is safe enough came about, and what to set; `None`: for another reason.
pub(in super::super) fn untrusted(
    error: &sqlx::Error,
    options: &PgConnectOptions,
) -> Option<String> {
    let error = match error {
        sqlx::Error::Tls(reason) => {
            return Some(format!(
                "{reason}; set `ssl = on` there, or another `sslmode` in the URL"
            ));
        }
        sqlx::Error::Io(error) => error,
        _ => return None,
    };
    let inner = error.get_ref();
    match inner.and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::InvalidCertificate(reason)) => Some(match reason {
            // The second: of one that only has the name of one that is known.
            CertificateError::UnknownIssuer | CertificateError::BadSignature => {
                "the server's certificate is of an authority that is not known here; name that \
                 authority's certificate as `sslrootcert=FILE` in the URL"
                    .to_owned()
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                format!(
                    "the server's certificate is not for the host `{}` ({reason}); name the host \
                     as the certificate does, or set `sslmode=verify-ca`, which takes any",
                    options.get_host()
                )
            }
            reason => format!("the server's certificate is refused: {reason}"),
        }),
        Some(error) => Some(format!("TLS with the server failed: {error}")),
        // A server's socket may be away; by TCP nothing but a file can be missing.
        None if error.kind() == ErrorKind::NotFound && options.get_socket().is_none() => {
            Some(format!(
                "a file that `sslrootcert`, `sslcert` or `sslkey` names cannot be read: {error}"
            ))
        }
        None => None,
    }
}
