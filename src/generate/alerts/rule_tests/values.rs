//! What Prometheus makes of an annotation's template: only as much of its templates as
//! the annotations use.

/// Puts labels and the value into a template.
pub(super) fn expand(template: &str, labels: &[(String, String)], value: f64) -> String {
    let mut out = String::new();
    let mut rest = template;
    while let Some(start) = rest.find("{{ ") {
        let Some(length) = rest[start..].find(" }}") else {
            break;
        };
        out.push_str(&rest[..start]);
        out.push_str(&action(&rest[start + 3..start + length], labels, value));
        rest = &rest[start + length + 3..];
    }
    out.push_str(rest);
    out
}

fn action(action: &str, labels: &[(String, String)], value: f64) -> String {
    let (operand, filter) = action.split_once(" | ").unwrap_or((action, ""));
    if let Some(label) = operand.strip_prefix("$labels.") {
        // The values that the tests use need no escapes in a URL.
        return labels
            .iter()
            .find(|(name, _)| name == label)
            .map_or_else(String::new, |(_, value)| value.clone());
    }
    match filter {
        "humanizeDuration" => humanize_duration(value),
        "humanizePercentage" => format!("{}%", significant(value * 100.0)),
        "humanize1024" => humanize(value, 1024.0, &["", "ki", "Mi", "Gi", "Ti"]),
        "humanize" => humanize(value, 1000.0, &["", "k", "M", "G", "T"]),
        _ => format!("{value:.2}"),
    }
}

/// Go's `%.4g`.
fn significant(value: f64) -> String {
    if value == 0.0 {
        return "0".to_owned();
    }
    let scientific = format!("{value:.3e}");
    let exponent: i32 = scientific
        .split_once('e')
        .and_then(|(_, exponent)| exponent.parse().ok())
        .unwrap_or(0);
    let trim = |text: &str| {
        if text.contains('.') {
            text.trim_end_matches('0').trim_end_matches('.').to_owned()
        } else {
            text.to_owned()
        }
    };
    if (-4..4).contains(&exponent) {
        let decimals = usize::try_from(3 - exponent).unwrap_or(0);
        trim(&format!("{value:.decimals$}"))
    } else {
        let (mantissa, _) = scientific.split_once('e').unwrap_or((&scientific, ""));
        let sign = if exponent < 0 { '-' } else { '+' };
        format!("{}e{sign}{:02}", trim(mantissa), exponent.abs())
    }
}

fn humanize(value: f64, base: f64, prefixes: &[&str]) -> String {
    let mut value = value;
    if value != 0.0 && value.abs() < 1.0 && base == 1000.0 {
        for prefix in ["m", "u", "n", "p"] {
            value *= 1000.0;
            if value.abs() >= 1.0 {
                return format!("{}{prefix}", significant(value));
            }
        }
    }
    let mut prefixes = prefixes.iter();
    let mut prefix = prefixes.next().copied().unwrap_or("");
    while value.abs() >= base {
        let Some(next) = prefixes.next() else { break };
        value /= base;
        prefix = next;
    }
    format!("{}{prefix}", significant(value))
}

fn humanize_duration(value: f64) -> String {
    if value == 0.0 {
        return "0s".to_owned();
    }
    if value.abs() < 1.0 {
        return format!("{}s", humanize(value, 1000.0, &[""]));
    }
    let seconds = value as i64 % 60;
    let minutes = value as i64 / 60 % 60;
    let hours = value as i64 / 3600 % 24;
    let days = value as i64 / 86_400;
    if days != 0 {
        format!("{days}d {hours}h {minutes}m {seconds}s")
    } else if hours != 0 {
        format!("{hours}h {minutes}m {seconds}s")
    } else if minutes != 0 {
        format!("{minutes}m {seconds}s")
    } else {
        format!("{}s", significant(value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_written_as_prometheus_writes_them() {
        let labels = [("job".to_owned(), "a".to_owned())];
        let cases = [
            ("{{ $value | humanize }}", 0.11, "110m"),
            ("{{ $value | humanize }}", 585.0, "585"),
            ("{{ $value | humanize }}", 1234.5, "1.234k"),
            ("{{ $value | humanizePercentage }}", 0.051, "5.1%"),
            ("{{ $value | humanizeDuration }}", 9.75, "9.75s"),
            ("{{ $value | humanizeDuration }}", 385.7, "6m 25s"),
            ("{{ $value | humanizeDuration }}", 0.25, "250ms"),
            ("{{ $value | humanizeDuration }}", 90_061.0, "1d 1h 1m 1s"),
            ("{{ $value | printf \"%.2f\" }} USD", 55.0, "55.00 USD"),
            ("{{ $labels.job }} and {{ $labels.none }}", 0.0, "a and "),
            ("{{ $value | humanize1024 }}B", 2048.0, "2kiB"),
        ];
        for (template, value, expected) in cases {
            assert_eq!(expand(template, &labels, value), expected, "{template}");
        }
    }
}
