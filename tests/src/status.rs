//! `kvcli status -o json`, read.

use serde_json::Value;

/// How a cluster says it is.
#[derive(Clone, Debug)]
pub struct Status(pub Value);

impl Status {
    /// `healthy`, `degraded`, `no-quorum`, `forming` or `unreachable`.
    pub fn verdict(&self) -> &str {
        self.0["verdict"].as_str().unwrap_or("no verdict")
    }

    /// What one node says of itself.
    pub fn node(&self, name: &str) -> &Value {
        let nodes = self.0["nodes"].as_array().expect("nodes");
        nodes.iter().find(|node| node["name"] == name).unwrap_or(&Value::Null)
    }

    /// A number that a node says of itself; `None` if it does not answer.
    pub fn number(&self, name: &str, field: &str) -> Option<u64> {
        self.node(name)[field].as_u64()
    }

    /// The names of all nodes that answer and call themselves leader.
    pub fn leaders(&self) -> Vec<(String, u64)> {
        let nodes = self.0["nodes"].as_array().expect("nodes");
        let leaders = nodes.iter().filter(|node| node["role"] == "leader" && node["reachable"] == true);
        leaders.map(|node| (node["name"].as_str().expect("a name").to_owned(), node["term"].as_u64().expect("a term"))).collect()
    }

    /// The highest term among the nodes that answer.
    pub fn term(&self) -> u64 {
        let nodes = self.0["nodes"].as_array().expect("nodes");
        nodes.iter().filter_map(|node| node["term"].as_u64()).max().unwrap_or(0)
    }
}
