//! The committed dashboards: what they hold, what Grafana's linter says of them, and whether
//! they fit Grafana's own types.

#![allow(clippy::unwrap_used)]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use support::dashboards::{all, panels};
use support::oracle::missing;
use tachograph::catalog::{Alert, Condition, Panel, Signal, View};
use tachograph::generate::{self, dashboards};
use tachograph::signals::CATALOG;

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

#[test]
fn every_panel_says_what_it_shows() {
    for (file, dashboard) in all() {
        let mut ids = BTreeSet::new();
        for row in dashboard["panels"].as_array().unwrap() {
            assert!(ids.insert(row["id"].as_u64().unwrap()), "{file}: {row}");
            for inside in row["panels"].as_array().into_iter().flatten() {
                assert!(
                    ids.insert(inside["id"].as_u64().unwrap()),
                    "{file}: {inside}"
                );
            }
        }
        for panel in panels(&dashboard) {
            let title = text(panel, "title");
            assert!(!title.is_empty(), "{file}: {panel}");
            assert!(text(panel, "description").len() > 10, "{file}: {title}");
            assert_ne!(
                panel["fieldConfig"]["defaults"]["unit"], "",
                "{file}: {title}"
            );
            assert!(
                !panel["targets"].as_array().unwrap().is_empty(),
                "{file}: {title}"
            );
            let mut letters = BTreeSet::new();
            for target in panel["targets"].as_array().unwrap() {
                assert!(letters.insert(text(target, "refId")), "{file}: {title}");
                assert!(
                    text(target, "expr").contains("job=~\"$job\""),
                    "{file}: {title}"
                );
            }
        }
    }
}

#[test]
fn uids_are_stable_and_dashboards_link_to_each_other() {
    let mut uids = BTreeSet::new();
    for (file, dashboard) in all() {
        assert_eq!(
            dashboard["uid"],
            format!("tachograph-{}", file.trim_end_matches(".json"))
        );
        assert!(uids.insert(text(&dashboard, "uid").to_owned()));
        assert_eq!(dashboard["editable"], false, "{file}");
        assert_eq!(dashboard["schemaVersion"], 42, "{file}");
        assert_eq!(dashboard["tags"], json!(["tachograph"]), "{file}");
        assert_eq!(dashboard["links"][0]["type"], "dashboards", "{file}");
        assert_eq!(dashboard["links"][0]["tags"], dashboard["tags"], "{file}");
        let variables: Vec<&str> = dashboard["templating"]["list"]
            .as_array()
            .unwrap()
            .iter()
            .map(|variable| text(variable, "name"))
            .collect();
        for name in [
            "prometheus_datasource",
            "environment",
            "job",
            "instance",
            "trace_id",
        ] {
            assert!(variables.contains(&name), "{file} has {variables:?}");
        }
    }
    for (file, dashboard) in all() {
        for panel in panels(&dashboard) {
            for link in panel["links"].as_array().into_iter().flatten() {
                let uid = text(link, "url").trim_start_matches("/d/");
                let uid = uid.split('?').next().unwrap();
                assert!(uids.contains(uid), "{file} links to {uid}");
            }
        }
    }
    for signal in generate::signals(CATALOG) {
        assert!(uids.contains(&dashboards::uid_of_domain(signal.domain)));
    }
}

#[test]
fn nothing_overlaps_in_the_grid() {
    for (file, dashboard) in all() {
        let mut taken: BTreeMap<(u64, u64), String> = BTreeMap::new();
        let rows = dashboard["panels"].as_array().unwrap();
        for item in rows {
            place(&file, item, &mut taken);
            let mut inside = BTreeMap::new();
            for panel in item["panels"].as_array().into_iter().flatten() {
                assert_eq!(item["collapsed"], true, "{file}: {item}");
                place(&file, panel, &mut inside);
            }
        }
        // One look at the first rows: numbers alone, above the first titled row.
        let titled = rows.iter().position(|item| item["type"] == "row").unwrap();
        if file != "errors.json" {
            assert!((2..=32).contains(&titled), "{file} has {titled} numbers");
        }
        assert!(
            rows[..titled].iter().all(|item| item["type"] == "stat"),
            "{file}"
        );
    }
}

fn place(file: &str, item: &Value, taken: &mut BTreeMap<(u64, u64), String>) {
    let at = |key: &str| item["gridPos"][key].as_u64().unwrap();
    let (x, y, w, h) = (at("x"), at("y"), at("w"), at("h"));
    assert!(w > 0 && h > 0 && x + w <= 24, "{file}: {}", item["title"]);
    for column in x..x + w {
        for line in y..y + h {
            let title = text(item, "title").to_owned();
            let before = taken.insert((column, line), title);
            assert_eq!(before, None, "{file}: {} stands on another", item["title"]);
        }
    }
}

/// Every panel of every dashboard with the title of a declared one.
fn titled<'a>(dashboards: &'a [(String, Value)], title: &str) -> Vec<&'a Value> {
    dashboards
        .iter()
        .flat_map(|(_, dashboard)| panels(dashboard))
        .filter(|panel| panel["title"] == title)
        .collect()
}

/// The family a panel's queries read.
fn reads(panel: &Value, name: &str) -> bool {
    panel["targets"]
        .as_array()
        .unwrap()
        .iter()
        .any(|target| text(target, "expr").contains(name))
}

fn declared() -> Vec<(&'static Signal, &'static Panel)> {
    generate::signals(CATALOG)
        .into_iter()
        .flat_map(|signal| signal.panels.iter().map(move |panel| (signal, panel)))
        .collect()
}

#[test]
fn every_declared_panel_stands_on_a_dashboard() {
    let dashboards = all();
    for (signal, panel) in declared() {
        let name = signal
            .metric(panel.view.metric())
            .unwrap()
            .prometheus_name();
        let found = titled(&dashboards, panel.title);
        let found = found.iter().filter(|found| reads(found, &name));
        assert!(found.count() > 0, "{} of {}", panel.title, signal.name);
    }
}

#[test]
fn titles_are_unique_on_a_dashboard_but_for_the_numbers_above() {
    for (file, dashboard) in all() {
        let mut seen = BTreeSet::new();
        for panel in panels(&dashboard) {
            let place = (panel["type"] == "stat", text(panel, "title"));
            let twice = !seen.insert(place);
            assert!(!twice, "{file}: {place:?}");
        }
    }
}

/// The thresholds that a panel must draw: those of the alerts on its metric that its view can
/// show.
fn alerting(signal: &Signal, panel: &Panel) -> BTreeSet<String> {
    let shown = panel.view.metric();
    let dollars = signal
        .metric(shown)
        .is_some_and(|metric| metric.unit == "USD");
    let scale = if dollars { 3600.0 } else { 1.0 };
    let split = |by: &[&'static str]| by.iter().copied().collect::<BTreeSet<_>>();
    let alike = |alert: &Alert| split(alert.by) == split(panel.by);
    let threshold = |alert: &Alert| match (alert.condition, panel.view) {
        (condition, _) if condition.metrics().0 != shown => None,
        (
            Condition::QuantileAbove {
                threshold,
                quantile,
                ..
            },
            View::Quantiles(_),
        ) if quantile == 0.95 || panel.by.is_empty() => Some(threshold),
        (Condition::MeanBelow { threshold, .. }, View::Mean(_)) => Some(threshold),
        (Condition::ShareBelow { ratio, whole, .. }, View::Share { whole: shown, .. })
            if whole == shown =>
        {
            Some(ratio)
        }
        (Condition::ErrorRatioAbove { ratio, .. }, View::ErrorRatio(_)) => Some(ratio),
        (Condition::RateAbove { per_second, .. }, View::Rate(_)) if alike(alert) => {
            Some(per_second * scale)
        }
        (Condition::IncreaseAbove { amount, .. }, View::Rate(_))
            if alike(alert) && dollars && alert.window_seconds == 3600 =>
        {
            Some(amount)
        }
        (Condition::Occurs { .. }, View::Rate(_)) => Some(0.0),
        (
            Condition::ValueAbove { threshold, .. } | Condition::ValueBelow { threshold, .. },
            View::Value(_),
        ) => Some(threshold),
        (Condition::OlderThan { seconds, .. }, View::Age(_)) => Some(f64::from(seconds)),
        _ => None,
    };
    let alerts = signal.alerts.iter();
    alerts
        .filter_map(threshold)
        .map(|at| {
            if at == 0.0 {
                "1e-9".to_owned()
            } else {
                at.to_string()
            }
        })
        .collect()
}

#[test]
fn thresholds_are_those_of_the_alerts() {
    let dashboards = all();
    let mut drawn = 0;
    for (signal, panel) in declared() {
        if matches!(panel.view, View::Budget(_)) {
            continue;
        }
        let name = signal
            .metric(panel.view.metric())
            .unwrap()
            .prometheus_name();
        let expected = match panel.grades {
            Some((good, poor)) => [good, poor].map(|at| at.to_string()).into(),
            None => alerting(signal, panel),
        };
        drawn += expected.len();
        for found in titled(&dashboards, panel.title) {
            if !reads(found, &name) {
                continue;
            }
            let steps = found["fieldConfig"]["defaults"]["thresholds"]["steps"].as_array();
            let found: BTreeSet<String> = steps
                .unwrap()
                .iter()
                .filter_map(|step| step["value"].as_f64())
                .map(|at| {
                    if at == 1e-9 {
                        "1e-9".to_owned()
                    } else {
                        at.to_string()
                    }
                })
                .collect();
            assert_eq!(found, expected, "{} of {}", panel.title, signal.name);
        }
    }
    assert!(drawn >= 20, "{drawn}");
}

#[test]
fn the_claude_dashboard_is_about_claude_alone() {
    let dashboards = all();
    let (_, claude) = dashboards
        .iter()
        .find(|(file, _)| file == "claude.json")
        .unwrap();
    for panel in panels(claude) {
        for target in panel["targets"].as_array().unwrap() {
            let expr = text(target, "expr");
            let selectors = expr.matches("job=~").count();
            let restricted = expr.matches("gen_ai_provider_name=\"anthropic\"").count();
            assert_eq!(selectors, restricted, "{expr}");
        }
    }
}

/// A domain that nothing describes.
mod plain {
    tachograph::signal! {
        /// Parcels sent.
        pub counter Parcel = "test.parcel" => "test.parcels" "{parcel}" {
            labels {
                /// Where to.
                country: open(20),
            }
            panels [
                tachograph::catalog::Panel::new(
                    "Parcels",
                    tachograph::catalog::View::Rate("test.parcels"),
                    "Parcels sent, a second, by country.",
                )
                .by(&["country"])
                .headline(),
            ]
            no_alert "a test"
        }
    }
}

#[test]
fn an_application_s_domain_gets_a_dashboard_of_its_own() {
    let files = dashboards::files(&[plain::Parcel::SIGNAL], &[]);
    assert_eq!(files.len(), 1);
    assert_eq!(files[0].path, "dashboards/plain.json");
    let dashboard: Value = serde_json::from_str(&files[0].text).unwrap();
    let shown: Vec<&str> = panels(&dashboard)
        .iter()
        .map(|p| text(p, "title"))
        .collect();
    assert_eq!(shown, ["Parcels", "Parcels"]);
    let variables = dashboard["templating"]["list"].to_string();
    assert!(
        variables.contains("label_values(test_parcels_total{"),
        "{variables}"
    );
    assert!(files[0].text.contains("country=~\\\"$country\\\""));
}

fn run(command: &mut Command) -> Result<String, String> {
    let output = command.output().map_err(|error| error.to_string())?;
    let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.push_str(&String::from_utf8_lossy(&output.stderr));
    if output.status.success() {
        Ok(text)
    } else {
        Err(text)
    }
}

fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::create_dir_all(&folder).unwrap();
    folder
}

fn write_if_changed(path: &Path, text: &str) {
    if fs::read_to_string(path).ok().as_deref() != Some(text) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
}

/// Grafana's dashboard-linter, of one version, built by the Go toolchain below the target
/// folder. A module of its own names it, because its `replace` directive keeps `go install`
/// from doing so.
fn linter() -> Result<PathBuf, String> {
    let folder = folder("dashboard-linter");
    let binary = folder.join("dashboard-linter-0.2.0");
    if binary.exists() {
        return Ok(binary);
    }
    let module = include_str!("support/dashboard_linter/linter.mod");
    fs::write(folder.join("go.mod"), module).unwrap();
    let stand_in = folder.join("schema_v2");
    let types = stand_in.join("pkg/apis/dashboard/v2/types.go");
    write_if_changed(
        &stand_in.join("go.mod"),
        include_str!("support/dashboard_linter/schema_v2.mod"),
    );
    write_if_changed(
        &types,
        include_str!("support/dashboard_linter/schema_v2.go"),
    );
    let part = folder.join("part");
    let mut build = Command::new("go");
    build
        .current_dir(&folder)
        .args(["build", "-mod=mod", "-o"])
        .arg(&part)
        .arg("github.com/grafana/dashboard-linter");
    run(&mut build)?;
    fs::rename(&part, &binary).unwrap();
    Ok(binary)
}

#[test]
fn grafana_s_linter_finds_nothing() {
    let linter = match linter() {
        Ok(linter) => linter,
        Err(error) => {
            missing("grafana/dashboard-linter", "Go 1.26, and its module proxy");
            eprintln!("{error}");
            return;
        }
    };
    let committed = Path::new(env!("CARGO_MANIFEST_DIR")).join("dashboards");
    let lint = |path: &Path| {
        let config = committed.join(".lint");
        run(Command::new(&linter)
            .args(["lint", "--strict", "--config"])
            .arg(config)
            .arg(path))
    };
    for (file, dashboard) in all() {
        if let Err(said) = lint(&committed.join(&file)) {
            panic!("{file}: {said}");
        }
        // It must be able to find something.
        let broken = folder("dashboard-linter").join(format!("broken-{file}"));
        let spoilt = dashboard.to_string().replace("$__rate_interval", "5m");
        fs::write(&broken, spoilt).unwrap();
        let said = lint(&broken);
        assert!(
            said.is_err() || !dashboard.to_string().contains("rate("),
            "{file}"
        );
    }
}

/// Versions of `@grafana/schema`, the newest of each Grafana, and the compiler that reads them.
const SCHEMAS: [&str; 3] = ["11.6.16", "12.4.11", "13.2.3"];
const TYPESCRIPT: &str = "5.9.3";

/// Types of panels: what a dashboard calls them, the folder and file of their types, and whether
/// their fields have settings of their own.
const PANELS: [(&str, &str, &str, bool); 6] = [
    ("timeseries", "timeseries", "TimeSeries", true),
    ("stat", "stat", "Stat", false),
    ("bargauge", "bargauge", "BarGauge", false),
    ("heatmap", "heatmap", "Heatmap", true),
    ("table", "table", "Table", true),
    ("state-timeline", "statetimeline", "StateTimeline", true),
];

/// Packages of npm below a folder of their own.
fn packages(folder: &Path, packages: &Value) -> Result<(), String> {
    let package = json!({ "private": true, "dependencies": packages }).to_string();
    let file = folder.join("package.json");
    let installed = folder.join("node_modules").is_dir();
    if !installed || fs::read_to_string(&file).ok().as_deref() != Some(&package) {
        fs::create_dir_all(folder).unwrap();
        fs::write(&file, &package).unwrap();
        let mut install = Command::new("npm");
        install.current_dir(folder).args([
            "install",
            "--silent",
            "--no-audit",
            "--no-fund",
            "--ignore-scripts",
        ]);
        run(&mut install)?;
    }
    Ok(())
}

fn compiler() -> Result<PathBuf, String> {
    let folder = folder("grafana-schema");
    packages(&folder, &json!({ "typescript": TYPESCRIPT }))?;
    for version in SCHEMAS {
        let schema = json!({ "@grafana/schema": version });
        packages(&folder.join(version), &schema)?;
    }
    Ok(folder.join("node_modules/typescript/bin/tsc"))
}

/// What the types say in enums stands in the file as their values; and the Prometheus plugin
/// keeps fields of its own in annotations.
const ON_THE_WIRE: &str = "
import type { Dashboard as D, AnnotationQuery as A } from '@grafana/schema';
type Wire<T> = T extends string ? `${T}`
    : T extends (infer U)[] ? Wire<U>[]
    : T extends object ? { [K in keyof T]: Wire<T[K]> }
    : T;
type Plugin = {
    target?: { refId: string, expr: string },
    titleFormat?: string, textFormat?: string, useValueForTime?: 'on',
};
type Shown = Omit<Wire<D>, 'annotations'> & {
    annotations: { list: (Omit<Wire<A>, 'target'> & Plugin)[] },
};
";

/// A program that holds only if every dashboard is one of Grafana's, and the options of every
/// panel are those of its type.
fn program(dashboards: &[(String, Value)]) -> String {
    let mut program = ON_THE_WIRE.to_owned();
    for (index, (_, folder, file, fields)) in PANELS.iter().enumerate() {
        program += &format!(
            "import type * as P{index} from './node_modules/@grafana/schema/dist/esm/raw/composable/{folder}/panelcfg/x/{file}PanelCfg_types.gen';\n"
        );
        let custom = if *fields {
            format!("Wire<P{index}.FieldConfig>")
        } else {
            "null".to_owned()
        };
        program +=
            &format!("type T{index} = {{ options: Wire<P{index}.Options>, custom: {custom} }};\n");
    }
    let mut settings = BTreeSet::new();
    for (index, (_, dashboard)) in dashboards.iter().enumerate() {
        program += &format!("export const d{index}: Shown = {dashboard};\n");
        for panel in panels(dashboard) {
            let kind = PANELS.iter().position(|(kind, ..)| panel["type"] == *kind);
            let custom = &panel["fieldConfig"]["defaults"]["custom"];
            let shown = json!({ "options": panel["options"], "custom": custom });
            settings.insert((kind.unwrap(), shown.to_string()));
        }
    }
    for (index, (kind, shown)) in settings.iter().enumerate() {
        program += &format!("export const s{index}: T{kind} = {shown};\n");
    }
    program
}

#[test]
fn dashboards_fit_grafana_s_types() {
    let compiler = match compiler() {
        Ok(compiler) => compiler,
        Err(error) => {
            missing(
                "npm with @grafana/schema",
                "Node.js 20 with npm, and its registry",
            );
            eprintln!("{error}");
            return;
        }
    };
    let check = |version: &str, name: &str, program: &str| {
        let folder = folder("grafana-schema").join(version);
        fs::write(folder.join(name), program).unwrap();
        run(Command::new("node")
            .current_dir(&folder)
            .arg(&compiler)
            .args([
                "--noEmit",
                "--strict",
                "--skipLibCheck",
                "--target",
                "es2022",
                "--module",
                "esnext",
                "--moduleResolution",
                "bundler",
                name,
            ]))
    };
    let dashboards = all();
    for version in SCHEMAS {
        if let Err(said) = check(version, "dashboards.ts", &program(&dashboards)) {
            panic!("@grafana/schema {version}: {said}");
        }
        // It must be able to find something, in the dashboard and in its panels' options.
        for (pointer, wrong) in [
            ("/schemaVersion", json!("forty-two")),
            ("/panels/0/options/graphMode", json!("cube")),
        ] {
            let mut spoilt = dashboards[..1].to_vec();
            *spoilt[0].1.pointer_mut(pointer).unwrap() = wrong;
            let said = check(version, "spoilt.ts", &program(&spoilt));
            assert!(said.is_err(), "@grafana/schema {version}: {pointer}");
        }
    }
}
