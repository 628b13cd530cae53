//! `knetsim net`: cut a link, see what breaks, mend it.

use crate::launcher::control::{Request, ask};
use crate::layout::Layout;

#[derive(clap::Subcommand)]
pub enum NetCommand {
    /// Cut A off from B: a node from its cluster, a cluster from `wan`, or any two nodes, clusters or `outside`
    Cut { a: String, b: String },
    /// Undo a cut
    Mend { a: String, b: String },
}

/// # Errors
/// When the ends are unknown, or the link is in that state already.
pub fn run(layout: &Layout, command: &NetCommand) -> anyhow::Result<()> {
    super::running(layout)?;
    let (request, said) = match command {
        NetCommand::Cut { a, b } => {
            (Request::Cut { a: a.clone(), b: b.clone() }, format!("{a} and {b} are cut off from each other"))
        }
        NetCommand::Mend { a, b } => {
            (Request::Mend { a: a.clone(), b: b.clone() }, format!("{a} and {b} are connected again"))
        }
    };
    runtime::block_on(ask(layout, &request))?;
    println!("{said}");
    Ok(())
}
