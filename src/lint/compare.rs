//! Comparisons with a number that no value, or every value, satisfies.

use super::Code;
use super::expression::Binary;
use super::infer::{Infer, Info};

/// The operator read from the other side.
const fn turned(operator: &str) -> &str {
    match operator.as_bytes() {
        b">" => "<",
        b">=" => "<=",
        b"<" => ">",
        b"<=" => ">=",
        _ => operator,
    }
}

impl Infer<'_> {
    pub(super) fn compare(
        &mut self,
        at: usize,
        binary: &Binary,
        operator: &str,
        left: &Info,
        right: &Info,
    ) {
        let (number, info, operator) = match (binary.left.number(), binary.right.number()) {
            (None, Some(number)) => (number, left, operator),
            (Some(number), None) => (number, right, turned(operator)),
            _ => return,
        };
        if number.is_nan() || info.unknown {
            return;
        }
        let (low, high) = (info.low, info.high);
        let never = match operator {
            ">" => number >= high,
            ">=" => number > high,
            "<" => number <= low,
            "<=" => number < low,
            "==" => number < low || number > high,
            _ => false,
        };
        let always = match operator {
            ">" => number < low,
            // `>= 0` says that there is a value at all.
            ">=" => number <= low && number != 0.0,
            "<" => number > high,
            "<=" => number >= high,
            "!=" => number < low || number > high,
            _ => false,
        };
        // Ten times the whole is taken for a percentage, of what may exceed it too.
        if let Some(scale) = info.share
            && scale == 1.0
            && number > if info.exceeds { 10.0 } else { 1.0 }
        {
            let range = match info.exceeds {
                true => "of which 1 is the whole",
                false => "between 0 and 1",
            };
            self.fault(
                Code::PercentOfRatio,
                at,
                format!(
                    "the value is a ratio {range}: {number} % of it is {}",
                    number / 100.0
                ),
            );
        } else if never || always {
            let range = if let Some((name, bounds)) = &info.quantile {
                let last = bounds.last().copied().unwrap_or(high);
                format!(
                    "a quantile of `{name}` lies between {low} and its last bound, {last}: choose a threshold below it, or give the histogram a bound above"
                )
            } else {
                format!("the value lies between {low} and {high}")
            };
            let (code, what) = if never {
                (Code::NeverFires, "is never")
            } else {
                (Code::AlwaysTrue, "is always")
            };
            self.fault(
                code,
                at,
                format!("the value {what} {operator} {number}: {range}"),
            );
        } else if let Some((name, bounds)) = &info.quantile
            && let Some(first) = bounds.first()
            && number > 0.0
            && number < *first
            && info.high == bounds.last().copied().unwrap_or(f64::INFINITY)
        {
            self.fault(
                Code::BelowFirstBound,
                at,
                format!("the first bound of `{name}` is {first}: below it a quantile is a guess; choose a threshold from {first} on"),
            );
        }
    }
}
