//! Stories about journals that are not whole: the last batch torn by a power cut is cut off if nobody was told of it, and
//! everything else is refused with nothing changed.

use std::{collections::BTreeSet, fs, path::PathBuf};

use super::{
    super::{
        journal::{Journal, journals},
        limits::CUTS_KEPT_MAX,
        tear::{Tear, examine},
    },
    crash::{Found, Wreck, open_and_read, open_and_read_in, ten_records},
    *,
};

/// What the engine writes before the rows of a batch: a tag, the number of rows, and the number that orders batches.
/// The engine's checksum does not cover it.
const BATCH_HEAD_BYTES: usize = 1 + 4 + 8;
const PAGE_BYTES: usize = 4_096;
/// Commits that make the keys of the platform and of the tenant, before the first record.
const COMMITS_BEFORE: u64 = 2;

/// A small generator (splitmix64), so that a failure repeats.
struct Chance(u64);

impl Chance {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        ((mixed ^ (mixed >> 27)) % end as u64) as usize
    }
}

/// The files in `dir`, but for those of tables: the engine tidies them up when it has to be asked.
fn contents(dir: &Path) -> BTreeSet<(PathBuf, Vec<u8>)> {
    Wreck::of(dir).files.into_iter().filter(|(path, _)| !path.starts_with("engine/keyspaces")).collect()
}

/// Opens a wreck that must be refused, and sees to it that this changes nothing.
fn refusal(wreck: &Wreck) -> StoreError {
    let dir = wreck.lay_out();
    let before = contents(dir.path());
    let Found::Refused(error) = open_and_read_in(dir.path()) else { panic!("it was opened") };
    assert!(before == contents(dir.path()), "a refusal changed a file: {error}");
    error
}

/// What was cut off earlier, by its number.
fn kept(dir: &Path) -> Vec<(u64, Vec<u8>)> {
    let mut kept: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .filter_map(|entry| {
            let path = entry.unwrap().path();
            let name = path.file_name()?.to_str()?.strip_prefix("journal-tail-")?.strip_suffix(".cut")?;
            Some((name.parse().unwrap(), fs::read(&path).unwrap()))
        })
        .collect();
    kept.sort_unstable();
    kept
}

/// As [`ten_records`], but the witness has not heard of the tenth, and what the tenth changed covers several pages.
fn nine_records_and_a_large_one() -> (Wreck, usize) {
    let (wreck, _) = ten_records();
    let dir = wreck.lay_out();
    let before = Wreck::of(dir.path()).journal().len();
    let store = open(dir.path());
    let table = store.table("rows").unwrap();
    let large: Vec<u8> = (0..20_000_u32).map(|at| (at % 255) as u8 + 1).collect();
    store.commit_blocking(vec![put(&table, b"large", &large)]).unwrap();
    let mut wreck = Wreck::of(dir.path());
    wreck.forget_last_claim();
    (wreck, before)
}

#[test]
fn the_engine_writes_what_is_read_here() {
    let (mut wreck, lengths) = ten_records();
    let dir = wreck.lay_out();
    let [(0, path)] = &*journals(&dir.path().join(ENGINE_DIRECTORY)).unwrap() else { panic!("one journal") };
    let mut journal = Journal::open(path).unwrap();
    let (mut at, mut numbers, mut ends) = (0, Vec::new(), Vec::new());
    while let Some(batch) = journal.batch(at).unwrap() {
        at = batch.end;
        numbers.push(batch.number.unwrap());
        ends.push(at as usize);
    }
    assert_eq!(numbers, (1..=COMMITS_BEFORE + 10).collect::<Vec<_>>());
    assert_eq!(ends.split_off(COMMITS_BEFORE as usize), lengths);
    assert_eq!(at, wreck.journal().len() as u64);

    // After a restart the engine goes on in the same file, and deletes and large values look as expected.
    let store = open(dir.path());
    let table = store.table("rows").unwrap();
    store.commit_blocking(vec![put(&table, b"large", &vec![7; 200_000])]).unwrap();
    store.commit_blocking(vec![Write::Delete { table, key: b"large".to_vec() }]).unwrap();
    let found = examine(&dir.path().join(ENGINE_DIRECTORY)).unwrap();
    assert_eq!((found.last, found.is_newest, found.tear), (Some(COMMITS_BEFORE + 12), true, None));
}

#[test]
fn a_torn_batch_of_which_a_page_in_the_middle_is_missing_is_dropped_as_a_whole() {
    let (mut wreck, lengths) = ten_records();
    wreck.forget_last_claim();
    // Pages reach a disk in any order: the end of the batch is there, and what is before it is not.
    let journal = wreck.journal().clone();
    for at in (lengths[8]..lengths[9] - 8).step_by(8) {
        *wreck.journal() = journal.clone();
        wreck.journal()[at..at + 8].fill(0);
        let found = open_and_read(&wreck);
        assert!(matches!(found, Found::Records(9)), "byte {}: {found:?}", at - lengths[8]);
    }
}

#[test]
fn a_torn_batch_is_dropped_whichever_of_its_pages_are_missing_and_is_kept_aside() {
    let (mut wreck, start) = nine_records_and_a_large_one();
    let journal = wreck.journal().clone();
    let pages = start / PAGE_BYTES..journal.len().div_ceil(PAGE_BYTES);
    assert!(pages.len() >= 5);
    for missing in 1..1_u32 << pages.len() {
        let mut torn = journal.clone();
        for (place, page) in pages.clone().enumerate().filter(|(place, _)| missing & (1 << place) != 0) {
            let end = torn.len().min((page + 1) * PAGE_BYTES);
            torn[start.max(page * PAGE_BYTES)..end].fill(0);
            assert!(place < 32);
        }
        *wreck.journal() = torn.clone();
        let dir = wreck.lay_out();
        let found = open_and_read_in(dir.path());
        assert!(matches!(found, Found::Records(10)), "{missing:b}: {found:?}");
        torn.truncate(torn.iter().rposition(|byte| *byte != 0).unwrap() + 1);
        let expected = torn.split_off(start.min(torn.len()));
        let kept = kept(dir.path());
        if expected.is_empty() {
            assert!(kept.is_empty(), "nothing of the batch was there");
        } else {
            assert_eq!(kept, [(1, expected)]);
        }
    }
}

#[test]
fn what_lay_on_the_disk_before_is_not_taken_for_something_that_was_written_after_a_torn_batch() {
    let (mut wreck, start) = nine_records_and_a_large_one();
    let journal = wreck.journal();
    let old = journal[..start].to_vec();
    let at = start + 5_000;
    journal[at..at + old.len()].copy_from_slice(&old);
    assert!(matches!(open_and_read(&wreck), Found::Records(10)));
}

#[test]
fn a_batch_that_was_acknowledged_and_is_torn_is_refused_and_nothing_is_changed() {
    let (mut wreck, lengths) = ten_records();
    let journal = wreck.journal().clone();
    for at in (lengths[8]..lengths[9] - 8).step_by(40) {
        *wreck.journal() = journal.clone();
        wreck.journal()[at..at + 8].fill(0);
        let error = refusal(&wreck);
        assert!(matches!(error, StoreError::CommitsMissing { first: 12, last: 12, .. }), "{error}");
    }
}

#[test]
fn a_flipped_bit_in_a_batch_with_others_behind_it_is_refused_and_nothing_is_changed() {
    let (mut wreck, lengths) = ten_records();
    // Nobody knows any more what was acknowledged: a power cut made the witness forget.
    wreck.bytes(WITNESS_FILE).fill(0);
    let journal = wreck.journal().clone();
    // Every bit of what the checksum does not cover, and one of every third byte of the rest.
    let head = (0..BATCH_HEAD_BYTES * 8).map(|bit| (lengths[3] + bit / 8, bit % 8));
    let rest = (lengths[3] + BATCH_HEAD_BYTES..lengths[4]).step_by(3).map(|at| (at, at % 8));
    for (at, bit) in head.chain(rest) {
        *wreck.journal() = journal.clone();
        wreck.journal()[at] ^= 1 << bit;
        let error = refusal(&wreck);
        assert!(matches!(error, StoreError::Damaged { .. }), "byte {}: {error}", at - lengths[3]);
    }
}

#[test]
fn a_flipped_bit_in_the_oldest_batch_of_the_journal_loses_no_record() {
    let (mut wreck, _) = ten_records();
    let journal = wreck.journal().clone();
    for bit in 0..BATCH_HEAD_BYTES * 8 {
        *wreck.journal() = journal.clone();
        wreck.journal()[bit / 8] ^= 1 << (bit % 8);
        let found = open_and_read(&wreck);
        assert!(
            matches!(found, Found::Records(10) | Found::Refused(StoreError::Damaged { .. })),
            "{bit}: {found:?}"
        );
    }
}

#[test]
fn whatever_chance_does_to_a_journal_an_acknowledged_record_is_there_or_its_loss_is_named() {
    let (mut wreck, lengths) = ten_records();
    let whole = wreck.journal().clone();
    let claims = wreck.bytes(WITNESS_FILE).clone();
    let mut chance = Chance(1);
    let (mut opened, mut refused) = (0, 0);
    for round in 0..300 {
        *wreck.journal() = whole.clone();
        *wreck.bytes(WITNESS_FILE) = claims.clone();
        let heard = chance.below(2) == 0;
        if !heard {
            wreck.forget_last_claim();
        }
        // Mostly near the end, where there is something to decide.
        let from = if chance.below(3) == 0 { 0 } else { lengths[7] };
        let at = from + chance.below(whole.len() - from);
        let journal = wreck.journal();
        match chance.below(4) {
            0 => journal.truncate(at),
            1 => journal[at..].fill(0),
            2 => journal[at] ^= 1 << chance.below(8),
            _ => {
                let end = whole.len().min(at + chance.below(200));
                journal[at..end].fill(chance.below(256) as u8);
            }
        }
        let dir = wreck.lay_out();
        let before = contents(dir.path());
        match open_and_read_in(dir.path()) {
            Found::Records(10) => opened += 1,
            Found::Records(9) if !heard => opened += 1,
            Found::Refused(StoreError::Damaged { .. } | StoreError::CommitsMissing { .. }) => {
                refused += 1;
                assert!(before == contents(dir.path()), "round {round}: a refusal changed a file");
            }
            found => panic!("round {round}, byte {at}: {found:?}"),
        }
    }
    assert!(opened > 30 && refused > 30, "{opened}, {refused}");
}

/// Ten records, with the journal cut into files after the third and the seventh, as the engine does when one is full.
fn three_journals() -> (Wreck, Vec<usize>) {
    let (mut wreck, lengths) = ten_records();
    let mut first = wreck.journal().clone();
    let mut second = first.split_off(lengths[2]);
    let third = second.split_off(lengths[6] - lengths[2]);
    *wreck.journal() = first;
    for (number, bytes) in [(1, second), (2, third)] {
        wreck.files.push((format!("{ENGINE_DIRECTORY}/{number}.jnl").into(), bytes));
    }
    (wreck, lengths)
}

#[test]
fn only_the_last_of_several_journals_can_be_torn() {
    let (mut wreck, lengths) = three_journals();
    assert!(matches!(open_and_read(&wreck), Found::Records(10)));
    let last = lengths[8] - lengths[6];
    wreck.bytes("2.jnl")[last + 20..last + 60].fill(0);
    let error = refusal(&wreck);
    assert!(matches!(error, StoreError::CommitsMissing { first: 12, last: 12, .. }), "{error}");
    wreck.forget_last_claim();
    assert!(matches!(open_and_read(&wreck), Found::Records(9)));

    // The end of a closed journal was synced before the next one was begun.
    for cut in [1, 40, lengths[6] - lengths[5]] {
        let (mut wreck, _) = three_journals();
        wreck.bytes(WITNESS_FILE).fill(0);
        let journal = wreck.bytes("1.jnl");
        journal.truncate(journal.len() - cut);
        let error = refusal(&wreck);
        assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
    }
    let (mut wreck, _) = three_journals();
    wreck.bytes(WITNESS_FILE).fill(0);
    wreck.files.retain(|(path, _)| !path.ends_with("0.jnl"));
    assert!(matches!(open_and_read(&wreck), Found::Refused(_) | Found::Reported(_)));
}

#[test]
fn a_torn_batch_in_a_journal_that_was_just_begun_is_judged_by_what_is_in_the_tables() {
    let (mut wreck, lengths) = ten_records();
    let torn = {
        let journal = wreck.journal();
        let mut torn = journal.split_off(lengths[8]);
        torn.truncate(torn.len() - 30);
        torn[40..60].fill(0);
        torn.push(1);
        torn
    };
    wreck.forget_last_claim();
    // All of the nine go to the tables, and the engine begins a new journal.
    let dir = wreck.lay_out();
    {
        let store = open(dir.path());
        for table in [KEYS_TABLE, MARKS_TABLE, LOG_TABLE, "rows"] {
            open_table(&store.0.shared.db, table).unwrap().rotate_memtable_and_wait().unwrap();
        }
    }
    let mut wreck = Wreck::of(dir.path());
    wreck.files.retain(|(path, _)| !path.ends_with("0.jnl"));
    wreck.files.push((format!("{ENGINE_DIRECTORY}/1.jnl").into(), torn.clone()));
    let dir = wreck.lay_out();
    let tear = examine(&dir.path().join(ENGINE_DIRECTORY)).unwrap();
    let journal = dir.path().join(ENGINE_DIRECTORY).join("1.jnl");
    assert_eq!(tear.last, None);
    assert_eq!(tear.tear, Some(Tear { journal, at: 0, end: torn.len() as u64 }));
    assert!(matches!(open_and_read_in(dir.path()), Found::Records(9)));

    // The witness knows of a tenth: then the torn batch is that one, and it stays where it is.
    let dir = wreck.lay_out();
    let path = dir.path().join(WITNESS_FILE);
    Witness::open(&path, RootKeys::derive(&root()).witness()).unwrap().claim(COMMITS_BEFORE + 10).unwrap();
    let found = open_and_read_in(dir.path());
    assert!(
        matches!(found, Found::Refused(StoreError::CommitsMissing { first: 12, last: 12, .. })),
        "{found:?}"
    );
    assert_eq!(fs::read(dir.path().join(ENGINE_DIRECTORY).join("1.jnl")).unwrap(), torn);
    assert!(kept(dir.path()).is_empty());
}

#[test]
fn a_torn_batch_stays_if_the_witness_cannot_be_read_with_this_root_key() {
    let (mut wreck, lengths) = ten_records();
    wreck.forget_last_claim();
    wreck.journal()[lengths[8] + 30..lengths[8] + 50].fill(0);
    let dir = wreck.lay_out();
    let before = contents(dir.path());
    let other = RootKey::from_bytes([8; 32]);
    let refused = Store::open(dir.path(), other, StoreOptions { disk_free_bytes_min: 0 });
    assert!(matches!(refused, Err(StoreError::Damaged { .. })));
    assert!(before == contents(dir.path()));
    assert!(matches!(open_and_read_in(dir.path()), Found::Records(9)));
}

#[test]
fn the_journal_of_an_open_store_is_not_looked_at() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let again = Store::open(dir.path(), root(), StoreOptions { disk_free_bytes_min: 0 });
    assert!(matches!(again, Err(StoreError::Locked { .. })));
    drop(store);
}

#[test]
fn a_store_lives_through_one_torn_batch_after_another_and_keeps_the_last_few() {
    let mut dir = tempfile::tempdir().unwrap();
    open(dir.path()).create_tenant(&acme()).unwrap();
    let mut chance = Chance(7);
    let (mut records, mut cuts) = (0, 0);
    for _ in 0..24 {
        let mut last = 0;
        {
            let store = open(dir.path());
            let tenant = store.tenant(&acme()).unwrap().unwrap();
            let mut log = tenant.log().unwrap();
            assert_eq!(read_all(&mut log.reader(1)).unwrap(), (1..=records).collect::<Vec<_>>());
            assert_eq!(log.next_sequence(), records + 1);
            let table = store.table("rows").unwrap();
            for _ in 0..1 + chance.below(6) {
                records += 1;
                last = Wreck::of(dir.path()).journal().len();
                let append = log.append(records, text(records).as_bytes());
                let row = vec![records as u8 | 1; 1 + chance.below(30_000)];
                store.commit_blocking(vec![append, put(&table, b"row", &row)]).unwrap();
            }
            let mut wreck = Wreck::of(dir.path());
            wreck.forget_last_claim();
            let journal = wreck.journal();
            let mut at = last;
            let mut is_torn = false;
            while at < journal.len() {
                let end = journal.len().min((at / PAGE_BYTES + 1) * PAGE_BYTES);
                if chance.below(3) == 0 {
                    journal[at..end].fill(0);
                    is_torn = true;
                }
                at = end;
            }
            if is_torn {
                records -= 1;
                cuts += u64::from(journal[last..].iter().any(|byte| *byte != 0));
            }
            dir = wreck.lay_out();
        }
    }
    open(dir.path());
    let kept: Vec<u64> = kept(dir.path()).into_iter().map(|(number, _)| number).collect();
    assert!(cuts > 6, "{cuts}");
    assert_eq!(kept, (cuts + 1 - CUTS_KEPT_MAX as u64..=cuts).collect::<Vec<_>>());
}
