//! What the supervisor answers, for people.

use std::fmt::Write as _;

use serde_json::Value;

use crate::host::network::Backend;

/// As it is written on the command line.
pub(super) fn backend(backend: Backend) -> &'static str {
    match backend {
        Backend::Tun => "tun",
        Backend::Iptables => "iptables",
    }
}

/// Nodes, then faults.
pub(super) fn status(status: &Value) -> String {
    let mut text = String::new();
    let mut rows = vec![["NODE", "PROCESS", "ROLE", "TERM", "APPLIED", "PID", "CLIENTS AT"].map(String::from)];
    for node in list(&status["nodes"]) {
        let process = match word(&node["ended"]).as_str() {
            "-" => word(&node["process"]),
            ended => format!("ended: {ended}"),
        };
        let [name, role, term, applied, pid, address] =
            ["name", "role", "term", "applied_index", "pid", "client_addr"].map(|field| word(&node[field]));
        rows.push([name, process, role, term, applied, pid, address]);
    }
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..7).map(width).collect();
    for row in &rows {
        let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        let _ = writeln!(text, "{}", cells.join("  ").trim_end());
    }
    let _ = writeln!(text, "{}", word(&status["headline"]));
    for fault in list(&status["faults"]) {
        let ends = fault["ends_in_ms"].as_u64().map_or_else(String::new, |ms| format!(", {} to go", seconds(ms)));
        let since = seconds(fault["for_ms"].as_u64().unwrap_or(0));
        let so_far = effect(&fault["effect"]).unwrap_or("nothing yet".into());
        let _ = writeln!(text, "fault {}: {} ({}) for {since}{ends}: {so_far}", word(&fault["id"]), word(&fault["fault"]), names(fault));
    }
    text
}

/// A fault that has begun, and may be over.
pub(super) fn injected(fault: &Value) -> String {
    let over = if fault["over"].is_object() { format!(", done: {}", whole_effect(&fault["over"])) } else { String::new() };
    format!("fault {}: {} ({}){over}", word(&fault["id"]), word(&fault["fault"]), names(fault))
}

/// A fault that is over.
pub(super) fn healed(fault: &Value) -> String {
    format!("healed {}: {} ({}): {}", word(&fault["id"]), word(&fault["fault"]), names(fault), whole_effect(&fault["effect"]))
}

/// A fault on nodes of this very host: in force, healed, or over by itself.
pub(super) fn here(line: &Value) -> String {
    let whom = if list(&line["targets"]).is_empty() { String::new() } else { format!(" ({})", names(line)) };
    match (&line["effect"], &line["over"]) {
        (Value::Null, Value::Null) => format!("in force: {}{whom}; `chaos heal` undoes it", word(&line["fault"])),
        (Value::Null, done) => format!("done: {}{whom}: {}", word(&line["fault"]), whole_effect(done)),
        (done, _) => format!("healed: {}{whom}: {}", word(&line["fault"]), whole_effect(done)),
    }
}

fn whole_effect(done: &Value) -> String {
    effect(done).unwrap_or("it had no effect".into())
}

/// `None`: there is none.
fn effect(effect: &Value) -> Option<String> {
    let figures: Vec<String> = effect.as_object().into_iter().flatten().map(|(name, figure)| format!("{name} {figure}")).collect();
    (!figures.is_empty()).then(|| figures.join(", "))
}

fn names(fault: &Value) -> String {
    list(&fault["targets"]).iter().map(word).collect::<Vec<_>>().join(", ")
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

/// A text as it is, a number as it is written; nothing is a dash.
fn word(value: &Value) -> String {
    match value {
        Value::Null => "-".into(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn seconds(ms: u64) -> String {
    format!("{}.{} s", ms / 1000, ms % 1000 / 100)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_table_of_nodes_and_a_line_per_fault() {
        let shown = status(&json!({
            "nodes": [
                {"name": "n1", "process": "running", "role": "leader", "term": 3, "applied_index": 12, "pid": 7,
                 "client_addr": "10.117.0.1:7117"},
                {"name": "n2", "process": "ended", "ended": "exit code 65", "client_addr": "10.117.0.2:7117"},
            ],
            "headline": "degraded: 1/2 voters",
            "faults": [
                {"id": 4, "fault": "pause leader", "targets": ["n1"], "for_ms": 1234, "ends_in_ms": 500, "effect": {"stopped_ms": 1230}},
                {"id": 5, "fault": "loss 1% n2", "targets": ["n2"], "for_ms": 200, "effect": {}},
            ],
        }));
        let expected = "NODE  PROCESS              ROLE    TERM  APPLIED  PID  CLIENTS AT\n\
            n1    running              leader  3     12       7    10.117.0.1:7117\n\
            n2    ended: exit code 65  -       -     -        -    10.117.0.2:7117\n\
            degraded: 1/2 voters\nfault 4: pause leader (n1) for 1.2 s, 0.5 s to go: stopped_ms 1230\n\
            fault 5: loss 1% n2 (n2) for 0.2 s: nothing yet\n";
        assert_eq!(shown, expected);
    }

    #[test]
    fn a_fault_of_this_host_is_in_force_healed_or_done() {
        let shown = |more: &str, effect: Value| {
            let mut line = json!({"fault": "restart n1", "targets": ["n1"]});
            line[more] = effect;
            here(&line)
        };
        assert_eq!(shown("x", Value::Null), "in force: restart n1 (n1); `chaos heal` undoes it");
        assert_eq!(shown("effect", json!({"killed": 1})), "healed: restart n1 (n1): killed 1");
        assert_eq!(shown("over", json!({"killed": 1})), "done: restart n1 (n1): killed 1");
    }

    #[test]
    fn a_fault_without_an_effect_is_said_to_have_none() {
        let fault = json!({"id": 1, "fault": "loss 10% all", "targets": ["n1", "n2"], "effect": {}});
        assert_eq!(healed(&fault), "healed 1: loss 10% all (n1, n2): it had no effect");
        let fault = json!({"id": 2, "fault": "restart n1", "targets": ["n1"], "over": {"killed": 1, "down_ms": 9}});
        assert_eq!(injected(&fault), "fault 2: restart n1 (n1), done: down_ms 9, killed 1");
    }
}
