//! Build and copy.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use crate::shell;

pub(crate) fn run(args: &[&str]) -> Result<()> {
    let prefix = match args {
        [] => default_prefix()?,
        ["--prefix", prefix] => PathBuf::from(prefix),
        _ => bail!("usage: cargo xtask install [--prefix DIR]"),
    };
    shell::run(crate::cargo().args(["build", "--release", "-p", "kvnode", "-p", "kvcli", "-p", "chaos"]))?;
    let bin = prefix.join("bin");
    std::fs::create_dir_all(&bin).with_context(|| format!("cannot create {}", bin.display()))?;
    for program in ["kvnode", "kvcli", "chaos"] {
        // A running program cannot be written to, but it can be replaced.
        let (new, place) = (bin.join(format!(".{program}.new")), bin.join(program));
        std::fs::copy(crate::target_dir().join("release").join(program), &new)
            .with_context(|| format!("cannot write {}", new.display()))?;
        std::fs::rename(&new, &place).with_context(|| format!("cannot replace {}", place.display()))?;
        println!("installed {}", place.display());
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    if !std::env::split_paths(&path).any(|dir| dir == bin) {
        println!("{} is not in your PATH: export PATH={}:$PATH", bin.display(), bin.display());
    }
    Ok(())
}

/// Where everybody finds it if we may write there, else this user's own place.
fn default_prefix() -> Result<PathBuf> {
    if shell::output("id", &["-u"]).is_some_and(|uid| uid.trim() == "0") {
        return Ok("/usr/local".into());
    }
    let home = std::env::var_os("HOME").context("HOME is not set: say --prefix DIR")?;
    Ok(PathBuf::from(home).join(".local"))
}
