//! The binaries under test, built if need be: a stale one would be worse than none.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The `kvnode` under test.
pub fn kvnode() -> PathBuf {
    directory().join("kvnode")
}

/// The `kvcli` under test.
pub fn kvcli() -> PathBuf {
    directory().join("kvcli")
}

/// A program, with nothing from our own environment that would change what its arguments mean.
pub fn command(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        if ["KVNODE_", "KVCLI_"].iter().any(|prefix| name.to_string_lossy().starts_with(prefix)) {
            command.env_remove(name);
        }
    }
    command
}

/// Where cargo builds.
pub fn target_dir() -> PathBuf {
    // A test program lies in TARGET/PROFILE/deps, another one in TARGET/PROFILE.
    let us = std::env::current_exe().expect("our own path");
    let profile = us.parent().expect("a directory");
    let profile = if profile.ends_with("deps") { profile.parent().expect("a directory") } else { profile };
    profile.parent().expect("a directory").to_owned()
}

/// `KVRAFT_BIN_DIR`, whose maker has built them; else they are built here, once.
fn directory() -> &'static Path {
    static DIRECTORY: OnceLock<PathBuf> = OnceLock::new();
    DIRECTORY.get_or_init(|| {
        if let Some(dir) = std::env::var_os("KVRAFT_BIN_DIR") {
            let dir = PathBuf::from(dir);
            for program in ["kvnode", "kvcli"] {
                assert!(dir.join(program).is_file(), "KVRAFT_BIN_DIR={}: no {program} there", dir.display());
            }
            return dir;
        }
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("a workspace");
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let build = ["build", "--quiet", "-p", "kvnode", "-p", "kvcli"];
        let status = Command::new(cargo).args(build).current_dir(root).status().expect("cargo runs");
        assert!(status.success(), "cargo {} failed: {status}", build.join(" "));
        target_dir().join("debug")
    })
}
