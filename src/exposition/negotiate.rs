//! Content negotiation: which format and which encoding a client gets.
//!
//! RFC 9110, sections 12.4.2 (quality values), 12.5.1 (`Accept`) and 12.5.3
//! (`Accept-Encoding`). Names on the page are valid in every version of the data model, so a
//! client that allows UTF-8 names is answered with `escaping=underscores`, which says so.

/// A format of the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Format {
    /// Prometheus text 0.0.4.
    Text0,
    /// Prometheus text 1.0.0; differs from 0.0.4 only in names that do not occur here.
    Text1,
    /// OpenMetrics text 1.0.0, with exemplars.
    OpenMetrics,
    /// Length-delimited `io.prometheus.client.MetricFamily`, with exemplars, native histograms
    /// and created timestamps.
    Protobuf,
}

impl Format {
    /// In the order in which they are preferred when a client does not care.
    const OFFERED: [Self; 4] = [Self::Text0, Self::OpenMetrics, Self::Text1, Self::Protobuf];

    /// The `Content-Type` of a page in this format.
    #[must_use]
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Text0 => "text/plain; version=0.0.4; charset=utf-8",
            Self::Text1 => "text/plain; version=1.0.0; charset=utf-8; escaping=underscores",
            Self::OpenMetrics => {
                "application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=underscores"
            }
            Self::Protobuf => {
                "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"
            }
        }
    }

    /// How well a media range fits; none: not at all.
    fn fit(self, range: &MediaRange<'_>) -> Option<u8> {
        let (kind, subtype) = match self {
            Self::Text0 | Self::Text1 => ("text", "plain"),
            Self::OpenMetrics => ("application", "openmetrics-text"),
            Self::Protobuf => ("application", "vnd.google.protobuf"),
        };
        if range.kind == "*" && range.subtype == "*" {
            return Some(0);
        }
        if !range.kind.eq_ignore_ascii_case(kind) {
            return None;
        }
        if range.subtype == "*" {
            return Some(1);
        }
        if !range.subtype.eq_ignore_ascii_case(subtype) {
            return None;
        }
        let mut named = false;
        let mut delimited = false;
        for (key, value) in &range.parameters {
            match (self, key.to_ascii_lowercase().as_str()) {
                (Self::Protobuf, "proto") => {
                    if value != "io.prometheus.client.MetricFamily" {
                        return None;
                    }
                    named = true;
                }
                (Self::Protobuf, "encoding") => {
                    if value != "delimited" {
                        return None;
                    }
                    delimited = true;
                }
                (Self::Protobuf, _) => {}
                (_, "version") => {
                    if value != self.version() {
                        return None;
                    }
                    named = true;
                }
                (_, "charset") if !value.eq_ignore_ascii_case("utf-8") => return None,
                _ => {}
            }
        }
        match self {
            Self::Protobuf if !(named && delimited) => None,
            // Without a version `text/plain` is 0.0.4, as it has always been.
            Self::Text1 if !named => None,
            _ => Some(2 + u8::from(named)),
        }
    }

    const fn version(self) -> &'static str {
        match self {
            Self::Text0 => "0.0.4",
            _ => "1.0.0",
        }
    }

    /// The format for an `Accept` header; none: the client excludes all (406).
    ///
    /// The highest quality wins; among equals the more specific range, then the one named
    /// first. A client that names nothing offered here gets text 0.0.4, as from every
    /// Prometheus client library, unless it excludes that.
    #[must_use]
    pub fn negotiate(accept: Option<&str>) -> Option<Self> {
        let Some(accept) = accept.filter(|a| !a.trim().is_empty()) else {
            return Some(Self::Text0);
        };
        let ranges: Vec<MediaRange<'_>> = items(accept).filter_map(MediaRange::parse).collect();
        let mut best: Option<(u16, u8, usize, Self)> = None;
        let mut text_excluded = false;
        for format in Self::OFFERED {
            let mut found: Option<(u8, usize, u16)> = None;
            for (position, range) in ranges.iter().enumerate() {
                if let Some(fit) = format.fit(range)
                    && found.is_none_or(|(known, ..)| fit > known)
                {
                    found = Some((fit, position, range.quality));
                }
            }
            let Some((fit, position, quality)) = found else {
                continue;
            };
            if quality == 0 {
                text_excluded |= format == Self::Text0;
                continue;
            }
            let better = best.is_none_or(|(q, f, p, _)| {
                (quality, fit) > (q, f) || ((quality, fit) == (q, f) && position < p)
            });
            if better {
                best = Some((quality, fit, position, format));
            }
        }
        match best {
            Some((.., format)) => Some(format),
            None if text_excluded => None,
            None => Some(Self::Text0),
        }
    }
}

/// A content encoding of the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Encoding {
    /// As it is.
    Identity,
    /// RFC 1952.
    Gzip,
    /// RFC 8878.
    Zstd,
}

impl Encoding {
    /// The value of `Content-Encoding`; none where the header is left out.
    #[must_use]
    pub const fn as_header(self) -> Option<&'static str> {
        match self {
            Self::Identity => None,
            Self::Gzip => Some("gzip"),
            Self::Zstd => Some("zstd"),
        }
    }

    /// The encoding for an `Accept-Encoding` header; none: the client excludes all (406).
    #[must_use]
    pub fn negotiate(accept: Option<&str>) -> Option<Self> {
        let Some(accept) = accept.filter(|a| !a.trim().is_empty()) else {
            return Some(Self::Identity);
        };
        let (mut gzip, mut zstd, mut identity, mut any) = (None, None, None, None);
        for item in items(accept) {
            let mut parts = split(item, b';');
            let name = parts.next().unwrap_or_default().trim();
            let quality = quality(parts.filter_map(parameter));
            let slot = match name.to_ascii_lowercase().as_str() {
                "gzip" | "x-gzip" => &mut gzip,
                "zstd" => &mut zstd,
                "identity" => &mut identity,
                "*" => &mut any,
                _ => continue,
            };
            *slot = Some(quality);
        }
        // Not named, identity stays acceptable, after everything named.
        let candidates = [
            (zstd.or(any).unwrap_or(0), Self::Zstd),
            (gzip.or(any).unwrap_or(0), Self::Gzip),
            (
                identity.unwrap_or(if any == Some(0) { 0 } else { 1 }),
                Self::Identity,
            ),
        ];
        let mut best: Option<(u16, Self)> = None;
        for (quality, encoding) in candidates {
            if quality > 0 && best.is_none_or(|(known, _)| quality > known) {
                best = Some((quality, encoding));
            }
        }
        best.map(|(_, encoding)| encoding)
    }
}

struct MediaRange<'a> {
    kind: &'a str,
    subtype: &'a str,
    parameters: Vec<(&'a str, String)>,
    quality: u16,
}

impl<'a> MediaRange<'a> {
    fn parse(item: &'a str) -> Option<Self> {
        let mut parts = split(item, b';');
        let (kind, subtype) = parts.next()?.trim().split_once('/')?;
        let parameters: Vec<(&str, String)> = parts.filter_map(parameter).collect();
        Some(Self {
            kind,
            subtype,
            quality: quality(parameters.iter().map(|(k, v)| (*k, v.clone()))),
            parameters,
        })
    }
}

/// Items of a comma-separated list; commas in quoted strings do not separate.
fn items(list: &str) -> impl Iterator<Item = &str> {
    split(list, b',')
        .map(str::trim)
        .filter(|item| !item.is_empty())
}

fn split(text: &str, separator: u8) -> impl Iterator<Item = &str> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest?;
        let (mut quoted, mut escaped) = (false, false);
        for (i, byte) in text.bytes().enumerate() {
            match byte {
                _ if escaped => escaped = false,
                b'\\' if quoted => escaped = true,
                b'"' => quoted = !quoted,
                _ if byte == separator && !quoted => {
                    rest = text.get(i + 1..);
                    return text.get(..i);
                }
                _ => {}
            }
        }
        rest = None;
        Some(text)
    })
}

fn parameter(part: &str) -> Option<(&str, String)> {
    let (key, value) = part.split_once('=')?;
    let value = value.trim();
    let value = match value.strip_prefix('"').and_then(|v| v.strip_suffix('"')) {
        Some(inner) => inner.replace("\\\"", "\"").replace("\\\\", "\\"),
        None => value.to_owned(),
    };
    Some((key.trim(), value))
}

/// Quality in thousandths; 1000 where none is given, 0 where it cannot be read.
fn quality<'a>(parameters: impl Iterator<Item = (&'a str, String)>) -> u16 {
    for (key, value) in parameters {
        if key.eq_ignore_ascii_case("q") {
            return value
                .parse::<f64>()
                .ok()
                .filter(|q| (0.0..=1.0).contains(q))
                .map_or(0, |q| (q * 1000.0).round() as u16);
        }
    }
    1000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_follow_quality_specificity_and_order() {
        let prometheus_3 = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
        let proto = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited";
        let cases = [
            (prometheus_3, Some(Format::OpenMetrics)),
            (
                &*format!("{proto};q=0.6,{prometheus_3}"),
                Some(Format::Protobuf),
            ),
            (proto, Some(Format::Protobuf)),
            (
                "application/vnd.google.protobuf;proto=\"io.prometheus.client.MetricFamily\";encoding=delimited",
                Some(Format::Protobuf),
            ),
            (
                "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=text,text/plain;q=0.1",
                Some(Format::Text0),
            ),
            ("*/*", Some(Format::Text0)),
            ("", Some(Format::Text0)),
            ("text/html,*/*;q=0.8", Some(Format::Text0)),
            ("application/json", Some(Format::Text0)),
            ("text/plain", Some(Format::Text0)),
            ("text/plain;version=1.0.0", Some(Format::Text1)),
            (
                "text/*;q=0.5, application/*;q=0.9",
                Some(Format::OpenMetrics),
            ),
            ("application/openmetrics-text", Some(Format::OpenMetrics)),
            (
                "application/openmetrics-text;version=0.0.1,text/plain;q=0.2",
                Some(Format::Text0),
            ),
            (
                "text/plain;version=0.0.4, application/openmetrics-text;version=1.0.0",
                Some(Format::Text0),
            ),
            (
                "application/openmetrics-text;version=1.0.0, text/plain;version=0.0.4",
                Some(Format::OpenMetrics),
            ),
            ("text/plain;q=0, */*", Some(Format::OpenMetrics)),
            ("*/*;q=0", None),
            ("text/plain;q=0", None),
            ("TEXT/PLAIN; Version=0.0.4; Q=0.3", Some(Format::Text0)),
            (
                "text/plain;q=banana, application/openmetrics-text;q=0.1",
                Some(Format::OpenMetrics),
            ),
            (",;,=/;;", Some(Format::Text0)),
            ("text/plain;x=\"a,b;q=0\";q=1", Some(Format::Text0)),
        ];
        for (accept, expected) in cases {
            assert_eq!(Format::negotiate(Some(accept)), expected, "{accept}");
        }
        assert_eq!(Format::negotiate(None), Some(Format::Text0));
    }

    #[test]
    fn encodings_follow_quality() {
        let cases = [
            ("gzip", Some(Encoding::Gzip)),
            ("gzip, zstd", Some(Encoding::Zstd)),
            ("gzip;q=1.0, zstd;q=0.5", Some(Encoding::Gzip)),
            ("gzip;q=0", Some(Encoding::Identity)),
            ("br", Some(Encoding::Identity)),
            ("br, *", Some(Encoding::Zstd)),
            ("*;q=0", None),
            ("*;q=0, gzip", Some(Encoding::Gzip)),
            ("identity;q=0", None),
            ("identity;q=1, gzip;q=0.5", Some(Encoding::Identity)),
            ("*;q=0, identity", Some(Encoding::Identity)),
            ("gzip;q=0.001", Some(Encoding::Gzip)),
        ];
        for (accept, expected) in cases {
            assert_eq!(Encoding::negotiate(Some(accept)), expected, "{accept}");
        }
    }
}
