// Package v2 stands in for Grafana's package of the v2 dashboard schema. The linter needs the
// real one only to read dashboards of that schema; ours are of the classic one, and the real
// package brings Kubernetes along. Only names that the linter mentions are here.
package v2

type DashboardVariableRefresh string

const (
	DashboardVariableRefreshNever              DashboardVariableRefresh = "never"
	DashboardVariableRefreshOnDashboardLoad    DashboardVariableRefresh = "onDashboardLoad"
	DashboardVariableRefreshOnTimeRangeChanged DashboardVariableRefresh = "onTimeRangeChanged"
)

type Datasource struct{ Name *string }

type DashboardDataQueryKind struct {
	Group      string
	Datasource *Datasource
	Spec       map[string]any
}

type DashboardPanelQuery struct {
	RefId  string
	Hidden bool
	Query  DashboardDataQueryKind
}

type DashboardPanelQueryKind struct{ Spec DashboardPanelQuery }

type DashboardAnnotationQuery struct {
	Name  string
	Query DashboardDataQueryKind
}

type DashboardAnnotationQueryKind struct{ Spec DashboardAnnotationQuery }

type QueryGroup struct{ Queries []DashboardPanelQueryKind }

type Data struct{ Spec QueryGroup }

type Settings struct{ FieldConfig, Options map[string]any }

type VizConfig struct {
	Group string
	Spec  Settings
}

type DashboardPanelSpec struct {
	Id                 float64
	Title, Description string
	Data               Data
	VizConfig          VizConfig
}

type PanelKind struct{ Spec DashboardPanelSpec }

type DashboardElement struct{ PanelKind *PanelKind }

type QueryVariable struct {
	Name            string
	Label, AllValue *string
	Multi           bool
	Refresh         DashboardVariableRefresh
	Query           DashboardDataQueryKind
}

type QueryVariableKind struct{ Spec QueryVariable }

type Variable struct {
	Name, Query, PluginId string
	Label, AllValue       *string
	Multi                 bool
	Refresh               DashboardVariableRefresh
}

type VariableKind struct{ Spec Variable }

type DashboardVariableKind struct {
	QueryVariableKind      *QueryVariableKind
	DatasourceVariableKind *VariableKind
	CustomVariableKind     *VariableKind
	IntervalVariableKind   *VariableKind
	ConstantVariableKind   *VariableKind
	TextVariableKind       *VariableKind
	AdhocVariableKind      *VariableKind
	GroupByVariableKind    *VariableKind
	SwitchVariableKind     *VariableKind
}

type DashboardSpec struct {
	Title       string
	Editable    *bool
	Elements    map[string]DashboardElement
	Variables   []DashboardVariableKind
	Annotations []DashboardAnnotationQueryKind
}
