//! The rules that declarations obey, as `const` functions: what breaks one does not compile.

mod alert;
mod panel;

use super::{Feed, Instrument, Label, LabelKind, Metric, Signal};

/// Labels a signal may have at most.
pub const MAX_LABELS: usize = 8;
/// Open labels a signal may have at most.
pub const MAX_OPEN: usize = 6;
/// Values a signal may have at most.
pub const MAX_VALUES: usize = 16;
/// How many times faster than it may an error budget burns at the fastest that is watched.
pub const FASTEST_BURN: f64 = 14.4;
/// Position of a field that is not declared.
pub const UNKNOWN: u8 = u8::MAX;

/// Byte-wise equality.
#[must_use]
pub const fn same(a: &str, b: &str) -> bool {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    if a.len() != b.len() {
        return false;
    }
    let mut i = 0;
    while i < a.len() {
        if a[i] != b[i] {
            return false;
        }
        i += 1;
    }
    true
}

/// Equality of what two names become in Prometheus, where `.` is `_`.
const fn same_translated(a: &str, b: &str) -> bool {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    if a.len() != b.len() {
        return false;
    }
    let mut i = 0;
    while i < a.len() {
        let x = if a[i] == b'.' { b'_' } else { a[i] };
        let y = if b[i] == b'.' { b'_' } else { b[i] };
        if x != y {
            return false;
        }
        i += 1;
    }
    true
}

/// Whether a name is lower-case words of `[a-z0-9_]`, joined by dots, each led by a letter.
#[must_use]
pub const fn is_name(name: &str) -> bool {
    let bytes = name.as_bytes();
    if bytes.is_empty() || bytes.len() > 255 {
        return false;
    }
    let mut i = 0;
    let mut lead = true;
    while i < bytes.len() {
        match bytes[i] {
            b'a'..=b'z' => lead = false,
            b'0'..=b'9' | b'_' if !lead => {}
            b'.' if !lead => lead = true,
            _ => return false,
        }
        i += 1;
    }
    !lead
}

const fn ends_with(text: &str, end: &str) -> bool {
    let (text, end) = (text.as_bytes(), end.as_bytes());
    if text.len() < end.len() {
        return false;
    }
    let offset = text.len() - end.len();
    let mut i = 0;
    while i < end.len() {
        if text[offset + i] != end[i] {
            return false;
        }
        i += 1;
    }
    true
}

/// Whether Prometheus keeps a label name for itself: `le`, `quantile`, `__*`.
#[must_use]
pub const fn is_reserved_label(key: &str) -> bool {
    let b = key.as_bytes();
    same(key, "le") || same(key, "quantile") || (b.len() >= 2 && b[0] == b'_' && b[1] == b'_')
}

/// Whether bounds are finite and strictly ascending.
#[must_use]
pub const fn are_bounds(bounds: &[f64]) -> bool {
    let mut i = 0;
    while i < bounds.len() {
        if !bounds[i].is_finite() || (i > 0 && bounds[i] <= bounds[i - 1]) {
            return false;
        }
        i += 1;
    }
    true
}

/// Number of marked values of a closed label.
#[must_use]
pub const fn marked_count(values: &[(&'static str, bool)]) -> usize {
    let (mut i, mut n) = (0, 0);
    while i < values.len() {
        n += values[i].1 as usize;
        i += 1;
    }
    n
}

/// The marked values of a closed label.
#[must_use]
pub const fn marked<const N: usize>(values: &[(&'static str, bool)]) -> [&'static str; N] {
    let mut out = [""; N];
    let (mut i, mut n) = (0, 0);
    while i < values.len() {
        if values[i].1 {
            out[n] = values[i].0;
            n += 1;
        }
        i += 1;
    }
    out
}

/// Position of the marked value of a closed label.
#[must_use]
pub const fn marked_index(marks: &[bool]) -> Option<u8> {
    let mut i = 0;
    while i < marks.len() {
        if marks[i] {
            return Some(i as u8);
        }
        i += 1;
    }
    None
}

/// Position of a field in a list of names, for `by [..]` and `of(..)`; [`UNKNOWN`] if it is not
/// there, which [`signal`] refuses.
#[must_use]
pub const fn position(fields: &[&str], field: &str) -> u8 {
    let mut i = 0;
    while i < fields.len() {
        if same(fields[i], field) {
            return i as u8;
        }
        i += 1;
    }
    UNKNOWN
}

/// Number of open, or of closed, labels before a position.
#[must_use]
pub const fn rank(labels: &[Label], position: usize, closed: bool) -> usize {
    let (mut i, mut n) = (0, 0);
    while i < position {
        n += (labels[i].is_closed() == closed) as usize;
        i += 1;
    }
    n
}

/// Bits that a closed label of so many values takes in a packed tuple.
#[must_use]
pub const fn bits(values: usize) -> u32 {
    values.next_power_of_two().trailing_zeros()
}

/// The bits of a closed label of so many values, all set.
#[must_use]
pub const fn mask(values: usize) -> u64 {
    (1 << bits(values)) - 1
}

/// Bits that the closed labels before a position take in a packed tuple.
#[must_use]
pub const fn shift(labels: &[Label], position: usize) -> u32 {
    let (mut i, mut n) = (0, 0);
    while i < position {
        if let LabelKind::Closed { values, .. } = labels[i].kind {
            n += bits(values.len());
        }
        i += 1;
    }
    n
}

#[track_caller]
const fn require(holds: bool, message: &'static str) {
    if !holds {
        panic!("{}", message);
    }
}

const fn find(signal: &Signal, name: &str) -> Option<&'static Metric> {
    let mut i = 0;
    while i < signal.metrics.len() {
        if same(signal.metrics[i].name, name) {
            return Some(&signal.metrics[i]);
        }
        i += 1;
    }
    None
}

const fn has_label(signal: &Signal, metric: &Metric, key: &str) -> bool {
    let mut i = 0;
    while i < metric.labels.len() {
        if same(signal.labels[metric.labels[i] as usize].key, key) {
            return true;
        }
        i += 1;
    }
    match metric.constant {
        Some((constant, _)) => same(constant, key),
        None => false,
    }
}

const fn has_error_label(signal: &Signal, metric: &Metric) -> bool {
    let mut i = 0;
    while i < metric.labels.len() {
        let label = &signal.labels[metric.labels[i] as usize];
        match label.kind {
            LabelKind::Closed { errors, .. } if !errors.is_empty() => return true,
            LabelKind::Open { .. } if same(label.key, "error.type") => return true,
            LabelKind::Closed { .. } | LabelKind::Open { .. } => {}
        }
        i += 1;
    }
    false
}

/// Holds a signal against every rule.
///
/// # Panics
/// At compile time, with what to do, when a rule is broken.
#[track_caller]
pub const fn signal(s: &Signal) {
    require(
        is_name(s.name),
        "invalid signal name: use lower-case words of [a-z0-9_] joined by dots, such as `workflow.run`",
    );
    labels(s);
    require(
        s.values.len() <= MAX_VALUES,
        "more values than a signal may have: it has at most 16; move some to a signal of their own",
    );
    let mut i = 0;
    while i < s.metrics.len() {
        metric(s, i);
        i += 1;
    }
    panel::panels(s);
    alert::alerts(s);
}

#[track_caller]
const fn labels(s: &Signal) {
    require(
        s.labels.len() <= MAX_LABELS,
        "more labels than the budget allows: a signal has at most 8; move the others to `context`",
    );
    let mut open = 0;
    let mut closed_product: usize = 1;
    let mut i = 0;
    while i < s.labels.len() {
        let label = &s.labels[i];
        require(
            !is_reserved_label(label.key),
            "reserved label name: `le`, `quantile` and names that begin with `__` belong to Prometheus; choose another key",
        );
        require(
            is_name(label.key),
            "invalid label name: use lower-case words of [a-z0-9_] joined by dots, such as `workflow_type`",
        );
        let mut j = 0;
        while j < i {
            require(
                !same_translated(s.labels[j].key, label.key),
                "duplicate label: two labels of a signal have one name in Prometheus; rename one",
            );
            j += 1;
        }
        match label.kind {
            LabelKind::Closed {
                values, abandoned, ..
            } => {
                require(
                    !values.is_empty() && values.len() <= 256,
                    "a closed label has 1 to 256 values; make it open with a budget",
                );
                closed_product = closed_product.saturating_mul(values.len());
                require(
                    !label.outcome || abandoned.is_some(),
                    "a closed outcome label needs a value for ends that nobody reported: mark one `abandoned`",
                );
            }
            LabelKind::Open { budget, .. } => {
                require(
                    budget > 0,
                    "an open label needs a budget of at least 1 distinct value",
                );
                open += 1;
            }
        }
        i += 1;
    }
    require(
        open <= MAX_OPEN,
        "more labels than the budget allows: a signal has at most 6 open labels; move the others to `context`",
    );
    require(
        closed_product <= s.series as usize,
        "more labels than the budget allows: the closed labels alone make more series than `series`; drop a label or raise `series`",
    );
}

#[track_caller]
const fn metric(s: &Signal, index: usize) {
    let m = &s.metrics[index];
    require(
        is_name(m.name),
        "invalid metric name: use lower-case words of [a-z0-9_] joined by dots, such as `workflow.duration`",
    );
    require(
        !matches!(m.instrument, Instrument::Counter | Instrument::FloatCounter)
            || !ends_with(m.name, "_total") && !ends_with(m.name, ".total"),
        "a counter's name ends in `_total`: drop it, Prometheus' name gets it by itself",
    );
    require(
        are_bounds(m.bounds),
        "histogram bounds must be finite and strictly ascending: sort them, drop duplicates, leave +Inf out",
    );
    require(
        matches!(m.instrument, Instrument::Histogram) != m.bounds.is_empty(),
        "bounds belong to histograms, and every histogram names its class: add or remove `buckets`",
    );
    range(m);
    let fits = match m.feed {
        Feed::Active => matches!(m.instrument, Instrument::InFlight),
        Feed::Duration => matches!(m.instrument, Instrument::Histogram),
        Feed::Count => matches!(m.instrument, Instrument::Counter | Instrument::FloatCounter),
        Feed::Ended => matches!(m.instrument, Instrument::Gauge),
        Feed::Value(_) | Feed::Rest(..) => !matches!(m.instrument, Instrument::InFlight),
    };
    require(
        fits,
        "the instrument does not fit what feeds it: counters count, histograms take `duration` or a value",
    );
    if let Feed::Value(position) | Feed::Rest(position, _) = m.feed {
        require(
            (position as usize) < s.values.len(),
            "`of(..)` names a value that the signal does not declare: add it to `values`",
        );
    }
    if let Feed::Rest(_, parts) = m.feed {
        let mut i = 0;
        while i < parts.len() {
            require(
                (parts[i] as usize) < s.values.len(),
                "`rest(..)` names a value that the signal does not declare: add it to `values`",
            );
            i += 1;
        }
    }
    let mut i = 0;
    while i < m.labels.len() {
        require(
            m.labels[i] != UNKNOWN,
            "`by [..]` names a label that the signal does not declare: add it to `labels` or `outcome`",
        );
        require(
            !matches!(m.feed, Feed::Active) || !s.labels[m.labels[i] as usize].outcome,
            "an in-flight count has labels that are known at the start: remove outcome labels from its `by`",
        );
        i += 1;
    }
    if let Some((key, _)) = m.constant {
        require(
            is_name(key) && !is_reserved_label(key),
            "invalid constant label name: use lower-case words of [a-z0-9_] joined by dots",
        );
    }
    let mut i = 0;
    while i < index {
        let other = &s.metrics[i];
        let distinct = match (m.constant, other.constant) {
            (Some((_, a)), Some((_, b))) => same(m.name, other.name) && !same(a, b),
            _ => false,
        };
        require(
            distinct || !same_translated(m.name, other.name),
            "duplicate metric name in one signal: rename one, or give each a constant label with `with`",
        );
        i += 1;
    }
    require(
        m.no_alert.is_some() || is_watched(s, m.name),
        "a metric has neither an alert nor a reason for none: add an alert on it, or `no_alert \"why\"`",
    );
}

#[track_caller]
const fn range(m: &Metric) {
    let (low, high) = m.range();
    require(
        low < high,
        "a range goes from the least value to the largest, such as `range (0.0, f64::INFINITY)`",
    );
    require(
        m.declared_range.is_none()
            || matches!(m.instrument, Instrument::Gauge | Instrument::Histogram),
        "gauges and histograms have a range; what is counted only grows",
    );
    if let Some(last) = m.bounds.last() {
        require(
            low <= m.bounds[0] && *last <= high,
            "histogram bounds lie outside the range of its values, which is 0 to 1 for the unit `1`: drop them, or declare the `range`",
        );
    }
}

const fn is_watched(s: &Signal, name: &str) -> bool {
    let mut i = 0;
    while i < s.alerts.len() {
        let (first, second) = s.alerts[i].condition.metrics();
        if same(first, name) {
            return true;
        }
        if let Some(second) = second
            && same(second, name)
        {
            return true;
        }
        i += 1;
    }
    false
}

const fn share_an_alert(a: &Signal, b: &Signal) -> bool {
    let mut i = 0;
    while i < a.alerts.len() {
        let mut j = 0;
        while j < b.alerts.len() {
            if same(a.alerts[i].name, b.alerts[j].name) {
                return true;
            }
            j += 1;
        }
        i += 1;
    }
    false
}

/// Holds a list of signals against the rule that names are unique, in OpenTelemetry and in
/// Prometheus.
///
/// # Panics
/// At compile time, when two signals, metrics or alerts share a name.
#[track_caller]
pub const fn unique(signals: &[&Signal]) {
    let mut i = 0;
    while i < signals.len() {
        let mut j = 0;
        while j < i {
            require(
                !same(signals[i].name, signals[j].name),
                "duplicate signal name: two signals of the catalog share a name; rename one",
            );
            require(
                !share_an_alert(signals[i], signals[j]),
                "duplicate alert name: two signals of the catalog declare an alert of one name; rename one",
            );
            let mut m = 0;
            while m < signals[i].metrics.len() {
                let mut n = 0;
                while n < signals[j].metrics.len() {
                    require(
                        !same_translated(signals[i].metrics[m].name, signals[j].metrics[n].name),
                        "duplicate metric name: two signals of the catalog publish a metric of one name; rename one",
                    );
                    n += 1;
                }
                m += 1;
            }
            j += 1;
        }
        i += 1;
    }
}

/// A signal's domain: what its module is called, or the module right below `signals` that it is in.
#[must_use]
pub const fn domain(path: &'static str) -> &'static str {
    let mut start = 0;
    loop {
        let end = segment_end(path, start);
        if end == path.len() {
            return path.split_at(start).1;
        }
        let next = end + "::".len();
        if same(path.split_at(end).0.split_at(start).1, "signals") {
            return path.split_at(segment_end(path, next)).0.split_at(next).1;
        }
        start = next;
    }
}

/// Where the segment of a module path ends that begins here.
const fn segment_end(path: &str, start: usize) -> usize {
    let bytes = path.as_bytes();
    let mut end = start;
    while end < bytes.len() && bytes[end] != b':' {
        end += 1;
    }
    end
}

#[cfg(test)]
mod tests {
    use super::domain;

    #[test]
    fn a_domain_is_a_module_or_one_below_signals() {
        assert_eq!(domain("plain"), "plain");
        assert_eq!(domain("app::orders"), "orders");
        assert_eq!(domain("tachograph::signals::llm"), "llm");
        assert_eq!(domain("tachograph::signals::llm::budgets"), "llm");
        assert_eq!(domain("app::signals"), "signals");
    }
}
