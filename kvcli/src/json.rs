//! The JSON that scripts rely on, on standard output and, for errors, on standard error: one document per line, its fields in this
//! order. Fields are only ever added.

use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD as STANDARD, BASE64_STANDARD_NO_PAD as STANDARD_NO_PAD};
use kvcli::overview::role_name;
use kvcli::{Overview, Tried};
use serde::Serialize;
use wire::NodeStatus;

/// A put or an append.
#[derive(Serialize)]
pub(crate) struct Written {
    pub(crate) version: u64,
    pub(crate) position: u64,
}

/// A delete.
#[derive(Serialize)]
pub(crate) struct Deleted {
    pub(crate) existed: bool,
    pub(crate) position: u64,
}

/// A cas.
#[derive(Serialize)]
pub(crate) struct Swapped {
    pub(crate) swapped: bool,
    /// The key's from now on, swapped or not; 0: no such key.
    pub(crate) version: u64,
    pub(crate) position: u64,
}

/// A get that found something. Bytes that are not UTF-8 are in base 64, in the field with that name.
#[derive(Serialize)]
pub(crate) struct Found<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_b64: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value_b64: Option<String>,
    version: u64,
    modified: u64,
    position: u64,
}

impl<'a> Found<'a> {
    pub(crate) fn new(key: &'a [u8], value: &'a wire::Value, position: raft::Index) -> Found<'a> {
        let (key, key_b64) = text_or_base64(key);
        let (text, value_b64) = text_or_base64(&value.value);
        Found { key, key_b64, value: text, value_b64, version: value.version, modified: value.modified.0, position: position.0 }
    }
}

/// A key of a scan.
#[derive(Serialize)]
pub(crate) struct Item<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_b64: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value_b64: Option<String>,
    version: u64,
}

impl<'a> Item<'a> {
    pub(crate) fn new(item: &'a wire::Item, keys_only: bool) -> Item<'a> {
        let (key, key_b64) = text_or_base64(&item.key);
        let (value, value_b64) = if keys_only { (None, None) } else { text_or_base64(&item.value) };
        Item { key, key_b64, value, value_b64, version: item.version }
    }
}

/// What `load` needs to know of a key: nothing that another cluster would count differently.
#[derive(Serialize)]
pub(crate) struct Pair<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_b64: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value_b64: Option<String>,
}

impl<'a> Pair<'a> {
    pub(crate) fn new(key: &'a [u8], value: &'a [u8]) -> Pair<'a> {
        let ((key, key_b64), (value, value_b64)) = (text_or_base64(key), text_or_base64(value));
        Pair { key, key_b64, value, value_b64 }
    }
}

/// How old a stale read may be.
#[derive(Serialize)]
pub(crate) struct Age {
    pub(crate) position: u64,
    pub(crate) age_ms: Option<u64>,
}

/// A dump that is complete.
#[derive(Serialize)]
pub(crate) struct Dumped {
    pub(crate) position: u64,
    pub(crate) keys: u64,
}

/// A load that is complete.
#[derive(Serialize)]
pub(crate) struct Loaded {
    pub(crate) lines: u64,
    /// Of the last write; null if there was none.
    pub(crate) position: Option<u64>,
}

/// A wait that is over.
#[derive(Serialize)]
pub(crate) struct Ready<'a> {
    pub(crate) verdict: &'static str,
    pub(crate) leader: Option<String>,
    pub(crate) nodes: Vec<&'a str>,
}

/// Any failure.
#[derive(Serialize)]
pub(crate) struct Error {
    pub(crate) code: u8,
    pub(crate) message: String,
    pub(crate) outcome: Option<&'static str>,
    pub(crate) resume: Option<String>,
    pub(crate) endpoints: Vec<Endpoint>,
}

/// One endpoint that did not help.
#[derive(Serialize)]
pub(crate) struct Endpoint {
    address: String,
    reason: String,
}

impl Endpoint {
    pub(crate) fn new(tried: &Tried) -> Endpoint {
        Endpoint { address: tried.address.clone(), reason: tried.reason.to_string() }
    }
}

/// How a cluster is.
#[derive(Serialize)]
pub(crate) struct Status<'a> {
    cluster_id: Option<String>,
    verdict: &'static str,
    nodes: Vec<Node<'a>>,
}

/// How a member is; of one that does not answer, what the others know.
#[derive(Serialize)]
struct Node<'a> {
    name: Option<&'a str>,
    id: Option<u64>,
    client_addr: &'a str,
    peer_addr: Option<&'a str>,
    reachable: bool,
    reason: Option<String>,
    role: Option<&'static str>,
    voter: Option<bool>,
    leader: Option<u64>,
    term: Option<u64>,
    first_log_index: Option<u64>,
    last_log_index: Option<u64>,
    commit_index: Option<u64>,
    applied_index: Option<u64>,
    snapshot_index: Option<u64>,
    log_bytes: Option<u64>,
    snapshot_bytes: Option<u64>,
    keys: Option<u64>,
    data_bytes: Option<u64>,
    sessions: Option<u64>,
    /// As text: a JSON number has no room for all of its 64 bits.
    state_digest: Option<String>,
    digest_index: Option<u64>,
    peer_messages_received: Option<u64>,
    peer_bytes: Option<u64>,
    fsync_us_p99: Option<u64>,
    uptime_ms: Option<u64>,
    version: Option<&'a str>,
}

impl<'a> Status<'a> {
    pub(crate) fn new(overview: &'a Overview) -> Status<'a> {
        Status {
            cluster_id: overview.cluster_id.map(|id| id.to_string()),
            verdict: overview.verdict.name(),
            nodes: overview.rows.iter().map(Node::new).collect(),
        }
    }
}

impl<'a> Node<'a> {
    fn new(row: &'a kvcli::overview::Row) -> Node<'a> {
        let (member, status) = (row.member.as_ref(), row.status());
        let number = |field: fn(&NodeStatus) -> u64| status.map(field);
        Node {
            name: member.map(|member| member.name.as_str()).or(status.map(|status| status.name.as_str())),
            id: member.map(|member| member.id).or(status.map(|status| status.id)).map(|id| id.0),
            client_addr: status.map_or(&row.address, |status| &status.client_addr),
            peer_addr: status.map(|status| status.peer_addr.as_str()).or(member.map(|member| member.peer_addr.as_str())),
            reachable: status.is_some(),
            reason: row.problem(),
            role: status.map(|status| role_name(status.role)),
            voter: member.map(|member| member.voter).or(status.map(|status| status.voter)),
            leader: status.and_then(|status| status.leader).map(|leader| leader.0),
            term: number(|status| status.term.0),
            first_log_index: number(|status| status.first_log_index.0),
            last_log_index: number(|status| status.last_log_index.0),
            commit_index: number(|status| status.commit_index.0),
            applied_index: number(|status| status.applied_index.0),
            snapshot_index: number(|status| status.snapshot_index.0),
            log_bytes: number(|status| status.log_bytes),
            snapshot_bytes: number(|status| status.snapshot_bytes),
            keys: number(|status| status.keys),
            data_bytes: number(|status| status.data_bytes),
            sessions: number(|status| status.sessions),
            state_digest: status.map(|status| format!("{:016x}", status.state_digest)),
            digest_index: number(|status| status.digest_index.0),
            peer_messages_received: number(|status| status.peer_messages_received),
            peer_bytes: number(|status| status.peer_bytes),
            fsync_us_p99: number(|status| status.fsync_us_p99),
            uptime_ms: number(|status| status.uptime_ms),
            version: status.map(|status| status.version.as_str()),
        }
    }
}

fn text_or_base64(bytes: &[u8]) -> (Option<&str>, Option<String>) {
    match str::from_utf8(bytes) {
        Ok(text) => (Some(text), None),
        Err(_) => (None, Some(STANDARD.encode(bytes))),
    }
}

/// Bytes as JSON carries them: standard base 64, with or without its padding. `None`: it is not that.
pub(crate) fn from_base64(text: &str) -> Option<Vec<u8>> {
    STANDARD_NO_PAD.decode(text.trim_end_matches('=')).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn base64_is_read_one_way_only() {
        for text in ["Z", "Zh", "Zm9", "Zm9vY", "Zg!", "Zm 8", "Zg==Zg"] {
            assert_eq!(from_base64(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn base64_comes_back(bytes: Vec<u8>) {
            let text = STANDARD.encode(&bytes);
            prop_assert_eq!(from_base64(&text), Some(bytes.clone()));
            prop_assert_eq!(from_base64(text.trim_end_matches('=')), Some(bytes));
        }
    }
}
