//! The simulator has no log, no snapshot and no identity of its own: what its nodes have written on their imitated disks, put into a real
//! directory, is what `kvnode dump` reads, to the last entry.

use std::path::Path;

use sim::{Plan, Profile, Run};
use tests::cli::Ran;

fn write_out(files: &[(String, Vec<u8>)], dir: &Path) {
    for (path, content) in files {
        let path = dir.join(path);
        std::fs::create_dir_all(path.parent().expect("a file in the directory")).expect("room for it");
        std::fs::write(path, content).expect("room for it");
    }
}

#[test]
fn what_simulated_nodes_write_kvnode_dump_reads() {
    let (mut read, mut snapshots) = (0, 0);
    for seed in 1..=6 {
        let mut run = Run::new(&Plan::draw(seed, 3, Profile::Default));
        while run.advance(u64::MAX).unwrap_or_else(|failure| panic!("{failure}")).is_none() {}
        for (node, view) in run.nodes().into_iter().enumerate() {
            let Some(view) = view else { continue };
            let dir = tempfile::tempdir().expect("a directory");
            write_out(&run.files(node), dir.path());
            let dump = Ran::kvnode(["dump".as_ref(), dir.path().as_os_str()]).expect_code(0);
            let text = String::from_utf8_lossy(&dump.stdout);
            let says = |words: &str| assert!(text.contains(words), "seed {seed}: n{}: nothing says {words:?} in\n{text}", node + 1);
            says(&format!("n{}", node + 1));
            says(&view.last.to_string());
            if view.snapshot_index.0 > 0 {
                says(&format!("up to {}/", view.snapshot_index));
                snapshots += 1;
            }
            read += 1;
        }
    }
    assert!(read > 12 && snapshots > 2, "{read} directories with {snapshots} snapshots");
}
