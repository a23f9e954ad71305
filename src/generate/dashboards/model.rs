//! Grafana's dashboard format ("Classic" JSON, schema version 42), as far as it is used.

use serde::Serialize;
use serde_json::Value;

/// A dashboard.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Dashboard {
    /// Grafana's own number; none: it gives one.
    pub(super) id: Option<u64>,
    pub(super) uid: String,
    pub(super) title: String,
    pub(super) description: String,
    pub(super) tags: Vec<String>,
    pub(super) editable: bool,
    /// 1: all panels show the time under the pointer.
    pub(super) graph_tooltip: u8,
    pub(super) schema_version: u32,
    pub(super) version: u32,
    pub(super) timezone: &'static str,
    pub(super) refresh: &'static str,
    pub(super) time: TimeRange,
    pub(super) timepicker: Value,
    pub(super) week_start: &'static str,
    pub(super) fiscal_year_start_month: u8,
    pub(super) live_now: bool,
    pub(super) links: Vec<DashboardLink>,
    pub(super) annotations: List<Annotation>,
    pub(super) templating: List<Variable>,
    pub(super) panels: Vec<Item>,
}

#[derive(Serialize)]
pub(super) struct TimeRange {
    pub(super) from: &'static str,
    pub(super) to: &'static str,
}

#[derive(Serialize)]
pub(super) struct List<T> {
    pub(super) list: Vec<T>,
}

#[derive(Clone, Serialize)]
pub(super) struct Source {
    #[serde(rename = "type")]
    pub(super) kind: &'static str,
    pub(super) uid: &'static str,
}

#[derive(Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct DashboardLink {
    #[serde(rename = "type")]
    pub(super) kind: &'static str,
    pub(super) title: String,
    pub(super) tooltip: String,
    pub(super) icon: &'static str,
    pub(super) tags: Vec<String>,
    pub(super) url: String,
    pub(super) as_dropdown: bool,
    pub(super) include_vars: bool,
    pub(super) keep_time: bool,
    pub(super) target_blank: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Annotation {
    pub(super) name: &'static str,
    pub(super) datasource: Source,
    pub(super) enable: bool,
    pub(super) hide: bool,
    pub(super) icon_color: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) built_in: Option<u8>,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub(super) kind: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) target: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) title_format: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) text_format: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) use_value_for_time: Option<&'static str>,
}

/// A template variable.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Variable {
    #[serde(rename = "type")]
    pub(super) kind: &'static str,
    pub(super) name: String,
    pub(super) label: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) description: Option<String>,
    pub(super) hide: u8,
    pub(super) skip_url_sync: bool,
    pub(super) query: Value,
    pub(super) current: Value,
    pub(super) options: Vec<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) datasource: Option<Source>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) regex: Option<&'static str>,
    /// 2: read anew when the time range changes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) refresh: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) sort: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) multi: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) include_all: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) all_value: Option<&'static str>,
}

/// A row or a panel of the grid.
#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum Item {
    Row(Row),
    Panel(Box<Panel>),
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Row {
    pub(super) id: u32,
    #[serde(rename = "type")]
    pub(super) kind: &'static str,
    pub(super) title: String,
    pub(super) grid_pos: GridPos,
    pub(super) collapsed: bool,
    /// Those it hides while it is collapsed.
    pub(super) panels: Vec<Panel>,
}

/// Place in the grid, 24 columns wide.
#[derive(Clone, Copy, Default, Serialize)]
pub(super) struct GridPos {
    pub(super) x: u32,
    pub(super) y: u32,
    pub(super) w: u32,
    pub(super) h: u32,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Panel {
    pub(super) id: u32,
    #[serde(rename = "type")]
    pub(super) kind: &'static str,
    pub(super) title: String,
    pub(super) description: String,
    pub(super) datasource: Source,
    pub(super) grid_pos: GridPos,
    pub(super) field_config: FieldConfig,
    pub(super) options: Value,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) links: Vec<DashboardLink>,
    pub(super) targets: Vec<Target>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) transformations: Vec<Value>,
}

#[derive(Serialize)]
pub(super) struct FieldConfig {
    pub(super) defaults: FieldDefaults,
    pub(super) overrides: Vec<Value>,
}

#[derive(Serialize)]
pub(super) struct FieldDefaults {
    pub(super) unit: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) min: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) max: Option<f64>,
    pub(super) color: Value,
    pub(super) thresholds: Thresholds,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) mappings: Vec<Value>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) links: Vec<DataLink>,
    #[serde(skip_serializing_if = "Value::is_null")]
    pub(super) custom: Value,
}

#[derive(Serialize)]
pub(super) struct Thresholds {
    pub(super) mode: &'static str,
    pub(super) steps: Vec<Step>,
}

/// The colour from a value on; none: from below everything.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct Step {
    pub(super) color: &'static str,
    pub(super) value: Option<f64>,
}

#[derive(Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct DataLink {
    pub(super) title: String,
    pub(super) url: String,
    pub(super) target_blank: bool,
}

/// A query.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Target {
    pub(super) ref_id: String,
    pub(super) datasource: Source,
    pub(super) editor_mode: &'static str,
    pub(super) expr: String,
    pub(super) legend_format: String,
    pub(super) format: &'static str,
    pub(super) range: bool,
    pub(super) instant: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) exemplar: bool,
}
