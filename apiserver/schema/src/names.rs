/// Each returns what is wrong (upstream's messages); empty is fine.
#[must_use]
pub fn dns1123_label(_value: &str) -> Vec<String> { todo!() }
#[must_use]
pub fn dns1123_subdomain(_value: &str) -> Vec<String> { todo!() }
#[must_use]
pub fn dns1035_label(_value: &str) -> Vec<String> { todo!() }
#[must_use]
pub fn qualified_name(_value: &str) -> Vec<String> { todo!() }
#[must_use]
pub fn label_value(_value: &str) -> Vec<String> { todo!() }
/// A name usable as a path segment (RBAC names).
#[must_use]
pub fn path_segment(_value: &str) -> Vec<String> { todo!() }
/// A named port (IANA service name).
#[must_use]
pub fn port_name(_value: &str) -> Vec<String> { todo!() }
#[must_use]
pub fn config_map_key(_value: &str) -> Vec<String> { todo!() }
#[must_use]
pub fn c_identifier(_value: &str) -> Vec<String> { todo!() }
#[must_use]
pub fn env_var_name(_value: &str) -> Vec<String> { todo!() }
