//! Ratios: what is divided by itself, and what lies between 0 and 1.

use std::fmt::Write as _;

use super::Code;
use super::expression::{Binary, Node, NodeKind, Selector};
use super::infer::{Infer, Info};
use super::labels::{Labels, Presence};

impl Infer<'_> {
    pub(super) fn ratio(
        &mut self,
        at: usize,
        binary: &Binary,
        left: &Info,
        right: &Info,
        labels: Labels,
    ) -> Info {
        if let Some(message) = always_one(binary, left, right) {
            self.fault(Code::AlwaysOne, at, message);
        }
        for selector in binary.left.selectors() {
            if let Some(matcher) = client_errors(selector) {
                self.fault(
                    Code::ClientErrors,
                    at,
                    format!("{matcher} counts answers such as 404, which blame the client: 5xx are the server's errors"),
                );
            }
        }
        if let Some(open) = share_of_open(binary) {
            self.fault(
                Code::ShareOfOpen,
                at,
                format!("{open} is not saturation: a pool that may still grow is full by this; divide by its maximum"),
            );
        }
        let mut info = left.plain();
        info.labels = labels;
        info.unknown |= right.unknown;
        info.aggregated |= right.aggregated;
        info.gauge = true;
        info.counter = left.counter || right.counter;
        if left.low >= 0.0 && right.low >= 0.0 {
            info.low = 0.0;
        }
        match part(&binary.left, &binary.right) {
            Some(Part::Certain) => {
                info = info.between(0.0, 1.0);
                info.share = Some(1.0);
            }
            Some(Part::Likely) => info.share = Some(1.0),
            None => {}
        }
        info
    }
}

/// Whether a side is a part of the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    /// It cannot be larger.
    Certain,
    /// By its name.
    Likely,
}

/// A numerator without the zeros that `or` adds to it.
pub(super) fn without_zeros(node: &Node) -> &Node {
    match &node.kind {
        NodeKind::Binary(binary) if binary.operator == "or" => without_zeros(&binary.left),
        _ => node,
    }
}

/// A denominator without a filter such as `> 0` or `clamp_min`.
pub(super) fn without_floor(node: &Node) -> &Node {
    match &node.kind {
        NodeKind::Binary(binary)
            if matches!(binary.operator.as_str(), ">" | ">=" | "!=")
                && binary.right.number().is_some() =>
        {
            without_floor(&binary.left)
        }
        NodeKind::Call {
            function,
            arguments,
        } if *function == "clamp_min" => arguments.first().map_or(node, without_floor),
        _ => node,
    }
}

fn part(left: &Node, right: &Node) -> Option<Part> {
    let (left, right) = (without_zeros(left), without_floor(right));
    // The same thing, asked for with more matchers.
    if only_counts(left)
        && only_counts(right)
        && shape(left, false, false) == shape(right, false, false)
    {
        let narrower = left
            .selectors()
            .iter()
            .zip(right.selectors())
            .all(|(l, r)| {
                r.matchers
                    .iter()
                    .all(|matcher| l.matchers.contains(matcher))
            });
        if narrower {
            return Some(Part::Certain);
        }
    }
    // One of the terms of a sum.
    let mut terms = Vec::new();
    if sum_of(right, &mut terms) && terms.len() > 1 {
        let one = shape(left, true, false);
        if terms
            .iter()
            .any(|term| shape(without_zeros(term), true, false) == one)
        {
            return Some(Part::Certain);
        }
    }
    // What is left of a whole.
    if let NodeKind::Binary(difference) = &left.kind
        && difference.operator == "-"
        && shape(&difference.left, true, false) == shape(right, true, false)
    {
        return Some(Part::Certain);
    }
    let name = |node: &Node| {
        let selectors = node.selectors();
        match selectors.as_slice() {
            [one] => one.name.clone(),
            _ => None,
        }
    };
    let (numerator, denominator) = (name(left)?, name(right)?);
    let ends = |name: &str, words: &[&str]| words.iter().any(|word| name.contains(word));
    let failures = [
        "error", "fail", "slow", "timeout", "dropped", "hits", "miss", "rejected",
    ];
    let limits = ["_size", "_max", "_limit", "_capacity"];
    let likely = numerator != denominator
        && (ends(&numerator, &failures) && !ends(&denominator, &failures) && only_counts(left)
            || limits.iter().any(|limit| denominator.ends_with(limit))
                && !numerator.ends_with("_sum")
                && !numerator.ends_with("_bytes"));
    likely.then_some(Part::Likely)
}

/// Whether a node is made of counts, summed: a subset of such is a part of them.
fn only_counts(node: &Node) -> bool {
    match &node.kind {
        NodeKind::Selector(_) => true,
        NodeKind::Call {
            function,
            arguments,
        } => {
            matches!(
                *function,
                "rate" | "irate" | "increase" | "sum_over_time" | "count_over_time"
            ) && arguments.iter().all(only_counts)
        }
        NodeKind::Aggregate {
            operator, inner, ..
        } => matches!(operator.as_str(), "sum" | "count") && only_counts(inner),
        NodeKind::Subquery { inner, .. } => only_counts(inner),
        _ => false,
    }
}

/// The terms of a sum.
fn sum_of<'a>(node: &'a Node, terms: &mut Vec<&'a Node>) -> bool {
    match &node.kind {
        NodeKind::Binary(binary) if binary.operator == "+" => {
            sum_of(&binary.left, terms) && sum_of(&binary.right, terms)
        }
        _ => {
            terms.push(node);
            true
        }
    }
}

/// A text that two nodes share if they compute the same.
fn shape(node: &Node, matchers: bool, grouping: bool) -> String {
    let mut out = String::new();
    write_shape(node, matchers, grouping, &mut out);
    out
}

fn write_shape(node: &Node, matchers: bool, groupings: bool, out: &mut String) {
    // Writing into a string does not fail.
    match &node.kind {
        NodeKind::Number(value) => {
            let _ = write!(out, "{value}");
        }
        NodeKind::Text(text) => {
            let _ = write!(out, "{text:?}");
        }
        NodeKind::Selector(selector) => {
            let _ = write!(out, "{:?}", selector.name);
            if matchers {
                let mut all: Vec<String> =
                    selector.matchers.iter().map(ToString::to_string).collect();
                all.sort();
                let _ = write!(out, "{all:?}");
            }
            if let Some(window) = selector.window {
                let _ = write!(out, "{:?}", window.length);
            }
        }
        NodeKind::Subquery { inner, window } => {
            write_shape(inner, matchers, groupings, out);
            let _ = write!(out, "[{:?}:]", window.length);
        }
        NodeKind::Call {
            function,
            arguments,
        } => {
            let _ = write!(out, "{function}(");
            for argument in arguments {
                write_shape(argument, matchers, groupings, out);
                out.push(',');
            }
            out.push(')');
        }
        NodeKind::Aggregate {
            operator,
            parameter,
            inner,
            grouping,
        } => {
            let _ = write!(out, "{operator}(");
            if groupings {
                let _ = write!(out, "{grouping:?}");
            }
            if let Some(parameter) = parameter {
                write_shape(parameter, matchers, groupings, out);
            }
            write_shape(inner, matchers, groupings, out);
            out.push(')');
        }
        NodeKind::Binary(binary) => {
            out.push('(');
            write_shape(&binary.left, matchers, groupings, out);
            let _ = write!(out, " {} ", binary.operator);
            write_shape(&binary.right, matchers, groupings, out);
            out.push(')');
        }
        NodeKind::Negative(inner) => {
            out.push('-');
            write_shape(inner, matchers, groupings, out);
        }
    }
}

/// Why a ratio is always 1, if it is: both sides are the same series, and the labels that
/// would tell them apart are among those that must be equal.
fn always_one(binary: &Binary, left: &Info, right: &Info) -> Option<String> {
    let (numerator, denominator) = (without_zeros(&binary.left), without_floor(&binary.right));
    if numerator.selectors().is_empty()
        || shape(numerator, false, true) != shape(denominator, false, true)
    {
        return None;
    }
    let takes_part = |label: &str| match &binary.matching {
        Some(matching) => matching.keeps == matching.labels.iter().any(|l| l == label),
        None => true,
    };
    let mut apart = Vec::new();
    for (l, r) in numerator.selectors().iter().zip(denominator.selectors()) {
        if l.alternatives || r.alternatives || l.name.is_none() {
            return None;
        }
        let differing = l
            .matchers
            .iter()
            .filter(|matcher| !r.matchers.contains(matcher))
            .chain(
                r.matchers
                    .iter()
                    .filter(|matcher| !l.matchers.contains(matcher)),
            );
        for matcher in differing {
            let stays = left.labels.presence(&matcher.name) != Presence::Never
                && right.labels.presence(&matcher.name) != Presence::Never;
            if !stays || !takes_part(&matcher.name) {
                return None;
            }
            apart.push(format!("`{}`", matcher.name));
        }
    }
    apart.sort();
    apart.dedup();
    Some(if apart.is_empty() {
        "both sides are the same: this is 1 wherever there is anything".to_owned()
    } else {
        let labels = apart.join(" and ");
        format!(
            "{labels} must be equal on both sides, so each series is divided by itself: always 1, or nothing. Aggregate {labels} away: sum by (…) (rate(…)) / sum by (…) (rate(…))"
        )
    })
}

/// A matcher of status codes that takes in 4xx with 5xx.
fn client_errors(selector: &Selector) -> Option<String> {
    selector
        .matchers
        .iter()
        .find(|matcher| {
            let codes = ["status", "code"]
                .iter()
                .any(|word| matcher.name.contains(word));
            codes
                && matches!(matcher.op, promql_parser::label::MatchOp::Re(_))
                && matcher.is_match("404")
                && matcher.is_match("500")
                && !matcher.is_match("200")
        })
        .map(ToString::to_string)
}

/// `active / (active + idle)`, in words.
fn share_of_open(binary: &Binary) -> Option<String> {
    let mut terms = Vec::new();
    if !sum_of(without_floor(&binary.right), &mut terms) || terms.len() != 2 {
        return None;
    }
    let name = |node: &Node| match node.selectors().as_slice() {
        [one] if one.window.is_none() => one.name.clone(),
        _ => None,
    };
    let used = name(&binary.left)?;
    let other = terms
        .iter()
        .filter_map(|term| name(term))
        .find(|name| *name != used)?;
    let has = |name: &str, words: &[&str]| words.iter().any(|word| name.contains(word));
    (terms
        .iter()
        .any(|term| name(term).as_deref() == Some(&used))
        && has(&used, &["active", "used", "busy", "in_use", "checked_out"])
        && has(&other, &["idle", "free", "available"]))
    .then(|| format!("{used} / ({used} + {other})"))
}
