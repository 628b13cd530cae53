//! What a person types.

mod down;
mod exec;
mod logs;
mod net;
mod status;
mod system;
mod up;
mod usable;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use crate::layout::Layout;

/// A whole Kubernetes on one machine: the real API, real network namespaces, real CNI, real nftables.
#[derive(Parser)]
#[command(name = "knetsim", version, propagate_version = true)]
struct Cli {
    /// Where everything is kept [default: $XDG_DATA_HOME/knetsim or ~/.local/share/knetsim]
    #[arg(long, global = true, env = "KNETSIM_DATA_DIR")]
    data_dir: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Start the emulator and wait until it is usable
    Up(up::Args),
    /// Stop it; objects are kept for the next `up`
    Down(down::Args),
    /// Show clusters, nodes, processes and cut links
    Status,
    /// Run a command on a node, or in the network of a pod ([CONTEXT/]NAMESPACE/POD)
    Exec(exec::Args),
    /// Open a shell on a node, or in the network of a pod
    Shell(exec::ShellArgs),
    /// Print the path of the kubeconfig, or the kubeconfig itself
    Kubeconfig {
        /// Print the file's text
        #[arg(long)]
        raw: bool,
    },
    /// Container images
    #[command(subcommand)]
    Image(ImageCommand),
    /// Show the log of a component, such as `c0/apiserver` or `c0/c0w1-kubelet`
    Logs(logs::Args),
    /// Cut and mend links
    #[command(subcommand)]
    Net(net::NetCommand),
    /// Print completions for a shell
    Completions { shell: clap_complete::Shell },
}

#[derive(Subcommand)]
enum ImageCommand {
    /// Load an image from an OCI layout or docker-archive file into the store all nodes share
    Load { archive: PathBuf },
    /// Pull images from their registries into that store (by skopeo, as you, with your credentials)
    Pull {
        #[arg(required = true)]
        names: Vec<String>,
    },
}

/// Parses and runs; an error is one line, or as many as there are things to say.
pub fn main(args: Vec<OsString>) -> ExitCode {
    let cli = Cli::parse_from(args);
    // `up` must live on when nobody reads its progress: the launcher is being watched.
    if !matches!(cli.command, Command::Up(_)) {
        kernel::process::end_with_the_pipe();
    }
    let layout = Layout::new(cli.data_dir.unwrap_or_else(Layout::default_root));
    let result = match cli.command {
        Command::Up(args) => up::run(&layout, &args),
        Command::Down(args) => down::run(&layout, &args),
        Command::Status => status::run(&layout),
        Command::Exec(args) => return finish(exec::run(&layout, &args)),
        Command::Shell(args) => return finish(exec::shell(&layout, &args)),
        Command::Kubeconfig { raw } => kubeconfig(&layout, raw),
        Command::Image(ImageCommand::Load { archive }) => load_image(&layout, &archive),
        Command::Image(ImageCommand::Pull { names }) => pull_images(&layout, &names),
        Command::Logs(args) => logs::run(&layout, &args),
        Command::Net(command) => net::run(&layout, &command),
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "knetsim", &mut std::io::stdout());
            Ok(())
        }
    };
    finish(result.map(|()| ExitCode::SUCCESS))
}

fn finish(result: anyhow::Result<ExitCode>) -> ExitCode {
    result.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}

fn kubeconfig(layout: &Layout, raw: bool) -> anyhow::Result<()> {
    let path = layout.kubeconfig();
    anyhow::ensure!(path.exists(), "there is no kubeconfig yet: run `knetsim up` first");
    if raw {
        print!("{}", std::fs::read_to_string(path)?);
    } else {
        println!("{}", path.display());
    }
    Ok(())
}

fn load_image(layout: &Layout, archive: &std::path::Path) -> anyhow::Result<()> {
    for name in kubelet_lite::images::load(&layout.images(), archive)? {
        println!("Loaded image: {name}");
    }
    Ok(())
}

fn pull_images(layout: &Layout, names: &[String]) -> anyhow::Result<()> {
    for name in names {
        let image = kubelet_lite::images::fetch(&layout.images(), name)?;
        println!("Pulled image: {image}");
    }
    Ok(())
}

/// The launcher that must be running for this command.
fn running(layout: &Layout) -> anyhow::Result<crate::layout::LauncherInfo> {
    layout.running().ok_or_else(|| {
        anyhow::anyhow!(
            "nothing is running with the data folder {} ({}): start it with `knetsim up`",
            layout.root().display(),
            layout.why_not_running()
        )
    })
}
