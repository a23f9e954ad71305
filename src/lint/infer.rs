//! What an expression yields: labels, the interval of its values, and the faults on the way.

use std::collections::BTreeMap;

use super::Code;
use super::expression::{Expression, Grouping, Node, NodeKind};
use super::finding::Fault;
use super::labels::{Label, Labels, Presence};
use super::names::{Names, nearest};
use super::variables::is_variable;

/// What a node yields.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Info {
    pub(super) labels: Labels,
    /// No value is below or above these.
    pub(super) low: f64,
    pub(super) high: f64,
    /// Whether it is a counter's raw value.
    pub(super) counter: bool,
    /// Whether it is known to be no counter.
    pub(super) gauge: bool,
    /// Name of a gauge that replicas publish alike.
    pub(super) replicated: Option<String>,
    /// Name and bounds of a histogram whose buckets it has.
    pub(super) buckets: Option<(String, Vec<f64>)>,
    /// Whether they lost `le`.
    pub(super) le_lost: bool,
    /// Name and bounds of a histogram whose quantile it is.
    pub(super) quantile: Option<(String, Vec<f64>)>,
    /// 1 for a ratio, 100 for a percentage.
    pub(super) share: Option<f64>,
    /// Whether it is declared to go above that.
    pub(super) exceeds: bool,
    /// Whether anything was aggregated.
    pub(super) aggregated: bool,
    /// Whether names or types in it are not known.
    pub(super) unknown: bool,
}

impl Info {
    pub(super) fn of(labels: Labels) -> Self {
        Self {
            labels,
            low: f64::NEG_INFINITY,
            high: f64::INFINITY,
            counter: false,
            gauge: false,
            replicated: None,
            buckets: None,
            le_lost: false,
            quantile: None,
            share: None,
            exceeds: false,
            aggregated: false,
            unknown: false,
        }
    }

    pub(super) fn unknown() -> Self {
        Self {
            unknown: true,
            ..Self::of(Labels::unknown())
        }
    }

    pub(super) fn between(mut self, low: f64, high: f64) -> Self {
        (self.low, self.high) = (low, high);
        self
    }

    /// The same labels, another value.
    pub(super) fn plain(&self) -> Self {
        Self {
            aggregated: self.aggregated,
            unknown: self.unknown,
            ..Self::of(self.labels.clone())
        }
    }

    /// That of series of either kind.
    pub(super) fn either(&self, other: &Self) -> Self {
        Self {
            labels: self.labels.either(&other.labels),
            low: self.low.min(other.low),
            high: self.high.max(other.high),
            unknown: self.unknown || other.unknown,
            ..self.clone()
        }
    }
}

/// Where a node stands.
#[derive(Clone, Copy, Default)]
pub(super) struct Context {
    /// A counter's raw value is right here.
    pub(super) counted: bool,
    /// Inside a quantile, which needs `le`.
    pub(super) quantile: bool,
}

/// Series that recording rules make.
pub(super) type Recorded = BTreeMap<String, Info>;

/// Reads one expression.
pub(super) struct Infer<'a> {
    pub(super) names: &'a Names,
    pub(super) recorded: &'a Recorded,
    pub(super) faults: Vec<Fault>,
    /// Only names and labels are checked.
    pub(super) opaque: bool,
}

impl<'a> Infer<'a> {
    /// What an expression yields, and its faults.
    pub(super) fn expression(
        expression: &Expression,
        names: &'a Names,
        recorded: &'a Recorded,
    ) -> (Info, Vec<Fault>) {
        let mut infer = Self {
            names,
            recorded,
            faults: Vec::new(),
            opaque: expression.opaque,
        };
        let mut info = infer.node(&expression.root, Context::default());
        if expression.opaque {
            info = Info {
                labels: info.labels,
                ..Info::unknown()
            };
        }
        (info, infer.faults)
    }

    pub(super) fn fault(&mut self, code: Code, at: usize, message: impl Into<String>) {
        self.push(Fault::new(code, at, message));
    }

    pub(super) fn push(&mut self, fault: Fault) {
        use Code::{IdleMatcher, UnknownLabel, UnknownMetric, UnknownValue};
        let by_name = matches!(
            fault.code,
            UnknownMetric | UnknownLabel | UnknownValue | IdleMatcher
        );
        if by_name || !self.opaque {
            self.faults.push(fault);
        }
    }

    pub(super) fn node(&mut self, node: &Node, context: Context) -> Info {
        match &node.kind {
            NodeKind::Number(value) => Info::of(Labels::default()).between(*value, *value),
            NodeKind::Text(_) => Info::of(Labels::default()),
            NodeKind::Selector(selector) => self.selector(node.at, selector, context),
            NodeKind::Subquery { inner, .. } => self.node(inner, context),
            NodeKind::Negative(inner) => {
                let info = self.node(inner, context);
                let (low, high) = (-info.high, -info.low);
                info.plain().between(low, high)
            }
            NodeKind::Call {
                function,
                arguments,
            } => self.call(node.at, function, arguments, context),
            NodeKind::Aggregate {
                operator,
                parameter,
                inner,
                grouping,
            } => {
                if let Some(parameter) = parameter {
                    self.node(parameter, Context::default());
                }
                self.aggregate(
                    node.at,
                    operator,
                    parameter.as_deref(),
                    inner,
                    grouping.as_ref(),
                    context,
                )
            }
            NodeKind::Binary(binary) => self.binary(node.at, binary, context),
        }
    }

    fn call(&mut self, at: usize, function: &str, arguments: &[Node], context: Context) -> Info {
        let counted = Context {
            counted: true,
            ..context
        };
        match function {
            "rate" | "irate" | "increase" => self.rate(at, function, arguments, counted),
            "delta"
            | "idelta"
            | "deriv"
            | "predict_linear"
            | "holt_winters"
            | "double_exponential_smoothing" => {
                let info = self.arguments(arguments, counted);
                if info.counter {
                    let right = if function.ends_with("delta") {
                        "increase"
                    } else {
                        "rate"
                    };
                    self.fault(
                        Code::DeltaOfCounter,
                        at,
                        format!("`{function}` of a counter falls at every restart: use `{right}`"),
                    );
                }
                info.plain()
            }
            "resets" | "changes" | "count_over_time" | "timestamp" | "present_over_time" => {
                let info = self.arguments(arguments, counted);
                info.plain().between(0.0, f64::INFINITY)
            }
            "absent" | "absent_over_time" => {
                let info = self.arguments(arguments, counted);
                let mut labels = Labels::default();
                if let Some(NodeKind::Selector(selector)) = arguments.first().map(|a| &a.kind) {
                    for (name, label) in &info.labels.known {
                        if label.is_fixed() && selector.matchers.iter().any(|m| m.name == *name) {
                            labels.set(name, label.clone());
                        }
                    }
                }
                Info::of(labels)
            }
            "histogram_quantile" => self.quantile(at, arguments, context),
            "label_replace" | "label_join" => self.relabel(at, function, arguments, context),
            "scalar" => {
                let info = self.arguments(arguments, context);
                Info::of(Labels::default()).between(info.low, info.high)
            }
            "vector" => {
                let value = arguments.first().and_then(Node::number);
                let info = Info::of(Labels::default());
                value.map_or(info.clone(), |value| info.between(value, value))
            }
            "time" | "pi" => Info::of(Labels::default()).between(0.0, f64::INFINITY),
            "clamp" | "clamp_min" | "clamp_max" => {
                let info = self.arguments(arguments, context);
                let limit = |i: usize| arguments.get(i).and_then(Node::number);
                let (low, high) = match function {
                    "clamp" => (limit(1), limit(2)),
                    "clamp_min" => (limit(1), None),
                    _ => (None, limit(1)),
                };
                let (from, to) = (info.low, info.high);
                info.between(
                    low.map_or(from, |low| low.max(from)),
                    high.map_or(to, |high| high.min(to)),
                )
            }
            "avg_over_time" | "min_over_time" | "max_over_time" | "last_over_time"
            | "quantile_over_time" | "sort" | "sort_desc" | "sort_by_label"
            | "sort_by_label_desc" => self.arguments(arguments, context),
            "info" => {
                self.arguments(arguments, context);
                Info::unknown()
            }
            _ => self.arguments(arguments, context).plain(),
        }
    }

    /// Reads every argument; what the first of them with series yields.
    fn arguments(&mut self, arguments: &[Node], context: Context) -> Info {
        let mut found: Option<Info> = None;
        for argument in arguments {
            let info = self.node(argument, context);
            let series = !matches!(argument.kind, NodeKind::Number(_) | NodeKind::Text(_));
            if series && found.is_none() {
                found = Some(info);
            }
        }
        found.unwrap_or_else(|| Info::of(Labels::default()))
    }

    fn rate(&mut self, at: usize, function: &str, arguments: &[Node], context: Context) -> Info {
        let info = self.arguments(arguments, context);
        match arguments.first().map(|argument| &argument.kind) {
            Some(NodeKind::Selector(selector)) if info.gauge => {
                let name = selector.name.as_deref().unwrap_or_default();
                let instead = if name.ends_with("_created") {
                    "the counter itself"
                } else {
                    "`delta` or `deriv`, or the value itself"
                };
                self.fault(
                    Code::RateOfGauge,
                    at,
                    format!("`{function}` takes every fall of `{name}`, a gauge, for a restart: use {instead}"),
                );
            }
            Some(NodeKind::Subquery { inner, .. }) => {
                let mut summed = false;
                inner.walk(&mut |node| {
                    summed |= matches!(node.kind, NodeKind::Aggregate { .. });
                });
                if summed && info.counter {
                    self.fault(
                        Code::RateOfSum,
                        at,
                        format!("a sum hides restarts from `{function}`: sum({function}(…)), not {function}(sum(…))"),
                    );
                }
            }
            _ => {}
        }
        Info {
            buckets: info.buckets.clone(),
            le_lost: info.le_lost,
            gauge: true,
            ..info.plain().between(0.0, f64::INFINITY)
        }
    }

    fn quantile(&mut self, at: usize, arguments: &[Node], context: Context) -> Info {
        if let Some(quantile) = arguments.first() {
            self.node(quantile, Context::default());
        }
        let Some(series) = arguments.get(1) else {
            return Info::unknown();
        };
        let info = self.node(
            series,
            Context {
                quantile: true,
                ..context
            },
        );
        let le = info.labels.presence("le");
        if info.le_lost && le != Presence::Always {
            self.fault(
                Code::QuantileWithoutLe,
                at,
                "`le` was aggregated away, so there are no buckets left: sum by (le, …)",
            );
        } else if le == Presence::Never && !info.unknown {
            self.fault(
                Code::QuantileWithoutBuckets,
                at,
                "a quantile is taken of a histogram's `_bucket` series, and this has no `le`",
            );
        } else if info.buckets.is_some() && !info.aggregated {
            self.fault(
                Code::QuantileUnaggregated,
                at,
                "this is one quantile for each instance and label set: sum by (le, …) (rate(…)) first",
            );
        }
        let mut result = info.plain();
        result.labels.remove("le");
        result.gauge = true;
        if let Some((name, bounds)) = info.buckets.filter(|_| !info.unknown)
            && let (Some(first), Some(last)) = (bounds.first(), bounds.last())
        {
            result = result.between(first.min(0.0), *last);
            result.quantile = Some((name, bounds));
        }
        result
    }

    /// `label_replace(series, to, replacement, from, pattern)`, `label_join(series, to,
    /// separator, from…)`.
    fn relabel(&mut self, at: usize, function: &str, arguments: &[Node], context: Context) -> Info {
        let mut info = self.arguments(arguments, context);
        let text = |i: usize| match arguments.get(i).map(|argument| &argument.kind) {
            Some(NodeKind::Text(text)) => Some(text.as_str()),
            _ => None,
        };
        let sources: Vec<&str> = if function == "label_replace" {
            text(3).into_iter().collect()
        } else {
            (3..arguments.len()).filter_map(text).collect()
        };
        for source in sources {
            if !source.is_empty() && source != "__name__" {
                self.present(at, source, &info);
            }
        }
        if let Some(to) = text(1) {
            let always = info.labels.presence(to) == Presence::Always;
            info.labels.set(to, Label::any(always));
        }
        info
    }

    /// Reports a label that a result does not have.
    pub(super) fn present(&mut self, at: usize, label: &str, info: &Info) {
        if is_variable(label) || info.labels.presence(label) != Presence::Never {
            return;
        }
        let exists = self.names.has_label(label);
        let message = if exists {
            format!(
                "there is no label `{label}` here: there are {}",
                info.labels.listed()
            )
        } else {
            format!(
                "nothing has a label `{label}`: here there are {}",
                info.labels.listed()
            )
        };
        let near = nearest(label, info.labels.known.keys());
        self.push(Fault::new(Code::UnknownLabel, at, message).nearest(near));
    }

    #[allow(clippy::too_many_arguments)]
    fn aggregate(
        &mut self,
        at: usize,
        operator: &str,
        parameter: Option<&Node>,
        inner: &Node,
        grouping: Option<&Grouping>,
        context: Context,
    ) -> Info {
        let context = Context {
            counted: matches!(operator, "count" | "group"),
            ..context
        };
        let info = self.node(inner, context);
        if let Some(grouping) = grouping {
            for label in &grouping.labels {
                // Leaving out a label that is not there changes nothing; one that is nowhere is
                // misspelt.
                if grouping.keeps || !self.names.has_label(label) {
                    self.present(at, label, &info);
                }
            }
        }
        let ranks = matches!(operator, "topk" | "bottomk" | "limitk" | "limit_ratio");
        let mut labels = match grouping {
            _ if ranks => info.labels.clone(),
            Some(grouping) if grouping.keeps => info.labels.only(&grouping.labels),
            Some(grouping) => info.labels.without(&grouping.labels),
            None => Labels::default(),
        };
        if operator == "count_values"
            && let Some(NodeKind::Text(label)) = parameter.map(|p| &p.kind)
        {
            labels.set(label, Label::any(true));
        }
        let le = labels.presence("le") != Presence::Never;
        let adds = matches!(operator, "sum" | "avg" | "min" | "max");
        if let Some((name, _)) = info
            .buckets
            .as_ref()
            .filter(|_| !le && adds && !context.quantile)
            && !info.labels.known.get("le").is_some_and(Label::is_fixed)
        {
            let count = format!("{name}_count");
            self.push(
                Fault::new(
                    Code::BucketsSummed,
                    at,
                    "buckets contain one another: adding them counts an observation several times; keep `le`, or use the count",
                )
                .nearest(Some(count)),
            );
        }
        if matches!(operator, "sum" | "avg") && info.quantile.is_some() {
            self.fault(
                Code::QuantileAveraged,
                at,
                format!("the {operator} of quantiles is no quantile: sum the buckets by (le, …) and take the quantile of that"),
            );
        }
        if operator == "sum"
            && labels.presence("instance") == Presence::Never
            && let Some(name) = &info.replicated
        {
            self.fault(
                Code::GaugeSummed,
                at,
                format!("each replica publishes `{name}`, so a sum grows with their number: max, unless each holds a part"),
            );
        }
        let keeps = ranks || matches!(operator, "avg" | "min" | "max" | "quantile");
        let (low, high) = match operator {
            _ if keeps => (info.low, info.high),
            "count" | "stddev" | "stdvar" => (0.0, f64::INFINITY),
            "sum" if info.low >= 0.0 => (0.0, f64::INFINITY),
            _ => (f64::NEG_INFINITY, f64::INFINITY),
        };
        Info {
            labels,
            low,
            high,
            counter: info.counter && operator != "count",
            gauge: info.gauge,
            replicated: info.replicated.filter(|_| ranks),
            le_lost: info.le_lost || info.buckets.is_some() && !le,
            buckets: info.buckets.filter(|_| le),
            quantile: info.quantile.filter(|_| keeps),
            share: info.share.filter(|_| keeps),
            exceeds: info.exceeds && keeps,
            aggregated: info.aggregated || !ranks,
            unknown: info.unknown,
        }
    }
}
