use data::fake::FakeDisk;
use data::{Identity, OpenError, Options, SaveStatus, Store, StoreError, cluster_id, init};
use raft::{DiskId, EntryHeader, EntryKind, HardState, Index, NodeId, Save, SaveToken, Term};

/// Where the log of a new directory begins.
pub(crate) const FIRST_SEGMENT: &str = "log/0000000000000001.seg";

/// Small segments: 4 KiB, but for the first.
pub(crate) const SMALL: Options = Options { max_log_bytes: Some(16 << 10), cache_bytes: 2 << 10 };

pub(crate) fn identity() -> Identity {
    let cluster_id = cluster_id("", &[("n1", "h1:7217"), ("n2", "h2:7217"), ("n3", "h3:7217")]);
    Identity { cluster_id, node: NodeId(1), name: "n1".into(), disk_id: DiskId(0xd15c), members: Vec::new() }
}

/// An encoded entry.
pub(crate) fn entry(term: u64, payload: &[u8]) -> Vec<u8> {
    let payload_len = u32::try_from(payload.len()).expect("test payloads are short");
    let header = EntryHeader { term: Term(term), time_ms: term * 1000, payload_len, kind: EntryKind::Command };
    [&header.encode()[..], payload].concat()
}

/// Entry 1, as `init` writes it.
pub(crate) fn first_entry() -> Vec<u8> {
    let header = EntryHeader { term: Term(0), time_ms: 0, payload_len: 9, kind: EntryKind::Membership };
    [&header.encode()[..], b"n1 n2 n3."].concat()
}

pub(crate) fn vote(term: u64, node: u64) -> HardState {
    HardState { term: Term(term), voted_for: (node > 0).then_some(NodeId(node)) }
}

/// A disk with an initialised directory.
pub(crate) fn new_disk() -> FakeDisk {
    let mut disk = FakeDisk::new();
    init(&mut disk, &identity(), &first_entry()).expect("a new disk is healthy");
    disk
}

/// What a log says: the model of everything that recovery may return.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Content {
    pub(crate) hard_state: HardState,
    pub(crate) commit_index: u64,
    /// Encoded, from entry 1.
    pub(crate) entries: Vec<Vec<u8>>,
}

impl Content {
    /// After `init`.
    pub(crate) fn new() -> Content {
        Content { hard_state: HardState::default(), commit_index: 1, entries: vec![first_entry()] }
    }

    /// The same after a save of `entries` from `first` on.
    pub(crate) fn after(&self, hard_state: HardState, commit_index: u64, first: u64, entries: &[Vec<u8>]) -> Content {
        let mut after = Content { hard_state, commit_index, entries: self.entries.clone() };
        if !entries.is_empty() {
            after.entries.truncate(position(first));
            after.entries.extend_from_slice(entries);
        }
        after
    }

    pub(crate) fn last_index(&self) -> u64 {
        self.entries.len() as u64
    }
}

pub(crate) fn term_of(entry: &[u8]) -> u64 {
    EntryHeader::decode(entry).expect("tests encode whole entries").term.0
}

pub(crate) fn position(index: u64) -> usize {
    usize::try_from(index - 1).expect("test logs are short")
}

/// Opens the log and reads all of it, in three ways that must agree.
pub(crate) fn open_with(disk: &FakeDisk, options: Options) -> Result<(Store<FakeDisk>, Content), OpenError> {
    let (mut store, recovered) = Store::open(disk.clone(), &identity(), options)?;
    let mut bytes = Vec::new();
    store.read(Index(1), store.last_index(), &mut bytes).expect("what was recovered can be read");
    let mut entries = Vec::new();
    for meta in &recovered.entries {
        let (entry, rest) = bytes.split_at(meta.encoded_len());
        assert_eq!(EntryHeader::decode(entry).map(|header| header.meta(meta.index)), Ok(*meta));
        assert_eq!(store.entry(meta.index).expect("what was recovered can be read"), entry);
        entries.push(entry.to_vec());
        bytes = rest.to_vec();
    }
    assert!(bytes.is_empty());
    assert_eq!(store.log_bytes(), 16 + entries.iter().map(Vec::len).sum::<usize>() as u64);
    let content = Content { hard_state: recovered.hard_state, commit_index: recovered.commit_index.0, entries };
    Ok((store, content))
}

pub(crate) fn open(disk: &FakeDisk) -> Result<(Store<FakeDisk>, Content), OpenError> {
    open_with(disk, SMALL)
}

/// Stages and saves entries from `first` on.
pub(crate) fn save(
    store: &mut Store<FakeDisk>,
    hard_state: HardState,
    commit_index: u64,
    first: u64,
    entries: &[Vec<u8>],
) -> Result<SaveStatus, StoreError> {
    let mut metas = Vec::new();
    for (index, entry) in (first..).zip(entries) {
        metas.push(EntryHeader::decode(entry).expect("tests encode whole entries").meta(Index(index)));
        store.stage(Index(index), entry.clone());
    }
    store.save(&Save { token: SaveToken(1), hard_state, commit_index: Index(commit_index), entries: metas })
}

/// A log and its model, side by side.
pub(crate) struct Log {
    pub(crate) disk: FakeDisk,
    pub(crate) store: Store<FakeDisk>,
    pub(crate) content: Content,
    /// The content after every save so far, oldest first.
    pub(crate) history: Vec<Content>,
}

impl Log {
    pub(crate) fn new() -> Log {
        let disk = new_disk();
        let (store, content) = open(&disk).expect("a new log opens");
        Log { disk, store, history: vec![content.clone()], content }
    }

    /// A save that must succeed.
    pub(crate) fn save(&mut self, hard_state: HardState, first: u64, entries: &[Vec<u8>]) {
        let commit_index = self.content.commit_index;
        let status = save(&mut self.store, hard_state, commit_index, first, entries).expect("the disk is healthy");
        assert_eq!(status, SaveStatus::Synced);
        self.content = self.content.after(hard_state, commit_index, first, entries);
        self.history.push(self.content.clone());
    }

    /// One more entry of term 1.
    pub(crate) fn append(&mut self, payload: &[u8]) {
        self.save(vote(1, 1), self.content.last_index() + 1, &[entry(1, payload)]);
    }

    /// Appends until the log has begun its `count`-th segment.
    pub(crate) fn fill_segments(&mut self, count: usize) {
        while segments_in_use(&self.disk).len() < count {
            let payload_len = if segments_in_use(&self.disk).len() == 1 { 16_000 } else { 900 };
            self.append(&vec![0xa5; payload_len]);
        }
    }

    /// Offset and length of the last batch, and its segment.
    pub(crate) fn last_batch(&self) -> (String, u64, u64) {
        batches(&self.disk).pop().expect("a log is never without a batch")
    }
}

/// All batches, as the dump shows them: segment, offset, length.
pub(crate) fn batches(disk: &FakeDisk) -> Vec<(String, u64, u64)> {
    let mut found = Vec::new();
    let mut segment = String::new();
    data::inspect(&mut disk.clone(), &mut |record| match record {
        data::Record::Segment { name, .. } => segment = name.to_string(),
        data::Record::Batch { offset, header, .. } => found.push((segment.clone(), offset, header.batch_len())),
        _ => {}
    })
    .expect("the directory can be listed");
    found
}

/// The segments that hold a batch.
pub(crate) fn segments_in_use(disk: &FakeDisk) -> Vec<String> {
    let mut segments: Vec<String> = batches(disk).into_iter().map(|(segment, ..)| segment).collect();
    segments.dedup();
    segments
}
