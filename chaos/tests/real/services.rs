//! Nodes that systemd has started, on a machine of their own.

use std::time::{Duration, Instant};

use serde_json::Value;
use tests::host;
use tests::machine::Machine;
use tests::wait::{PATIENCE, let_pass, wait_until};

use crate::up::figure;

const DIR: &str = "/tmp/here";

/// Three services, and `chaos` beside them, which knows their units.
fn machine() -> Machine {
    let machine = Machine::with_services();
    machine.run(&format!("install -m 0755 {} /usr/bin/; mkdir {DIR}", env!("CARGO_BIN_EXE_chaos")));
    for number in 1..=3 {
        let entry = format!("[[node]]\nname = \"n{number}\"\nclient = \"10.0.0.{number}:7117\"\nunit = \"kvnode@n{number}\"");
        machine.run(&format!("echo '{entry}' >>{DIR}/nodes.toml"));
    }
    machine
}

fn inject(machine: &Machine, words: &str) -> Value {
    let ran = machine.run(&format!("chaos inject --dir {DIR} --nodes {DIR}/nodes.toml --yes-on-this-host --json {words}"));
    serde_json::from_str(&ran).expect("JSON")
}

fn heal(machine: &Machine) -> Value {
    let healed: Value = serde_json::from_str(&machine.run(&format!("chaos heal --dir {DIR} --json"))).expect("JSON");
    healed["effect"].clone()
}

#[test]
fn services_are_stopped_killed_and_started_by_their_units() {
    if host::lacks("systemd", "services_are_stopped_killed_and_started_by_their_units") {
        return;
    }
    let machine = machine();
    let paused = inject(&machine, "pause leader --for 300ms");
    assert!(figure(&paused["effect"], "stopped_ms") >= 290, "{paused}");

    let before = machine.number("kvnode@n2", "MainPID");
    inject(&machine, "restart n2");
    let after = machine.number("kvnode@n2", "MainPID");
    assert!(![0, before].contains(&after), "{before}, then {after}");
    machine.wait_healthy();

    // The unit of the package says Restart=on-failure: systemd does not wait for us.
    let begun = Instant::now();
    inject(&machine, "kill n1");
    wait_until("systemd has started it", PATIENCE, || machine.number("kvnode@n1", "NRestarts") == 1 && is_active(&machine, "n1"));
    let down_at_most = begun.elapsed() + Duration::from_millis(20);
    let_pass(Duration::from_secs(1));
    let effect = heal(&machine);
    let down = Duration::from_millis(figure(&effect, "down_ms"));
    assert!(figure(&effect, "killed") == 1 && down > Duration::from_millis(500) && down < down_at_most, "{effect}, {down_at_most:?}");
    machine.wait_healthy();

    // One that nobody else starts again.
    machine.run("mkdir /etc/systemd/system/kvnode@n3.service.d; systemctl stop kvnode@n3");
    machine.run("printf '[Service]\\nRestart=no\\n' >/etc/systemd/system/kvnode@n3.service.d/alone.conf");
    machine.run("systemctl daemon-reload; systemctl start kvnode@n3");
    inject(&machine, "kill n3");
    wait_until("it is down", PATIENCE, || machine.property("kvnode@n3", "ActiveState") == "failed");
    let effect = heal(&machine);
    assert!(figure(&effect, "killed") == 1 && figure(&effect, "down_ms") > 0, "{effect}");
    assert!(is_active(&machine, "n3"));
    machine.wait_healthy();
}

fn is_active(machine: &Machine, name: &str) -> bool {
    machine.property(&format!("kvnode@{name}"), "ActiveState") == "active"
}
