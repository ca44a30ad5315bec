//! Every format read back, and what is refused before the first byte.

use std::{collections::BTreeMap, sync::Arc};

use arrow_array::{
    Array as _, BooleanArray, Float64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
    cast::AsArray as _,
};
use arrow_ipc::reader::StreamReader;
use muster_items::{Attributes, Column, ItemInfo, LastReading, Values, Visit, memory::Memory};
use muster_schemas::api::{Reading, ReadingValue};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::*;

const SECOND_US: i64 = 1_000_000;
/// 2026-01-01T00:00:00Z.
const BEGAN_US: i64 = 1_767_225_600 * SECOND_US;

fn tenant() -> TenantId {
    "acme".parse().expect("a tenant")
}

fn stream(device: &str) -> StreamId {
    StreamId { device: device.parse().expect("an id"), stream: "climate".to_owned() }
}

fn item(device: &str, times: &[i64]) -> ItemInfo {
    ItemInfo {
        stream: stream(device),
        from_us: times[0],
        to_us: times[times.len() - 1],
        attributes: Arc::new(Attributes::default()),
        cell: None,
        signer: None,
        hash: None,
    }
}

fn column(name: &str, unit: Option<&str>, values: Values) -> Column {
    Column { name: name.to_owned(), unit: unit.map(str::to_owned), values }
}

/// A stream with each kind of values, one of two units, an item without some columns, and a gap.
fn kinds(device: &str) -> Vec<(ItemInfo, Vec<i64>, Vec<Column>)> {
    let first: Vec<i64> = (0..3).map(|second| BEGAN_US + second * SECOND_US).collect();
    let second = vec![BEGAN_US + 3_600 * SECOND_US + 1];
    let columns = vec![
        column("door", None, Values::Bools(vec![Some(true), None, Some(false)])),
        column("mode", None, Values::Texts(vec![Some("a \"b\",\nc".to_owned()), None, Some("ü".to_owned())])),
        column("raw", None, Values::Bytes(vec![None, Some(vec![0, 255]), None])),
        column("t", Some("Cel"), Values::Numbers(vec![0.1, f64::NAN, -2.5])),
    ];
    let later = vec![column("t", Some("K"), Values::Numbers(vec![273.15]))];
    vec![(item(device, &first), first, columns), (item(device, &second), second, later)]
}

fn memory() -> Memory {
    Memory { tenant: tenant(), items: [kinds("dev-1"), kinds("dev-2")].concat() }
}

fn of(device: &str) -> Selection {
    Selection { device: Some(device.parse().expect("an id")), ..Selection::default() }
}

fn export(history: &dyn History, selection: &Selection, format: Format, layout: Layout) -> Vec<u8> {
    let (tenant, view) = (tenant(), View::all());
    let question = Question { history, tenant: &tenant, selection, view: &view };
    let plan = Plan::new(question, format, layout).expect("a plan");
    let mut file = Vec::new();
    plan.write(question, &mut file).expect("written");
    if let Some(length) = plan.length() {
        assert_eq!(file.len() as u64, length);
    }
    file
}

fn refusal(history: &dyn History, selection: &Selection, format: Format, layout: Layout) -> ExportError {
    let (tenant, view) = (tenant(), View::all());
    let question = Question { history, tenant: &tenant, selection, view: &view };
    Plan::new(question, format, layout).expect_err("a refusal")
}

#[test]
fn a_wide_csv_has_a_row_for_each_time_and_its_gaps_are_empty() {
    let file = export(&memory(), &of("dev-1"), Format::Csv, Layout::Wide);
    let text = String::from_utf8(file).expect("UTF-8");
    let expected = "time,door,mode,raw,t [Cel],t [K]\n\
        2026-01-01T00:00:00.000000Z,true,\"a \"\"b\"\",\nc\",,0.1,\n\
        2026-01-01T00:00:01.000000Z,,,AP8,,\n\
        2026-01-01T00:00:02.000000Z,false,ü,,-2.5,\n\
        2026-01-01T01:00:00.000001Z,,,,,273.15\n";
    assert_eq!(text, expected);
}

#[test]
fn a_long_csv_has_a_row_for_each_reading_of_all_streams() {
    let file = export(&memory(), &Selection::default(), Format::Csv, Layout::Long);
    let mut csv = csv::Reader::from_reader(&file[..]);
    assert_eq!(csv.headers().expect("a head"), &text::LONG_HEAD[..]);
    let rows: Vec<Vec<String>> =
        csv.records().map(|row| row.expect("a row").iter().map(str::to_owned).collect()).collect();
    assert_eq!(rows.len(), 2 * 8);
    let last = ["2026-01-01T01:00:00.000001Z", "dev-2", "climate", "t", "K", "273.15", "", "", ""];
    assert_eq!(rows[15], last);
    assert_eq!(rows[2][5..], ["0.1", "", "", ""]);
    assert_eq!(rows[1][5..], ["", "a \"b\",\nc", "", ""]);
    assert_eq!(rows[0][5..], ["", "", "true", ""]);
    assert_eq!(rows[3][5..], ["", "", "", "AP8"]);
}

#[test]
fn a_line_of_ndjson_is_a_reading_of_the_api() {
    let file = export(&memory(), &Selection::default(), Format::Ndjson, Layout::Long);
    let text = String::from_utf8(file).expect("UTF-8");
    let lines: Vec<Reading> =
        text.lines().map(|line| serde_json::from_str(line).expect("a reading")).collect();
    assert_eq!(lines.len(), 16);
    assert_eq!(lines[7].value, ReadingValue::Number(273.15));
    assert_eq!(lines[7].unit.as_deref(), Some("K"));
    assert_eq!((lines[7].time_s * 1e6).round() as i64, BEGAN_US + 3_600 * SECOND_US + 1);
}

/// Checks the wide table of one device, whichever file it came in.
fn wide_is_right(batches: &[RecordBatch]) {
    let batch = arrow_select::concat::concat_batches(&batches[0].schema(), batches).expect("one schema");
    let schema = batch.schema();
    let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
    assert_eq!(names, ["time", "door", "mode", "raw", "t [Cel]", "t [K]"]);
    assert_eq!(schema.field(4).metadata().get("unit").map(String::as_str), Some("Cel"));
    let times = batch.column(0).as_any().downcast_ref::<TimestampMicrosecondArray>().expect("times");
    assert_eq!(times.timezone(), Some("UTC"));
    assert_eq!((times.value(0), times.value(3)), (BEGAN_US, BEGAN_US + 3_600 * SECOND_US + 1));
    let door = batch.column(1).as_any().downcast_ref::<BooleanArray>().expect("bools");
    assert_eq!(door.iter().collect::<Vec<_>>(), [Some(true), None, Some(false), None]);
    let mode = batch.column(2).as_any().downcast_ref::<StringArray>().expect("texts");
    assert_eq!(mode.iter().collect::<Vec<_>>(), [Some("a \"b\",\nc"), None, Some("ü"), None]);
    let raw: Vec<Option<&[u8]>> = batch.column(3).as_binary::<i32>().iter().collect();
    assert_eq!(raw, [None, Some(&[0, 255][..]), None, None]);
    let celsius = batch.column(4).as_any().downcast_ref::<Float64Array>().expect("numbers");
    assert_eq!(celsius.iter().collect::<Vec<_>>(), [Some(0.1), None, Some(-2.5), None]);
    let kelvin = batch.column(5).as_any().downcast_ref::<Float64Array>().expect("numbers");
    assert_eq!(kelvin.iter().collect::<Vec<_>>(), [None, None, None, Some(273.15)]);
}

fn arrow_batches(file: &[u8]) -> Vec<RecordBatch> {
    StreamReader::try_new(file, None).expect("a stream").map(|batch| batch.expect("a batch")).collect()
}

fn parquet_batches(file: Vec<u8>) -> Vec<RecordBatch> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(bytes::Bytes::from(file)).expect("a foot");
    reader.build().expect("a reader").map(|batch| batch.expect("a batch")).collect()
}

#[test]
fn arrow_and_parquet_hold_every_kind_of_value_and_nothing_where_there_is_none() {
    wide_is_right(&arrow_batches(&export(&memory(), &of("dev-1"), Format::Arrow, Layout::Wide)));
    wide_is_right(&parquet_batches(export(&memory(), &of("dev-1"), Format::Parquet, Layout::Wide)));
}

#[test]
fn long_arrow_and_parquet_hold_all_streams() {
    let arrow = arrow_batches(&export(&memory(), &Selection::default(), Format::Arrow, Layout::Long));
    let parquet = parquet_batches(export(&memory(), &Selection::default(), Format::Parquet, Layout::Long));
    for batches in [arrow, parquet] {
        let [batch] = &batches[..] else { panic!("one batch") };
        assert_eq!(batch.num_rows(), 16);
        let device: Vec<_> = batch.column(1).as_string::<i32>().iter().collect();
        assert_eq!((device[7], device[8]), (Some("dev-1"), Some("dev-2")));
        let unit: Vec<_> = batch.column(4).as_string::<i32>().iter().collect();
        assert_eq!((unit[0], unit[7]), (None, Some("K")));
    }
}

#[test]
fn an_array_has_rows_of_one_length_and_nan_where_there_is_nothing() {
    let file = export(&memory(), &of("dev-1"), Format::Npy, Layout::Wide);
    let counted = usize::from(u16::from_le_bytes([file[8], file[9]]));
    assert_eq!((&file[..8], (10 + counted) % 64), (&b"\x93NUMPY\x01\x00"[..], 0));
    let head = std::str::from_utf8(&file[10..10 + counted]).expect("ASCII");
    let expected = "{'descr': [('time', '<M8[us]'), ('door', '<f8'), ('t [Cel]', '<f8'), ('t [K]', '<f8'), ], \
        'fortran_order': False, 'shape': (4,), }";
    assert_eq!(head.trim_end(), expected);
    let rows: Vec<&[u8]> = file[10 + counted..].chunks(32).collect();
    assert_eq!(rows.len(), 4);
    let at =
        |row: usize, place: usize| -> [u8; 8] { rows[row][8 * place..8 * place + 8].try_into().expect("8") };
    assert_eq!(i64::from_le_bytes(at(2, 0)), BEGAN_US + 2 * SECOND_US);
    assert_eq!(f64::from_le_bytes(at(0, 1)), 1.0);
    assert_eq!(f64::from_le_bytes(at(2, 2)), -2.5);
    assert!(f64::from_le_bytes(at(1, 2)).is_nan());
}

#[test]
fn what_cannot_be_written_is_refused_before_the_first_byte() {
    let all = Selection::default();
    assert!(matches!(refusal(&memory(), &all, Format::Csv, Layout::Wide), ExportError::OneStream));
    assert!(matches!(refusal(&memory(), &of("dev-1"), Format::Npy, Layout::Long), ExportError::OneStream));
    let texts = Selection { names: vec!["mode".to_owned()], ..of("dev-1") };
    assert!(matches!(refusal(&memory(), &texts, Format::Npy, Layout::Wide), ExportError::NoNumbers));
    let times = vec![BEGAN_US];
    let columns =
        (0..=limits::COLUMNS_MAX).map(|n| column(&format!("n{n:05}"), None, Values::Numbers(vec![1.0])));
    let wide = Memory { tenant: tenant(), items: vec![(item("dev-1", &times), times, columns.collect())] };
    let found = limits::COLUMNS_MAX + 1;
    for format in [Format::Csv, Format::Arrow, Format::Parquet, Format::Npy] {
        let refused = refusal(&wide, &all, format, Layout::Wide);
        assert!(matches!(refused, ExportError::Columns { found: told } if told == found), "{refused}");
    }
}

/// Fails every scan at its end, or has lost its later half when it is read again.
struct Failing {
    memory: Memory,
    damaged: bool,
    scans: std::sync::atomic::AtomicUsize,
    shrinks: bool,
}

impl History for Failing {
    fn streams(&self, tenant: &TenantId, selection: &Selection) -> Result<Vec<StreamId>, QueryRefusal> {
        self.memory.streams(tenant, selection)
    }

    fn last(
        &self,
        tenant: &TenantId,
        selection: &Selection,
        view: &View,
        limit: usize,
    ) -> Result<(Vec<LastReading>, bool), QueryRefusal> {
        self.memory.last(tenant, selection, view, limit)
    }

    fn scan(
        &self,
        tenant: &TenantId,
        selection: &Selection,
        view: &View,
        visit: Visit<'_>,
    ) -> Result<(), QueryRefusal> {
        let scan = self.scans.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let mut selection = selection.clone();
        if self.shrinks && scan > 0 {
            selection.to_us = Some(BEGAN_US + SECOND_US);
        }
        self.memory.scan(tenant, &selection, view, visit)?;
        if self.damaged { Err(QueryRefusal::Damaged("12:00 to 13:00".to_owned())) } else { Ok(()) }
    }
}

fn failing(damaged: bool, shrinks: bool) -> Failing {
    Failing { memory: memory(), damaged, scans: std::sync::atomic::AtomicUsize::new(0), shrinks }
}

#[test]
fn damage_is_told_before_the_file_which_has_the_rest_and_is_whole() {
    let history = failing(true, false);
    let (tenant, view, selection) = (tenant(), View::all(), of("dev-1"));
    let question = Question { history: &history, tenant: &tenant, selection: &selection, view: &view };
    let plan = Plan::new(question, Format::Arrow, Layout::Wide).expect("a plan");
    assert_eq!(plan.survey().damage.as_deref(), Some("12:00 to 13:00"));
    let mut file = Vec::new();
    plan.write(question, &mut file).expect("the rest");
    wide_is_right(&arrow_batches(&file));
}

#[test]
fn lines_that_could_be_read_are_written_before_damage_is_told() {
    let history = failing(true, false);
    let (tenant, view, selection) = (tenant(), View::all(), of("dev-1"));
    let question = Question { history: &history, tenant: &tenant, selection: &selection, view: &view };
    let plan = Plan::new(question, Format::Ndjson, Layout::Long).expect("a plan");
    let mut file = Vec::new();
    let outcome = plan.write(question, &mut file);
    assert!(matches!(outcome, Err(ExportError::History(QueryRefusal::Damaged(_)))));
    assert_eq!(file.iter().filter(|byte| **byte == b'\n').count(), 8);
}

#[test]
fn an_array_that_lost_rows_while_it_was_written_is_not_passed_off_as_whole() {
    let history = failing(false, true);
    let (tenant, view, selection) = (tenant(), View::all(), of("dev-1"));
    let question = Question { history: &history, tenant: &tenant, selection: &selection, view: &view };
    let plan = Plan::new(question, Format::Npy, Layout::Wide).expect("a plan");
    assert!(matches!(plan.write(question, Vec::new()), Err(ExportError::Changed)));
}

#[test]
fn a_reader_that_is_gone_ends_the_export() {
    struct Gone;
    impl Write for Gone {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let (memory, tenant, view, selection) = (memory(), tenant(), View::all(), of("dev-1"));
    let question = Question { history: &memory, tenant: &tenant, selection: &selection, view: &view };
    for format in Format::ALL {
        let plan = Plan::new(question, format, Layout::Wide).expect("a plan");
        let outcome = plan.write(question, Gone);
        assert!(matches!(outcome, Err(ExportError::Io(_))), "{format}: {outcome:?}");
    }
}

#[test]
fn a_long_history_is_written_in_small_pieces() {
    struct Pieces {
        largest: usize,
        all: usize,
    }
    impl Write for Pieces {
        fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
            self.largest = self.largest.max(piece.len());
            self.all += piece.len();
            Ok(piece.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let items = (0..300).map(|number: i64| {
        let times: Vec<i64> = (0..1_000).map(|n| BEGAN_US + (number * 1_000 + n) * SECOND_US).collect();
        let values = |seed: i64| times.iter().map(|t| ((t * seed) % 1_009) as f64 * 0.37).collect();
        let columns = ["a", "b", "c"].into_iter().zip([3, 5, 7]);
        let columns = columns.map(|(name, seed)| column(name, None, Values::Numbers(values(seed)))).collect();
        (item("dev-1", &times), times.clone(), columns)
    });
    let (memory, tenant) = (Memory { tenant: tenant(), items: items.collect() }, tenant());
    let (view, selection) = (View::all(), Selection::default());
    let question = Question { history: &memory, tenant: &tenant, selection: &selection, view: &view };
    for format in Format::ALL {
        let mut pieces = Pieces { largest: 0, all: 0 };
        let plan = Plan::new(question, format, Layout::Wide).expect("a plan");
        plan.write(question, &mut pieces).expect("written");
        assert!(pieces.largest <= 2 * 1024 * 1024, "{format}: {} of {}", pieces.largest, pieces.all);
    }
    let of_names: BTreeMap<&str, Format> = Format::ALL.map(|format| (format.as_str(), format)).into();
    assert!(of_names.iter().all(|(name, format)| name.parse() == Ok(*format)));
}

/// Leaves the files for other readers: `MUSTER_FILES=/tmp/x cargo test -p muster-exports -- --ignored for_other_readers`
#[test]
#[ignore = "writes files to look at with pandas, pyarrow and numpy"]
fn files_for_other_readers() {
    let folder =
        std::path::PathBuf::from(std::env::var("MUSTER_FILES").expect("MUSTER_FILES names a folder"));
    for format in Format::ALL {
        for (layout, name) in [(Layout::Wide, "wide"), (Layout::Long, "long")] {
            if (format, layout) != (Format::Npy, Layout::Long) {
                let file = export(&memory(), &of("dev-1"), format, layout);
                std::fs::write(folder.join(format!("{name}.{format}")), file).expect("written");
            }
        }
    }
}
