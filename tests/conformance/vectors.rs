//! All the vectors of `tests/vectors/mqtt`, and which of them are not yet true.

use std::collections::BTreeMap;

use crate::{
    root,
    statements::read,
    vector::{self, VectorFile, bytes},
};

/// All of them, in the order of their names. Those in `wire/` need a whole broker.
pub fn files() -> Vec<VectorFile> {
    let all = root().join("tests/vectors/mqtt");
    let pending: Vec<String> =
        read::<BTreeMap<String, Vec<String>>>("pending.toml").remove("pending").expect("a list");
    let mut files: Vec<_> = ["", "wire"].iter().flat_map(|folder| vector::files(&all, folder)).collect();
    for VectorFile { shown, vectors, .. } in &mut files {
        for vector in vectors {
            vector.pending |= pending.contains(&format!("{shown}: {}", vector.name));
        }
    }
    files
}

#[test]
fn every_vector_can_be_read_and_told_from_the_others() {
    for file in files() {
        let mut names: Vec<_> = file.vectors.iter().map(|vector| &vector.name).collect();
        names.sort();
        for pair in names.windows(2) {
            assert_ne!(pair[0], pair[1], "{}: two vectors have one name", file.shown);
        }
        for vector in &file.vectors {
            for step in vector.steps() {
                let expect = step.expect.trim_start_matches("welcome").trim_start_matches(" back");
                let (_, _) = (bytes(&step.send), bytes(expect));
            }
        }
    }
}
