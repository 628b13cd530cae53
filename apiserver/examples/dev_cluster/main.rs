//! An API server for development and tests, without the launcher: makes keys, certificates and a kubeconfig in a folder, and
//! serves on a loopback port.
//!
//! `cargo run -p knetsim-apiserver --example dev_cluster -- --dir /tmp/x --port 7443`, then `kubectl --kubeconfig /tmp/x/admin.conf`.

mod pki;

use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;

use anyhow::Context;
use clap::Parser;
#[derive(Parser)]
struct Flags {
    /// Where keys, kubeconfigs and the store are put; what is there already is used again.
    #[arg(long)]
    dir: PathBuf,
    #[arg(long, default_value_t = 7443)]
    port: u16,
    /// etcd to use instead of the embedded store.
    #[arg(long)]
    etcd: Option<String>,
    /// Names of nodes to make kubelet certificates and kubeconfigs for.
    #[arg(long, value_delimiter = ',')]
    nodes: Vec<String>,
}

fn main() -> anyhow::Result<()> {
    let flags = Flags::parse();
    fs::create_dir_all(flags.dir.join("pki"))?;
    if !flags.dir.join("admin.conf").exists() {
        pki::write(&flags.dir, flags.port, &flags.nodes).context("make certificates")?;
    }
    let pki = flags.dir.join("pki");
    let file = |name: &str| pki.join(name).into_os_string();
    let mut args: Vec<OsString> = vec!["apiserver".into()];
    let mut flag = |name: &str, value: OsString| args.extend([OsString::from(name), value]);
    flag("--bind-address", "127.0.0.1".into());
    flag("--secure-port", flags.port.to_string().into());
    flag("--tls-cert-file", file("apiserver.crt"));
    flag("--tls-private-key-file", file("apiserver.key"));
    flag("--client-ca-file", file("ca.crt"));
    flag("--requestheader-client-ca-file", file("front-proxy-ca.crt"));
    flag("--requestheader-allowed-names", "front-proxy-client".into());
    flag("--proxy-client-cert-file", file("front-proxy-client.crt"));
    flag("--proxy-client-key-file", file("front-proxy-client.key"));
    flag("--kubelet-client-certificate", file("apiserver-kubelet-client.crt"));
    flag("--kubelet-client-key", file("apiserver-kubelet-client.key"));
    flag("--service-account-key-file", file("sa.pub"));
    flag("--service-account-signing-key-file", file("sa.key"));
    flag("--enable-bootstrap-token-auth", "true".into());
    match flags.etcd {
        Some(servers) => {
            flag("--storage-backend", "etcd3".into());
            flag("--etcd-servers", servers.into());
        }
        None => flag("--store-dir", flags.dir.join("store").into_os_string()),
    }
    apiserver::run(args)
}
