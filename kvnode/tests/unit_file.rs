//! The systemd unit that ships with the program.

use std::process::Command;

#[test]
fn systemd_finds_the_unit_hardened_to_an_exposure_of_at_most_1_5() {
    let unit = concat!(env!("CARGO_MANIFEST_DIR"), "/../packaging/systemd/kvnode@.service");
    let Ok(output) = Command::new("systemd-analyze").args(["security", "--offline=true", "--threshold=15", unit]).output() else {
        println!("not run: there is no systemd-analyze here");
        return;
    };
    assert!(output.status.success(), "{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
}

#[test]
fn every_setting_of_the_unit_names_a_flag_of_the_program() {
    let unit = include_str!("../../packaging/systemd/kvnode@.service");
    let help = Command::new(env!("CARGO_BIN_EXE_kvnode")).args(["run", "--help"]).output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let start = unit.lines().find_map(|line| line.strip_prefix("ExecStart=")).unwrap();
    for flag in start.split_whitespace().filter(|word| word.starts_with("--")) {
        assert!(help.contains(flag), "{flag}");
    }
    for variable in unit.split(|c: char| !c.is_ascii_uppercase() && c != '_').filter(|word| word.starts_with("KVNODE_")) {
        assert!(help.contains(variable), "{variable}");
    }
}
