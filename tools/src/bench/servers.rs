//! What the servers paid: processor time, memory, and what their journals wrote.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::Context;

use super::{Report, Target};

/// The processes of the nodes; none where they run elsewhere.
#[derive(Clone, Debug, Default)]
pub struct Servers {
    pids: Vec<u32>,
}

/// What the servers had paid at one time.
pub(super) struct Bill {
    cpu_s: f64,
    metrics: BTreeMap<String, f64>,
}

impl Servers {
    /// The processes of these numbers.
    pub fn new(pids: Vec<u32>) -> Servers {
        Servers { pids }
    }

    /// The nodes that `scripts/cluster.sh` runs in this directory.
    ///
    /// # Errors
    /// There are none.
    pub fn of_cluster(dir: &Path) -> anyhow::Result<Servers> {
        let text = |path: &Path| {
            fs::read_to_string(path).with_context(|| format!("{} is unreadable", path.display()))
        };
        let pid = |node: &str| -> anyhow::Result<u32> {
            let path = dir.join(format!("node-{node}")).join("pid");
            text(&path)?.trim().parse().with_context(|| format!("{}", path.display()))
        };
        let members = text(&dir.join("members"))?;
        Ok(Servers { pids: members.split_whitespace().map(pid).collect::<anyhow::Result<_>>()? })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.pids.is_empty()
    }

    /// Memory of all of them now, in bytes.
    pub(super) fn resident_bytes(&self) -> anyhow::Result<f64> {
        let page = rustix::param::page_size() as f64;
        let mut sum = 0.0;
        for pid in &self.pids {
            let text = fs::read_to_string(format!("/proc/{pid}/statm"))
                .with_context(|| format!("process {pid}"))?;
            let pages = text.split(' ').nth(1).and_then(|field| field.parse::<f64>().ok());
            sum += pages.context("/proc/PID/statm has another form")? * page;
        }
        Ok(sum)
    }

    pub(super) async fn bill(&self, target: &Target) -> anyhow::Result<Bill> {
        Ok(Bill { cpu_s: self.cpu_s()?, metrics: target.metrics().await? })
    }

    fn cpu_s(&self) -> anyhow::Result<f64> {
        let ticks_per_s = rustix::param::clock_ticks_per_second() as f64;
        let mut sum = 0.0;
        for pid in &self.pids {
            let text = fs::read_to_string(format!("/proc/{pid}/stat"))
                .with_context(|| format!("process {pid}"))?;
            // The name in brackets may hold anything; user and system time are fields 14 and 15.
            let (_, fields) = text.rsplit_once(')').context("/proc/PID/stat has another form")?;
            let times = fields.split_whitespace().skip(11).take(2);
            sum += times.filter_map(|field| field.parse::<f64>().ok()).sum::<f64>() / ticks_per_s;
        }
        Ok(sum)
    }
}

impl Bill {
    /// Reports what was paid since `before` for so many events and requests.
    pub(super) fn tell(
        &self,
        before: &Bill,
        servers: &Servers,
        load: &super::open::Load,
        report: &mut Report,
    ) {
        let grown = |name: &str| {
            let of = |bill: &Bill| bill.metrics.get(name).copied().unwrap_or(f64::NAN);
            of(self) - of(before)
        };
        if !servers.is_empty() {
            let cpu_s = self.cpu_s - before.cpu_s;
            report.tell("servers' CPU", cpu_s, "s");
            report.tell("CPU per million acked events", cpu_s / load.events * 1e6, "s");
            report.tell("CPU per million deliveries", cpu_s / load.deliveries * 1e6, "s");
        }
        let fsyncs = grown("outlive_journal_fsyncs_total");
        let written = grown("outlive_journal_bytes_written_total");
        report.tell("journal fsyncs, all nodes", fsyncs, "");
        report.tell("fsyncs per append, all nodes", fsyncs / load.appends, "");
        report.tell("fsyncs per event, all nodes", fsyncs / load.events, "");
        report.tell("journal records, all nodes", grown("outlive_journal_records_total"), "");
        report.tell("journal bytes per payload byte, all nodes", written / load.payload_bytes, "");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As `scripts/cluster.sh` lays it out.
    #[test]
    fn the_nodes_of_a_cluster_are_found_by_its_directory() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("members"), "1 4\n").unwrap();
        for (node, pid) in [(1, 11), (4, 44)] {
            fs::create_dir(dir.path().join(format!("node-{node}"))).unwrap();
            fs::write(dir.path().join(format!("node-{node}/pid")), format!("{pid}\n")).unwrap();
        }
        assert_eq!(Servers::of_cluster(dir.path()).unwrap().pids, [11, 44]);
        assert!(Servers::of_cluster(&dir.path().join("node-1")).is_err());
    }
}
