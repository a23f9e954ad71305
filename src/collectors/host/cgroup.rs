//! The control group that this process is in, version 2 or 1, read from its files (Linux
//! documentation, `admin-guide/cgroup-v2.rst` and `admin-guide/cgroup-v1/`).

use std::fs;
use std::path::{Path, PathBuf};

/// From here on a limit of version 1 is none: it is the largest number of pages there can be.
const UNLIMITED: u64 = 1 << 62;

/// What a control group has used, and what it may use. What is not known is `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Usage {
    /// CPU time used, seconds.
    pub cpu_seconds: Option<f64>,
    /// CPUs that may be used; the least of the group and those above it.
    pub cpu_limit: Option<f64>,
    /// Periods in which it ran under a limit.
    pub periods: Option<u64>,
    /// Periods in which it was held back.
    pub throttled_periods: Option<u64>,
    /// Time that it was held back, seconds.
    pub throttled_seconds: Option<f64>,
    /// Memory occupied, bytes.
    pub memory: Option<u64>,
    /// Of it, caches of files that were not used lately, bytes.
    pub inactive_file: Option<u64>,
    /// Memory that may be occupied, bytes; the least of the group and those above it.
    pub memory_limit: Option<u64>,
    /// Processes that were killed because memory ran out.
    pub oom_kills: Option<u64>,
}

impl Usage {
    /// Memory without caches that give way at once, bytes.
    #[must_use]
    pub fn working_set(&self) -> Option<u64> {
        let memory = self.memory?;
        Some(memory.saturating_sub(self.inactive_file.unwrap_or(0)))
    }
}

/// Where a group's files are: from the group up to the top of what is mounted.
#[derive(Debug)]
struct Branch(Vec<PathBuf>);

impl Branch {
    /// The group at `path` below a mount. A container may see its group as the top of the mount
    /// while its path is still that of the machine.
    fn of(mount: &Path, path: &str) -> Option<Self> {
        let below = path.trim_start_matches('/');
        let climbs = below.split('/').any(|step| step == "..");
        let group = match climbs {
            true => mount.to_owned(),
            false => mount.join(below),
        };
        let group = if group.is_dir() {
            group
        } else {
            mount.to_owned()
        };
        let steps = group.ancestors().take_while(|step| step.starts_with(mount));
        let steps: Vec<PathBuf> = steps.map(Path::to_owned).collect();
        mount.is_dir().then_some(Self(steps))
    }

    /// A file of the group.
    fn read(&self, file: &str) -> Option<String> {
        fs::read_to_string(self.0.first()?.join(file)).ok()
    }

    /// The least of what the group and those above it say.
    fn least<T: PartialOrd>(&self, read: impl Fn(&Path) -> Option<T>) -> Option<T> {
        let said = self.0.iter().filter_map(|step| read(step));
        said.reduce(|least, other| if other < least { other } else { least })
    }
}

/// The groups of this process, of the file system below `root`; what is not there is unknown.
#[must_use]
pub fn read(root: &Path) -> Usage {
    let Ok(groups) = fs::read_to_string(root.join("proc/self/cgroup")) else {
        return Usage::default();
    };
    let mounts = root.join("sys/fs/cgroup");
    let path = |controller: &str| path_of(&groups, controller);
    let unified = mounts.join("cgroup.controllers").is_file();
    if unified {
        let branch = path("").and_then(|path| Branch::of(&mounts, path));
        return branch.map(|branch| version_2(&branch)).unwrap_or_default();
    }
    let branch = |controller: &str| {
        let path = path(controller)?;
        // Controllers that are mounted together are reached by the name of each.
        let names = [controller, "cpu,cpuacct"];
        let mut mounts = names.iter().map(|name| mounts.join(name));
        Branch::of(&mounts.find(|mount| mount.is_dir())?, path)
    };
    version_1(
        branch("memory").as_ref(),
        branch("cpu").as_ref(),
        branch("cpuacct").as_ref(),
    )
}

/// The path of a controller's group in `/proc/self/cgroup`; the empty name is version 2's.
fn path_of<'t>(groups: &'t str, controller: &str) -> Option<&'t str> {
    groups.lines().find_map(|line| {
        let mut parts = line.splitn(3, ':');
        let (_, names, path) = (parts.next()?, parts.next()?, parts.next()?);
        names
            .split(',')
            .any(|name| name == controller)
            .then_some(path)
    })
}

fn version_2(group: &Branch) -> Usage {
    let stat = group.read("cpu.stat").unwrap_or_default();
    let micros = |key| Some(field(&stat, key)? as f64 / 1e6);
    let memory_stat = group.read("memory.stat").unwrap_or_default();
    let events = group.read("memory.events").unwrap_or_default();
    Usage {
        cpu_seconds: micros("usage_usec"),
        cpu_limit: group.least(|step| cpu_max(&text(step, "cpu.max")?)),
        periods: field(&stat, "nr_periods"),
        throttled_periods: field(&stat, "nr_throttled"),
        throttled_seconds: micros("throttled_usec"),
        memory: group.read("memory.current").and_then(|text| whole(&text)),
        inactive_file: field(&memory_stat, "inactive_file"),
        memory_limit: group.least(|step| whole(&text(step, "memory.max")?)),
        oom_kills: field(&events, "oom_kill"),
    }
}

fn version_1(memory: Option<&Branch>, cpu: Option<&Branch>, account: Option<&Branch>) -> Usage {
    let read = |group: Option<&Branch>, file: &str| group.and_then(|group| group.read(file));
    let stat = read(cpu, "cpu.stat").unwrap_or_default();
    let memory_stat = read(memory, "memory.stat").unwrap_or_default();
    let oom = read(memory, "memory.oom_control").unwrap_or_default();
    let nanos = |number: u64| number as f64 / 1e9;
    Usage {
        cpu_seconds: read(account, "cpuacct.usage")
            .and_then(|text| whole(&text))
            .map(nanos),
        cpu_limit: cpu.and_then(|group| {
            group.least(|step| {
                quota(
                    &text(step, "cpu.cfs_quota_us")?,
                    &text(step, "cpu.cfs_period_us")?,
                )
            })
        }),
        periods: field(&stat, "nr_periods"),
        throttled_periods: field(&stat, "nr_throttled"),
        throttled_seconds: field(&stat, "throttled_time").map(nanos),
        memory: read(memory, "memory.usage_in_bytes").and_then(|text| whole(&text)),
        inactive_file: field(&memory_stat, "total_inactive_file"),
        memory_limit: memory.and_then(|group| {
            group.least(|step| {
                whole(&text(step, "memory.limit_in_bytes")?).filter(|limit| *limit < UNLIMITED)
            })
        }),
        oom_kills: field(&oom, "oom_kill"),
    }
}

fn text(group: &Path, file: &str) -> Option<String> {
    fs::read_to_string(group.join(file)).ok()
}

/// A file of one number; `max` is none.
fn whole(text: &str) -> Option<u64> {
    text.trim().parse().ok()
}

/// A line `key number` of a flat-keyed file.
fn field(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| {
        let (name, number) = line.split_once(' ')?;
        (name == key).then(|| whole(number)).flatten()
    })
}

/// CPUs of `cpu.max`: `max 100000` or `<quota> <period>`.
fn cpu_max(text: &str) -> Option<f64> {
    let (limit, period) = text.trim().split_once(' ')?;
    quota(limit, period)
}

/// CPUs of a quota in a period; a quota that is no number above 0 is none.
fn quota(limit: &str, period: &str) -> Option<f64> {
    let (limit, period) = (whole(limit)?, whole(period)?);
    (limit > 0 && period > 0).then(|| limit as f64 / period as f64)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A file system of these files.
    fn root(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        folder
    }

    const STAT: &str = "usage_usec 2500000\nuser_usec 1\nnr_periods 40\nnr_throttled 10\n\
                        throttled_usec 1500000\n";

    #[test]
    fn version_2_takes_the_least_limit_of_the_groups_above() {
        let folder = root(&[
            ("proc/self/cgroup", "0::/pod/container\n"),
            ("sys/fs/cgroup/cgroup.controllers", "cpu memory\n"),
            ("sys/fs/cgroup/pod/cpu.max", "150000 100000\n"),
            ("sys/fs/cgroup/pod/memory.max", "1000000\n"),
            ("sys/fs/cgroup/pod/container/cpu.max", "max 100000\n"),
            ("sys/fs/cgroup/pod/container/cpu.stat", STAT),
            ("sys/fs/cgroup/pod/container/memory.max", "2000000\n"),
            ("sys/fs/cgroup/pod/container/memory.current", "700000\n"),
            (
                "sys/fs/cgroup/pod/container/memory.stat",
                "anon 1\ninactive_file 200000\n",
            ),
            (
                "sys/fs/cgroup/pod/container/memory.events",
                "oom 3\noom_kill 2\n",
            ),
        ]);
        let usage = read(folder.path());
        assert_eq!(
            usage,
            Usage {
                cpu_seconds: Some(2.5),
                cpu_limit: Some(1.5),
                periods: Some(40),
                throttled_periods: Some(10),
                throttled_seconds: Some(1.5),
                memory: Some(700_000),
                inactive_file: Some(200_000),
                memory_limit: Some(1_000_000),
                oom_kills: Some(2),
            }
        );
        assert_eq!(usage.working_set(), Some(500_000));
    }

    #[test]
    fn version_1_is_read_where_a_container_sees_its_group_as_the_top() {
        let folder = root(&[
            (
                "proc/self/cgroup",
                "5:cpu,cpuacct:/docker/abc\n3:memory:/docker/abc\n0::/\n",
            ),
            (
                "sys/fs/cgroup/memory/memory.limit_in_bytes",
                "9223372036854771712\n",
            ),
            ("sys/fs/cgroup/memory/memory.usage_in_bytes", "700000\n"),
            (
                "sys/fs/cgroup/memory/memory.stat",
                "inactive_file 1\ntotal_inactive_file 200000\n",
            ),
            (
                "sys/fs/cgroup/memory/memory.oom_control",
                "oom_kill_disable 0\noom_kill 1\n",
            ),
            ("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "50000\n"),
            ("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000\n"),
            (
                "sys/fs/cgroup/cpu,cpuacct/cpu.stat",
                "nr_periods 4\nnr_throttled 1\nthrottled_time 2000000000\n",
            ),
            ("sys/fs/cgroup/cpu,cpuacct/cpuacct.usage", "3000000000\n"),
        ]);
        assert_eq!(
            read(folder.path()),
            Usage {
                cpu_seconds: Some(3.0),
                cpu_limit: Some(0.5),
                periods: Some(4),
                throttled_periods: Some(1),
                throttled_seconds: Some(2.0),
                memory: Some(700_000),
                inactive_file: Some(200_000),
                memory_limit: None,
                oom_kills: Some(1),
            }
        );
    }

    #[test]
    fn what_is_not_there_is_unknown() {
        let nothing = tempfile::tempdir().unwrap();
        assert_eq!(read(nothing.path()), Usage::default());
        let unlimited = root(&[
            ("proc/self/cgroup", "0::/\n"),
            ("sys/fs/cgroup/cgroup.controllers", ""),
            ("sys/fs/cgroup/cpu.max", "max 100000\n"),
            ("sys/fs/cgroup/memory.max", "max\n"),
        ]);
        assert_eq!(read(unlimited.path()), Usage::default());
        let outside = root(&[
            ("proc/self/cgroup", "0::/../../etc\n"),
            ("sys/fs/cgroup/cgroup.controllers", ""),
            ("sys/fs/cgroup/memory.max", "5\n"),
            ("etc/memory.max", "1\n"),
        ]);
        assert_eq!(read(outside.path()).memory_limit, Some(5));
    }

    proptest! {
        #[test]
        fn limits_are_read_back(quota in 1_u64..1 << 50, period in 1_u64..1 << 50) {
            let expected = Some(quota as f64 / period as f64);
            prop_assert_eq!(cpu_max(&format!("{quota} {period}\n")), expected);
        }

        #[test]
        fn a_field_is_found_among_others(
            fields in proptest::collection::btree_map("[a-z_]{1,12}", any::<u64>(), 1..8),
            which in any::<prop::sample::Index>(),
        ) {
            let text: String = fields.iter().map(|(k, v)| format!("{k} {v}\n")).collect();
            let (key, value) = fields.iter().nth(which.index(fields.len())).unwrap();
            prop_assert_eq!(field(&text, key), Some(*value));
            prop_assert_eq!(field(&text, "none of them"), None);
        }

        #[test]
        fn no_text_is_too_strange(groups in "\\PC*", file in "\\PC*", key in "\\PC*") {
            let _ = (path_of(&groups, ""), path_of(&groups, "memory"), field(&file, &key));
            let _ = (cpu_max(&file), whole(&file), quota(&file, &groups));
        }

        #[test]
        fn a_group_is_never_looked_for_outside_its_mount(path in "[a-z./]{0,20}") {
            let folder = root(&[("mount/a/file", ""), ("b/file", "")]);
            let mount = folder.path().join("mount");
            for step in Branch::of(&mount, &path).unwrap().0 {
                prop_assert!(step.canonicalize().unwrap().starts_with(mount.canonicalize().unwrap()));
            }
        }
    }
}
