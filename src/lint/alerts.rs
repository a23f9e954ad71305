//! What is asked of an alert beyond its expression.

use std::collections::BTreeSet;

use super::Code;
use super::expression::{Binary, Node, NodeKind};
use super::finding::Fault;
use super::infer::{Context, Infer, Info, Recorded};
use super::names::Names;
use super::ratio::without_zeros;

/// What the alerts of a run watch for having gone.
#[derive(Clone, Debug, Default)]
pub(super) struct Watched {
    /// Metrics that an alert asks `absent` about.
    pub(super) absent: BTreeSet<String>,
    /// Whether an alert reads `up`.
    pub(super) up: bool,
}

impl Watched {
    pub(super) fn note(&mut self, root: &Node) {
        root.walk(&mut |node| match &node.kind {
            NodeKind::Call {
                function,
                arguments,
            } if function.starts_with("absent") => {
                for selector in arguments.iter().flat_map(Node::selectors) {
                    self.absent.extend(selector.name.clone());
                }
            }
            NodeKind::Selector(selector) if selector.name.as_deref() == Some("up") => {
                self.up = true
            }
            _ => {}
        });
    }
}

/// A value compared with a number, the value on the left.
struct Condition<'a> {
    at: usize,
    operator: &'a str,
    value: &'a Node,
    number: f64,
}

fn condition<'a>(at: usize, binary: &'a Binary) -> Option<Condition<'a>> {
    let operator = binary.operator.as_str();
    let (value, number, operator) = match (binary.left.number(), binary.right.number()) {
        (None, Some(number)) => (&binary.left, number, operator),
        (Some(number), None) => {
            let turned = match operator {
                ">" => "<",
                ">=" => "<=",
                "<" => ">",
                "<=" => ">=",
                other => other,
            };
            (&binary.right, number, turned)
        }
        _ => return None,
    };
    matches!(operator, ">" | ">=" | "<" | "<=" | "==").then_some(Condition {
        at,
        operator,
        value,
        number,
    })
}

/// The comparisons that make an alert fire.
fn conditions<'a>(node: &'a Node, found: &mut Vec<Condition<'a>>) {
    if let NodeKind::Binary(binary) = &node.kind {
        match binary.operator.as_str() {
            "and" | "or" => {
                conditions(&binary.left, found);
                conditions(&binary.right, found);
            }
            "unless" => conditions(&binary.left, found),
            _ => found.extend(condition(node.at, binary)),
        }
    }
}

/// The division that a value is, through factors and `1 - x`.
fn division(node: &Node) -> Option<&Binary> {
    let NodeKind::Binary(binary) = &node.kind else {
        return None;
    };
    match binary.operator.as_str() {
        "/" if binary.right.number().is_none() => Some(binary),
        "*" | "-" | "/" if binary.left.number().is_some() => division(&binary.right),
        "*" | "/" => division(&binary.left),
        _ => None,
    }
}

fn events(node: &Node) -> bool {
    let mut found = false;
    node.walk(&mut |node| {
        found |= matches!(&node.kind, NodeKind::Call { function, .. }
            if matches!(*function, "rate" | "increase" | "irate"));
    });
    found
}

/// Whether a ratio is taken only where enough happens.
fn has_floor(root: &Node) -> bool {
    let mut found = false;
    root.walk(&mut |node| match &node.kind {
        NodeKind::Binary(binary) => {
            found |= condition(node.at, binary).is_some_and(|condition| {
                condition.operator.starts_with('>')
                    && condition.number > 0.0
                    && events(condition.value)
                    && division(condition.value).is_none()
            });
        }
        NodeKind::Call {
            function,
            arguments,
        } => {
            found |= *function == "clamp_min" && arguments.iter().any(events);
        }
        _ => {}
    });
    found
}

/// Faults of an alert as a whole.
pub(super) fn check(
    root: &Node,
    names: &Names,
    recorded: &Recorded,
    watched: &Watched,
) -> Vec<Fault> {
    let mut faults = Vec::new();
    let mut found = Vec::new();
    conditions(root, &mut found);
    let infer = |node: &Node| -> Info {
        let mut infer = Infer {
            names,
            recorded,
            faults: Vec::new(),
            opaque: false,
        };
        infer.node(node, Context::default())
    };
    let mut floor_missed = false;
    for condition in found {
        let info = infer(condition.value);
        if let Some(binary) = division(condition.value)
            && info.share.is_some()
            && events(&binary.right)
        {
            if condition.operator.starts_with('>') && !floor_missed && !has_floor(root) {
                floor_missed = true;
                faults.push(Fault::new(
                    Code::NoTrafficFloor,
                    condition.at,
                    "one failure among few events fires this: add a floor, such as `and sum by (…) (increase(…[5m])) > 10`",
                ));
            }
            let bare = std::ptr::eq(without_zeros(&binary.left), &binary.left);
            if condition.operator.starts_with('<') && bare {
                faults.push(Fault::new(
                    Code::EmptyNumerator,
                    condition.at,
                    "where the numerator has no series the ratio is empty, not 0, and this never fires: (numerator or 0 * denominator) / denominator",
                ));
            }
        }
        let NodeKind::Selector(selector) = &condition.value.kind else {
            continue;
        };
        let Some(name) = &selector.name else { continue };
        if info.unknown || info.counter || info.gauge && name == "up" {
            continue;
        }
        let falls = condition.operator == "==" && condition.number == 0.0
            || condition.operator == "<" && condition.number <= 1.0 && info.share.is_none();
        if falls && name != "up" && !watched.up && !watched.absent.contains(name) {
            faults.push(Fault::new(
                Code::NoAbsent,
                condition.at,
                format!("a process that is dead no longer publishes `{name}`: add `or absent({name})`, or an alert on `up`"),
            ));
        }
        if condition.operator.starts_with('<')
            && name.contains("remaining")
            && condition.number > 1.0
        {
            faults.push(Fault::new(
                Code::AbsoluteRemainder,
                condition.at,
                format!("where the limit itself is below {} this always fires: compare the share of the limit", condition.number),
            ));
        }
    }
    faults
}
