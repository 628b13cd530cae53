//! Where audit events go, and how (`apiserver/pkg/server/options/audit.go`).

use std::path::PathBuf;
use std::time::Duration;

use runtime::flags::duration;

use super::truncate::Limit;

/// Whether a request waits for its events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Events are put into a buffer and go in batches; when it is full they are dropped and counted.
    Batch,
    /// They are gone when the request is answered; what fails is logged.
    Blocking,
    /// As blocking; a request whose arrival cannot be told is refused.
    BlockingStrict,
}

fn mode(plugin: &str, text: &str) -> Result<Mode, String> {
    match text {
        "batch" => Ok(Mode::Batch),
        "blocking" => Ok(Mode::Blocking),
        "blocking-strict" => Ok(Mode::BlockingStrict),
        _ => Err(format!("invalid audit {plugin} mode {text}, allowed modes are \"batch,blocking,blocking-strict\"")),
    }
}

/// A line of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Json,
    Legacy,
}

fn format(text: &str) -> Result<Format, String> {
    match text {
        "json" => Ok(Format::Json),
        "legacy" => Ok(Format::Legacy),
        _ => Err(format!("invalid audit log format {text}, allowed formats are \"legacy,json\"")),
    }
}

/// How batches are made.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Batching {
    pub buffer: usize,
    pub max_size: usize,
    pub max_wait: Duration,
    /// Batches a second on the average, and at once after a rest; `None`: as they come.
    pub throttle: Option<(f64, f64)>,
    /// Further batches may go while one is under way.
    pub concurrent: bool,
    /// Before events are put into the buffer.
    pub truncation: Option<Limit>,
}

#[derive(Clone, Debug, clap::Args)]
pub struct Flags {
    /// Whether requests wait for the log: batch, blocking, blocking-strict.
    #[arg(long, default_value = "blocking", value_parser = |text: &str| mode("log", text))]
    pub audit_log_mode: Mode,
    /// A line of the log: json, or legacy for one of text.
    #[arg(long, default_value = "json", value_parser = format)]
    pub audit_log_format: Format,
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..))]
    pub audit_log_batch_buffer_size: u32,
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub audit_log_batch_max_size: u32,
    #[arg(long, default_value = "0s", value_parser = duration)]
    pub audit_log_batch_max_wait: Duration,
    #[arg(long, default_value_t = false, action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true")]
    pub audit_log_batch_throttle_enable: bool,
    #[arg(long, default_value_t = 0.0)]
    pub audit_log_batch_throttle_qps: f64,
    #[arg(long, default_value_t = 0)]
    pub audit_log_batch_throttle_burst: u32,
    /// Whether events that are too large lose their objects.
    #[arg(long, default_value_t = false, action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true")]
    pub audit_log_truncate_enabled: bool,
    /// The largest batch in bytes; at least that of an event.
    #[arg(long, default_value_t = 10 * 1024 * 1024)]
    pub audit_log_truncate_max_batch_size: i64,
    /// The largest event in bytes; what is larger without its objects is dropped and counted.
    #[arg(long, default_value_t = 100 * 1024)]
    pub audit_log_truncate_max_event_size: i64,
    /// A kubeconfig that names the server which audit events are posted to.
    #[arg(long)]
    pub audit_webhook_config_file: Option<PathBuf>,
    /// Whether requests wait for that server: batch, blocking, blocking-strict.
    #[arg(long, default_value = "batch", value_parser = |text: &str| mode("webhook", text))]
    pub audit_webhook_mode: Mode,
    /// How long to wait before the first retry.
    #[arg(long, default_value = "10s", value_parser = duration)]
    pub audit_webhook_initial_backoff: Duration,
    /// So many events wait to be sent; what comes then is dropped and counted.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..))]
    pub audit_webhook_batch_buffer_size: u32,
    /// So many are sent at once.
    #[arg(long, default_value_t = 400, value_parser = clap::value_parser!(u32).range(1..))]
    pub audit_webhook_batch_max_size: u32,
    /// So long a batch waits to be full.
    #[arg(long, default_value = "30s", value_parser = duration)]
    pub audit_webhook_batch_max_wait: Duration,
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true")]
    pub audit_webhook_batch_throttle_enable: bool,
    #[arg(long, default_value_t = 10.0)]
    pub audit_webhook_batch_throttle_qps: f64,
    #[arg(long, default_value_t = 15)]
    pub audit_webhook_batch_throttle_burst: u32,
    /// Whether events that are too large lose their objects.
    #[arg(long, default_value_t = false, action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true")]
    pub audit_webhook_truncate_enabled: bool,
    /// The largest batch in bytes; at least that of an event.
    #[arg(long, default_value_t = 10 * 1024 * 1024)]
    pub audit_webhook_truncate_max_batch_size: i64,
    /// The largest event in bytes; what is larger without its objects is dropped and counted.
    #[arg(long, default_value_t = 100 * 1024)]
    pub audit_webhook_truncate_max_event_size: i64,
}

impl Flags {
    /// The batches of the log.
    ///
    /// # Errors
    /// Upstream's words about a throttle that lets nothing through, or about limits that make no sense.
    pub fn log(&self) -> anyhow::Result<Batching> {
        let (qps, burst) = (self.audit_log_batch_throttle_qps, self.audit_log_batch_throttle_burst);
        let throttle = self.audit_log_batch_throttle_enable;
        Ok(Batching {
            buffer: self.audit_log_batch_buffer_size as usize,
            max_size: self.audit_log_batch_max_size as usize,
            max_wait: self.audit_log_batch_max_wait,
            throttle: if throttle { Some(rate("log", self.audit_log_mode, qps, burst)?) } else { None },
            concurrent: false,
            truncation: Limit::of(
                "log",
                self.audit_log_truncate_enabled,
                self.audit_log_truncate_max_event_size,
                self.audit_log_truncate_max_batch_size,
            )?,
        })
    }

    /// The batches of the webhook.
    ///
    /// # Errors
    /// As [`log`](Self::log).
    pub fn webhook(&self) -> anyhow::Result<Batching> {
        let (qps, burst) = (self.audit_webhook_batch_throttle_qps, self.audit_webhook_batch_throttle_burst);
        let throttle = self.audit_webhook_batch_throttle_enable;
        Ok(Batching {
            buffer: self.audit_webhook_batch_buffer_size as usize,
            max_size: self.audit_webhook_batch_max_size as usize,
            max_wait: self.audit_webhook_batch_max_wait,
            throttle: if throttle { Some(rate("webhook", self.audit_webhook_mode, qps, burst)?) } else { None },
            concurrent: true,
            truncation: Limit::of(
                "webhook",
                self.audit_webhook_truncate_enabled,
                self.audit_webhook_truncate_max_event_size,
                self.audit_webhook_truncate_max_batch_size,
            )?,
        })
    }
}

fn rate(plugin: &str, mode: Mode, qps: f64, burst: u32) -> anyhow::Result<(f64, f64)> {
    if mode == Mode::Batch {
        anyhow::ensure!(qps > 0.0, "invalid audit batch {plugin} throttle QPS {qps}, must be a positive number");
        anyhow::ensure!(burst > 0, "invalid audit batch {plugin} throttle burst {burst}, must be a positive number");
    }
    Ok((qps, f64::from(burst)))
}
