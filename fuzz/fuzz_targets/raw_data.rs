//! Any bytes as the `ifco.json` of a `.keras`, as a table, as CoNLL-U, as the TOML of a new model:
//! an error or what they say, and no panic.
#![no_main]

use std::io::{Cursor, Write};

use ifco_files::records::{Table, conllu};
use libfuzzer_sys::fuzz_target;
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

fuzz_target!(|data: &[u8]| {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    for (name, content) in [("config.json", &b"{}"[..]), ("ifco.json", data)] {
        zip.start_file(name, options).expect("memory");
        zip.write_all(content).expect("memory");
    }
    let bytes = zip.finish().expect("memory").into_inner();
    if let Ok(Some(recipe)) = ifco_files::recipe_bytes(bytes, "fuzz.keras") {
        let _ = recipe.summary();
        let again = ifco_tasks::Recipe::from_json(&recipe.to_json());
        assert_eq!(again.as_ref(), Ok(&recipe));
    }
    if let Ok(table) = Table::from_bytes(data) {
        for column in 0..table.header().len() {
            let _ = table.numbers(column);
        }
    }
    if let Ok(text) = std::str::from_utf8(data) {
        if let Ok(sentences) = conllu::parse(text) {
            assert!(sentences.iter().all(|sentence| !sentence.is_empty()));
        }
        let _ = conllu::with_upos(text, &|line| (line % 2 == 0).then_some("X"));
    }
    if let Ok(mut model) = ifco_files::architecture_bytes(data, "fuzz.toml") {
        let small = |size: &usize| *size <= 64;
        let units = model.layers().iter().filter_map(|entry| entry.output_shapes.as_ref().ok());
        if units.flatten().flatten().flatten().all(small) {
            let _ = ifco_train::initialize(&mut model, 0);
        }
    }
});
