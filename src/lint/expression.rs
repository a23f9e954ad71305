//! PromQL as a tree whose nodes know where they stand.

use std::time::Duration;

use promql_parser::label::{Matcher, Matchers};
use promql_parser::parser::{self, Expr, LabelModifier, VectorMatchCardinality};

use super::Code;
use super::finding::Fault;
use super::tokens::Cursor;
use super::variables::{Substituted, is_variable, substitute};

/// Tokens of an expression at most; what is longer was not written by hand.
const TOKENS: usize = 5_000;
/// Nodes on the way from the root to a leaf at most.
const DEPTH: usize = 250;
/// Bytes of an expression at most.
const BYTES: usize = 64 * 1024;

const AGGREGATIONS: [&str; 14] = [
    "sum",
    "avg",
    "min",
    "max",
    "count",
    "group",
    "stddev",
    "stdvar",
    "quantile",
    "topk",
    "bottomk",
    "count_values",
    "limitk",
    "limit_ratio",
];

/// A node.
#[derive(Clone, Debug)]
pub(super) struct Node {
    /// Bytes from the start of the expression.
    pub(super) at: usize,
    pub(super) kind: NodeKind,
}

/// What a node is.
#[derive(Clone, Debug)]
pub(super) enum NodeKind {
    Number(f64),
    Text(String),
    Selector(Selector),
    Subquery {
        inner: Box<Node>,
        window: Window,
    },
    Call {
        function: &'static str,
        arguments: Vec<Node>,
    },
    Aggregate {
        operator: String,
        parameter: Option<Box<Node>>,
        inner: Box<Node>,
        grouping: Option<Grouping>,
    },
    Binary(Box<Binary>),
    Negative(Box<Node>),
}

/// Series by name and matchers.
#[derive(Clone, Debug)]
pub(super) struct Selector {
    /// None: not named, or by a pattern.
    pub(super) name: Option<String>,
    pub(super) matchers: Vec<Matcher>,
    /// Whether matchers are alternatives, which are not looked into.
    pub(super) alternatives: bool,
    /// Byte range of the braces.
    pub(super) braces: (usize, usize),
    pub(super) window: Option<Window>,
}

/// The window of a range.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Window {
    pub(super) length: Duration,
    /// Whether a variable gives it.
    pub(super) variable: bool,
}

/// `by` or `without`, `on` or `ignoring`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Grouping {
    /// Whether the labels are those that stay.
    pub(super) keeps: bool,
    pub(super) labels: Vec<String>,
}

impl From<&LabelModifier> for Grouping {
    fn from(modifier: &LabelModifier) -> Self {
        Self {
            keeps: modifier.is_include(),
            labels: modifier.labels().labels.clone(),
        }
    }
}

/// Two sides of an operator.
#[derive(Clone, Debug)]
pub(super) struct Binary {
    pub(super) operator: String,
    pub(super) left: Node,
    pub(super) right: Node,
    pub(super) matching: Option<Grouping>,
    /// Labels that `group_left` (true) or `group_right` adds.
    pub(super) group: Option<(bool, Vec<String>)>,
    pub(super) returns_bool: bool,
    pub(super) filled: bool,
}

/// An expression, parsed.
#[derive(Clone, Debug)]
pub(super) struct Expression {
    pub(super) root: Node,
    /// Whether a variable names a function: what it computes is not known.
    pub(super) opaque: bool,
}

/// Why an expression is no PromQL: where, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SyntaxError {
    pub(super) at: usize,
    pub(super) message: String,
    /// Whether it may be right all the same: variables may stand for functions or numbers, and
    /// what is very long is not parsed.
    pub(super) doubtful: bool,
}

impl SyntaxError {
    /// What is reported of an expression that begins at this offset.
    pub(super) fn fault(self, offset: usize) -> Fault {
        let at = offset + self.at;
        if self.doubtful {
            let message = format!("this cannot be checked: {}", self.message);
            Fault::new(Code::NotChecked, at, message)
        } else {
            Fault::new(Code::Syntax, at, self.message)
        }
    }
}

/// Parses an expression; `variables`: Grafana's are replaced.
pub(super) fn parse(text: &str, variables: bool) -> Result<Expression, SyntaxError> {
    let refused = |message: &str| SyntaxError {
        at: 0,
        message: message.to_owned(),
        doubtful: true,
    };
    if text.len() > BYTES {
        return Err(refused("longer than 64 KiB"));
    }
    let candidates = if variables {
        substitute(text)
    } else {
        vec![Substituted {
            text: text.to_owned(),
            spans: Vec::new(),
            opaque: false,
        }]
    };
    let mut first = None;
    for candidate in &candidates {
        let mut cursor = Cursor::new(&candidate.text);
        if cursor.len() > TOKENS || nesting(&candidate.text) > DEPTH {
            return Err(refused("too long or nested too deep to be checked"));
        }
        match parser::parse(&candidate.text) {
            Ok(expression) => {
                let mut convert = Convert {
                    cursor: &mut cursor,
                    spans: &candidate.spans,
                };
                let root = convert
                    .node(&expression, 0)
                    .ok_or_else(|| refused("nested too deep to be checked"))?;
                return Ok(Expression {
                    root,
                    opaque: candidate.opaque,
                });
            }
            Err(error) => {
                first.get_or_insert(error);
            }
        }
    }
    let mut error = explain(text, &first.unwrap_or_default(), variables);
    error.doubtful = candidates.iter().any(|candidate| candidate.opaque);
    Err(error)
}

/// The deepest nesting of brackets.
fn nesting(text: &str) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    for byte in text.bytes() {
        match byte {
            b'(' => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b')' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

/// The parser's message, or a better one for what it has none for.
fn explain(text: &str, message: &str, variables: bool) -> SyntaxError {
    let at = |at: usize, message: String| SyntaxError {
        at,
        message,
        doubtful: false,
    };
    if !variables && let Some(dollar) = text.find('$') {
        return at(
            dollar,
            "variables are Grafana's: a rule has none, write the value".to_owned(),
        );
    }
    let mut open = Vec::new();
    let mut last_call: Option<(usize, &str)> = None;
    let mut quote = None;
    let mut escaped = false;
    let mut closed_call = None;
    for (i, c) in text.char_indices() {
        if let Some(q) = quote {
            if escaped {
                escaped = false;
            } else if c == '\\' {
                escaped = true;
            } else if c == q {
                quote = None;
            }
            continue;
        }
        match c {
            '"' | '\'' | '`' => quote = Some(c),
            '(' | '[' | '{' => {
                let head = text[..i].trim_end();
                let word = head
                    .rfind(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
                    .map_or(0, |before| {
                        before + head[before..].chars().next().map_or(1, char::len_utf8)
                    });
                open.push((i, c, (word, &head[word..])));
            }
            ')' | ']' | '}' => {
                let fits = matches!(
                    (open.last().map(|o| o.1), c),
                    (Some('('), ')') | (Some('['), ']') | (Some('{'), '}')
                );
                if !fits {
                    return at(i, format!("`{c}` closes nothing"));
                }
                closed_call = open.pop().map(|o| o.2);
            }
            'b' | 'w' | 'B' | 'W' => {
                let rest = text[i..].to_ascii_lowercase();
                let modifier = rest.starts_with("by") && rest[2..].trim_start().starts_with('(')
                    || rest.starts_with("without") && rest[7..].trim_start().starts_with('(');
                let after_call = text[..i].trim_end().ends_with(')');
                if modifier && after_call {
                    last_call = closed_call;
                }
                if let Some((_, function)) = last_call
                    && modifier
                    && after_call
                    && !AGGREGATIONS.contains(&function)
                {
                    let inside = if function == "histogram_quantile" {
                        "histogram_quantile(q, sum by (le, …) (rate(…_bucket[5m])))".to_owned()
                    } else {
                        format!("sum by (…) ({function}(…))")
                    };
                    return at(
                        i,
                        format!(
                            "`{function}` is no aggregation and takes no grouping: write {inside}"
                        ),
                    );
                }
            }
            _ => {}
        }
    }
    if quote.is_some() {
        return at(text.len(), "a string is not closed".to_owned());
    }
    if let Some((i, c, _)) = open.last() {
        return at(*i, format!("`{c}` is not closed"));
    }
    if text.trim().is_empty() {
        return at(0, "the expression is empty".to_owned());
    }
    at(0, format!("this is not PromQL: {message}"))
}

struct Convert<'a, 'b> {
    cursor: &'a mut Cursor<'b>,
    spans: &'a [(usize, usize)],
}

impl Convert<'_, '_> {
    fn window(&mut self, length: Duration) -> Window {
        let (from, to) = self.cursor.seek(|text| text.starts_with('['));
        Window {
            length,
            variable: self.spans.iter().any(|(a, b)| *a >= from && *b <= to),
        }
    }

    fn node(&mut self, expression: &Expr, depth: usize) -> Option<Node> {
        if depth > DEPTH {
            return None;
        }
        let depth = depth + 1;
        let node = |at, kind| Some(Node { at, kind });
        match expression {
            Expr::Paren(paren) => self.node(&paren.expr, depth),
            Expr::NumberLiteral(number) => node(0, NodeKind::Number(number.val)),
            Expr::StringLiteral(text) => node(0, NodeKind::Text(text.val.clone())),
            Expr::VectorSelector(selector) => {
                let (at, selector) = self.selector(selector.name.as_deref(), &selector.matchers);
                node(at, NodeKind::Selector(selector))
            }
            Expr::MatrixSelector(matrix) => {
                let (at, mut selector) =
                    self.selector(matrix.vs.name.as_deref(), &matrix.vs.matchers);
                selector.window = Some(self.window(matrix.range));
                node(at, NodeKind::Selector(selector))
            }
            Expr::Subquery(subquery) => {
                let inner = self.node(&subquery.expr, depth)?;
                let window = self.window(subquery.range);
                node(
                    inner.at,
                    NodeKind::Subquery {
                        inner: Box::new(inner),
                        window,
                    },
                )
            }
            Expr::Unary(unary) => {
                let (at, _) = self.cursor.seek(|text| text == "-");
                let inner = self.node(&unary.expr, depth)?;
                node(at, NodeKind::Negative(Box::new(inner)))
            }
            Expr::Call(call) => {
                let (at, _) = self
                    .cursor
                    .seek(|text| text.eq_ignore_ascii_case(call.func.name));
                let mut arguments = Vec::with_capacity(call.args.args.len());
                for argument in &call.args.args {
                    arguments.push(self.node(argument, depth)?);
                }
                node(
                    at,
                    NodeKind::Call {
                        function: call.func.name,
                        arguments,
                    },
                )
            }
            Expr::Aggregate(aggregate) => {
                let operator = aggregate.op.to_string();
                let (at, _) = self
                    .cursor
                    .seek(|text| text.eq_ignore_ascii_case(&operator));
                let parameter = match &aggregate.param {
                    Some(parameter) => Some(Box::new(self.node(parameter, depth)?)),
                    None => None,
                };
                let inner = Box::new(self.node(&aggregate.expr, depth)?);
                let grouping = aggregate.modifier.as_ref().map(Grouping::from);
                node(
                    at,
                    NodeKind::Aggregate {
                        operator,
                        parameter,
                        inner,
                        grouping,
                    },
                )
            }
            Expr::Binary(binary) => {
                let left = self.node(&binary.lhs, depth)?;
                let operator = binary.op.to_string();
                let (at, _) = self
                    .cursor
                    .seek(|text| text.eq_ignore_ascii_case(&operator));
                let right = self.node(&binary.rhs, depth)?;
                let modifier = binary.modifier.as_ref();
                let group = modifier.and_then(|modifier| match &modifier.card {
                    VectorMatchCardinality::ManyToOne(labels) => {
                        Some((true, labels.labels.clone()))
                    }
                    VectorMatchCardinality::OneToMany(labels) => {
                        Some((false, labels.labels.clone()))
                    }
                    VectorMatchCardinality::OneToOne | VectorMatchCardinality::ManyToMany => None,
                });
                node(
                    at,
                    NodeKind::Binary(Box::new(Binary {
                        operator,
                        left,
                        right,
                        matching: modifier
                            .and_then(|modifier| modifier.matching.as_ref())
                            .map(Grouping::from),
                        group,
                        returns_bool: modifier.is_some_and(|modifier| modifier.return_bool),
                        filled: modifier.is_some_and(|modifier| {
                            modifier.fill_values.lhs.is_some() || modifier.fill_values.rhs.is_some()
                        }),
                    })),
                )
            }
            // The parser makes none.
            Expr::Extension(_) => node(0, NodeKind::Text(String::new())),
        }
    }

    fn selector(&mut self, name: Option<&str>, matchers: &Matchers) -> (usize, Selector) {
        let (at, braces) = match name {
            Some(name) => {
                let (at, end) = self.cursor.seek(|text| text == name);
                (
                    at,
                    self.cursor
                        .take(|text| text.starts_with('{'))
                        .unwrap_or((end, end)),
                )
            }
            None => {
                let braces = self.cursor.seek(|text| text.starts_with('{'));
                (braces.0, braces)
            }
        };
        let mut found: Option<String> = name.map(str::to_owned);
        let mut kept = Vec::new();
        for matcher in &matchers.matchers {
            let by_name = matcher.name == "__name__"
                && matches!(matcher.op, promql_parser::label::MatchOp::Equal);
            if by_name {
                found.get_or_insert_with(|| matcher.value.clone());
            } else {
                kept.push(matcher.clone());
            }
        }
        let selector = Selector {
            name: found.filter(|name| !is_variable(name)),
            matchers: kept,
            alternatives: !matchers.or_matchers.is_empty(),
            braces,
            window: None,
        };
        (at, selector)
    }
}

impl Node {
    /// The number, if it is one, a sign included.
    pub(super) fn number(&self) -> Option<f64> {
        match &self.kind {
            NodeKind::Number(value) => Some(*value),
            NodeKind::Negative(inner) => inner.number().map(|value| -value),
            NodeKind::Binary(binary) => {
                let (left, right) = (binary.left.number()?, binary.right.number()?);
                Some(match binary.operator.as_str() {
                    "+" => left + right,
                    "-" => left - right,
                    "*" => left * right,
                    "/" => left / right,
                    "%" => left % right,
                    "^" => left.powf(right),
                    _ => return None,
                })
            }
            _ => None,
        }
    }

    /// Calls a function for this node and all below it, from the left.
    pub(super) fn walk<'a>(&'a self, visit: &mut dyn FnMut(&'a Node)) {
        visit(self);
        match &self.kind {
            NodeKind::Number(_) | NodeKind::Text(_) | NodeKind::Selector(_) => {}
            NodeKind::Subquery { inner, .. } | NodeKind::Negative(inner) => inner.walk(visit),
            NodeKind::Call { arguments, .. } => {
                for argument in arguments {
                    argument.walk(visit);
                }
            }
            NodeKind::Aggregate {
                parameter, inner, ..
            } => {
                if let Some(parameter) = parameter {
                    parameter.walk(visit);
                }
                inner.walk(visit);
            }
            NodeKind::Binary(binary) => {
                binary.left.walk(visit);
                binary.right.walk(visit);
            }
        }
    }

    /// The selectors in it.
    pub(super) fn selectors(&self) -> Vec<&Selector> {
        let mut found = Vec::new();
        self.walk(&mut |node| {
            if let NodeKind::Selector(selector) = &node.kind {
                found.push(selector);
            }
        });
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_know_where_they_stand() {
        let text = r#"sum by (up) (rate(a{up="a"}[5m])) / (up - -up)"#;
        let expression = parse(text, false).unwrap();
        let mut places = Vec::new();
        expression.root.walk(&mut |node| match &node.kind {
            NodeKind::Number(_) => {}
            _ => places.push(&text[node.at..node.at + 1]),
        });
        assert_eq!(places, ["/", "s", "r", "a", "-", "u", "-", "u"]);
    }

    #[test]
    fn errors_say_what_to_write() {
        let message = |text: &str| parse(text, false).unwrap_err().message;
        assert!(
            message("histogram_quantile(0.95, rate(x_bucket[5m])) by (x)")
                .contains("histogram_quantile(q, sum by (le, …)")
        );
        assert!(message("rate(a{job=\"$job\"}[$x])").contains("Grafana"));
        assert!(message("sum(a").contains("not closed"));
        assert!(message("sum(a))").contains("closes nothing"));
        assert!(message("").contains("empty"));
        assert!(message("a b").contains("not PromQL"));
    }

    #[test]
    fn what_is_too_deep_is_refused() {
        let deep = format!("{}a{}", "(".repeat(1000), ")".repeat(1000));
        assert!(parse(&deep, true).is_err());
        assert!(parse(&vec!["a"; 400].join("+"), true).is_err());
        assert!(parse(&vec!["a"; 200].join("+"), true).is_ok());
    }
}
