//! What the kernel says about this process (Prometheus' process collector).

use std::sync::OnceLock;
use std::time::{SystemTime, UNIX_EPOCH};

use super::{About, Kind, Page, Stability};

const fn about(kind: Kind, name: &'static str, help: &'static str) -> About {
    About { name, help, stability: Stability::Internal, kind, labels: &[] }
}

static CPU: About =
    about(Kind::Counter, "process_cpu_seconds_total", "Total user and system CPU time spent in seconds.");
static MAX_FDS: About = about(Kind::Gauge, "process_max_fds", "Maximum number of open file descriptors.");
static OPEN_FDS: About = about(Kind::Gauge, "process_open_fds", "Number of open file descriptors.");
static RESIDENT: About = about(Kind::Gauge, "process_resident_memory_bytes", "Resident memory size in bytes.");
static VIRTUAL: About = about(Kind::Gauge, "process_virtual_memory_bytes", "Virtual memory size in bytes.");
pub static STARTED: About =
    about(Kind::Gauge, "process_start_time_seconds", "Start time of the process since unix epoch in seconds.");

/// What /proc/self says.
pub struct Process {
    cpu: f64,
    virtual_bytes: u64,
    resident: u64,
    open_files: usize,
}

/// The clock of /proc counts hundredths of a second on every architecture Linux runs on.
const TICKS: f64 = 100.0;

impl Process {
    /// # Errors
    /// /proc cannot be read.
    pub fn read() -> std::io::Result<Self> {
        let text = std::fs::read_to_string("/proc/self/stat")?;
        let open_files = std::fs::read_dir("/proc/self/fd")?.count();
        // The name in parentheses may hold anything; fields count from behind it, the third of all being the first there.
        let fields: Vec<u64> = text
            .rsplit_once(')')
            .map_or("", |(_, rest)| rest)
            .split_whitespace()
            .map(|field| field.parse().unwrap_or(0))
            .collect();
        let field = |number: usize| fields.get(number - 3).copied().unwrap_or(0);
        #[allow(clippy::cast_precision_loss)] // Exact for 2^53 hundredths of a second.
        let cpu = (field(14) + field(15)) as f64 / TICKS;
        let page = page_size();
        Ok(Self { cpu, virtual_bytes: field(23), resident: field(24) * page, open_files })
    }

    #[allow(clippy::cast_precision_loss)] // As all numbers on the page.
    pub fn write(&self, page: &mut Page) {
        page.number(&CPU, &[], self.cpu);
        page.number(&VIRTUAL, &[], self.virtual_bytes as f64);
        page.number(&RESIDENT, &[], self.resident as f64);
        page.number(&OPEN_FDS, &[], self.open_files as f64);
        if let Ok((limit, _)) = nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE) {
            page.number(&MAX_FDS, &[], limit as f64);
        }
        page.number(&STARTED, &[], started());
    }
}

fn page_size() -> u64 {
    nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE)
        .ok()
        .flatten()
        .and_then(|bytes| u64::try_from(bytes).ok())
        .unwrap_or(4096)
}

/// When the process began to serve, in seconds since 1970; the first call decides.
pub fn started() -> f64 {
    static STARTED_AT: OnceLock<f64> = OnceLock::new();
    *STARTED_AT.get_or_init(|| SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_process_is_there() {
        let process = Process::read().unwrap();
        assert!(process.resident > 1 << 20 && process.virtual_bytes >= process.resident && process.open_files > 2);
        let mut page = Page::default();
        process.write(&mut page);
        assert_eq!(page.text().matches("# TYPE process_").count(), 6);
    }
}
