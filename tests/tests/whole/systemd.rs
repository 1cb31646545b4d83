//! Nodes as services, installed as the README says, on a machine with a systemd of its own.

use tests::host;
use tests::machine::Machine;
use tests::wait::{PATIENCE, wait_until};

const NAMES: [&str; 3] = ["n1", "n2", "n3"];

const KVCLI: &str = "kvcli --endpoints 10.0.0.1,10.0.0.2,10.0.0.3";

#[test]
fn services_as_the_readme_installs_them_serve_come_back_when_killed_and_stop_with_0() {
    if host::lacks("systemd", "services_as_the_readme_installs_them_serve_come_back_when_killed_and_stop_with_0") {
        return;
    }
    let machine = Machine::with_services();
    machine.run(&format!("{KVCLI} put city Turin"));
    for name in NAMES {
        let unit = format!("kvnode@{name}");
        assert_eq!(machine.property(&unit, "ActiveState"), "active");
        assert!(machine.property(&unit, "StatusText").starts_with(name), "the status line says how it is");
        let pid = machine.property(&unit, "MainPID");
        assert_eq!(machine.run(&format!("stat -c %U /proc/{pid}")), "kvnode");
        assert_eq!(machine.run(&format!("stat -c '%a %U' /var/lib/kvnode/{name}")), "700 kvnode");
    }
    let before = machine.number("kvnode@n1", "MainPID");
    machine.run("systemctl kill --signal=SIGKILL kvnode@n1");
    wait_until("systemd has started it again", PATIENCE, || {
        machine.number("kvnode@n1", "NRestarts") == 1 && ![0, before].contains(&machine.number("kvnode@n1", "MainPID"))
    });
    machine.wait_healthy();
    assert_eq!(machine.run(&format!("{KVCLI} get city")), "Turin");

    machine.run("systemctl stop kvnode@n1 kvnode@n2 kvnode@n3");
    for name in NAMES {
        let unit = format!("kvnode@{name}");
        let ended = ["ActiveState", "Result", "ExecMainStatus"].map(|property| machine.property(&unit, property));
        assert_eq!(ended, ["inactive", "success", "0"], "{unit}");
    }
    machine.run("systemctl start kvnode@n1 kvnode@n2 kvnode@n3");
    assert_eq!(machine.run(&format!("{KVCLI} get city")), "Turin");
}

#[test]
fn a_service_with_a_damaged_log_stays_down_and_says_where() {
    if host::lacks("systemd", "a_service_with_a_damaged_log_stays_down_and_says_where") {
        return;
    }
    let machine = Machine::with_services();
    machine.run(&format!("{KVCLI} put city Turin; systemctl stop kvnode@n1"));
    // A letter of the entry, in the middle of the log.
    machine.run(
        "cd /var/lib/kvnode/n1/log; file=$(grep -l Turin *); at=$(grep -abo Turin $file | head -n 1 | cut -d: -f1)
        printf X | dd of=$file bs=1 seek=$at conv=notrunc status=none; kvcli --endpoints 10.0.0.2 put city Rome",
    );
    let ran = machine.try_run("systemctl start kvnode@n1").expect("systemctl runs");
    ran.expect_code(1);
    let ended = ["ActiveState", "ExecMainStatus", "NRestarts"].map(|property| machine.property("kvnode@n1", property));
    assert_eq!(ended, ["failed", "65", "0"], "nothing mends itself by starting again");
    let journal = machine.run("systemctl status kvnode@n1 || true");
    assert!(journal.contains("/var/lib/kvnode/n1/log"), "{journal}");
    assert_eq!(machine.run("kvcli --endpoints 10.0.0.2 get city"), "Rome", "the others serve");
}
