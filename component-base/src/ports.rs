//! Where components of the control plane listen where nothing else is said (upstream `cluster/ports`).

pub const CONTROLLER_MANAGER: u16 = 10257;
pub const SCHEDULER: u16 = 10259;
