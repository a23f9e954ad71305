//! The OpenTelemetry resource: who reports, from where. Names of the semantic conventions
//! v1.41.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use opentelemetry::{KeyValue, Value};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::resource::{ResourceDetector, TelemetryResourceDetector};
use uuid::Uuid;

use super::config::ResourceConfig;

/// The resource of this process.
///
/// What the configuration names is taken before `attributes` (`OTEL_RESOURCE_ATTRIBUTES`),
/// and both before what is found out: `service.instance.id`, `host.name`, `host.arch`,
/// `os.type`, `os.name`, `os.version`, `process.pid`, `process.executable.name`,
/// `process.runtime.name`, `process.runtime.version` and `telemetry.sdk.*`. What cannot be
/// found out is left out.
#[must_use]
pub fn resource(config: &ResourceConfig) -> Resource {
    let mut all = detected();
    for (key, value) in &config.attributes {
        if !key.is_empty() {
            all.insert(key.clone(), Value::from(value.clone()));
        }
    }
    let named = [
        ("service.namespace", &config.service_namespace),
        ("service.version", &config.service_version),
        ("service.instance.id", &config.service_instance_id),
        ("deployment.environment.name", &config.environment),
    ];
    for (key, value) in named {
        if let Some(value) = value {
            all.insert(key.to_owned(), Value::from(value.clone()));
        }
    }
    // The default does not override a name that was given as an attribute.
    let unnamed = config.service_name == ResourceConfig::default().service_name;
    if !(unnamed && config.attributes.contains_key("service.name")) {
        let name = Value::from(config.service_name.clone());
        all.insert("service.name".to_owned(), name);
    }
    Resource::builder_empty()
        .with_attributes(
            all.into_iter()
                .map(|(key, value)| KeyValue::new(key, value)),
        )
        .build()
}

fn detected() -> BTreeMap<String, Value> {
    let mut all = BTreeMap::new();
    let mut put = |key: &str, value: Option<String>| {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            all.insert(key.to_owned(), Value::from(value));
        }
    };
    put("service.instance.id", Some(instance_id()));
    put("host.name", host_name());
    put("host.arch", Some(arch(std::env::consts::ARCH).to_owned()));
    put("os.type", Some(os(std::env::consts::OS).to_owned()));
    let release = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    put("os.name", os_release(&release, "NAME"));
    put("os.version", os_release(&release, "VERSION_ID"));
    put("process.executable.name", executable());
    put("process.runtime.name", Some("rust".to_owned()));
    put(
        "process.runtime.version",
        option_env!("BUILD_RUSTC_VERSION").map(str::to_owned),
    );
    let pid = Value::I64(i64::from(std::process::id()));
    all.insert("process.pid".to_owned(), pid);
    for (key, value) in &TelemetryResourceDetector.detect() {
        all.insert(key.to_string(), value.clone());
    }
    all
}

/// Random, and the same for the whole life of the process.
fn instance_id() -> String {
    static ID: OnceLock<Uuid> = OnceLock::new();
    ID.get_or_init(Uuid::new_v4).to_string()
}

fn host_name() -> Option<String> {
    ["/proc/sys/kernel/hostname", "/etc/hostname"]
        .into_iter()
        .filter_map(|path| std::fs::read_to_string(path).ok())
        .chain(
            ["HOSTNAME", "COMPUTERNAME"]
                .into_iter()
                .filter_map(|name| std::env::var(name).ok()),
        )
        .map(|name| name.trim().to_owned())
        .find(|name| !name.is_empty())
}

fn executable() -> Option<String> {
    let path = std::env::current_exe().ok()?;
    Some(path.file_name()?.to_string_lossy().into_owned())
}

/// `host.arch` has names of its own.
fn arch(rust: &str) -> &str {
    match rust {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "arm" => "arm32",
        "powerpc" => "ppc32",
        "powerpc64" => "ppc64",
        other => other,
    }
}

/// `os.type` has names of its own.
fn os(rust: &str) -> &str {
    match rust {
        "macos" | "ios" => "darwin",
        "dragonfly" => "dragonflybsd",
        other => other,
    }
}

/// A value of os-release(5).
fn os_release(text: &str, key: &str) -> Option<String> {
    let value = text
        .lines()
        .find_map(|line| line.strip_prefix(key)?.strip_prefix('='))?;
    Some(value.trim().trim_matches(['"', '\'']).to_owned())
}

#[cfg(test)]
mod tests {
    use opentelemetry::Key;

    use super::*;

    fn get(resource: &Resource, key: &'static str) -> Option<String> {
        resource
            .get(&Key::from_static_str(key))
            .map(|value| value.to_string())
    }

    #[test]
    fn what_is_configured_comes_before_attributes_before_what_is_found() {
        let config = ResourceConfig {
            service_name: "shop".to_owned(),
            environment: Some("prod".to_owned()),
            attributes: [
                ("service.name", "other"),
                ("deployment.environment.name", "dev"),
                ("host.name", "box"),
                ("team", "a, b"),
                ("", "nameless"),
            ]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into(),
            ..ResourceConfig::default()
        };
        let resource = resource(&config);
        assert_eq!(get(&resource, "service.name").unwrap(), "shop");
        assert_eq!(
            get(&resource, "deployment.environment.name").unwrap(),
            "prod"
        );
        assert_eq!(get(&resource, "host.name").unwrap(), "box");
        assert_eq!(get(&resource, "team").unwrap(), "a, b");
        assert_eq!(get(&resource, ""), None);
        assert_eq!(get(&resource, "service.namespace"), None);
    }

    #[test]
    fn the_default_name_gives_way_to_an_attribute() {
        let mut config = ResourceConfig::default();
        assert_eq!(
            get(&resource(&config), "service.name").unwrap(),
            "tachograph"
        );
        config
            .attributes
            .insert("service.name".to_owned(), "given".to_owned());
        assert_eq!(get(&resource(&config), "service.name").unwrap(), "given");
    }

    #[test]
    fn what_is_found_out() {
        let found = resource(&ResourceConfig::default());
        assert_eq!(
            get(&found, "process.pid").unwrap(),
            std::process::id().to_string()
        );
        assert_eq!(get(&found, "telemetry.sdk.language").unwrap(), "rust");
        for key in [
            "host.arch",
            "os.type",
            "process.executable.name",
            "process.runtime.version",
        ] {
            assert!(
                get(&found, key).is_some_and(|value| !value.is_empty()),
                "{key}"
            );
        }
        let again = resource(&ResourceConfig::default());
        assert_eq!(
            get(&found, "service.instance.id"),
            get(&again, "service.instance.id")
        );
        assert_eq!(
            os_release("A=1\nNAME=\"Some OS\"\nVERSION_ID=12", "NAME").unwrap(),
            "Some OS"
        );
        assert_eq!(os_release("PRETTY_NAME=x", "NAME"), None);
    }
}
