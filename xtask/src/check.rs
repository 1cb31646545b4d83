//! What CI asks for, cheapest first; stops at the first thing that is wrong.

use anyhow::{Context, Result, bail, ensure};

use crate::{cargo, labs, read, shell, test, tidy};

pub(crate) fn run(options: &test::Options) -> Result<()> {
    shell::run(cargo().args(["fmt", "--all", "--check"]))?;
    tidy::run()?;
    labs::check()?;
    rust_version()?;
    shell::run(cargo().args(["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]))?;
    shell::run(cargo().args(["doc", "--workspace", "--no-deps"]).env("RUSTDOCFLAGS", "-D warnings"))?;
    test::run(options)
}

/// The README promises a version of Rust, the manifest claims it, and this machine has at least that one.
fn rust_version() -> Result<()> {
    let manifest = read("Cargo.toml")?;
    let claim = manifest.lines().find_map(|line| line.strip_prefix("rust-version = ")).context("Cargo.toml claims no rust-version")?;
    let claim = claim.trim_matches('"');
    let version = shell::output("rustc", &["--version"]).context("cannot run rustc --version")?;
    let version = version.split_whitespace().nth(1).context("rustc --version says nothing")?.to_owned();
    ensure!(minor(&version)? >= minor(claim)?, "Cargo.toml asks for Rust {claim}, this is {version}");
    if !read("README.md")?.lines().any(|line| line.contains("Rust") && line.contains(claim)) {
        bail!("README.md does not say that it needs Rust {claim}");
    }
    let proof = if minor(&version)? == minor(claim)? { "proven by this run" } else { "not proven by this run, which uses a newer one" };
    println!("rust-version {claim}: {proof} ({version})");
    Ok(())
}

fn minor(version: &str) -> Result<u32> {
    let minor = version.split('.').nth(1).and_then(|minor| minor.split('-').next());
    minor.and_then(|minor| minor.parse().ok()).with_context(|| format!("not a version: {version}"))
}
