//! A cluster, from what all its members say of themselves: how it is, and whether that is good.

use std::collections::{BTreeMap, BTreeSet};

use raft::{ClusterId, Index, NodeId, Term};
use wire::status::MemberStatus;
use wire::{NodeStatus, RoleName};

use crate::reason::{Reason, Tried};

/// How a cluster is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Verdict {
    /// A leader, and every member answers and follows it.
    Healthy,
    /// A leader and a majority; some member does not answer, or does not follow.
    Degraded,
    /// No leader that a majority follows: writes and reads wait.
    NoQuorum,
    /// It never had all its members together: it serves nothing yet.
    Forming,
    /// Nobody answers.
    Unreachable,
}

impl Verdict {
    /// As it is written in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Verdict::Healthy => "healthy",
            Verdict::Degraded => "degraded",
            Verdict::NoQuorum => "no-quorum",
            Verdict::Forming => "forming",
            Verdict::Unreachable => "unreachable",
        }
    }
}

/// A member, or an endpoint of which nobody knows whose it is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Row {
    /// What the cluster knows of it; `None`: an endpoint that did not answer.
    pub member: Option<MemberStatus>,
    /// Where it was asked; empty: it has announced no address.
    pub address: String,
    /// What it says, or why it says nothing.
    pub answer: Result<Box<NodeStatus>, Option<Reason>>,
}

impl Row {
    /// What it says.
    pub fn status(&self) -> Option<&NodeStatus> {
        self.answer.as_deref().ok()
    }

    /// Whether its vote counts.
    pub fn is_voter(&self) -> bool {
        self.member.as_ref().map_or_else(|| self.status().is_some_and(|status| status.voter), |member| member.voter)
    }

    /// Its name, or else its address.
    pub fn name(&self) -> &str {
        match (&self.member, &self.answer) {
            (Some(member), _) => &member.name,
            (None, Ok(status)) => &status.name,
            (None, Err(_)) => &self.address,
        }
    }

    /// Why it does not serve, if it does not.
    pub fn problem(&self) -> Option<String> {
        match &self.answer {
            Ok(_) if self.member.is_none() => Some("not a member".into()),
            Ok(status) if status.leader.is_none() => Some("knows no leader".into()),
            Ok(_) => None,
            Err(Some(reason)) => Some(reason.to_string()),
            Err(None) => Some("has announced no address yet".into()),
        }
    }

    fn id(&self) -> Option<NodeId> {
        self.member.as_ref().map(|member| member.id).or_else(|| self.status().map(|status| status.id))
    }
}

/// All members, in order of their ids, then endpoints of which nobody knows whose they are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Overview {
    /// Which cluster; `None` if nobody answers.
    pub cluster_id: Option<ClusterId>,
    /// How it is.
    pub verdict: Verdict,
    /// The leader of the highest term that a majority follows.
    pub leader: Option<NodeId>,
    /// Everybody.
    pub rows: Vec<Row>,
}

impl Overview {
    /// Puts together who was asked where, and what came back.
    pub fn new(answers: BTreeMap<String, Result<Box<NodeStatus>, Option<Reason>>>) -> Overview {
        // The node that is furthest knows the members best.
        let newest = answers.values().flatten().max_by_key(|status| (status.formed, status.applied_index)).cloned();
        let Some(newest) = newest else {
            let rows = answers.into_iter().map(|(address, answer)| Row { member: None, address, answer }).collect();
            return Overview { cluster_id: None, verdict: Verdict::Unreachable, leader: None, rows };
        };
        let mut answered: BTreeMap<NodeId, (String, Box<NodeStatus>)> = BTreeMap::new();
        let mut silent = BTreeMap::new();
        for (address, answer) in answers {
            match answer {
                Ok(status) => {
                    answered.entry(status.id).or_insert((address, status));
                }
                Err(reason) => {
                    silent.insert(address, reason);
                }
            }
        }
        let mut members: Vec<MemberStatus> = newest.members.clone();
        members.sort_by_key(|member| member.id);
        let mut rows: Vec<Row> = Vec::new();
        for member in members {
            let row = match answered.remove(&member.id) {
                Some((address, status)) => Row { address, answer: Ok(status), member: Some(member) },
                None => {
                    let address = member.client_addr.clone();
                    let reason = silent.remove(&address).flatten();
                    Row { address, answer: Err(reason), member: Some(member) }
                }
            };
            rows.push(row);
        }
        rows.extend(answered.into_values().map(|(address, status)| Row { member: None, address, answer: Ok(status) }));
        rows.extend(silent.into_iter().map(|(address, reason)| Row { member: None, address, answer: Err(reason) }));
        let leader = leader_of(&rows);
        Overview { cluster_id: Some(newest.cluster_id), verdict: verdict_of(&rows, leader), leader, rows }
    }

    /// Addresses of members that some node knows of; empty ones are not announced.
    pub fn known_addresses(status: &NodeStatus) -> impl Iterator<Item = &str> {
        status.members.iter().map(|member| member.client_addr.as_str()).filter(|address| !address.is_empty())
    }

    /// Voters, and how many of them follow the leader; without a leader, how many of them answer. A member that answers and follows nobody
    /// (a wiped one is refused by the others) is no help when another fails.
    pub fn voters(&self) -> (usize, usize) {
        let voters = || self.rows.iter().filter(|row| row.is_voter());
        let up = voters().filter(|row| match self.leader {
            Some(leader) => follows(row, leader),
            None => row.answer.is_ok(),
        });
        (voters().count(), up.count())
    }

    /// How many more members may fail before nothing is served.
    pub fn can_lose(&self) -> usize {
        let (voters, up) = self.voters();
        up.saturating_sub(voters / 2 + 1)
    }

    /// The highest term that any node knows of.
    pub fn term(&self) -> Option<Term> {
        self.rows.iter().filter_map(Row::status).map(|status| status.term).max()
    }

    /// A member's name.
    pub fn name_of(&self, id: NodeId) -> String {
        self.rows.iter().find(|row| row.id() == Some(id)).map_or_else(|| id.to_string(), |row| row.name().to_string())
    }

    /// The highest index that the leader has committed.
    pub fn committed(&self) -> Option<Index> {
        self.rows.iter().filter_map(Row::status).find(|status| Some(status.id) == self.leader).map(|status| status.commit_index)
    }

    /// Whether every member answers and has applied this much.
    pub fn all_applied(&self, index: Index) -> bool {
        let mut members = self.rows.iter().filter(|row| row.member.is_some());
        members.all(|row| row.status().is_some_and(|status| status.applied_index >= index))
    }

    /// Who did not answer, and why.
    pub fn tried(&self) -> Vec<Tried> {
        let tried = self.rows.iter().filter_map(|row| match &row.answer {
            Err(Some(reason)) => Some(Tried { address: row.address.clone(), reason: reason.clone() }),
            Ok(_) | Err(None) => None,
        });
        tried.collect()
    }

    /// One line: the verdict, and what it rests on.
    pub fn headline(&self) -> String {
        let verdict = self.verdict.name();
        let (voters, up) = self.voters();
        let absent: Vec<&str> = self.rows.iter().filter(|row| row.member.is_some() && row.answer.is_err()).map(Row::name).collect();
        let absent = if absent.is_empty() { String::new() } else { format!("; no answer from {}", absent.join(", ")) };
        let term = self.term().unwrap_or_default();
        match self.verdict {
            Verdict::Healthy | Verdict::Degraded => {
                let leader = self.leader.map_or_else(|| "none".into(), |leader| self.name_of(leader));
                format!("{verdict}: {up}/{voters} voters, leader {leader}, term {}, can lose {}{absent}", term.0, self.can_lose())
            }
            Verdict::NoQuorum => format!("{verdict}: {up}/{voters} voters, no leader that a majority follows, term {}{absent}", term.0),
            Verdict::Forming => {
                let announced: BTreeSet<NodeId> = self
                    .rows
                    .iter()
                    .filter_map(Row::status)
                    .flat_map(|status| status.members.iter().filter(|member| member.announced).map(|member| member.id))
                    .collect();
                let is_missing = |row: &&Row| row.id().is_some_and(|id| !announced.contains(&id)) && row.answer.is_err();
                let missing: Vec<&str> = self.rows.iter().filter(is_missing).map(Row::name).collect();
                let missing = if missing.is_empty() { "its first leader".into() } else { missing.join(", ") };
                format!("{verdict}: {up}/{voters} voters, waits for {missing}")
            }
            Verdict::Unreachable => format!("{verdict}: nobody answers"),
        }
    }
}

/// As it is written in JSON.
pub fn role_name(role: RoleName) -> &'static str {
    match role {
        RoleName::Follower => "follower",
        RoleName::PreCandidate => "pre-candidate",
        RoleName::Candidate => "candidate",
        RoleName::Leader => "leader",
        RoleName::Learner => "learner",
    }
}

/// Whether this member says that it follows `leader`, or is it.
fn follows(row: &Row, leader: NodeId) -> bool {
    row.status().is_some_and(|status| status.id == leader || status.leader == Some(leader))
}

/// The leader of the highest term, if a majority of all voters follows it in that term. A leader that was cut off calls itself one
/// for a moment; a majority does not.
fn leader_of(rows: &[Row]) -> Option<NodeId> {
    let voters = || rows.iter().filter(|row| row.is_voter());
    let leader = voters().filter_map(Row::status).filter(|status| status.role == RoleName::Leader).max_by_key(|status| status.term)?;
    let in_its_term = |row: &&Row| row.status().is_some_and(|status| status.term == leader.term);
    let followers = voters().filter(in_its_term).filter(|row| follows(row, leader.id));
    (followers.count() > voters().count() / 2).then_some(leader.id)
}

fn verdict_of(rows: &[Row], leader: Option<NodeId>) -> Verdict {
    let formed = rows.iter().filter_map(Row::status).any(|status| status.formed);
    let Some(leader) = leader else { return if formed { Verdict::NoQuorum } else { Verdict::Forming } };
    match formed {
        false => Verdict::Forming,
        true if rows.iter().filter(|row| row.member.is_some()).all(|row| follows(row, leader)) => Verdict::Healthy,
        true => Verdict::Degraded,
    }
}
