use proptest::prelude::*;

use super::*;

fn info() -> ItemInfo {
    let texts = BTreeSet::from(["d7".to_owned(), "d8".to_owned()]);
    ItemInfo {
        stream: StreamId { device: "pump-7".parse().expect("id"), stream: "climate".to_owned() },
        from_us: 0,
        to_us: 0,
        attributes: Arc::new(Attributes([("district".to_owned(), texts)].into())),
        cell: Some("u33dc".to_owned()),
        signer: Some([7; 32]),
        hash: None,
    }
}

fn rows(count: i64) -> Rows {
    let time = |n: i64| 1_760_000_000_000_000 + n * 10_000_000;
    let numbers =
        |scale: f64| Values::Numbers((0..count).map(|n| f64::from((n % 17) as i32) / scale).collect());
    let text = |n: i64| (n % 3 == 0).then(|| "running".to_owned());
    let column = |name: &str, unit: Option<&str>, values| Column {
        name: format!("urn:dev:mac:0024befffe804ff1:{name}"),
        unit: unit.map(str::to_owned),
        values,
    };
    Rows {
        times_us: (0..count).map(time).collect(),
        columns: vec![
            column(
                "bytes",
                None,
                Values::Bytes((0..count).map(|n| Some(vec![1; (n % 5) as usize])).collect()),
            ),
            column("load", Some("/"), numbers(100.0)),
            column(
                "open",
                None,
                Values::Bools((0..count).map(|n| (n % 2 == 0).then_some(n % 4 == 0)).collect()),
            ),
            column("state", None, Values::Texts((0..count).map(text).collect())),
            column("temperature", Some("Cel"), numbers(3.0)),
        ],
    }
}

#[test]
fn a_block_tells_what_the_item_was() {
    let rows = rows(1_000);
    let bytes = encode(&info(), &rows).expect("encodes");
    let block = Block::open(bytes.clone()).expect("opens");
    let (from_us, to_us) = (rows.times_us[0], rows.times_us[999]);
    assert_eq!(*block.item(), ItemInfo { from_us, to_us, hash: block.item().hash, ..info() });
    assert!(block.is_whole());
    assert_eq!(block.read(|_| true).expect("reads"), rows);
    let mut other = bytes;
    let last = other.len() - 1;
    other[last] ^= 1;
    assert!(!Block::open(other).expect("its head is whole").is_whole());
}

#[test]
fn one_column_is_read_without_the_others() {
    let rows = rows(500);
    let mut bytes = encode(&info(), &rows).expect("encodes");
    let block = Block::open(bytes.clone()).expect("opens");
    let load =
        block.headings().iter().find(|heading| heading.name.ends_with(":load")).expect("is there").clone();
    // All others are wiped out.
    for heading in block.headings().iter().filter(|heading| heading.name != load.name) {
        bytes[heading.place.clone()].fill(0xff);
    }
    let block = Block::open(bytes).expect("opens");
    assert_eq!(block.column(&load).expect("reads"), rows.columns[1]);
    assert_eq!(block.read(|heading| heading.name.ends_with(":load")).expect("reads").times_us, rows.times_us);
    assert_eq!(block.read(|_| true), Err(Damaged));
}

#[test]
fn what_is_no_item_makes_no_block() {
    assert_eq!(encode(&info(), &Rows::default()), Err(Misshapen));
    let uneven = Rows {
        times_us: vec![1, 2],
        columns: vec![Column { name: "a".to_owned(), unit: None, values: Values::Numbers(vec![1.0]) }],
    };
    assert_eq!(encode(&info(), &uneven), Err(Misshapen));
    assert_eq!(Block::open(Vec::new()).map(drop), Err(Damaged));
}

#[test]
fn a_place_comes_back() {
    let ItemInfo { attributes, cell, .. } = info();
    let bytes = encode_place(&attributes, cell.as_deref());
    assert_eq!(decode_place(&bytes), Ok(((*attributes).clone(), cell)));
    for length in 0..bytes.len() {
        assert_eq!(decode_place(&bytes[..length]), Err(Damaged));
    }
}

/// Reads all that there is to read, and says whether all of it could be.
fn read_all(bytes: Vec<u8>) -> bool {
    let Ok(block) = Block::open(bytes) else { return false };
    let columns: Vec<_> = block.headings().iter().map(|heading| block.column(heading).is_ok()).collect();
    block.times_us().is_ok() && columns.iter().all(|read| *read) && block.is_whole()
}

proptest! {
    #[test]
    fn a_block_with_a_flipped_bit_is_refused_or_not_whole_and_never_panics(at in 0_usize..100_000, bit in 0_u8..8) {
        let mut bytes = encode(&info(), &rows(120)).expect("encodes");
        let at = at % bytes.len();
        bytes[at] ^= 1 << bit;
        prop_assert!(!read_all(bytes));
    }

    #[test]
    fn a_block_that_is_cut_off_is_refused(length in 0_usize..100_000) {
        let bytes = encode(&info(), &rows(120)).expect("encodes");
        let length = length % bytes.len();
        prop_assert!(Block::open(bytes[..length].to_vec()).is_err());
    }

    #[test]
    fn any_bytes_are_a_block_or_damaged(mut bytes in prop::collection::vec(any::<u8>(), 33..400)) {
        bytes[0] = VERSION;
        read_all(bytes);
    }
}

#[test]
fn what_the_fuzzer_has_found_so_far_is_read_or_refused() {
    let corpus = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus");
    let mut files = 0;
    for folder in ["items", "senml"] {
        for entry in std::fs::read_dir(corpus.join(folder)).expect("the corpus is there") {
            let bytes = std::fs::read(entry.expect("reads").path()).expect("reads");
            files += 1;
            let _ = crate::judge::judge(&bytes, 1.8e9, |_, _| {});
            let _ = decode_place(&bytes);
            read_all(bytes);
        }
    }
    assert!(files >= 6, "{files}");
}

/// Writes the seeds of the fuzzer: run it by name when the layout changes.
#[test]
#[ignore = "it writes the seeds of the fuzzer"]
fn the_seeds_of_the_fuzzer_are_blocks() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/items");
    std::fs::create_dir_all(&folder).expect("writes");
    for (name, count) in [("one-row", 1), ("few-rows", 20), ("many-rows", 300)] {
        let bytes = encode(&info(), &rows(count)).expect("encodes");
        std::fs::write(folder.join(name), &bytes[..]).expect("writes");
        std::fs::write(folder.join(format!("{name}-cut")), &bytes[..bytes.len() * 3 / 4]).expect("writes");
    }
    let ItemInfo { attributes, cell, .. } = info();
    std::fs::write(folder.join("place"), encode_place(&attributes, cell.as_deref())).expect("writes");
}
