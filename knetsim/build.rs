//! Links the binary at a fixed address: some forty processes of it run at a time, and relocations would give each of them
//! more than a mebibyte of its own.
fn main() {
    println!("cargo:rustc-link-arg-bins=-no-pie");
    println!("cargo:rerun-if-changed=build.rs");
}
