//! Protocol stories: `tests/scripts/*`, one per file. Commands, then what every node did and said.
//! `UPDATE_GOLDENFILES=1 cargo test -p raft` writes the expected output; read the difference before you commit it.

use std::error::Error;
use std::str::FromStr;

use goldenscript::{ArgumentConsumer, Command, Context};
use raft::*;

use crate::cluster::{Cluster, Envelope, Start, config, notation};

/// Commands; nodes are written `n1`, and most commands take several.
///
/// ```text
/// cluster 3 [seed=N] [heartbeat=N] [append_bytes=N] [inflight=N] [uncommitted_bytes=N] [unsaved_bytes=N] [n1="1 1 2x3, t5, i2" ...]
///                       so many nodes; a log by the terms of its entries, then term and commit index
/// campaign n1           it asks for an election now          elect n1      the same, others listen, all settles
/// tick n1 .. [ticks=N] [gap=N]   ticks one by one, or a gap  tick_all [ticks=N]   every node, with deliveries
/// propose n1 [count=N] [bytes=N]   read n1 N   step_down n1   lost n1 leader=n2   unreachable n1 peer=n2
/// turn n1 ..            settle          deliver [from=n1] [to=n2] [max=N]   what is on its way now
/// drop [from=n1] [to=n2]   repeat [from=n1] [to=n2]   reverse   lose, double or turn round what is on its way
/// snapshot n1 ..   compact n1 [to=i2]   everything applied; all of it, or up to there, leaves the log
/// fetch n3 ..   install n3 ..   a whole snapshot from the leader that offered it; it replaces state and log
/// cut n1 n2   isolate n1   heal   crash n1 [save=lost|done] [installing=yes]   restart n1   hold n1   finish n1   saves stay under way, or end
/// status [n1 ..]   log [n1 ..]   progress n1           (a command in parentheses is not shown)
/// ```
struct Runner {
    cluster: Cluster,
}

impl goldenscript::Runner for Runner {
    type Command = Command;

    fn run(&mut self, command: &Command, _: &Context) -> Result<String, Box<dyn Error>> {
        let mut args = command.consume_args();
        let mut output = self.execute(&command.name, &mut args)?;
        args.reject_next()?;
        for line in self.cluster.trace.drain(..) {
            output.push_str(&line);
            output.push('\n');
        }
        Ok(output)
    }
}

impl Runner {
    fn execute(&mut self, name: &str, args: &mut ArgumentConsumer<'_>) -> Result<String, Box<dyn Error>> {
        let mut output = String::new();
        match name {
            "cluster" => self.cluster = build(args)?,
            "campaign" => nodes(args)?.into_iter().for_each(|node| {
                self.cluster.input(node, Raft::campaign);
                self.cluster.turn(node);
            }),
            "elect" => self.cluster.elect(node(args)?),
            "tick" => {
                let (ticks, gap) = (number(args, "ticks", 1)?, number(args, "gap", 1)?);
                for node in nodes(args)? {
                    (0..ticks).for_each(|_| self.cluster.tick(node, gap));
                }
            }
            "tick_all" => (0..number(args, "ticks", 1)?).for_each(|_| self.cluster.tick_all()),
            "propose" => {
                let (count, bytes) = (number(args, "count", 1)?, number(args, "bytes", 10)?);
                let node = node(args)?;
                for _ in 0..count {
                    output.push_str(&match self.cluster.input(node, |raft| raft.propose(bytes)) {
                        Ok(id) => format!("n{node} proposes {id}\n"),
                        Err(error) => format!("n{node} refuses: {error:?}\n"),
                    });
                }
            }
            "read" => {
                let (node, read) = (node(args)?, args.next_pos().ok_or("which read?")?.parse()?);
                if let Err(error) = self.cluster.read(node, read) {
                    output.push_str(&format!("n{node} refuses r{read}: {error:?}\n"));
                }
            }
            "step_down" => self.cluster.input(node(args)?, Raft::step_down),
            "lost" => {
                let leader = key_node(args, "leader")?.ok_or("leader=?")?;
                nodes(args)?.into_iter().for_each(|node| self.cluster.input(node, |raft| raft.leader_lost(NodeId(leader))));
            }
            "unreachable" => {
                let peer = key_node(args, "peer")?.ok_or("peer=?")?;
                self.cluster.input(node(args)?, |raft| raft.peer_unreachable(NodeId(peer)));
            }
            "turn" => nodes(args)?.into_iter().for_each(|node| self.cluster.turn(node)),
            "settle" => self.cluster.settle(),
            "deliver" => {
                let (chosen, kept) = self.choose(args)?;
                self.cluster.queue = kept.into();
                chosen.into_iter().for_each(|envelope| self.cluster.deliver(envelope));
            }
            "drop" => {
                let (chosen, kept) = self.choose(args)?;
                self.cluster.queue = kept.into();
                for envelope in chosen {
                    output.push_str(&format!("{} -> {} {} (dropped)\n", envelope.from, envelope.to, envelope.message));
                }
            }
            "repeat" => {
                let (chosen, _) = self.choose(args)?;
                self.cluster.queue.extend(chosen);
            }
            "reverse" => self.cluster.queue.make_contiguous().reverse(),
            "cut" => self.cluster.cut(node(args)?, node(args)?),
            "isolate" => nodes(args)?.into_iter().for_each(|node| self.cluster.isolate(node)),
            "heal" => self.cluster.heal(),
            "crash" => {
                let save_survives = args.take_key("save") == Some("done");
                if args.take_key("installing") == Some("yes") {
                    nodes(args)?.into_iter().for_each(|node| self.cluster.crash_installing(node));
                }
                nodes(args)?.into_iter().for_each(|node| self.cluster.crash(node, save_survives));
            }
            "restart" => nodes(args)?.into_iter().for_each(|node| self.cluster.restart(node)),
            "snapshot" => nodes(args)?.into_iter().for_each(|node| self.cluster.take_snapshot(node)),
            "compact" => {
                let (to, node) = (args.take_key("to").map(|to| to.trim_start_matches('i').parse()).transpose()?, node(args)?);
                let to = to.map_or_else(|| self.cluster.raft(node).snapshot().index, Index);
                self.cluster.compact(node, to);
            }
            "fetch" => {
                for node in nodes(args)? {
                    if !self.cluster.fetch(node) {
                        output.push_str(&format!("n{node} has nothing to fetch\n"));
                    }
                }
            }
            "install" => {
                for node in nodes(args)? {
                    if !self.cluster.install(node) {
                        output.push_str(&format!("n{node} has nothing to install\n"));
                    }
                }
            }
            "hold" => nodes(args)?.into_iter().for_each(|node| self.cluster.hold_saves(node)),
            "finish" => nodes(args)?.into_iter().for_each(|node| self.cluster.finish_save(node)),
            "status" => {
                for node in self.nodes_or_all(args)? {
                    output.push_str(&notation(self.cluster.raft(node)));
                    output.push_str(if self.cluster.is_up(node) { "\n" } else { " (down)\n" });
                }
            }
            "log" => {
                for node in self.nodes_or_all(args)? {
                    let entries = self.cluster.raft(node).log().from(Index(1));
                    let entries: Vec<String> = entries.iter().map(|entry| entry.id().to_string()).collect();
                    let base = self.cluster.raft(node).log().base();
                    let base = if base == EntryId::default() { String::new() } else { format!(" (up to {base})") };
                    output.push_str(format!("n{node}:{base} {}", entries.join(" ")).trim_end());
                    output.push('\n');
                }
            }
            "progress" => {
                for (peer, progress) in self.cluster.raft(node(args)?).progress() {
                    let pace = match (progress.is_replicating(), progress.needs_snapshot()) {
                        (true, _) => "replicate",
                        (_, true) => "snapshot",
                        _ => "probe",
                    };
                    let (matched, next, inflight) = (progress.match_index(), progress.next_index(), progress.inflight_appends());
                    output.push_str(&format!("{peer}: {pace}, match {matched}, next {next}, {inflight} in flight\n"));
                }
            }
            other => return Err(format!("no such command: {other}").into()),
        }
        Ok(output)
    }

    /// What is on its way between the nodes named, at most `max`, and the rest.
    fn choose(&self, args: &mut ArgumentConsumer<'_>) -> Result<(Vec<Envelope>, Vec<Envelope>), Box<dyn Error>> {
        let (from, to) = (key_node(args, "from")?, key_node(args, "to")?);
        let mut max = number(args, "max", usize::MAX)?;
        let is_chosen = |envelope: &Envelope| {
            let is_between = from.is_none_or(|id| id == envelope.from.0) && to.is_none_or(|id| id == envelope.to.0);
            let is_chosen = is_between && max > 0;
            max -= usize::from(is_chosen);
            is_chosen
        };
        Ok(self.cluster.queue.iter().cloned().partition(is_chosen))
    }

    fn nodes_or_all(&self, args: &mut ArgumentConsumer<'_>) -> Result<Vec<u64>, Box<dyn Error>> {
        let named = nodes(args)?;
        Ok(if named.is_empty() { self.cluster.ids() } else { named })
    }
}

fn build(args: &mut ArgumentConsumer<'_>) -> Result<Cluster, Box<dyn Error>> {
    let count: u64 = args.next_pos().ok_or("how many nodes?")?.parse()?;
    let (seed, heartbeat_ticks) = (number(args, "seed", 0)?, number(args, "heartbeat", 1)?);
    let append_bytes_max = number(args, "append_bytes", 1 << 20)?;
    let inflight_appends_max = number(args, "inflight", 64)?;
    let uncommitted_bytes_max = number(args, "uncommitted_bytes", 16 << 20)?;
    let unsaved_bytes_max = number(args, "unsaved_bytes", 16 << 20)?;
    let mut starts = Vec::new();
    for id in 1..=count {
        let start = args.take_key(&format!("n{id}")).map_or(Ok(Start::default()), parse_start)?;
        let config = config(id, seed + id);
        starts.push((
            Config { heartbeat_ticks, append_bytes_max, inflight_appends_max, uncommitted_bytes_max, unsaved_bytes_max, ..config },
            start,
        ));
    }
    Ok(Cluster::build(count, starts))
}

/// `1 1 2x3, t5, i2`: terms of the entries (three of term 2), then the node's term and commit index.
fn parse_start(text: &str) -> Result<Start, Box<dyn Error>> {
    let [log, term, commit] = text.split(", ").collect::<Vec<_>>()[..] else { return Err("a start is written TERMS, tN, iN".into()) };
    let mut terms = Vec::new();
    for word in log.split_whitespace() {
        let (term, count) = word.split_once('x').unwrap_or((word, "1"));
        terms.extend(std::iter::repeat_n(term.parse::<u64>()?, count.parse()?));
    }
    let number =
        |text: &str, letter| Ok::<u64, Box<dyn Error>>(text.strip_prefix(letter).ok_or("terms are written t1, indexes i1")?.parse()?);
    Ok(Start { term: number(term, 't')?, voted_for: None, log: terms, commit: number(commit, 'i')? })
}

fn parse_node(text: &str) -> Result<u64, Box<dyn Error>> {
    Ok(text.strip_prefix('n').ok_or("nodes are written n1")?.parse()?)
}

fn node(args: &mut ArgumentConsumer<'_>) -> Result<u64, Box<dyn Error>> {
    parse_node(args.next_pos().ok_or("which node?")?)
}

fn nodes(args: &mut ArgumentConsumer<'_>) -> Result<Vec<u64>, Box<dyn Error>> {
    std::iter::from_fn(|| args.next_pos()).map(parse_node).collect()
}

fn key_node(args: &mut ArgumentConsumer<'_>, key: &str) -> Result<Option<u64>, Box<dyn Error>> {
    args.take_key(key).map(parse_node).transpose()
}

fn number<T: FromStr<Err: Error + 'static>>(args: &mut ArgumentConsumer<'_>, key: &str, default: T) -> Result<T, Box<dyn Error>> {
    Ok(args.take_key(key).map_or(Ok(default), str::parse)?)
}

fn run(story: &str) {
    let path = format!("{}/tests/scripts/{story}", env!("CARGO_MANIFEST_DIR"));
    goldenscript::run(&mut Runner { cluster: Cluster::new(1) }, path).unwrap();
}

macro_rules! stories {
    ($($story:ident)*) => {
        $(#[test] fn $story() { run(stringify!($story)); })*

        #[test]
        fn every_story_is_told() {
            let mut told: Vec<String> = vec![$(stringify!($story).to_string()),*];
            let files = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/scripts")).unwrap();
            let mut written: Vec<String> = files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
            told.sort();
            written.sort();
            assert_eq!(told, written, "a story needs a file and a line here");
        }
    };
}

stories! {
    acknowledgement_leaves_only_once_saved
    appends_are_pipelined_within_a_window
    broken_connection_goes_back_to_probing
    commit_news_rides_on_the_next_append
    compaction_while_replicating
    crash_in_the_middle_of_an_install
    cut_off_node_disturbs_nobody
    diverged_log_is_repaired_in_few_round_trips
    first_election_costs_few_messages
    first_election_from_silence
    follower_read_fails_without_an_answer
    follower_reads_by_asking_its_leader
    follower_that_has_it_needs_no_snapshot
    isolated_leader_appends_but_cannot_commit
    isolated_leader_steps_down
    laggard_behind_the_base_installs_a_snapshot
    large_entry_travels_alone
    late_acknowledgement_of_a_snapshot_is_asked_for_again
    late_rejection_is_recognised
    leader_changes_during_a_transfer
    leader_commits_without_its_own_disk
    leader_with_one_follower_goes_on
    leaders_own_copy_counts_only_once_saved
    loss_of_another_node_is_no_news
    lost_acknowledgement_is_asked_for_again
    lost_append_is_found_by_a_heartbeat
    lost_leader_is_replaced_within_a_few_ticks
    lost_leader_that_beats_is_kept
    lost_leader_without_a_majority_gives_up_the_hurry
    many_proposals_travel_in_one_append
    new_leader_offers_its_own_snapshot
    offer_of_a_snapshot_is_repeated
    older_entry_is_not_committed_by_counting
    overloaded_follower_ignores_appends
    paused_follower_counts_one_heartbeat
    paused_leader_counts_the_whole_gap
    proposals_gather_for_one_save_and_no_more
    read_answer_for_an_earlier_life_does_not_count
    read_fails_when_leadership_ends
    read_waits_for_a_majority
    read_waits_for_the_first_commit_of_a_term
    rejections_walk_down_by_terms
    repeated_and_reordered_appends_do_no_harm
    restart_from_snapshot_and_tail
    restarted_node_applies_what_it_knows_committed
    single_node_leads_at_once
    snapshot_may_be_installed_without_a_leader
    stale_leader_is_told_the_term
    stale_offer_is_told_the_term
    too_many_uncommitted_bytes_are_refused
    unsaid_acknowledgement_of_an_overwritten_entry_is_dropped
    vote_counts_only_once_saved
    vote_leaves_only_once_saved
    votes_count_the_base_of_an_empty_log
    window_of_a_slow_follower_is_compacted_away
}
