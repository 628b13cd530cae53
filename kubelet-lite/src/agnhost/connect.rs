//! `agnhost connect`: one TCP connection, and a word for what came of it (upstream's words).

use std::io::ErrorKind;
use std::time::Duration;

use anyhow::bail;
use tokio::net::{TcpStream, lookup_host};

/// Connects to `address` within `timeout` (`5s`, `500ms`; `0s` is as long as the kernel tries).
///
/// # Errors
/// With `DNS`, `TIMEOUT`, `REFUSED` or `OTHER` and the reason.
pub async fn run(address: &str, timeout: &str) -> anyhow::Result<()> {
    let limit = match duration(timeout) {
        Some(limit) if limit.is_zero() => Duration::from_secs(3600),
        Some(limit) => limit,
        None => bail!("\"{timeout}\" is no duration"),
    };
    let addresses: Vec<_> = match lookup_host(address).await {
        Ok(found) => found.collect(),
        Err(error) => bail!("DNS: {error}"),
    };
    match tokio::time::timeout(limit, TcpStream::connect(addresses.as_slice())).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) if error.kind() == ErrorKind::ConnectionRefused => bail!("REFUSED"),
        Ok(Err(error)) if error.kind() == ErrorKind::TimedOut => bail!("TIMEOUT"),
        Ok(Err(error)) => bail!("OTHER: {error}"),
        Err(_) => bail!("TIMEOUT"),
    }
}

fn duration(text: &str) -> Option<Duration> {
    let (number, unit) = text.split_at(text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len()));
    let number: f64 = number.parse().ok()?;
    match unit {
        "ms" => Some(Duration::from_secs_f64(number / 1000.0)),
        "s" | "" => Some(Duration::from_secs_f64(number)),
        "m" => Some(Duration::from_secs_f64(number * 60.0)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        assert_eq!(duration("500ms"), Some(Duration::from_millis(500)));
        assert_eq!(duration("5s"), Some(Duration::from_secs(5)));
        assert_eq!(duration("x"), None);
    }
}
