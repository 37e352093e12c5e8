//! The rows of a file, whatever its format: JSON a line, JSON, CSV or Parquet.
//!
//! The ending of the name says which; text may be packed with gzip (`.jsonl.gz`).

mod json;
mod parquet;
mod table;

use std::fs;
use std::io::{self, Read};
use std::path::Path;

use flate2::read::MultiGzDecoder;
use serde_json::{Map, Value};

use super::error::{DatasetError, Place};
use super::text::{Broken, decode};

/// One row: a record of fields with names.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Row {
    pub(crate) place: Place,
    pub(crate) fields: Map<String, Value>,
}

/// The endings that are read.
const ENDINGS: &str = ".jsonl, .ndjson, .json, .csv, .tsv, each as it is or with .gz behind it, or .parquet";

/// All rows of a file, in order. `key` is the name under which a JSON object keeps its rows.
pub(crate) fn read(path: &Path, key: Option<&str>) -> Result<Vec<Row>, DatasetError> {
    let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
    let plain = name.strip_suffix(".gz").unwrap_or(&name);
    let read = |source| DatasetError::Read { path: path.into(), expected: "a file of rows", source };
    let bytes = fs::read(path).map_err(read)?;
    let broken = |(place, problem)| DatasetError::Row { path: path.into(), place, problem };
    if plain.ends_with(".parquet") {
        return parquet::rows(bytes).map_err(broken);
    }
    let bytes = if plain.len() < name.len() { unpacked(&bytes).map_err(read)? } else { bytes };
    let rows = decode(&bytes).and_then(|text| match plain.rsplit_once('.').map_or("", |(_, ending)| ending) {
        "jsonl" | "ndjson" => json::lines(&text),
        "json" => json::values(&text, key),
        "csv" => table::rows(&text, b','),
        "tsv" => table::rows(&text, b'\t'),
        _ => Err(Broken { line: 1, problem: format!("the file has another ending than {ENDINGS}; rename it") }),
    });
    rows.map_err(|Broken { line, problem }| broken((Place::Line(line), problem)))
}

fn unpacked(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    MultiGzDecoder::new(bytes).read_to_end(&mut text)?;
    Ok(text)
}
