//! From OpenTelemetry names to Prometheus names, by the OpenTelemetry specification,
//! "Prometheus and OpenMetrics Compatibility": the same as what a backend does with OTLP.

use super::{Instrument, Metric};

/// The Prometheus unit suffix of a UCUM unit; none for annotations such as `{run}`.
#[must_use]
pub fn prometheus_unit(unit: &str, instrument: Instrument) -> Option<&'static str> {
    Some(match unit {
        "s" => "seconds",
        "ms" => "milliseconds",
        "By" => "bytes",
        "USD" => "USD",
        "Cel" => "celsius",
        "W" => "watts",
        "J" => "joules",
        "Hz" => "hertz",
        "%" => "percent",
        "1" if instrument == Instrument::Gauge => "ratio",
        _ => return None,
    })
}

/// The Prometheus name of an attribute key: every byte outside `[a-zA-Z0-9_]` becomes `_`, and
/// a leading digit gets `key_` before it.
#[must_use]
pub fn prometheus_label(key: &str) -> String {
    let mut name = String::with_capacity(key.len() + 4);
    if key.is_empty() {
        name.push('_');
    }
    if key.starts_with(|c: char| c.is_ascii_digit()) {
        name.push_str("key_");
    }
    name.extend(
        key.chars()
            .map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }),
    );
    name
}

/// The Prometheus name of a metric's name, without suffixes: every character outside
/// `[a-zA-Z0-9_:]` becomes `_`, and one stands before a leading digit.
#[must_use]
pub fn prometheus_metric(name: &str) -> String {
    let mut out = String::with_capacity(name.len() + 1);
    if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
        out.push('_');
    }
    out.extend(name.chars().map(|c| {
        if c.is_ascii_alphanumeric() || c == ':' {
            c
        } else {
            '_'
        }
    }));
    out
}

impl Metric {
    /// Family name in Prometheus text, with unit suffix and, for counters, `_total`.
    #[must_use]
    pub fn prometheus_name(&self) -> String {
        let mut name = self.prometheus_base();
        if matches!(
            self.instrument,
            Instrument::Counter | Instrument::FloatCounter
        ) {
            name.push_str("_total");
        }
        name
    }

    /// Family name in OpenMetrics: without the `_total` of counters.
    #[must_use]
    pub fn prometheus_base(&self) -> String {
        let mut name = prometheus_metric(self.name);
        if let Some(unit) = prometheus_unit(self.unit, self.instrument)
            && !name.ends_with(&format!("_{unit}"))
        {
            name.push('_');
            name.push_str(unit);
        }
        name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_valid() {
        assert_eq!(prometheus_metric("9.a-b:c"), "_9_a_b:c");
        assert_eq!(prometheus_metric(""), "_");
        assert_eq!(prometheus_metric("ü"), "_");
        assert_eq!(prometheus_label("1st.b-c"), "key_1st_b_c");
    }
}
