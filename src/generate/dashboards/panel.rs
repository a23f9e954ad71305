//! From a declared panel to a panel of Grafana.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::explore;
use super::model::{
    FieldConfig, FieldDefaults, GridPos, Panel as Rendered, Step, Target, Thresholds,
};
use super::query::{self, SECONDS_OF_AN_HOUR, Scope, USUAL_QUANTILE};
use super::variables::PROMETHEUS;
use crate::catalog::{
    Alert, Condition, Feed, Instrument, Metric, Panel, Severity, Signal, SignalKind, View,
};

/// Where a threshold of 0 is drawn: Grafana colours from a step on, an alert fires above it.
const ABOVE_ZERO: f64 = 1e-9;
const WELL: &str = "green";
const PLAIN: &str = "blue";

/// A declared panel in full.
pub(super) fn full(signal: &'static Signal, panel: &Panel, scope: Scope<'_>) -> Option<Rendered> {
    split_by(signal, panel, &query::split(panel, scope), scope)
}

/// A declared panel in full, split by other labels than it says.
pub(super) fn split_by(
    signal: &'static Signal,
    panel: &Panel,
    by: &[&str],
    scope: Scope<'_>,
) -> Option<Rendered> {
    let metric = signal.metric(panel.view.metric())?;
    let split = !by.is_empty();
    let kind = match panel.view {
        View::Heatmap(_) => "heatmap",
        View::Table(_) => "table",
        View::Total(_) if split => "bargauge",
        View::Total(_) => "stat",
        View::Value(_) if metric.unit == "{state}" => "state-timeline",
        _ => "timeseries",
    };
    let mut targets = query::of_panel(signal, panel, by, scope)?;
    let timed = metric.feed == Feed::Duration
        && matches!(panel.view, View::Quantiles(_) | View::Heatmap(_));
    for target in &mut targets {
        target.exemplar = timed;
    }
    let mut rendered = render(signal, metric, panel, kind, targets);
    if timed {
        rendered
            .field_config
            .defaults
            .links
            .extend(explore::slower(signal));
    }
    if kind == "table" {
        rendered.transformations.push(json!({
            "id": "organize",
            "options": { "excludeByName": { "Time": true, "Value": true, "__name__": true } },
        }));
    }
    Some(rendered)
}

/// A declared panel as one number.
pub(super) fn headline(
    signal: &'static Signal,
    panel: &Panel,
    scope: Scope<'_>,
) -> Option<Rendered> {
    let metric = signal.metric(panel.view.metric())?;
    let target = query::of_headline(signal, panel, scope)?;
    let mut rendered = render(signal, metric, panel, "stat", vec![target]);
    let several = !query::split(panel, scope).is_empty();
    let percentile = panel.quantile.unwrap_or(USUAL_QUANTILE) * 100.0;
    let quantile = match several {
        true => format!("The highest {percentile}th percentile over the range shown."),
        false => format!("The {percentile}th percentile over the range shown."),
    };
    let note = match panel.view {
        View::Rate(_) | View::Errors(_) | View::Table(_) => "",
        View::Quantiles(_) | View::Heatmap(_) => &quantile,
        View::ErrorRatio(_) | View::Budget(_) if several => "The worst over the range shown.",
        View::ErrorRatio(_) | View::Share { .. } | View::Mean(_) => "Over the range shown.",
        View::Value(_) if metric.instrument == Instrument::InFlight => "All together, now.",
        View::Value(_) | View::Age(_) if several => "The worst of them, now.",
        View::Total(_) => "All together, over the range shown.",
        View::Value(_) | View::Age(_) | View::Budget(_) => "",
    };
    if !note.is_empty() {
        rendered.description = format!("{} {note}", panel.description)
            + rendered
                .description
                .strip_prefix(panel.description)
                .unwrap_or_default();
    }
    Some(rendered)
}

/// Failures of a signal over the range, one bar for each signal.
pub(super) fn bars(
    title: &str,
    description: &str,
    targets: Vec<Target>,
    unit: &'static str,
) -> Rendered {
    let defaults = FieldDefaults {
        unit,
        min: Some(0.0),
        max: None,
        color: json!({ "mode": "thresholds" }),
        thresholds: steps(&[(ABOVE_ZERO, "orange")], WELL),
        mappings: Vec::new(),
        links: Vec::new(),
        custom: Value::Null,
    };
    assemble("bargauge", title, description.to_owned(), defaults, targets)
}

fn render(
    signal: &Signal,
    metric: &Metric,
    panel: &Panel,
    kind: &'static str,
    targets: Vec<Target>,
) -> Rendered {
    let alerts = watching(signal, panel);
    let mut description = panel.description.to_owned();
    for (index, alert) in named(signal, panel).iter().enumerate() {
        let before = if index == 0 { "\n\n" } else { "\n" };
        description += &format!("{before}Alert `{}`: {}.", alert.name, alert.summary);
    }
    let state = metric.unit == "{state}" && matches!(panel.view, View::Value(_));
    let share = matches!(
        panel.view,
        View::ErrorRatio(_) | View::Share { .. } | View::Budget(_)
    );
    let thresholds = if state {
        steps(&[(1.0, WELL)], "red")
    } else if let Some((good, poor)) = panel.grades {
        steps(&[(good, "orange"), (poor, "red")], WELL)
    } else if matches!(panel.view, View::Budget(_)) {
        steps(&[(0.0, "orange"), (0.25, WELL)], "red")
    } else {
        let base = match alerts.iter().find(|(.., above)| !above) {
            Some((alert, ..)) => color(alert.severity),
            None if alerts.is_empty() => PLAIN,
            None => WELL,
        };
        let above = alerts.iter().map(|(alert, at, above)| {
            let at = if *at == 0.0 { ABOVE_ZERO } else { *at };
            (at, if *above { color(alert.severity) } else { WELL })
        });
        steps(&above.collect::<Vec<_>>(), base)
    };
    let drawn = panel.grades.is_some() || !state && alerts.iter().any(|(_, at, _)| *at > 0.0);
    let scheme = match kind {
        "timeseries" => "palette-classic-by-name",
        _ => "thresholds",
    };
    let defaults = FieldDefaults {
        unit: if state { "none" } else { unit(metric, panel) },
        min: least(metric, panel),
        max: most(metric, panel).or((share && kind == "bargauge").then_some(1.0)),
        color: json!({ "mode": scheme }),
        thresholds,
        mappings: if state {
            vec![up_or_down()]
        } else {
            Vec::new()
        },
        links: Vec::new(),
        custom: custom(kind, drawn),
    };
    assemble(kind, panel.title, description, defaults, targets)
}

/// Whether a panel's axis is that of its metric's values.
const fn shows_values(panel: &Panel) -> bool {
    matches!(
        panel.view,
        View::Value(_) | View::Quantiles(_) | View::Mean(_)
    )
}

/// Where the axis begins: at 0, unless values may be below.
fn least(metric: &Metric, panel: &Panel) -> Option<f64> {
    match metric.declared_range {
        _ if matches!(panel.view, View::Budget(_)) => None,
        Some((low, _)) if shows_values(panel) => low.is_finite().then_some(low),
        _ => Some(0.0),
    }
}

/// Where the axis ends, if values do.
fn most(metric: &Metric, panel: &Panel) -> Option<f64> {
    let (_, high) = metric.range();
    (shows_values(panel) && high.is_finite()).then_some(high)
}

fn assemble(
    kind: &'static str,
    title: &str,
    description: String,
    defaults: FieldDefaults,
    mut targets: Vec<Target>,
) -> Rendered {
    // A to Z, then AA, AB, as Grafana goes on.
    let first = std::iter::once(None).chain(('A'..='Z').map(Some));
    let letters = first.flat_map(|first| ('A'..='Z').map(move |last| (first, last)));
    for ((first, last), target) in letters.zip(&mut targets) {
        target.ref_id = first.into_iter().chain([last]).collect();
    }
    let sparkline = targets.iter().all(|target| target.range);
    Rendered {
        id: 0,
        kind,
        title: title.to_owned(),
        description,
        datasource: PROMETHEUS,
        grid_pos: GridPos::default(),
        options: options(kind, sparkline, defaults.unit),
        field_config: FieldConfig {
            defaults,
            overrides: Vec::new(),
        },
        links: Vec::new(),
        targets,
        transformations: Vec::new(),
    }
}

/// Whether a panel tells well from ill, or what was spent or is left.
pub(super) fn telling(signal: &Signal, panel: &Panel) -> bool {
    matches!(panel.view, View::Total(_) | View::Budget(_))
        || !matches!(panel.view, View::Quantiles(_)) && !watching(signal, panel).is_empty()
}

/// The alerts whose threshold a panel can draw, with it, in the panel's unit, and whether they
/// fire above it rather than below.
fn watching(signal: &Signal, panel: &Panel) -> Vec<(&'static Alert, f64, bool)> {
    let shown = panel.view.metric();
    let hourly = signal.metric(shown).is_some_and(|m| m.unit == "USD");
    let threshold = |alert: &'static Alert| {
        if alert.condition.metrics().0 != shown {
            return None;
        }
        // Rates add up: a threshold of their sum, or of a finer split, says nothing of a line.
        let split = |by: &[&'static str]| by.iter().copied().collect::<BTreeSet<_>>();
        let alike = split(alert.by) == split(panel.by);
        // An alert on other series than those shown says nothing of them.
        let elsewhere = |(key, value): &(&str, &str)| {
            let mut shown = panel.only.iter();
            shown.any(|(other, only)| other == key && only != value)
        };
        if alert.only.iter().any(elsewhere) {
            return None;
        }
        let (at, above) = match (alert.condition, panel.view) {
            (
                Condition::QuantileAbove {
                    quantile,
                    threshold,
                    ..
                },
                View::Quantiles(_),
            ) if shows_quantile(panel, quantile) => (threshold, true),
            (Condition::ErrorRatioAbove { ratio, .. }, View::ErrorRatio(_)) => (ratio, true),
            (Condition::RateAbove { per_second, .. }, View::Rate(_)) if alike && hourly => {
                (per_second * SECONDS_OF_AN_HOUR, true)
            }
            (Condition::RateAbove { per_second, .. }, View::Rate(_)) if alike => (per_second, true),
            // Growth over an hour is what a panel of dollars an hour shows.
            (Condition::IncreaseAbove { amount, .. }, View::Rate(_))
                if alike && hourly && f64::from(alert.window_seconds) == SECONDS_OF_AN_HOUR =>
            {
                (amount, true)
            }
            (Condition::Occurs { .. }, View::Rate(_)) => (0.0, true),
            (Condition::ValueAbove { threshold, .. }, View::Value(_)) => (threshold, true),
            (Condition::ValueBelow { threshold, .. }, View::Value(_)) => (threshold, false),
            (Condition::OlderThan { seconds, .. }, View::Age(_)) => (f64::from(seconds), true),
            (Condition::MeanBelow { threshold, .. }, View::Mean(_)) => (threshold, false),
            (Condition::ShareBelow { ratio, whole, .. }, View::Share { whole: shown, .. })
                if whole == shown =>
            {
                (ratio, false)
            }
            _ => return None,
        };
        Some((alert, at, above))
    };
    signal.alerts.iter().filter_map(threshold).collect()
}

/// Whether one of a panel's lines is this quantile.
fn shows_quantile(panel: &Panel, quantile: f64) -> bool {
    match panel.quantile {
        Some(shown) => quantile == shown,
        None => {
            quantile == USUAL_QUANTILE || panel.by.is_empty() && [0.5, 0.99].contains(&quantile)
        }
    }
}

/// The alerts that a panel's reader should know of: those it draws, and those on the same
/// thing that have no threshold to draw.
fn named(signal: &Signal, panel: &Panel) -> Vec<&'static Alert> {
    let drawn = watching(signal, panel);
    let concerns = |alert: &&'static Alert| {
        let drawn = drawn.iter().any(|(other, ..)| other.name == alert.name);
        let same = alert.condition.metrics().0 == panel.view.metric();
        let undrawn = match alert.condition {
            Condition::BurnRate { .. } => matches!(panel.view, View::Budget(_)),
            Condition::Stuck { .. } | Condition::Growing { .. } => {
                matches!(panel.view, View::Value(_))
            }
            Condition::IncreaseAbove { .. } | Condition::RateAbove { .. } => {
                matches!(panel.view, View::Rate(_) | View::Total(_))
            }
            Condition::Absent { .. }
            | Condition::JobDown { .. }
            | Condition::InstanceDown { .. } => matches!(panel.view, View::Table(_)),
            _ => false,
        };
        drawn || same && undrawn
    };
    signal.alerts.iter().filter(concerns).collect()
}

/// Whether the signal counts faults: it is a counter that an alert watches for growth.
pub(super) fn counts_faults(signal: &Signal, panel: &Panel) -> bool {
    let growth = |alert: &Alert| {
        alert.condition.metrics().0 == panel.view.metric()
            && matches!(
                alert.condition,
                Condition::RateAbove { .. }
                    | Condition::IncreaseAbove { .. }
                    | Condition::Occurs { .. }
            )
    };
    signal.kind == SignalKind::Measure
        && matches!(panel.view, View::Rate(_))
        && signal.alerts.iter().any(growth)
}

const fn color(severity: Severity) -> &'static str {
    match severity {
        Severity::Critical => "red",
        Severity::Warning => "orange",
        Severity::Info => "yellow",
    }
}

fn steps(above: &[(f64, &'static str)], base: &'static str) -> Thresholds {
    let mut above = above.to_vec();
    above.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut steps = vec![Step {
        color: base,
        value: None,
    }];
    steps.extend(above.iter().map(|&(at, color)| Step {
        color,
        value: Some(at),
    }));
    Thresholds {
        mode: "absolute",
        steps,
    }
}

fn up_or_down() -> Value {
    json!({ "type": "value", "options": {
        "0": { "text": "down", "color": "red", "index": 1 },
        "1": { "text": "up", "color": WELL, "index": 0 },
    }})
}

/// Grafana's unit of what a panel shows, from the metric's UCUM unit.
fn unit(metric: &Metric, panel: &Panel) -> &'static str {
    match panel.view {
        View::ErrorRatio(_) | View::Budget(_) => "percentunit",
        View::Share { .. } => "percentunit",
        View::Age(_) => "s",
        View::Table(_) => "none",
        View::Rate(_) | View::Errors(_) => match metric.unit {
            "USD" => "currencyUSD",
            "By" if metric.instrument != Instrument::Histogram => "Bps",
            "{request}" => "reqps",
            "{token}" if metric.instrument != Instrument::Histogram => "cps",
            _ if metric.feed == Feed::Duration => "ops",
            "{run}" | "{call}" | "{step}" | "{commit}" | "{operation}" => "ops",
            _ => "cps",
        },
        View::Quantiles(_) | View::Heatmap(_) | View::Mean(_) | View::Value(_) | View::Total(_) => {
            match metric.unit {
                "s" => "s",
                "ms" => "ms",
                "By" => "bytes",
                "USD" => "currencyUSD",
                "1" => "percentunit",
                "%" => "percent",
                "Cel" => "celsius",
                "W" => "watt",
                "J" => "joule",
                "V" => "volt",
                "Hz" => "hertz",
                _ => "short",
            }
        }
    }
}

fn custom(kind: &str, threshold: bool) -> Value {
    let style = if threshold { "dashed" } else { "off" };
    match kind {
        "timeseries" => json!({
            "drawStyle": "line",
            "lineInterpolation": "linear",
            "lineWidth": 1,
            "fillOpacity": 10,
            "gradientMode": "none",
            "showPoints": "auto",
            "pointSize": 4,
            "spanNulls": false,
            "stacking": { "mode": "none", "group": "A" },
            "thresholdsStyle": { "mode": style },
            "axisPlacement": "auto",
            "axisBorderShow": false,
            "scaleDistribution": { "type": "linear" },
            "hideFrom": { "legend": false, "tooltip": false, "viz": false },
        }),
        "state-timeline" => json!({
            "lineWidth": 0,
            "fillOpacity": 80,
            "hideFrom": { "legend": false, "tooltip": false, "viz": false },
        }),
        "table" => json!({ "align": "auto", "inspect": false, "cellOptions": { "type": "auto" } }),
        "heatmap" => json!({
            "scaleDistribution": { "type": "linear" },
            "hideFrom": { "legend": false, "tooltip": false, "viz": false },
        }),
        _ => Value::Null,
    }
}

fn options(kind: &str, sparkline: bool, unit: &str) -> Value {
    let last = json!({ "calcs": ["lastNotNull"], "fields": "", "values": false });
    match kind {
        "stat" => json!({
            "reduceOptions": last,
            "orientation": "auto",
            "textMode": "value",
            "colorMode": "background",
            "graphMode": if sparkline { "area" } else { "none" },
            "justifyMode": "auto",
            "wideLayout": true,
            "showPercentChange": false,
            "percentChangeColorMode": "standard",
        }),
        "bargauge" => json!({
            "reduceOptions": last,
            "orientation": "horizontal",
            "displayMode": "basic",
            "valueMode": "color",
            "namePlacement": "auto",
            "sizing": "auto",
            "showUnfilled": true,
            "minVizWidth": 8,
            "minVizHeight": 16,
            "maxVizHeight": 300,
            "legend": { "calcs": [], "displayMode": "list", "placement": "bottom", "showLegend": false },
        }),
        "heatmap" => json!({
            "calculate": false,
            "cellGap": 1,
            "color": { "mode": "scheme", "scheme": "Oranges", "steps": 64, "exponent": 0.5, "fill": "dark-orange", "reverse": false },
            "exemplars": { "color": "rgba(255,0,255,0.7)" },
            "filterValues": { "le": 1e-9 },
            "legend": { "show": true },
            "rowsFrame": { "layout": "auto" },
            "showValue": "never",
            "tooltip": { "mode": "single", "yHistogram": false, "showColorScale": false },
            "yAxis": { "axisPlacement": "left", "reverse": false, "unit": unit },
        }),
        "table" => json!({ "showHeader": true, "cellHeight": "sm", "frameIndex": 0 }),
        "state-timeline" => json!({
            "showValue": "auto",
            "mergeValues": true,
            "rowHeight": 0.8,
            "alignValue": "left",
            "legend": { "calcs": [], "displayMode": "list", "placement": "bottom", "showLegend": false },
            "tooltip": { "mode": "single", "sort": "none" },
        }),
        _ => json!({
            "legend": { "displayMode": "table", "placement": "bottom", "showLegend": true, "calcs": ["lastNotNull", "max"] },
            "tooltip": { "mode": "multi", "sort": "desc" },
        }),
    }
}
