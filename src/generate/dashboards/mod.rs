//! Grafana dashboards of declared signals.
//!
//! [`DASHBOARDS`] says which domains a dashboard takes in; every panel is one that a signal of
//! those domains declares. A domain that no description names gets a dashboard of its own, so
//! that an application's signals need no description at all.

mod described;
mod explore;
mod layout;
mod model;
mod panel;
mod query;
mod variables;

use serde_json::json;

pub use self::described::DASHBOARDS;
use self::layout::Section;
use self::model::{
    Annotation, Dashboard as Rendered, DashboardLink, List, Panel as RenderedPanel, Source,
    TimeRange,
};
use self::query::Scope;
use self::variables::{Choice, PROMETHEUS, WHERE};
use super::output::File;
use super::{domains, promql};
use crate::catalog::{Panel, Signal, View};
use crate::signals::service::ServiceStart;

/// The tag of every dashboard, by which they link to each other.
const TAG: &str = "tachograph";

/// A dashboard, described by what it takes in.
#[derive(Clone, Copy, Debug)]
pub struct Dashboard {
    /// File name without its ending; with `tachograph-` before it the uid.
    pub slug: &'static str,
    /// Title.
    pub title: &'static str,
    /// What a reader finds there.
    pub description: &'static str,
    /// Which panels it shows.
    pub content: Content,
    /// Label values it is restricted to, each an OpenTelemetry key and a value. Panels whose
    /// metric lacks such a label are left out.
    pub only: &'static [(&'static str, &'static str)],
    /// Labels, by OpenTelemetry key, of which its reader may choose values.
    pub choices: &'static [&'static str],
}

/// Which panels a dashboard shows.
#[derive(Clone, Copy, Debug)]
pub enum Content {
    /// All panels of some domains.
    Domains {
        /// The domains, in order.
        of: &'static [&'static str],
        /// Also the panels of other domains that are split by this label.
        split_by: Option<&'static str>,
    },
    /// The headline panels of every domain.
    Headlines,
    /// All panels of some domains, then the failures of every other one.
    Failures {
        /// The domains, in order.
        of: &'static [&'static str],
    },
    /// All panels of some domains, then the headline panels of others with a line for each
    /// process that is scraped, which has its machine's figures.
    Machines {
        /// The domains, in order.
        of: &'static [&'static str],
        /// The others.
        each: &'static [&'static str],
    },
}

/// The label by which a scraper tells the processes of a job apart.
const INSTANCE: &str = "instance";

/// The dashboards of `signals` as files below `dashboards/`: those of `described` that find a
/// panel, then one for each domain that none of them names.
#[must_use]
pub fn files(signals: &[&'static Signal], described: &[Dashboard]) -> Vec<File> {
    let file = |slug: &str, dashboard: &Rendered| File {
        path: format!("dashboards/{slug}.json"),
        // A struct of strings, numbers and lists always has a JSON text.
        text: serde_json::to_string_pretty(dashboard).unwrap_or_default() + "\n",
    };
    let mut files: Vec<File> = described
        .iter()
        .filter_map(|dashboard| Some(file(dashboard.slug, &render(signals, dashboard)?)))
        .collect();
    let named = |domain: &str| described.iter().any(|dashboard| names(dashboard, domain));
    for (domain, signals) in domains(signals) {
        if !named(domain)
            && let Some(dashboard) = of_domain(domain, &signals)
        {
            files.push(file(domain, &dashboard));
        }
    }
    files
}

/// A domain's dashboard where nothing describes one.
fn of_domain(domain: &str, signals: &[&'static Signal]) -> Option<Rendered> {
    let choices = variables::choices_of(signals);
    let scope = Scope {
        choices: &choices,
        only: &[],
    };
    let (numbers, sections) = panels_of(signals, None, &[], scope);
    let text = words(domain);
    let title = format!("Tachograph / {text}");
    let description = format!("The signals of the domain `{domain}`.");
    assemble(
        (domain, &title, &description),
        signals,
        scope,
        (numbers, sections),
        true,
    )
}

fn render(signals: &[&'static Signal], dashboard: &Dashboard) -> Option<Rendered> {
    let choices: Vec<Choice> = dashboard.choices.iter().map(|key| Choice { key }).collect();
    let scope = Scope {
        choices: &choices,
        only: dashboard.only,
    };
    let (chosen, content) = match dashboard.content {
        Content::Domains { of, split_by } => {
            let chosen = chosen(signals, of);
            let content = panels_of(&chosen, split_by, signals, scope);
            (chosen, content)
        }
        Content::Headlines => (signals.to_vec(), headlines(signals, scope)),
        Content::Failures { of } => {
            let (mut numbers, mut sections) = panels_of(&chosen(signals, of), None, &[], scope);
            let others: Vec<&'static Signal> = signals
                .iter()
                .filter(|signal| !of.contains(&signal.domain))
                .copied()
                .collect();
            let failures = failures(&others, scope);
            numbers.extend(failures.0);
            sections.extend(failures.1);
            (signals.to_vec(), (numbers, sections))
        }
        Content::Machines { of, each } => {
            let own = chosen(signals, of);
            let (numbers, mut sections) = panels_of(&own, None, &[], scope);
            let others = chosen(signals, each);
            sections.push(Section {
                title: "Machines".to_owned(),
                panels: by_instance(&others, scope),
            });
            ([own, others].concat(), (numbers, sections))
        }
    };
    let names = (dashboard.slug, dashboard.title, dashboard.description);
    let collapse = matches!(dashboard.content, Content::Domains { .. });
    assemble(names, &chosen, scope, content, collapse)
}

/// The signals of some domains, in order of these.
fn chosen(signals: &[&'static Signal], of: &[&str]) -> Vec<&'static Signal> {
    of.iter()
        .flat_map(|domain| {
            signals
                .iter()
                .filter(move |signal| signal.domain == *domain)
        })
        .copied()
        .collect()
}

/// The first row and the rows below it.
type Panels = (Vec<RenderedPanel>, Vec<Section>);

/// Whether a panel's metric has every label that the dashboard is restricted to.
fn admits(signal: &Signal, panel: &Panel, scope: Scope<'_>) -> bool {
    signal.metric(panel.view.metric()).is_some_and(|metric| {
        scope
            .only
            .iter()
            .all(|(key, _)| query::has_label(signal, metric, key))
    })
}

/// All panels of the signals, and those of the others that are split by a label.
fn panels_of(
    signals: &[&'static Signal],
    split_by: Option<&'static str>,
    all: &[&'static Signal],
    scope: Scope<'_>,
) -> Panels {
    let mut numbers = Vec::new();
    let mut sections: Vec<Section> = Vec::new();
    let others = all
        .iter()
        .filter(|other| split_by.is_some() && !signals.iter().any(|s| s.name == other.name));
    for (own, signal) in signals
        .iter()
        .map(|signal| (true, signal))
        .chain(others.map(|signal| (false, signal)))
    {
        for declared in signal.panels {
            let wanted = own || split_by.is_some_and(|key| declared.by.contains(&key));
            if !wanted || !admits(signal, declared, scope) {
                continue;
            }
            if own && declared.headline {
                numbers.extend(panel::headline(signal, declared, scope));
            }
            let title = match (split_by, declared.section) {
                (Some(key), _) if !own => format!("By {}", Choice { key }.text().to_lowercase()),
                (_, Some(title)) => title.to_owned(),
                (_, None) => words(signal.name),
            };
            let Some(panel) = panel::full(signal, declared, scope) else {
                continue;
            };
            match sections.iter_mut().find(|section| section.title == title) {
                Some(section) => section.panels.push(panel),
                None => sections.push(Section {
                    title,
                    panels: vec![panel],
                }),
            }
        }
    }
    (numbers, sections)
}

/// The headline panels of the signals, split by instance beside what they are split by.
fn by_instance(signals: &[&'static Signal], scope: Scope<'_>) -> Vec<RenderedPanel> {
    let headlines = signals.iter().flat_map(|signal| {
        let declared = signal.panels.iter().filter(|panel| panel.headline);
        declared.map(move |panel| (*signal, panel))
    });
    headlines
        .filter_map(|(signal, panel)| {
            let mut by = vec![INSTANCE];
            by.extend(query::split(panel, scope));
            panel::split_by(signal, panel, &by, scope)
        })
        .collect()
}

/// Numbers on the first rows of the overview at most: what one look takes in.
const NUMBERS: usize = 32;

/// The headline panels of every domain, those that tell well from ill as numbers; of each
/// domain as many as there is room for.
fn headlines(signals: &[&'static Signal], scope: Scope<'_>) -> Panels {
    let mut numbers: Vec<Vec<RenderedPanel>> = Vec::new();
    let mut sections = Vec::new();
    for (domain, signals) in domains(signals) {
        // What fails now and what waits or is spent tells more than what is left of a budget.
        let (mut own, mut budgets, mut panels) = (Vec::new(), Vec::new(), Vec::new());
        let link = dashboard_of(domain);
        for signal in signals {
            for declared in signal.panels.iter().filter(|panel| panel.headline) {
                let telling = panel::telling(signal, declared);
                if telling && let Some(mut number) = panel::headline(signal, declared, scope) {
                    number.links.push(link.clone());
                    match declared.view {
                        View::Budget(_) => budgets.push(number),
                        _ => own.push(number),
                    }
                }
                if let Some(mut panel) = panel::full(signal, declared, scope) {
                    panel.links.push(link.clone());
                    panels.push(panel);
                }
            }
        }
        own.append(&mut budgets);
        numbers.push(own);
        sections.push(Section {
            title: words(domain),
            panels,
        });
    }
    let fits = |most: usize| {
        let shown = numbers.iter().map(|own| own.len().min(most));
        shown.sum::<usize>() <= NUMBERS
    };
    let most = (1..=NUMBERS).take_while(|most| fits(*most)).last();
    let numbers = numbers
        .into_iter()
        .flat_map(|own| own.into_iter().take(most.unwrap_or(1)))
        .collect();
    (numbers, sections)
}

/// A link to the dashboard that shows a domain in full.
fn dashboard_of(domain: &str) -> DashboardLink {
    let title = described(domain).map(|dashboard| dashboard.title.to_owned());
    let title = title.unwrap_or_else(|| words(domain));
    let url = format!(
        "/d/{}?${{__url_time_range}}&${{__all_variables}}",
        uid_of_domain(domain)
    );
    DashboardLink {
        target_blank: false,
        ..link(&title, "The whole domain", url)
    }
}

/// Shares and rates of failures of every signal, from what its labels say; and the counters of
/// what is retried, refused or lost, which are those that an alert watches for growth.
fn failures(signals: &[&'static Signal], scope: Scope<'_>) -> Panels {
    let (mut numbers, mut counted) = (Vec::new(), Vec::new());
    let (mut shares, mut kinds, mut faults) = (Vec::new(), Vec::new(), Vec::new());
    for signal in signals {
        // Of several splits of one share the first, which is the signal's own.
        let mut shown = Vec::new();
        for declared in signal.panels {
            match declared.view {
                View::ErrorRatio(name) if shown.contains(&name) => {}
                View::ErrorRatio(name) => {
                    shown.push(name);
                    let Some(metric) = signal.metric(name) else {
                        continue;
                    };
                    numbers.extend(panel::headline(signal, declared, scope));
                    shares.extend(panel::full(signal, declared, scope));
                    let by = by_kind(declared, query::error_labels(signal, metric));
                    let what = words(signal.name);
                    let described = format!("Failures of `{}`, a second, by kind.", signal.name);
                    let panel = Panel {
                        view: View::Errors(name),
                        section: None,
                        headline: false,
                        ..*declared
                    };
                    if let Some(mut rendered) = panel::split_by(signal, &panel, &by, scope) {
                        rendered.title = format!("{what}: failures by kind");
                        rendered.description = described;
                        kinds.push(rendered);
                    }
                    counted.extend(query::failed_in_range(signal, declared, &what, scope));
                }
                View::Rate(_) if panel::counts_faults(signal, declared) => {
                    faults.extend(panel::full(signal, declared, scope));
                }
                _ => {}
            }
        }
    }
    let bars: Vec<RenderedPanel> = if counted.is_empty() {
        Vec::new()
    } else {
        vec![panel::bars(
            "Failures by signal",
            "How many operations and records failed over the range shown, by signal.",
            counted,
            "short",
        )]
    };
    let section = |title: &str, panels| Section {
        title: title.to_owned(),
        panels,
    };
    let sections = vec![
        section("How many", bars),
        section("Share of failures", shares),
        section("Kinds of failure", kinds),
        section("Retried, refused, lost", faults),
    ];
    (numbers, sections)
}

/// The kind of failure, after the first label that the ratio is split by.
fn by_kind(declared: &Panel, kinds: Vec<&'static str>) -> Vec<&'static str> {
    let mut by: Vec<&'static str> = declared.by.iter().take(1).copied().collect();
    by.extend(kinds.into_iter().filter(|kind| !declared.by.contains(kind)));
    by
}

fn uid(slug: &str) -> String {
    format!("{TAG}-{slug}")
}

/// The uid of the dashboard that shows a domain in full.
#[must_use]
pub fn uid_of_domain(domain: &str) -> String {
    uid(described(domain).map_or(domain, |dashboard| dashboard.slug))
}

/// Whether a dashboard shows a domain in full.
fn names(dashboard: &Dashboard, domain: &str) -> bool {
    match dashboard.content {
        Content::Domains { of, .. } | Content::Failures { of } | Content::Machines { of, .. } => {
            of.contains(&domain)
        }
        Content::Headlines => false,
    }
}

/// The first description that names a domain.
fn described(domain: &str) -> Option<&'static Dashboard> {
    DASHBOARDS.iter().find(|dashboard| names(dashboard, domain))
}

/// The words of a name, the first with a capital letter.
fn words(name: &str) -> String {
    let mut words: Vec<String> = name.split(['.', '_']).map(str::to_owned).collect();
    for (index, word) in words.iter_mut().enumerate() {
        if ["api", "gpu", "http", "id", "llm", "mcp", "npu"].contains(&word.as_str()) {
            *word = word.to_uppercase();
        } else if index == 0
            && let Some(first) = word.get_mut(..1)
        {
            first.make_ascii_uppercase();
        }
    }
    words.join(" ")
}

fn assemble(
    (slug, title, description): (&str, &str, &str),
    signals: &[&'static Signal],
    scope: Scope<'_>,
    (numbers, sections): Panels,
    collapse: bool,
) -> Option<Rendered> {
    if sections.iter().all(|section| section.panels.is_empty()) {
        return None;
    }
    Some(Rendered {
        id: None,
        uid: uid(slug),
        title: title.to_owned(),
        description: description.to_owned(),
        tags: vec![TAG.to_owned()],
        editable: false,
        graph_tooltip: 1,
        schema_version: 42,
        version: 1,
        timezone: "browser",
        refresh: "30s",
        time: TimeRange {
            from: "now-3h",
            to: "now",
        },
        timepicker: json!({}),
        week_start: "",
        fiscal_year_start_month: 0,
        live_now: false,
        links: links(),
        annotations: List {
            list: annotations(signals),
        },
        templating: List {
            list: variables::all(scope.choices, signals, scope.only),
        },
        panels: layout::grid(numbers, sections, collapse),
    })
}

fn link(title: &str, tooltip: &str, url: String) -> DashboardLink {
    DashboardLink {
        kind: "link",
        title: title.to_owned(),
        tooltip: tooltip.to_owned(),
        icon: "external link",
        tags: Vec::new(),
        url,
        as_dropdown: false,
        include_vars: false,
        keep_time: false,
        target_blank: true,
    }
}

/// To the other dashboards, and to a trace and its logs.
fn links() -> Vec<DashboardLink> {
    vec![
        DashboardLink {
            kind: "dashboards",
            tags: vec![TAG.to_owned()],
            as_dropdown: true,
            include_vars: true,
            keep_time: true,
            target_blank: false,
            ..link("Dashboards", "The other dashboards", String::new())
        },
        link("Trace", "The trace of the trace id above", explore::trace()),
        link(
            "Logs of the trace",
            "The log records with the trace id above",
            explore::logs(),
        ),
    ]
}

/// Restarts of processes, and alerts that fire, drawn over every panel.
fn annotations(signals: &[&'static Signal]) -> Vec<Annotation> {
    let annotation = |name, icon_color, datasource| Annotation {
        name,
        datasource,
        enable: true,
        hide: false,
        icon_color,
        built_in: None,
        kind: None,
        target: None,
        title_format: None,
        text_format: None,
        use_value_for_time: None,
    };
    let query = |expr: String| Some(json!({ "refId": "Anno", "expr": expr }));
    let mut list = vec![Annotation {
        built_in: Some(1),
        kind: Some("dashboard"),
        hide: true,
        ..annotation(
            "Annotations & Alerts",
            "rgba(0, 211, 255, 1)",
            Source {
                kind: "grafana",
                uid: "-- Grafana --",
            },
        )
    }];
    if let Some(metric) = ServiceStart::SIGNAL.metrics.first() {
        let started = promql::select(&metric.prometheus_name(), &[WHERE]);
        list.push(Annotation {
            target: query(format!("1000 * max by (job, instance) ({started})")),
            title_format: Some("Started".to_owned()),
            text_format: Some("{{job}} {{instance}}".to_owned()),
            use_value_for_time: Some("on"),
            ..annotation("Restarts", "blue", PROMETHEUS)
        });
    }
    let alerts: Vec<&str> = signals
        .iter()
        .flat_map(|signal| signal.alerts)
        .map(|alert| alert.name)
        .collect();
    if !alerts.is_empty() {
        let names = alerts.join("|");
        list.push(Annotation {
            target: query(format!(
                "ALERTS{{alertstate=\"firing\",alertname=~\"{names}\"}}"
            )),
            title_format: Some("{{alertname}}".to_owned()),
            text_format: Some("{{severity}}".to_owned()),
            ..annotation("Alerts", "red", PROMETHEUS)
        });
    }
    list
}
