//! Any bytes as what Keras tells beside a SavedModel, whose checkpoint is a real one, and as the graph of
//! objects in that checkpoint.
#![no_main]

mod table;

use ifco_files::{OpenOptions, Opened};
use libfuzzer_sys::fuzz_target;

const INDEX: &[u8] =
    include_bytes!("../../fixtures/tensorflow/bidirectional/variables/variables.index");
const NUMBERS: &[u8] = include_bytes!(
    "../../fixtures/tensorflow/bidirectional/variables/variables.data-00000-of-00001"
);

const METADATA: &[u8] = include_bytes!("../../fixtures/tensorflow/bidirectional/keras_metadata.pb");
const GRAPH: &[u8] = b"_CHECKPOINTABLE_OBJECT_GRAPH";

fuzz_target!(|data: &[u8]| {
    for name in ["keras_metadata.pb", "saved_model.pb"] {
        let mut files = vec![
            ("saved_model.pb".to_owned(), vec![8, 1]),
            ("variables/variables.index".to_owned(), INDEX.to_vec()),
            (
                "variables/variables.data-00000-of-00001".to_owned(),
                NUMBERS.to_vec(),
            ),
        ];
        files.retain(|(found, _)| found != name);
        files.push((name.to_owned(), data.to_vec()));
        open(files);
    }
    let graph = text(data);
    let files = [
        ("saved_model.pb", vec![8, 1]),
        ("keras_metadata.pb", METADATA.to_vec()),
        ("variables/variables.index", with_graph(&graph)),
        ("variables/variables.data-00000-of-00002", NUMBERS.to_vec()),
        ("variables/variables.data-00001-of-00002", graph),
    ];
    open(files.map(|(name, bytes)| (name.to_owned(), bytes)).into());
});

/// The real index, but that the graph lies in a second data file.
fn with_graph(tensor: &[u8]) -> Vec<u8> {
    let mut entries = table::entries(INDEX).expect("the fixture").to_vec();
    // Keys that come twice: the later ones count.
    entries.extend([0, 0, 2, 8, 2]);
    let mut entry = vec![8, 7, 0x18, 1, 0x28];
    table::varint(&mut entry, tensor.len());
    entries.extend([0, GRAPH.len() as u8, entry.len() as u8]);
    entries.extend(GRAPH);
    entries.extend(entry);
    table::with(&entries)
}

/// A tensor of one text: its length, the length's sum, the text.
fn text(text: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    table::varint(&mut bytes, text.len());
    bytes.extend(table::masked_crc(&(text.len() as u32).to_le_bytes()).to_le_bytes());
    bytes.extend(text);
    bytes
}

fn open(files: Vec<(String, Vec<u8>)>) {
    if let Ok(Opened::Weights(weights)) = OpenOptions::new().open_folder(files, "fuzz") {
        let _ = weights.cells();
    }
}
