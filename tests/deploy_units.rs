//! Units of systemd and launchd: read by systemd and by Python's reader of property lists, and the
//! service is started as they say.
#![cfg(feature = "service")]
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use serde_json::Value;
use support::deploy::{
    Environment, Service, any_port, deploy, moved, read, run, secrets, texts, works,
};
use support::oracle::missing;

/// Settings of a unit by name, in order; repeated ones several times.
fn unit(file: &str) -> BTreeMap<String, Vec<String>> {
    let mut settings: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for line in read(deploy().join("systemd").join(file)).lines() {
        if let Some((name, value)) = line.split_once('=')
            && !line.starts_with('#')
        {
            let values = settings.entry(name.to_owned()).or_default();
            values.push(value.to_owned());
        }
    }
    settings
}

fn systemd_analyze(arguments: &[&str]) -> Option<Result<String, String>> {
    if run(Command::new("systemd-analyze").arg("--version")).is_err() {
        missing("systemd-analyze", "apt-get install systemd");
        return None;
    }
    Some(run(Command::new("systemd-analyze").args(arguments)))
}

#[test]
fn units_are_valid_and_confined() {
    let folder = tempfile::tempdir().unwrap();
    let verify = |name: &str, text: &str| {
        let path = folder.path().join(name);
        // The programs are not installed here.
        let mut text = text.to_owned();
        for program in ["tachograph", "otelcol-tachograph"] {
            let installed = format!("/usr/local/bin/{program} ");
            text = text.replace(&installed, concat!(env!("CARGO_BIN_EXE_tachograph"), " "));
        }
        fs::write(&path, text).unwrap();
        let path = path.to_str().unwrap();
        // It complains in passing of units of the machine; of ours by its path.
        let said = systemd_analyze(&["verify", "--man=no", "--recursive-errors=no", path])?;
        let (Ok(said) | Err(said)) = &said;
        let ours = said.lines().filter(|line| line.contains(name));
        Some(ours.map(str::to_owned).collect::<Vec<_>>())
    };
    for name in [
        "tachograph.service",
        "tachograph-workflow-db.service",
        "otelcol.service",
    ] {
        let text = read(deploy().join("systemd").join(name));
        let Some(said) = verify(name, &text) else {
            return;
        };
        assert!(said.is_empty(), "{said:#?}");
        let broken = text.replace("ProtectSystem=strict", "ProtectSystems=strict");
        let said = verify(name, &broken).unwrap();
        assert!(
            said.iter().any(|line| line.contains("ProtectSystems")),
            "{said:#?}"
        );
        // In tenths of its scale from 0 to 10.
        let path = deploy().join("systemd").join(name);
        let path = path.to_str().unwrap();
        let security = [
            "security",
            "--offline=true",
            "--no-pager",
            "--threshold=15",
            path,
        ];
        if let Err(said) = systemd_analyze(&security).unwrap() {
            panic!("{said}");
        }
    }
}

#[test]
fn the_unit_starts_the_service() {
    let (state, secret) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    secrets(secret.path());
    let unit = unit("tachograph.service");
    assert_eq!(
        unit["LoadCredential"],
        ["tachograph.toml:/etc/tachograph/tachograph.toml"]
    );
    // `%d` is where systemd puts credentials.
    let folders = [("/var/lib/tachograph", state.path()), ("%d", secret.path())];
    let mut environment: Environment = unit["Environment"]
        .iter()
        .filter_map(|entry| entry.split_once('='))
        .map(|(name, value)| (name.to_owned(), moved(value, &folders)))
        .collect();
    any_port(&mut environment);
    let start = moved(&unit["ExecStart"][0], &folders);
    let mut words = start.split(' ').map(str::to_owned);
    assert_eq!(words.next().unwrap(), "/usr/local/bin/tachograph");
    let arguments: Vec<String> = words.collect();
    let service = Service::start(&arguments, &environment, state.path());
    works(service, secret.path());
    // What is stopped has the time it takes.
    let seconds = |text: &str| text.trim_end_matches('s').parse::<u64>().unwrap();
    assert!(seconds(&unit["TimeoutStopSec"][0]) > 10);
}

/// launchd.plist(5).
const LAUNCHD: [&str; 16] = [
    "EnvironmentVariables",
    "ExitTimeOut",
    "GroupName",
    "InitGroups",
    "KeepAlive",
    "Label",
    "ProcessType",
    "ProgramArguments",
    "RunAtLoad",
    "SoftResourceLimits",
    "StandardErrorPath",
    "StandardOutPath",
    "ThrottleInterval",
    "Umask",
    "UserName",
    "WorkingDirectory",
];

fn plist(file: &str) -> Option<Value> {
    let script = "import json, plistlib, sys; \
                  print(json.dumps(plistlib.load(open(sys.argv[1], 'rb'))))";
    let path = deploy().join("launchd").join(file);
    match run(Command::new("python3").args(["-c", script]).arg(path)) {
        Ok(text) => Some(serde_json::from_str(&text).unwrap()),
        Err(error) if run(Command::new("python3").arg("--version")).is_ok() => panic!("{error}"),
        Err(_) => {
            missing("Python", "apt-get install python3");
            None
        }
    }
}

#[test]
fn launchd_starts_the_service() {
    let (state, secret) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    secrets(secret.path());
    for file in [
        "dev.tachograph.plist",
        "dev.tachograph.workflow-db.plist",
        "dev.tachograph.otelcol.plist",
    ] {
        let Some(plist) = plist(file) else { return };
        for (key, value) in plist.as_object().unwrap() {
            assert!(LAUNCHD.contains(&key.as_str()), "{file}: {key}");
            let fits = match key.as_str() {
                "InitGroups" | "RunAtLoad" => value.is_boolean(),
                "ExitTimeOut" | "ThrottleInterval" => value.is_u64(),
                "EnvironmentVariables" | "KeepAlive" | "SoftResourceLimits" => value.is_object(),
                "ProgramArguments" => value.is_array(),
                _ => value.is_string(),
            };
            assert!(fits, "{file}: {key}: {value}");
        }
        assert_eq!(format!("{}.plist", plist["Label"].as_str().unwrap()), file);
    }
    let plist = plist("dev.tachograph.plist").unwrap();
    let folders = [
        ("/usr/local/var/tachograph", state.path()),
        ("/usr/local/etc/tachograph", secret.path()),
    ];
    let mut environment: Environment = plist["EnvironmentVariables"]
        .as_object()
        .unwrap()
        .iter()
        .map(|(name, value)| (name.clone(), moved(value.as_str().unwrap(), &folders)))
        .collect();
    any_port(&mut environment);
    let arguments: Vec<String> = texts(&plist["ProgramArguments"])[1..]
        .iter()
        .map(|argument| moved(argument, &folders))
        .collect();
    let service = Service::start(&arguments, &environment, state.path());
    works(service, secret.path());
}
