//! The same rules as objects of the Prometheus operator, and the list that Kustomize reads.

use super::super::domains;
use super::super::output::File;
use super::super::yaml::Yaml;
use super::{Links, groups};
use crate::catalog::Signal;

/// Where they are.
const FOLDER: &str = "deploy/kubernetes/rules";

/// One `PrometheusRule` (`monitoring.coreos.com/v1`) for each domain that declares an alert.
pub(in crate::generate) fn files(signals: &[&'static Signal], links: &Links) -> Vec<File> {
    let mut files = Vec::new();
    let mut names = Vec::new();
    for (domain, signals) in domains(signals) {
        let groups = groups(domain, &signals, links);
        if groups.is_empty() {
            continue;
        }
        let metadata = Yaml::map([("name", format!("tachograph-{domain}").into())]);
        let object = Yaml::map([
            ("apiVersion", "monitoring.coreos.com/v1".into()),
            ("kind", "PrometheusRule".into()),
            ("metadata", metadata),
            ("spec", Yaml::map([("groups", Yaml::list(groups))])),
        ]);
        let name = format!("{domain}.yaml");
        files.push(File {
            path: format!("{FOLDER}/{name}"),
            text: object.document(),
        });
        names.push(name);
    }
    if !names.is_empty() {
        let list = Yaml::map([
            ("apiVersion", "kustomize.config.k8s.io/v1beta1".into()),
            ("kind", "Kustomization".into()),
            ("resources", Yaml::list(names)),
        ]);
        files.push(File {
            path: format!("{FOLDER}/kustomization.yaml"),
            text: list.document(),
        });
    }
    files
}
