//! Operators between two sides: which series meet, and what comes of them.

use super::Code;
use super::expression::Binary;
use super::infer::{Context, Infer, Info};
use super::labels::{Labels, Presence};
use super::variables::is_variable;

fn is_comparison(operator: &str) -> bool {
    matches!(operator, ">" | ">=" | "<" | "<=" | "==" | "!=")
}

impl Infer<'_> {
    pub(super) fn binary(&mut self, at: usize, binary: &Binary, context: Context) -> Info {
        let operator = binary.operator.to_ascii_lowercase();
        // `x unless x offset 5m`: the value of what began lately is what happened since.
        let left_context = Context {
            counted: context.counted || operator == "unless" && same_series(binary),
            ..context
        };
        let left = self.node(&binary.left, left_context);
        // What `and` and `unless` ask of their right side is only whether it is there.
        let right_context = if matches!(operator.as_str(), "and" | "unless") {
            Context {
                counted: true,
                ..context
            }
        } else {
            context
        };
        let right = self.node(&binary.right, right_context);
        let numbers = (is_scalar(&binary.left), is_scalar(&binary.right));
        match numbers {
            (true, true) => return arithmetic(&operator, &left, &right, Labels::default()),
            (false, true) | (true, false) => {
                let series = if numbers.1 { &left } else { &right };
                let labels = series.labels.clone();
                return if is_comparison(&operator) {
                    self.compare(at, binary, &operator, &left, &right);
                    self.compared(binary, series)
                } else {
                    arithmetic(&operator, &left, &right, labels)
                };
            }
            (false, false) => {}
        }
        self.meet(at, binary, &operator, &left, &right);
        let labels = joined(binary, &left.labels, &right.labels);
        match operator.as_str() {
            "and" | "unless" => left,
            "or" => left.either(&right),
            "/" => self.ratio(at, binary, &left, &right, labels),
            _ if is_comparison(&operator) => {
                let info = self.compared(binary, &left);
                Info { labels, ..info }
            }
            _ => arithmetic(&operator, &left, &right, labels),
        }
    }

    fn compared(&self, binary: &Binary, series: &Info) -> Info {
        if binary.returns_bool {
            series.plain().between(0.0, 1.0)
        } else {
            series.clone()
        }
    }

    /// Whether series of the two sides can meet.
    fn meet(&mut self, at: usize, binary: &Binary, operator: &str, left: &Info, right: &Info) {
        if let Some(matching) = &binary.matching {
            for label in &matching.labels {
                let nowhere = left.labels.presence(label) == Presence::Never
                    && right.labels.presence(label) == Presence::Never;
                if nowhere
                    && !is_variable(label)
                    && (matching.keeps || !self.names.has_label(label))
                {
                    self.present(at, label, left);
                }
            }
        }
        if operator == "or" || binary.filled {
            return;
        }
        let takes_part = |label: &str| match &binary.matching {
            Some(matching) => matching.keeps == matching.labels.iter().any(|l| l == label),
            None => true,
        };
        let all: std::collections::BTreeSet<&String> = left
            .labels
            .known
            .keys()
            .chain(right.labels.known.keys())
            .collect();
        let mut uneven = Vec::new();
        for label in &all {
            if !takes_part(label) {
                continue;
            }
            match (left.labels.presence(label), right.labels.presence(label)) {
                (Presence::Always, Presence::Never) => uneven.push((label.as_str(), "right")),
                (Presence::Never, Presence::Always) => uneven.push((label.as_str(), "left")),
                (Presence::Always, _) | (_, Presence::Always) => {
                    let values =
                        |labels: &Labels| labels.known.get(*label).and_then(|l| l.values.clone());
                    if let (Some(a), Some(b)) = (values(&left.labels), values(&right.labels))
                        && a.is_disjoint(&b)
                        && !a.is_empty()
                        && !b.is_empty()
                    {
                        let listed = |set: &std::collections::BTreeSet<String>| {
                            set.iter().cloned().collect::<Vec<_>>().join("|")
                        };
                        self.fault(
                            Code::NeverMatches,
                            at,
                            format!("the sides never match: `{label}` is {} on the left and {} on the right; aggregate it away on both", listed(&a), listed(&b)),
                        );
                        return;
                    }
                }
                // Grouped by a label that not every series has: those without it meet.
                (Presence::Maybe, Presence::Never) if left.aggregated && !left.labels.open => {
                    uneven.push((label.as_str(), "right"));
                }
                (Presence::Never, Presence::Maybe) if right.aggregated && !right.labels.open => {
                    uneven.push((label.as_str(), "left"));
                }
                _ => {}
            }
        }
        if let Some((label, missing)) = uneven.first() {
            let consequence = if operator == "unless" {
                "`unless` removes nothing"
            } else {
                "the sides never match"
            };
            let others = if *missing == "right" { "left" } else { "right" };
            self.fault(
                Code::NeverMatches,
                at,
                format!(
                    "{consequence}: `{label}` is on the {others} and not on the {missing} ({} against {}); aggregate both by the same labels, or say on(…), ignoring(…) and group_{others}",
                    left.labels.listed(),
                    right.labels.listed(),
                ),
            );
            return;
        }
        if matches!(operator, "and" | "unless")
            || binary.group.is_some()
            || binary.matching.is_none()
        {
            return;
        }
        let spare = |side: &Info| -> Option<String> {
            side.labels
                .known
                .iter()
                .find(|(name, label)| {
                    label.always
                        && !label.target
                        && !label.is_fixed()
                        && *name != "le"
                        && !takes_part(name)
                })
                .map(|(name, _)| name.clone())
        };
        for (side, info) in [("left", left), ("right", right)] {
            if let Some(label) = spare(info) {
                self.fault(
                    Code::ManyToOne,
                    at,
                    format!("several `{label}` on the {side} meet one series on the other side: aggregate `{label}` away, or say group_{side}"),
                );
                return;
            }
        }
    }
}

/// Whether both sides are one metric's series.
fn same_series(binary: &Binary) -> bool {
    use super::expression::NodeKind::Selector;
    match (&binary.left.kind, &binary.right.kind) {
        (Selector(left), Selector(right)) => left.name.is_some() && left.name == right.name,
        _ => false,
    }
}

/// Whether a node is a scalar, which meets every series.
pub(super) fn is_scalar(node: &super::expression::Node) -> bool {
    use super::expression::NodeKind;
    match &node.kind {
        NodeKind::Number(_) | NodeKind::Text(_) => true,
        NodeKind::Negative(inner) => is_scalar(inner),
        NodeKind::Call { function, .. } => matches!(*function, "time" | "scalar" | "pi"),
        NodeKind::Binary(binary) => is_scalar(&binary.left) && is_scalar(&binary.right),
        _ => false,
    }
}

/// The labels of what two sides make together.
fn joined(binary: &Binary, left: &Labels, right: &Labels) -> Labels {
    let (base, other, added) = match &binary.group {
        Some((true, labels)) => (left, right, labels),
        Some((false, labels)) => (right, left, labels),
        None => {
            return match &binary.matching {
                Some(matching) if matching.keeps => left.only(&matching.labels),
                Some(matching) => left.without(&matching.labels),
                None => left.clone(),
            };
        }
    };
    let mut labels = base.clone();
    for name in added {
        if let Some(label) = other.only(std::slice::from_ref(name)).known.remove(name) {
            labels.set(name, label);
        }
    }
    labels
}

/// Interval arithmetic; shares stay shares under `1 - x` and `x * 100`.
fn arithmetic(operator: &str, left: &Info, right: &Info, labels: Labels) -> Info {
    let ((a, b), (c, d)) = ((left.low, left.high), (right.low, right.high));
    let corners = |f: fn(f64, f64) -> f64| {
        let all = [f(a, c), f(a, d), f(b, c), f(b, d)];
        // 0 * ∞ and ∞ - ∞: nothing is known, except that a product of what is never negative
        // is not.
        if all.iter().any(|v| v.is_nan()) {
            let low = if a >= 0.0 && c >= 0.0 {
                0.0
            } else {
                f64::NEG_INFINITY
            };
            return (low, f64::INFINITY);
        }
        (
            all.iter().copied().fold(f64::INFINITY, f64::min),
            all.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        )
    };
    let (low, high) = match operator {
        "+" => (a + c, b + d),
        "-" => (a - d, b - c),
        "*" => corners(|x, y| x * y),
        "/" if c > 0.0 => corners(|x, y| x / y),
        "/" if a >= 0.0 && c >= 0.0 => (0.0, f64::INFINITY),
        _ => (f64::NEG_INFINITY, f64::INFINITY),
    };
    let (low, high) = if low.is_nan() || high.is_nan() {
        (f64::NEG_INFINITY, f64::INFINITY)
    } else {
        (low, high)
    };
    let number = |info: &Info| (info.low == info.high).then_some(info.low);
    let share = match (
        operator,
        left.share,
        right.share,
        number(left),
        number(right),
    ) {
        ("*", Some(scale), None, _, Some(factor)) | ("*", None, Some(scale), Some(factor), _) => {
            Some(scale * factor)
        }
        ("/", Some(scale), None, _, Some(divisor)) => Some(scale / divisor),
        ("-", None, Some(scale), Some(whole), _) if whole == scale => Some(scale),
        _ => None,
    }
    .filter(|scale| *scale == 1.0 || *scale == 100.0);
    Info {
        low,
        high,
        counter: left.counter || right.counter,
        gauge: left.gauge || right.gauge,
        share,
        aggregated: left.aggregated || right.aggregated,
        unknown: left.unknown || right.unknown,
        // A factor changes the unit, not what it is.
        quantile: left
            .quantile
            .clone()
            .filter(|_| matches!(operator, "*" | "/")),
        ..Info::of(labels)
    }
}
